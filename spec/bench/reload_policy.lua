-- The policy of reload.lua: keeps COUNT sockets and says "kept". With a "clock"
-- it looks at that in each turn of the loop, and says for how long it stood
-- still at most, from the last turn of one generation to the third in which the
-- next one has all sockets. Arguments: COUNT, "clock" or "quiet", the server's
-- port.

local host = require "callosum.host"
local rover = require "callosum.rover"

local IN_FLIGHT = 64

local count, kind, port = tonumber(host.args[1]), host.args[2],
  tonumber(host.args[3])
local r = rover.new {
  rovingInterval = 3600000, maxAttempts = IN_FLIGHT,
  servers = { one = { host = "127.0.0.1", port = port } },
}

local function say(...)
  print(...)
  io.stdout:flush()
end

local begun, kept, adopted = 0, 0, 0

local function connect()
  if begun == count then return end
  begun = begun + 1
  r:connect()
end

r:on("connection", function(_, socket)
  if socket.adopted then
    adopted = adopted + 1
    return
  end
  kept = kept + 1
  connect()
  if kept == count then say "kept" end
end)
r:on("unreachable", function(_, _, err) error(tostring(err)) end)

if host.generation == 1 then
  for _ = 1, IN_FLIGHT do connect() end
  if count == 0 then say "kept" end
end

if kind == "clock" then
  local uv = require "luv"
  local last, most, turns = host.carry, 0, 3
  uv.new_idle():start(function()
    local now = uv.hrtime()
    if last then
      most = math.max(most, now - last)
      if adopted == count then turns = turns - 1 end
    end
    last = turns > 0 and last and now
    if turns == 0 then
      turns = -1
      say(("stall %.3f"):format(most / 1e6))
    end
    host.carry = now
  end)
end
