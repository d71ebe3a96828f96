-- The relay beside haproxy in TCP mode and socat, all in front of like
-- servers, on one machine. They alternate, so that what else the machine does
-- hits all of them; medians are compared. Run by `make bench`. Its argument is
-- the folder of the built programs.
--
-- What is compared: haproxy (one thread) and socat (a process for each client)
-- connect to a server when a client has come. The relay has connections to give
-- that a rover keeps. "Clients on and on" are as many as there can be: the
-- rover makes another connection for each that is given, so the whole cost of
-- one is in it, slot line and all. "Clients at once" are half as many as
-- connections are kept, and the rover makes one a millisecond meanwhile.
-- haproxy's and socat's servers send no slot lines. On loopback the ends of the
-- streams take more time than what is between them, so the processor time that
-- this takes itself is told, too.

local uv = require "luv"

local build = arg[1] or "build"
local ROUNDS, KEPT, HELD = 7, 1000, 1000
local PEER = build .. "/bench/relay_peer"

-- Processes ------------------------------------------------------------------

local running = {}

local function spawn(command, stdio)
  local handle, pid
  handle, pid = uv.spawn("/bin/sh", {
    args = { "-c", "ulimit -n $(ulimit -Hn); exec " .. command },
    stdio = stdio or { nil, 2, nil },
  }, function() running[pid] = nil end)
  running[pid] = assert(handle, pid)
  return pid
end

local function line(command)
  local pipe = uv.new_pipe()
  local pid, text = spawn(command, { nil, pipe, 2 }), ""
  pipe:read_start(function(_, chunk) text = text .. (chunk or "\n") end)
  repeat uv.run "once" until text:find "\n"
  pipe:close()
  return text:match "[^\n]*", pid
end

local function freePort()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a" or ""
  if file then file:close() end
  return text
end

