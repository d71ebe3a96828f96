-- Twenty relays, each with a pool of ten connections and a client that holds
-- one more, and five fronts of different weights before five servers, in real
-- processes: started at once, left alone for 90 s, then all fronts restarted,
-- one after the other, by SIGUSR2, and left alone again. Run by
-- `make balance BALANCE=fronts`; its argument is the folder of the built
-- programs. Prints a table, and ends with 1 if one of these is not so:
--
-- * before the restart, each front has its share of the connections, within 3%
--   or one connection,
-- * at the end, no front has more than 1.10 times its share, or one connection
--   more.

package.path = "./?.lua;" .. package.path

local uv = require "luv"
local fleet = require "spec.bench.fleet"

local HOSTS, WEIGHTS = 20, { 1, 1, 1, 2, 0.5 }
local QUIET, BETWEEN = 90000, 5000 -- ms
local OFF, PEAK = 0.03, 1.10 -- of the share
local LIMIT = 400 -- seconds for all of it

fleet.limit(LIMIT)

local over = false
local backends, ports = {}, fleet.freePorts(#WEIGHTS)
local fronts, restarted = {}, 0

-- The process that takes over is none of luv's here.
local function serve(i)
  fronts[i] = fleet.spawn("callosum-rover", { "front", "--weight", WEIGHTS[i],
    "--drain-timeout", 3000, "127.0.0.1:" .. ports[i],
    "127.0.0.1:" .. backends[i] }, nil, function()
    if not over then restarted = restarted + 1 end
  end, function(text)
    local pid = text:match "taken over pid=(%d+)"
    if pid then fleet.adopt(tonumber(pid)) end
    if text:find " error " then io.stderr:write(text) end
  end)
end

-- Servers, fronts, relays, clients -------------------------------------------

local server = fleet.spawn("bench/relay_peer", { "serve", #WEIGHTS },
  function(text)
    for port in text:gmatch "%d+" do backends[#backends + 1] = port end
  end)
repeat uv.run "once" until #backends == #WEIGHTS
for i = 1, #WEIGHTS do serve(i) end

local hosts, clients = {}, {}
for i = 1, HOSTS do
  hosts[i] = fleet.spawn("callosum-rover", { "run", "--log-level", "error",
    "spec/bench/balance_fronts_policy.lua", table.unpack(ports) },
    function(text)
      local _, input = fleet.spawn("bench/relay_peer",
        { text:match "%d+", "hold", 1 })
      clients[i] = input
    end)
end

-- Looking --------------------------------------------------------------------

local sum = 0
for _, weight in ipairs(WEIGHTS) do sum = sum + weight end

-- How many connections each front has, the median of two seconds, since a
-- sample may meet probes; and their sum.
local function look()
  local lists, counts, total = {}, {}, 0
  for i = 1, #WEIGHTS do lists[i] = {} end
  for _ = 1, 21 do
    local now = fleet.connections()
    for i, port in ipairs(ports) do table.insert(lists[i], now[port] or 0) end
    fleet.sleep(100)
  end
  for i, list in ipairs(lists) do
    table.sort(list)
    counts[i] = list[#list // 2 + 1]
    total = total + counts[i]
  end
  return counts, total
end

-- Prints a line for each front. Returns whether all are well.
local function tell(when, isWell)
  local counts, total = look()
  local well = total > 0
  for i, weight in ipairs(WEIGHTS) do
    local share = total * weight / sum
    local ok = isWell(counts[i], share)
    well = well and ok
    print(("%-20s %6g %11d %8.1f %12.3f  %s"):format(when, weight, counts[i],
      share, counts[i] / share, ok and "" or "no"))
  end
  return well
end

print(("%d relays, %d fronts"):format(HOSTS, #WEIGHTS))
print(("%-20s %6s %11s %8s %12s"):format("", "weight", "connections", "share",
  "of its share"))
fleet.sleep(QUIET)
local before = tell("after 90 s", function(count, share)
  return math.abs(count - share) <= math.max(1, OFF * share)
end)
for i = 1, #WEIGHTS do
  fronts[i]:kill "sigusr2"
  repeat uv.run "once" until restarted == i
  fleet.sleep(BETWEEN)
end
fleet.sleep(QUIET)
local after = tell("after the restarts", function(count, share)
  return count <= math.max(share + 1, PEAK * share)
end)

over = true
for _, input in pairs(clients) do input:close() end
for _, handle in ipairs(hosts) do handle:kill "sigkill" end
fleet.killAdopted()
server:kill "sigkill"
if not (before and after) then
  print "not as it should be: see spec/bench/balance_fronts.lua"
end
os.exit(before and after and 0 or 1)
