-- A host of `make balance BALANCE=pacing`: a pool, paced or on the rover's
-- fixed clock. Says at its end how many connections it opened. Its arguments:
-- which, and the ports of its servers.

local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"

-- A fifth of the defaults, so that a minute shows what takes five.
local paced = { maxSlots = 10, fillInterval = 20, maxInterval = 2000,
  backoff = 200, maxBackoff = 2000 }
local fixed = { maxSlots = 10, fillInterval = false, maxInterval = false,
  backoff = false }

local r = rover.new { rovingInterval = 200 }
for i = 2, #host.args do
  local port = tonumber(host.args[i])
  r:addServer(host.args[i], { host = "127.0.0.1", port = port })
end
pool.new(host.args[1] == "paced" and paced or fixed):attach(r)
r:start()
host.on("unload", function()
  local stats = r:stats()
  print(stats.connections + stats.rejected)
end)
