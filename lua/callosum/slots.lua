local options = require "callosum.pool.options"

--- Slots: numbers from 0 up, of which the lowest free one is always next.
---
--- A Callosum server gives each connection a slot, so that a slot tells how
--- loaded the server is. `get` and `put` take O(log n); memory is bounded by
--- the most slots that were ever out at once, however long this goes on.
---
---     local slots = require "callosum.slots"
---     local s = slots.new { max = 1000 }
---     local slot = s:get() --> 0
---     s:put(slot)
local slots = {}

-- A slot line carries no number above 2^31 - 1.
local MOST = 1 << 31
local known = { max = { MOST, options.integer(1, MOST) } }

-- Adds a slot to a binary heap, whose lowest slot is always its first.
local function push(heap, slot)
  local at = #heap + 1
  while at > 1 do
    local parent = at // 2
    if heap[parent] <= slot then break end
    heap[at] = heap[parent]
    at = parent
  end
  heap[at] = slot
end

-- Takes the lowest slot out of the heap, which must not be empty.
local function pop(heap)
  local lowest, last = heap[1], table.remove(heap)
  local size, at = #heap, 1
  while 2 * at <= size do
    local child = 2 * at
    if child < size and heap[child + 1] < heap[child] then
      child = child + 1
    end
    if last <= heap[child] then break end
    heap[at] = heap[child]
    at = child
  end
  if size > 0 then heap[at] = last end
  return lowest
end

-- Starts afresh: nothing is out, nothing was.
local function reset(self)
  self.out = {}
  self.taken = 0
  self.freed = {}
  self.unused = 0
end

--- A set of slots.
---@class callosum.Slots: callosum.SlotSource
---@field package max integer the most that may be out at once
---@field package out table<integer, true> which slots are out
---@field package taken integer how many these are
---@field package freed integer[] heap of slots below `unused` that are not out
---@field package unused integer the lowest slot that was never out
local methods = {}
local metatable = { __name = "callosum.slots", __index = methods }

--- Takes the lowest free slot.
---@return integer? slot from 0; nil when all `max` slots are out
---@return string? message
---@return string? code "EAGAIN"
function methods:get()
  local slot
  if #self.freed > 0 then
    slot = pop(self.freed)
  elseif self.unused < self.max then
    slot = self.unused
    self.unused = slot + 1
  else
    return nil, ("all %d slots are out"):format(self.max), "EAGAIN"
  end
  self.out[slot] = true
  self.taken = self.taken + 1
  return slot
end

--- Frees a slot. A slot that is not out is the caller's error, and changes
--- nothing: freed twice, it would go to two connections.
---@param slot integer what `get` returned
---@return callosum.Slots
function methods:put(slot)
  if math.type(slot) ~= "integer" then
    error(("a slot is an integer, not %s"):format(tostring(slot)), 2)
  end
  if not self.out[slot] then
    error(("slot %d is not out"):format(slot), 2)
  end
  if self.taken == 1 then
    -- That was the last one: let go of what the busiest hour needed.
    reset(self)
  else
    self.out[slot] = nil
    self.taken = self.taken - 1
    push(self.freed, slot)
  end
  return self
end

--- Tells how many slots are out.
---@return integer
function methods:count()
  return self.taken
end

---@class callosum.SlotsOptions
--- The most slots that may be out at once, 1 to 2147483648. Default: 2147483648
---@field max? integer

--- Makes a set of slots, all free.
---@param given? callosum.SlotsOptions
---@return callosum.Slots
function slots.new(given)
  local max = options.check(given, known, 2).max
  local self = setmetatable({ max = max }, metatable)
  reset(self)
  return self
end

return slots
