-- Programs to measure: starts them, listens to what they say, tells what they
-- take of the machine, and has them take turns.

local uv = require "luv"

local harness = {}

harness.BUILD = "build" -- the folder of the built programs
harness.BASE = os.getenv "BASE" -- that of an earlier build, to compare with
harness.ROUNDS = 5
harness.MANY_ROUNDS = 11 -- where contenders are close

local DEADLINE = 60 -- seconds for a line, or an end

local started = {} -- programs that this part of the run has started, in order

local function read(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

-- Turns the loop until something is done. Returns false if that takes too long.
local function wait(done)
  local late, timer = false, uv.new_timer()
  uv.update_time()
  timer:start(DEADLINE * 1000, 0, function() late = true end)
  while not (done() or late) do uv.run "once" end
  timer:close()
  return not late
end

-- Programs -------------------------------------------------------------------

local methods = {}
local metatable = { __name = "program", __index = methods }

-- Each program has all the descriptors it may have, and ends with us, however
-- that comes.
local WRAP = 'ulimit -n "$(ulimit -Hn)"; exec setpriv --pdeathsig KILL '

--- Starts a program, which ends with the part of the run that started it (see
-- `within`).
-- @param command a shell's command, or an array of words, of a program that is
--   started at once, without a shell and its limits, and ends by itself
-- @param cpus a list for taskset(1) of the processors that a shell's command
--   may use; nil: any
-- @return the program
function harness.spawn(command, cpus)
  local pin = cpus and ("taskset -c %s "):format(cpus) or ""
  local words = type(command) == "table" and command
    or { "/bin/sh", "-c", WRAP .. pin .. command }
  local self = setmetatable({ lines = {}, rest = "" }, metatable)
  self.name = type(command) == "table" and table.concat(command, " ")
    or command
  self.input, self.output = uv.new_pipe(), uv.new_pipe()
  self.handle, self.pid = uv.spawn(words[1], {
    args = { table.unpack(words, 2) }, stdio = { self.input, self.output, 2 },
  }, function(code)
    self.code = code
    self.handle:close()
  end)
  if not self.handle then error(self.name .. ": " .. self.pid) end
  started[#started + 1] = self
  self.output:read_start(function(_, chunk)
    if not chunk then
      self.ended = true
      self.output:close()
      return
    end
    self.rest = self.rest .. chunk
    for line, after in self.rest:gmatch "([^\n]*)\n()" do
      self.lines[#self.lines + 1] = line
      self.after = after
    end
    if self.after then self.rest = self.rest:sub(self.after) end
    self.after = nil
  end)
  return self
end

--- Waits for the next line that a program says.
-- @param pattern nil, or what the line must match; others are passed over
-- @return the line, or the pattern's captures
function methods:line(pattern)
  repeat
    local inTime = wait(function() return self.lines[1] or self.ended end)
    local line = table.remove(self.lines, 1)
    if not line then
      error(("%s: %s"):format(self.name,
        inTime and "ended too early" or "says nothing"))
    end
    if line:match(pattern or "") then return line:match(pattern or ".*") end
  until false
end

--- Waits for a program to end by itself.
function methods:wait()
  if not wait(function() return self.code end) then
    error(self.name .. ": does not end")
  end
  if self.code ~= 0 then error(("%s: exit %d"):format(self.name, self.code)) end
end

-- A process and its children, added to a list.
local function family(pid, list)
  list = list or {}
  list[#list + 1] = pid
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid))
      :gmatch "%d+" do
    family(math.tointeger(child), list)
  end
  return list
end

--- Ends a program with its children.
function methods:kill()
  for _, pid in ipairs(family(self.pid)) do uv.kill(pid, "sigkill") end
  if not wait(function() return self.code end) then
    error(self.name .. ": cannot be ended")
  end
end

--- Calls a function, and ends the programs that it has started.
-- @return what it returns; its errors go on
function harness.within(fn, ...)
  local from = #started
  local results = table.pack(pcall(fn, ...))
  while #started > from do -- clients before their servers
    local program = table.remove(started)
    if not program.code then program:kill() end
  end
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

--- The processors that programs may use: the first of them, and the others; if
-- there is only one, both are that.
-- @param count how many are the first (1)
-- @return two lists for taskset(1)
function harness.cpus(count)
  local list = {}
  local allowed = read "/proc/self/status":match "Cpus_allowed_list:%s*(%S+)"
  for from, to in allowed:gmatch "(%d+)%-?(%d*)" do
    for i = tonumber(from), tonumber(to) or tonumber(from) do
      list[#list + 1] = i
    end
  end
  count = count or 1
  return table.concat(list, ",", 1, count),
    table.concat(list, ",", math.min(count + 1, #list))
end

-- What they take -------------------------------------------------------------

-- Seconds of user's and system's time, from the n-th field of a stat file on.
local function times(path, n)
  local fields = {}
  for field in (read(path):match "%) (.*)" or ""):gmatch "%S+" do
    fields[#fields + 1] = tonumber(field) or field
  end
  -- The first of these is the third in proc(5), where ticks are hundredths.
  return (fields[n - 2] or 0) / 100, (fields[n - 1] or 0) / 100
end

--- Seconds of processor time of a program and its children, those that have
-- ended included.
-- @return user's, system's
function methods:cpu()
  local user, system = 0, 0
  for _, pid in ipairs(family(self.pid)) do
    for _, n in ipairs { 14, 16 } do
      local u, s = times(("/proc/%d/stat"):format(pid), n)
      user, system = user + u, system + s
    end
  end
  return user, system
end

--- Seconds of processor time of all programs that have ended.
-- @return user's, system's
function harness.cpuOfEnded() return times("/proc/self/stat", 16) end

--- How many system calls a program and its children make in so many
-- milliseconds from now on, counted by perf.
-- @return the calls, and how many of them send or write
function methods:systemCalls(ms)
  local events = { "raw_syscalls:sys_enter" }
  for _, name in ipairs { "sendto", "sendmsg", "write", "writev" } do
    events[#events + 1] = "syscalls:sys_enter_" .. name
  end
  local pids = table.concat(family(self.pid), ",")
  local perf = harness.spawn(("perf stat -x, -e %s -p %s sleep %.3f 2>&1")
    :format(table.concat(events, ","), pids, ms / 1e3))
  local all, sent = tonumber((perf:line "^(%d+),")), 0
  for _ = 2, #events do sent = sent + tonumber((perf:line "^(%d+),")) end
  return all, sent
end

--- Resident bytes of a program.
-- @param kind "RssAnon": only those that no file backs; nil: all
function methods:memory(kind)
  local status = read(("/proc/%d/status"):format(self.pid))
  return tonumber(status:match((kind or "VmRSS") .. ":%s*(%d+)")) * 1024
end

--- Resident bytes of a program and its children, of which each counts its share
-- of what it shares.
function methods:sharedMemory()
  local sum = 0
  for _, pid in ipairs(family(self.pid)) do
    local rollup = read(("/proc/%d/smaps_rollup"):format(pid))
    sum = sum + (tonumber(rollup:match "Pss:%s*(%d+)") or 0)
  end
  return sum * 1024
end

--- Resident bytes, at most so far, of a program or the child with most.
function methods:peak()
  local most = 0
  for _, pid in ipairs(family(self.pid)) do
    local status = read(("/proc/%d/status"):format(pid))
    most = math.max(most, tonumber(status:match "VmHWM:%s*(%d+)" or 0))
  end
  return most * 1024
end

--- How often a program has waited for something.
function methods:wakeups()
  local status = read(("/proc/%d/status"):format(self.pid))
  return tonumber(status:match "\nvoluntary_ctxt_switches:%s*(%d+)")
end

-- Turns ----------------------------------------------------------------------

local function has(program)
  return os.execute(("command -v %s >/dev/null"):format(program))
end

local C_API = "%s/bench/client_rover"
local SCRIPT = "spec/bench/client_policy.lua"
local POLICY = "%s/callosum-rover run --log-level error --load-budget 60000 "
  .. "--memory 1G " .. SCRIPT

local CLIENTS = {
  { name = "C API", command = C_API },
  { name = "policy", command = POLICY },
  { name = "base C API", command = C_API, isBase = true },
  { name = "base", command = POLICY, isBase = true },
  { name = "luv", command = "lua5.4 spec/bench/client_luv.lua" },
  { name = "Node", command = "node --expose-gc spec/bench/client_node.js",
    needs = "node" },
  { name = "epoll", command = "%s/bench/client_epoll" },
  { name = "exact epoll", command = "%s/bench/client_epoll exact" },
  { name = "epoll within", command = "%s/bench/client_epoll within" },
  { name = "bare", command = "%s/bench/bare_start " .. SCRIPT },
  { name = "Lua on epoll", command = "%s/bench/bare_lua " .. SCRIPT },
}

--- The clients of these names, as far as they are there.
-- @return an array of tables with `name` and `command`
function harness.clients(...)
  local list = {}
  for _, name in ipairs { ... } do
    for _, each in ipairs(CLIENTS) do
      local build = each.isBase and harness.BASE
        or not each.isBase and harness.BUILD
      if each.name == name and build and harness.isThere(each.needs) then
        list[#list + 1] = { name = name,
          command = each.command:gsub("^%%s", build) }
      end
    end
  end
  return list
end

--- The names of contenders, without those of an earlier build if there is none.
function harness.others(...)
  local list = {}
  for _, name in ipairs { ... } do
    if harness.BASE or not name:find "^base" then list[#list + 1] = name end
  end
  return list
end

--- Starts the servers that the clients connect to.
-- @param count how many; nil: 16
-- @return their ports, with blanks between them
function harness.serve(count)
  return harness.spawn(("%s/bench/slot_server %d"):format(harness.BUILD,
    count or 16)):line()
end

local missing = {}

--- Tells whether a program is installed; says so once if it is not.
-- @param program its name; nil always is
function harness.isThere(program)
  if not program or has(program) then return true end
  if not missing[program] then
    io.stderr:write(program, " is not there, and not compared with ",
      "(make bench-deps)\n")
  end
  missing[program] = true
  return false
end

--- Measures contenders in turn, there and back, so that what else the machine
-- does hits all of them. Who fails is named, and left out from there on.
-- @param contenders array of tables with `name`
-- @param rounds how often; nil or false: harness.ROUNDS
-- @param measure called with a contender; returns a table of numbers by names
-- @return a table: by the contenders' names, of what was measured, arrays
function harness.alternate(contenders, rounds, measure)
  local results, failed = {}, {}
  for round = 1, rounds or harness.ROUNDS do
    for i = 1, #contenders do
      local each = contenders[round % 2 == 1 and i or #contenders + 1 - i]
      local ok, values = true, {}
      if not failed[each] then
        ok, values = pcall(harness.within, measure, each)
      end
      if not ok then
        io.stderr:write(each.name, " failed: ", tostring(values), "\n")
        failed[each], results[each.name] = true, nil
        values = {}
      end
      for what, value in pairs(values) do
        results[each.name] = results[each.name] or {}
        local list = results[each.name][what] or {}
        results[each.name][what] = list
        list[#list + 1] = value
      end
    end
  end
  return results
end

--- Of what `alternate` returns, what was measured under one name.
-- @return a table: by the contenders' names, arrays
function harness.pick(what, results)
  local list = {}
  for name, each in pairs(results) do list[name] = each[what] end
  return list
end

return harness
