--- Help for specs: `local support = require "support"`.
--
-- busted loads this first (see .busted), and from then on checks each test at
-- its end: no callback raised an error, every `expect` was met, no handle was
-- left open on luv's loop. What support itself opened it closes; what the test
-- opened, the test closes, in its body or in `finally`.
--
-- The functions, documented where they are: support/loop.lua (run, eventually,
-- expect, watched, met, uncaught, runUntilUncaught, atEnd), support/errors.lua
-- (misuse), support/tcp.lua (connect, serve, echo, closedPort, blackHole),
-- support/rovers.lua (rover, record, attempt, checkStats), support/process.lua
-- (spawn, spawnLua), support/files.lua (tmpdir, tmpfile, write, commaLocale),
-- support/command.lua (command, policy, events, logged, stop, ...),
-- support/make.lua (make); and as `support.installed`, those of
-- support/installed.lua.

local loop = require "support.loop"

local support = {}
for _, part in ipairs { "loop", "errors", "tcp", "rovers", "process",
    "files", "command", "make" } do
  for name, value in pairs(require("support." .. part)) do
    support[name] = value
  end
end

-- Loaded here, it is one for all spec files, and installs once.
support.installed = require "support.installed"

loop.attach(require "busted")

return support
