-- The front, alone and behind a relay, beside haproxy in TCP mode (one thread;
-- "v2": it sends a PROXY header), nginx's stream module (one worker) and socat
-- (a process for each client), all before the same server.
--
-- What is compared is pinned to one processor, and clients and server to the
-- others, so that a rate tells what that one can do: also that of two programs
-- in a row, which share it. "epoll" is a program that does nothing but write
-- slot lines. A probe of another than that or a front ends with a line, too,
-- which the server sends; other clients of theirs ask at once. The relay has
-- 1,000 connections to give, and its rover makes another for each.

local uv = require "luv"
local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT, HELD = 1000, 1000
local PROBES, IN_FLIGHT = 10000, 64
local CLIENTS, AT_A_TIME = 4000, 16
local MS = 400
local SLOW = { nginx = 2, socat = 40 } -- they get so many times fewer clients

local own, others = harness.cpus()
local back, greeting -- servers' ports; one sends slot lines

local function peer(...) return between.peer(others, ...) end

-- Contenders -----------------------------------------------------------------

-- Functions of the port to listen on and the server's; return the programs.
local starts = {}

function starts.epoll()
  local program = harness.spawn(harness.BUILD .. "/bench/slot_server 1", own)
  return { program }, program:line()
end

function starts.front(port, server)
  return { between.front(port, server, { cpus = own }) }
end

for _, name in ipairs { "haproxy", "nginx", "socat" } do
  starts[name] = function(port, server)
    return { between[name](port, server, { cpus = own }) }
  end
end

starts["haproxy v2"] = function(port, server)
  return { between.haproxy(port, server, { cpus = own, sends = true }) }
end

starts["relay + front"] = function(port, server)
  local middle = between.freePort()
  local front = between.front(middle, server, { cpus = own })
  return { front, between.relay(port, tostring(middle), { cpus = own,
    kept = KEPT, pace = "at-once" }) }
end

local function startTwo(proxy)
  return function(port, server)
    local middle = between.freePort()
    return { between.haproxy(middle, server, { cpus = own, accepts = proxy,
      sends = proxy }), between.haproxy(port, tostring(middle), { cpus = own,
      sends = proxy }) }
  end
end

starts["haproxy + haproxy"] = startTwo(false)
starts["haproxy + haproxy v2"] = startTwo(true)

local function start(name, server)
  local port = between.freePort()
  local programs, taken = starts[name](port, server)
  return { name = name, port = math.tointeger(taken or port),
    programs = programs, slow = SLOW[name] or 1,
    slots = name == "front" and " slots" or "" }
end

