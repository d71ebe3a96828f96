-- What a time budget costs: processor time of the same work in a plain Lua
-- program, under the command, whose alarm keeps the budget, and under a count
-- hook, as in programs that give no alarms.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local RUN = "%s/callosum-rover run --log-level error --budget 60000 "
  .. "--load-budget 60000 spec/bench/limits_policy.lua"

local WORK = {
  { "loop", "a loop" }, { "calls", "function calls" },
  { "tables", "tables, sorting" }, { "coroutines", "resuming coroutines" },
  { "handler", "a handler: parse, count, answer" },
}

return function()
  local port = harness.serve():match "%d+"
  local run = RUN:format(harness.BUILD)
  local ways = {
    { name = "policy", command = run },
    { name = "count hook", command = "prlimit --sigpending=0 " .. run },
    { name = "plain Lua", command = ("env 'LUA_CPATH=%s/?.so;;' lua5.4 "
      .. "spec/bench/limits_policy.lua"):format(harness.BUILD) },
  }
  for _, work in ipairs(WORK) do
    local results = harness.alternate(ways, nil, function(way)
      local program = harness.spawn(("%s %s %s"):format(way.command, work[1],
        port))
      return { seconds = tonumber(program:line()) }
    end)
    report.row("limits, CPU s, " .. work[2], "policy",
      harness.pick("seconds", results),
      { limit = "plain Lua", others = { "count hook" } })
  end
end
