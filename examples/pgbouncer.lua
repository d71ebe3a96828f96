-- The relay behind the PgBouncer of pgbouncer.ini, between that and PostgreSQL
-- servers with the same data. On each server's machine a front gives slots for
-- it, to no more clients than its max_connections allows:
--
--   build/callosum-rover front --allow 10.0.0.0/8 --max-clients 90 \
--     0.0.0.0:4040 5432
--
-- And beside PgBouncer, with the addresses of the fronts:
--
--   build/callosum-rover run examples/pgbouncer.lua 10.0.0.7:4040 10.0.0.8:4040
--
-- As the unit callosum-rover@db, with ARGS in /etc/callosum/db.env, it has the
-- folder of its socket. psql -h /run/callosum/db does without PgBouncer.

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local function report(...) host.log.warn(tostring((select(-1, ...)))) end

local r = rover.new {}
-- Those that PgBouncer keeps are no longer in it.
local p = pool.new { maxSlots = 10 }:attach(r)
for _, id in ipairs(host.args) do
  local address, port = id:match "^(.*):(%d+)$"
  r:addServer(id, { host = address, port = math.tointeger(port) })
end
r:on("unreachable", report)
r:on("error", report)
r:start()

relay.new {
  listen = { path = "/run/callosum/db/.s.PGSQL.5432", mode = "0666" },
  pick = function() return p:awaitConnection() end,
}:on("error", report)
