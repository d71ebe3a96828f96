local apart = require "callosum.pool.apart"
local heap = require "callosum.pool.heap"
local latency = require "callosum.pool.latency"
local options = require "callosum.options"

--- Which of a pool's idle connections is lent out next.
local checkout = {}

--- Orders by slot, and by age where slots are equal.
---@param a table has a `slot` and a `serial`, as all connections of a pool
---@param b table
---@return boolean
function checkout.lowest(a, b)
  if a.slot ~= b.slot then return a.slot < b.slot end
  return a.serial < b.serial
end

local function leastRecent(a, b) return a.since < b.since end

local function ordered(before)
  return function() return heap.new(before) end
end

local function first(idle) return idle:first() end
local function random(idle) return idle:random() end

-- Three different numbers from 1 to n, or as many as there are.
local function threeOf(n)
  if n < 3 then return 1, n > 1 and 2 or nil end
  local a, b, c = math.random(n), math.random(n - 1), math.random(n - 2)
  if b >= a then b = b + 1 end
  if c >= math.min(a, b) then c = c + 1 end
  if c >= math.max(a, b) then c = c + 1 end
  return a, b, c
end

-- Of three different ones, so that one of a slow server is the best only if all
-- are of slow servers.
local function quickest(idle)
  local best, least, time = nil, math.huge, options.now()
  for _, place in ipairs { threeOf(#idle) } do
    local entry = idle:item(place)
    local ns = latency.of(entry.server, time)
    if ns < least then best, least = entry, ns end
  end
  return best
end

--- The ways to choose, by name: each has a function that makes a collection of
--- idle connections, and one that returns the next one of that.
checkout.ways = {
  lowestFast = { new = function(latencies)
    return apart.new(checkout.lowest, latencies)
  end, next = first },
  lowest = { new = ordered(checkout.lowest), next = first },
  leastRecent = { new = ordered(leastRecent), next = first },
  random = { new = ordered(checkout.lowest), next = random },
  ewma = { new = ordered(checkout.lowest), next = quickest },
}

return checkout
