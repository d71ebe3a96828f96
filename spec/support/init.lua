--- Help for specs: `local support = require "support"`.
--
-- busted loads this first (see .busted), and from then on checks each test at
-- its end: no callback raised an error, every `expect` was met, no handle was
-- left open on luv's loop. What support itself opened it closes; what the test
-- opened, the test closes, in its body or in `finally`.
--
-- The functions, documented where they are: support/loop.lua (run, expect,
-- met, uncaught, runUntilUncaught, atEnd), support/errors.lua (misuse),
-- support/tcp.lua (connect, serve, closedPort, blackHole),
-- support/process.lua (spawn), support/files.lua (tmpdir, tmpfile, write).

local loop = require "support.loop"

local support = {}
for _, part in ipairs { "loop", "errors", "tcp", "process", "files" } do
  for name, value in pairs(require("support." .. part)) do
    support[name] = value
  end
end

loop.attach(require "busted")

return support
