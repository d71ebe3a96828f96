local options = require "callosum.options"

--- Which of a pool's idle connections is lent out next, and what leases tell
--- about their servers for that purpose.
local checkout = {}

-- How much longer a lease counts that ended with its connection, in
-- nanoseconds: otherwise a server that fails at once would be the fastest of
-- all.
local FAILURE = 1e9

--- Orders by slot, and by age where slots are equal.
---@param a table has a `slot` and a `serial`, as all connections of a pool
---@param b table
---@return boolean
function checkout.lowest(a, b)
  if a.slot ~= b.slot then return a.slot < b.slot end
  return a.serial < b.serial
end

local function leastRecent(a, b) return a.since < b.since end

-- How long leases of this connection's server have taken lately, in
-- nanoseconds. It halves every ten seconds, so that a server which was slow
-- once is tried again.
local function latency(entry, time)
  local server = entry.server
  return server.latency * 0.5 ^ ((time - server.measured) / 10e9)
end

--- Records a lease that is over. Slowness counts at once, and wears off.
---@param entry table
---@param failed? boolean whether the connection is over as well
function checkout.measure(entry, failed)
  local server, time = entry.server, options.now()
  local took, known = time - entry.began, latency(entry, time)
  if failed then took = math.max(took + FAILURE, known) end
  server.latency = took > known and took or known + 0.3 * (took - known)
  server.measured = time
end

local function first(idle) return idle:first() end
local function random(idle) return idle:random() end
local function quicker(idle)
  local one, other, time = idle:random(), idle:random(), options.now()
  return latency(one, time) <= latency(other, time) and one or other
end

--- The ways to choose, by name: each has the order of idle connections in a
--- heap, and a function that returns the next one of the heap.
checkout.ways = {
  lowest = { order = checkout.lowest, next = first },
  leastRecent = { order = leastRecent, next = first },
  random = { order = checkout.lowest, next = random },
  ewma = { order = checkout.lowest, next = quicker },
}

return checkout
