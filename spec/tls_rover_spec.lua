-- A rover under TLS, with peers of other makes: Python's ssl, which does what
-- it is told (support/tls_peer.py), and openssl(1).

local support = require "support"
local certificates = require "support.certificates"
local uv = require "luv"

local attempt, record = support.attempt, support.record
local checkStats, run, serve = support.checkStats, support.run, support.serve

local fleet = certificates.fleet()

local process -- of the test that runs

local peers = {}
peers.__index = peers

function peers:waitFor(pattern)
  return process:waitFor("%f[%w]" .. self.port .. " " .. pattern)
end

function peers:go() process:write("go\t" .. self.port .. "\n") end

-- A peer that takes these steps with each connection; a table before them may
-- have its `cert`.
local function peer(...)
  local words = { ... }
  local options = type(words[1]) == "table" and table.remove(words, 1) or {}
  local cert = options.cert or fleet.server
  process = process or support.spawn("python3", { "spec/support/tls_peer.py" },
    { env = { LD_PRELOAD = false } })
  process:write(table.concat({ "listen", cert.cert, cert.key,
    table.unpack(words) }, "\t") .. "\n")
  return setmetatable({ port = tonumber(process:waitFor "listening (%d+)\n") },
    peers)
end

local function rover(port, options)
  local own = { port = port, tls = { ca = fleet.ca.file } }
  for name, value in pairs(options or {}) do own[name] = value end
  return support.rover(own)
end

local function outcome(port, options)
  local r = rover(port, options)
  return attempt(r, record(r)), r
end

local function connection(event)
  if event.event ~= "connection" then
    error(event.event .. ": " .. tostring(event.err), 2)
  end
  return event.socket
end

-- A connection to a peer that takes these steps.
local function connected(...)
  local p = peer(...)
  local event, r = outcome(p.port)
  return connection(event), p, r, event
end

local function read(socket)
  local got = { bytes = "" }
  socket:on("data", function(chunk) got.bytes = got.bytes .. chunk end)
  socket:on("end", function() got.ended = true end)
  socket:on("close", function(err) got.closed, got.err = true, err end)
  return got
end

before_each(function() process = nil end)

