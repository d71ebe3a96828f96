local options = require "callosum.pool.options"

-- Slots: numbers from 0 up, of which the lowest free one is always next. get
-- and put take O(log n); memory is bounded by the most slots that were ever
-- taken at once.
---@type callosum.SlotsModule
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
  self.out = {} -- set of the slots that are out
  self.taken = 0 -- how many these are
  self.freed = {} -- heap of the slots below `unused` that are not out
  self.unused = 0 -- the lowest slot that was never out
end

local methods = {}
local metatable = { __name = "callosum.slots", __index = methods }

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

function methods:put(slot)
  if math.type(slot) ~= "integer" then
    error(("a slot is an integer, not %s"):format(tostring(slot)), 2)
  end
  -- Freed twice, it would go to two connections.
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

function methods:count()
  return self.taken
end

function slots.new(given)
  local max = options.check(given, known, 2).max
  local self = setmetatable({ max = max }, metatable)
  reset(self)
  return self
end

return slots
