-- Reloads: for how long the loop stands still, as the policy's own clock sees
-- it, while kept sockets change hands; and what a thousand leave in memory.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local SIZES = { { 0, 1 }, { 1000, 10 }, { 10000, 50 } } -- sockets, aim in ms
local STALLS, RELOADS, KEPT = 11, 1000, 100

local function start(count, kind, port)
  local program = harness.spawn(("%s/callosum-rover run "
    .. "spec/bench/reload_policy.lua %d %s %s 2>&1"):format(harness.BUILD,
    count, kind, port))
  program:line "^kept"
  return program
end

local function reload(program)
  program.handle:kill "sighup"
  return program:line "policy reloaded"
end

local function stalls(count, port)
  local list = {}
  return harness.within(function()
    local program = start(count, "clock", port)
    for i = 1, STALLS do
      program.handle:kill "sighup"
      list[i] = tonumber(program:line "^stall (.*)")
    end
    return list
  end)
end

-- Medians of ten reloads each.
local function growth(port)
  local program, memory = start(KEPT, "quiet", port), {}
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
  local points = {}
  for i, size in ipairs(SIZES) do
    local results = { policy = stalls(size[1], port) }
    report.row(("ms the loop stands still, %d sockets"):format(size[1]),
      "policy", results, { aims = { "<= " .. size[2] } })
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
