-- Questions and answers over kept sockets, one under way on each. "Lua on
-- epoll" is bare epoll with the policy's handlers, and nothing else.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local MS = 1000
local OTHERS = { "luv", "Node", "Lua on epoll" }

-- What is aimed at beside bare epoll, by sockets and bytes.
local RATES = {
  [100] = { [64] = "epoll >= 0.90", [16384] = "epoll >= 0.85" },
  [1000] = { [64] = "epoll >= 0.88", [16384] = "epoll >= 0.85" },
}
local WAITS = {
  [100] = { [64] = "epoll <= 1.05" },
  [1000] = { [64] = "epoll <= 1.15" },
}

return function()
  local ports = harness.serve()
  local clients = harness.clients("policy", "luv", "Node", "epoll",
    "Lua on epoll")
  local waits, costs = {}, {}
  for _, bytes in ipairs { 64, 16384 } do
    for _, sockets in ipairs { 1, 100, 1000 } do
      local rounds = sockets == 1 and harness.MANY_ROUNDS
      local results = harness.alternate(clients, rounds, function(client)
        local user, system = harness.cpuOfEnded()
        local program = harness.spawn(("%s ask %d %d %d %s"):format(
          client.command, sockets, bytes, MS, ports))
        program:line "begin"
        local userBefore, systemBefore = program:cpu()
        local rate, p99 = program:line "^(%S+) (%S+)$"
        program:wait()
        local userAfter, systemAfter = harness.cpuOfEnded()
        local cpu = userAfter - user - userBefore
          + systemAfter - system - systemBefore
        return { rate = tonumber(rate), p99 = tonumber(p99),
          cpu = cpu * 1e6 / (rate * MS / 1e3) }
      end)
      local size = ("%d B, %d sockets"):format(bytes, sockets)
      report.row("answers/s, " .. size, "policy", harness.pick("rate", results),
        { limit = "epoll", others = OTHERS,
        aims = { "luv >= 1.0", (RATES[sockets] or {})[bytes] } })
      waits[#waits + 1] = { size, results, (WAITS[sockets] or {})[bytes] }
      if sockets > 1 then costs[#costs + 1] = { size, results } end
    end
  end
  for _, each in ipairs(waits) do
    report.row("µs for 99% of answers, " .. each[1], "policy",
      harness.pick("p99", each[2]), { limit = "epoll",
      others = OTHERS, aims = { "luv <= 1.0", each[3] } })
  end
  -- On a machine that has other work, rates say more about that.
  for _, each in ipairs(costs) do
    report.row("client CPU µs an answer, " .. each[1], "policy",
      harness.pick("cpu", each[2]), { limit = "epoll", others = OTHERS })
  end
end
