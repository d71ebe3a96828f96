-- The relay beside haproxy in TCP mode (one thread), nginx's stream module (one
-- worker) and socat (a process for each client), all in front of like servers.
--
-- What is compared is pinned to one processor, and clients and servers to the
-- others. haproxy, nginx and socat connect to a server when a client has come,
-- and their servers send no slot lines. The relay has connections to give that
-- a rover keeps. "Clients on and on" are as many as there can be: the rover
-- makes another connection for each that is given, so the whole cost of one is
-- in it, slot line and all. "Clients at once" are half as many as connections
-- are kept, and the rover makes one a millisecond meanwhile. On loopback the
-- ends of the streams take more time than what is between them, so the
-- processor time that this takes is told, too. socat has a tenth of the clients
-- to serve; all would take minutes. "epoll" is what the kernel allows: a relay
-- on bare epoll, without any care, which for the clients on and on keeps
-- connections, too. System calls are counted by perf.

local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT, HELD = 1000, 1000
local ANSWERS_MS, COUNT_MS = 500, 300

local own, others = harness.cpus()

-- Contenders -----------------------------------------------------------------

local function peer(...) return between.peer(others, ...) end

-- What stands between client and servers, by name: functions of the port to
-- listen on that start it.
local starts = {}

function starts.relay(port)
  return between.relay(port, peer "serve 8 slots":line(),
    { kept = KEPT, pace = "at-once", cpus = own })
end

-- The same, but its rover takes its time.
function starts.paced(port)
  return between.relay(port, peer "serve 8 slots":line(),
    { kept = KEPT, pace = "1", cpus = own })
end

for _, name in ipairs { "haproxy", "nginx", "socat", "epoll" } do
  starts[name] = function(port)
    return between[name](port, peer "serve 8":line(), { cpus = own })
  end
end

-- Bare epoll with connections to give, as the relay has them.
function starts.kept(port)
  return between.epoll(port, peer "serve 8 slots":line(),
    { kept = KEPT, cpus = own })
end

local function start(name)
  local port = between.freePort()
  return { name = name, port = port, programs = { starts[name](port) },
    share = name == "socat" and 10 or 1 }
end

-- Those of these names that are there, with another of the project's at first.
local function startAll(ours, ...)
  local list = { start(ours) }
  list[1].name = "relay"
  for _, name in ipairs { ... } do
    if name == "epoll" or harness.isThere(name) then
      list[#list + 1] = start(name)
    end
  end
  return list
end

-- Measuring ------------------------------------------------------------------

-- Has a client do something; returns its number, and what the relay took.
local function ask(contender, ...)
  local words = (...):format(select(2, ...))
  return between.timed(contender, function()
    local program = peer("%d %s", contender.port, words)
    local number = tonumber((program:line()))
    program:wait()
    return number
  end)
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
    local share = count // contender.share
    local rate, cpu = ask(contender, "clients %d %d", concurrent, share)
    return { value = rate, cpu = cpu / share * 1e6 }
  end
end

local function first(contender)
  return { value = (ask(contender, "first 200")) }
end

-- Of one that has just been started.
local function held(contender)
  local fresh = start(contender.name)
  local before = between.memory(fresh.programs)
  local count = HELD // fresh.share
  peer("%d hold %d", fresh.port, count):line "held"
  return { value = (between.memory(fresh.programs) - before) / count }
end

local function answers(connections, size)
  return function(contender)
    return between.answers(contender, others, connections, size, ANSWERS_MS)
  end
end

-- What is between sends twice for an answer: the question, and the answer.
local function calls(connections)
  return function(contender)
    local all, sent
    between.answers(contender, others, connections, 64, ANSWERS_MS, function()
      all, sent = contender.programs[1]:systemCalls(COUNT_MS)
    end)
    return { value = all / (sent / 2) }
  end
end

-- Rows -----------------------------------------------------------------------

-- Adds a row of what was measured under one name, of all but bare epoll.
local function row(results, what, figure, contenders, aims)
  local rest, limit = {}, nil
  for i = 2, #contenders do
    local name = contenders[i].name
    if name == "epoll" then limit = name else rest[#rest + 1] = name end
  end
  report.row("relay, " .. figure, "relay", harness.pick(what, results),
    { others = rest, limit = limit, aims = aims })
end

local function streams(contenders)
  for _, count in ipairs { 1, 10, 100 } do
    local text = ("%d streams"):format(count)
    local results = harness.alternate(contenders, nil, bytes(count))
    row(results, "value", "MB/s, " .. text, contenders, { "haproxy >= 1.6" })
    row(results, "cpu", "CPU s/GB, " .. text, contenders, { "haproxy <= 0.5" })
  end
end

local function questions(contenders)
  for _, size in ipairs { 64, 4096 } do
    for _, connections in ipairs { 1, 16, 256, 2000 } do
      local text = ("%d B, %d connections"):format(size, connections)
      local results = harness.alternate(contenders, harness.MANY_ROUNDS,
        answers(connections, size))
      row(results, "value", "answers/s, " .. text, contenders,
        { "haproxy >= 1.3", "nginx >= 1.3" })
      row(results, "p99", "µs for 99% of answers, " .. text, contenders,
        { "haproxy <= 0.9", "nginx <= 0.9" })
      row(results, "cpu", "CPU µs an answer, " .. text, contenders,
        { "haproxy <= 0.75" })
    end
  end
  if not harness.isThere "perf" then return end
  for _, connections in ipairs { 1, 16, 256, 2000 } do
    local results = harness.alternate(contenders, nil, calls(connections))
    row(results, "value", ("system calls an answer, %d connections"):format(
      connections), contenders, { "haproxy <= 0.75" })
  end
end

return function()
  local all = startAll("relay", "haproxy", "nginx", "socat")
  local few = startAll("relay", "epoll", "haproxy", "nginx")
  local paced = startAll("paced", "haproxy", "nginx", "socat")
  streams(all)
  questions(few)
  local on = { table.unpack(all) }
  on[#on + 1] = start "kept"
  on[#on].name = "epoll"
  local results = harness.alternate(on, harness.MANY_ROUNDS, clients(16, 6000))
  row(results, "value", "clients/s, on and on, 16 at a time", on,
    { "haproxy >= 1.3" })
  row(results, "cpu", "CPU µs a client", on)
  results = harness.alternate(paced, nil, clients(KEPT // 2, KEPT // 2))
  row(results, "value", ("clients/s, %d at once"):format(KEPT // 2), paced,
    { "haproxy >= 1", "socat >= 1" })
  row(harness.alternate(paced, nil, first), "value", "µs to the first byte",
    paced, { "haproxy <= 1", "socat <= 1" })
  row(harness.alternate(all, nil, held), "value", "bytes a joined pair", all,
    { "haproxy <= 1", "socat <= 1" })
end
