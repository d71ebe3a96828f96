-- A policy to simulate: its arguments are how it keeps connections, and the
-- ports of its servers. `plain`, which decides in a handler, `limit`, which has
-- a slot limit as well, `declared`, which only says how many are kept, and
-- `pool` make one attempt a second, so that the simulator has something to do,
-- and `paced` fewer and fewer, as pools do.

local host = require "callosum.host"
local rover = require "callosum.rover"

local SIZE = 10 -- connections

local way = host.args[1]
local r = rover.new { maxKept = way == "declared" and SIZE or nil }
for i = 2, #host.args do
  local port = tonumber(host.args[i])
  r:addServer(host.args[i], { host = "127.0.0.1", port = port })
end

if way == "plain" or way == "limit" then
  local kept = {}
  local function held(i) return kept[i].closed and math.huge or kept[i].slot end
  local function highest()
    local place = 1
    for i = 2, SIZE do
      if held(i) > held(place) then place = i end
    end
    return place
  end
  local function limit()
    if #kept < SIZE then return end
    local slot = held(highest())
    r:setSlotLimit(slot < math.huge and slot > 0 and slot or nil)
  end
  r:on("connection", function(slot, socket)
    if #kept < SIZE then
      kept[#kept + 1] = socket
    else
      local place = highest()
      if slot >= held(place) then return socket:close() end
      kept[place]:close()
      kept[place] = socket
    end
    if way == "limit" then
      limit()
      socket:on("close", limit)
    end
  end)
elseif way ~= "declared" then
  local options = { maxSlots = SIZE }
  if way == "pool" then
    options.fillInterval, options.maxInterval = false, false
    options.backoff = false
  end
  require "callosum.pool".new(options):attach(r)
end
r:start()
