-- What callosum-neighbours(7) says of HAProxy.

local neighbours = require "support.neighbours"
local proxies = require "support.proxies"
local support = require "support"

local row, complete, seen = neighbours.section("HAPROXY", it)

-- A server that gives slots, and sends back what comes.
local function slots() return support.echo "0\r\n" end

describe("HAProxy", function()
  seen(neighbours.output("haproxy", "-v"):match "version (%d+%.%d+)")

  row("Health checks send a PROXY header, too", function(example)
    for _, version in ipairs { "send-proxy", "send-proxy-v2" } do
      local port, ours = support.freePorts(2)
      local relay = neighbours.policy(example("policy.lua", {
        ["192.0.2.1"] = "127.0.0.1",
        ['"192.0.2.2", port = 5432'] = '"127.0.0.1", port = ' .. ours,
        ['"192.0.2.11", port = 4040'] = '"127.0.0.1", port = ' .. slots() }))
      local haproxy = proxies.haproxy(example("haproxy.cfg", {
        ["192.0.2.1:5432"] = "127.0.0.1:" .. port,
        ["192.0.2.2:5432"] = "127.0.0.1:" .. ours,
        ["send-proxy-v2"] = version, check = "check inter 20" }), port)
      support.eventually(function() return relay.stats().gone >= 10 end)
      local peer = support.connect(port)
      peer:write("hello"):take "^hello$"
      assert.equal(0, relay.stats().rejected)
      assert.same({}, relay.complaints())
      haproxy:kill()
      haproxy:wait()
      support.stop(relay)
    end
    -- The bytes themselves.
    for version, pattern in pairs {
      ["send-proxy"] = "^PROXY TCP4 127.0.0.1 127.0.0.1 %d+ %d+\r\n$",
      ["send-proxy-v2"] = "^\r\n\r\n%z\r\nQUIT\n\x20%z%z%z$" } do
      local server = support.serve()
      local port = support.freePorts(1)
      local haproxy = proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d
  server s 127.0.0.1:%d %s check inter 20]]):format(port, server.port,
        version), port)
      support.run(function()
        return server.peers[1] and server.peers[1].received:find(pattern)
      end)
      haproxy:kill()
      haproxy:wait()
    end
  end)

  complete()
end)
