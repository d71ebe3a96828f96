-- What a thousand reloads at full speed do to a thousand kept sockets under
-- traffic, and how long the loop stands still while ten thousand change hands.
-- Run by `make soak`; its argument is the folder of the built programs. Prints
-- tables, and ends with 1 if a promise is broken:
--
-- * no socket is lost that the policy did not close,
-- * every byte is echoed once and in order,
-- * memory at the end is within 1% of what it was after the tenth reload; each
--   is the median over ten reloads, for what is under way differs.
--
-- The policy of the first part does without luv, which (1.44) registers a
-- function with atexit() each time that a state opens it: 32 bytes a reload
-- that nobody can give back.

package.path = "lua/?.lua;" .. package.path
local json = require "dkjson"
local uv = require "luv"

local build, role = arg[1] or "build", arg[2]
local RELOADS, SOCKETS = 1000, 1000
local MANY, STALLS, AIM = 10000, 20, 50 -- ms
local LIMIT = 170 -- seconds for all of it

-- The echo server, a process of its own. Says its port, and at the end what it
-- has seen.
if role == "echo" then
  local server = require "callosum.server".new { backlog = 4096 }
  local opened, closed, bytes = 0, 0, 0
  server:on("connection", function(conn)
    opened = opened + 1
    conn:on("data", function(chunk)
      bytes = bytes + #chunk
      conn:write(chunk)
    end)
    conn:on("close", function() closed = closed + 1 end)
  end)
  local stdin = uv.new_pipe()
  stdin:open(0)
  stdin:read_start(function(_, chunk)
    if not chunk then os.exit(0) end
    print(opened, closed, bytes)
    io.stdout:flush()
  end)
  print((select(2, server:address())))
  io.stdout:flush()
  uv.run()
  os.exit(0)
end

-- Children -------------------------------------------------------------------

local broken = {} -- promises

