local callosum = require "callosum.front"
local fleet = require("support.certificates").fleet()
local fronts = require "support.fronts"
local support = require "support"

local connect, front, reached = fronts.connect, fronts.front, fronts.reached
local misuse, run = support.misuse, support.run

-- A front's `tls`, with fields changed.
local function tls(changes)
  local fields = { cert = fleet.server.cert, key = fleet.server.key }
  for name, value in pairs(changes or {}) do fields[name] = value end
  return fields
end

local function mutual(changes)
  local fields = tls { ca = fleet.ca.file }
  for name, value in pairs(changes or {}) do fields[name] = value end
  return fields
end

-- openssl(1) as a client. It ends as the connection does, or, with what it has
-- to send, at the end of that.
local function client(where, ...)
  local port = where
  if type(where) == "userdata" then port = select(2, where:address()) end
  return support.spawn("openssl", { "s_client", "-connect",
    "127.0.0.1:" .. math.tointeger(port), "-verify_return_error", "-CAfile",
    fleet.ca.file, ... }, { env = { LD_PRELOAD = false } })
end

-- The same, which prints nothing but what it is sent.
local function quiet(where, ...)
  return client(where, "-quiet", "-no_ign_eof", ...)
end

-- The bytes with which a client begins its handshake.
local function greeting()
  local server = support.serve()
  local peer = client(server.port)
  local hello
  run(function()
    local far = server.peers[1]
    if not far or #far.received < 5 then return false end
    hello = far.received
    return #hello == 5 + string.unpack(">I2", hello, 4)
  end)
  peer:kill()
  return hello
end

local function shows(certificate)
  return "-cert", certificate.cert, "-key", certificate.key
end

local function backend(server)
  run(function() return server.peers[1] end)
  return server.peers[1]
end

