-- Sources of servers: what it takes to follow a list of 10,000, and to have it,
-- as a file and as what Consul, etcd and Kubernetes answer; and what look-ups
-- that hang cost others: the attempts to a server that are made beside five
-- sources of which none is answered.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local COUNT = 10000
local CLIENT = "spec/bench/discover_client.lua"
local NAME = "policy" -- a plain Lua program, whose loop is measured

local path = os.tmpname()

local function start(mode, port)
  return harness.spawn(
    ("env LUA_PATH='lua/?.lua;;' LUA_CPATH='%s/?.so;;' lua5.4 %s %s %d %s")
      :format(harness.BUILD, CLIENT, port or path, COUNT, mode))
end

local function memory(mode)
  local program = start(mode)
  program:line "ready"
  return program:memory()
end

local function measure()
  start("write"):wait()
  local bytes = harness.within(memory, "have") - harness.within(memory, "set")
  local program = start "measure"
  local total, longest = program:line "change (%S+) (%S+)"
  local same, touched = program:line "same (%S+) (%S+)"
  assert(touched == "0")
  return { total = tonumber(total), longest = tonumber(longest),
    same = tonumber(same), memory = bytes / 1e6 }
end

local function follow()
  local results = harness.alternate({ { name = NAME } }, nil, measure)
  os.remove(path)
  for _, row in ipairs {
    { "total", "ms of the loop, 1%% of %d changed", "<= 5" },
    { "longest", "of these ms at once, at most", "<= 1" },
    { "same", "CPU ms of a look-up, nothing changed", "<= 0.3" },
    { "memory", "MB of a source of %d", "<= 2" },
  } do
    report.row(row[2]:format(COUNT), NAME, harness.pick(row[1], results),
      { aims = { row[3] } })
  end
end

local SERVE = "lua5.4 spec/bench/discover_server.lua %s %d"

-- Consul sends all again, the others what has changed.
local function watch()
  for _, kind in ipairs { "consul", "etcd", "kubernetes" } do
    local results = harness.alternate({ { name = NAME } }, nil, function()
      local port = harness.spawn(SERVE:format(kind, COUNT)):line "%d+"
      local program = start("measure " .. kind, port)
      local total, longest = program:line "change (%S+) (%S+)"
      return { total = tonumber(total), longest = tonumber(longest) }
    end)
    report.row(("ms of the loop, 1%% of %d changed, %s"):format(COUNT, kind),
      NAME, harness.pick("total", results), { aims = { "<= 5" } })
    report.row("of these ms at once, at most, " .. kind, NAME,
      harness.pick("longest", results), { aims = { "<= 1" } })
  end
end

local SECONDS = 3

local RUN = "%s/callosum-rover run --log-level error "
  .. "spec/bench/discover_policy.lua %s %s %d"

local function hang()
  local port = harness.serve():match "%d+"
  local ways = { { name = "policy", how = "beside" },
    { name = "no look-ups", how = "alone" } }
  local results = harness.alternate(ways, nil, function(way)
    local program = harness.spawn(RUN:format(harness.BUILD, way.how, port,
      SECONDS))
    return { attempts = tonumber(program:line()) / SECONDS }
  end)
  report.row("connections/s beside look-ups that hang", "policy",
    harness.pick("attempts", results),
    { others = { "no look-ups" }, aims = { "no look-ups >= 0.99" } })
end

return function()
  follow()
  watch()
  hang()
end
