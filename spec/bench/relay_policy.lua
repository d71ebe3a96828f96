-- The relay of the benchmark, as a policy: it keeps COUNT sockets, gives any of
-- them to a client, and makes up for it once that is under way. Arguments:
-- COUNT, the port or path to listen on, the servers' ports.

local host = require "callosum.host"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local count = tonumber(host.args[1])
local r = rover.new { maxAttempts = count }
for i = 3, #host.args do
  r:addServer(host.args[i], {
    host = "127.0.0.1", port = tonumber(host.args[i]),
  })
end

local kept = {}
local function refill() r:connect() end

r:on("connection", function(_, socket)
  kept[#kept + 1] = socket
  socket:on("close", refill)
end)
r:on("unreachable", function(_, _, err) print(err) end)

local port = tonumber(host.args[2])
local s = relay.new {
  listen = port and { port = port } or { path = host.args[2] },
  maxClients = 10000,
  pick = function() return table.remove(kept) end,
}
s:on("error", function(err) print(err) end)
for _ = 1, count do r:connect() end
