-- The relay beside haproxy in TCP mode and socat, all in front of like servers.
--
-- haproxy (one thread) and socat (a process for each client) connect to a
-- server when a client has come. The relay has connections to give that a rover
-- keeps. "Clients on and on" are as many as there can be: the rover makes
-- another connection for each that is given, so the whole cost of one is in it,
-- slot line and all. "Clients at once" are half as many as connections are
-- kept, and the rover makes one a millisecond meanwhile. haproxy's and socat's
-- servers send no slot lines. On loopback the ends of the streams take more
-- time than what is between them, so the processor time that this takes is
-- told, too. socat has a tenth of the clients to serve; all would take minutes.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT, HELD = 1000, 1000

local HAPROXY = [[
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
]]

-- Contenders -----------------------------------------------------------------

local function peer(...)
  return harness.spawn(harness.BUILD .. "/bench/relay_peer "
    .. (...):format(select(2, ...)))
end

local function freePort()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

-- Waits until somebody listens.
local function await(port)
  local there
  repeat
    local tcp, answer = uv.new_tcp(), nil
    tcp:connect("127.0.0.1", port, function(err) answer = err or "there" end)
    repeat uv.run "once" until answer
    tcp:close()
    there = answer == "there"
    if not there then uv.sleep(20) end
  until there
end

-- What stands between client and servers, by name: functions of the port to
-- listen on that start it.
local starts = {}

local function startRelay(pace)
  return function(port)
    local program = harness.spawn(("%s/callosum-rover run --log-level error "
      .. "spec/bench/relay_policy.lua %d %s %d %s"):format(harness.BUILD, KEPT,
      pace, port, peer "serve 8 slots":line()))
    program:line "^full"
    return program
  end
end

starts.relay = startRelay "at-once"
starts.paced = startRelay "1" -- the same, but its rover takes its time

function starts.haproxy(port)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(HAPROXY:format(port))
  for each in peer "serve 8":line():gmatch "%d+" do
    file:write(("  server s%s 127.0.0.1:%s\n"):format(each, each))
  end
  file:close()
  local program = harness.spawn("haproxy -q -f " .. path)
  await(port)
  os.remove(path)
  return program
end

function starts.socat(port)
  local program = harness.spawn(("socat TCP-LISTEN:%d,bind=127.0.0.1,fork,"
    .. "backlog=512,nodelay TCP:127.0.0.1:%s,nodelay 2>/dev/null"):format(port,
    peer "serve 8":line():match "%d+"))
  await(port)
  return program
end

local function start(name)
  local port = freePort()
  return { name = name, port = port, program = starts[name](port),
    share = name == "socat" and 10 or 1 }
end

-- Measuring ------------------------------------------------------------------

-- Has a client do something; returns its number, and what the relay took.
local function ask(contender, ...)
  local user, system = contender.program:cpu()
  local program = peer("%d %s", contender.port, (...):format(select(2, ...)))
  local number = tonumber((program:line()))
  program:wait()
  uv.sleep(200)
  local userNow, systemNow = contender.program:cpu()
  return number, userNow + systemNow - user - system
end

local function bytes(streams)
  return function(contender)
    local rate, cpu = ask(contender, "bytes s %d 1000", streams)
    -- The first 200 ms are not in the rate.
    return { value = rate / 1e6, cpu = cpu / (rate * 1.2 / 1e9) }
  end
end

local function clients(concurrent, count)
  return function(contender)
    local own = count // contender.share
    local rate, cpu = ask(contender, "clients %d %d", concurrent, own)
    return { value = rate, cpu = cpu / own * 1e6 }
  end
end

local function first(contender)
  return { value = (ask(contender, "first 200")) }
end

-- Of one that has just been started.
local function held(contender)
  local own = start(contender.name)
  local before = own.program:sharedMemory()
  local count = HELD // own.share
  peer("%d hold %d", own.port, count):line "held"
  return { value = (own.program:sharedMemory() - before) / count }
end

-- Has the contenders take turns, and adds a row, and one of their CPU.
local function compare(contenders, figure, op, measure, cpu, rounds)
  local others, aims = {}, {}
  for i = 2, #contenders do
    others[i - 1] = contenders[i].name
    aims[i - 1] = ("%s %s 1"):format(contenders[i].name, op)
  end
  local results = harness.alternate(contenders, rounds, measure)
  report.row("relay, " .. figure, "relay", harness.pick("value", results),
    { others = others, aims = aims })
  if not cpu then return end
  report.row("relay, " .. cpu, "relay", harness.pick("cpu", results),
    { others = others })
end

return function()
  local all, paced = { start "relay" }, { start "paced" }
  paced[1].name = "relay"
  for _, name in ipairs { "haproxy", "socat" } do
    if harness.isThere(name) then
      all[#all + 1] = start(name)
      paced[#paced + 1] = all[#all]
    end
  end
  for _, streams in ipairs { 1, 10, 100 } do
    local what = ("%d streams"):format(streams)
    compare(all, "MB/s, " .. what, ">=", bytes(streams), "CPU s/GB, " .. what)
  end
  compare(all, "clients/s, on and on, 16 at a time", ">=", clients(16, 6000),
    "CPU µs a client", harness.MANY_ROUNDS)
  compare(paced, ("clients/s, %d at once"):format(KEPT // 2), ">=",
    clients(KEPT // 2, KEPT // 2))
  compare(paced, "µs to the first byte", "<=", first)
  compare(all, "bytes a joined pair", "<=", held)
end