describe("A front with tls", function()
  describe("gives slots", function()
    it("behind the handshake, and joins", function()
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local f, server = front { name = version, tls = tls() }
        local peer = quiet(f, version)
        peer:waitFor "0\r\n"
        assert.same({ 1, 0, 0 }, { f:stats().unused, f:stats().joined,
          f:stats().securing })
        peer:write "hello"
        local far = backend(server)
        far:take "^hello"
        far:write(("x"):rep(100000) .. "\n")
        peer:waitFor(("x"):rep(1000) .. "\n")
        peer:write()
        far:waitEnd()
        far:close()
        assert.same({ 0, 0 }, { peer:wait() })
        reached(f, "ended")
        assert.same({ 1, 0 }, { f:stats().handshakes,
          f:stats().handshakesResumed })
      end
    end)

    it("to whoever has already sent something", function()
      local f, server = front { tls = tls() }
      local peer = quiet(f)
      peer:write "early"
      backend(server):take "^early"
      peer:waitFor "0\r\n"
    end)

    it("whose probes cost the backend nothing", function()
      local f, server = front { tls = tls() }
      local one = quiet(f)
      one:waitFor "0\r\n"
      local other = quiet(f)
      other:waitFor "1\r\n"
      one:write() -- ends by close_notify
      reached(f, "probes")
      assert.equal(0, one:wait())
      other:kill "sigkill" -- without
      reached(f, "probes", 2)
      quiet(f):waitFor "0\r\n"
      assert.same({ 0, 0 }, { #server.peers, f:stats().joined })
    end)

    it("by its backend first, if that is connected before", function()
      local f, server = front { tls = tls(), connectOn = "slot" }
      local peer = quiet(f)
      peer:waitFor "0\r\n"
      backend(server):write "220 ready\n"
      peer:waitFor "220 ready"
      f = front { name = "kept", tls = tls(), connectOn = "kept",
        keptAfter = 1 }
      quiet(f):waitFor "0\r\n"
      reached(f, "joined")
    end)

    it("at a Unix socket", function()
      local path = support.tmpdir() .. "/front.sock"
      front { tls = tls(), listen = { path = path } }
      local peer = support.spawn("openssl", { "s_client", "-unix", path,
        "-quiet" }, { env = { LD_PRELOAD = false } })
      peer:waitFor "0\r\n"
    end)
  end)

  describe("ends", function()
    it("in order where its backend does", function()
      local f, server = front { tls = tls() }
      local peer = quiet(f)
      peer:write "hello"
      local far = backend(server)
      far:take "^hello"
      far:write("bye\n"):close()
      peer:waitFor "bye\n"
      assert.same({ 0, 0 }, { peer:wait() })
      reached(f, "open", 0)
    end)

    it("by a reset where its client does without close_notify", function()
      local f, server = front { tls = tls() }
      local peer = quiet(f)
      peer:write "hello"
      local far = backend(server)
      far:take "^hello"
      peer:kill "sigkill"
      assert.equal("ECONNRESET", far:waitEnd())
      reached(f, "reset")
    end)

    it("those who are unused or quiet in a drain, by close_notify", function()
      local f, server = front { tls = tls(), quietTime = 1 }
      local unused, quieted = quiet(f), quiet(f)
      unused:waitFor "%d\r\n"
      quieted:waitFor "%d\r\n"
      quieted:write "hello"
      local far = backend(server)
      far:take "^hello"
      far:write "answer\n"
      quieted:waitFor "answer"
      local handshaking = connect(f)
      reached(f, "securing")
      f:drain(50)
      assert.same({ 0, 0 }, { unused:wait() })
      assert.same({ 0, 0 }, { quieted:wait() })
      handshaking:waitEnd()
      reached(f, "open", 0)
      assert.same({ 1, 1 }, { f:stats().drained, f:stats().refused })
      local late = connect(f)
      late:waitEnd()
      assert.equal("", late.received)
    end)

    it("what is left at its deadline, by a reset", function()
      local f, server = front { tls = tls() }
      local peer = client(f) -- prints what happens
      peer:write "hello\n"
      local far = backend(server)
      far:take "hello"
      f:close(0)
      assert.equal("ECONNRESET", far:waitEnd())
      peer:wait()
      assert.not_matches("closed", peer.stdout) -- which close_notify says
    end)
  end)

  it("resumes sessions", function()
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local f = front { name = version, tls = mutual() }
      local file = support.tmpdir() .. "/session"
      local peer = quiet(f, version, "-sess_out", file, shows(fleet.client))
      peer:waitFor "0\r\n"
      peer:write()
      assert.equal(0, peer:wait())
      peer = quiet(f, version, "-sess_in", file, shows(fleet.client))
      peer:waitFor "0\r\n"
      assert.same({ 2, 1 }, { f:stats().handshakes,
        f:stats().handshakesResumed })
    end
    local f = front { name = "none", tls = tls { sessions = 0 } }
    local file = support.tmpdir() .. "/session"
    local peer = quiet(f, "-tls1_2", "-sess_out", file)
    peer:waitFor "0\r\n"
    peer:write()
    peer:wait()
    assert.is_nil(io.open(file)) -- it was given none
  end)

  it("renegotiates with nobody", function()
    local f = front { tls = tls() }
    local peer = client(f, "-tls1_2")
    peer:waitFor "\n0\r\n"
    quiet(f):waitFor "1\r\n"
    peer:write "R\n":waitFor "no renegotiation"
    reached(f, "open")
  end)

  it("takes new keys and tickets for no data", function()
    local f, server = front { tls = tls() }
    local peer = client(f)
    peer:waitFor "\n0\r\n"
    for _ = 1, 3 do peer:write "K\n":waitFor "KEYUPDATE" end
    peer:write "k\n":waitFor "KEYUPDATE"
    assert.same({ 1, 0 }, { f:stats().unused, f:stats().joined })
    peer:write "hello\n"
    backend(server):take "^hello"
  end)

  -- What its clients are told of, and what it says of them.
  local function refusal(fields, ...)
    local errors = {}
    local f = front({ name = "r" .. #errors, tls = fields }, errors)
    local peer = client(f, ...)
    run(function() return #errors == 1 end)
    assert.equal(1, f:stats().refused)
    reached(f, "securing", 0)
    peer:wait()
    f:close(0)
    return errors[1], peer.output, f
  end

  describe("refuses", function()
    it("clients whose certificate is missing or wrong, and says why", function()
      local function refused(message, certificate, changes)
        local fields, shown = mutual(changes), {}
        if certificate then shown = { shows(certificate) } end
        local err, output = refusal(fields, table.unpack(shown))
        assert.equal("ECERT", err.code)
        assert.matches("^a client from 127%.0%.0%.1 was refused: the client",
          err.message)
        assert.matches(message, err.message)
        assert.matches("alert", output)
      end
      refused "has shown no certificate"
      refused("expired", fleet.expiredClient)
      refused("CA", fleet.strangeClient)
      refused("revoked", fleet.revokedClient, { crl = fleet.crl })
      refused("stranger%.example", fleet.wrongClient,
        { names = { "client.fleet.example" } })
      refused("not for clients", fleet.serverAsClient)
    end)

    it("nobody whose certificate is right, or is not asked for", function()
      local function accepted(fields, ...)
        local f = front { tls = fields }
        quiet(f, ...):waitFor "0\r\n"
        f:close(0)
      end
      accepted(mutual(), shows(fleet.client))
      accepted(mutual { names = { "app.example", "*.fleet.example" } },
        shows(fleet.client))
      accepted(mutual { names = { "spiffe://fleet.example/client" } },
        shows(fleet.uriClient))
      accepted(mutual { crl = fleet.crl }, shows(fleet.client))
      accepted(mutual { verify = "optional" })
      accepted(mutual { verify = "optional" }, shows(fleet.client))
      accepted(mutual { verify = "none" })
      accepted(tls { cert = fleet.server.both })
      accepted(tls { minVersion = "1.3" }, "-tls1_3")
      accepted(tls(), "-alpn", "h2,callosum")
    end)

    it("those who refuse its own certificate, or the protocol", function()
      local err = refusal(tls { cert = fleet.strange.cert,
        key = fleet.strange.key })
      assert.equal("ECERT", err.code)
      assert.matches(fleet.strange.cert, err.message, 1, true)
      err = refusal(tls { minVersion = "1.3" }, "-tls1_2")
      assert.equal("EPROTO", err.code)
      assert.matches("version", err.message)
      err = refusal(tls(), "-alpn", "h2")
      assert.equal("EPROTO", err.code)
    end)

    it("whoever speaks no TLS", function()
      local errors = {}
      local f = front({ tls = tls() }, errors)
      local peer = connect(f)
      peer:write "GET / HTTP/1.0\r\n\r\n"
      peer:waitEnd()
      run(function() return #errors == 1 end)
      assert.equal("EPROTO", errors[1].code)
      assert.matches("GET / HTTP", errors[1].message)
      assert.not_matches("%d\r\n", peer.received)
      assert.equal(1, f:stats().handshakesInvalid)
    end)

    it("whoever takes too long", function()
      local errors = {}
      local f = front({ tls = tls { handshakeTimeout = 30 } }, errors)
      local silent, slow = connect(f), connect(f)
      slow:write "\22\3\1\2\0\1"
      silent:waitEnd()
      slow:waitEnd()
      run(function() return #errors == 2 end)
      for _, err in ipairs(errors) do assert.equal("ETIMEDOUT", err.code) end
      assert.same({ 2, 2, 0, 0 }, { f:stats().handshakesTimedOut,
        f:stats().refused, f:stats().securing, f:stats().open })
    end)

    it("without a word those who leave", function()
      local f = front { tls = tls() }
      local idle, begun = connect(f), connect(f)
      begun:write "\22\3\1\2\0\1"
      reached(f, "securing", 2)
      idle:close()
      begun:close()
      reached(f, "handshakesAborted", 2)
      assert.equal(2, f:stats().refused)
    end)

    it("all while the backend is down", function()
      local f = front { tls = tls() }
      local handshaking = connect(f)
      reached(f, "securing")
      f:setDown "for a test"
      handshaking:waitEnd()
      assert.equal(1, f:stats().refused)
      f:setDown()
      quiet(f):waitFor "0\r\n"
    end)
  end)

  it("has room for handshakes while it has one for a client", function()
    local f = front { tls = tls(), maxClients = 3 }
    quiet(f):waitFor "0\r\n"
    quiet(f):waitFor "1\r\n"
    local silent = {}
    for i = 1, 17 do silent[i] = connect(f) end
    reached(f, "securing", 17)
    assert.equal(0, f:stats().handshakesDisplaced)
    local late = connect(f)
    assert.equal("ECONNRESET", silent[1]:waitEnd())
    assert.same({ 17, 1 }, { f:stats().securing,
      f:stats().handshakesDisplaced })
    quiet(f):waitFor "2\r\n"
    assert.equal("ECONNRESET", silent[2]:waitEnd())
    assert.is_false(late.ended or false)
    connect(f):waitEnd()
    assert.same({ 3, 2, 3, 16 }, { f:stats().open,
      f:stats().handshakesDisplaced, f:stats().refused, f:stats().securing })
  end)

  it("has room for a quarter more of them than clients", function()
    local f = front { tls = tls(), maxClients = 80 }
    for _ = 1, 100 do connect(f) end
    reached(f, "securing", 100)
    connect(f)
    reached(f, "handshakesDisplaced")
    assert.equal(100, f:stats().securing)
  end)

  it("counts those in their handshake among maxPerAddress", function()
    local f = front { tls = tls(), maxPerAddress = 1 }
    connect(f)
    reached(f, "securing")
    connect(f):waitEnd()
    assert.equal(1, f:stats().refused)
  end)

  it("goes on while many begin a handshake, whatever they send", function()
    local f, server = front({ tls = tls { handshakeTimeout = 60000 } }, {})
    local peer = quiet(f)
    peer:write "hello"
    local far = backend(server)
    far:take "^hello"
    local hello = "\22\3\1\0\200\1\0\0\196\3\3" .. ("r"):rep(32)
    local others = {}
    for i = 1, 200 do
      others[i] = connect(f)
      if i % 4 > 0 then others[i]:write(hello:sub(1, i % 4 * 13)) end
    end
    reached(f, "securing", 200)
    for i = 1, 20 do
      others[i * 4 - 1]:write(("\0"):rep(300))
      far:write(i .. "\n")
      peer:waitFor("%f[%d]" .. i .. "\n")
    end
    quiet(f):waitFor "1\r\n"
  end)

  describe("and PROXY headers", function()
    it("takes them from inside, to the byte", function()
      local f, server = front { tls = tls(), acceptProxy = true,
        trusted = { "127.0.0.1" }, sendProxy = "v1" }
      for i, text in ipairs { "hello", "" } do
        local peer = quiet(f)
        peer:waitFor "%d\r\n"
        peer:write("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n" .. text)
        run(function() return server.peers[i] end)
        server.peers[i]:take("^PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n"
          .. text .. "$")
      end
    end)

    it("tells its backend of the client's TLS", function()
      local f, server = front { tls = mutual { verify = "optional" },
        sendProxy = "v2" }
      local function told(i, ...)
        local peer = quiet(f, ...)
        peer:write "hello"
        run(function() return server.peers[i] end)
        local text = server.peers[i]:take "^(\r\n\r\n%z\r\nQUIT\n!\17.*)hello$"
        return text
      end
      local name = "client"
      assert.equal("\32\0\24\7\0\0\0\0\33\0\7TLSv1.3\34\0\6" .. name,
        told(1, "-tls1_3", shows(fleet.client)):sub(29))
      assert.equal("\32\0\15\1\0\0\0\1\33\0\7TLSv1.2",
        told(2, "-tls1_2"):sub(29))
    end)
  end)

  describe("by the command", function()
    -- In a folder of its own, since its files are replaced.
    local function start()
      local server = support.serve()
      local file = support.tmpdir() .. "/server.pem"
      local function show(certificate)
        local from <close> = assert(io.open(certificate.both))
        support.write(file, from:read "a")
      end
      local authorities = support.tmpdir() .. "/ca.pem"
      -- Trusts one more CA from the next reload on.
      local function trust(ca)
        local to <close> = assert(io.open(authorities, "a"))
        local from <close> = assert(io.open(ca.file))
        to:write((from:read "a"))
      end
      show(fleet.server)
      trust(fleet.ca)
      local child = support.command { "front", "--log-format", "json",
        "--tls-cert", file, "--tls-ca", authorities, "--tls-names",
        "app.example, client.fleet.example", "--tls-min-version", "1.2",
        "--tls-handshake-timeout", "60000", "--tls-sessions", "5",
        "--drain-timeout", "0", "0", tostring(server.port) }
      return child, support.logged(child, "listening").port, server, show,
        trust
    end

    local function subject(port)
      local peer = client(port, shows(fleet.client))
      local name = peer:waitFor "subject=CN ?= ?(%w+)"
      peer:kill()
      return name
    end

    it("reads its files anew, and goes on with the old if one is broken",
      function()
        local child, port, server, show = start()
        local peer = quiet(port, shows(fleet.client))
        peer:write "hello"
        local far = backend(server)
        far:take "^hello"
        quiet(port, shows(fleet.wrongClient)):wait()
        local told = support.logged(child, "a client from 127.0.0.1 was "
          .. "refused: the client's certificate \"CN=wrongClient\" has none of "
          .. "the names that may come (app.example, client.fleet.example): it "
          .. "has \"stranger.example\"")
        assert.same({ "ECERT", "warn" }, { told.code, told.level })
        assert.equal("server", subject(port))
        show(fleet.rsaServer)
        child:kill "sighup"
        support.logged(child, "reloaded, with the same options and clients")
        assert.equal("rsaServer", subject(port))
        show { both = fleet.server.key }
        child:kill "sighup"
        told = support.logged(child,
          "reload failed, the old policy goes on")
        assert.matches("server.pem", told.error, 1, true)
        assert.equal("rsaServer", subject(port))
        far:write "still\n"
        peer:waitFor "still"
      end)

    it("resumes sessions across a reload, unless whom it trusts has changed",
      function()
        local child, port, _, _, trust = start()
        local file, n = support.tmpdir() .. "/session", 0
        local function reused(option)
          local peer = client(port, option, file, shows(fleet.client))
          local how = peer:waitFor "(%u%l+), TLSv1.3"
          peer:waitFor "\n%d\r\n"
          peer:write "Q\n"
          peer:wait()
          return how == "Reused"
        end
        local function reload()
          n = n + 1
          child:kill "sighup"
          support.logged(child, "reloaded, with the same options and clients",
            n)
        end
        assert.is_false(reused "-sess_out")
        assert.is_true(reused "-sess_in")
        reload()
        assert.is_true(reused "-sess_in")
        trust(fleet.otherCa)
        reload()
        assert.is_false(reused "-sess_in")
      end)

    it("keeps its connections in an upgrade, and their slots", function()
      local child, port, server = start()
      local peer, other = quiet(port, shows(fleet.client)), connect(port)
      peer:waitFor "0\r\n"
      peer:write "hello"
      local far = backend(server)
      far:take "^hello"
      child:kill "sigusr2"
      local pid = support.logged(child, "another process has taken over").pid
      support.atEnd(function() pcall(require "luv".kill, pid, "sigkill") end)
      quiet(port, shows(fleet.client)):waitFor "2\r\n"
      far:write "still\n"
      peer:waitFor "still"
      assert.is_false(other.ended)
      other:close()
      support.eventually(function()
        local late = quiet(port, shows(fleet.client))
        local given = late:waitFor "(%d+)\r\n"
        return given == "1"
      end)
    end)

    -- Each has OpenSSL make the state of a handshake, which then waits.
    it("needs no more memory for more handshakes that lead nowhere", function()
      local server, hello = support.serve(), greeting()
      local child = support.command { "front", "--log-format", "json",
        "--max-clients", "16", "--tls-cert", fleet.server.both,
        "--tls-handshake-timeout", "60000", "0", tostring(server.port) }
      local port = support.logged(child, "listening").port
      local function flood(count)
        for _ = 1, count do
          local peer = connect(port)
          peer:write(hello)
          run(function() return #peer.received > 200 end)
        end
        local file <close> = assert(io.open("/proc/" .. child.pid .. "/statm"))
        local _, pages = file:read("n", "n")
        return pages * 4096
      end
      local before = flood(80)
      local grown = flood(240) - before
      -- 240 that are kept take some 10 MB. A sanitizer keeps what was freed.
      assert.is_true(support.WATCHED or grown < 1 << 20, grown)
      quiet(port):waitFor "0\r\n"
    end)

    it("fails where they are broken from the beginning", function()
      local function wrong(status, message, ...)
        local args = { "front", ... }
        table.move({ "0", "1" }, 1, 2, #args + 1, args)
        local child = support.command(args)
        assert.same({ status, 0 }, { child:wait() }, child.output)
        assert.matches(message, child.stderr)
      end
      wrong(1, "/no/such.pem", "--tls-cert", "/no/such.pem")
      wrong(2, "give %-%-tls%-cert", "--tls-key", fleet.server.key)
      wrong(2, "%-%-tls%-verify wants require, optional or none, not 'x'",
        "--tls-verify", "x")
    end)
  end)

  it("may be open to other machines where it requires certificates", function()
    local function try(fields)
      return pcall(callosum.new, { listen = { host = "0.0.0.0", port = 0 },
        backend = { port = 1 }, tls = fields })
    end
    local made, f = try(mutual())
    assert.is_true(made, f)
    f:close(0)
    for _, fields in ipairs { tls(), mutual { verify = "optional" } } do
      made, f = try(fields)
      assert.is_false(made)
      assert.matches("say who may", f)
    end
  end)

  it("blames misuse on its caller, and returns what is wrong with a file",
    function()
      local function new(fields)
        return callosum.new { listen = { port = 0 }, backend = { port = 1 },
          tls = fields }
      end
      local function wrong(fields, message)
        misuse(function()
          callosum.new { listen = { port = 0 }, backend = { port = 1 },
            tls = fields }
        end, "bad argument #1 to 'new' (" .. message .. ")")
      end
      wrong(true, "tls: table {cert=, key=, ca=, ...} expected, got boolean")
      wrong(tls { sertificate = "x" }, "tls: unknown field 'sertificate', "
        .. "valid are cert, key, ca, verify, names, crl, minVersion, sessions, "
        .. "handshakeTimeout")
      wrong(tls { cret = "x" }, "tls: unknown field 'cret', nearest is 'cert'")
      wrong(tls { cert = 5 },
        "tls: cert: string of 1 to 4096 bytes expected, got number")
      wrong(tls { verify = true },
        "tls: verify: 'require', 'optional' or 'none' expected, got true")
      wrong(tls { minVersion = "1.1" },
        "tls: minVersion: '1.2' or '1.3' expected, got '1.1'")
      wrong(tls { sessions = -1 },
        "tls: sessions: integer from 0 to 4294967295 expected, got -1")
      wrong(tls { names = "x" }, "tls: names: array of strings such as "
        .. "'app.example' expected, got 'x'")
      assert.error_matches(function() new { key = fleet.server.key } end,
        "cert")
      assert.error_matches(function() new(tls { names = { "x" } }) end, "ca")
      local f, message, code = new(tls { cert = "/no/such.pem" })
      assert.same({ nil, "ENOENT" }, { f, code })
      assert.matches("/no/such.pem", message, 1, true)
      f, message, code = new(tls { cert = fleet.server.key })
      assert.same({ nil, "ECERT" }, { f, code })
      assert.matches(fleet.server.key, message, 1, true)
      f, message, code = new(tls { key = fleet.client.key })
      assert.same({ nil, "ECERT" }, { f, code })
      assert.matches(fleet.client.key, message, 1, true)
    end)
end)
