-- The relay of the benchmark, as a policy: it keeps COUNT sockets and gives any
-- of them to a client. It makes another for each when that has got it; or, if
-- PACE is not "at-once", one in so many milliseconds. Arguments: COUNT, PACE,
-- the port to listen on, the servers' ports.

local host = require "callosum.host"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local count, pace = tonumber(host.args[1]), tonumber(host.args[2])
local r = rover.new { maxAttempts = count, rovingInterval = pace }
for i = 4, #host.args do
  r:addServer(host.args[i], {
    host = "127.0.0.1", port = tonumber(host.args[i]),
  })
end

local kept = {}
local function connect() r:connect() end

r:on("connection", function(_, socket)
  if #kept == count then return socket:close() end
  kept[#kept + 1] = socket
  if not pace then socket:on("close", connect) end
end)
r:on("unreachable", function(_, _, err) print(err) end)

relay.new({
  listen = { port = tonumber(host.args[3]) },
  maxClients = 10000,
  pick = function() return table.remove(kept) end,
}):on("error", function(err) print(err) end)
for _ = 1, count do r:connect() end
if pace then r:start() end
