-- A policy with a relay, which joins its clients with connections of a pool, or
-- with any.
-- luacheck: globals chaos

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local uv = require "luv"

chaos.maybeFail()

local acceptProxy, sendProxy = host.args[1] == "1", tonumber(host.args[2])
local r = rover.new { rovingInterval = chaos.log(1, 1000) }
chaos.declares(1)
for i = 3, #host.args do
  r:addServer(host.args[i], { host = host.args[i], port = 4040 })
end
r:on("error", function() end)

local pick
if chaos.oneIn(4) then
  pick = function() return r:sockets()[1] end
  r:on("connection", function(_, socket)
    if #r:sockets() > 16 then socket:close() end
  end)
else
  local p = pool.new { maxSlots = chaos.log(1, 32),
    fillInterval = chaos.log(1, 500), maxInterval = chaos.log(1, 10000),
  }:attach(r)
  if chaos.oneIn(2) then pick = function() return p:getConnection() end
  else pick = function() return p:awaitConnection() end end
end

local door = relay.new {
  listen = { port = 6380 },
  pick = function() return not chaos.calm() and pick() or nil end,
  waitTimeout = chaos.odd(10, 10000),
  idleTimeout = chaos.odd(10, 60000),
  halfCloseTimeout = chaos.odd(10, 60000),
  drainTimeout = chaos.odd(10, 10000),
  maxClients = chaos.odd(1, 64),
  acceptProxy = acceptProxy, trusted = acceptProxy and { "127.0.0.0/8" } or nil,
  headerTimeout = chaos.odd(10, 5000),
  sendProxy = sendProxy > 0 and "v" .. sendProxy or false,
}
door:on("error", function() end)
r:start()

-- Once all is calm: behind unread bytes an end would not be noticed.
local timer = uv.new_timer()
timer:start(1000, 1000, function()
  if not chaos.calm() then return end
  timer:stop()
  for _, socket in ipairs(r:sockets()) do
    socket:on("data", function() end)
  end
end)

chaos.maybeFail()
