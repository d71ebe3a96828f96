--- The fleet as timelines see it: what is so now, and actions that take effect
--- at once.

local actions = require "callosum.simulate.actions"
local figures = require "callosum.simulate.figures"
local names = require "callosum.simulate.names"
local nearest = require "callosum.simulate.nearest"

local fleet = {}

-- What is known before the run begins.
local known = {}

function known.now(play) return play.now end
function known.seconds(play) return play.settings.seconds end
function known.seed(play) return play.settings.seed end
function known.hosts(play) return play.settings.hosts end
function known.requests(play) return play.settings.requests end
function known.servers(play) return names.all("s", play.existing) end

-- What is looked at when it is asked for.
local looked = {}

for _, field in ipairs { "total", "mean", "peak", "min", "cv", "opens" } do
  looked[field] = function(play) return (play:look())[field] end
end

function looked.connections(play)
  local counts = play.stage.connections()
  for i = 1, #counts do counts["s" .. i] = counts[i] end
  return counts
end

function looked.fill(play) return (play.stage.fill()) end

function looked.distinct(play) return play.stage.distinct() end

function looked.errors(play)
  local list, more = play.stage.errors()
  local sum = more or 0
  for _, err in ipairs(list) do sum = sum + err.count end
  return sum
end

-- So far.
function looked.report(play)
  return figures.connections(play.samples, play.events, play.settings.hosts)
end

for _, field in ipairs { "answered", "lost", "waited", "p50", "p99",
    "p999" } do
  looked[field] = function(play)
    local requests = play.stage.requests()
    return requests and requests[field]
  end
end

-- Functions that are no actions.
local functions = {}

function functions.note(play, text)
  if type(text) ~= "string" then
    error("bad argument #1 to 'note' (string expected, got " .. type(text)
      .. ")", 0)
  end
  play:note(text)
end

function functions.up(play, server)
  local index = names.indices("s", server, play.existing)[1]
  return play.stage.up()[index]
end

local fields = {}
for _, from in ipairs { known, looked, functions, actions.all } do
  for name in pairs(from) do fields[#fields + 1] = name end
end
table.sort(fields)

local EARLY = "the run has not begun: write at(0, function(fleet) ... end)"

-- A function of the timeline's that blames its caller.
local function blaming(fn)
  return function(...)
    local result = table.pack(pcall(fn, ...))
    if not result[1] then error(result[2], 2) end
    return table.unpack(result, 2, result.n)
  end
end

-- Does an action now.
local function action(play, name)
  return blaming(function(...)
    play.serverCount = play.existing
    return actions.all[name].act(play, actions.check(name, play, ...))
  end)
end

--- The fields whose values are numbers, for messages.
---@param name string
---@return boolean
function fleet.isFigure(name)
  return (known[name] or looked[name]) and name ~= "servers" or false
end

--- Makes the fleet of a run.
---@param play callosum.simulate.Play
---@param at function of the timeline
---@param every function likewise
---@return table
function fleet.new(play, at, every)
  local own = { at = at, every = every }
  return setmetatable({}, {
    __name = "callosum.simulate.fleet",
    __index = function(_, name)
      if own[name] then return own[name] end
      if known[name] then return known[name](play) end
      if not (looked[name] or functions[name] or actions.all[name]) then
        error(("unknown field '%s' of the fleet, %s"):format(tostring(name),
          nearest(tostring(name), fields)), 2)
      end
      if not play.stage then error(EARLY, 2) end
      if looked[name] then return looked[name](play) end
      own[name] = functions[name] and blaming(function(...)
        return functions[name](play, ...)
      end) or action(play, name)
      return own[name]
    end,
    __newindex = function(_, name)
      error(("the fleet's '%s' cannot be set"):format(tostring(name)), 2)
    end,
  })
end

return fleet
