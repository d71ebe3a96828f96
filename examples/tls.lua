-- A fleet that trusts nobody without a certificate of its CA. This makes a CA:
--
--   new() { openssl req -x509 -nodes -newkey ec -pkeyopt group:P-256 "$@"; }
--   new -days 3650 -subj '/CN=Fleet CA' -keyout ca.key -out ca.pem
--
-- and then a certificate for each machine, with its names and addresses:
--
--   new -days 90 -CA ca.pem -CAkey ca.key -keyout one.key -out one.pem \
--     -subj /CN=one -addext basicConstraints=critical,CA:FALSE \
--     -addext subjectAltName=DNS:localhost,DNS:one.fleet.example,IP:127.0.0.1
--
-- A machine needs its own and ca.pem; ca.key stays where certificates are made.
-- Run this before a server, here at port 6379, and beside its clients, which
-- then find it at port 6380:
--
--   build/callosum-rover run --watch examples/tls.lua one front 4040 6379 &
--   build/callosum-rover run --watch examples/tls.lua one relay 6380 \
--     localhost:4040
--
-- Replace a certificate and its key in time: the change is noticed.

local host = require "callosum.host"
local pool = require "callosum.pool"

local name, role, port, server = table.unpack(host.args)
local tls = { ca = "ca.pem", cert = name .. ".pem", key = name .. ".key" }
local listen = { port = math.tointeger(port) }

local function report(err) host.log.warn(tostring(err)) end

if role == "front" then
  listen.host = "0.0.0.0" -- that a certificate is asked for makes this safe
  require "callosum.front".new {
    listen = listen, tls = tls, backend = { port = math.tointeger(server) },
  }:on("error", report)
else
  local r = require "callosum.rover".new { tls = tls }
  local p = pool.new { maxSlots = 10 }:attach(r)
  for i = 4, #host.args do
    local address, its = host.args[i]:match "^(.*):(%d+)$"
    r:addServer(host.args[i], { host = address, port = math.tointeger(its) })
  end
  r:on("unreachable", function(_, _, err) report(err) end)
  r:on("error", report) -- a certificate that was refused, and why
  r:start()
  require "callosum.relay".new {
    listen = listen, pick = function() return p:awaitConnection() end,
  }:on("error", report)
end
