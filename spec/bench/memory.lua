-- Resident memory of a kept idle socket, with its object in the script.

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local FEW = 10 -- to compare with

local function resident(client, count, ports)
  local program = harness.spawn(("%s keep %d%s %s"):format(client.command,
    count, client.name:find "C API" and "" or " 3600000", ports))
  program:line "kept"
  return program:memory()
end

return function()
  local ports = harness.serve()
  local clients = harness.clients("C API", "policy", "luv", "Node",
    "base C API", "base")
  local most = io.popen "ulimit -Hn":read "n" or 20000
  local points = {}
  for _, count in ipairs { 1000, 10000, math.min(most, 1e6) - 100 } do
    local results = harness.pick("bytes", harness.alternate(clients, nil,
      function(client)
        local few = harness.within(resident, client, FEW, ports)
        return { bytes = (resident(client, count, ports) - few)
          / (count - FEW) }
      end))
    local figure = ("bytes per kept socket, of %d"):format(count)
    report.row(figure, "C API", results, { others = harness.others("luv",
      "Node", "base C API") })
    report.row(figure, "policy", results, { others = harness.others("luv",
      "Node", "base"), aims = { "<= 450" } })
    points[#points + 1] = { count, results }
  end
  report.plot({ name = "memory", x = "kept sockets", y = "bytes each",
    title = "Resident memory of a kept idle socket", log = "xy",
    lines = { "C API", "policy", "luv", "Node" } }, points)
end
