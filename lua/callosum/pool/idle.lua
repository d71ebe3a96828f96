local heap = require "callosum.pool.heap"

--- A pool's idle connections, as its way of checkout keeps them, except that
--- those of servers that are gone from the rover's list come last.
local idle = {}

---@class callosum.Idle
---@field package way table
---@field package listed any a collection that the way has made
---@field package gone callosum.Heap
local methods = {}
local metatable = { __name = "callosum.pool.idle", __index = methods }

---@param entry table
function methods:push(entry)
  local list = entry.server.gone and self.gone or self.listed
  list:push(entry)
end

---@param entry table
---@return boolean removed
function methods:remove(entry)
  return self.listed:remove(entry) or self.gone:remove(entry)
end

--- The one that is lent out next, which stays here.
---@return table? entry
function methods:next()
  if #self.listed > 0 then return self.way.next(self.listed) end
  return self.gone:first()
end

---@return integer count
function metatable:__len()
  return #self.listed + #self.gone
end

--- Makes an empty collection.
---@param way table one of checkout.ways
---@param latency callosum.Latency
---@param before fun(a: table, b: table): boolean the order of what is gone
---@return callosum.Idle
function idle.new(way, latency, before)
  return setmetatable({ way = way, listed = way.new(latency),
    gone = heap.new(before) }, metatable)
end

return idle