local function breaks(...)
  broken[#broken + 1] = (...):format(select(2, ...))
end

local children = {}

local function die(message)
  for _, child in ipairs(children) do child.handle:kill "sigkill" end
  io.stderr:write("soak: ", message, "\n")
  os.exit(1)
end

-- Starts a program with all the descriptors it may have; `line` is called with
-- each line of its output.
local function spawn(line, ...)
  local child = { stdin = uv.new_pipe() }
  local out, rest = uv.new_pipe(), ""
  child.handle, child.pid = uv.spawn("sh", {
    args = { "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@" 2>&1', "sh", ... },
    stdio = { child.stdin, out, 2 },
  }, function(code, signal) child.code, child.signal = code, signal end)
  if not child.handle then die(child.pid) end
  out:read_start(function(_, chunk)
    if not chunk then return out:close() end
    chunk = rest .. chunk
    local at = 1
    for text, after in chunk:gmatch "([^\n]*)\n()" do
      line(text)
      at = after
    end
    rest = chunk:sub(at)
  end)
  children[#children + 1] = child
  return child
end

local deadline = uv.new_timer()
deadline:start(LIMIT * 1000, 0, function()
  die(("it took more than %d seconds"):format(LIMIT))
end)

local function wait(done) while not done() do uv.run "once" end end

local echoed
local echo = spawn(function(text) echoed = text end, "lua5.4", arg[0], build,
  "echo")
wait(function() return echoed or echo.code end)
local port = echoed

-- opened, closed, bytes
local function ask()
  echoed = nil
  echo.stdin:write "?"
  wait(function() return echoed or echo.code end)
  local numbers = {}
  for number in echoed:gmatch "%d+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  return table.unpack(numbers)
end

-- A host with so many sockets. `events` has the last line of each message,
-- `counts` how many there were.
local control = os.tmpname()

local function set(mode)
  local file <close> = assert(io.open(control, "w"))
  file:write(mode)
end

local function run(count)
  set "idle" -- until all are there
  local self = { events = {}, counts = setmetatable({}, {
    __index = function() return 0 end }) }
  self.child = spawn(function(text)
    local event = json.decode(text)
    if not event then die(text) end
    self.events[event.message] = event
    self.counts[event.message] = self.counts[event.message] + 1
    if event.level == "error" or event.level == "warn" then
      breaks("%s", text)
      if #broken > 5 then die(table.concat(broken, "\nsoak: ")) end
    end
    if self.heard then self.heard(event) end
  end, build .. "/callosum-rover", "run", "--log-format", "json",
    "spec/bench/soak_policy.lua", port, tostring(count), control)
  function self.wait(_, message, n)
    wait(function()
      if self.child.code then die("the host ended: " .. self.child.code .. ", "
        .. self.child.signal) end
      return self.counts[message] >= (n or 1)
    end)
    return self.events[message]
  end
  self:wait "full"
  return self
end

local function reload(host)
  local n = host.counts["policy reloaded"] + 1
  host.child.handle:kill "sighup"
  return host:wait("policy reloaded", n)
end

local function finish(host)
  host.child.handle:kill "sigterm"
  wait(function() return host.child.code end)
  if host.child.code ~= 0 then breaks("exit code %d", host.child.code) end
end

local function memory(host)
  local kb = {}
  for line in io.lines("/proc/" .. host.child.pid .. "/status") do
    local name, value = line:match "^(Vm%w+):%s*(%d+)"
    if name then kb[name] = tonumber(value) end
  end
  return kb.VmRSS
end

local function quantile(list, q)
  table.sort(list)
  return list[math.max(1, math.ceil(#list * q))]
end

-- Reloads under traffic ------------------------------------------------------

local function soak()
  local host = run(SOCKETS)
  local opened, closedBefore, bytesBefore = ask()
  set "run"
  reload(host)
  host.counts["policy reloaded"] = 0
  local begun, times, rss = uv.hrtime(), {}, {}
  for i = 1, RELOADS do
    local line = reload(host)
    times[i], rss[i] = line.ms, memory(host)
    if line.adopted ~= SOCKETS or line.closed ~= 0 then
      breaks("reload %d: %d adopted, %d closed", i, line.adopted, line.closed)
    end
  end
  local seconds = (uv.hrtime() - begun) / 1e9
  set "drain"
  reload(host)
  local drained = host:wait "drained"
  local nowOpened, closed, bytes = ask()
  if drained.sockets ~= SOCKETS or nowOpened ~= opened
      or closed ~= closedBefore then
    breaks("%d sockets at the end; the server saw %d open and %d close",
      drained.sockets, nowOpened - opened, closed - closedBefore)
  end
  bytes = bytes - bytesBefore
  if drained.sent ~= drained.seen or bytes ~= 16 * drained.sent then
    breaks("%d records sent, %d echoed, %d bytes at the server", drained.sent,
      drained.seen, bytes)
  end

  print(("%d reloads, %.0f a second, of %d sockets under traffic"):format(
    RELOADS, RELOADS / seconds, SOCKETS))
  print(("%d records of 16 bytes echoed once and in order, %.0f a reload")
    :format(drained.seen, drained.seen / RELOADS))
  print(("a reload took %.1f ms (median), %.1f ms (99%%), %.1f ms (longest)")
    :format(quantile(times, 0.5), quantile(times, 0.99), times[#times]))
  print(("\n%8s %12s %12s"):format("reloads", "RSS, kB", "of the 10th"))
  local function around(i) return quantile({ table.unpack(rss, i, i + 9) }, 0.5)
  end
  for _, i in ipairs { 10, 100, 300, RELOADS - 9 } do
    print(("%8s %12d %12.4f"):format(i .. "-" .. i + 9, around(i),
      around(i) / around(10)))
  end
  local growth = around(RELOADS - 9) / around(10)
  if growth > 1.01 then breaks("memory grew by %.1f%%", (growth - 1) * 100) end
  finish(host)
end

-- The stall ------------------------------------------------------------------

local function stall(count, mode)
  local host = run(count)
  local ms, gaps = {}, {} -- by the log, by the policy's clock
  host.heard = function(event)
    if event.message == "gap" then gaps[#gaps + 1] = event.ms end
  end
  set(mode)
  reload(host)
  local calm = host:wait("calm", host.counts.calm + 1).ms
  gaps = {}
  for i = 1, STALLS do
    local line = reload(host)
    ms[i] = line.ms
    if line.adopted ~= count or line.closed ~= 0 then
      breaks("stall: %d adopted, %d closed", line.adopted, line.closed)
    end
    wait(function() return #gaps >= i or host.child.code end)
  end
  print(("%8d %-8s %9.1f %9.1f %9.1f %9.1f %9.1f"):format(count, mode,
    quantile(ms, 0.5), ms[#ms], quantile(gaps, 0.5), gaps[#gaps], calm))
  finish(host)
  return gaps[#gaps]
end

if role ~= "stall" then soak() end

print "\nThe stall of the loop at a reload, ms"
print(("%8s %-8s %19s %19s %9s"):format("", "", "by the log's ms",
  "by a timer of 1 ms", "without"))
print(("%8s %-8s %9s %9s %9s %9s %9s"):format("sockets", "", "median",
  "longest", "median", "longest", "a reload"))
local limit = io.popen "ulimit -Hn":read "n" or math.huge
local many = math.min(MANY, limit - 100)
stall(1000, "bare")
stall(1000, "idle")
stall(1000, "busy")
local longest = stall(many, "bare")
stall(many, "idle")
if many < MANY then
  print(("only %d descriptors are allowed (ulimit -Hn)"):format(limit))
end
print(("The aim, below %d ms for %d kept sockets, is %s."):format(AIM, many,
  longest < AIM and "met" or "missed"))

os.remove(control)
echo.stdin:close()
deadline:close()
for _, each in ipairs(broken) do print("BROKEN: " .. each) end
os.exit(#broken == 0 and 0 or 1)
