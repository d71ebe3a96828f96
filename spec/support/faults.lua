-- A host under faults, and servers that have them: `require "support.faults"`.

local assert = require "luassert"
local json = require "dkjson"
local uv = require "luv"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local tcp = require "support.tcp"

local faults = {}

local POLICY = command.ROOT .. "/spec/support/fault_policy.lua"

-- Servers --------------------------------------------------------------------

local function closeAtEnd(handle)
  loop.atEnd(function()
    if not handle:is_closing() then handle:close() end
  end)
  return handle
end

-- What a faulty server does once it has sent what it sends.
local finishes = {}

function finishes.stay() end
function finishes.close(handle) handle:close() end

-- In a moment: libuv tells a reset that it sees along with data as an end.
function finishes.reset(handle)
  local timer = closeAtEnd(uv.new_timer())
  timer:start(1, 0, function()
    timer:close()
    if not handle:is_closing() then handle:close_reset() end
  end)
end

-- A byte at a time, several before any deadline, and fewer than are too many.
function finishes.drip(handle)
  local timer = closeAtEnd(uv.new_timer())
  timer:start(80, 80, function()
    if handle:is_closing() then timer:close() else handle:write "1" end
  end)
end

--- Starts a server that has a fault.
-- @param script a table: `send` (what it sends to each connection, or nil),
--   `finish` (what then: "stay", the default, "close", "reset" or "drip"),
--   `greeted` (true: only once the client has written something), `host` and
--   `port` (127.0.0.1 and any)
-- @return a table: `port`, `count` (connections there are), `handles` (of all
--   that there were)
function faults.serve(script)
  local self = { count = 0, handles = {} }
  local listener = closeAtEnd(uv.new_tcp())
  local finish = finishes[script.finish or "stay"]
  assert(listener:bind(script.host or "127.0.0.1", script.port or 0))
  self.port = listener:getsockname().port
  assert(listener:listen(511, function()
    local handle = closeAtEnd(uv.new_tcp())
    assert(listener:accept(handle))
    handle:nodelay(true)
    self.count = self.count + 1
    table.insert(self.handles, handle)
    local function gone()
      self.count = self.count - 1
      if not handle:is_closing() then handle:close() end
    end
    handle:read_start(function(err, chunk)
      if err or not chunk then return gone() end
      if script.greeted then finish(handle) end
    end)
    if not script.send then return finish(handle) end
    handle:write(script.send, function(err)
      if err or script.greeted or handle:is_closing() then return end
      finish(handle)
    end)
  end))
  return self
end

-- The host -------------------------------------------------------------------

local host = {}
local hostMeta = { __name = "support.fault_host", __index = host }

--- Has the host do something; see fault_policy.lua for what.
-- @return its answer, a table
function host:ask(...)
  self:tell(...)
  return self:answer()
end

function host:tell(...)
  self.control:write(table.concat({ ... }, " ") .. "\n")
end

