-- What happens to a fleet that is measured: once it is full, all servers are
-- restarted, one after the other. Says after two seconds, and at the end, how
-- many connections were opened, how many ticks of CPU time that took, and how
-- many KB of memory at most.

local FULL, SETTLE, DOWN = 24, 16, 0.42 -- seconds

scenario {}

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

local function tell()
  local user, system = read "/proc/self/stat":match("%) %S+"
    .. (" %S+"):rep(10) .. " (%d+) (%d+)")
  local memory = read "/proc/self/status":match "VmHWM:%s*(%d+)"
  io.write(("%d opened, %d ticks, %d KB\n"):format(fleet.opens,
    user + system, memory))
end

local between = (fleet.seconds - FULL - SETTLE) / #fleet.servers
for i = 1, #fleet.servers do
  at(FULL + (i - 1) * between).restart(i, DOWN)
end
at(2, tell)
at(fleet.seconds, tell)