describe("Under TLS 1.2 and 1.3,", function()
  local version, V

  local function inBoth(says, test)
    it(says, function()
      for _, each in ipairs { "1.2", "1.3" } do
        version, V = each, "version=" .. each
        test()
      end
    end)
  end

  describe("an attempt", function()
    inBoth("reads the slot line inside", function()
      local _, p, r, event = connected(V, "handshake", [[send=13\r\n]],
        "read=5", "send=bye", "wait")
      assert.equal(13, event.slot)
      assert.same({ "127.0.0.1", p.port }, { event.socket:peername() })
      event.socket:write { "he", "l", "lo" }
      p:waitFor("secured TLSv" .. version .. " full")
      p:waitFor "got 5 hello"
      local got = read(event.socket)
      run(function() return got.bytes == "bye" end)
      assert.equal(1, checkStats(r).kept)
    end)

    inBoth("reads a slot line of a record a byte, and what follows", function()
      local socket = connected(V, "handshake", [[bytes=7\r\nabc]], "wait")
      assert.equal(7, socket.slot)
      local got = read(socket)
      run(function() return got.bytes == "abc" end)
    end)

    inBoth("leaves what is behind the slot line, in its record and others",
      function()
        local socket, p = connected(V, "handshake", [[send=7\r\nabc]],
          "many=5000", "wait")
        p:waitFor "secured"
        local got = read(socket)
        run(function() return #got.bytes == 5003 end)
        assert.equal("abc" .. ("x"):rep(5000), got.bytes)
      end)

    inBoth("resumes a session", function()
      local p = peer(V, "handshake", [[send=1\r\n]], "wait")
      local r = rover(p.port)
      local events = record(r)
      connection(attempt(r, events)):close()
      p:waitFor "secured %S+ full"
      connection(attempt(r, events))
      p:waitFor "secured %S+ resumed"
    end)

    inBoth("is unreachable when the peer is mute, or slower than that",
      function()
        for _, step in ipairs { "mute", "slow" } do
          local p = peer(V, step)
          local event, r = outcome(p.port, { connectTimeout = 150 })
          assert.equal("unreachable", event.event)
          assert.equal("ETIMEDOUT", event.err.code)
          assert.equal("connected, but no TLS handshake within 150 ms; does it "
            .. "speak TLS?", event.err.message)
          assert.same({ ETIMEDOUT = 1 }, checkStats(r).causes)
        end
      end)

    inBoth("is unreachable when the peer ends or resets in the handshake",
      function()
        for _, steps in ipairs { { "fin" }, { "reset" },
            { "part=80", "fin" } } do
          local p = peer(V, table.unpack(steps))
          local event = outcome(p.port)
          assert.equal("unreachable", event.event)
          assert.equal("ECONNRESET", event.err.code)
          assert.matches("^connected, but the TLS handshake was broken off: ",
            event.err.message)
        end
      end)

    inBoth("is unreachable when there is no slot line behind the handshake",
      function()
        for _, case in ipairs {
          { "ETIMEDOUT", 100, "connected, but sent no slot line in 100 ms; is "
            .. "it a Callosum server?", "handshake", "wait" },
          { "ETIMEDOUT", 800, "connected, but sent no whole slot line in 800 "
            .. "ms; is it a Callosum server?", "handshake", "send=1", "wait" },
          { "EOF", 5000, "connected, but closed before a whole slot line",
            "handshake", "send=1", "end" },
          { "ECONNRESET", 5000, "connected, but sent no whole slot line: "
            .. "connection reset by peer", "handshake", "send=1", "fin" },
          { "ECONNRESET", 5000, "connected, but sent no slot line: connection "
            .. "reset by peer", "handshake", "reset" },
        } do
          local p = peer(V, table.unpack(case, 4))
          local event = outcome(p.port, { slotTimeout = case[2] })
          assert.equal("unreachable", event.event)
          assert.same({ case[1], case[3] },
            { event.err.code, event.err.message })
        end
      end)

    inBoth("is an error when it is no slot line, which is quoted", function()
      local p = peer(V, "handshake", [[send=HTTP/1.1 200 OK\r\n]], "wait")
      local event = outcome(p.port)
      assert.equal("error", event.event)
      assert.equal("EPROTO", event.err.code)
      assert.equal([[not a slot line: "HTTP/1.1 200 OK\r\n"]],
        event.err.message)
    end)

    inBoth("is an error when the certificate is refused, with the reason",
      function()
        for name, says in pairs { expired = "expired", wrongName = "127.0.0.1",
            strange = "which is neither in", notYet = "is not valid before",
            wrongPurpose = "extended key usage" } do
          local p = peer({ cert = fleet[name] }, V, "handshake", "wait")
          local event, r = outcome(p.port)
          assert.equal("error", event.event)
          assert.equal("ECERT", event.err.code)
          assert.equal("s", event.err.id)
          assert.matches(says, event.err.message, 1, true)
          assert.equal(1, checkStats(r).errors)
        end
      end)

    inBoth("is an error when ours is refused, or missing", function()
      local p = peer(V, "ca=" .. fleet.ca.file, "handshake",
        [[send=1\r\n]], "wait")
      for _, cert in ipairs { {}, fleet.strangeClient } do
        local event = outcome(p.port, { tls = { ca = fleet.ca.file,
          cert = cert.cert, key = cert.key } })
        assert.equal("error", event.event)
        assert.equal("ECERT", event.err.code, event.err.message)
      end
      connection(outcome(p.port, { tls = { ca = fleet.ca.file,
        cert = fleet.client.cert, key = fleet.client.key } }))
    end)

    inBoth("accepts a peer that offers this protocol", function()
      local p = peer(V, "alpn=callosum", "handshake", [[send=1\r\n]], "wait")
      connection(outcome(p.port))
      p:waitFor "secured %S+ full callosum"
    end)
  end)

  describe("a kept socket", function()
    local function kept(...)
      return connected(V, "handshake", [[send=1\r\n]], ...)
    end

    inBoth("closes at close_notify, and tells an end without it", function()
      for _, case in ipairs { { "end" }, { "fin", "ECONNRESET" },
          { "reset", "ECONNRESET" } } do
        for _, reads in ipairs { true, false } do
          local socket, p = kept("wait", case[1])
          local got = { }
          if reads then got = read(socket) end
          socket:on("close", function(err) got.closed, got.err = true, err end)
          socket:on("end", function() got.ended = true end)
          p:go()
          run(function() return got.closed end)
          assert.equal(case[2], got.err and got.err.code)
          assert.equal(case[2] == nil, got.ended == true)
          if case[1] == "end" then p:waitFor "gone" end
        end
      end
    end)

    inBoth("notices an end behind what is unread, which can then be read",
      function()
        local socket = kept("both=last words")
        local got
        socket:on("end", function() got = got or read(socket) end)
        run(function() return got and got.closed end)
        assert.equal("last words", got.bytes)
        assert.is_nil(got.err)
      end)

    inBoth("sends what was written before it ends", function()
      local socket, p = kept("wait", "finRead")
      local drained, done, ended
      local big = ("y"):rep(8 * 1024 * 1024)
      socket:on("drain", function() drained = socket:writeQueueSize() end)
      assert(socket:write(big))
      assert.is_true(socket:writeQueueSize() > 0)
      socket:write("z", function(err) done = err or true end)
      socket:shutdown(function(err) ended = err or true end)
      assert.equal("EPIPE", select(3, socket:write "!"))
      p:go()
      run(function() return ended end)
      assert.same({ true, true, 0 }, { done, ended, drained })
      p:waitFor("ended after " .. #big + 1)
    end)

    inBoth("is shut down by both sides, one after the other", function()
      local p = peer(V, "handshake", [[send=1\r\n]], "finRead", "send=after",
        "end")
      local socket = connection(outcome(p.port, { allowHalfOpen = true }))
      local got = read(socket)
      socket:shutdown()
      p:waitFor "ended after 0"
      run(function() return got.closed end)
      assert.same({ "after", nil }, { got.bytes, got.err })
    end)

    inBoth("carries a lot both ways at once", function()
      local socket, p = kept("echo")
      local got, size = read(socket), 4 * 1024 * 1024
      local sent = {}
      for i = 1, size // 1024 do sent[i] = ("%04d"):format(i):rep(256) end
      local whole = table.concat(sent)
      for i = 1, #sent, 64 do
        assert(socket:write(table.move(sent, i, i + 63, 1, {})))
      end
      run(function() return #got.bytes == size end)
      assert.is_true(got.bytes == whole)
      socket:shutdown()
      p:waitFor "ended"
    end)

    inBoth("is not read while it is paused", function()
      local socket, p = kept("many=300000", "end")
      local count = 0
      socket:on("data", function(chunk)
        count = count + #chunk
        socket:pause()
        assert.is_true(#chunk <= 65536)
        local timer = uv.new_timer()
        timer:start(1, 0, function()
          timer:close()
          socket:resume()
        end)
      end)
      local closed
      socket:on("end", function() socket:resume() end)
      socket:on("close", function(err) closed = err or true end)
      run(function() return closed end)
      assert.same({ 300000, true }, { count, closed })
      p:waitFor "done"
    end)

    inBoth("cannot be detached, and says why", function()
      local socket = kept("wait")
      local fd, message, code = socket:detach()
      assert.is_nil(fd)
      assert.equal("ENOTSUP", code)
      assert.matches("TLS", message)
      assert.is_false(socket.closed)
    end)

    inBoth("reports writes that its closing overtakes", function()
      local socket = kept("mute")
      local err
      assert(socket:write(("y"):rep(8 * 1024 * 1024), function(e) err = e end))
      socket:close()
      run(function() return err end)
      assert.equal("ECANCELED", err.code)
    end)
  end)
end)

describe("A rover with TLS", function()
  it("quotes a peer that speaks none", function()
    for _, case in ipairs { { "13\r\n", [["13\r\n"]] },
        { "HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP/1.1 400" },
        { "SSH-2.0-OpenSSH_9.2\r\n", "SSH-2.0" } } do
      local server = serve { send = case[1] }
      local event = outcome(server.port)
      assert.equal("error", event.event)
      assert.equal("EPROTO", event.err.code)
      assert.matches(case[2], event.err.message, 1, true)
    end
  end)

  -- openssl(1) as a server, which prints a slot line with each line of input.
  local function openssl(...)
    local child = support.spawn("openssl", { "s_server", "-accept",
      "127.0.0.1:0", "-cert", fleet.server.cert, "-key", fleet.server.key,
      ... }, { env = { LD_PRELOAD = false } })
    child.port = tonumber(child:waitFor "ACCEPT 127.0.0.1:(%d+)\n")
    return child
  end

  it("says that version or protocol do not suit", function()
    for says, options in pairs {
      ["version"] = { "-tls1_1", "-cipher", "ALL:@SECLEVEL=0" },
      ["protocol"] = { "-alpn", "h2" },
    } do
      local event = outcome(openssl(table.unpack(options)).port)
      assert.equal("error", event.event)
      assert.equal("EPROTO", event.err.code)
      assert.matches(says, event.err.message)
    end
  end)

  it("does not notice new keys and tickets, but as they are", function()
    for _, reads in ipairs { true, false } do
      local child = openssl("-tls1_3")
      local r = rover(child.port)
      local events = record(r)
      assert(r:connect())
      child:waitFor "CIPHER is"
      child:write "7\r\n"
      run(function() return events[1] end)
      local socket = connection(events[1])
      local got = reads and read(socket)
      -- What it is told before it answers, it has read apart from the rest.
      local function tell(line)
        child:write(line)
        assert(socket:write "words\n")
        child:waitFor "words\n"
      end
      for _ = 1, 3 do
        tell "K\n"
        tell "some\n"
      end
      got = got or read(socket)
      run(function() return got.bytes == ("some\n"):rep(3) end)
      assert.is_false(socket.closed)
      socket:close()
    end
  end)

  it("does not let a slow handshake delay others", function()
    local slow = peer("slow")
    local fast = peer("handshake", [[send=1\r\n]], "wait")
    local r = support.rover { tls = { ca = fleet.ca.file }, servers = {
      slow = { host = "127.0.0.1", port = slow.port },
      fast = { host = "127.0.0.1", port = fast.port } } }
    local events = record(r)
    for _ = 1, 8 do assert(r:connect "slow") end
    for _ = 1, 5 do
      local began, before = uv.hrtime(), #events
      assert(r:connect "fast")
      run(function() return #events > before end)
      assert.equal("connection", events[#events].event)
      assert.is_true((uv.hrtime() - began) / 1e6 < 3000)
    end
    r:stop()
  end)

  describe("and servers of their own TLS", function()
    it("connects to each as it is told", function()
      local plain = serve { send = "1\r\n" }
      local ours = peer("handshake", [[send=2\r\n]], "wait")
      local other = peer({ cert = fleet.strange }, "handshake", [[send=3\r\n]],
        "wait")
      local strange = { ca = fleet.otherCa.file }
      local r = support.rover { tls = { ca = fleet.ca.file }, servers = {
        plain = { host = "127.0.0.1", port = plain.port, tls = false },
        ours = { host = "127.0.0.1", port = ours.port },
      } }
      r:addServer("other", { host = "127.0.0.1", port = other.port,
        tls = strange })
      local events = record(r)
      for id, slot in pairs { plain = 1, ours = 2, other = 3 } do
        assert(r:connect(id))
        local before = #events
        run(function() return #events > before end)
        assert.same({ "connection", slot }, { events[#events].event,
          events[#events].slot })
      end
      local servers = r:servers()
      assert.is_false(servers.plain.tls)
      assert.is_nil(servers.ours.tls)
      assert.same(strange, servers.other.tls)
      assert.same({ 0, 0, 0 }, { r:setServers(servers) })
      servers.other.tls = nil
      assert.same({ 0, 0, 1 }, { r:setServers(servers) })
    end)

    it("says what is wrong with it", function()
      local r = support.rover {}
      local function add(tls)
        return pcall(r.addServer, r, "a", { host = "h", port = 1, tls = tls })
      end
      for says, tls in pairs {
        ["server 'a': tls: unknown field 'sreverName', nearest is "
          .. "'serverName'"] = { sreverName = "x" },
        ["server 'a': tls: table or boolean expected, got 1"] = 1,
        ["server 'a': tls: ca: "] = { ca = true },
      } do
        local ok, err = add(tls)
        assert.is_false(ok)
        assert.matches(says, err, 1, true)
      end
      local ok, added, message, code = add { ca = "/nowhere/ca.pem" }
      assert.is_true(ok)
      assert.is_nil(added)
      assert.equal("ENOENT", code)
      assert.matches("server 'a': tls: .*/nowhere/ca.pem", message)
      assert.is_false(r:hasServer "a")
    end)
  end)
end)

describe("A policy with TLS", function()
  local reloads = require "support.reloads"
  local logged, stop = support.logged, support.stop
  local fails, reload = reloads.fails, reloads.reload

  local function policy(more, tls)
    return ([[
      r = rover.new { tls = %s, servers = { s = at(1) } }
      r:on("error", function(err) log("failed", { code = err.code }) end)
      r:on("connection", function(slot, socket)
        %s
        log("got", { slot = slot, adopted = socket.adopted })
      end)
      connect(r, 1)
    ]]):format(tls or ("{ ca = %q }"):format(fleet.ca.file), more or "")
  end

  local TAKE = [[
    local state = socket.state
    state.count = state.count or 0
    socket:on("data", function(chunk)
      state.count = state.count + #chunk
      if state.count == 5003 then log "all" end
    end)
    socket:on("close", function(err) log("closed", { err = tostring(err) }) end)
  ]]

  it("keeps sockets over reloads, and gives the next one what is unread",
    function()
      local p = peer("handshake", [[send=1\r\nabc]], "many=5000", "read=5",
        "end")
      local child = reloads.start(policy(), p)
      logged(child, "got")
      reload(child)
      assert.is_true(logged(child, "got", 2).adopted)
      reload(child, policy(TAKE .. 'socket:write "hello"'))
      logged(child, "all")
      assert.equal("nil", logged(child, "closed").err)
      p:waitFor "got 5 hello"
      stop(child)
    end)

  it("sends what was written before a reload", function()
    local p = peer("handshake", [[send=1\r\n]], "wait", "finRead")
    local child = reloads.start(policy [[
      if host.generation == 1 then socket:write(("x"):rep(8 << 20)) end
    ]], p)
    logged(child, "got")
    reload(child, policy [[ socket:shutdown() ]])
    p:go()
    p:waitFor("ended after " .. (8 << 20))
    stop(child)
  end)

  it("reads its files anew, and is not replaced by one that cannot",
    function()
      local ca = support.tmpfile("", "ca.pem")
      local function become(other)
        local from <close> = assert(io.open(other))
        support.write(ca, from:read "a")
      end
      become(fleet.ca.file)
      local p = peer("handshake", [[send=1\r\n]], "wait")
      local tls = ("{ ca = %q }"):format(ca)
      -- A server that is added later, and stays, reads its own anew, too.
      local child = reloads.start(policy("", tls) .. ([[
        require "luv".new_timer():start(0, 0, function()
          local server = at(1)
          server.tls = %s
          if host.generation == 1 then r:addServer("own", server) end
          r:connect "own"
        end)
      ]]):format(tls), p)
      logged(child, "got", 2)
      reload(child)
      logged(child, "got", 5)
      become(fleet.server.key)
      local failure = fails(child)
      assert.matches("ca.pem", failure.error or tostring(failure.reason))
      become(fleet.otherCa.file)
      reload(child)
      assert.equal("ECERT", logged(child, "failed").code)
      stop(child)
    end)

  it("cancels attempts whose servers a reload may no longer trust", function()
    local p = peer("handshake", "wait", [[send=1\r\n]], "finRead")
    local child = reloads.start(policy(), p)
    p:waitFor "secured"
    reload(child, policy("", ("{ ca = %q }"):format(fleet.otherCa.file)) .. [[
      require "luv".new_timer():start(0, 0, function()
        log("stats", r:stats())
      end)
    ]])
    local stats = logged(child, "stats")
    assert.same({ 1, 0 }, { stats.cancelled, stats.inFlight })
    stop(child)
  end)

  it("goes on with attempts over a reload that trusts the same", function()
    local p = peer("handshake", "wait", [[send=1\r\n]], "finRead")
    local child = reloads.start(policy(), p)
    p:waitFor "secured"
    reload(child)
    reload(child)
    p:go()
    logged(child, "got")
    stop(child)
  end)

  it("has its handshakes and refusals in the host's status", function()
    local scrape = require "support.scrape"
    local p = peer("handshake", [[send=1\r\n]], "wait")
    local strange = peer({ cert = fleet.strange }, "handshake", "wait")
    local host = scrape.run(([[
      local r = require "callosum.rover".new { tls = { ca = %q },
        servers = { a = { host = "127.0.0.1", port = %d },
          b = { host = "127.0.0.1", port = %d } } }
      r:on("connection", function() end)
      r:on("error", function() end)
      r:connect "a"
      r:connect "b"
    ]]):format(fleet.ca.file, p.port, strange.port))
    local status
    run(function()
      status = host:status().rovers[1]
      return status.stats.kept == 1 and status.stats.errors == 1
    end)
    assert.same({ 1, 0 }, { status.stats.handshakes,
      status.stats.handshakesResumed })
    for _, server in ipairs(status.servers) do
      assert.equal(server.id == "b" and "ECERT" or nil,
        server.lastError and server.lastError.code)
    end
    host:stop()
  end)

  it("cannot begin with a file that is missing, in words that name it",
    function()
      local child = support.policy('require "callosum.rover".new '
        .. '{ tls = { ca = "/nowhere/ca.pem" } }')
      assert.equal(1, (child:wait()))
      assert.matches("/nowhere/ca.pem", child.output)
    end)

  it("has a pool and a relay over it, whose clients see no TLS", function()
    local p = peer("handshake", [[send=1\r\n]], "echo", "end")
    local r = rover(p.port, { rovingInterval = 20 })
    local pool = require "callosum.pool".new { maxSlots = 3 }:attach(r)
    local relay = require "callosum.relay".new { listen = { port = 0 },
      pick = function() return pool:awaitConnection() end }
    support.atEnd(function() relay:close() end)
    r:start()
    for _ = 1, 3 do
      local client = support.connect((select(2, relay:address())))
      client:write("hello\r\n")
      assert.equal("hello", client:line())
      client:shutdown()
      client:waitEnd()
      p:waitFor "ended"
    end
  end)
end)
