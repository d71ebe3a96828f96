--- When a rover should attempt next, and which of its servers should be let be:
--- for policies that do not want a fixed clock. Told how attempts end, it asks
--- the rover for the next one; an attempt that ends in no event (an `error`, or
--- nobody to ask) is followed by the rover's own interval.
local options = require "callosum.pool.options"

local pacing = {}

-- So many probes in a row are rejected by chance while there is still something
-- to gain; from then on the interval grows with each.
local PATIENCE = 3
local GROWTH = 1.5

local MOST = 0xffffffff -- what a rover takes for an interval
local interval = options.integer(1, MOST)

--- Its options, as `options.check` takes them.
pacing.options = {
  fillInterval = { 100, options.orFalse(interval) },
  maxInterval = { 10000, options.orFalse(interval) },
  jitter = { 0.2, options.fraction },
  backoff = { 1000, options.orFalse(interval) },
  maxBackoff = { 10000, interval },
}

---@class callosum.Pacing
---@field package rover callosum.Rover
---@field package options table<string, any>
---@field package rejections integer probes rejected in a row
---@field package hurried? boolean since the last attempt ended
---@field package strikes table<string, integer> by server: how often its pause
---  doubles
---@field package old table<string, integer> those of an earlier time
---@field package turned integer when they became old, in seconds
local methods = {}
local metatable = { __name = "callosum.pool.pacing", __index = methods }

local function spread(self, ms)
  ms = ms * (1 + self.options.jitter * (2 * math.random() - 1))
  return math.min(math.max(1, math.floor(ms)), MOST)
end

-- `own` is the rover's interval.
local function nextInterval(self, own, filling)
  local o = self.options
  local ms, most = own, math.max(own, o.maxInterval or 0)
  if filling and o.fillInterval then ms = math.min(ms, o.fillInterval) end
  if o.maxInterval and self.rejections >= PATIENCE then
    ms = ms * GROWTH ^ (self.rejections - PATIENCE + 1)
  end
  return math.min(ms, most)
end

-- Returns whether the rover attempts then.
local function roveIn(self, share, filling)
  if not (self.options.fillInterval or self.options.maxInterval) then return end
  -- The sockets of a rover that is being closed are lost as well.
  local open, own = pcall(self.rover.rovingInterval, self.rover)
  if not open then return end
  local ms = spread(self, share * nextInterval(self, own, filling))
  return self.rover:roveIn(ms)
end

local function ended(self, filling)
  self.hurried = false
  roveIn(self, 1, filling)
end

--- A probe was kept.
---@param filling boolean whether more are wanted
function methods:kept(filling)
  self.rejections = 0
  ended(self, filling)
end

--- A probe was rejected.
---@param filling boolean whether more are wanted
function methods:rejected(filling)
  self.rejections = self.rejections + 1
  ended(self, filling)
end

--- A connection is wanted now. Those who all lose theirs in one moment come
--- back spread over an interval.
---@param filling boolean whether more are wanted
function methods:hurry(filling)
  -- Or each word would put it off again.
  if self.hurried then return end
  self.hurried = roveIn(self, math.random(), filling)
end

--- A connection was lost.
---@param filling boolean whether more are wanted
function methods:lost(filling)
  self.rejections = 0
  self:hurry(filling)
end

-- Servers that did well for long are forgotten, and so are those that are gone:
-- what is neither told nor asked of in one span of time does not outlast the
-- next.
local function strikesOf(self, id)
  local now = os.time()
  if math.abs(now - self.turned) > 4 * self.options.maxBackoff / 1000 + 1 then
    self.old, self.strikes, self.turned = self.strikes, {}, now
  end
  return self.strikes[id] or self.old[id] or 0
end

--- A server was unreachable: it is paused, longer each time.
---@param id string
---@param filling boolean whether more are wanted
function methods:unreachable(id, filling)
  local o = self.options
  if o.backoff then
    local strikes = strikesOf(self, id)
    local ms = o.backoff * 2 ^ strikes
    if ms < o.maxBackoff then strikes = strikes + 1 end
    self.strikes[id] = strikes
    self.rover:pauseServer(id, spread(self, math.min(ms, o.maxBackoff)))
  end
  ended(self, filling)
end

--- A server was reached: that takes back one of its strikes, not all.
---@param id string
function methods:reached(id)
  local strikes = strikesOf(self, id)
  if strikes > 0 then self.strikes[id] = strikes - 1 end
end

--- Has the rover attempt at its own interval again.
function methods:stop()
  local open, own = pcall(self.rover.rovingInterval, self.rover)
  if open then self.rover:setRovingInterval(own) end
end

--- Makes the pacing of a rover.
---@param rover callosum.Rover
---@param own table<string, any> those of `pacing.options`, checked
---@return callosum.Pacing
function pacing.new(rover, own)
  return setmetatable({
    rover = rover,
    options = own,
    rejections = 0,
    hurried = false,
    strikes = {},
    old = {},
    turned = os.time(),
  }, metatable)
end

return pacing
