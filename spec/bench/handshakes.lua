-- Handshakes: connect, slot line, handler, close; flat out. How many a second,
-- and what each costs the client of the processor.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local COUNT = 30000
local SIZES = { 8, 64, 512 } -- in flight

local function measure(ports, inFlight)
  return function(client)
    local user, system = harness.cpuOfEnded()
    local program = harness.spawn(("%s handshakes %d %d %s"):format(
      client.command, COUNT, inFlight, ports))
    program:line "begin"
    local from = uv.hrtime()
    local userBefore, systemBefore = program:cpu()
    program:line "done"
    local seconds = (uv.hrtime() - from) / 1e9
    program:wait()
    local userAfter, systemAfter = harness.cpuOfEnded()
    user = userAfter - user - userBefore
    system = systemAfter - system - systemBefore
    uv.sleep(1000) -- local ports come back after a second
    return { rate = COUNT / seconds, cpu = (user + system) / COUNT * 1e6,
      user = user / COUNT * 1e6, system = system / COUNT * 1e6 }
  end
end

return function()
  local ports = harness.serve()
  local clients = harness.clients("C API", "policy", "luv", "Node", "epoll")
  local costs = {}
  for _, inFlight in ipairs(SIZES) do
    local aimed = inFlight == 64
    local results = harness.alternate(clients, aimed and harness.MANY_ROUNDS,
      measure(ports, inFlight))
    local rates = harness.pick("rate", results)
    local figure = ("handshakes/s, %d in flight"):format(inFlight)
    report.row(figure, "C API", rates, { limit = "epoll",
      others = { "luv", "Node" }, aims = aimed and { "epoll >= 0.95" } })
    report.row(figure, "policy", rates, { limit = "epoll",
      others = { "luv", "Node" },
      aims = aimed and { "epoll >= 0.92", "Node >= 2.4" } })
    costs[inFlight] = results
  end
  for _, inFlight in ipairs(SIZES) do
    local results = costs[inFlight]
    local cpu = harness.pick("cpu", results)
    for name, list in pairs(cpu) do
      list.detail = ("%.1f user + %.1f system"):format(
        report.median(results[name].user), report.median(results[name].system))
    end
    local figure = ("client CPU µs a handshake, %d in flight"):format(inFlight)
    report.row(figure, "C API", cpu, { limit = "epoll",
      others = { "luv", "Node" } })
    report.row(figure, "policy", cpu, { limit = "epoll",
      others = { "luv", "Node" },
      aims = inFlight == 64 and { "epoll <= 1.10" } })
  end
end
