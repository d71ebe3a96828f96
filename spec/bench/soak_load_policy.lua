-- The policy of soak_load.lua. Its arguments: a file with what to do and how
-- many sockets to keep, to how many of them to talk, and the servers' ports.
-- What to do:
--
--   fill    keep all that come, until they are so many
--   load    100 attempts a second: every other one is refused, the rest replace
--           sockets that are idle; and talk
--   rest    nothing but listen
--   drain   the same, and a last record over each socket, idle or not
--
-- Each generation that was handed all sockets says `counted`, with the rover's
-- counters and the policy's own count of what it closed. Sockets over the
-- number are closed. Attempts that the clock missed while it stood still during
-- a reload are made after it.

local host = require "callosum.host"
local records = require "soak_records"
local rover = require "callosum.rover"

local WINDOW = 8 -- records under way on a socket
local TENTH = 10 -- of the sockets are talked to at each attempt
local RATE = 100 -- attempts a second

local file <close> = assert(io.open(host.args[1]))
local mode, count = file:read("l", "n")
local talkers = tonumber(host.args[2])

local servers, ports = {}, { table.unpack(host.args, 3) }
for _, port in ipairs(ports) do
  servers[port] = { host = "127.0.0.1", port = tonumber(port) }
end
-- What is talked to keeps its slot, so nothing else has one as low.
local talking = talkers // #ports

-- Linux drops packets over net.core.netdev_max_backlog, as the probes of 20,000
-- idle sockets at once are: over 100,000 within ten seconds, and at times all
-- that one socket gets. So these are not probed.
local r = rover.new {
  rovingInterval = mode == "load" and 1000 // RATE or 3600000,
  maxAttempts = 64, servers = servers, keepalive = 0,
}

local kept, idle, talked = 0, {}, {}
local last = 0 -- of `talked`, which was talked to
local sent, seen, missed = 0, 0, 0
host.carry = host.carry or { closed = 0 }
local carry = host.carry
carry.drained = carry.drained or mode == "drain"

local function close(socket)
  carry.closed = carry.closed + 1
  socket:off()
  socket:close()
end

local function keep(socket, place)
  local slot = socket.slot
  socket:on("close", function(err)
    error(("lost: slot %d, %s"):format(slot, err))
  end)
  local list = slot < talking and talked or idle
  list[place or #list + 1] = socket
  if list == idle and not carry.drained then return end
  socket:on("data", function(chunk) records.receive(socket, chunk) end)
  if mode == "drain" then records.send(socket) end
  sent = sent + (socket.state.sent or 0)
  seen = seen + (socket.state.seen or 0)
end

local function talk()
  for _ = 1, #talked // TENTH do
    last = last % #talked + 1
    records.send(talked[last], WINDOW)
  end
end

local function counted()
  local stats = r:stats()
  stats.causes = nil
  stats.sent, stats.seen, stats.refused = sent, seen, carry.closed
  host.log.info("counted", stats)
  if mode ~= "load" then return end
  carry.since, carry.before = carry.since or os.time(),
    carry.before or stats.attempts
  missed = (os.time() - carry.since) * RATE + carry.before - stats.attempts
end

r:on("connection", function(_, socket)
  if socket.adopted then
    kept = kept + 1
    if kept > count then close(socket) else keep(socket) end
    if kept == count then counted() end
  elseif mode == "fill" then
    kept = kept + 1
    keep(socket)
    if kept + r:stats().inFlight < count then r:connect() end
    if kept == count then host.log.info "full" end
  elseif mode ~= "load" or carry.closed % 2 == 0 then
    close(socket)
  else
    local place = math.random(#idle)
    close(idle[place])
    keep(socket, place)
  end
  if mode == "load" and not socket.adopted then
    talk()
    missed = missed - 1
    if missed >= 0 then r:connect() end
  end
end)
r:on("unreachable", function(_, _, err) error(tostring(err)) end)

if mode ~= "fill" then
  r:start() -- also at rest, for otherwise attempts in flight are cancelled
else
  for _ = 1, math.min(64, count) do r:connect() end
end
