-- Reloads: for how long the loop stands still, as the policy's own clock sees
-- it, while kept sockets change hands; and what a thousand leave in memory.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

-- Sockets, the aim in ms, and that beside an earlier build.
local SIZES = { { 0, 1 }, { 1000, 10 }, { 10000, 50, 0.4 } }
local STALLS, RELOADS, KEPT = 5, 1000, 100

local function start(build, count, kind, port)
  local program = harness.spawn(("%s/callosum-rover run "
    .. "spec/bench/reload_policy.lua %d %s %s 2>&1"):format(build, count, kind,
    port))
  program:line "^kept"
  return program
end

local function reload(program)
  program.handle:kill "sighup"
  return program:line "policy reloaded"
end

local function stall(build, count, port)
  local program, list = start(build, count, "clock", port), {}
  for i = 1, STALLS do
    program.handle:kill "sighup"
    list[i] = tonumber(program:line "^stall (.*)")
  end
  return (report.median(list))
end

-- Medians of ten reloads each.
local function growth(port)
  local program, memory = start(harness.BUILD, KEPT, "quiet", port), {}
  for i = 1, RELOADS do
    reload(program)
    memory[i] = program:memory()
  end
  local function around(i)
    return report.median { table.unpack(memory, i - 9, i) }
  end
  return around(RELOADS) / around(20)
end

return function()
  local port = harness.serve():match "%d+"
  local hosts = { { name = "policy", build = harness.BUILD } }
  if harness.BASE then hosts[2] = { name = "base", build = harness.BASE } end
  local points = {}
  for i, size in ipairs(SIZES) do
    local results = harness.pick("ms", harness.alternate(hosts, nil,
      function(each) return { ms = stall(each.build, size[1], port) } end))
    report.row(("ms the loop stands still, %d sockets"):format(size[1]),
      "policy", results, { others = harness.others "base",
      aims = { "<= " .. size[2], size[3] and "base <= " .. size[3] } })
    points[i] = { size[1], results }
  end
  report.plot({ name = "reload", x = "kept sockets", y = "ms",
    title = "A reload: for how long the loop stands still",
    lines = { "policy" } }, points)
  local results = harness.alternate({ { name = "policy" } }, nil, function()
    return { growth = growth(port) }
  end)
  report.row(("memory after %d reloads, of that after ten"):format(RELOADS),
    "policy", harness.pick("growth", results), { aims = { "<= 1.01" } })
end
