-- Twenty clients of five servers, each with a pool of ten connections, in real
-- processes: started at once, left alone, and then all servers restarted one
-- after the other. Once with the pool's pacing and once with the reference's
-- fixed clock, side by side. Run by `make balance BALANCE=pacing`; its argument
-- is the folder of the built programs. Prints a table, and ends with 1 if one
-- of these is not so with the pacing:
--
-- * in the end the server with most connections has less than 1.10 times the
--   mean, and the one with least more than 0.8 times,
-- * fewer than half as many connections were opened as with the fixed clock,
-- * `callosum-rover simulate` finds the same: the connections opened and the
--   highest peak are within 3% of what it finds with ten seeds.
--
-- With SHORT set it takes 20 s, and only compares the connections opened with
-- simulate's, within 10%.
--
-- Intervals are a fifth of the defaults.

package.path = "./?.lua;" .. package.path

local uv = require "luv"
local fleet = require "spec.bench.fleet"

local SHORT = os.getenv "SHORT" -- on a machine that may be busy
local HOSTS, SERVERS, POOL = 20, 5, 10
local COLD, QUIET, DOWN, BETWEEN, SETTLE = 8000, 16000, 400, 1600, 16000 -- ms
if SHORT then COLD, QUIET, SETTLE = 2000, 4000, 3000 end
local PEAK, LEAST = 1.10, 0.8 -- of the mean
local LIMIT = 120 -- seconds for all of it
local SEEDS, OFF = 10, SHORT and 0.1 or 0.03 -- of simulated fleets

fleet.limit(LIMIT)

-- Each way of pacing has a fleet of its own.
local ways = { { name = "fixed clock", mode = "fixed" },
  { name = "paced", mode = "paced" } }

local function serve(way, i)
  way.servers[i] = fleet.spawn("callosum-rover", { "serve", "--log-level",
    "error", way.ports[i] }, nil, function()
    if not way.over then
      local timer = uv.new_timer()
      timer:start(DOWN, 0, function()
        timer:close()
        serve(way, i)
      end)
    end
  end)
end

for _, way in ipairs(ways) do
  way.ports, way.servers, way.hosts = fleet.freePorts(SERVERS), {}, {}
  way.samples, way.opened, way.said = {}, 0, 0
  for i = 1, SERVERS do serve(way, i) end
  local args = { "run", "--log-level", "error",
    "spec/bench/balance_pacing_policy.lua", way.mode,
    table.unpack(way.ports) }
  for i = 1, HOSTS do
    way.hosts[i] = fleet.spawn("callosum-rover", args, function(text)
      way.opened = way.opened + tonumber(text)
      way.said = way.said + 1
    end)
  end
end

-- Looking --------------------------------------------------------------------

local began = uv.hrtime()

local function sample()
  local counts = fleet.connections()
  for _, way in ipairs(ways) do
    local each = { at = (uv.hrtime() - began) / 1e9, total = 0, most = 0,
      least = math.huge }
    for i, port in ipairs(way.ports) do
      local n = counts[port] or 0
      each[i] = n
      each.total = each.total + n
      each.most, each.least = math.max(each.most, n), math.min(each.least, n)
    end
    each.mean = each.total / SERVERS
    each.balanced = each.most < PEAK * each.mean
      and each.least > LEAST * each.mean
    table.insert(way.samples, each)
  end
end
local sampler = uv.new_timer()
sampler:start(0, 100, sample)

fleet.sleep(COLD + QUIET)
local restarting = (uv.hrtime() - began) / 1e9
local restarted
for i = 1, SERVERS do
  for _, way in ipairs(ways) do way.servers[i]:kill "sigterm" end
  fleet.sleep(DOWN)
  restarted = (uv.hrtime() - began) / 1e9
  fleet.sleep(BETWEEN)
end
fleet.sleep(SETTLE)
sampler:stop()

for _, way in ipairs(ways) do
  way.over = true
  for _, handle in ipairs(way.hosts) do handle:kill "sigterm" end
