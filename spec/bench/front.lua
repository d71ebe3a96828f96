-- The front, alone and behind a relay, beside haproxy in TCP mode (one thread),
-- nginx's stream module (one worker) and socat (a process for each client), all
-- before the same server. With "v2", PROXY headers are sent.
--
-- What is compared is pinned to one processor, and clients and server to the
-- others, so that a rate tells what that one can do: also that of two programs
-- in a row, which share it. "epoll" is what the kernel allows: a front on bare
-- epoll, without any care; "lines only" gives nothing but slot lines. A probe
-- of another than these or a front ends with a line, too, which the server
-- sends; other clients of theirs ask at once. The relay has 1,000 connections
-- to give, and its rover makes another for each.

local uv = require "luv"
local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT, HELD = 1000, 1000
local PROBES, IN_FLIGHT = 10000, 64
local CLIENTS, AT_A_TIME = 4000, 16
local MS = 400
local SLOW = { socat = 40 } -- gets so many times fewer clients

local own, others = harness.cpus()
local back, greeting -- servers' ports; one sends slot lines

local function peer(...) return between.peer(others, ...) end

-- Contenders -----------------------------------------------------------------

-- Functions of the port to listen on and the server's; return the programs.
local starts = {}

starts["lines only"] = function()
  local program = harness.spawn(harness.BUILD .. "/bench/slot_server 1", own)
  return { program }, program:line()
end

for _, name in ipairs { "front", "haproxy", "nginx", "socat" } do
  starts[name] = function(port, server)
    return { between[name](port, server, { cpus = own }) }
  end
end

function starts.epoll(port, server)
  return { between.epoll(port, server, { cpus = own, slots = true }) }
end

for _, name in ipairs { "front", "haproxy" } do
  starts[name .. " v2"] = function(port, server)
    return { between[name](port, server, { cpus = own, sends = true }) }
  end
end

-- Two in a row.
local function startTwo(first, second, proxy)
  return function(port, server)
    local middle = between.freePort()
    return { between[second](middle, server, { cpus = own, accepts = proxy,
      sends = proxy }), between[first](port, tostring(middle), { cpus = own,
      sends = proxy, kept = KEPT, pace = "at-once" }) }
  end
end

starts["epoll + epoll"] = startTwo("epoll", "epoll")
starts["haproxy + haproxy"] = startTwo("haproxy", "haproxy")
starts["haproxy + haproxy v2"] = startTwo("haproxy", "haproxy", true)
starts["relay + front"] = startTwo("relay", "front")
starts["relay + front v2"] = startTwo("relay", "front", true)

local function start(name, server)
  local port = between.freePort()
  local programs, taken = starts[name](port, server)
  return { name = name, port = math.tointeger(taken or port),
    programs = programs, slow = SLOW[name] or 1,
    slots = (name:find "^front" or name == "epoll") and " slots" or "" }
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

local function probe(contender)
  local count = PROBES // contender.slow
  local rate, cpu = between.timed(contender, function()
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
  return between.timed(contender, function()
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
    return between.answers(contender, others, connections, size, MS)
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

-- Adds a row of what was measured under one name: of `ours`, of others and of
-- the limit.
local function row(results, what, figure, ours, others_, limit, aims)
  report.row(("%s, %s"):format(ours, figure), ours,
    harness.pick(what, results), { others = others_, limit = limit,
    aims = aims })
end

local function probes()
  local rest = { "haproxy", "haproxy v2", "nginx", "socat" }
  local all = startAll(greeting, "lines only", table.unpack(rest))
  table.insert(all, 1, start("front", back))
  local results = harness.alternate(all, harness.MANY_ROUNDS, probe)
  row(results, "value", ("probes/s, %d in flight"):format(IN_FLIGHT), "front",
    rest, "lines only",
    { "haproxy >= 1.5", "haproxy v2 >= 1.5", "lines only >= 0.9" })
  row(results, "cpu", "CPU µs a probe", "front", rest, "lines only")
end

-- Of joined connections: `rest` begins with the one that aims are about, and
-- has, as `ours`, a variant that sends PROXY headers.
local function joined(ours, limit, theirs, ...)
  local rest = { theirs, ... }
  local all = startAll(back, ours, limit, table.unpack(rest))
  local careful = { all[1], table.unpack(all, 3) }
  local function aim(text, variant)
    return { ("%s%s %s"):format(theirs, variant or "", text) }
  end

  local both = startAll(back, ours .. " v2", theirs .. " v2")
  table.move(all, 1, #all, #both + 1, both)
  local new = harness.alternate(both, harness.MANY_ROUNDS, clients)
  local text = ("new clients/s, %d at a time"):format(AT_A_TIME)
  row(new, "value", text, ours, rest, limit, aim ">= 1.2")
  row(new, "value", text, ours .. " v2", { theirs .. " v2" }, limit,
    aim(">= 1.2", " v2"))
  row(new, "cpu", "CPU µs a new client", ours, rest, limit)
  for _, size in ipairs { 64, 4096 } do
    for _, connections in ipairs { 1, 16, 256 } do
      local results = harness.alternate(all, harness.MANY_ROUNDS,
        answers(connections, size))
      text = ("%d B, %d connections"):format(size, connections)
      row(results, "value", "answers/s, " .. text, ours, rest, limit,
        aim ">= 1.2")
      row(results, "p99", "µs for 99% of answers, " .. text, ours, rest, limit,
        aim "<= 1.0")
      row(results, "cpu", "CPU µs an answer, " .. text, ours, rest, limit)
    end
  end
  for _, streams in ipairs { 1, 16 } do
    local results = harness.alternate(careful, nil, bytes(streams))
    text = ("%d streams"):format(streams)
    row(results, "value", "MB/s, " .. text, ours, rest, nil, aim ">= 1.3")
    row(results, "cpu", "CPU s/GB, " .. text, ours, rest)
  end
  row(harness.alternate(careful, nil, held), "value", "bytes a joined pair",
    ours, rest, nil, aim "<= 0.15")
end

return function()
  back, greeting = peer "serve 1":line(), peer "serve 1 slots":line()
  harness.within(probes)
  harness.within(joined, "front", "epoll", "haproxy", "nginx", "socat")
  harness.within(joined, "relay + front", "epoll + epoll", "haproxy + haproxy")
end
