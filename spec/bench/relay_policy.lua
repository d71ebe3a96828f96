-- The relay of the benchmark, as a policy: it keeps COUNT sockets and gives any
-- of them to a client. It makes another at once, or if PACE is a number, one in
-- so many milliseconds. It does not probe connections, as haproxy does not.
-- Arguments: COUNT, PACE, the version of the PROXY header to send or "none",
-- the port to listen on, the servers' ports.

local host = require "callosum.host"
local relay = require "callosum.relay"
local rover = require "callosum.rover"

local count, pace = tonumber(host.args[1]), tonumber(host.args[2])
local r = rover.new {
  maxAttempts = count, rovingInterval = pace, keepalive = 0,
}
for i = 5, #host.args do
  r:addServer(host.args[i], {
    host = "127.0.0.1", port = tonumber(host.args[i]),
  })
end

local kept, roving, full = {}, false, false

r:on("connection", function(_, socket)
  kept[#kept + 1] = socket
  if #kept == count and not full then
    full = true
    print "full"
    io.stdout:flush()
  end
  if roving and #kept >= count then
    r:stop()
    roving = false
  end
end)
r:on("unreachable", function(_, _, err) print(err) end)

local function pick()
  if not pace then
    r:connect()
  elseif not roving then
    r:start()
    roving = true
  end
  return table.remove(kept)
end

relay.new({
  listen = { port = tonumber(host.args[4]) }, maxClients = 10000, pick = pick,
  sendProxy = host.args[3] ~= "none" and host.args[3],
}):on("error", function(err) print(err) end)
for _ = 1, count do r:connect() end
