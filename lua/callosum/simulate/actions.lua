--- What can happen to a fleet: the actions of a timeline, with their arguments.
--- `fleet.crash("s3", "rst")` does it at once, `at(30).crash("s3", "rst")` later.

local names = require "callosum.simulate.names"

local actions = {}

---@class callosum.simulate.Action
---@field [integer] table its arguments: name, check, and the default in
---  `default`, or whether it is `optional`
---@field act fun(play: table, ...) does it, with checked arguments

---@type table<string, callosum.simulate.Action>
local all = {}
actions.all = all

-- Checks of arguments: each returns the value that is meant, or raises a message
-- without a position.

local function expected(what, value)
  local kind = type(value)
  error(("%s expected, got %s"):format(what, kind == "number"
    and tostring(value) or kind == "string" and ("'%s'"):format(value)
    or kind), 0)
end

local function number(what, least, most)
  return function(value)
    if type(value) ~= "number" or not (value >= least and value <= most) then
      expected(what, value)
    end
    return value
  end
end

local MOST = 1e6
local seconds = number("a time in seconds", 0, MOST)
local factor = number("a factor above 0", 1e-6, MOST)
local weight = number("a weight from 1/256 to 256", 1 / 256, 256)

local function count(value)
  if math.type(value) ~= "integer" or value < 1 then
    expected("a whole number from 1", value)
  end
  return value
end

local function path(value)
  if type(value) ~= "string" or value == "" then
    expected("the path of a policy", value)
  end
  local file, message = io.open(value)
  if not file then error("cannot open " .. message, 0) end
  file:close()
  return value
end

local function how(value)
  if value ~= "rst" and value ~= "fin" and value ~= "silence" then
    expected("\"fin\", \"rst\" or \"silence\"", value)
  end
  return value
end

local function servers(value, play)
  return names.indices("s", value, play.serverCount)
end

-- A share of 0 to 1 means the first ones of them.
local function hosts(value, play)
  local there = play.settings.hosts
  if type(value) ~= "number" then return names.indices("h", value, there) end
  if not (value > 0 and value <= 1) then
    expected("a share of the hosts above 0 and up to 1", value)
  end
  return names.indices("h", ("h1-h%d"):format(
    math.max(1, math.floor(there * value + 0.5))), there)
end

