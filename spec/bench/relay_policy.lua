-- The relay of the benchmark, as a policy: it keeps COUNT sockets and gives any
-- of them to a client. It makes another at once, or if PACE is a number, one in
-- so many milliseconds. It does not probe connections, as haproxy does not.
-- Arguments: COUNT, PACE, the version of the PROXY header to send or "none",
-- for how many milliseconds of each second it is busy, the port to listen on,
-- the servers' ports; for TLS also the files of a certificate, its key, and the
-- CAs.

local host = require "callosum.host"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local uv = require "luv"

local count, pace = tonumber(host.args[1]), tonumber(host.args[2])
local busy = tonumber(host.args[4])
local ports, files = {}, {}
for i = 6, #host.args do
  local list = tonumber(host.args[i]) and ports or files
  list[#list + 1] = host.args[i]
end
local r = rover.new {
  maxAttempts = count, rovingInterval = pace, keepalive = 0,
  tls = files[1] and { cert = files[1], key = files[2], ca = files[3] },
}
for _, port in ipairs(ports) do
  r:addServer(port, { host = "127.0.0.1", port = tonumber(port) })
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
  listen = { port = tonumber(host.args[5]) }, maxClients = 10000, pick = pick,
  sendProxy = host.args[3] ~= "none" and host.args[3],
}):on("error", function(err) print(err) end)
for _ = 1, count do r:connect() end

if busy > 0 then
  uv.new_timer():start(1000, 1000, function()
    local till = uv.hrtime() + busy * 1e6
    while uv.hrtime() < till do end
  end)
end
