-- A policy that does badly when servers are restarted, and the line that mends
-- it. It keeps the first ten connections that it gets, whatever their slots:
--
--   build/callosum-rover simulate --scenario roll examples/first_ten.lua
--
-- A host that has ten gives none up for a server that is back, so the last one
-- is left without any: see min/mean at the end. The line below has it give up
-- the highest slot instead of the newest.

local rover = require "callosum.rover"

local r = rover.new { jitter = 0.2 }
for _, port in ipairs { ... } do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end

r:on("connection", function(_, socket)
  local sockets = r:sockets() -- lowest slot first, the new one among them
  if #sockets <= 10 then return end
  -- socket = sockets[#sockets] -- the line that mends it
  socket:close()
end)
r:on("unreachable", function() end) -- it will be back
r:start()
