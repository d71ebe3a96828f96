-- COUNT handshakes, 64 in flight, as a policy. Prints handshakes a second.

local host = require "callosum.host"
local rover = require "callosum.rover"

local count = tonumber(host.args[1])
local r = rover.new { rovingInterval = 3600000, maxAttempts = 64 }
for i = 2, #host.args do
  local port = tonumber(host.args[i])
  r:addServer(host.args[i], { host = "127.0.0.1", port = port })
end

local begun, done, from = 64, 0, nil
local function now() -- seconds
  local file <close> = assert(io.open "/proc/uptime")
  return file:read "n"
end

r:on("connection", function(_, socket)
  socket:close()
  done = done + 1
  if begun < count then
    begun = begun + 1
    r:connect()
  end
  if done == count then
    print(("%.0f"):format(done / (now() - from)))
    host.stop()
  end
end)
r:on("unreachable", function(_, _, err) error(tostring(err)) end)

from = now()
for _ = 1, 64 do r:connect() end
