-- The relay behind the HAProxy of haproxy.cfg. Servers learn the addresses of
-- the clients outside, by PROXY headers. On each server's machine a front gives
-- slots for it; here that is an nginx with `listen 8080 proxy_protocol`, or
-- whatever else accepts such headers:
--
--   build/callosum-rover front --allow 10.0.0.0/8 --accept-proxy \
--     --trusted 10.0.0.0/8 --send-proxy v2 0.0.0.0:4040 8080
--
-- And beside HAProxy, with the addresses of the fronts:
--
--   build/callosum-rover run examples/haproxy.lua 10.0.0.7:4040 10.0.0.8:4040

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local function report(...) host.log.warn(tostring((select(-1, ...)))) end

local r = rover.new {}
-- So many connections wait for clients; those of clients are no longer in it.
local p = pool.new { maxSlots = 20 }:attach(r)
for _, id in ipairs(host.args) do
  local address, port = id:match "^(.*):(%d+)$"
  r:addServer(id, { host = address, port = math.tointeger(port) })
end
r:on("unreachable", report)
r:on("error", report)
r:start()

relay.new {
  listen = { port = 5000 },
  pick = function() return p:awaitConnection() end,
  acceptProxy = true, -- of HAProxy, and of nobody else
  trusted = { "127.0.0.1" },
  sendProxy = "v2",
}:on("error", report)
