-- A local address for a fleet, for programs that know nothing of Callosum:
--
--   curl -s --retry 9 --retry-connrefused 'http://localhost:8080/[1-6]' &
--   build/callosum-rover run examples/sidecar.lua 8080
--
-- The fleet is three servers of its own, each of which answers with its name
-- and how many connections it has. The argument is a port, or the path of a
-- Unix socket: `curl --unix-socket PATH http://fleet/`.

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local server = require "callosum.server"

local where = assert(host.args[1], "where to listen? add a port or a path")
local port = math.tointeger(where)

local r = rover.new()
local p = pool.new { maxSlots = 6, fillInterval = 10 }:attach(r)
r:on("unreachable", function(_, _, err) print(err) end)

for i = 1, 3 do
  local s = assert(server.new())
  s:on("connection", function(conn)
    conn:on("data", function() -- whatever the request
      local text = ("server %d, which has %d connections\n")
        :format(i, #s:connections())
      conn:write { "HTTP/1.0 200 OK\r\nContent-Length: ", tostring(#text),
        "\r\n\r\n", text }
      conn:shutdown()
    end)
  end)
  local address, itsPort = s:address()
  r:addServer("server " .. i, { host = address, port = itsPort })
end
r:start()

-- A client is joined with the idle connection of the lowest slot, or waits
-- until there is one.
local door = relay.new {
  listen = port and { port = port } or { path = where },
  pick = function() return p:getConnection() end,
  idleTimeout = 60000,
}
door:on("error", function(err) print(err) end)

host.on("unload", function()
  local stats = door:stats()
  print(("%d clients, %d of them joined"):format(stats.accepted, stats.joined))
end)
