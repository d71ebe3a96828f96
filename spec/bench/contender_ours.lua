-- Our own, with the pool's defaults; see contenders.lua.
local r = require "callosum.rover".new { jitter = 0.2 }
for _, port in ipairs(require "callosum.host".args) do
  r:addServer(port, { host = "localhost", port = math.tointeger(port) })
end
require "callosum.pool".new { maxSlots = 10 }:attach(r)
r:start()
