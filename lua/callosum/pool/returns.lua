local heap = require "callosum.pool.heap"
local options = require "callosum.options"

--- Servers that a rover is to ask by name: those that were unreachable or ended
--- connections, until they answer, and new ones. A server that was restarted is
--- empty, and would be found by chance only after as many attempts as there are
--- servers. The rover has one such attempt at a time, of the server that is due
--- first; how attempts end is reported by the pool.
local returns = {}

-- In ms: when a server is asked for the first time, after how long again, and
-- so on; the last one applies from then on.
local STEPS = { 1000, 3000, 9000, 60000 }

-- In ms: if nothing is known of an attempt so long after it was due, it ended
-- without an event, or is still under way.
local SLACK = 100

---@class callosum.Returns
---@field package rover callosum.Rover
---@field package spread fun(ms: number): integer
---@field package most integer how many servers it remembers
---@field package known table<string, table> by id: `due` (in ms), `step` (of
---  STEPS, the next), `owed` (how many connections the server is asked for), and
---  whether the attempt that was due is `under` way
---@field package queue callosum.Heap of these
---@field package armed table? what the rover is to ask next, ...
---@field package at number ... and when
local methods = {}
local metatable = { __name = "callosum.pool.returns", __index = methods }

local function sooner(a, b) return a.due < b.due end

local function now() return options.now() / 1e6 end

local function remove(self, entry)
  self.queue:remove(entry)
  self.known[entry.id] = nil
end

local function setDue(self, entry, ms)
  self.queue:remove(entry)
  entry.due = now() + ms
  self.queue:push(entry)
end

-- Schedules the next attempt at a server that has not answered.
local function advance(self, entry)
  setDue(self, entry, self.spread(STEPS[entry.step]))
  entry.step = math.min(entry.step + 1, #STEPS)
end

-- Has the rover ask the server that is due first.
local function arm(self)
  local time = now()
  local entry = self.queue:first()
  while entry do
    if entry == self.armed and entry.due == self.at then
      if time < entry.due + SLACK then return end
      entry.under = true
      advance(self, entry)
    else
      local ms = math.ceil(math.max(0, entry.due - time))
      -- Another handler may have closed the rover.
      local open, asks = pcall(self.rover.connectIn, self.rover, entry.id, ms)
      if asks == true then
        self.armed, self.at = entry, entry.due
        return
      end
      if not open or not self.rover:dueIn() then return end -- it is stopped
      remove(self, entry) -- the server was dropped
    end
    entry = self.queue:first()
  end
  if self.armed then pcall(self.rover.connectIn, self.rover) end
  self.armed = nil
end

local function add(self, id)
  if #self.queue >= self.most then return end
  local entry = { id = id, due = 0, step = 1, owed = 1 }
  self.known[id] = entry
  return entry
end

--- A connection was lost because its server ended it. The server is asked for
--- as many as it had.
---@param id string
---@param times? integer how often in a row, if it ends connections at once: as
---  if it had not answered at all
function methods:lost(id, times)
  local entry = self.known[id]
  if entry then entry.owed = entry.owed + 1 end
  if times or not entry then
    entry = entry or add(self, id)
    if not entry then return end
    entry.step, entry.under = math.min(times or 1, #STEPS), nil
    advance(self, entry)
  end
  arm(self)
end

--- A server is new: it is asked within `ms`.
---@param id string
---@param ms number
function methods:added(id, ms)
  local entry = self.known[id] or add(self, id)
  if not entry then return end
  entry.step = 1
  setDue(self, entry, math.random() * ms)
  arm(self)
end

-- Whether an attempt that has ended at this server may be the one that was due.
-- The rover's clock has milliseconds, and rounds them.
local function isAsked(entry)
  return entry ~= nil and (entry.under or entry.due < now() + 2)
end

--- When an attempt that has not been reported is overdue, in ns.
---@return integer? time
function methods:overdue()
  return self.armed and math.ceil((self.at + SLACK) * 1e6)
end

--- Whether a server is to be asked by name.
---@param id string
---@return boolean
function methods:knows(id)
  return self.known[id] ~= nil
end

--- An attempt has ended at a server that was unreachable.
---@param id string
---@return boolean asked whether it was asked by name
function methods:unreachable(id)
  local entry = self.known[id]
  local asked = isAsked(entry)
  if asked and entry.under then
    entry.under = nil
  else
    entry = entry or add(self, id)
    -- Others have their time, whatever an attempt by chance found.
    local isFirst = entry and entry.step == 1
    if asked or isFirst then advance(self, entry) end
  end
  arm(self)
  return asked
end

--- A server has answered.
---@param id string
---@param kept boolean whether the connection was kept
---@return boolean asked whether it was asked by name
function methods:reached(id, kept)
  local entry = self.known[id]
  local asked = isAsked(entry)
  if entry then
    entry.owed = entry.owed - 1
    if not kept or entry.owed <= 0 then
      remove(self, entry)
    else
      entry.under, entry.step = nil, 1
      setDue(self, entry, 0)
    end
  end
  arm(self)
  return asked
end

--- Makes the list of a rover's servers.
---@param rover callosum.Rover
---@param most integer how many servers it remembers
---@param spread fun(ms: number): integer draws a time at random about another
---@return callosum.Returns
function returns.new(rover, most, spread)
  return setmetatable({ rover = rover, most = most, spread = spread,
    known = {}, queue = heap.new(sooner) }, metatable)
end

return returns
