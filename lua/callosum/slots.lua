local heap = require "callosum.pool.heap"
local options = require "callosum.options"

-- Slots: numbers from 0 up, of which the lowest free one is always next. get
-- and put take O(log n); memory is bounded by the most slots that were ever
-- taken at once.
---@type callosum.SlotsModule
local slots = {}

-- The largest number in a slot line is 2^31 - 1.
local MOST = 1 << 31
local known = {
  { name = "max", type = "integer", min = 1, max = MOST, default = MOST,
    text = "How many slots may be taken at once" },
}

local SLOT = { name = "slot", type = "integer" }

local function isLower(a, b) return a < b end

-- Starts afresh: no slot is or was taken.
local function reset(self)
  self.out = {} -- set of the slots that are taken
  self.taken = 0 -- how many these are
  self.freed = heap.new(isLower) -- the slots below `unused` that are free
  self.unused = 0 -- the lowest slot that was never taken
end

local methods = {}
local metatable = { __name = "callosum.slots", __index = methods }

function methods:get()
  local slot
  if #self.freed > 0 then
    slot = self.freed:first()
    self.freed:remove(slot)
  elseif self.unused < self.max then
    slot = self.unused
    self.unused = slot + 1
  else
    return nil, ("all %d slots are taken"):format(self.max), "EAGAIN"
  end
  self.out[slot] = true
  self.taken = self.taken + 1
  return slot
end

function methods:put(slot)
  options.argument(2, slot, SLOT)
  -- Freed twice, it would be given to two connections.
  if not self.out[slot] then
    options.fail(2, ("slot %d is not taken"):format(slot))
  end
  if self.taken == 1 then
    -- That was the last one: release the memory that the busiest hour needed.
    reset(self)
  else
    self.out[slot] = nil
    self.taken = self.taken - 1
    self.freed:push(slot)
  end
  return self
end

function methods:count()
  return self.taken
end

function slots.new(given)
  local max = options.check(1, given, known, "slots").max
  local self = setmetatable({ max = max }, metatable)
  reset(self)
  return self
end

return slots
