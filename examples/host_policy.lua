-- The policy of host.c: keeps the sockets with the lowest slots, as many as the
-- program says, and tells it how many those are. Its arguments are the ports
-- of servers on this machine.

local host = require "callosum.host"
local program = require "program" -- what host.c gives its policies
local rover = require "callosum.rover"

host.carry = host.carry or { limit = 4 } -- which the next policy goes on with

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
r:on("unreachable", function(_, _, err) error(err) end) -- to the program
r:on("error", error)
r:start()

program.onLimit(function(limit)
  host.carry.limit = limit
  keepLowest()
end)
