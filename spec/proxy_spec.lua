local callosum = require "callosum.relay"
local proxies = require "support.proxies"
local relays = require "support.relays"
local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local connect, kept, picking = relays.connect, relays.kept, relays.picking
local reached, run = relays.reached, support.run
local tlv, v2, V4 = proxies.tlv, proxies.v2, proxies.V4

local TCP4 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"

describe("a relay's acceptProxy", function()
  -- What was told of each client when it was offered.
  local offered

  -- A relay whose clients wait, or are joined with the rover's sockets.
  local function relay(options, rover)
    offered = {}
    local own = { acceptProxy = true, trusted = { "127.0.0.0/8", "::1" } }
    for name, value in pairs(options or {}) do own[name] = value end
    own.pick = own.pick or function(client)
      local host, port = client:peername()
      offered[#offered + 1] = { host, port, client.proxy }
      return rover and rover:sockets()[1]
    end
    return relays.relay(own)
  end

  local function refused(r, errors, peer, code, message)
    assert.equal("ECONNRESET", peer:waitEnd())
    assert.equal("", peer.received)
    run(function() return #errors > 0 end)
    assert.equal(code, errors[1].code)
    assert.equal(message, errors[1].message)
    assert.same({ 1, 0, 0 }, { r:stats().rejected, r:stats().handshaking,
      r:stats().waiting })
    assert.same({}, offered)
  end

  it("has clients be who their headers say", function()
    local r = relay()
    for i, header in ipairs { TCP4, v2(0x21, 0x11, V4),
        "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 4711 443\r\n" } do
      connect(r):write(header)
      reached(r, "waiting", i)
      assert.same({ "192.0.2.7", 4711,
        { version = i == 2 and 2 or 1, host = "192.0.2.1", port = 443 } },
        offered[i])
    end
    connect(r):write "PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n"
    reached(r, "waiting", 4)
    assert.same({ "2001:db8::7", 4711,
      { version = 1, host = "2001:db8::1", port = 443 } }, offered[4])
  end)

  it("has clients whose address no header tells be who connected", function()
    local r = relay()
    for i, header in ipairs { "PROXY UNKNOWN\r\n", v2(0x20, 0),
        "PROXY UNKNOWN ::1 ::1 1 2\r\n", v2(0x20, 0x11, V4, tlv(5, "id")),
        v2(0x21, 0, "whatever") } do
      local client = connect(r):write(header)
      reached(r, "waiting", i)
      local own = client.handle:getsockname()
      assert.same({ "127.0.0.1", own.port, { version = i % 2 == 1 and i < 5
        and 1 or 2 } }, offered[i])
    end
  end)

  it("tells what else a header does", function()
    local function tls(client, verify, ...)
      return tlv(0x20, (">BI4"):pack(client, verify) .. table.concat { ... })
    end
    local r = relay()
    local version, name = tlv(0x21, "TLSv1.3"), tlv(0x22, "me")
    for i, case in ipairs {
      { { tlv(5, "id\0\xff"), tlv(2, "db.example") },
        { uniqueId = "id\0\xff", authority = "db.example" } },
      { { tls(3, 0, version, name) },
        { tls = { version = "TLSv1.3", verified = true, commonName = "me" } } },
      { { tls(1, 0, version, name) },
        { tls = { version = "TLSv1.3", verified = false } } },
      { { tls(3, 9, name) }, { tls = { verified = false } } },
    } do
      connect(r):write(v2(0x21, 0x11, V4, table.unpack(case[1])))
      reached(r, "waiting", i)
      case[2].version, case[2].host, case[2].port = 2, "192.0.2.1", 443
      assert.same(case[2], offered[i][3])
    end
  end)

  it("forgets the header with the client, and has none without", function()
    local client
    local r = relay { pick = function(c) client = c end }
    local peer = connect(r):write(TCP4)
    run(function() return client end)
    assert.equal(1, client.proxy.version)
    client:refuse()
    assert.is_nil(client.proxy)
    peer:waitEnd()
    r = relay { name = "plain", acceptProxy = false,
      pick = function(c) client = c end }
    client = nil
    connect(r)
    run(function() return client end)
    assert.is_nil(client.proxy)
  end)

  it("passes on all that is behind the header, however it is cut", function()
    for _, header in ipairs { TCP4, v2(0x21, 0x11, V4, tlv(5, "id")),
        "PROXY UNKNOWN\r\n", v2(0x20, 0) } do
      local rover, server = kept(1)
      local r = relay({}, rover)
      local pieces = {}
      for byte in (header .. "\n\r\nhello"):gmatch "." do
        pieces[#pieces + 1] = byte
      end
      local client = connect(r):write(pieces)
      assert.equal("\n\r\nhello", server.peers[1]:take "^\n\r\nhello$")
      server.peers[1]:write "world"
      client:take "^world$"
      r:close(0)
      client:waitEnd()
    end
  end)

  it("waits for the header, and offers nobody before", function()
    local r = relay()
    local client = connect(r):write(TCP4:sub(1, -2))
    reached(r, "handshaking")
    sockets.settle()
    assert.same({}, offered)
    assert.same({}, r:clients())
    assert.equal(0, r:stats().waiting)
    client:write "\n"
    reached(r, "waiting")
    assert.equal(0, r:stats().handshaking)
    assert.equal(1, #r:clients())
  end)

  it("resets who sends none, at once", function()
    local r, errors = relay()
    refused(r, errors, connect(r):write "GET / HTTP/1.1\r\n\r\n", "EPROTO",
      "a client from 127.0.0.1 was reset: its PROXY header is wrong: it begins "
      .. "like none")
  end)

  it("resets who sends a wrong one", function()
    local r, errors = relay()
    refused(r, errors, connect(r):write "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
      "EPROTO", "a client from 127.0.0.1 was reset: its PROXY header is wrong: "
      .. "a port is wrong")
  end)

  it("resets who ends within one", function()
    local r, errors = relay()
    refused(r, errors, connect(r):write(TCP4:sub(1, 20)):shutdown(), "EPROTO",
      "a client from 127.0.0.1 was reset: its PROXY header is wrong: it ends "
      .. "before it is whole")
  end)

  it("resets who is not trusted, whatever he sends", function()
    local r, errors = relay { trusted = { "192.0.2.0/24", "127.0.0.2" } }
    refused(r, errors, connect(r), "EACCES",
      "a client from 127.0.0.1 was reset: it is not trusted to send a PROXY "
      .. "header")
    local client = uv.new_tcp()
    finally(function() client:close() end)
    client:bind("127.0.0.2", 0)
    client:connect("127.0.0.1", (select(2, r:address())),
      function() client:write(TCP4) end)
    reached(r, "waiting")
  end)

  it("resets who is late, from when he was accepted", function()
    local r, errors = relay { headerTimeout = 20 }
    local client = connect(r):write "PROXY "
    refused(r, errors, client, "ETIMEDOUT",
      "a client from 127.0.0.1 was reset: its PROXY header did not come in "
      .. "time")
    client = connect(r):write(TCP4)
    reached(r, "waiting")
    client:shutdown()
  end)

  it("gives a client all of waitTimeout once its header has come", function()
    local r, errors = relay { headerTimeout = 0, waitTimeout = 30 }
    local client = connect(r)
    reached(r, "handshaking")
    local deadline = uv.now() + 60
    support.eventually(function() return uv.now() > deadline end)
    assert.equal(1, r:stats().handshaking)
    client:write(TCP4):waitEnd()
    run(function() return #errors > 0 end)
    assert.equal("no socket for a client in 30 ms", errors[1].message)
    assert.equal(1, r:stats().expired)
  end)

  it("says nothing of who connects and goes without a byte", function()
    local r, errors = relay()
    local client = connect(r)
    reached(r, "handshaking")
    client:close()
    reached(r, "gone")
    client = connect(r)
    reached(r, "handshaking")
    client:reset()
    reached(r, "gone", 2)
    assert.same({}, errors)
  end)

  it("offers nobody who has ended right behind the header", function()
    local r, errors = relay()
    for i, header in ipairs { TCP4, v2(0x20, 0) } do
      local client = connect(r)
      reached(r, "handshaking")
      -- Both are there before the relay looks, as of a health check.
      client.handle:write(header)
      client:shutdown()
      reached(r, "gone", i)
    end
    assert.same({}, offered)
    assert.same({}, errors)
  end)

  it("offers nobody who ends a moment behind a header without an address",
    function()
      for _, header in ipairs { "PROXY UNKNOWN\r\n", v2(0x20, 0) } do
        local r, errors = relay()
        -- On a busy machine the end may come too late, though not always.
        local tries = 0
        repeat
          tries = tries + 1
          offered = {}
          local client = connect(r):write(header)
          reached(r, "accepted", tries)
          sockets.settle()
          client:close()
          reached(r, "gone", tries)
        until #offered == 0 or tries == 20
        assert.same({}, offered)
        assert.same({}, errors)
        assert.equal(0, r:stats().handshaking)
      end
    end)

  it("offers who stays behind such a header, or says something", function()
    local r = relay()
    uv.update_time()
    local begin = uv.now()
    local client = connect(r):write(v2(0x20, 0))
    reached(r, "waiting")
    uv.update_time()
    assert.is_true(uv.now() - begin >= 19)
    connect(r):write(v2(0x20, 0) .. "hello")
    reached(r, "waiting", 2)
    local other = connect(r):write(v2(0x20, 0))
    reached(r, "handshaking")
    other:write "hello"
    reached(r, "waiting", 3)
    assert.equal(3, #offered)
    client:close()
    reached(r, "gone")
  end)

  it("closes with the relay who may be a check", function()
    local r = relay()
    local client = connect(r):write(v2(0x20, 0))
    reached(r, "handshaking")
    sockets.settle()
    r:close()
    assert.is_nil(client:waitEnd())
  end)

  it("trusts whoever may connect to a Unix socket", function()
    local r = relay { listen = { path = relays.path() }, trusted = {} }
    connect(r):write(TCP4)
    reached(r, "waiting")
    assert.same({ "192.0.2.7", 4711 }, { table.unpack(offered[1], 1, 2) })
    connect(r):write "PROXY UNKNOWN\r\n"
    reached(r, "waiting", 2)
    assert.same({ nil, "a Unix socket has no host and port" },
      { table.unpack(offered[2], 1, 2) })
  end)

  it("counts who has yet to send one among maxClients", function()
    local r, errors = relay { maxClients = 2 }
    connect(r)
    reached(r, "handshaking")
    local waits = connect(r):write(TCP4)
    reached(r, "waiting")
    local silent = connect(r)
    assert.is_nil(waits:waitEnd())
    reached(r, "handshaking", 2)
    assert.is_nil(connect(r):waitEnd())
    run(function() return #errors == 2 end)
    assert.equal("ENOBUFS", errors[1].code)
    silent:write(TCP4)
    reached(r, "waiting")
    assert.same({ 1, 2 }, { r:stats().handshaking, r:stats().refused })
  end)

  it("closes with the relay who has yet to send one", function()
    local r = relay()
    local client = connect(r):write "PROXY"
    reached(r, "handshaking")
    r:close()
    assert.is_nil(client:waitEnd())
  end)

  it("lets pick close the relay, and run the loop until it is gone", function()
    if not support.NESTS then
      return pending "luv runs no loop within itself"
    end
    local r, calls = nil, 0
    r = relay { pick = function(client)
      local gone
      calls = calls + 1
      client:on("close", function() gone = true end)
      r:close(0)
      run(function() return gone and not pcall(r.stats, r) end)
    end }
    local first, second = connect(r), connect(r)
    reached(r, "handshaking", 2)
    first:write(TCP4)
    second:write(TCP4)
    run(function() return calls > 0 end)
    first:waitEnd()
    second:waitEnd()
    assert.equal(1, calls)
  end)

  it("refuses options that are wrong", function()
    local function wrong(options, message)
      options.listen, options.pick = options.listen or { port = 0 }, print
      support.misuse(function() callosum.new(options) end,
        "bad argument #1 to 'new' (" .. message .. ")")
    end
    wrong({ acceptProxy = 1 }, "acceptProxy: boolean expected, got number")
    wrong({ headerTimeout = -1 },
      "headerTimeout: integer from 0 to 4294967295 expected, got -1")
    wrong({ sendProxy = true }, "sendProxy: 'v1', 'v2' or false expected, "
      .. "got true")
    wrong({ sendProxy = "v3" }, "sendProxy: 'v1', 'v2' or false expected, "
      .. "got 'v3'")
    wrong({ acceptProxy = true },
      "trusted: acceptProxy needs the addresses of the proxies")
    wrong({ acceptProxy = true, trusted = {} },
      "trusted: acceptProxy needs the addresses of the proxies")
    wrong({ trusted = { "10.0.0.1/8" } },
      "trusted: '10.0.0.1/8': bits behind the prefix are set")
    wrong({ trusted = { "::1", "localhost" } },
      "trusted: 'localhost': it is no IP address")
    wrong({ trusted = "10.0.0.0/8" }, "trusted: array of strings such as "
      .. "'10.0.0.0/8' expected, got '10.0.0.0/8'")
    wrong({ trusted = { 10 } },
      "trusted: array of strings such as '10.0.0.0/8' expected, got 10")
    wrong({ trusted = { ["::1"] = true } },
      "trusted: array of strings such as '10.0.0.0/8' expected, got '::1'")
    wrong({ trusted = { "::1", n = "::1" } },
      "trusted: array of strings such as '10.0.0.0/8' expected, got 'n'")
  end)
end)

describe("a relay's sendProxy", function()
  -- The beginning of what the server gets of a client that has said that.
  local function sent(options, says, length)
    local rover, server = kept(1)
    options.pick = picking(rover)
    local r = relays.relay(options)
    local client = connect(r)
    if says ~= "" then client:write(says) end
    local peer = server.peers[1]
    run(function() return #peer.received >= length end)
    sockets.settle()
    local own = client.handle:getsockname()
    r:close(0)
    client:waitEnd()
    return peer.received, own
  end

  local function port16(port) return (">I2"):pack(port) end

  it("tells the server who the client is, before it says a word", function()
    local rover, server = kept(2)
    for _, version in ipairs { "v1", "v2" } do
      local r = relays.relay { name = version, sendProxy = version,
        pick = picking(rover) }
      local _, port = r:address()
      local client = connect(r)
      reached(r, "running")
      local own = client.handle:getsockname().port
      local header = version == "v1"
        and ("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n"):format(own, port)
        or v2(0x21, 0x11, "\127\0\0\1\127\0\0\1", port16(own), port16(port))
      local peer
      run(function()
        for _, each in ipairs(server.peers) do
          if #each.received == #header then peer = each end
        end
        return peer
      end)
      assert.equal(header, peer.received)
      client:write "hello"
      run(function() return #peer.received > #header end)
      assert.equal(header .. "hello", peer.received)
      assert.equal(5, r:stats().received)
      peer:write "world"
      client:take "^world$"
      peer.received = ""
    end
  end)

  it("sends it before what the client has said already", function()
    local rover, server = kept(1)
    local waits = true
    local r = relays.relay { sendProxy = "v1", pick = function()
      return not waits and rover:sockets()[1] or nil
    end }
    local client = connect(r):write "hello"
    reached(r, "waiting")
    waits = false
    r:offer()
    server.peers[1]:take(("^PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello$")
      :format(client.handle:getsockname().port, select(2, r:address())))
  end)

  it("tells IPv6 addresses, and mapped ones as IPv4", function()
    local rover, server = kept(2)
    local r = relays.relay { listen = { host = "::", port = 0 },
      sendProxy = "v1", pick = picking(rover) }
    local _, port = r:address()
    for _, host in ipairs { "::1", "127.0.0.1" } do
      local own = support.connect(port, host)
      run(function() return own.connected end)
      local line = ("PROXY TCP%d %s %s %d %d\r\n"):format(
        host == "::1" and 6 or 4, host, host, own.handle:getsockname().port,
        port)
      run(function()
        return server.peers[1].received == line
          or server.peers[2].received == line
      end)
    end
  end)

  it("tells of a client of a Unix socket that nothing is known", function()
    for version, header in pairs { v1 = "PROXY UNKNOWN\r\n",
        v2 = v2(0x20, 0) } do
      assert.equal(header .. "hello", (sent({ sendProxy = version,
        listen = { path = relays.path() } }, "hello", #header + 5)))
    end
  end)

  it("passes on what the client's header told", function()
    local ALL = { acceptProxy = true, trusted = { "127.0.0.1" } }
    local function through(version, header, expected)
      local options = { sendProxy = version }
      for name, value in pairs(ALL) do options[name] = value end
      assert.equal(expected .. "hello",
        (sent(options, header .. "hello", #expected + 5)))
    end
    local told = v2(0x21, 0x11, V4, tlv(2, "db.example"), tlv(5, "id"),
      tlv(0x20, (">BI4"):pack(7, 0) .. tlv(0x21, "TLSv1.3") .. tlv(0x22, "me")))
    through("v1", TCP4, TCP4)
    through("v2", TCP4, v2(0x21, 0x11, V4))
    through("v1", told, TCP4)
    through("v2", told, told)
  end)

  it("is told of whoever connected if the client's told no address", function()
    local r = { acceptProxy = true, trusted = { "127.0.0.1" },
      sendProxy = "v1" }
    local text, own = sent(r, "PROXY UNKNOWN\r\nhello", 30)
    local line = "^PROXY TCP4 127.0.0.1 127.0.0.1 %d %%d+\r\nhello$"
    assert.truthy(text:find(line:format(own.port)), text)
  end)

  it("comes whole though the kernel has no room for it at first", function()
    local rover, server = kept(1)
    local socket, peer = rover:sockets()[1], server.peers[1]
    sockets.deaf(peer)
    -- As much as the kernel takes, and no more.
    local written, chunk = 0, ("x"):rep(4096)
    repeat
      socket:write(chunk)
      written = written + #chunk
    until socket:writeQueueSize() > 0
    local got = sockets.gather(peer)
    run(function() return socket:writeQueueSize() == 0 end)
    sockets.deaf(peer)
    local r = relays.relay { sendProxy = "v1", pick = picking(rover) }
    local client = connect(r):write "hello"
    reached(r, "running")
    local rest = sockets.gather(peer)
    local header = ("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\nhello"):format(
      client.handle:getsockname().port, select(2, r:address()))
    run(function()
      return got.length + rest.length >= written + #header
    end)
    assert.equal(header, (got.text() .. rest.text()):sub(written + 1))
  end)

  it("follows what is declared over a reload, as acceptProxy does", function()
    local reloads = require "support.reloads"
    local path = relays.path()
    local server = support.serve { send = "0\r\n" }
    local function script(options)
      return ([[
        relay = require "callosum.relay"
        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function(_, socket) log "got" end)
        door = relay.new { listen = { path = host.args[2] },
          pick = function(client)
            log("client", { host = client:peername() or "none" })
            return r:sockets()[1]
          end, %s }
        if not r:sockets()[1] then connect(r, 3) end
      ]]):format(options)
    end
    local child = reloads.start(script "acceptProxy = true", server, path)
    support.logged(child, "got", 3)
    local before = support.connect(path):write(TCP4:sub(1, 9))
    run(function() return before.connected end)
    sockets.settle()
    reloads.reload(child, script 'sendProxy = "v1"')
    -- Who was asked for a header still is; who comes now is not.
    local after = support.connect(path):write "plain"
    run(function()
      for _, peer in ipairs(server.peers) do
        if peer.received == "PROXY UNKNOWN\r\nplain" then return true end
      end
    end)
    before:write(TCP4:sub(10) .. "hello")
    run(function()
      for _, peer in ipairs(server.peers) do
        if peer.received == TCP4 .. "hello" then return true end
      end
    end)
    for _, peer in ipairs(server.peers) do peer:close() end
    before:close()
    after:close()
    server:close()
    support.stop(child)
  end)
end)

describe("With HAProxy before it, a relay", function()
  local holds -- whether clients are given no socket

  -- A relay, with HAProxy before it, that joins clients with an echo server.
  -- Returns where to connect to HAProxy, and what was offered.
  local function start(options)
    local port = support.freePorts(1)
    local rover = kept(8, nil, { send = "0\r\n", connection = sockets.echo })
    local offered = {}
    local r, errors = relays.relay {
      acceptProxy = true, trusted = { "127.0.0.1" },
      pick = function(client)
        local host, own = client:peername()
        offered[#offered + 1] = { host = host, port = own,
          proxy = client.proxy }
        return not holds and rover:sockets()[1] or nil
      end }
    local path = relays.path()
    local haproxy = proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d
  bind %s
  unique-id-format id-%%ci-%%cp
  server s 127.0.0.1:%d %s]]):format(port, path, select(2, r:address()),
      options), port)
    return { port = port, path = path, offered = offered, relay = r,
      errors = errors, haproxy = haproxy }
  end

  local function talk(to)
    local client = support.connect(to):write "hello"
    client:take "^hello$"
    return client
  end

  local function isBehind(version, more)
    local it_ = start("send-proxy" .. version)
    local client = talk(it_.port)
    local own = client.handle:getsockname().port
    local proxy = { host = "127.0.0.1", port = it_.port,
      version = version == "" and 1 or 2 }
    for name, value in pairs(more and more(own) or {}) do
      proxy[name] = value
    end
    assert.same({ { host = "127.0.0.1", port = own, proxy = proxy } },
      it_.offered)
    -- Those of its Unix socket have no address to tell.
    talk(it_.path)
    local local_ = it_.offered[2]
    assert.is_true(local_.host == "127.0.0.1" and local_.port ~= own)
    assert.same({ version = proxy.version }, local_.proxy)
    assert.same({}, it_.errors)
    assert.equal(2, it_.relay:stats().joined)
  end

  it("takes its send-proxy", function() isBehind "" end)

  it("takes its send-proxy-v2", function() isBehind "-v2" end)

  it("takes its send-proxy-v2 with an id and a checksum", function()
    isBehind("-v2 proxy-v2-options unique-id,crc32c", function(port)
      return { uniqueId = ("id-127.0.0.1-%d"):format(port) }
    end)
  end)

  for _, version in ipairs { "", "-v2" } do
    it("is up for its checks with send-proxy" .. version, function()
      holds = true
      local it_ = start("send-proxy" .. version .. " check inter 20 fall 1")
      run(function() return it_.relay:stats().gone >= 5 end)
      holds = false
      talk(it_.port)
      assert.same({}, it_.errors)
      assert.is_nil(it_.haproxy.output:find("DOWN", 1, true))
      assert.equal(0, it_.relay:stats().rejected)
    end)
  end

  it("has it be reset if it sends no header", function()
    local it_ = start ""
    support.connect(it_.port):write("hello"):waitEnd()
    run(function() return #it_.errors > 0 end)
    assert.equal("EPROTO", it_.errors[1].code)
    assert.same({}, it_.offered)
  end)
end)

describe("With a server behind it that knows headers, a relay", function()
  -- A relay whose clients get to a program at that port by way of a server that
  -- gives slots, as a front does.
  local function start(port, version)
    local server = support.serve { send = "0\r\n" }
    local rover = support.rover { port = server.port }
    local r = relays.relay { sendProxy = version, pick = picking(rover) }
    rover:on("connection", function() end)
    rover:connect()
    run(function() return #rover:sockets() == 1 and server.peers[1] end)
    local peer, far = server.peers[1], support.connect(port)
    run(function() return far.connected end)
    for from, to in pairs { [peer] = far, [far] = peer } do
      from.handle:read_stop()
      from.handle:read_start(function(_, chunk)
        if chunk then to.handle:write(chunk)
        elseif not to.handle:is_closing() then to.handle:shutdown() end
      end)
    end
    return r
  end

  -- What the answer to a request through the relay is.
  local function answer(r)
    local client = connect(r)
      :write "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    local text = client:take "\r\n\r\n.-(<[^>]*>)"
    return text, client.handle:getsockname().port
  end

  for _, version in ipairs { "v1", "v2" } do
    it("tells nginx the client's address by " .. version, function()
      local port = support.freePorts(1)
      proxies.told(port)
      local text, own = answer(start(port, version))
      assert.equal(("<127.0.0.1 %d GET>"):format(own), text)
    end)

    it("tells HAProxy the client's address by " .. version, function()
      local port = support.freePorts(1)
      proxies.haproxy(([[
frontend f
  mode http
  bind 127.0.0.1:%d accept-proxy
  http-request return content-type text/plain lf-string "%s"
]]):format(port, "<%[src] %[src_port] %[dst_port]>"), port)
      local r = start(port, version)
      local text, own = answer(r)
      assert.equal(("<127.0.0.1 %d %d>"):format(own, (select(2, r:address()))),
        text)
    end)
  end
end)
