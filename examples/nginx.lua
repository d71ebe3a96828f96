-- The relay behind the nginx of nginx.conf, between that and a fleet of HTTP
-- servers. On each server's machine a front gives slots for it:
--
--   build/callosum-rover front --allow 10.0.0.0/8 0.0.0.0:4040 8080
--
-- And beside nginx, with the addresses of the fronts:
--
--   build/callosum-rover run examples/nginx.lua 10.0.0.7:4040 10.0.0.8:4040
--
-- As the unit callosum-rover@web, with ARGS in /etc/callosum/web.env, it has
-- the folder of its socket.

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local function report(...) host.log.warn(tostring((select(-1, ...)))) end

local r = rover.new {}
-- Those that nginx keeps are no longer in it: so many wait for when it needs
-- one more.
local p = pool.new { maxSlots = 10 }:attach(r)
for _, id in ipairs(host.args) do
  local address, port = id:match "^(.*):(%d+)$"
  r:addServer(id, { host = address, port = math.tointeger(port) })
end
r:on("unreachable", report)
r:on("error", report)
r:start()

relay.new {
  -- By its mode every program of this machine may connect, as nginx' workers.
  listen = { path = "/run/callosum/web/fleet.sock", mode = "0666" },
  pick = function() return p:awaitConnection() end,
}:on("error", report)
