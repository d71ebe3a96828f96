-- What balance_pacing.lua does to real processes, for simulate: all servers are
-- restarted, one after the other. Prints the highest ratio of the server with
-- most connections to the mean, in two samples in a row, from the first restart
-- on, and how many connections were opened.

local BOOTED = 0.5 -- seconds: when half of the hosts have started
local STARTING = 0.03 -- that a real server takes to listen
local QUIET, DOWN, EVERY, SETTLE = BOOTED + 24, 0.4, 2, 16
if os.getenv "SHORT" then QUIET, SETTLE = BOOTED + 6, 3 end

scenario { hosts = 20, servers = 5, seconds = QUIET + 5 * EVERY + SETTLE }

local count = #fleet.servers
for i = 1, count do
  at(QUIET + (i - 1) * EVERY).restart(i, DOWN + STARTING)
end

local peak, last = 0, 0
every(0.1).from(QUIET)(function()
  local connections, most = fleet.connections, 0
  for _, n in ipairs(connections) do most = math.max(most, n) end
  local ratio = most / (fleet.total / count)
  peak, last = math.max(peak, math.min(last, ratio)), ratio
end)

at(fleet.seconds, function()
  print(("peak %.4f opened %d"):format(peak, fleet.opens))
end)