function host:answer(seconds)
  local line
  loop.run(function()
    line = self.control.received:match "^[^\n]*\n"
    return line or self.control.ended or self.control.closed
  end, seconds)
  if not line then error("the host is gone:\n" .. self.child.output, 2) end
  self.control.received = self.control.received:sub(#line + 1)
  return json.decode(line)
end

--- Resident memory once garbage is collected, in bytes.
function host:memory()
  self:ask "collect"
  local file = assert(io.open("/proc/" .. self.pid .. "/statm"))
  local _, pages = file:read("n", "n")
  file:close()
  return pages * 4096
end

--- How much of its C heap is resident, in bytes. A policy's state is not in it:
-- that keeps up to a megabyte of free pages.
function host:heap()
  local file <close> = assert(io.open("/proc/" .. self.pid .. "/smaps"))
  return file:read "a":match "%[heap%]\n.-Rss:%s*(%d+) kB" * 1024
end

--- Checks that it has not grown since it had so much memory, but for the free
-- pages that a policy's state keeps.
function host:checkMemory(memory)
  local grown = self:memory() - memory
  if not command.WATCHED and grown > 2 * 1024 * 1024 then
    error(("grown by %d bytes"):format(grown), 2)
  end
end

function host:descriptors()
  return command.descriptors { pid = self.pid }
end

--- Checks that the host goes on: it answers, and reaches a healthy server.
function host:check()
  if not self.well then
    self.well = faults.serve { send = "0\r\n" }
    self:ask("add", "well", "127.0.0.1", self.well.port)
  end
  assert.equal(1, self:ask("rove", 0, 1).counts["well connection"])
end

--- Starts the command with the policy of fault_policy.lua, and waits for its
-- connection.
-- @param options nil, or options of its rover
-- @param how nil or a table: `shell` (a line for sh that starts "$@"), and
--   those of `command.policy`
function faults.host(options, how)
  how = how or {}
  local server = tcp.serve { send = "0\r\n" }
  options = options and json.encode(options) or "{}"
  local args = { "run", "--log-format", "json", "--budget", "20000",
    "--load-budget", "30000" }
  for _, flag in ipairs(how.flags or {}) do args[#args + 1] = flag end
  for _, arg in ipairs { POLICY, tostring(server.port), options } do
    args[#args + 1] = arg
  end
  local child
  if how.shell then
    local env = { LD_PRELOAD = false }
    for name, value in pairs(how.env or {}) do env[name] = value end
    child = require "support.process".spawn("sh",
      { "-c", how.shell, "sh", command.EXECUTABLE, table.unpack(args) },
      { env = env })
  else
    child = command.command(args, how)
  end
  -- A terminal is a session of its own, which the end of the child spares.
  loop.atEnd(function()
    for _, each in ipairs(command.processes(tostring(server.port))) do
      uv.kill(each.pid, "sigkill")
    end
  end)
  loop.run(function() return server.peers[1] or child.code end)
  if not server.peers[1] then error("no host:\n" .. child.output, 2) end
  -- The shell may have started it as a child of its own.
  local pid = child.pid
  if how.shell then
    local found = command.processes(tostring(server.port))
    for _, each in ipairs(found) do
      if each.args[1] == command.EXECUTABLE then pid = each.pid end
    end
  end
  return setmetatable({ child = child, control = server.peers[1], pid = pid,
    server = server }, hostMeta)
end

--- Tells how to run programs as root of namespaces of their own, if we may.
-- @param flags of unshare ("-n")
-- @return a command line to prefix, or nil
function faults.unshare(flags)
  for _, how in ipairs { "unshare " .. flags, "unshare -r " .. flags } do
    if os.execute(how .. " true 2>/dev/null") then return how end
  end
end

--- The end of a shell's pipeline that reads nothing until `letRead` of its
-- environment is called. Stopping it by a signal would not do: SIGCONT may come
-- before it has stopped, and sent to the host too, while LeakSanitizer attaches
-- to that at its end, it discards the SIGSTOP that LeakSanitizer waits for.
faults.READER = [[ | sh -c 'read _ <"$GATE" && exec cat']]

--- Makes what READER waits for.
-- @return variables of its environment, and the function `letRead`
function faults.gate()
  local path = files.tmpdir() .. "/gate"
  assert(os.execute("mkfifo " .. path))
  -- Open for both, it waits for nobody, and keeps what is written.
  local fifo = assert(uv.fs_open(path, "r+", 0))
  loop.atEnd(function() assert(uv.fs_close(fifo)) end)
  return { GATE = path }, function() assert(uv.fs_write(fifo, "\n")) end
end

--- Compiles libraries for programs to be run with, for the `setup` of a spec;
-- the spec removes them in its `teardown`.
-- @param ... which of spec/support/NAME.c
-- @return for each the path of the library
function faults.compile(name, ...)
  if not name then return end
  local path = os.tmpname()
  -- What a sanitizer wants preloaded is not for the compiler.
  assert(os.execute(("LD_PRELOAD= gcc -shared -fPIC -Wall -Wextra -Werror "
    .. "-o %s spec/support/%s.c -ldl"):format(path, name)))
  return path, faults.compile(...)
end

--- What LD_PRELOAD is for a program that runs with libraries. A sanitizer's
-- comes first.
-- @param ... their paths
function faults.preload(...)
  return table.concat({ os.getenv "LD_PRELOAD" or "", ... }, " ")
end

-- The checks -----------------------------------------------------------------

--- Has a host make attempts in rounds, as many to healthy servers at the same
-- time, and checks after each what must hold under any fault: each attempt ends
-- in what it must, the counters add up, the healthy servers are reached, the
-- kept socket stays, and descriptors and memory return to where they were.
-- @param h the host, with its servers bad1, ...
-- @param brings array of what each attempt to one of them brings
-- @param attempts how many a round
function faults.check(h, brings, attempts)
  h:check()
  local descriptors, memory
  local before = h:ask "results"
  local wanted = { ["well connection"] = attempts }
  for _, what in ipairs(brings) do wanted["bad " .. what] = attempts end
  for round = 1, 3 do
    local got = h:ask("rove", attempts, attempts)
    assert.same(wanted, got.counts)
    local bad, well = got.bad, got.well
    assert.equal(round * attempts, bad.attempts)
    assert.equal(bad.attempts, bad.connections + bad.unreachable + bad.errors)
    assert.equal(0, bad.inFlight + bad.kept)
    assert.equal(before.well.attempts + round * attempts, well.attempts)
    assert.equal(well.attempts, well.connections)
    assert.equal(1, well.kept)
    -- The first round makes what is made once: threads, buffers.
    descriptors = descriptors or h:descriptors()
    loop.eventually(function() return h:descriptors() == descriptors end)
    memory = memory or h:memory()
  end
  h:checkMemory(memory)
  command.stop(h.child)
end

--- Drops all servers of a host in rounds, while attempts to them are under way,
-- and checks that these end in silence, with nothing left of them.
-- @param h the host, with no server yet
-- @param count how many servers
-- @param address the host of each
-- @param port the port of each
-- @param server nil, or what `serve` returned for that port: the attempts are
--   where they should be once all have their connections
function faults.drops(h, count, address, port, server)
  local function connections(n)
    if server then loop.run(function() return server.count == n end) end
  end

  h:check()
  local descriptors, memory = h:descriptors(), nil
  for round = 1, 3 do
    for i = 1, count do h:tell("add", "bad" .. i, address, port) end
    for _ = 1, count do h:answer() end
    h:ask("begin", 50)
    assert.equal(50, h:ask("results").bad.inFlight)
    connections(50)
    for i = 1, count do h:tell("drop", "bad" .. i) end
    for _ = 1, count do h:answer() end
    local after = h:ask "results"
    assert.equal(round * 50, after.bad.attempts)
    assert.equal(round * 50, after.bad.cancelled)
    assert.equal(0, after.bad.inFlight)
    assert.same({}, after.counts)
    connections(0)
    loop.eventually(function() return h:descriptors() == descriptors end)
    memory = memory or h:memory()
  end
  h:checkMemory(memory)
  h:check()
  command.stop(h.child)
end

return faults
