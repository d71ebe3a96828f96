local options = require "callosum.options"
local returns = require "callosum.pool.returns"

--- When a rover should make its next attempt, and which of its servers it
--- should pause: for policies that do not want a fixed clock. The pool reports
--- how attempts end, and the next one is scheduled accordingly; after an
--- attempt without an event (its server was dropped, say) the rover's own
--- interval applies, unless a connection is wanted sooner.

local pacing = {}

-- This many probes in a row may be rejected by chance while there is still
-- something to gain; from then on the interval grows with each.
local PATIENCE = 3
local GROWTH = 1.5

-- While the pool is filling it does not grow, unless so many were rejected that
-- the pool cannot be filled: by `maxPerServer`, or by another handler.
local HOPELESS = 30

local MOST = 0xffffffff -- the longest interval of a rover

---@class callosum.Pacing
---@field package rover callosum.Rover
---@field package options table<string, any>
---@field package rejections integer probes rejected in a row while the pool
---  was full, ...
---@field package vain integer ... and while it was filling
---@field package before integer[] both, before the last one was kept
---@field package returns callosum.Returns
---@field package failures integer attempts that ended in an error in a row
---@field package strikes table<string, integer> by server: how often its pause
---  doubles
---@field package old table<string, integer> those of the previous period
---@field package turned integer when that ended, in seconds
local methods = {}
local metatable = { __name = "callosum.pool.pacing", __index = methods }

local function spread(self, ms)
  ms = ms * (1 + self.options.jitter * (2 * math.random() - 1))
  return math.min(math.max(1, math.floor(ms)), MOST)
end

-- In ms.
local function clock() return options.now() / 1e6 end

-- From the end of an attempt to the next, in ms, and the rover's own interval.
-- Nothing if the rover's own interval is to be used.
local function nextInterval(self, filling)
  local o = self.options
  if not (o.fillInterval or o.maxInterval) then return end
  -- The sockets of a rover that is being closed are lost as well.
  local open, own = pcall(self.rover.rovingInterval, self.rover)
  if not open then return end
  local ms, most = own, math.max(own, o.maxInterval or 0)
  local inVain = self.rejections - PATIENCE
  if filling then
    ms, inVain = math.min(own, o.fillInterval or own), self.vain - HOPELESS
  end
  if o.maxInterval and inVain >= 0 then ms = ms * GROWTH ^ (inVain + 1) end
  return math.min(ms, most), own
end

local function ended(self, filling)
  self.failures = 0
  local ms = nextInterval(self, filling)
  if ms then self.rover:roveIn(spread(self, ms)) end
end

--- A probe was kept. If it took the place of another, there may be more to be
--- found, but a pool that has found little for long need not start anew.
---@param filling boolean whether more are wanted
---@param wasFull boolean whether it took the place of another
function methods:kept(filling, wasFull)
  self.before = { self.rejections, self.vain }
  self.vain = 0
  if wasFull then self.rejections = self.rejections // 2 end
  ended(self, filling)
end

--- A probe was kept or not, by comparison with the one before.
---@param filling boolean whether more are wanted
function methods:competed(filling)
  ended(self, filling)
end

--- The last probe that was kept has been closed by another handler.
---@param filling boolean whether more are wanted
function methods:turnedDown(filling)
  self.rejections, self.vain = table.unpack(self.before)
  self:rejected(filling)
end

--- A probe was rejected.
---@param filling boolean whether more are wanted
function methods:rejected(filling)
  if filling then self.vain = self.vain + 1
  else self.rejections = self.rejections + 1 end
  ended(self, filling)
end

--- A connection is wanted now. Clients that lose theirs at the same moment come
--- back spread over an interval.
---@param filling boolean whether more are wanted
function methods:hurry(filling)
  local ms = nextInterval(self, filling)
  local due = ms and self.rover:dueIn()
  -- One that is due within the interval is soon enough: if each call drew
  -- another time, the soonest would always win.
  if due and due > ms * (1 + self.options.jitter) then
    self.rover:roveIn(spread(self, math.random() * ms))
  end
end

--- An attempt ended in an error: the next comes later with each one in a row,
--- but no later than it would by the rover's own interval.
---@param filling boolean whether more are wanted
function methods:failed(filling)
  self.failures = self.failures + 1
  local ms, own = nextInterval(self, filling)
  local due = ms and self.rover:dueIn()
  if not due then return end
  ms = spread(self, math.min(own, ms * GROWTH ^ self.failures))
  if due > ms then self.rover:roveIn(ms) end
end

--- A connection was lost. What is known about the others holds: a pool that is
--- full again goes on at the interval that it had.
---@param filling boolean whether more are wanted
function methods:lost(filling)
  self.vain = 0
  self:hurry(filling)
end

