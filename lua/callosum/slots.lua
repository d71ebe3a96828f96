local heap = require "callosum.pool.heap"
local options = require "callosum.options"

-- Slots: numbers from 0 up, of which the lowest free one is always next. get
-- and put take O(log n); memory is bounded by the most slots that were ever
-- taken at once.
--
-- What is taken is an index, the lowest free one; a weight makes it a slot, the
-- number that is handed out. Indices whose number is the same are alike, so of
-- these the highest is freed first, and those that are taken are always the
-- lowest of that number.
---@type callosum.SlotsModule
local slots = {}

-- The largest number in a slot line is 2^31 - 1.
local MOST = 1 << 31

-- Quotients are rounded: one this close to an integer, relatively, counts as
-- that integer. 1 / (1 / 3) is 3.
local OFF = 1e-14

local known = {
  { name = "max", type = "integer", min = 1, max = MOST, default = MOST,
    text = "How many slots may be taken at once" },
  { name = "weight", type = "number", min = 1 / 256, max = 256, default = 1,
    text = [[
The share of connections that a server with these slots takes, relative to
others: the i-th connection, from 0, has the slot ceil((i + 1) / weight) - 1, so
that with weight 2 slots are 0, 0, 1, 1, and with weight 1/2 1, 3, 5]] },
}

local SLOT = { name = "slot", type = "integer" }

local function isLower(a, b) return a < b end

-- Starts afresh: no slot is or was taken.
local function reset(self)
  self.out = {} -- by slot: the highest of its indices that is taken
  self.taken = 0 -- how many these are
  self.freed = heap.new(isLower) -- the indices below `unused` that are free
  self.unused = 0 -- the lowest index that was never taken
end

-- The slot of an index.
local function slotOf(self, index)
  local quotient = (index + 1) / self.weight
  if quotient >= MOST then return MOST - 1 end
  local whole = math.floor(quotient)
  local isWhole = whole > 0 and quotient - whole <= quotient * OFF
  return isWhole and whole - 1 or whole
end

local methods = {}
local metatable = { __name = "callosum.slots", __index = methods }

function methods:get()
  local index
  if #self.freed > 0 then
    index = self.freed:first()
    self.freed:remove(index)
  elseif self.unused < self.max then
    index = self.unused
    self.unused = index + 1
  else
    return nil, ("all %d slots are taken"):format(self.max), "EAGAIN"
  end
  local slot = slotOf(self, index)
  self.out[slot] = index
  self.taken = self.taken + 1
  return slot
end

function methods:put(slot)
  options.argument(2, slot, SLOT)
  -- Freed twice, it would be given to two connections.
  local index = self.out[slot]
  if not index then
    options.fail(2, ("slot %d is not taken"):format(slot))
  end
  if self.taken == 1 then
    -- That was the last one: release the memory that the busiest hour needed.
    reset(self)
  else
    local shared = index > 0 and slotOf(self, index - 1) == slot
    self.out[slot] = shared and index - 1 or nil
    self.taken = self.taken - 1
    self.freed:push(index)
  end
  return self
end

function methods:count()
  return self.taken
end

function slots.new(given)
  local own = options.check(1, given, known, "slots")
  local self = setmetatable({ max = own.max, weight = own.weight }, metatable)
  reset(self)
  return self
end

return slots
