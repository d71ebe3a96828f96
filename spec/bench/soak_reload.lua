-- What a thousand reloads at full speed do to a thousand kept sockets under
-- traffic, and how long the loop stands still while ten thousand change hands.
-- Run by `make soak`; its argument is the folder of the built programs. Prints
-- tables, and ends with 1 if a promise is broken:
--
-- * no socket is lost that the policy did not close,
-- * every byte is echoed once and in order,
-- * memory at the end is within 1% of what it was after the tenth reload; each
--   is the median over ten reloads, for what is under way differs.
--
-- The policy of the first part does without luv, which (1.44) registers a
-- function with atexit() each time that a state opens it: 32 bytes a reload
-- that nobody can give back.

package.path = "spec/bench/?.lua;lua/?.lua;" .. package.path
local records = require "soak_records"
local soak = require "soak"
local uv = require "luv"

local build, role = arg[1] or "build", arg[2]
local RELOADS, SOCKETS = 1000, 1000
local MANY, STALLS, AIM = 10000, 20, 50 -- ms

local lost = soak.promise "no socket is lost that the policy did not close"
local echoing = soak.promise "every record is echoed once and in order"
local growing = soak.promise "memory is within 1% of what it was when warm"

soak.limit(300)
local echo = soak.serve(build, 1)

-- A host with so many sockets.
local function run(count)
  soak.set "idle" -- until all are there
  local host = soak.run(build, "spec/bench/soak_policy.lua", echo.ports[1],
    tostring(count))
  host:wait "full"
  return host
end

-- Reloads under traffic ------------------------------------------------------

local function traffic()
  local host = run(SOCKETS)
  local opened, closedBefore, bytesBefore = echo.ask()
  soak.set "run"
  host:reload()
  host.counts["policy reloaded"] = 0
  local begun, times, rss = uv.hrtime(), {}, {}
  for i = 1, RELOADS do
    local line = host:reload()
    times[i], rss[i] = line.ms, host:memory()
    if line.adopted ~= SOCKETS or line.closed ~= 0 then
      lost("reload %d: %d adopted, %d closed", i, line.adopted, line.closed)
    end
  end
  local seconds = (uv.hrtime() - begun) / 1e9
  soak.set "drain"
  host:reload()
  local drained = host:wait "drained"
  local nowOpened, closed, bytes = echo.ask()
  if drained.sockets ~= SOCKETS or nowOpened ~= opened
      or closed ~= closedBefore then
    lost("%d sockets at the end; the server saw %d open and %d close",
      drained.sockets, nowOpened - opened, closed - closedBefore)
  end
  bytes = bytes - bytesBefore
  if drained.sent ~= drained.seen or bytes ~= records.LENGTH * drained.sent then
    echoing("%d records sent, %d echoed, %d bytes at the server", drained.sent,
      drained.seen, bytes)
  end

  print(("%d reloads, %.0f a second, of %d sockets under traffic"):format(
    RELOADS, RELOADS / seconds, SOCKETS))
  print(("%d records of %d bytes echoed once and in order, %.0f a reload")
    :format(drained.seen, records.LENGTH, drained.seen / RELOADS))
  soak.times(times)
  local warm, now = soak.growth(rss, 10, 100, 300, RELOADS - 9)
  if now > 1.01 * warm then growing("it grew by %d kB", now - warm) end
  host:finish()
end

-- The stall ------------------------------------------------------------------

local function stall(count, mode)
  local host = run(count)
  local ms, gaps = {}, {} -- by the log, by the policy's clock
  host.heard = function(event)
    if event.message == "gap" then gaps[#gaps + 1] = event.ms end
  end
  soak.set(mode)
  host:reload()
  local calm = host:wait("calm", host.counts.calm + 1).ms
  gaps = {}
  for i = 1, STALLS do
    local line = host:reload()
    ms[i] = line.ms
    if line.adopted ~= count or line.closed ~= 0 then
      lost("stall: %d adopted, %d closed", line.adopted, line.closed)
    end
    soak.wait(function() return #gaps >= i or host.child.code end)
  end
  print(("%8d %-8s %9.1f %9.1f %9.1f %9.1f %9.1f"):format(count, mode,
    soak.quantile(ms, 0.5), soak.quantile(ms, 1), soak.quantile(gaps, 0.5),
    soak.quantile(gaps, 1), calm))
  host:finish()
  return soak.quantile(gaps, 1)
end

if role ~= "stall" then traffic() end

print "\nThe stall of the loop at a reload, ms"
print(("%8s %-8s %19s %19s %9s"):format("", "", "by the log's ms",
  "by a timer of 1 ms", "without"))
print(("%8s %-8s %9s %9s %9s %9s %9s"):format("sockets", "", "median",
  "longest", "median", "longest", "a reload"))
local limit = io.popen "ulimit -Hn":read "n" or math.huge
local many = math.min(MANY, limit - 100)
stall(1000, "bare")
stall(1000, "idle")
stall(1000, "busy")
local longest = stall(many, "bare")
stall(many, "idle")
if many < MANY then
  print(("only %d descriptors are allowed (ulimit -Hn)"):format(limit))
end
print(("The aim, below %d ms for %d kept sockets, is %s."):format(AIM, many,
  longest < AIM and "met" or "missed"))

soak.report()
