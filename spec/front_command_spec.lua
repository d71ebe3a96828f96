local fronts = require "support.fronts"
local support = require "support"

local command, events, logged = support.command, support.events, support.logged
local run, slot = support.run, fronts.slot

describe("callosum-rover front", function()
  -- Starts it with logs in JSON, before a server of ours.
  local function start(listen, ...)
    local server = support.serve()
    local args = { "front", "--log-format", "json", ... }
    table.move({ listen, tostring(server.port) }, 1, 2, #args + 1, args)
    local child = command(args)
    local told = logged(child, "listening")
    return child, told.port or told.path, server
  end

  local function wrong(status, message, ...)
    local child = command { "front", ... }
    assert.same({ status, 0 }, { child:wait() }, child.output)
    assert.matches(message, child.stderr)
    assert.equal("", child.stdout)
  end

  it("gives slots for a server, at a port or a path", function()
    for _, listen in ipairs { "0", "127.0.0.1:0", "localhost:0",
        support.tmpdir() .. "/front.sock" } do
      local child, where, server = start(listen)
      local client, backend = fronts.pair(where, server)
      backend:write "welcome"
      client:take "^welcome"
      assert.equal(1, (slot(where)))
      client:close()
      backend:waitEnd()
      child:kill "sigkill"
      child:wait()
    end
  end)

  it("is before a Unix socket, and on IPv6", function()
    local far = support.tmpdir() .. "/app.sock"
    local _, _, server = start(far)
    local child = command { "front", "--log-format", "json", "[::1]:0", far }
    local told = logged(child, "listening")
    assert.equal("::1", told.host)
    local given, client = slot(told.port, "::1")
    assert.equal(0, given)
    client:write "x"
    assert.equal("0", client:line()) -- the other front's
    run(function() return server.peers[1] end)
    server.peers[1]:take "^x"
  end)

  it("logs the port that 0 became, also without luv", function()
    local child = command({ "front", "--log-format", "json", "0", "1" },
      { env = { LUA_CPATH_5_4 = "/nowhere/?.so" } })
    for n = 1, 2 do
      local told = logged(child, "listening", n)
      assert.equal("127.0.0.1", told.host)
      assert.equal(n - 1, (slot(told.port)))
      child:kill "sighup"
    end
  end)

  it("takes all options of a front", function()
    local child, port = start("0.0.0.0:0", "--allow", "127.0.0.1,::1",
      "--allow=10.0.0.0/8", "--connect-on", "kept", "--weight", "0.5",
      "--max-clients", "2", "--max-per-address=2", "--kept-after", "60000",
      "--connect-timeout", "0", "--health-interval", "0", "--idle-timeout",
      "0", "--half-close-timeout", "1", "--drain-timeout", "10",
      "--quiet-time", "1", "--keepalive", "0", "--dead-peer-timeout", "0")
    assert.equal(1, (slot(port)))
    local given, peer = slot(port)
    assert.equal(3, given)
    local third = fronts.connect(port)
    third:waitEnd()
    assert.equal("", third.received)
    child:kill "sigterm" -- drains, and ends
    logged(child, "front drains")
    peer:waitEnd()
    peer:close()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)

  it("is open to all if it is told to be, and has the mode", function()
    start("0.0.0.0:0", "--public")
    local path = support.tmpdir() .. "/front.sock"
    start(path, "--mode", "0666")
    local mode = require "luv".fs_stat(path).mode & 511
    assert.equal(tonumber("666", 8), mode)
  end)

  it("drains on SIGTERM, and ends at once by a second one", function()
    local child, port, server = start "0"
    local client = fronts.pair(port, server)
    local _, unused = slot(port)
    child:kill "sigterm"
    local told = logged(child, "front drains")
    assert.equal(2, told.clients)
    local refused = fronts.connect(port)
    refused:waitEnd()
    assert.is_false(client.ended)
    local timer = require "luv".new_timer()
    finally(function() timer:close() end)
    timer:start(150, 0, function() child:kill "sigterm" end) -- not one with it
    local _, signal = child:wait()
    assert.equal(15, signal)
    client:waitEnd()
    unused:waitEnd()
  end)

  it("tells of a backend that is down, and of its return", function()
    local path = support.tmpdir() .. "/app.sock"
    local child = command { "front", "--log-format", "json",
      "--health-interval", "5", "0", path }
    local told = logged(child, "listening")
    local _, client = slot(told.port)
    client:write "x"
    local event = logged(child, "the backend is down")
    assert.same({ path, "no such file or directory", "warn" },
      { event.backend, event.error, event.level })
    assert.equal("ECONNRESET", client:waitEnd())
    start(path)
    logged(child, "the backend is up")
    assert.equal(1, #events(child, "the backend is down"))
    assert.equal(0, (slot(told.port)))
  end)

  it("takes PROXY headers of whom it trusts, and sends them", function()
    local child, port, server = start("0", "--accept-proxy", "--trusted",
      "10.0.0.0/8,127.0.0.1", "--trusted=::1", "--send-proxy", "v1",
      "--header-timeout", "0")
    local _, client = slot(port)
    client:write "PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nhello"
    run(function() return server.peers[1] end)
    server.peers[1]:take "^PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\nhello$"
    _, client = slot(port)
    client:write "hello"
    local event = logged(child, "a client from 127.0.0.1 was reset: its PROXY "
      .. "header is wrong: it begins like none")
    assert.same({ "EPROTO", "warn" }, { event.code, event.level })
  end)

  it("goes on over SIGHUP", function()
    local child, port, server = start "0"
    local client, backend = fronts.pair(port, server)
    child:kill "sighup"
    local told = logged(child, "reloaded, with the same options and clients")
    assert.same({ 1, nil }, { told.clients, told.file })
    client:write "ping"
    backend:take "^ping"
    assert.equal(1, (slot(port)))
  end)

  it("ends after --for", function()
    local child = start("0", "--for", "0.01")
    assert.same({ 0, 0 }, { child:wait() })
  end)

  it("refuses wrong usage", function()
    local usage = "front wants LISTEN and BACKEND, with options before them"
    wrong(2, usage, "4040")
    wrong(2, usage, "1", "2", "3")
    wrong(2, usage, "1", "2", "--weight", "2")
    wrong(2, "%-%-weight wants a number from 1/256 to 256, not '0'",
      "--weight", "0", "1", "2")
    wrong(2, "%-%-max%-clients wants an integer from 1 to 4294967295, not 'x'",
      "--max-clients", "x", "1", "2")
    wrong(2, "%-%-drain%-timeout wants an integer from 0 to 4294967295, not "
      .. "'%-1'", "--drain-timeout=-1", "1", "2")
    wrong(2, "%-%-connect%-on wants data, kept or slot, not 'now'",
      "--connect-on", "now", "1", "2")
    wrong(2, "option '%-%-max%-clint=1', nearest is '%-%-max%-clients'",
      "--max-clint=1", "1", "2")
    wrong(2, "LISTEN is HOST:PORT, PORT or a path with a slash, not 'x'", "x",
      "2")
    wrong(2, "BACKEND is HOST:PORT, PORT or a path with a slash, not '::1:5'",
      "1", "::1:5")
    wrong(2, "LISTEN: port: integer from 0 to 65535 expected, got 65536",
      "65536", "1")
    wrong(2, "BACKEND: host: an IP address or 'localhost' expected, got "
      .. "'db.example'", "0", "db.example:1")
    wrong(2, "BACKEND: it is the front itself", "5", "127.0.0.1:5")
    wrong(2, "%-%-allow wants a value, not ', '", "--allow", ", ",
      "0", "1")
    wrong(2, "%-%-allow: '10.0.0.300': it is no IP address", "--allow",
      "10.0.0.300", "0", "1")
    wrong(2, "%-%-send%-proxy wants v1 or v2, not '3'", "--send-proxy", "3",
      "0", "1")
    wrong(2, "%-%-trusted: %-%-accept%-proxy needs the addresses of the relays",
      "--accept-proxy", "0", "1")
    wrong(2, "%-%-connect%-on: with %-%-accept%-proxy, ", "--accept-proxy",
      "--trusted", "::1", "--connect-on", "kept", "0", "1")
    wrong(2, "%-%-trusted: 'x': it is no IP address", "--trusted", "x", "0",
      "1")
    wrong(2, "%-%-mode: text of octal digits", "--mode", "999", "/x", "1")
    wrong(2, "on 0.0.0.0 other machines can connect, .*: say who may by "
      .. "%-%-allow or %-%-tls%-ca, or give %-%-public", "0.0.0.0:0", "1")
  end)

  it("fails where it cannot listen", function()
    local _, port = start "0"
    wrong(1, "error front 'main': cannot listen on 127.0.0.1:" .. port
      .. ": address already in use; stop what listens there, or choose another "
      .. "port\n$", tostring(port), "1")
    wrong(1, "error front 'main': cannot listen on /: the path is not a "
      .. "socket\n$", "/", "1")
    wrong(1, "error front 'main': cannot listen on the socket 'a/b': ",
      "fd:a/b", "1")
    wrong(2, "BACKEND: port: integer from 1 to 65535 expected, got 1e%+20",
      "0", "99999999999999999999")
  end)
end)
