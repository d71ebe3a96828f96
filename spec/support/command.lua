-- The command under test, as a child process, and what such children leave
-- behind: log lines, processes, ports.

local json = require "dkjson"
local uv = require "luv"
local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"

local command = {}

--- The folder of the source tree, and the executable under test.
command.ROOT = uv.cwd()
local build = os.getenv "BUILD" or "build"
command.EXECUTABLE = (uv.fs_realpath(build) or build) .. "/callosum-rover"

--- Whether the build is one for a sanitizer or valgrind, which take memory and
-- time of their own, and keep memory that was given back.
command.WATCHED = build:find "asan" ~= nil or build:find "valgrind" ~= nil

-- In the environment of every process that comes from this one. Other spec
-- files run beside it, in networks of their own, where their servers may have
-- the ports of ours.
local MARK = ("CALLOSUM_SPEC=%d.%d"):format(uv.os_getpid(), uv.hrtime())
uv.os_setenv(MARK:match "(.-)=(.*)")

local function isOurs(pid)
  local file <close> = io.open("/proc/" .. pid .. "/environ")
  local text = file and file:read "a" or ""
  return ("\0" .. text .. "\0"):find("\0" .. MARK .. "\0", 1, true) ~= nil
end

--- Starts the command.
-- @param args array of its arguments
-- @param options as of `spawn`
-- @return the child
function command.command(args, options)
  local own = {}
  for name, value in pairs(options or {}) do own[name] = value end
  -- What a sanitizer wants preloaded is for busted, not for our children's
  -- children.
  own.env = { LD_PRELOAD = false }
  for name, value in pairs(options and options.env or {}) do
    own.env[name] = value
  end
  return process.spawn(command.EXECUTABLE, args, own)
end

--- Runs a policy with logs in JSON, all of them, for `events`.
-- @param script its text
-- @param options nil or a table: `args` (of the policy), `flags` (of run), and
--   those of `spawn`
-- @return the child; its `path` is the policy's
function command.policy(script, options)
  options = options or {}
  local path = files.tmpfile(script)
  -- The machine may be loaded, and the build slow: only flags set budgets that
  -- are tight.
  local args = { "run", "--log-format", "json", "--log-level", "debug",
    "--budget", "20000", "--load-budget", "30000" }
  for _, flag in ipairs(options.flags or {}) do args[#args + 1] = flag end
  args[#args + 1] = path
  for _, arg in ipairs(options.args or {}) do args[#args + 1] = arg end
  local self = command.command(args, options)
  self.path = path
  return self
end

--- Reads what a child has logged in JSON. Anything else on its standard error
-- is an error.
-- @param child the child
-- @param message only lines with this message; nil: all but "descriptors",
--   whose level depends on the machine, and that a rover is not started, as
--   many in specs are not
-- @return an array of tables
function command.events(child, message)
  child.log = child.log or {}
  local from = child.logRead or 1 -- what is before it has been decoded
  -- No pattern: it would begin anew at each byte of a line that has no end yet.
  for last in function() return child.stderr:find("\n", from, true) end do
    local line = child.stderr:sub(from, last - 1)
    from = last + 1
    local event, _, err = json.decode(line, 1, nil)
    if not event then
      error(("not a line of JSON: %s (%s)"):format(line, err), 2)
    end
    if not utf8.len(line) then error("not UTF-8: " .. line, 2) end
    child.log[#child.log + 1] = event
    child.logRead = from
  end
  local list = {}
  for _, event in ipairs(child.log) do
    local wanted = message and event.message == message
      or not message and event.message ~= "descriptors"
        and not tostring(event.message):find " is not started: it makes no "
    if wanted then list[#list + 1] = event end
  end
  return list
end

--- Runs the loop until a child has logged a line with this message.
-- @param child the child
-- @param message the message
-- @param n wait for the n-th such line (1)
-- @return the line, as `events` gives it
function command.logged(child, message, n)
  local found
  local ok, err = pcall(loop.run, function()
    found = command.events(child, message)[n or 1]
    return found or child.code and child.pipes == 0
  end)
  if not found then
    error(("%s: nobody logged %q, but:\n%s\n%s"):format(child.command, message,
      child.output, ok and "" or err), 2)
  end
  return found
end

--- Asks a child to stop, and checks that it does so in order: exit code 0, and
-- nothing on its standard error but logs.
-- @param child the child, running with logs in JSON
-- @param signal the signal to send ("sigterm")
function command.stop(child, signal)
  child:kill(signal or "sigterm")
  local code, by = child:wait()
  if code ~= 0 or by ~= 0 then
    error(("stopped with code %d and signal %d:\n%s")
      :format(code, by, child.output), 2)
  end
  command.events(child)
  if not ("\n" .. child.stderr):find "\n$" then
    error("standard error ends within a line: " .. child.stderr, 2)
  end
end

--- Tells whether one can listen on a port of 127.0.0.1.
function command.isFree(port)
  local handle = uv.new_tcp()
  local free = handle:bind("127.0.0.1", port)
    and handle:listen(1, function() end)
  handle:close()
  return free and true or false
end

--- Finds ports that are free, for programs that cannot take port 0. They are
-- none that the kernel gives to others meanwhile, and none that `processes`
-- would take for the budgets of hosts.
-- @param count how many
-- @return them
function command.freePorts(count)
  local ports = {}
  local port = 10000 + math.tointeger((uv.hrtime() // 1000
    + uv.os_getpid() * 31) % 20000)
  while #ports < count do
    port = port < 30000 and port + 1 or 10000
    if port % 10000 > 0 and command.isFree(port) then
      ports[#ports + 1] = port
    end
  end
  return table.unpack(ports)
end

--- Finds running processes of this spec file by their command lines.
-- @param text what one of their arguments is
-- @return an array of tables: `pid` and `args`
function command.processes(text)
  local list = {}
  local scan = assert(uv.fs_scandir "/proc")
  for name in uv.fs_scandir_next, scan do
    local file = name:match "^%d+$" and io.open("/proc/" .. name .. "/cmdline")
    local line = file and file:read "a" or ""
    if file then file:close() end
    local args, found = {}, false
    for arg in line:gmatch "([^%z]*)%z" do
      args[#args + 1] = arg
      found = found or arg == text
    end
    if found and isOurs(name) then
      list[#list + 1] = { pid = math.tointeger(name), args = args }
    end
  end
  return list
end

--- Tells how many descriptors a child of ours may have open, and how many it
-- may allow itself.
-- @return both numbers, math.huge where there is no limit
function command.descriptorLimits()
  local file <close> = assert(io.open "/proc/self/limits")
  local soft, hard = file:read("a"):match "Max open files%s+(%S+)%s+(%S+)"
  return tonumber(soft) or math.huge, tonumber(hard) or math.huge
end

--- Counts the descriptors that a child has open.
function command.descriptors(child)
  local count = 0
  local scan = assert(uv.fs_scandir("/proc/" .. child.pid .. "/fd"))
  while uv.fs_scandir_next(scan) do count = count + 1 end
  return count
end

return command
