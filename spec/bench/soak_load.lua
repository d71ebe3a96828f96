-- As many kept sockets as the machine allows, a thousand of them under traffic,
-- while 100 attempts a second go on and a reload comes every second. Run by
-- `make soak`; its arguments are the folder of the built programs and for how
-- many seconds. Prints what it measured, and ends with 1 if a promise is broken
-- (see below).
--
-- How many sockets: as many as descriptors may be open, but no more than MOST,
-- nor more than are adopted in half of the second between two reloads.

package.path = "spec/bench/?.lua;lua/?.lua;" .. package.path
local records = require "soak_records"
local soak = require "soak"
local uv = require "luv"

-- glibc's malloc() takes the first large block that it is given back for a hint
-- to keep such blocks on its heap, where holes of theirs come and go: 2 to 5%
-- of all memory, with tables of 20,000 sockets. Told where large begins, it
-- stays with that, and what is left to see is growth.
uv.os_setenv("MALLOC_MMAP_THRESHOLD_", "131072")

local build, seconds = arg[1] or "build", tonumber(arg[2] or 60)
local MOST, SPARE = 50000, 200 -- sockets; descriptors for all else
local PER_SERVER = 15000 -- there are about 28,000 ports to connect from
local TALKED = 1000
local STALL = 500 -- ms
local WARM = 10 -- reloads, after which that is looked at
-- What a Lua state's memory grows by: see src/host/arena.c. Whether one more is
-- wanted is up to when the collector ran.
local CHUNK = 256 -- kB
local RATE, RELOADS = 80, 0.8 -- a second at least, on a machine that is busy
assert(seconds >= 30, "30 seconds are the least")

local loaded = soak.promise "attempts and reloads go on all the time"
local raised = soak.promise "all descriptors that are allowed are got"
local lost = soak.promise "no socket is lost that the policy did not close"
local adopting = soak.promise "every reload is made, with all sockets"
local attempting = soak.promise "no attempt is lost, and none fails"
local echoing = soak.promise "every record is echoed once and in order"
local growing = soak.promise("memory is within 1%, or one chunk, of what it "
  .. "was when warm")
local leaking = soak.promise "descriptors are as many as at the beginning"

soak.limit(seconds + 120)

-- Preparing ------------------------------------------------------------------

local limit = tonumber(io.popen "ulimit -Hn":read "a")
local count = math.min(MOST, limit - SPARE)
local talked = math.min(TALKED, count // 2)
local echo = soak.serve(build,
  math.ceil(count / math.min(PER_SERVER, limit * 0.7)))

local function set(mode) soak.set(("%s\n%d"):format(mode, count)) end

set "fill"
local host = soak.run(build, "spec/bench/soak_load_policy.lua",
  tostring(talked), table.unpack(echo.ports))
host:wait "full"
local got = host.events.descriptors
if not got or got.limit ~= limit then
  raised("%s of %d", got and got.limit or "none", limit)
end
print(("%d descriptors allowed, %d sockets kept, %d of them under traffic")
  :format(limit, count, talked))

-- What else there is.
local function spare()
  local opened, closed = echo.ask()
  return soak.descriptors(host.child.pid) - count,
    echo.descriptors() - (opened - closed)
end
local before, beforeThere = spare()

-- The load -------------------------------------------------------------------

local times, rss = {}, {} -- of each reload

-- What the rover counts is in order at any time.
local function check(stats)
  local s = stats
  if s.attempts ~= s.connections + s.rejected + s.unreachable + s.errors
      + s.cancelled + s.inFlight then
    attempting("%d attempts, but %d connections, %d rejected, %d unreachable, "
      .. "%d errors, %d cancelled, %d in flight", s.attempts, s.connections,
      s.rejected, s.unreachable, s.errors, s.cancelled, s.inFlight)
  end
  if s.unreachable + s.errors + s.cancelled > 0 then
    attempting("%d unreachable, %d errors, %d cancelled", s.unreachable,
      s.errors, s.cancelled)
  end
  if s.connections ~= s.kept + s.closed or s.closed ~= s.refused then
    lost("%d came, %d are kept, %d closed, %d by the policy", s.connections,
      s.kept, s.closed, s.refused)
  end
  return stats
end

local function reload(kept, closed)
  local line = host:reload()
  if line.adopted ~= kept or line.closed ~= closed then
    adopting("reload %d: %d adopted, %d closed", host.counts["policy reloaded"],
      line.adopted, line.closed)
  end
  return line, check(host.events.counted)
end

-- Fewer sockets, if so many stop the loop for too long.
local function fit()
  local ms, all = soak.quantile(times, 0.5), count
  if ms <= STALL then return end
  count = math.max(2 * talked, math.floor(count * 0.9 * STALL / ms))
  print(("A reload of them takes %.0f ms, so %d are kept."):format(ms, count))
  set "load"
  reload(all, all - count)
end

set "load"
local first = select(2, reload(count, 0))
local begun = uv.hrtime()
while uv.hrtime() < begun + seconds * 1e9 do
  soak.sleepUntil(begun + (#times + 1) * 1e9)
  local line = reload(count, 0)
  times[#times + 1], rss[#rss + 1] = line.ms, host:memory()
  if #times == WARM then fit() end
end
local took = (uv.hrtime() - begun) / 1e9
local last = host.events.counted

-- The end --------------------------------------------------------------------

set "drain"
reload(count, 0)
set "rest"
local stats, opened, closed, bytes
for _ = 1, 50 do -- until all is quiet
  stats = select(2, reload(count, 0))
  opened, closed, bytes = echo.ask()
  if stats.inFlight == 0 and stats.sent == stats.seen
    and closed == stats.closed then break end
  soak.sleepUntil(uv.hrtime() + 1e8)
end
if stats.inFlight ~= 0 then attempting("%d never end", stats.inFlight) end
if stats.kept ~= count or opened ~= stats.connections
    or closed ~= stats.closed then
  lost("%d are kept, %d came and %d were closed; the servers saw %d and %d",
    stats.kept, stats.connections, stats.closed, opened, closed)
end
if stats.sent ~= stats.seen or bytes ~= records.LENGTH * stats.sent then
  echoing("%d sent, %d echoed, %d bytes at the servers", stats.sent, stats.seen,
    bytes)
end
local after, afterThere
for _ = 1, 50 do -- the last generation closes beside the loop
  after, afterThere = spare()
  if after == before and afterThere == beforeThere then break end
  soak.sleepUntil(uv.hrtime() + 1e8)
end
if after ~= before or afterThere ~= beforeThere then
  leaking("without sockets, %d and now %d, at the servers %d and %d", before,
    after, beforeThere, afterThere)
end

local attempts = last.attempts - first.attempts
if attempts < RATE * took or #times < RELOADS * took then
  loaded("%d attempts and %d reloads in %.0f s", attempts, #times, took)
end
print(("%.0f s, %d reloads, %d attempts (%.0f a second, %d ticks skipped)")
  :format(took, #times, attempts, attempts / took, last.skipped))
print(("%d sockets closed, each by the policy; %d kept at the end"):format(
  stats.closed, stats.kept))
print(("%d records of %d bytes echoed once and in order, %.0f a second"):format(
  stats.seen, records.LENGTH, stats.seen / took))
soak.times(times)
local left = #rss - WARM - 10
local warm, now = soak.growth(rss, WARM + 1, WARM + 1 + left // 3,
  WARM + 1 + left * 2 // 3, #rss - 9)
if now - warm > math.max(CHUNK, warm // 100) then
  growing("it grew by %d kB", now - warm)
end
host:finish()
soak.report()
