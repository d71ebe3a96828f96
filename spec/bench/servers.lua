-- Servers: what it takes to have many, and to pick one of them.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local FEW = 1000 -- to compare with
local SIZES = { 1000, 100000, 1000000 }
local SCATTERED = 6180339 -- the step between ids, of seven digits

local function start(client, count, step)
  local program = harness.spawn(("%s servers %d %d"):format(client.command,
    count, step or 1))
  local seconds = program:line "added (.*)"
  return program, program:memory(), tonumber(seconds)
end

local function measure(count)
  return function(client)
    local _, few = harness.within(start, client, FEW)
    local program, memory, seconds = start(client, count)
    return { seconds = seconds / count * 1e6,
      pick = client.name:find "C API" and tonumber(program:line()) or nil,
      bytes = count > FEW and (memory - few) / (count - FEW) or nil }
  end
end

-- Rows of both, beside those of an earlier build.
local function rows(figure, results, aims)
  report.row(figure, "C API", results, { others = harness.others "base C API",
    aims = { aims[1], aims[2] and "base C API " .. aims[2] } })
  report.row(figure, "policy", results, { others = harness.others "base",
    aims = { aims[1], aims[2] and "base " .. aims[2] } })
end

return function()
  local clients = harness.clients("C API", "policy", "base C API", "base")
  local points, all = {}, {}
  for i, count in ipairs(SIZES) do
    all[i] = harness.alternate(clients, nil, measure(count))
    local picks = harness.pick("pick", all[i])
    points[i] = { count, picks }
    report.row(("ns per pick among %d servers"):format(count), "C API", picks,
      { others = harness.others "base C API", aims = { "<= 1000" } })
  end
  report.plot({ name = "pick", x = "servers", y = "ns", log = "x",
    title = "A random pick of a server", lines = { "C API" } }, points)
  for i, count in ipairs(SIZES) do
    rows(("s per million servers, adding %d"):format(count),
      harness.pick("seconds", all[i]), { "<= 1" })
  end
  local most = SIZES[#SIZES]
  local scattered = harness.alternate(clients, nil, function(client)
    local _, _, seconds = start(client, most, SCATTERED)
    return { seconds = seconds / most * 1e6 }
  end)
  rows(("s per million servers, adding %d, ids in no order"):format(most),
    harness.pick("seconds", scattered), { "<= 1", "<= 0.5" })
  for i, count in ipairs(SIZES) do
    if count > FEW then
      rows(("bytes per server, of %d"):format(count),
        harness.pick("bytes", all[i]), { "<= 200" })
    end
  end
end
