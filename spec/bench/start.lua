-- From the start of a process to its first `connection` event.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local ROUNDS = 15

return function()
  local port = harness.serve():match "%d+"
  local clients = harness.clients("policy", "luv", "Node")
  local results = harness.alternate(clients, ROUNDS, function(client)
    local words = {}
    for word in (client.command .. " first " .. port):gmatch "%S+" do
      words[#words + 1] = word
    end
    local from = uv.hrtime()
    local program = harness.spawn(words)
    program:line "connection"
    local ms = (uv.hrtime() - from) / 1e6
    program:wait()
    return { ms = ms }
  end)
  report.row("ms from start to first connection", "policy",
    harness.pick("ms", results), { others = { "luv", "Node" },
    aims = { "<= 10", "Node <= 0.125" } })
end
