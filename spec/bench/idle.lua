-- What a host takes of the machine that keeps many sockets on which nothing
-- happens: wake-ups, and processor time. All contenders are there at once.

local uv = require "luv"
local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local SOCKETS, SECONDS = 10000, 2

-- Starts the clients that rove at an interval, each with servers of its own.
local function start(interval, ...)
  local list = harness.clients(...)
  for _, client in ipairs(list) do
    client.program = harness.spawn(("%s keep %d %d %s"):format(client.command,
      SOCKETS, interval, harness.serve()))
    client.program:line "kept"
  end
  return list
end

local function measure(clients)
  local before = {}
  for i, client in ipairs(clients) do
    before[i] = { client.program:wakeups(), client.program:cpu() }
  end
  uv.sleep(SECONDS * 1000)
  local values = {}
  for i, client in ipairs(clients) do
    local wakeups, user, system = before[i][1], before[i][2], before[i][3]
    local userNow, systemNow = client.program:cpu()
    values[client] = {
      wakeups = (client.program:wakeups() - wakeups) / SECONDS,
      cpu = (userNow - user + (systemNow - system)) / SECONDS * 1000,
    }
  end
  return values
end

local function show(how, clients, aims)
  local values
  local results = harness.alternate(clients, nil, function(client)
    if not values or not values[client] then values = measure(clients) end
    local own = values[client]
    values[client] = nil
    return own
  end)
  local names = {}
  for i = 2, #clients do names[i - 1] = clients[i].name end
  local of = ("%d idle sockets, %s"):format(SOCKETS, how)
  report.row("wake-ups/s, " .. of, "policy", harness.pick("wakeups", results),
    { others = names, aims = aims })
  report.row("CPU ms/s, " .. of, "policy", harness.pick("cpu", results),
    { others = names })
end

return function()
  -- A luv script does not rove.
  local hourly = start(3600000, "policy", "luv", "Node")
  local eachSecond = start(1000, "policy", "Node")
  uv.sleep(1000)
  show("roving hourly", hourly, { "<= 0" })
  show("roving each second", eachSecond, {})
end
