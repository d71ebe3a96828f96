--- The language of scenarios, and of a user's own timelines: a Lua script that
--- says what happens to a fleet, and when.
---
---     scenario { seconds = 120, hosts = 50 }
---     at(30).crash "s3"
---     every(10).from(60).restart("s1", 2)
---     at(120, function(fleet) assert(fleet.peak < 1.1) end)

local actions = require "callosum.simulate.actions"
local fleet = require "callosum.simulate.fleet"
local nearest = require "callosum.simulate.nearest"
local player = require "callosum.simulate.play"
local servers = require "callosum.simulate.servers"

local timeline = {}

local FOLDER = "callosum.simulate.scenarios."
local MOST = 1e6

--- The scenarios that come with the command, in the order in which it lists
--- them.
timeline.SCENARIOS = { "cold", "add", "roll", "crash", "slow", "antagonist",
  "partition", "ghosts", "weights", "drain", "reload", "surge" }

-- The names of all actions, and what every() has besides.
local ACTIONS = {}
for name in pairs(actions.all) do ACTIONS[#ACTIONS + 1] = name end
table.sort(ACTIONS)
local REPEATED = { "from", "to", table.unpack(ACTIONS) }

-- What scenario{} takes: a type, a range and a default.
local HEAD = {
  sentence = { "string" },
  look = { "string" },
  seconds = { "number", 1e-3, MOST, default = 600 },
  hosts = { "integer", 1, 100000, default = 200 },
  servers = { "list", default = 20 }, -- as of --servers
  requests = { "string" }, -- as of --requests
  requestsFrom = { "number", 0, MOST, default = 10 },
  fronts = { "boolean", default = false },
}
local HEADS = {}
for name in pairs(HEAD) do HEADS[#HEADS + 1] = name end
table.sort(HEADS)

local function fits(value, what, least, most)
  if what == "list" then return servers.parse(tostring(value)) ~= nil end
  local kind = what == "integer" and math.type(value) or type(value)
  return kind == what and (not least or value >= least and value <= most)
end

-- Raises a message without a position.
local function checkHead(head)
  if type(head) ~= "table" then
    error("bad argument #1 to 'scenario' (table expected, got " .. type(head)
      .. ")", 0)
  end
  for name, value in pairs(head) do
    local option = HEAD[name]
    if not option then
      error(("unknown field '%s' of scenario{}, %s"):format(tostring(name),
        nearest(tostring(name), HEADS)), 0)
    end
    local what, least, most = table.unpack(option)
    if not fits(value, what, least, most) then
      if what == "list" then what = "integer or a list as of --servers" end
      error(("%s: %s%s expected, got %s"):format(name, what, least
        and (" from %g to %g"):format(least, most) or "",
        math.type(value) and tostring(value) or type(value)), 0)
    end
  end
end

local function where(level)
  local info = debug.getinfo(level + 1, "Sl")
  return ("%s:%d"):format(info.short_src, info.currentline)
end

local function checkTime(play, name, value)
  if type(value) ~= "number" or value ~= value or value > MOST then
    local kind = type(value) == "number" and tostring(value) or type(value)
    error(("bad argument #1 to '%s' (a time in seconds expected, got %s)")
      :format(name, kind), 3)
  end
  if value < play.now or value < 0 then
    error(("bad argument #1 to '%s' (%g s is in the past: it is %g s)")
      :format(name, value, play.now), 3)
  end
end

-- Lets an action or a function of the user's happen at a moment.
local function schedule(play, moment, fn, isAction)
  play:at(moment.at, fn, { where = where(3), action = isAction,
    every = moment.every, to = moment.to or math.huge })
end

-- What at(t) and every(t) return: called with a function, or indexed by an
-- action.
local function newMoment(play, moment)
  local self, own = {}, {}
  if moment.every then
    function own.from(value)
      checkTime(play, "from", value)
      moment.at = value
      return self
    end
    function own.to(value)
      checkTime(play, "to", value)
      moment.to = value
      return self
    end
  end
  return setmetatable(self, {
    __name = "callosum.simulate.moment",
    __call = function(_, fn)
      if type(fn) ~= "function" then
        error("function expected, got " .. type(fn), 2)
      end
      schedule(play, moment, fn)
    end,
    __index = function(_, name)
      if own[name] then return own[name] end
      if not actions.all[name] then
        error(("unknown action '%s', %s"):format(tostring(name),
          nearest(tostring(name), moment.every and REPEATED or ACTIONS)), 2)
      end
      return function(...)
        local ok, wrong = pcall(actions.check, name, play, ...)
        if not ok then error(wrong, 2) end
        -- Servers that are to be added may be named from here on.
        if name == "add" then
          play.serverCount = play.serverCount + (... or 1)
        end
        local arguments = table.pack(...)
        schedule(play, moment, function()
          actions.all[name].act(play, actions.check(name, play,
            table.unpack(arguments, 1, arguments.n)))
        end, true)
      end
    end,
  })
end

local function line(path, number)
  local file <close> = io.open(path)
  for each in file and file:lines() or function() end do
    number = number - 1
    if number == 0 then return each:match "^%s*(.-)%s*$" end
  end
end

-- Says what failed: the line, unless there is a message, and the figures in it.
local function newAssert(path, theFleet)
  return function(value, message, ...)
    if value then return value, message, ... end
    local info = debug.getinfo(2, "l")
    local text = info and line(path, info.currentline) or ""
    local values = {}
    for name in text:gmatch "fleet%.([%a_][%w_]*)" do
      local figure = fleet.isFigure(name) and theFleet[name]
      if type(figure) == "number" and not values[name] then
        values[name] = true
        values[#values + 1] = ("%s is %.6g"):format(name, figure)
      end
    end
    local why = message == nil and text or tostring(message)
    if #values > 0 then
      why = ("%s (%s)"):format(why, table.concat(values, ", "))
    end
    error({ assertion = true, message = ("%s:%d: %s"):format(path,
      info and info.currentline or 0, why) })
  end
end

-- What a timeline may use besides Lua's own.
local function environment(play, path)
  local env = {}
  function env.at(time, fn)
    checkTime(play, "at", time)
    local moment = newMoment(play, { at = time })
    if fn == nil then return moment end
    if type(fn) ~= "function" then
      error("bad argument #2 to 'at' (function expected, got " .. type(fn)
        .. ")", 2)
    end
    schedule(play, { at = time }, fn)
  end
  function env.every(time, fn)
    if type(time) ~= "number" or not (time >= 1e-3 and time <= MOST) then
      error("bad argument #1 to 'every' (a time from 0.001 s expected, got "
        .. tostring(time) .. ")", 2)
    end
    local moment = { at = play.now + time, every = time }
    if fn == nil then return newMoment(play, moment) end
    if type(fn) ~= "function" then
      error("bad argument #2 to 'every' (function expected, got " .. type(fn)
        .. ")", 2)
    end
    schedule(play, moment, fn)
  end
  -- Standard output is the report's.
  function env.print(...)
    local words = table.pack(...)
    for i = 1, words.n do words[i] = tostring(words[i]) end
    io.stderr:write(table.concat(words, "\t"), "\n")
  end
  env.fleet = fleet.new(play, env.at, env.every)
  env.assert = newAssert(path, env.fleet)
  return env
end

-- The settings: what was given on the command line, then what the timeline
-- says, then the defaults.
local function settle(settings, head, given)
  for name, option in pairs(HEAD) do
    settings[name] = given[name]
    if settings[name] == nil then settings[name] = head[name] end
    if settings[name] == nil then settings[name] = option.default end
  end
  settings.seed = given.seed or 1
  if type(settings.servers) ~= "table" then
    settings.servers = servers.parse(tostring(settings.servers))
  end
end

--- Where the timeline is: one of the scenarios, or a file.
---@param name string
---@return string? path
---@return string? message
function timeline.find(name)
  if name:find "/" or name:find "%.lua$" then return name end
  local known
  for _, each in ipairs(timeline.SCENARIOS) do known = known or each == name end
  if not known then
    return nil, ("no scenario '%s', %s"):format(name,
      nearest(name, timeline.SCENARIOS))
  end
  return assert(package.searchpath(FOLDER .. name, package.path))
end

--- Reads a timeline, and runs it once. Nothing of what it says happens yet.
---@param path string
---@param given table settings on the command line: seconds, hosts, servers,
---  requests, fronts, seed
---@return callosum.simulate.Play? play
---@return table fleet for its functions; or an error: message, traceback
function timeline.load(path, given)
  local settings = {}
  settle(settings, {}, given)
  local play = player.new(settings)
  local env = environment(play, path)
  function env.scenario(head)
    if play.last > 0 or play.headed then
      error("scenario{} comes once, and before anything else", 2)
    end
    play.headed = true
    local ok, message = pcall(checkHead, head)
    if not ok then error(message, 2) end
    settle(settings, head, given)
    play.serverCount, play.existing = #settings.servers, #settings.servers
  end
  math.randomseed(settings.seed)
  setmetatable(env, { __index = _G })
  local chunk, message = loadfile(path, "t", env)
  if not chunk then return nil, { message = message } end
  local file = debug.getinfo(chunk, "S").short_src
  local ok, err = xpcall(chunk, function(err)
    return player.failure(err, file)
  end)
  if not ok then return nil, err end
  return play, env.fleet
end

return timeline
