-- A policy with as many servers as its argument says, which asks each of them
-- once. From then on, each 100 ms, it prints the most ms of CPU time that the
-- loop has taken so far from one tick of a timer to the next.

local rover = require "callosum.rover"
local uv = require "luv"

local servers = {}
for i = 1, tonumber(...) do
  servers[("10.%d.%d.%d:4040"):format(i >> 16, i >> 8 & 255, i & 255)] =
    { host = "127.0.0.1", port = 1 }
end
local r = rover.new { servers = servers, maxAttempts = 100000 }
r:on("unreachable", function() end)
for id in pairs(servers) do r:connect(id) end

local last, longest, told, done = os.clock(), 0, 0, false
local timer = uv.new_timer()
timer:start(1, 1, function()
  local now, time = os.clock(), uv.hrtime()
  longest, last = math.max(longest, now - last), now
  if not done then
    done = r:stats().inFlight == 0
    if done then print "asked all" end
    longest = 0
  elseif time - told > 100000000 then
    print(("longest %.2f"):format(longest * 1000))
    told = time
  end
  io.stdout:flush()
end)
