-- What the torture program runs in a host. Globals are between it and the
-- program, which sets `report` and `broken`.
-- luacheck: globals report broken refill prober

local host = require "callosum.host"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local servers = { a = { host = "127.0.0.1", port = tonumber((...)) } }

host.carry = host.carry or { loaded = 0, 1.5, true, { text = "text" } }
host.carry.loaded = host.carry.loaded + 1
host.on("unload", function() host.log.debug("unloaded", { why = "test" }) end)

-- Keeps two sockets.
local keeper = rover.new {
  name = "keeper", rovingInterval = 1, maxAttempts = 2, servers = servers,
}
keeper:on("connection", function(_, socket)
  local kept = #keeper:sockets()
  if kept < 2 then keeper:connect() else keeper:stop() end -- the clock is slow
  if kept > 2 then return socket:close() end
  socket.state.decided = (socket.state.decided or 0) + 1
  socket:on("data", function() end)
  socket:on("close", function() end)
end)
keeper:on("error", function(err) report(err.code) end)
keeper:addServer("b", servers.a)
keeper:start()

function refill()
  keeper:addServer("later", servers.a)
  if #keeper:sockets() < 2 then keeper:start() end
end

-- Nobody comes; but it is to listen, and on after each reload.
relay.new {
  listen = { port = 0 }, pick = function() return keeper:sockets()[1] end,
}:on("error", function(err) report(err.code) end)

-- Its look-ups fail, in a thread that allocates nothing.
require("callosum.discover").file { path = "/nowhere/servers", interval = 1 }
  :on("error", function(err)
    if err.code == "ENOMEM" then report(err.code) end
  end):attach(keeper)

require("talker").new(servers)

-- Makes one attempt whenever it is loaded. Global, so as not to be collected.
prober = rover.new { name = "prober" }
prober:setServers(servers)
prober:on("connection", function(_, socket) socket:close() end)
prober:on("error", function(err) report(err.code) end)
prober:connect()

if broken then error("broken") end
