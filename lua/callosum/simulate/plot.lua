--- Pictures of simulated runs: the connections of each server and the latencies
-- over time, and how many connections have each slot at the end. There is a run
-- for each policy, and each sample has a number for each server:
--
--   { policy =, hosts =, servers = { names }, scenario =, seed =, duration = s,
--     samples = { { at = s, n, n, … }, … },
--     events = { { at = s, till = s or nil, text =, server = index or nil },
--       … },
--     latency = { { at = s, lost =, p50 = ms, p99 =, p999 = }, … } or nil,
--     slots = { [slot] = how many connections have it at the end } }

local chart = require "callosum.simulate.chart"

local plot = {}

local FEW, SOME = 6, 40 -- servers with a colour each, and with a line each
local NAMED = 3 -- servers that are drawn apart, since events name them
local PERCENTILES = { { "p50", "p50" }, { "p99", "p99" }, { "p999", "p99.9" } }

local function plural(count, noun)
  return ("%s %s%s"):format(chart.number(count), noun, count == 1 and "" or "s")
end

local function headOf(runs, title)
  local first, longest = runs[1], 0
  for _, run in ipairs(runs) do longest = math.max(longest, run.duration) end
  local what = { plural(first.hosts, "host"), plural(#first.servers, "server") }
  if first.scenario then table.insert(what, 1, first.scenario) end
  if first.seed then what[#what + 1] = "seed " .. first.seed end
  return { title = title, subtitle = table.concat(what, ", "), from = 0,
    to = longest, label = "virtual time, s" }
end

-- Panels become lower the more there are.
local function heightFor(count)
  return math.max(90, math.min(240, 560 // count))
end

-- Events -----------------------------------------------------------------------

-- Rows of the strip: a row for each first word of the events' texts, the rest
-- of a text its label. What all policies met is shown once.
local function rowsOf(runs)
  local rows, byName, known = {}, {}, {}
  for _, run in ipairs(runs) do
    for _, event in ipairs(run.events or {}) do
      local key = event.at .. " " .. event.text
      if not known[key] then
        known[key] = true
        local name, rest = event.text:match "^(%S+)%s*(.*)$"
        local row = byName[name or ""]
        if name and not row then
          row = { name = name }
          byName[name], rows[#rows + 1] = row, row
        end
        if name then
          row[#row + 1] = { at = event.at, till = event.till, text = rest }
        end
      end
    end
  end
  for _, row in ipairs(rows) do
    table.sort(row, function(a, b) return a.at < b.at end)
  end
  return rows
end

-- The servers that events name, in order, if they are few.
local function namedServers(run)
  local list, known = {}, {}
  for _, event in ipairs(run.events or {}) do
    if event.server and not known[event.server] then
      known[event.server], list[#list + 1] = true, event.server
    end
  end
  return #list <= NAMED and list or {}
end

-- Connections ------------------------------------------------------------------

-- A line of what `value` returns for each sample.
local function series(run, value)
  local points = {}
  for i, sample in ipairs(run.samples) do
    points[i] = { sample.at, value(sample) }
  end
  return points
end

local function countOf(server)
  return function(sample) return sample[server] end
end

local function meanOf(run)
  return function(sample)
    local total = 0
    for i = 1, #run.servers do total = total + (sample[i] or 0) end
    return total / #run.servers
  end
end

local function last(run, value)
  local sample = run.samples[#run.samples]
  return sample and value(sample) or 0
end

local function mostOf(run)
  local most = 0
  for _, sample in ipairs(run.samples) do
    for i = 1, #run.servers do most = math.max(most, sample[i] or 0) end
  end
  return most
end

-- The greatest count of any server since the first event: { at, count, server }.
local function worstOf(run)
  local first = run.events and run.events[1]
  local worst = { 0, 0, 1 }
  for _, sample in ipairs(run.samples) do
    for server = 1, #run.servers do
      local count = sample[server] or 0
      if count > worst[2] and sample.at >= (first and first.at or 0) then
        worst = { sample.at, count, server }
      end
    end
  end
  return worst
end

local function drawLabelled(panel, run, server, colour)
  local name, value = run.servers[server], countOf(server)
  panel:line(series(run, value), "line c" .. colour, name)
  panel:label(last(run, value), ("%s  %s"):format(name,
    chart.number(last(run, value))), "f" .. colour)
end

-- The least, a tenth, half, nine tenths and the greatest of the counts in each
-- sample, of servers that have connections: each time a line.
local function spreadOf(run)
  local lines = { {}, {}, {}, {}, {} }
  for i, sample in ipairs(run.samples) do
    local counts = {}
    for server = 1, #run.servers do
      local count = sample[server] or 0
      if count > 0 then counts[#counts + 1] = count end
    end
    table.sort(counts)
    for k, share in ipairs { 0, 0.1, 0.5, 0.9, 1 } do
      local at = 1 + math.floor(share * (#counts - 1) + 0.5)
      lines[k][i] = { sample.at, counts[at] or 0 }
    end
  end
  return lines
end

local function drawSpread(panel, run)
  local lines = spreadOf(run)
  panel:band(lines[1], lines[5], "f1")
  panel:band(lines[2], lines[4], "f1")
  panel:line(lines[3], "line c1", "median")
  local named = { "least", nil, "median", nil, "most" }
  for k, name in pairs(named) do
    local points = lines[k]
    local value = #points > 0 and points[#points][2] or 0
    panel:label(value, ("%s  %s"):format(name, chart.number(value)), "f1")
  end
end

local function drawEach(panel, run)
  local mean = meanOf(run)
  for server, name in ipairs(run.servers) do
    panel:line(series(run, countOf(server)), "thin c1", name)
  end
  panel:line(series(run, mean), "line c0", "mean")
  panel:label(last(run, mean), ("mean  %.4g"):format(last(run, mean)), "f0")
end

local function drawConnections(picture, run, max, height)
  local count = #run.servers
  local what = count <= FEW and "connections of each server"
    or count <= SOME and "connections: a line for each server"
    or "connections of a server: least to most, middle 80%, median"
  local panel = picture:panel { name = run.policy, label = what, min = 0,
    max = max, height = height }
  if count <= FEW then
    for server = 1, count do drawLabelled(panel, run, server, server) end
  else
    if count <= SOME then drawEach(panel, run) else drawSpread(panel, run) end
    for i, server in ipairs(namedServers(run)) do
      drawLabelled(panel, run, server, i + 1)
    end
    local at, most, server = table.unpack(worstOf(run))
    if most > 0 then
      panel:note(at, most, ("most: %s, %s at %s s"):format(run.servers[server],
        chart.number(most), chart.number(at)))
    end
  end
end

local function connections(runs)
  local max = 0
  for _, run in ipairs(runs) do max = math.max(max, mostOf(run)) end
  local picture = chart.new(headOf(runs, "Connections per server"))
  picture:strip(rowsOf(runs))
  for _, run in ipairs(runs) do
    drawConnections(picture, run, max * 1.1, heightFor(#runs))
  end
  return picture:text()
end

-- Latency ----------------------------------------------------------------------

-- Lines { name, points, colour } of what `value` returns for each bin of a run.
local function lineOf(run, name, colour, value)
  local points = {}
  for i, bin in ipairs(run.latency or {}) do
    points[i] = { bin.at, value(bin) }
  end
  return { name = name, points = points, colour = colour }
end

-- A panel with these lines, if there is anything in them above 0.
local function drawLines(picture, lines, about)
  local min, max = math.huge, 0
  for _, line in ipairs(lines) do
    for _, point in ipairs(line.points) do
      if point[2] then
        min, max = math.min(min, point[2]), math.max(max, point[2])
      end
    end
  end
  if max == 0 then return end
  about.min, about.max = about.log and min or 0, max
  local panel = picture:panel(about)
  for _, line in ipairs(lines) do
    local ending
    for _, point in ipairs(line.points) do ending = point[2] or ending end
    if ending then
      panel:line(line.points, "line c" .. line.colour, line.name)
      panel:label(ending, line.name, "f" .. line.colour)
    end
  end
end

local function colourOf(i) return (i - 1) % chart.COLOURS + 1 end

-- A line for each policy.
local function compare(picture, runs, value, about)
  local lines = {}
  for i, run in ipairs(runs) do
    lines[i] = lineOf(run, run.policy, colourOf(i), value(run))
  end
  drawLines(picture, lines, about)
end

local function field(name)
  return function(bin) return bin[name] end
end

-- Of one policy the percentiles in one panel; of several, a panel for each.
local function drawLatency(picture, runs)
  local run = runs[1]
  local about = { label = "latency, ms", log = true, name = run.policy,
    height = 280 }
  if #runs == 1 then
    local lines = {}
    for i, percentile in ipairs(PERCENTILES) do
      lines[i] = lineOf(run, percentile[2], i, field(percentile[1]))
    end
    return drawLines(picture, lines, about)
  end
  for _, percentile in ipairs(PERCENTILES) do
    about.name, about.height = percentile[2], heightFor(#PERCENTILES)
    compare(picture, runs, function() return field(percentile[1]) end, about)
  end
end

-- How many requests of a bin were lost in a second of it.
local function lostIn(run)
  local first, second = table.unpack(run.latency or {}, 1, 2)
  local seconds = second and second.at - first.at or 1
  return function(bin) return (bin.lost or 0) / seconds end
end

local function latency(runs)
  local with = 0
  for _, run in ipairs(runs) do
    with = with + (run.latency and #run.latency > 0 and 1 or 0)
  end
  if with == 0 then return nil end
  local picture = chart.new(headOf(runs, "Latency of requests"))
  picture:strip(rowsOf(runs))
  drawLatency(picture, runs)
  compare(picture, runs, lostIn, { name = "lost",
    label = "requests per second", height = 80 })
  return picture:text()
end

-- Slots ------------------------------------------------------------------------

local function highestOf(run)
  local highest, total = 0, 0
  for slot, count in pairs(run.slots) do
    if count > 0 then highest = math.max(highest, slot) end
    total = total + count
  end
  return highest, total
end

local function slots(runs)
  local highest, max = 0, 0
  for _, run in ipairs(runs) do
    highest = math.max(highest, (highestOf(run)))
    for _, count in pairs(run.slots) do max = math.max(max, count) end
  end
  local head = headOf(runs, "Slots at the end")
  head.to, head.label = (highest + 1) * 1.04, "slot"
  local picture = chart.new(head)
  for _, run in ipairs(runs) do
    local panel = picture:panel { name = run.policy,
      label = "servers with a connection in the slot", min = 0,
      max = max * 1.2, height = heightFor(#runs) // 2 + 40 }
    local top, ground = {}, {}
    for slot = 0, highest do
      local count = run.slots[slot] or 0
      for _, x in ipairs { slot, slot + 1 } do
        top[#top + 1], ground[#ground + 1] = { x, count }, { x, 0 }
      end
    end
    panel:band(ground, top, "f1")
    panel:line(top, "line c1")
    local _, total = highestOf(run)
    local share = total / #run.servers
    panel:upright(share, ("fair share %.4g"):format(share))
  end
  return picture:text()
end

-- Names ------------------------------------------------------------------------

-- The same runs, of policies without their folders, unless several are called
-- the same.
local function named(runs)
  local list, count = {}, {}
  for _, run in ipairs(runs) do
    local name = run.policy:match "[^/]*$"
    count[name] = (count[name] or 0) + 1
  end
  for i, run in ipairs(runs) do
    local name = run.policy:match "[^/]*$"
    list[i] = setmetatable({ policy = count[name] == 1 and name or nil },
      { __index = run })
  end
  return list
end

-- The pictures -----------------------------------------------------------------

--- Draws all that there is to draw.
---@param runs table array of runs, one a policy
---@return table texts SVG by the file's name
function plot.files(runs)
  runs = named(runs)
  return { ["connections.svg"] = connections(runs),
    ["latency.svg"] = latency(runs), ["slots.svg"] = slots(runs) }
end

--- Writes the pictures into a folder that exists.
---@param folder string
---@param runs table as of plot.files
---@return boolean? ok or nil and a message
---@return string? message
function plot.write(folder, runs)
  for name, text in pairs(plot.files(runs)) do
    local path = folder .. "/" .. name
    local file, message = io.open(path, "w")
    local ok = file and file:write(text)
    if file then
      local closed, why = file:close()
      ok, message = ok and closed, why
    end
    if not ok then return nil, "cannot write the plot " .. message end
  end
  return true
end

return plot
