-- How fast the simulator runs a fleet, and how much memory that takes. With
-- SKETCH=PROGRAM it is compared with another program that takes the options of
-- the first sketch of it.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local HOSTS, SERVERS, SECONDS = 1000, 20, 80
local TICKS = 100 -- of CPU time in a second
local POLICY = "spec/bench/simulate_policy.lua"
local SIMULATE = "%s/callosum-rover simulate --hosts %d --servers %d --for %d "
  .. "--scenario %s " .. POLICY .. " -- %s '{ports}'"
local SKETCH = "env LUA_SHARE=lua/ %s -N %d -S %d -m balance " .. POLICY
  .. " %s 2>&1"

local function simulated(way)
  local program = harness.spawn(SIMULATE:format(harness.BUILD, HOSTS, SERVERS,
    SECONDS, "spec/bench/simulate_timeline.lua", way))
  local said = "^(%d+) opened, (%d+) ticks, (%d+) KB$"
  local openedBefore, ticksBefore = program:line(said)
  local opened, ticks, memory = program:line(said)
  program:wait()
  return { rate = (opened - openedBefore) / (ticks - ticksBefore) * TICKS,
    memory = memory / HOSTS }
end

local function sketched(way)
  local program = harness.spawn(SKETCH:format(os.getenv "SKETCH", HOSTS,
    SERVERS, way))
  local rate, memory = program:line "(%d+) attempts/s.* ([%d.]+) KB each now"
  program:wait()
  return { rate = tonumber(rate), memory = tonumber(memory) }
end

local function many(hosts, servers, seconds)
  local began, most = uv.hrtime(), 0
  local program = harness.spawn(SIMULATE:format(harness.BUILD, hosts, servers,
    seconds, "roll", "paced"))
  local timer = uv.new_timer()
  timer:start(0, 200, function() most = math.max(most, program:peak()) end)
  repeat uv.run "once" until program.code
  timer:close()
  return { seconds = (uv.hrtime() - began) / 1e9, memory = most / 2 ^ 30 }
end

return function()
  local ours = "simulate"
  local contenders = { { name = ours, run = simulated } }
  if os.getenv "SKETCH" then
    contenders[2] = { name = "sketch", run = sketched }
  end
  for _, each in ipairs { { "pool", 4 }, { "plain" },
      { "limit", nil, "plain", "plain with a slot limit" },
      { "declared", 3, "plain", "plain, as maxKept" } } do
    local way, aim, theirs, name = table.unpack(each, 1, 4)
    local results = harness.alternate(contenders, nil, function(contender)
      return contender.run(contender.name == ours and way or theirs or way)
    end)
    local of = (", %d hosts, %s"):format(HOSTS, name or way)
    report.row("attempts a CPU second" .. of, ours,
      harness.pick("rate", results),
      { others = { contenders[2] and "sketch" },
        aims = { aim and ("sketch >= %d"):format(aim) } })
    report.row("KB a host" .. of, ours, harness.pick("memory", results),
      { others = { contenders[2] and "sketch" },
        aims = { "sketch <= 0.6" } })
  end
  local results = harness.alternate({ { name = ours } }, 1, function()
    return many(10000, 500, 600)
  end)
  local of = ", 10000 hosts, 500 servers, 600 s"
  report.row("seconds" .. of, ours, harness.pick("seconds", results),
    { aims = { "<= 120" } })
  report.row("GB" .. of, ours, harness.pick("memory", results),
    { aims = { "<= 4" } })
end