-- A process and its children.
local function family(pid)
  local list = { pid }
  for child in read(("/proc/%d/task/%d/children"):format(pid, pid))
      :gmatch "%d+" do
    for _, each in ipairs(family(math.tointeger(child))) do
      list[#list + 1] = each
    end
  end
  return list
end

-- Seconds of processor time, that of children that have ended included.
local function seconds(pid)
  local ticks = 0
  for _, each in ipairs(family(pid)) do
    local rest = read(("/proc/%d/stat"):format(each)):match "%) (.*)" or ""
    local field = 2
    for number in rest:gmatch "%S+" do
      field = field + 1
      if field >= 14 and field <= 17 then ticks = ticks + tonumber(number) end
    end
  end
  return ticks / 100
end

-- Kilobytes, of which each process counts its share of what it shares.
local function memory(pid)
  local sum = 0
  for _, each in ipairs(family(pid)) do
    local kb = read(("/proc/%d/smaps_rollup"):format(each)):match "Pss:%s*(%d+)"
    sum = sum + (tonumber(kb) or 0)
  end
  return sum
end

-- Contenders -----------------------------------------------------------------

local function has(program)
  return os.execute(("command -v %s >/dev/null"):format(program))
end

local withSlots = line(PEER .. " serve 8 slots")
local plain = line(PEER .. " serve 8")
local contenders = {}

local function contend(name, start)
  local port = freePort()
  local self = { name = name, port = port, pid = start(port) }
  contenders[#contenders + 1] = self
  return self
end

local function relay(pace)
  return function(port)
    return spawn(("%s/callosum-rover run --log-level error spec/bench/"
      .. "relay_policy.lua %d %s %d %s"):format(build, KEPT, pace, port,
      withSlots))
  end
end

-- The same relay, whose rover takes its time.
local paced = { name = "relay", port = freePort() }
paced.pid = relay("1")(paced.port)
contend("relay", relay "at-once").paced = paced
if has "haproxy" then
  contend("haproxy", function(port)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write(([[
global
  maxconn 4000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen all
  bind 127.0.0.1:%d
]]):format(port))
    for each in plain:gmatch "%d+" do
      file:write(("  server s%s 127.0.0.1:%s\n"):format(each, each))
    end
    file:close()
    return spawn("haproxy -q -f " .. path)
  end)
else
  print "haproxy is not there, and not compared with (make deps-bench)"
end
if has "socat" then
  contend("socat", function(port)
    return spawn(("socat TCP-LISTEN:%d,bind=127.0.0.1,fork,backlog=512,nodelay "
      .. "TCP:127.0.0.1:%s,nodelay 2>/dev/null"):format(port,
      plain:match "%d+"))
  end)
else
  print "socat is not there, and not compared with (make deps-bench)"
end
uv.sleep(1000)

-- Measuring ------------------------------------------------------------------

local function peer(contender, what)
  return assert(tonumber((line(("%s %d %s"):format(PEER, contender.port,
    what)))), contender.name .. " failed")
end

local function bytes(streams)
  return function(contender)
    local before = seconds(contender.pid)
    local rate = peer(contender, ("bytes s %d 1000"):format(streams))
    -- The first 200 ms are not in the rate.
    return rate / 1e6, (seconds(contender.pid) - before) / (rate * 1.2 / 1e9)
  end
end

local function clients(concurrent, count)
  return function(contender)
    local before = seconds(contender.pid)
    local rate = peer(contender, ("clients %d %d"):format(concurrent, count))
    return rate, (seconds(contender.pid) - before) / count * 1e6
  end
end

local function held(contender)
  local before = memory(contender.pid)
  local stdin, stdout = uv.new_pipe(), uv.new_pipe()
  local said = ""
  local pid = spawn(("%s %d hold %d"):format(PEER, contender.port, HELD),
    { stdin, stdout, 2 })
  stdout:read_start(function(_, chunk) said = said .. (chunk or "end") end)
  repeat uv.run "once" until said ~= ""
  assert(said == "held\n", contender.name .. " failed")
  local after = memory(contender.pid)
  stdin:close()
  stdout:close()
  while running[pid] do uv.run "once" end
  return (after - before) * 1024 / HELD
end

local measures = {
  { "bytes of memory per joined pair", held, rounds = 1 },
  { "one stream, MB/s", bytes(1), "its s of CPU per GB" },
  { "100 streams, MB/s", bytes(100), "its s of CPU per GB" },
  { "clients/s, on and on, 16 at a time", clients(16, 6000),
    "its us of CPU per client" },
  { ("clients/s, %d at once"):format(KEPT // 2), function(contender)
    return clients(KEPT // 2, KEPT // 2)(contender.paced or contender)
  end },
  { "us to the first byte", function(contender)
    return peer(contender.paced or contender, "first 200")
  end },
}

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local function show(name, values)
  io.write(("%-36s"):format(name))
  for _, value in ipairs(values) do
    local format = value < 10 and "%12.2f" or "%12.0f"
    io.write(format:format(value))
  end
  for i = 2, #values do
    io.write(("%12.2f"):format(values[1] / values[i]))
  end
  print()
end

io.write(("%-36s"):format "")
for _, each in ipairs(contenders) do io.write(("%12s"):format(each.name)) end
for i = 2, #contenders do
  io.write(("%12s"):format("/ " .. contenders[i].name))
end
print()
for _, measure in ipairs(measures) do
  local values, more = {}, {}
  for round = 1, measure.rounds or ROUNDS do
    for i, contender in ipairs(contenders) do
      values[i], more[i] = values[i] or {}, more[i] or {}
      values[i][round], more[i][round] = measure[2](contender)
      uv.sleep(measure.sleep or 200)
    end
  end
  for i in ipairs(contenders) do
    values[i], more[i] = median(values[i]), median(more[i])
  end
  show(measure[1], values)
  if measure[3] then show("  " .. measure[3], more) end
end
contenders[#contenders + 1] = paced
for _, contender in ipairs(contenders) do
  for _, pid in ipairs(family(contender.pid)) do uv.kill(pid, "sigkill") end
end
for _, handle in pairs(running) do handle:kill "sigkill" end
os.exit(true)
