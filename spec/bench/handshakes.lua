-- Handshakes: connect, slot line, handler, close; flat out. How many a second,
-- and what each costs the client of the processor. "exact epoll" is bare epoll
-- that takes no byte behind the slot line, as a rover has to; "epoll within" is
-- that within a loop's epoll.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local COUNT = 30000
local SIZES = { 8, 64, 512 } -- in flight

local function measure(ports, count, inFlight)
  return function(client)
    local user, system = harness.cpuOfEnded()
    local program = harness.spawn(("%s handshakes %d %d %s"):format(
      client.command, count, inFlight, ports))
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
    return { rate = count / seconds, cpu = (user + system) / count * 1e6,
      user = user / count * 1e6, system = system / count * 1e6 }
  end
end

local OTHERS = { "luv", "Node", "exact epoll", "epoll within" }

-- Each client starts anew, and more servers than usual are new to it.
local function fromColdStart()
  local results = harness.alternate(harness.clients("policy", "luv", "epoll"),
    9, measure(harness.serve(64), 20000, 64))
  report.row("handshakes/s, 64 in flight, 64 servers, 20,000 from a cold start",
    "policy", harness.pick("rate", results),
    { limit = "epoll", others = { "luv" }, aims = { "epoll >= 0.95" } })
end

return function()
  local ports = harness.serve()
  local clients = harness.clients("C API", "policy", "luv", "Node", "epoll",
    "exact epoll", "epoll within")
  local costs = {}
  for _, inFlight in ipairs(SIZES) do
    local results = harness.alternate(clients,
      inFlight == 64 and harness.MANY_ROUNDS,
      measure(ports, COUNT, inFlight))
    local rates = harness.pick("rate", results)
    local figure = ("handshakes/s, %d in flight"):format(inFlight)
    report.row(figure, "C API", rates, { limit = "epoll",
      others = OTHERS, aims = { "epoll >= 0.95" } })
    report.row(figure, "policy", rates, { limit = "epoll",
      others = OTHERS,
      aims = { "epoll >= 0.92", inFlight == 64 and "Node >= 2.4" or nil } })
    costs[inFlight] = results
  end
  fromColdStart()
  for _, inFlight in ipairs(SIZES) do
    local results = costs[inFlight]
    local cpu = harness.pick("cpu", results)
    for name, list in pairs(cpu) do
      list.detail = ("%.1f user + %.1f system"):format(
        report.median(results[name].user), report.median(results[name].system))
    end
    local figure = ("client CPU µs a handshake, %d in flight"):format(inFlight)
    report.row(figure, "C API", cpu, { limit = "epoll", others = OTHERS })
    report.row(figure, "policy", cpu, { limit = "epoll", others = OTHERS,
      aims = { "epoll <= 1.06" } })
  end
end
