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
local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT, HELD = 1000, 1000

-- Contenders -----------------------------------------------------------------

local function peer(...) return between.peer(nil, ...) end

-- What stands between client and servers, by name: functions of the port to
-- listen on that start it.
local starts = {}

local function startRelay(pace)
  return function(port)
    return between.relay(port, peer "serve 8 slots":line(),
      { kept = KEPT, pace = pace })
  end
end

starts.relay = startRelay "at-once"
starts.paced = startRelay "1" -- the same, but its rover takes its time

for _, name in ipairs { "haproxy", "socat" } do
  starts[name] = function(port)
    return between[name](port, peer "serve 8":line())
  end
end

local function start(name)
  local port = between.freePort()
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
