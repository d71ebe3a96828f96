-- What callosum-neighbours(7) says of stunnel.

local certificates = require "support.certificates"
local neighbours = require "support.neighbours"
local proxies = require "support.proxies"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("STUNNEL", it)

local fleet = certificates.fleet()

-- A service that takes TLS off, at a port.
local function service(to, certificate, options)
  local port = support.freePorts(1)
  return proxies.stunnel(([[
%s
[service]
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
cert = %s
key = %s
]]):format(options or "", port, to, certificate.cert, certificate.key), port),
    port
end

-- One that puts TLS on.
local function client(to)
  local port = support.freePorts(1)
  return proxies.stunnel(([[
[client]
client = yes
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
]]):format(port, to), port), port
end

describe("stunnel", function()
  seen(neighbours.output("stunnel", "-version")
    :match "stunnel (%d+%.%d+) on ")

  row("As a client it verifies nothing by itself", function(example)
    local echo = support.echo()
    -- By a CA that nobody knows, for somebody else, and as it should be.
    for i, certificate in ipairs { fleet.strange, fleet.wrongName,
        fleet.server } do
      local server, to = service(echo, certificate)
      for lines, most in pairs { [""] = 3, ["verifyChain = yes"] = 2,
          ["verifyChain = yes\ncheckHost = localhost"] = 1 } do
        local port = support.freePorts(1)
        local child = proxies.stunnel(example("stunnel.conf", {
          ["127.0.0.1:4040"] = "127.0.0.1:" .. port,
          ["192.0.2.11:4041"] = "127.0.0.1:" .. to,
          ["/etc/stunnel/ca.pem"] = fleet.ca.file,
          ["verifyChain = yes\ncheckHost = db.example\n"] = lines }), port)
        assert.equal(i > 3 - most, proxies.echoes(port))
        proxies.stop(child)
      end
      proxies.stop(server)
    end
  end)

  row("A client that has vanished is kept for twelve hours", function(example)
    assert.matches("TIMEOUTidle += 43200 seconds",
      neighbours.output("stunnel", "-version"))
    local echo = support.echo()
    for _, lines in ipairs { "", example("stunnel.conf") } do
      local server, port = service(echo, fleet.server, lines)
      local other, near = client(port)
      local peer = support.connect(near)
      peer:write("hello"):take "^hello$"
      local timers
      support.eventually(function() -- until all is acknowledged
        timers = 0
        for line in neighbours.output("ss", "-Htnop", "state", "established")
            :gmatch "[^\n]+" do
          if line:find("pid=" .. server.pid .. ",", 1, true) then
            if line:find "timer:%(on," then return false end
            if line:find "timer:%(keepalive,1" then timers = timers + 1 end
          end
        end
        return true
      end)
      assert.equal(lines == "" and 0 or 2, timers)
      peer:close()
      proxies.stop(other, server)
    end
  end)

  row("Each probe becomes a connection of the server", function(example)
    local probes = 0
    -- Closes what it has connected to.
    local function rover(port)
      local child = support.policy(([[
local rover = require "callosum.rover".new { rovingInterval = 20,
  tls = { ca = %q }, servers = { s = { host = "localhost", port = %d } } }
rover:on("connection", function(_, socket)
  print "probe"
  socket:close()
end)
rover:on("unreachable", function() print "unreachable" end)
rover:start()
]]):format(fleet.ca.file, port))
      return child
    end
    local server = support.serve { send = "0\r\n" }
    local there, port = service(server.port, fleet.server)
    local child = rover(port)
    for _ = 1, 5 do child:waitFor "probe\n" end
    assert.is_true(#server.peers >= 5)
    support.stop(child)
    proxies.stop(there)
    there, port = service(support.closedPort(), fleet.server)
    child = rover(port)
    for _ = 1, 3 do child:waitFor "unreachable\n" end
    support.stop(child)
    proxies.stop(there)

    local backend = support.serve { connection = function()
      probes = probes + 1
    end }
    local ours = support.freePorts(1)
    local front = neighbours.command(example("command", {
      ["/etc/ssl/db.pem"] = fleet.server.both,
      ["192.0.2.1:4040"] = "127.0.0.1:" .. ours, ["5432"] = backend.port }))
    child = rover(ours)
    for _ = 1, 5 do child:waitFor "probe\n" end
    assert.equal(0, probes)
    support.stop(child)
    support.stop(front)
  end)

  row("Its PROXY header is version 1, without the certificate",
    function(example)
      -- Answers once its client has ended.
      local server = support.serve { connection = function(peer)
        peer.handle:read_stop()
        peer.handle:read_start(function(_, chunk)
          if chunk then
            peer.received = peer.received .. chunk
          elseif not peer.handle:is_closing() then
            peer.handle:write "answer"
            peer.handle:shutdown()
          end
        end)
      end }
      local port = support.freePorts(1)
      local child = proxies.stunnel(example("stunnel.conf", {
        ["192.0.2.1:5433"] = "127.0.0.1:" .. port,
        ["192.0.2.2:5432"] = "127.0.0.1:" .. server.port,
        ["/etc/stunnel/db.pem"] = fleet.server.both }), port)
      local other, near = client(port)
      local peer = support.connect(near):write("question"):shutdown()
      assert.is_nil(peer:waitEnd())
      assert.equal("answer", peer.received)
      local own = server.peers[1].received:match(
        "^PROXY TCP4 127.0.0.1 127.0.0.1 (%d+) " .. port .. "\r\nquestion$")
      -- It is the connection of the other stunnel.
      assert.is_truthy(own, server.peers[1].received)
      assert.is_true(tonumber(own) ~= near)
      proxies.stop(other, child)
    end)

  row("A reload keeps connections, and a broken one changes nothing",
    function()
      local function copy(from, to)
        local file <close> = assert(io.open(from))
        return support.write(to, file:read "a")
      end
      local dir = support.tmpdir()
      local own = { cert = copy(fleet.server.cert, dir .. "/cert"),
        key = copy(fleet.server.key, dir .. "/key") }
      assert(uv.fs_chmod(own.key, 384)) -- 0600
      local child, port = service(support.echo(), own, "debug = 5")
      local other, near = client(port)
      local peer = support.connect(near)
      peer:write("hello"):take "^hello$"
      local function key()
        return neighbours.output("sh", "-c", "openssl s_client -connect "
          .. "127.0.0.1:" .. port .. " </dev/null 2>/dev/null "
          .. "| openssl x509 -noout -text"):match "Algorithm: (%S+)\n[^\n]*bit"
      end
      assert.equal("id-ecPublicKey", key())
      copy(fleet.rsaServer.cert, own.cert)
      child:kill "sighup"
      child:waitFor "Configuration failed"
      assert.equal("id-ecPublicKey", key())
      copy(fleet.rsaServer.key, own.key)
      child:kill "sighup"
      child:waitFor "Configuration successful"
      support.eventually(function() return key() == "rsaEncryption" end)
      peer:write("again"):take "^again$"
      peer:close()
      proxies.stop(other, child)
    end)

  complete()
end)
