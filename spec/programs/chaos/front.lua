-- A policy with a front.
-- luacheck: globals chaos

local front = require "callosum.front"
local host = require "callosum.host"
local uv = require "luv"

chaos.maybeFail()

local acceptProxy, sendProxy = host.args[1] == "1", tonumber(host.args[2])
local connectOn = { "data", "kept", "slot" }
local idle = chaos.odd(10, 60000)
if idle then chaos.frontEnds() end
if host.generation > 1 then chaos.frontEnds() end

local f = front.new {
  listen = { host = "0.0.0.0", port = 4040 },
  backend = { port = 5050 },
  public = true, trusted = acceptProxy and { "10.0.0.0/8" } or nil,
  connectOn = acceptProxy and "data" or connectOn[chaos.draw(1, 3)],
  keptAfter = chaos.odd(1, 2000),
  connectTimeout = chaos.odd(10, 5000),
  healthInterval = chaos.odd(10, 5000),
  idleTimeout = idle,
  halfCloseTimeout = chaos.odd(10, 60000),
  drainTimeout = chaos.odd(10, 30000),
  quietTime = chaos.odd(1, 1000),
  maxClients = chaos.odd(1, 64),
  acceptProxy = acceptProxy, headerTimeout = chaos.odd(10, 5000),
  sendProxy = sendProxy > 0 and "v" .. sendProxy or false,
}
f:on("error", function() end)
f:on("backend", function() end)

local timer = uv.new_timer()
timer:start(chaos.log(10, 3000), chaos.log(10, 3000), function()
  if chaos.calm() then return timer:stop() end
  local what = chaos.draw(1, 8)
  if what == 1 then
    chaos.frontEnds()
    f:setWeight(chaos.log(1, 1024) / 64)
  elseif what == 2 then
    chaos.frontEnds()
    f:drain(chaos.log(1, 20000))
  elseif what <= 4 then f:resume()
  elseif what == 5 then f:setDown(chaos.oneIn(3) and "by hand" or nil)
  elseif what == 6 then f:setDown(nil)
  elseif what == 7 and chaos.oneIn(16) then chaos.reload() end
end)

chaos.maybeFail()
