local options = require "callosum.options"

--- How long the leases of each of a pool's servers have taken lately, and which
--- servers are slow by comparison. Times are in nanoseconds.
local latency = {}

-- How much longer a failed lease counts: otherwise a server that fails at once
-- would be the fastest of all.
local FAILURE = 1e9

-- In this time, what is known about a server halves, so that one which was slow
-- once is tried again.
local HALF_LIFE = 10e9

-- A server is slow if its leases take this many times as long as those of the
-- median server. The median is taken this often.
local SLOW, PERIOD = 2, 200e6

---@class callosum.Latency
---@field package servers table<string, table> the pool's, by id
---@field package judged integer when the median was last taken
---@field package limit number from which a server is slow
local methods = {}
local metatable = { __name = "callosum.pool.latency", __index = methods }

--- How long the leases of a server have taken.
---@param server table
---@param time integer now
---@return number
function latency.of(server, time)
  return server.latency * 0.5 ^ ((time - server.measured) / HALF_LIFE)
end

--- Records that a lease begins. When its slowness has worn off, a server is
--- tried by one lease, and counts as slow until that is over.
---@param entry table
---@param time integer now
function latency.begin(entry, time)
  entry.began = time
  if entry.server.trial then entry.server.slow = true end
end

--- Records a lease that is over. The first of a server, and one that tries it
--- again, say all that is known about it.
---@param entry table
---@param failed boolean
function methods:measure(entry, failed)
  local server, time = entry.server, options.now()
  local took, known = time - entry.began, latency.of(server, time)
  if failed then took = math.max(took + FAILURE, known) end
  local isFirst = server.trial or server.measured == 0
  server.latency = isFirst and took or known + 0.3 * (took - known)
  server.measured = time
  server.slow, server.trial = server.latency > self.limit, nil
end

local function median(servers, time)
  local times = {}
  for _, server in pairs(servers) do
    if server.measured > 0 then
      times[#times + 1] = latency.of(server, time)
    end
  end
  table.sort(times)
  return times[(#times + 1) // 2] or math.huge
end

--- Judges anew which servers are slow, if that is due.
---@return boolean whether one that was slow is not any more
function methods:judge()
  local time, better = options.now(), false
  if time - self.judged < PERIOD then return false end
  self.judged = time
  self.limit = SLOW * median(self.servers, time)
  for _, server in pairs(self.servers) do
    if latency.of(server, time) > self.limit then
      server.slow, server.trial = true, nil
    elseif server.slow and not server.trial then
      server.slow, server.trial, better = false, true, true
    end
  end
  return better
end

--- Makes the record of a pool's servers, each a table in which it has the
--- fields `latency`, `measured` and `slow`.
---@param servers table<string, table>
---@return callosum.Latency
function latency.new(servers)
  return setmetatable({ servers = servers, judged = 0, limit = math.huge },
    metatable)
end

return latency
