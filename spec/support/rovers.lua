-- Rovers for tests, closed when the test ends.

local loop = require "support.loop"

local rovers = {}

-- Handlers of rovers run inside C, which reports what they raise and goes on:
-- a failed assertion in one would be lost. So the rovers made here, and the
-- sockets that their handlers see, wrap the functions they are given. Rovers
-- of plain `rover.new` are left alone, for specs on misuse: with them, the
-- caller of a method is really the caller.
local ours = setmetatable({}, { __mode = "k" })
local wrapped = setmetatable({}, { __mode = "k" }) -- so that `off` finds them

local function wrap(fn)
  if type(fn) ~= "function" then return fn end
  wrapped[fn] = wrapped[fn] or loop.watched(function(...)
    for i = 1, select("#", ...) do
      local value = select(i, ...)
      if type(value) == "userdata" then ours[value] = true end
    end
    return fn(...)
  end)
  return wrapped[fn]
end

local takesFunctions = { on = true, once = true, off = true, write = true,
  shutdown = true }

local function patch(class)
  local metatable = debug.getregistry()[class]
  local index = metatable.__index
  if wrapped[index] then return end
  local function wrapping(self, key)
    local value
    if type(index) == "table" then value = index[key]
    else value = index(self, key) end
    if not (takesFunctions[key] and ours[self]) then return value end
    return function(...)
      local args = table.pack(...)
      for i = 1, args.n do args[i] = wrap(args[i]) end
      return value(table.unpack(args, 1, args.n))
    end
  end
  wrapped[wrapping] = wrapping
  metatable.__index = wrapping
end

-- busted has each spec file load its modules anew, which undoes the patches.
local function load()
  local module = require "callosum.rover"
  patch "callosum.rover"
  patch "callosum.socket"
  return module
end

--- Checks that a rover's counters add up.
-- @param rover the rover
-- @return its stats
function rovers.checkStats(rover)
  local s = rover:stats()
  local ended = s.connections + s.rejected + s.unreachable + s.errors
    + s.cancelled
  local unreachable = 0
  for _, count in pairs(s.causes) do unreachable = unreachable + count end
  if s.attempts ~= ended + s.inFlight
      or s.connections ~= s.kept + s.closed
      or s.unreachable ~= unreachable
      or s.kept ~= #rover:sockets() then
    local list = {}
    for name, count in pairs(s) do
      list[#list + 1] = ("%s %s"):format(name, count)
    end
    table.sort(list)
    error("the stats do not add up: " .. table.concat(list, ", "), 2)
  end
  return s
end

--- Makes a rover. When the test ends, its counters are checked and it is
-- closed. An error that one of its handlers raises fails the test.
-- @param options as for `rover.new`; for a single server, `port` and perhaps
--   `host` (127.0.0.1) make it the server "s"
-- @return the rover
function rovers.rover(options)
  local own = {}
  for name, value in pairs(options or {}) do own[name] = value end
  if own.port then
    own.servers = { s = { host = own.host or "127.0.0.1", port = own.port } }
    own.port, own.host = nil, nil
  end
  local rover = load().new(own)
  ours[rover] = true
  loop.atEnd(function()
    local open = pcall(rover.stats, rover)
    if open then
      local ok, err = pcall(rovers.checkStats, rover)
      rover:close()
      if not ok then error(err, 0) end
    end
  end)
  return rover
end

--- Registers handlers that keep every socket and note every event.
-- @param rover the rover
-- @return an array of events in order, each a table: `event` (its name) and
--   what the handler was given, by name (`slot`, `socket`, `id`, `server`,
--   `err`)
function rovers.record(rover)
  local events = {}
  rover:on("connection", function(slot, socket, id, server)
    events[#events + 1] = { event = "connection", slot = slot, socket = socket,
      id = id, server = server }
  end)
  rover:on("unreachable", function(id, server, err)
    events[#events + 1] = { event = "unreachable", id = id, server = server,
      err = err }
  end)
  rover:on("error", function(err)
    events[#events + 1] = { event = "error", err = err }
  end)
  return events
end

--- Has a rover make one attempt, and runs until that is over. It must end in
-- one event, or none.
-- @param rover the rover, in no attempt yet
-- @param events what `record` made of it
-- @return the event, or nil
function rovers.attempt(rover, events)
  local before, attempts = #events, rover:stats().attempts
  assert(rover:connect())
  loop.run(function() return rover:stats().inFlight == 0 end)
  local stats = rovers.checkStats(rover)
  if #events > before + 1 or stats.attempts ~= attempts + 1 then
    error(("%d attempts ended in %d events")
      :format(stats.attempts - attempts, #events - before), 2)
  end
  return events[before + 1]
end

return rovers
