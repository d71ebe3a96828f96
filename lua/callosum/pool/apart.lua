local heap = require "callosum.pool.heap"

--- Idle connections by their order, like a heap, except that those of slow
--- servers come last. A server that has become slow is noticed when one of its
--- connections would be next, one that no longer is when the servers are judged.
local apart = {}

---@class callosum.Apart
---@field package latency callosum.Latency
---@field package quick callosum.Heap
---@field package slow callosum.Heap
local methods = {}
local metatable = { __name = "callosum.pool.apart", __index = methods }

---@param entry table
function methods:push(entry)
  local list = entry.server.slow and self.slow or self.quick
  list:push(entry)
end

---@param entry table
---@return boolean removed
function methods:remove(entry)
  return self.quick:remove(entry) or self.slow:remove(entry)
end

-- Moves what is no longer slow back.
local function restore(self)
  local slow = self.slow
  self.slow = heap.new(self.before)
  while #slow > 0 do
    local entry = slow:first()
    slow:remove(entry)
    self:push(entry)
  end
end

--- The one that goes before all others.
---@return table? entry
function methods:first()
  if self.latency:judge() then restore(self) end
  local entry = self.quick:first()
  while entry and entry.server.slow do
    self.quick:remove(entry)
    self.slow:push(entry)
    entry = self.quick:first()
  end
  return entry or self.slow:first()
end

---@return integer count
function metatable:__len()
  return #self.quick + #self.slow
end

--- Makes an empty collection.
---@param before fun(a: table, b: table): boolean
---@param latency callosum.Latency
---@return callosum.Apart
function apart.new(before, latency)
  return setmetatable({ before = before, latency = latency,
    quick = heap.new(before), slow = heap.new(before) }, metatable)
end

return apart
