-- Child processes for tests. When the test ends, those that still run are
-- killed with all their own children.

local uv = require "luv"
local files = require "support.files"
local loop = require "support.loop"

local process = {}

--- A child process: `pid`, `stdout`, `stderr`, `output` (both as they came),
-- `prints` and `errors` (luv's ends of its standard output and error, sockets),
-- and once it has ended `code` and `signal` (0 if none).
local child = {}
local childMeta = { __name = "support.child", __index = child }

--- Sends a signal to the child.
-- @param signal a name ("sigterm", the default) or a number
function child:kill(signal)
  if not self.code then self.handle:kill(signal or "sigterm") end
  return self
end

--- Writes to the child's standard input.
-- @param data a string, or nil to close it
function child:write(data)
  if data then self.stdin:write(data) else self.stdin:close() end
  return self
end

-- Tells all we know of a child that disappointed.
local function story(self, what)
  local state = "which still runs"
  if self.code then
    state = ("which ended with code %d and signal %d")
      :format(self.code, self.signal)
  end
  return ("%s, %s, wrote:\n%s\nand not: %s")
    :format(self.command, state, self.output, what)
end

--- Runs the loop until the child has ended and all its output is here.
-- @param seconds the most this may take (TIMEOUT)
-- @return its exit code, and the signal that ended it, 0 if none
function child:wait(seconds)
  local ok, err = pcall(loop.run, function()
    return self.code and self.pipes == 0
  end, seconds)
  if not ok then error(story(self, "its end") .. "\n" .. tostring(err), 2) end
  return self.code, self.signal
end

--- Runs the loop until the child has been stopped by a signal.
function child:waitStopped()
  loop.eventually(function()
    local file <close> = assert(io.open("/proc/" .. self.pid .. "/stat"))
    return file:read "a":match "%) (%a)" == "T"
  end)
end

--- Runs the loop until the output, from where the last match ended, matches.
-- @param pattern a Lua pattern
-- @param seconds the most this may take (TIMEOUT)
-- @return what the pattern captured
function child:waitFor(pattern, seconds)
  local first, last
  local ok, err = pcall(loop.run, function()
    first, last = self.output:find(pattern, self.seen)
    return first or self.code and self.pipes == 0
  end, seconds)
  if not first then
    error(story(self, pattern) .. (ok and "" or "\n" .. tostring(err)), 2)
  end
  self.seen = last + 1
  return self.output:sub(first, last):match(pattern)
end

local function collect(self, pipe, stream)
  self.pipes = self.pipes + 1
  pipe:read_start(function(err, chunk)
    if chunk then
      self[stream] = self[stream] .. chunk
      self.output = self.output .. chunk
      return
    end
    self.pipes = self.pipes - 1
    pipe:close()
    assert(not err, err)
  end)
end

-- The environment as luv wants it, ours with some variables changed.
local function environment(changes)
  local merged, list = uv.os_environ(), {}
  for name, value in pairs(changes or {}) do merged[name] = value end
  for name, value in pairs(merged) do
    if value then list[#list + 1] = name .. "=" .. value end
  end
  return list
end

--- Starts a program.
-- @param path the program, looked up in PATH unless it has a slash
-- @param args array of its arguments
-- @param options nil or a table: `env` (variables to set; false removes one),
--   `cwd`, `uid` (whose it is), `passed` (array of luv's streams or
--   descriptors, which it has from 3 on)
-- @return the child
function process.spawn(path, args, options)
  options = options or {}
  local self = setmetatable({
    command = path .. " " .. table.concat(args or {}, " "),
    stdout = "", stderr = "", output = "",
    pipes = 0, -- how many of its outputs are open
    seen = 1,  -- where `waitFor` goes on in the output
    stdin = uv.new_pipe(false),
    prints = uv.new_pipe(false),
    errors = uv.new_pipe(false),
  }, childMeta)
  local stdout, stderr = self.prints, self.errors
  local pipes = { self.stdin, stdout, stderr }

  loop.atEnd(function()
    -- It leads a process group of its own, which ends with it.
    if self.handle then
      uv.kill(-self.pid, "sigkill")
      loop.run(function() return self.code end)
    end
    for _, pipe in ipairs(pipes) do
      if not pipe:is_closing() then pipe:close() end
    end
  end)

  local handle, pid = uv.spawn(path, {
    args = args,
    env = environment(options.env),
    cwd = options.cwd,
    uid = options.uid,
    stdio = { self.stdin, stdout, stderr,
      table.unpack(options.passed or {}) },
    detached = true,
  }, function(code, signal)
    self.code, self.signal = code, signal
    self.handle:close()
  end)
  if not handle then error(("cannot start %s: %s"):format(path, pid), 2) end
  self.handle, self.pid = handle, pid
  collect(self, stdout, "stdout")
  collect(self, stderr, "stderr")
  return self
end

--- Starts a Lua program that finds the modules this process finds.
-- @param script its text
-- @param options nil or a table: `descriptors` (the most it may have open),
--   `args` (an array, its `...`), `by` (what runs it, in words of the shell),
--   and those of `spawn`
-- @return the child
function process.spawnLua(script, options)
  options = options or {}
  local env = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath }
  for name, value in pairs(options.env or {}) do env[name] = value end
  local limit = options.descriptors
    and ("ulimit -n %d; "):format(options.descriptors) or ""
  -- As a file, so that errors tell the lines of the script.
  local path = files.tmpfile(script, "child.lua")
  local line = ('%sexec %s lua5.4 "$@"'):format(limit, options.by or "")
  return process.spawn("sh", { "-c", line, "sh", path,
    table.unpack(options.args or {}) }, { env = env, cwd = options.cwd })
end

return process
