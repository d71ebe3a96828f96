-- The policy of soak_reload.lua: keeps COUNT sockets to an echo server, sends
-- numbered records over each and checks that every one comes back once and in
-- order, whichever generation sent it. Where each socket stands is in its
-- state. The file CONTROL says what to do: "run", "drain" (send no more), or,
-- both with a clock, "bare" (keep them, no more), "idle" (listen to them, and
-- give them a state) and "busy" (as "run").

local host = require "callosum.host"
local rover = require "callosum.rover"

local port, count, control = tonumber(host.args[1]), tonumber(host.args[2]),
  host.args[3]
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

-- A record is 16 bytes: the socket's slot, and its own number on that.
local function send(socket, state)
  local records = {}
  while (mode == "run" or mode == "busy")
      and state.sent - state.seen < WINDOW do
    state.sent = state.sent + 1
    records[#records + 1] = ("%06d %08d\n"):format(socket.slot, state.sent)
  end
  if #records > 0 then socket:write(records) end
end

local function receive(socket, state, chunk)
  local bytes, slot = state.rest .. chunk, ("%06d "):format(socket.slot)
  local at = 1
  for record in bytes:gmatch "([^\n]*)\n" do
    state.seen = state.seen + 1
    at = at + #record + 1
    if record ~= slot .. ("%08d"):format(state.seen) then
      host.log.error("wrong", { slot = slot, got = record,
        wanted = state.seen })
    end
  end
  state.rest = bytes:sub(at)
  if mode == "drain" then
    if state.seen == state.sent then settled() end
  else
    send(socket, state)
  end
end

r:on("connection", function(slot, socket)
  if not socket.adopted then
    kept = kept + 1
    if kept + r:stats().inFlight < count then r:connect() end
    if kept == count then host.log.info("full", { sockets = #r:sockets() }) end
  end
  if mode == "bare" then return end
  local state = socket.state
  if not state.sent then state.sent, state.seen, state.rest = 0, 0, "" end
  socket:on("close", function(err)
    host.log.error("lost", { slot = slot, error = tostring(err) })
  end)
  socket:on("data", function(chunk) receive(socket, state, chunk) end)
  send(socket, state)
  if mode == "drain" then
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

if host.generation == 1 then
  for _ = 1, math.min(64, count) do r:connect() end
end

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
