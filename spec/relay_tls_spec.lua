-- Relays and fronts with TLS between them: by their headers, in
-- spec/programs/relay_tls.c; and a policy with a relay that is reloaded.

local support = require "support"
local fleet = require("support.certificates").fleet()
local fronts = require "support.fronts"
local programs = require "support.programs"
local relays = require "support.relays"
local reloads = require "support.reloads"
local sockets = require "support.sockets"
local uv = require "luv"

-- Those that the program uses, in a folder that it is told.
local KINDS = { "ca", "server", "client" }

describe("between a client and a backend,", function()
  setup(function()
    for _, kind in ipairs(KINDS) do assert(fleet[kind]) end
    uv.os_setenv("CERTIFICATES", fleet.folder)
  end)

  teardown(function() uv.os_unsetenv "CERTIFICATES" end)

  for _, case in ipairs(programs.cases "relay_tls") do
    it(case.says, case.run)
  end
end)

describe("a relay with TLS over a reload", function()
  local POLICY = ([[
    r = rover.new {
      servers = { s = at(1) },
      tls = { ca = host.args[3], cert = host.args[4], key = host.args[5] },
    }
    r:on("connection", function() log "got" end)
    r:on("error", function(_, err) log("error", { err = tostring(err) }) end)
    require "callosum.relay".new {
      listen = { path = host.args[2] },
      pick = function() return r:sockets()[1] end,
    }
    connect(r, 2)
  ]]):gsub("\n%s*", " ")

  it("has its sockets, and copies on, not a byte other", function()
    local backend = support.serve {}
    local front = fronts.front {
      listen = { port = 0 }, backend = { port = backend.port },
      connectOn = "slot",
      tls = { cert = fleet.server.cert, key = fleet.server.key,
        ca = fleet.ca.file },
    }
    local path = relays.path()
    local child = reloads.start(POLICY, select(2, front:address()), path,
      fleet.ca.file, fleet.client.cert, fleet.client.key)
    support.logged(child, "got", 2)
    support.run(function() return #backend.peers == 2 end)
    -- It waits in the kept sockets, as records that are partly taken.
    for _, peer in ipairs(backend.peers) do peer:write "from the backend" end
    sockets.settle()
    local client = support.connect(path):write "hello"
    client:take "^from the backend"
    local server
    support.run(function()
      for _, peer in ipairs(backend.peers) do
        if peer.received == "hello" then server = peer end
      end
      return server
    end)
    server:take "^hello"
    local up = sockets.bytes(6 * 1024 * 1024)
    local down = up:reverse()
    local atServer, atClient = relays.gather(server), relays.gather(client)
    client.handle:write(up)
    server.handle:write(down)
    for _ = 1, 3 do reloads.reload(child) end
    client:shutdown()
    server:shutdown()
    support.run(function() return atServer.over and atClient.over end, 60)
    sockets.same(up, atServer.text())
    sockets.same(down, atClient.text())
    -- The other was handed over with what it holds.
    local other = support.connect(path):write "hello"
    other:take "^from the backend"
    for _, each in ipairs { other, client, backend } do each:close() end
    support.stop(child)
    assert.equal(0, #support.events(child, "error"), child.output)
    assert.same({ 2, 2 }, { front:stats().handshakes, front:stats().joined })
  end)
end)
