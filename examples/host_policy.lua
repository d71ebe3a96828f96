-- The policy of host.c: keeps the sockets with the lowest slots, up to a limit
-- that the program sets, and reports how many it keeps. Its arguments are ports
-- on this machine.

local host = require "callosum.host"
local program = require "program" -- provided by host.c
local rover = require "callosum.rover"

host.carry = host.carry or { limit = 4 } -- survives reloads

local r = rover.new { rovingInterval = 100 }
for _, port in ipairs(host.args) do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end

local function keepLowest()
  local sockets = r:sockets() -- lowest slot first
  for i = #sockets, host.carry.limit + 1, -1 do sockets[i]:close() end
  program.report("kept", #r:sockets())
end

r:on("connection", keepLowest)
r:on("unreachable", function(_, _, err) error(err) end) -- on_error()
r:on("error", error)
r:start()

program.onLimit(function(limit)
  host.carry.limit = limit
  keepLowest()
end)