-- Servers that have done well for long are forgotten, and so are those that
-- were dropped: an entry that is not updated in one period is gone after the
-- next.
local function strikesOf(self, id)
  local now = os.time()
  if math.abs(now - self.turned) > 4 * self.options.maxBackoff / 1000 + 1 then
    self.old, self.strikes, self.turned = self.strikes, {}, now
  end
  return self.strikes[id] or self.old[id] or 0
end

-- The rover is not to reject the answer of a server that has strikes, or that is
-- to be asked by name.
local function mark(self, id)
  local matters = strikesOf(self, id) > 0 or self.returns:knows(id)
  -- Another handler may have closed the rover.
  pcall(self.rover.exemptServer, self.rover, id, matters)
end

--- A server was added: there is something to be found again.
---@param id string
---@param filling boolean whether more are wanted
function methods:added(id, filling)
  self.rejections, self.vain = 0, 0
  local open, own = pcall(self.rover.rovingInterval, self.rover)
  -- While the pool is filling, the server is found soon enough.
  if open and not filling then self.returns:added(id, own) end
  mark(self, id)
  self:hurry(filling)
end

-- Pauses a server, longer each time.
local function strike(self, id)
  local o = self.options
  if not o.backoff then return end
  local strikes = strikesOf(self, id)
  local ms = o.backoff * 2 ^ strikes
  if ms < o.maxBackoff then strikes = strikes + 1 end
  self.strikes[id] = strikes
  -- Another handler may have closed the rover.
  pcall(self.rover.pauseServer, self.rover, id,
    spread(self, math.min(ms, o.maxBackoff)))
end

--- A server was unreachable: it is paused, longer each time.
---@param id string
---@param filling boolean whether more are wanted
function methods:unreachable(id, filling)
  strike(self, id)
  local asked = self.returns:unreachable(id)
  mark(self, id)
  if filling or not asked then ended(self, filling) end
end

--- A server was reached: that takes back one of its strikes, not all.
---@param id string
---@param kept boolean whether the connection was kept
---@return integer strikes how many it had
---@return boolean asked whether it was asked by name
function methods:reached(id, kept)
  local strikes = strikesOf(self, id)
  if strikes > 0 then self.strikes[id] = strikes - 1 end
  local asked = self.returns:reached(id, kept)
  mark(self, id)
  return strikes, asked
end

--- A server has ended a connection. If that was soon after it was reached, and
--- before the connection was ever lent out, it counts as unreachable.
---@param id string
---@param began? number if the connection was never lent out: when it was
---  reached, ...
---@param strikes? integer ... and how many strikes it had then
function methods:endedBy(id, began, strikes)
  local backoff = self.options.backoff
  local young = began and backoff and clock() - began < backoff
  -- If many break at the same moment, they count once.
  if young and strikesOf(self, id) <= strikes then
    self.strikes[id] = strikes
    strike(self, id)
    self.returns:lost(id, math.max(1, strikesOf(self, id)))
  else
    self.returns:lost(id)
  end
  mark(self, id)
end

--- A connection was lost because its server ended it.
---@param id string
---@param trial? table if the connection was never lent out
---@param filling boolean whether more are wanted
function methods:broken(id, trial, filling)
  if trial then self:endedBy(id, trial.began, trial.strikes)
  else self:endedBy(id) end
  self:lost(filling)
end

--- What a keeper goes on from: how many were rejected in a row while the pool
--- was full, and while it was filling, and when it is to report the next answer
--- even if nothing is known of the server, in ns.
---@return integer? due
---@return integer rejections
---@return integer vain
function methods:state()
  return self.returns:overdue(), self.rejections, self.vain
end

--- That alone.
---@return integer? due
function methods:overdue() return self.returns:overdue() end

--- Goes on from where the keeper is.
---@param rejections integer
---@param vain integer
---@param moved boolean whether attempts have ended
function methods:resume(rejections, vain, moved)
  self.rejections, self.vain = rejections, vain
  if moved then self.failures = 0 end
end

--- By what a keeper paces attempts as they are paced here.
---@return table<string, any>
function methods:rules()
  local o = self.options
  return { target = o.target, maxSlots = o.maxSlots,
    fillInterval = o.fillInterval, maxInterval = o.maxInterval,
    jitter = o.jitter, growth = GROWTH, patience = PATIENCE,
    hopeless = HOPELESS, seed = math.random(1 << 53) }
end

--- Returns the rover to its own interval.
function methods:stop()
  local open, own = pcall(self.rover.rovingInterval, self.rover)
  if not open then return end
  self.rover:setRovingInterval(own)
end

--- Makes the pacing of a rover.
---@param rover callosum.Rover
---@param own table<string, any> those of the pool
---@return callosum.Pacing
function pacing.new(rover, own)
  local self = setmetatable({
    rover = rover,
    options = own,
    rejections = 0,
    vain = 0,
    before = { 0, 0 },
    failures = 0,
    strikes = {},
    old = {},
    turned = os.time(),
  }, metatable)
  self.returns = returns.new(rover, own.target, function(ms)
    return spread(self, ms)
  end)
  return self
end

return pacing