-- Those of these names that are there.
local function startAll(server, ...)
  local list = {}
  for _, name in ipairs { ... } do
    if harness.isThere(name:match "^haproxy" or name:match "^nginx"
        or name:match "^socat") then
      list[#list + 1] = start(name, server)
    end
  end
  return list
end

-- Measuring ------------------------------------------------------------------

-- Calls a function, and tells what it returns, and the contender's time.
local function timed(contender, fn)
  local before = between.cpu(contender.programs)
  local value, more = fn()
  uv.sleep(200)
  return value, between.cpu(contender.programs) - before, more
end

local function probe(contender)
  local count = PROBES // contender.slow
  local rate, cpu = timed(contender, function()
    local program = harness.spawn(("%s/bench/client_epoll handshakes %d %d %d")
      :format(harness.BUILD, count, IN_FLIGHT, contender.port), others)
    program:line "begin"
    local from = uv.hrtime()
    program:line "done"
    local seconds = (uv.hrtime() - from) / 1e9
    program:wait()
    return count / seconds
  end)
  uv.sleep(1000) -- local ports come back after a second
  return { value = rate, cpu = cpu / count * 1e6 }
end

-- Has a client do something; returns its number, and what was taken.
local function ask(contender, ...)
  local words = (...):format(select(2, ...))
  return timed(contender, function()
    local program = peer("%d %s%s", contender.port, words, contender.slots)
    local number = tonumber((program:line()))
    program:wait()
    return number
  end)
end

local function clients(contender)
  local count = CLIENTS // contender.slow
  local rate, cpu = ask(contender, "clients %d %d", AT_A_TIME, count)
  return { value = rate, cpu = cpu / count * 1e6 }
end

local function bytes(streams)
  return function(contender)
    local rate, cpu = ask(contender, "bytes s %d %d", streams, MS)
    -- The first 200 ms are not in the rate.
    return { value = rate / 1e6, cpu = cpu / (rate * (MS + 200) / 1e12) }
  end
end

local function answers(connections, size)
  return function(contender)
    local rate, cpu, p99 = timed(contender, function()
      local program = harness.spawn(("%s/bench/client_epoll %s %d %d %d %d")
        :format(harness.BUILD, contender.slots ~= "" and "ask" or "ask-bare",
        connections, size, MS, contender.port), others)
      local count, late = program:line "^(%S+) (%S+)$"
      program:wait()
      return tonumber(count), tonumber(late)
    end)
    -- The first 200 ms are not in the rate.
    return { value = rate, p99 = p99,
      cpu = cpu / (rate * (MS + 200) / 1e3) * 1e6 }
  end
end

-- Of one that has just been started.
local function held(contender)
  local fresh = start(contender.name, back)
  local before = between.memory(fresh.programs)
  local count = HELD // contender.slow
  peer("%d hold %d%s", fresh.port, count, fresh.slots):line "held"
  return { value = (between.memory(fresh.programs) - before) / count }
end

-- Has the contenders take turns. The first of them is ours.
local function compare(all, measure, rounds)
  return { all = all, values = harness.alternate(all, rounds, measure) }
end

-- Adds a row of what was measured under one name.
local function row(results, what, figure, aims)
  local ours, rest, limit = results.all[1].name, {}, nil
  for i = 2, #results.all do
    local name = results.all[i].name
    if name == "epoll" then limit = name else rest[#rest + 1] = name end
  end
  report.row(("%s, %s"):format(ours, figure), ours,
    harness.pick(what, results.values),
    { others = rest, limit = limit, aims = aims })
end

local function probes()
  local all = startAll(greeting, "haproxy", "haproxy v2", "nginx", "socat",
    "epoll")
  table.insert(all, 1, start("front", back))
  local results = compare(all, probe, harness.MANY_ROUNDS)
  row(results, "value", ("probes/s, %d in flight"):format(IN_FLIGHT),
    { "haproxy >= 1.5", "haproxy v2 >= 1.5", "epoll >= 0.9" })
  row(results, "cpu", "CPU µs a probe")
end

local function joined(...)
  local all = startAll(back, ...)
  local ours, theirs, same = all[1], (select(2, ...)), {}
  local aim = function(text) return { theirs .. text } end
  for _, each in ipairs(all) do -- a header is sent once
    if not each.name:find " v2$" then same[#same + 1] = each end
  end
  local new = compare(all, clients, harness.MANY_ROUNDS)
  row(new, "value", ("new clients/s, %d at a time"):format(AT_A_TIME),
    aim " >= 1.2")
  row(new, "cpu", "CPU µs a new client")
  for _, size in ipairs { 64, 4096 } do
    for _, connections in ipairs { 1, 16, 256 } do
      local results = compare(same, answers(connections, size),
        harness.MANY_ROUNDS)
      local text = ("%d B, %d connections"):format(size, connections)
      row(results, "value", "answers/s, " .. text, aim " >= 1.2")
      row(results, "p99", "µs for 99% of answers, " .. text, aim " <= 1.0")
      row(results, "cpu", "CPU µs an answer, " .. text)
    end
  end
  for _, streams in ipairs { 1, 16 } do
    local results = compare(same, bytes(streams))
    local text = ("%d streams"):format(streams)
    row(results, "value", "MB/s, " .. text, aim " >= 1.3")
    row(results, "cpu", "CPU s/GB, " .. text)
  end
  local memory = compare(same, held)
  row(memory, "value", "bytes a joined pair", aim " <= 0.15")
  return ours
end

return function()
  back, greeting = peer "serve 1":line(), peer "serve 1 slots":line()
  harness.within(probes)
  harness.within(joined, "front", "haproxy", "haproxy v2", "nginx", "socat")
  harness.within(joined, "relay + front", "haproxy + haproxy",
    "haproxy + haproxy v2")
end
