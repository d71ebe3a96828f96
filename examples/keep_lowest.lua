-- The usage example of the npm module callosum-client-tcp-rover, as a policy.
-- Run it with three servers to rove between:
--
--   build/callosum-rover serve 4040 4041 4042 -- \
--     build/callosum-rover run examples/keep_lowest.lua
--
-- Names are the module's. The differences: ROVING_INTERVAL is `rovingInterval`,
-- and must be at least 1. A slot line may arrive in pieces, and the bytes after
-- it reach the socket. A server that closes or stays silent is `unreachable`,
-- an event that also says why. There are deadlines, `stop()` and `close()`. A
-- socket that is not closed is kept. `callosum.pool` has the methods of
-- callosum-client-tcp; its MAX_SLOTS is `maxSlots`.

local ClientRover = require "callosum.rover"
local clientRover = ClientRover.new {
  rovingInterval = 1000, -- milliseconds
  servers = {
    ["localhost:4040"] = { host = "localhost", port = 4040 },
    ["localhost:4041"] = { host = "localhost", port = 4041 },
  },
}

clientRover:on("error", function(err)
  print(err)
end)

clientRover:on("unreachable", function(id, server)
  print("server with id " .. id .. " is unreachable")
  print(server.host, server.port) -- for example: localhost 4041
end)

clientRover:on("connection", function(slot, socket)
  print("new connection with slot number " .. slot)
  -- keep socket open or close it depending on client configuration and slot
  if slot > 1 then socket:close() end
end)

-- start requesting connections from servers every rovingInterval
clientRover:start()

-- add additional servers as they become available
clientRover:addServer("localhost:4042", { host = "localhost", port = 4042 })

-- remove servers by id
clientRover:dropServer("localhost:4042")
