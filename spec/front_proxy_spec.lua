local callosum = require "callosum.front"
local fronts = require "support.fronts"
local proxies = require "support.proxies"
local relays = require "support.relays"
local reloads = require "support.reloads"
local sockets = require "support.sockets"
local support = require "support"

local front, reached, slot = fronts.front, fronts.reached, fronts.slot
local run, settle = support.run, sockets.settle
local tlv, v2, V4 = proxies.tlv, proxies.v2, proxies.V4

local TCP4 = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
local TRUSTED = { "127.0.0.0/8", "::1" }

local function accepting(options)
  local own = { acceptProxy = true, trusted = TRUSTED }
  for name, value in pairs(options or {}) do own[name] = value end
  return own
end

local function line(peer, port)
  return ("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n"):format(
    peer.handle:getsockname().port, port)
end

-- Runs until the other end of the front's next connection has got all of that,
-- and nothing else.
local function gets(server, text)
  local at = #server.peers
  run(function()
    at = #server.peers
    return at > 0 and #server.peers[at].received >= #text
  end)
  settle()
  assert.equal(text, server.peers[at].received)
  server.peers[at].received = ""
  return server.peers[at]
end

describe("a front's acceptProxy", function()
  it("joins at the header, and tells on what that tells", function()
    local tls = tlv(0x20, (">BI4"):pack(7, 0) .. tlv(0x21, "TLSv1.3")
      .. tlv(0x22, "me"))
    local all = v2(0x21, 0x11, V4, tlv(2, "db.example"), tlv(5, "id"), tls)
    local f, server = front(accepting { sendProxy = "v2" })
    for _, case in ipairs {
      { TCP4, v2(0x21, 0x11, V4) },
      { all, all },
      { v2(0x21, 0x11, V4, tlv(5, "id"), tlv(4, "noop"), tlv(0xee, "?")),
        v2(0x21, 0x11, V4, tlv(5, "id")) },
      { "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 4711 443\r\n",
        v2(0x21, 0x11, V4) },
    } do
      local _, client = slot(f)
      client:write(case[1])
      local backend = gets(server, case[2])
      backend:write "220 ready\r\n"
      assert.equal("220 ready", client:line())
      client:write "hello"
      backend:take "^hello$"
      client:close()
      backend:waitEnd()
    end
    assert.equal(4 * 5, f:stats().received)
  end)

  it("is told nothing by LOCAL: it is whoever connected", function()
    local f, server = front(accepting { sendProxy = "v1" })
    for _, header in ipairs { "PROXY UNKNOWN\r\n", v2(0x20, 0),
        v2(0x20, 0x11, V4, tlv(5, "id")), v2(0x21, 0) } do
      local _, client = slot(f)
      client:write(header .. "hello")
      gets(server, line(client, select(2, f:address())) .. "hello")
    end
  end)

  it("resets who sends none, is late, or is not trusted", function()
    local function rejected(options, says, code, message)
      local errors = {}
      local f <close>, server = front(accepting(options), errors)
      local peer = fronts.connect(f)
      if says then
        assert.equal("0", peer:line())
        peer:write(says)
      end
      assert.equal("ECONNRESET", peer:waitEnd())
      assert.equal("", peer.received)
      run(function() return errors[1] end)
      assert.same({ code, "a client from 127.0.0.1 was reset: " .. message },
        { errors[1].code, errors[1].message })
      local s = f:stats()
      assert.same({ 1, 0, says and 1 or 0 }, { s.rejected, s.open, s.closed })
      assert.equal(0, #server.peers)
      f:close(0)
      run(function() return not pcall(f.stats, f) end)
    end
    rejected({}, "GET / HTTP/1.1\r\n\r\n", "EPROTO",
      "its PROXY header is wrong: it begins like none")
    rejected({ headerTimeout = 20 }, "PROXY ", "ETIMEDOUT",
      "its PROXY header did not come in time")
    rejected({ trusted = { "127.0.0.2" } }, nil, "EACCES",
      "it is not trusted to send a PROXY header")
  end)

  it("lets error close the front, and run the loop until it is gone", function()
    if not support.NESTS then
      return pending "luv runs no loop within itself"
    end
    local f = assert(callosum.new(accepting { listen = { port = 0 },
      backend = { port = 1 } }))
    local gone = 0
    f:on("error", support.watched(function()
      f:close(0)
      run(function() return not pcall(f.stats, f) end)
      gone = gone + 1
    end))
    local peers = select(2, fronts.slots(f, 3))
    for _, peer in ipairs(peers) do peer:write "GET /" end
    for _, peer in ipairs(peers) do peer:waitEnd() end
    assert.equal(1, gone)
  end)

  it("refuses options that are wrong", function()
    local function wrong(options, message)
      options.listen = options.listen or { port = 0 }
      options.backend = { port = 1 }
      support.misuse(function() callosum.new(options) end,
        "bad argument #1 to 'new' (" .. message .. ")")
    end
    wrong({ acceptProxy = 1 }, "acceptProxy: boolean expected, got number")
    wrong({ headerTimeout = -1 },
      "headerTimeout: integer from 0 to 4294967295 expected, got -1")
    wrong({ sendProxy = "v3" }, "sendProxy: 'v1', 'v2' or false expected, "
      .. "got 'v3'")
    for _, list in ipairs { false, {} } do
      wrong({ acceptProxy = true, trusted = list or nil },
        "trusted: acceptProxy needs the addresses of the relays")
    end
    wrong({ trusted = { "10.0.0.1/8" } },
      "trusted: '10.0.0.1/8': bits behind the prefix are set")
    wrong({ trusted = "10.0.0.0/8" }, "trusted: array of strings such as "
      .. "'10.0.0.0/8' expected, got '10.0.0.0/8'")
    for _, when in ipairs { "kept", "slot" } do
      wrong(accepting { connectOn = when }, "connectOn: with acceptProxy, a "
        .. "connection is joined once its header has come: 'data'")
    end
    wrong({ listen = { host = "0.0.0.0", port = 0 }, acceptProxy = true,
      trusted = TRUSTED }, "listen: on 0.0.0.0 other machines can connect, and "
      .. "the backend would take them for this one: say who may in 'allow' or, "
      .. "by their certificates, in 'tls', or 'public = true'")
  end)
end)

describe("Behind a relay with sendProxy, a front", function()
  -- A relay, a front before a server that speaks first, and a client.
  local function chain(ofFront, ofRelay)
    local server = support.serve { send = "220 ready\r\n" }
    ofFront.backend = { port = server.port }
    local f = front(ofFront)
    local rover = support.rover { port = (select(2, f:address())) }
    rover:on("connection", function() end)
    rover:connect()
    run(function() return #rover:sockets() == 1 end)
    ofRelay.pick = relays.picking(rover)
    local r = relays.relay(ofRelay)
    settle()
    assert.equal(0, #server.peers)
    return relays.connect(r), server, r, f
  end

  for _, version in ipairs { "v1", "v2" } do
    it("joins clients that wait for the server, by " .. version, function()
      local client, server, r, f = chain(accepting { sendProxy = "v1" },
        { sendProxy = version })
      assert.equal("220 ready", client:line())
      gets(server, line(client, select(2, r:address())))
      client:write("QUIT\r\n"):shutdown()
      server.peers[1]:take "^QUIT\r\n$"
      server.peers[1]:waitEnd()
      server.peers[1]:close()
      client:waitEnd()
      reached(f, "ended")
      assert.same({ 6, 11 }, { f:stats().received, f:stats().sent })
    end)
  end

  it("tells of clients of its Unix socket that they are the relay", function()
    local client, server, _, f = chain(accepting { sendProxy = "v1" },
      { sendProxy = "v2", listen = { path = relays.path() } })
    assert.equal("220 ready", client:line())
    run(function() return #server.peers[1].received > 0 end)
    assert.matches(("^PROXY TCP4 127.0.0.1 127.0.0.1 %%d+ %d\r\n$"):format(
      select(2, f:address())), server.peers[1].received)
  end)

  it("passes its header on if it has no acceptProxy", function()
    local client, server, r = chain({}, { sendProxy = "v1" })
    assert.equal("220 ready", client:line())
    gets(server, line(client, select(2, r:address())))
  end)

  it("keeps who has sent a part of one over a reload", function()
    local server, path = support.serve(), relays.path()
    local function script(options)
      return ([[
        front = require "callosum.front"
        f = front.new { listen = { path = host.args[2] }, backend = at(1), %s }
        f:on("error", function(err) log("rejected", { err = err.code }) end)
      ]]):format(options)
    end
    local child = reloads.start(script "acceptProxy = true", server, path)
    local _, within = slot(path)
    local _, unused = slot(path)
    within:write(TCP4:sub(1, 9))
    settle()
    reloads.reload(child, script 'sendProxy = "v1"')
    within:write(TCP4:sub(10) .. "hello")
    local one = gets(server, TCP4 .. "hello")
    unused:write "hello"
    local other = gets(server, "PROXY UNKNOWN\r\nhello")
    reloads.reload(child, script "acceptProxy = true")
    local given, late = slot(path)
    assert.equal(2, given)
    late:write "hello"
    assert.equal("EPROTO", support.logged(child, "rejected").err)
    within:write "more"
    one:take "^more$"
    for _, peer in ipairs { within, unused, late, one, other } do
      peer:close()
    end
    server:close()
    support.stop(child)
  end)
end)

describe("With servers behind it that know headers, a front", function()
  local function answer(f)
    local _, client = slot(f)
    client:write "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    return client:take "\r\n\r\n.-(<[^>]*>)", client.handle:getsockname().port
  end

  for _, version in ipairs { "v1", "v2" } do
    it("tells nginx the client's address by " .. version, function()
      local port = support.freePorts(1)
      proxies.told(port)
      local text, own = answer(front { backend = { port = port },
        sendProxy = version })
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
      local f = front { backend = { port = port }, sendProxy = version }
      local text, own = answer(f)
      assert.equal(("<127.0.0.1 %d %d>"):format(own, (select(2, f:address()))),
        text)
    end)
  end

  it("tells HAProxy an id and a host name", function()
    local port = support.freePorts(1)
    proxies.haproxy(([[
frontend f
  mode http
  bind 127.0.0.1:%d accept-proxy
  http-request return content-type text/plain lf-string "%s"
]]):format(port, "<%[src] %[fc_pp_unique_id] %[fc_pp_authority]>"), port)
    local _, client = slot(front(accepting { backend = { port = port },
      sendProxy = "v2" }))
    client:write(v2(0x21, 0x11, V4, tlv(2, "db.example"), tlv(5, "id-13"),
      tlv(0x20, (">BI4"):pack(1, 1) .. tlv(0x21, "TLSv1.3")))
      .. "GET / HTTP/1.0\r\n\r\n")
    client:take "<192%.0%.2%.7 id%-13 db%.example>"
  end)
end)

-- They would pass the slot line to their clients, which these here expect.
describe("Behind a proxy that sends headers, a front", function()
  local function talk(to, server)
    local client, count = support.connect(to), #server.peers + 1
    assert.equal("0", client:line())
    client:write "hello"
    run(function() return server.peers[count] end)
    return client, server.peers[count]
  end

  for _, version in ipairs { "", "-v2" } do
    it("takes HAProxy's send-proxy" .. version, function()
      local port, path = support.freePorts(1), relays.path()
      local f, server = front(accepting { sendProxy = "v1" })
      proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d
  bind %s
  server s 127.0.0.1:%d send-proxy%s]]):format(port, path,
        select(2, f:address()), version), port)
      local client = talk(port, server)
      gets(server, line(client, port) .. "hello")
      client:close()
      server.peers[1]:waitEnd()
      server.peers[1]:close()
      reached(f, "open", 0)
      -- Those of its Unix socket have no address to tell.
      local _, backend = talk(path, server)
      backend:take(("^PROXY TCP4 127.0.0.1 127.0.0.1 %%d+ %d\r\nhello$")
        :format(select(2, f:address())))
    end)
  end

  it("takes what HAProxy's version 2 tells besides", function()
    local port = support.freePorts(1)
    local f, server = front(accepting { sendProxy = "v2" })
    proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d
  unique-id-format id-%%ci-%%cp
  server s 127.0.0.1:%d send-proxy-v2 proxy-v2-options unique-id,crc32c]])
      :format(port, select(2, f:address())), port)
    local client = talk(port, server)
    local own = client.handle:getsockname().port
    gets(server, v2(0x21, 0x11, "\127\0\0\1\127\0\0\1",
      (">I2I2"):pack(own, port), tlv(5, "id-127.0.0.1-" .. own)) .. "hello")
  end)

  it("takes nginx's", function()
    local port = support.freePorts(1)
    local f, server = front(accepting { sendProxy = "v1" })
    proxies.stream(port, select(2, f:address()))
    local client = talk(port, server)
    gets(server, line(client, port) .. "hello")
  end)
end)
