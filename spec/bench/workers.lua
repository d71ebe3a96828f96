-- Workers: a relay whose clients' bytes are copied in threads, by --threads,
-- beside one that does so on its loop (0).
--
-- What an answer costs with one thread and with two is measured on one
-- processor, with clients and servers on the others. Where there are at least
-- eight, the relay has four of them to show what two threads can do, and
-- clients and servers, two each, have the others. Beside a busy policy,
-- questions come at half the rate at which they could be answered, whatever
-- becomes of them, and nothing is pinned. What an idle policy's relay has of
-- waiting is the machine's.

local uv = require "luv"
local between = require "spec.bench.between"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local KEPT = 1000
local ANSWERS_MS, BUSY_MS = 1000, 3000
local MANY = 8 -- processors, of which the relay has half

local LOOP, ONE, TWO = "on the loop", "one thread", "two threads"
local IDLE = "beside an idle one"
local THREADS = { [LOOP] = 0, [ONE] = 1, [TWO] = 2 }

-- Starts a relay before two servers; `o` are options of between.relay().
local function start(name, cpus, o)
  local ports = {}
  for i = 1, 2 do ports[i] = between.peer(cpus, "serve 4 slots"):line() end
  o.kept, o.pace, o.threads = KEPT, "1", THREADS[name]
  local port = between.freePort()
  return { name = name, port = port, programs = {
    between.relay(port, table.concat(ports, " "), o) } }
end

local function row(results, what, figure, ours, others, aims)
  report.row("workers, " .. figure, ours, harness.pick(what, results),
    { others = others, aims = aims })
end

local function costs()
  local own, others = harness.cpus()
  local contenders = {}
  for i, name in ipairs { LOOP, ONE, TWO } do
    contenders[i] = start(name, others, { cpus = own })
  end
  for _, connections in ipairs { 16, 256 } do
    local results = harness.alternate(contenders, harness.MANY_ROUNDS,
      function(contender)
        return between.answers(contender, others, connections, 64, ANSWERS_MS)
      end)
    local text = ("64 B, %d connections"):format(connections)
    row(results, "cpu", "CPU µs an answer, " .. text, TWO, { ONE, LOOP },
      { ONE .. " <= 1.05" })
  end
end

-- Of two clients at once.
local function askTwice(contender, cpus)
  local programs, rate = {}, 0
  for i = 1, 2 do
    programs[i] = harness.spawn(("%s/bench/client_epoll ask-bare 128 64 %d %d")
      :format(harness.BUILD, ANSWERS_MS, contender.port), cpus)
  end
  for _, program in ipairs(programs) do
    rate = rate + tonumber((program:line "^(%S+) %S+$"))
    program:wait()
  end
  return { value = rate }
end

local function throughput()
  if #uv.cpu_info() < MANY then
    io.stderr:write("two threads are not compared with one: fewer than ", MANY,
      " processors\n")
    return
  end
  local own, others = harness.cpus(MANY // 2)
  local contenders = { start(ONE, others, { cpus = own }),
    start(TWO, others, { cpus = own }) }
  local results = harness.alternate(contenders, nil, function(contender)
    return askTwice(contender, others)
  end)
  row(results, "value", "answers/s, 64 B, 256 connections", TWO, { ONE },
    { ONE .. " >= 1.8" })
end

-- While a timer of the policy's is busy for half of each second.
local function busy()
  local contenders = { start(ONE, nil, { busy = 500 }),
    start(LOOP, nil, { busy = 500 }) }
  local idle = start(ONE, nil, {})
  idle.name = IDLE
  contenders[3] = idle
  local results = harness.alternate(contenders, nil, function(contender)
    local most = between.answers(idle, nil, 16, 64, ANSWERS_MS).value
    local program = between.peer(nil, "%d paced 16 64 %d %d", contender.port,
      most // 2, BUSY_MS)
    local part, late, latest = program:line "^(%S+) (%S+) (%S+)$"
    program:wait()
    return { part = tonumber(part), late = tonumber(late),
      latest = tonumber(latest) }
  end)
  row(results, "part", "part of the answers, beside a busy policy", ONE,
    { LOOP, IDLE }, { ">= 0.98" })
  row(results, "late", "ms for 99.9% of these", ONE, { LOOP, IDLE },
    { "<= 20" })
  row(results, "latest", "ms for the last of these", ONE, { LOOP, IDLE })
end

return function()
  harness.within(costs)
  harness.within(throughput)
  harness.within(busy)
end
