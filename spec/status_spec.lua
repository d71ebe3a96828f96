local scrape = require "support.scrape"
local support = require "support"

-- Runs a policy with the ports of so many servers as arguments. Returns the
-- host, and the servers.
local function run(script, count, options)
  local servers, args = {}, {}
  for i = 1, count do
    local server = assert(require "callosum.server".new())
    support.atEnd(function() server:close() end)
    servers[i], args[i] = server, tostring(select(2, server:address()))
  end
  options = options or {}
  options.args = args
  return scrape.run(script, options), servers
end

local ASKING = [[
local rover, host = require "callosum.rover", require "callosum.host"
local servers = {}
for i, port in ipairs(host.args) do
  local id = ("abcdefgh"):sub(i, i)
  servers[id] = { host = "127.0.0.1", port = tonumber(port) }
end
r = rover.new { servers = servers }
r:on("connection", function(slot, socket)
  if kept then kept(slot, socket) end
end)
function ask(...)
  for _, id in ipairs { ... } do r:connect(id) end
end
]]

-- Asks for the status until the judge likes it, and returns it.
local function await(host, judge, options)
  local status
  repeat
    status = host:status(options)
  until judge(status)
  return status
end

local function kept(count)
  return function(status) return status.rovers[1].stats.kept == count end
end

local function byId(status)
  local servers = {}
  for _, server in ipairs(status.rovers[1].servers) do
    servers[server.id] = server
  end
  return servers
end

describe("the status of a host", function()
  it("has the connections of each server, and how evenly they are spread",
    function()
      local host = run(ASKING .. [[ask("a", "a", "a", "b") ]], 2)
      local status = await(host, kept(4))
      local rover, servers = status.rovers[1], byId(status)
      assert.equal("a", rover.servers[1].id)
      assert.same({ 3, 1 }, { servers.a.connections, servers.b.connections })
      assert.same({ .75, .25 }, { servers.a.share, servers.b.share })
      assert.same({ ["0"] = 1, ["1"] = 1, ["2"] = 1 }, servers.a.slots)
      assert.same({ "up", 3, 3, 0, 2 }, { servers.a.state, servers.a.attempts,
        servers.a.connected, servers.a.unreachable, servers.a.lastSlot })
      assert.same({ servers = 2, connections = 4, mean = 2, peak = 3, least = 1,
        peakToMean = 1.5, minToMean = .5, cv = .5, verdict = "nearly" },
        rover.balance)
      host:stop()
    end)

  it("counts what is lent out, until it is returned or closed", function()
    local host = run(ASKING .. [[
      if host.generation > 1 then return end
      local count, first = 0, nil
      function kept(slot, socket)
        count = count + 1
        socket.lent = count < 4
        if count == 3 then socket.lent = false end
        if count == 4 then first:close() end
        first = first or socket
      end
      ask("a", "a", "a", "a")
    ]], 1)
    local server = byId(await(host, function(status)
      return status.rovers[1].stats.closed == 1
        and status.rovers[1].stats.kept == 3
    end)).a
    assert.same({ 3, 1, 0 }, { server.kept, server.lent, server.joined })
    assert.equal(0, host:reload())
    server = byId(host:status()).a
    assert.same({ 3, 0 }, { server.kept, server.lent })
    host:stop()
  end)
end)
