--- One run of a timeline on a fleet: the moments that are still to come, what
--- has happened, and samples of how the fleet was.

local figures = require "callosum.simulate.figures"

local play = {}

-- Samples in a second, and of a run that is longer than so many seconds.
local OFTEN, SELDOM, LONG = 10, 1, 3600
-- Of them are drawn: so many or more, unless that is more than one in a second,
-- and at most so many.
local DRAWN, MOST = 1000, 4000

---@class callosum.simulate.Play
---@field settings table as in timeline.load()
---@field stage? table the fleet in C, once the run has begun
---@field now number seconds since the run began
---@field queue table[] moments to come, in order
---@field events table[] what has happened
---@field weights table<integer, number> of servers
---@field serverCount integer how many servers a timeline may name
---@field existing integer how many there are now
---@field rate integer samples per second
---@field samples table[]
---@field drawn table[] connections of each server, for plots
---@field warnings string[]
local methods = {}
local metatable = { __name = "callosum.simulate.play", __index = methods }

--- Lets something happen later.
---@param at number when
---@param fn function called with the fleet
---@param moment? table `where` it was asked for; after how many seconds it is
---  repeated in `every`, up to `to`
function methods:at(at, fn, moment)
  self.last = self.last + 1
  local item = { at = at, order = self.last, fn = fn, moment = moment }
  local place = #self.queue + 1
  while place > 1 and self.queue[place - 1].at > at do place = place - 1 end
  table.insert(self.queue, place, item)
end

--- The same, in so many seconds. It is part of something that has happened.
function methods:after(seconds, fn)
  self:at(self.now + seconds, fn)
end

--- Records what happens now.
---@param text string
---@param server? integer whom it concerns, if that is one
---@param till? number when it is over
function methods:note(text, server, till)
  table.insert(self.events, { at = self.now, text = text, server = server,
    till = till })
end

--- How the servers' connections are now.
function methods:look()
  local counts = self.stage.connections()
  local sample = figures.look(counts, self.stage.up(), self.weights)
  sample.at, sample.opens = self.now, self.stage.counters().opens
  return sample, counts
end

local function take(self, tick)
  local sample, counts = self:look()
  sample.fill, sample.most = self.stage.fill()
  table.insert(self.samples, sample)
  local seconds = self.settings.seconds
  local step = math.max(math.min(1, seconds / DRAWN), seconds / MOST)
  if tick % math.ceil(step * self.rate) == 0 then
    counts.at = self.now
    table.insert(self.drawn, counts)
  end
end

--- What a timeline has raised, as a table: its message, and where several of
--- its functions had called each other, a traceback of these.
---@param err any
---@param file string the name of its chunk, as in messages
---@return table
function play.failure(err, file)
  if type(err) == "table" and err.assertion then return err end
  if type(err) ~= "string" then
    err = ("%s: an error that is no text: %s"):format(file, tostring(err))
  end
  local own = {}
  for line in debug.traceback(nil, 2):gmatch "\n(\t[^\n]*)" do
    if line:find(file .. ":", 1, true) then own[#own + 1] = line end
  end
  return { message = err, traceback = #own > 1
    and "stack traceback:\n" .. table.concat(own, "\n") or nil }
end

-- An error of a function has its position. One of an action did not come from a
-- function of the user's: it gets the position where it was asked for.
local function called(item, fleet)
  local moment = item.moment
  return xpcall(item.fn, function(err)
    if moment and moment.action then err = moment.where .. ": " .. err end
    return play.failure(err, moment and moment.where:match "^(.*):" or "")
  end, fleet)
end

-- What is due happens. Returns an error, or nil.
local function happen(self, fleet)
  while self.queue[1] and self.queue[1].at <= self.now do
    local item = table.remove(self.queue, 1)
    local moment = item.moment
    local ok, err = called(item, fleet)
    if not ok then
      err.at = self.now
      return err
    end
    local again = moment and moment.every and item.at + moment.every
    if again and again <= math.min(moment.to, self.settings.seconds) then
      self:at(again, item.fn, moment)
    end
  end
end

-- A moment after the end never comes, and nothing that it asserts is asserted.
local function missed(self)
  local seen = {}
  for _, item in ipairs(self.queue) do
    local moment = item.moment
    if moment and not seen[moment.where] then
      seen[moment.where] = true
      table.insert(self.warnings, ("%s: its time, %g s, was not reached")
        :format(moment.where, item.at))
    end
  end
end

--- Runs it to its end, or until something fails.
---@param fleet table what functions of the timeline are called with
---@return string? reason why it ended early: "interrupted", or a message
---@return table? failure an error of the timeline: message, at, traceback
function methods:run(fleet)
  local tick, seconds = 0, self.settings.seconds
  if seconds > LONG then self.rate = SELDOM end
  while true do
    if self.now >= tick / self.rate then
      take(self, tick)
      tick = tick + 1
    end
    local failure = happen(self, fleet)
    if failure then return nil, failure end
    if self.now >= seconds then break end
    local next = self.queue[1] and self.queue[1].at or math.huge
    local goal = math.min(tick / self.rate, next, seconds)
    local ok, reason = self.stage.run(goal)
    if not ok then return reason end
    self.now = goal
    self.stage.progress(goal / seconds, ("%.0f of %g s"):format(goal, seconds))
  end
  missed(self)
end

--- Makes a run of a timeline.
---@param settings table
---@return callosum.simulate.Play
function play.new(settings)
  return setmetatable({
    settings = settings,
    rate = OFTEN,
    now = 0,
    queue = {},
    last = 0,
    events = {},
    weights = {},
    serverCount = #settings.servers,
    existing = #settings.servers,
    samples = {},
    drawn = {},
    warnings = {},
  }, metatable)
end

return play