-- Does something to each server, says it, and undoes it after a time, if that is
-- given.
local function each(play, list, text, till, act, undo)
  for _, index in ipairs(list) do act(index) end
  local said = ("%s %s"):format(text:match "^(%S+)", names.text("s", list))
    .. (text:match "^%S+( .*)$" or "")
  play:note(said, #list == 1 and list[1] or nil, till and play.now + till)
  if till and undo then
    play:after(till, function()
      for _, index in ipairs(list) do undo(index) end
    end)
  end
end

-- Of a number, as it is shown in events.
local function short(value)
  return ("%.4g"):format(value)
end

all.crash = {
  { "servers", servers }, { "how", how, default = "rst" },
  { "downtime", seconds, optional = true },
  act = function(play, list, kind, downtime)
    each(play, list, ("crash (%s)"):format(kind), downtime,
      function(i) play.stage.stop(i, kind) end, play.stage.begin)
  end,
}

all.stop = {
  { "servers", servers },
  act = function(play, list)
    each(play, list, "stop", nil, function(i) play.stage.stop(i, "fin") end)
  end,
}

all.start = {
  { "servers", servers },
  act = function(play, list) each(play, list, "start", nil, play.stage.begin)
  end,
}

all.restart = {
  { "servers", servers }, { "downtime", seconds, default = 10 },
  act = function(play, list, downtime)
    each(play, list, "restart", downtime,
      function(i) play.stage.stop(i, "fin") end, play.stage.begin)
  end,
}

all.slow = {
  { "servers", servers }, { "factor", factor },
  { "time", seconds, optional = true },
  act = function(play, list, by, time)
    each(play, list, "slow ×" .. short(by), time,
      function(i) play.stage.slow(i, by) end,
      function(i) play.stage.slow(i, 1) end)
  end,
}

all.weight = {
  { "servers", servers }, { "weight", weight },
  act = function(play, list, value)
    each(play, list, "weight " .. short(value), nil, function(i)
      play.stage.weight(i, value)
      play.weights[i] = value
    end)
  end,
}

all.drain = {
  { "servers", servers }, { "time", seconds, default = 30 },
  act = function(play, list, time)
    if not play.settings.fronts then
      error("only fronts drain: write scenario { fronts = true }", 0)
    end
    each(play, list, "drain", time,
      function(i) play.stage.drain(i, time) end)
  end,
}

all.resume = {
  { "servers", servers },
  act = function(play, list) each(play, list, "resume", nil, play.stage.resume)
  end,
}

all.add = {
  { "count", count, default = 1 }, { "within", seconds, default = 10 },
  act = function(play, n, within)
    local first = play.stage.add(n, within)
    play.serverCount = math.max(play.serverCount, first + n - 1)
    play.existing = first + n - 1
    local list = names.indices("s", ("s%d-s%d"):format(first, first + n - 1),
      play.existing)
    play:note("add " .. names.text("s", list), n == 1 and first or nil)
    return names.all("s", play.existing)
  end,
}

all.partition = {
  { "hosts", hosts }, { "servers", servers },
  { "time", seconds, optional = true },
  act = function(play, some, list, time)
    play.stage.partition(some, list)
    play:note(("partition %s | %s"):format(names.text("h", some),
      names.text("s", list)), nil, time and play.now + time)
    if time then play:after(time, function() play.stage.heal() end) end
  end,
}

all.heal = {
  act = function(play)
    play.stage.heal()
    play:note "heal"
  end,
}

all.ghost = {
  { "servers", servers },
  act = function(play, list) each(play, list, "ghost", nil, play.stage.ghost)
  end,
}

all.vanish = {
  { "hosts", hosts }, { "downtime", seconds, default = 10 },
  act = function(play, list, downtime)
    play.stage.lose(list)
    play:note("vanish " .. names.text("h", list), nil, play.now + downtime)
    play:after(downtime, function() play.stage.boot(list) end)
  end,
}

all.surge = {
  { "factor", factor }, { "time", seconds, optional = true },
  act = function(play, by, time)
    if not play.settings.requests then
      error("there are no requests to surge: give --requests, or "
        .. "'requests' in scenario{}", 0)
    end
    play.stage.surge(by)
    play:note("surge ×" .. short(by), nil, time and play.now + time)
    if time then play:after(time, function() play.stage.surge(1) end) end
  end,
}

-- Each host reloads at a random time within so many seconds.
all.reload = {
  { "hosts", hosts, default = 1 }, { "policy", path, optional = true },
  { "within", seconds, default = 10 },
  act = function(play, list, policy, within)
    play:note("reload " .. names.text("h", list), nil, play.now + within)
    for _, host in ipairs(list) do
      play:after(math.random() * within, function()
        play.stage.reload({ host }, policy)
      end)
    end
  end,
}

--- The arguments of an action, checked. Raises a message without a position.
---@param name string
---@param play table knows hosts and servers
---@param ... any
---@return any ... what `act` takes
function actions.check(name, play, ...)
  local action, given, checked = all[name], table.pack(...), {}
  if given.n > #action then
    error(("%s takes %d argument%s at most, got %d"):format(name, #action,
      #action == 1 and "" or "s", given.n), 0)
  end
  for i, parameter in ipairs(action) do
    local value = given[i]
    if value == nil then value = parameter.default end
    if value ~= nil then
      local ok, result = pcall(parameter[2], value, play)
      if not ok then
        error(("bad argument #%d to '%s' (%s)"):format(i, name, result), 0)
      end
      checked[i] = result
    elseif not parameter.optional then
      error(("bad argument #%d to '%s' (%s is missing)"):format(i, name,
        parameter[1]), 0)
    end
  end
  return table.unpack(checked, 1, #action)
end

return actions
