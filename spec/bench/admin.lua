-- What a scrape of /metrics costs a host with many servers: its processor time,
-- and how much of that it takes at most at a time.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local SERVERS, SCRAPES = 10000, 10

local RUN = "%s/callosum-rover run --log-level error --admin %s "
  .. "spec/bench/admin_policy.lua %d"

-- The last of the lines that the policy prints each 100 ms: one to wait for.
local function latest(program)
  local from, longest
  repeat
    from = uv.hrtime()
    longest = program:line "longest (.*)"
  until uv.hrtime() - from > 30e6
  return tonumber(longest)
end

local function measure(path, more)
  return function(way)
    local program = harness.spawn(RUN:format(harness.BUILD, path, SERVERS))
    program:line "asked all"
    local before = program:cpu()
    for _ = 1, SCRAPES do
      harness.spawn(("curl -s -o /dev/null %s --unix-socket %s "
        .. "http://localhost/metrics%s"):format(more, path, way.query)):wait()
    end
    local cpu = (program:cpu() - before) / SCRAPES
    local longest = latest(program)
    program:kill()
    return { cpu = cpu * 1000, turn = longest }
  end
end

return function()
  local path = os.tmpname()
  os.remove(path)
  local ways = {
    { name = "each", query = "?servers=all" },
    { name = "sums", query = "" },
  }
  for _, more in ipairs { "", "--compressed" } do
    local results = harness.alternate(ways, nil, measure(path, more))
    local what = more == "" and "" or ", by gzip"
    for _, way in ipairs(ways) do
      report.row(("ms CPU a scrape, %d servers%s"):format(SERVERS, what),
        way.name, harness.pick("cpu", results),
        { aims = more == "" and { "<= 20" } or nil })
      report.row("ms CPU of that in a turn" .. what, way.name,
        harness.pick("turn", results),
        { aims = more == "" and { "<= 5" } or nil })
    end
  end
end
