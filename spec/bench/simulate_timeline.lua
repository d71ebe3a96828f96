-- What happens to a fleet that is measured: once it is full, all servers are
-- restarted, one after the other. Prints how many connections were opened after
-- two seconds and at the end, and waits for a line each time, so that time and
-- memory can be looked at.

local FULL, SETTLE, DOWN = 24, 16, 0.42 -- seconds

scenario {}

local function tell()
  print(fleet.opens)
  io.stdout:flush()
  io.read()
end

local between = (fleet.seconds - FULL - SETTLE) / #fleet.servers
for i = 1, #fleet.servers do
  at(FULL + (i - 1) * between).restart(i, DOWN)
end
at(2, tell)
at(fleet.seconds, tell)
