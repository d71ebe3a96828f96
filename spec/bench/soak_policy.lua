-- The policy of soak_reload.lua: keeps COUNT sockets to an echo server and
-- sends numbered records over each. The file CONTROL says what to do: "run",
-- "drain" (send no more), or, all with a clock, "bare" (keep them, no more),
-- "idle" (listen to them, and give them a state) and "busy" (as "run").

local host = require "callosum.host"
local records = require "soak_records"
local rover = require "callosum.rover"

local control, port, count = host.args[1], tonumber(host.args[2]),
  tonumber(host.args[3])
local WINDOW = math.max(1, 8000 // count) -- records under way on each socket

local file <close> = assert(io.open(control))
local mode = file:read "a"

local r = rover.new {
  rovingInterval = 3600000, maxAttempts = 64,
  servers = { echo = { host = "127.0.0.1", port = port } },
}

local kept, adopted, pending, sent, seen = 0, 0, 0, 0, 0

local function settled()
  pending = pending - 1
  if pending > 0 or adopted < count then return end
  host.log.info("drained", { sockets = #r:sockets(), sent = sent, seen = seen })
end

local function send(socket)
  records.send(socket, (mode == "run" or mode == "busy") and WINDOW or 0)
end

local function receive(socket, chunk)
  local left = records.receive(socket, chunk)
  if mode ~= "drain" then send(socket) elseif left == 0 then settled() end
end

r:on("connection", function(slot, socket)
  if not socket.adopted then
    kept = kept + 1
    if kept + r:stats().inFlight < count then r:connect() end
    if kept == count then host.log.info("full", { sockets = #r:sockets() }) end
  end
  if mode == "bare" then return end
  socket:on("close", function(err)
    host.log.error("lost", { slot = slot, error = tostring(err) })
  end)
  socket:on("data", function(chunk) receive(socket, chunk) end)
  send(socket)
  if mode == "drain" then
    local state = socket.state
    adopted = adopted + 1
    sent, seen = sent + state.sent, seen + state.sent
    pending = pending + (state.seen < state.sent and 1 or 0)
    if adopted == count then
      pending = pending + 1
      settled()
    end
  end
end)
r:on("unreachable", function(_, _, err) error(tostring(err)) end)

-- The first attempt is of the clock, which later generations go on with: none
-- of theirs is due, but a rover that is not started would be warned of.
if host.generation == 1 then
  for _ = 2, math.min(64, count) do r:connect() end
end
r:start()

-- How long the loop stood still: between the last tick of one generation and
-- the first of the next, and between any two of the first 100 of one.
if mode == "bare" or mode == "idle" or mode == "busy" then
  local uv = require "luv"
  local longest, ticks, last = 0, 0, host.carry
  uv.new_timer():start(0, 1, function()
    local now = uv.hrtime()
    ticks = ticks + 1
    if ticks == 1 and last then
      host.log.info("gap", { ms = (now - last) / 1e6 })
    elseif ticks > 1 then
      longest = math.max(longest, now - last)
    end
    if ticks == 100 then host.log.info("calm", { ms = longest / 1e6 }) end
    last, host.carry = now, now
  end)
end
