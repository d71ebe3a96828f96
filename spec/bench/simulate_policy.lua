-- A policy to simulate: its arguments are how it keeps connections, and the
-- ports of its servers. `pool` and `plain` make one attempt a second, so that
-- the simulator has something to do, and `paced` fewer and fewer, as pools do.

local host = require "callosum.host"
local rover = require "callosum.rover"

local SIZE = 10 -- connections

local way = host.args[1]
local r = rover.new()
for i = 2, #host.args do
  local port = tonumber(host.args[i])
  r:addServer(host.args[i], { host = "127.0.0.1", port = port })
end

if way == "plain" then
  local kept = {}
  local function held(i) return kept[i].closed and math.huge or kept[i].slot end
  r:on("connection", function(slot, socket)
    if #kept < SIZE then
      kept[#kept + 1] = socket
      return
    end
    local highest = 1
    for i = 2, SIZE do
      if held(i) > held(highest) then highest = i end
    end
    if slot >= held(highest) then return socket:close() end
    kept[highest]:close()
    kept[highest] = socket
  end)
else
  local options = { maxSlots = SIZE }
  if way == "pool" then
    options.fillInterval, options.maxInterval = false, false
    options.backoff = false
  end
  require "callosum.pool".new(options):attach(r)
end
r:start()