end
repeat uv.run "once" until ways[1].said + ways[2].said == 2 * HOSTS
for _, way in ipairs(ways) do
  for _, handle in ipairs(way.servers) do handle:kill "sigterm" end
end
fleet.wait()

-- The table ------------------------------------------------------------------

-- Seconds after `from` until all is well and stays so, of samples up to `to`.
-- One sample alone may have met many probes.
local function since(way, from, to, isWell)
  local last, before = from, false
  for _, each in ipairs(way.samples) do
    local ill = each.at >= from and each.at < to and not isWell(each)
    if ill and before then last = each.at end
    before = ill
  end
  return last - from
end

local function isFull(each) return each.total >= HOSTS * POOL end
local function isBalanced(each) return each.balanced end

local function median(way, field)
  local list = {}
  for i = #way.samples - 19, #way.samples do -- two seconds
    local each = way.samples[i]
    list[#list + 1] = each[field] / each.mean
  end
  table.sort(list)
  return list[#list // 2]
end

print(("%d clients, %d servers, pools of %d; seconds at a fifth of the "
  .. "default intervals"):format(HOSTS, SERVERS, POOL))
print(("%-12s %7s %9s | %9s %9s %9s %9s | %7s"):format("", "full", "balanced",
  "restart", "balanced", "end", "end", "opened"))
print(("%-12s %7s %9s | %9s %9s %9s %9s | %7s"):format("", "after s",
  "after s", "peak/mean", "after s", "peak/mean", "min/mean", ""))
for _, way in ipairs(ways) do
  local peak, last = 0, 0 -- two samples in a row
  for _, each in ipairs(way.samples) do
    if each.at > restarting then
      peak = math.max(peak, math.min(last, each.most / each.mean))
      last = each.most / each.mean
    end
  end
  way.highest = peak
  way.peak, way.least = median(way, "most"), median(way, "least")
  print(("%-12s %7.1f %9.1f | %9.2f %9.1f %9.2f %9.2f | %7d"):format(way.name,
    since(way, 0, restarting, isFull), since(way, 0, restarting, isBalanced),
    peak, since(way, restarted, math.huge, isBalanced), way.peak, way.least,
    way.opened))
end

-- The same in virtual time ---------------------------------------------------

-- Returns the peak and the connections that were opened.
local function simulate(mode, seed)
  local pipe = assert(io.popen(("exec %s/callosum-rover simulate --seed %d "
    .. "--scenario spec/bench/balance_pacing_timeline.lua "
    .. "spec/bench/balance_pacing_policy.lua -- %s '{ports}' 2>&1")
    :format(fleet.build, seed, mode)))
  local peak, opened = pipe:read "a":match "peak (%S+) opened (%d+)"
  if not (pipe:close() and peak) then fleet.die "cannot simulate" end
  return tonumber(peak), tonumber(opened)
end

local function isWithin(value, list)
  return value >= (1 - OFF) * math.min(table.unpack(list))
    and value <= (1 + OFF) * math.max(table.unpack(list))
end

local same = true
for _, way in ipairs(ways) do
  local peaks, opened = {}, {}
  for seed = 1, SEEDS do
    peaks[seed], opened[seed] = simulate(way.mode, seed)
  end
  table.sort(peaks)
  table.sort(opened)
  print(("%-12s %7s %9s | %9.2f %9s %9s %9s | %7d"):format("  simulated",
    "", "", peaks[SEEDS // 2], "", "", "", opened[SEEDS // 2]))
  same = same and isWithin(way.opened, opened)
    and (SHORT or isWithin(way.highest, peaks))
end

local fixed, paced = ways[1], ways[2]
local well = SHORT and same or paced.peak < PEAK and paced.least > LEAST
  and paced.opened < fixed.opened / 2 and same
if not well then
  print "not as it should be: see spec/bench/balance_pacing.lua"
end
os.exit(well and 0 or 1)
