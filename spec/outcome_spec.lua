local support = require "support"
local uv = require "luv"

local attempt, record, rover = support.attempt, support.record, support.rover
local checkStats, closedPort = support.checkStats, support.closedPort
local run, serve, spawnLua = support.run, support.serve, support.spawnLua

-- A name that cannot exist, by RFC 6761.
local NOWHERE = "no-such-host.invalid"

describe("an attempt", function()
  -- What one attempt with these options ends in.
  local function outcome(options)
    local r = rover(options)
    local event = attempt(r, record(r))
    return event, r
  end

  -- Checks that an event is `unreachable` for this cause, and counted so.
  local function unreachable(code, message, event, r)
    assert.equal("unreachable", event.event)
    assert.equal("s", event.id)
    assert.same(r:servers().s, event.server)
    assert.equal(code, event.err.code)
    assert.equal("s", event.err.id)
    assert.equal(message, event.err.message)
    local what, advice = message:match "^([^;]*)(.*)$"
    assert.equal(("s: %s (%s)%s"):format(what, code, advice),
      tostring(event.err))
    local stats = r:stats()
    assert.equal(1, stats.attempts)
    assert.equal(1, stats.unreachable)
    assert.same({ [code] = 1 }, stats.causes)
    assert.same({}, r:sockets())
  end

  it("ends in `connection` when a valid slot line arrives", function()
    local server = serve { send = "13\r\n" }
    local event, r = outcome { port = server.port }
    assert.equal("connection", event.event)
    assert.equal(13, event.slot)
    assert.equal("s", event.id)
    assert.same({ host = "127.0.0.1", port = server.port }, event.server)
    assert.equal("s", event.socket.id)
    assert.same(event.server, event.socket.server)
    assert.same({ "127.0.0.1", server.port }, { event.socket:peername() })
    local stats = r:stats()
    assert.equal(1, stats.connections)
    assert.equal(1, stats.kept)
    assert.same({}, stats.causes)
  end)

  describe("ends in `unreachable`", function()
    it("with ECONNREFUSED when nobody listens", function()
      unreachable("ECONNREFUSED", "connection refused",
        outcome { port = closedPort() })
    end)

    it("with the resolver's cause when the name is not resolved", function()
      local event, r = outcome { host = NOWHERE, port = 4040 }
      assert.matches("^EAI_%u+$", event.err.code)
      assert.same({ host = NOWHERE, port = 4040 }, event.server)
      unreachable(event.err.code, event.err.message, event, r)
    end)

    it("with the name and the cause when it is not resolved", function()
      local event, r = outcome { host = "no;such'host.invalid", port = 4040 }
      assert.equal("unreachable", event.event)
      assert.equal(1, r:stats().unreachable)
      assert.matches("^s: name 'no;such'host.invalid' not resolved: .* %(EAI_",
        tostring(event.err))
    end)

    it("with EAI_NONAME when a zone is none, or not the address's to have",
      function()
        for _, host in ipairs { "fe80::42%nosuch", "fe80::42%", "fe80::42%3x",
            "fe80::42%4294967296", "::1%lo", "::1%1", "2001:db8::1%1",
            "127.0.0.1%lo", "localhost%lo", "%lo" } do
          unreachable("EAI_NONAME",
            ("name '%s' not resolved: unknown node or service"):format(host),
            outcome { host = host, port = 4040 })
        end
      end)

    it("with the cause when there is no way to the address", function()
      local r = rover { host = "255.255.255.255", port = 4040 }
      local event = attempt(r, record(r))
      unreachable(event.err.code, event.err.message, event, r)
    end)

    it("with ETIMEDOUT when nobody answers before `connectTimeout`", function()
      local began = uv.hrtime()
      unreachable("ETIMEDOUT", "no connection within 50 ms",
        outcome { port = support.blackHole(), connectTimeout = 50 })
      assert.is_true(uv.hrtime() - began >= 49e6)
    end)

    it("with EOF when the server closes before a line", function()
      for _, finish in ipairs { "close", "shutdown" } do
        unreachable("EOF", "connected, but closed before a slot line",
          outcome { port = serve { finish = finish }.port })
      end
    end)

    it("with EOF when the server closes within the line, wherever", function()
      for _, part in ipairs { "1", "13", "13\r", "2147483647\r" } do
        for _, finish in ipairs { "close", "shutdown" } do
          unreachable("EOF", "connected, but closed before a whole slot line",
            outcome { port = serve { send = part, finish = finish }.port })
        end
      end
    end)

    it("with ECONNRESET when the server resets before or within the line",
      function()
        for _, part in ipairs { "", "1", "13\r" } do
          local send = part ~= "" and part or nil
          local event, r =
            outcome { port = serve { send = send, finish = "reset" }.port }
          -- The reset may be here before the part is read.
          unreachable("ECONNRESET", event.err.message, event, r)
          assert.matches("^connected, but sent no w?h?o?l?e? ?slot line: "
            .. "connection reset by peer$", event.err.message)
        end
      end)

    it("with ETIMEDOUT when no line has come by `slotTimeout`", function()
      for _, part in ipairs { "", "1", "2147483647\r" } do
        local server = serve { send = part ~= "" and part or nil }
        local began = uv.hrtime()
        local event, r = outcome { port = server.port, slotTimeout = 50 }
        local message = part == ""
          and "connected, but sent no slot line in 50 ms"
          or "connected, but sent no whole slot line in 50 ms"
        local advice = "; is it a Callosum server?"
        unreachable("ETIMEDOUT", message .. advice, event, r)
        assert.is_true(uv.hrtime() - began >= 49e6)
        -- Nothing of the connection is left.
        server.peers[1]:waitEnd()
      end
    end)

    it("with ETIMEDOUT when the line comes drop by drop", function()
      local server
      server = serve { connection = function(peer)
        local timer = uv.new_timer()
        support.atEnd(function() timer:close() end)
        timer:start(0, 40, function()
          if not peer.closed then peer:write("1") end
        end)
      end }
      local event = outcome { port = server.port, slotTimeout = 100 }
      assert.equal("ETIMEDOUT", event.err.code)
    end)
  end)

  it("has no deadline where its timeout is 0", function()
    local server = serve {}
    local waiting = rover { port = server.port, slotTimeout = 0 }
    local other = rover { port = support.blackHole(), connectTimeout = 0 }
    local heard, others = record(waiting), record(other)
    waiting:connect()
    other:connect()
    -- One that begins after them, and has one, ends before.
    outcome { port = server.port, slotTimeout = 30 }
    outcome { port = server.port, slotTimeout = 30 }
    assert.same({ {}, {} }, { heard, others })
    assert.equal(1, waiting:stats().inFlight)
    assert.equal(1, other:stats().inFlight)
  end)

  describe("ends in `error`", function()
    it("with EPROTO when the server sends something else", function()
      local event, r = outcome { port = serve { send = "-1\r\n" }.port }
      assert.equal("error", event.event)
      assert.equal("EPROTO", event.err.code)
      assert.equal("s", event.err.id)
      assert.equal(1, r:stats().errors)
    end)

    it("when there are no servers", function()
      local event, r = outcome {}
      assert.equal("error", event.event)
      assert.equal("No servers to contact", event.err.message)
      assert.equal("EDESTADDRREQ", event.err.code)
      assert.is_nil(event.err.id)
      assert.equal("No servers to contact (EDESTADDRREQ)", tostring(event.err))
      assert.equal(1, r:stats().errors)
    end)

    it("when the last server is dropped", function()
      local r = rover { port = closedPort() }
      local events = record(r)
      assert.is_true(r:dropServer "s")
      assert.equal("No servers to contact", attempt(r, events).err.message)
    end)

    -- What a Lua program prints that has no descriptors left when it starts to
    -- rove, and some again from the first error on.
    local function starved(host, port)
      local child = spawnLua([[
        local uv = require "luv"
        local host, port = ...
        local r = require "callosum.rover".new {
          rovingInterval = 50, -- the first error comes before another
          servers = { s = { host = host, port = tonumber(port) } },
        }
        local files = {}
        repeat
          local file = uv.fs_open("/dev/null", "r", 0)
          files[#files + 1] = file
        until not file
        r:on("error", function(err)
          print(err.code, err.id, tostring(err))
          for _, file in ipairs(files) do uv.fs_close(file) end
          files = {}
        end)
        r:on("unreachable", function()
          local stats = r:stats()
          print("unreachable", stats.errors)
          r:close()
        end)
        r:on("connection", function(slot)
          local stats = r:stats()
          print(slot, stats.errors, stats.unreachable)
          r:close()
        end)
        r:start()
        uv.run()
      ]], { args = { host, tostring(port) }, descriptors = 40 })
      assert.equal(0, child:wait())
      assert.equal("", child.stderr)
      return child.stdout
    end

    local EMFILE = "EMFILE\ts\ts: this process has no descriptors left "
      .. "(EMFILE); raise its limit of open files (ulimit -n)\n"

    it("with EMFILE when this process has no descriptors left, and works "
      .. "again once it has", function()
      local server = serve { send = "13\r\n" }
      assert.equal(EMFILE .. "13\t1\t0\n", starved("127.0.0.1", server.port))
      assert.equal(EMFILE .. "13\t1\t0\n", starved("localhost", server.port))
    end)

    it("with EMFILE when there are none left to resolve a name with",
      function()
        -- Attempts that are made meanwhile share the look-up.
        local told = starved(NOWHERE, 4040)
        local count = #told:gsub("[^\n]", "") - 1
        assert.is_true(count >= 1)
        assert.equal(EMFILE:rep(count) .. ("unreachable\t%d\n"):format(count),
          told)
      end)
  end)

  describe("ends in silence and is counted as cancelled", function()
    -- Ways to an attempt that stays in flight, by the phase it is in.
    local phases = {
      ["resolving"] = function()
        return { host = NOWHERE, port = 4040 }, function() end
      end,
      ["connecting"] = function()
        return { port = support.blackHole() }, function() end
      end,
      ["waiting for the slot"] = function()
        local server = serve()
        return { port = server.port }, function()
          run(function() return #server.peers == 1 end)
          return server.peers[1]
        end
      end,
      ["within the line"] = function()
        local server = serve { send = "13\r" }
        return { port = server.port }, function()
          run(function() return #server.peers == 1 end)
          return server.peers[1]
        end
      end,
      ["about to be refused"] = function()
        return { port = closedPort() }, function() end
      end,
    }

    for phase, prepare in pairs(phases) do
      local function inFlight()
        local options, reach = prepare()
        local r = rover(options)
        local events = record(r)
        r:connect()
        local peer = reach()
        assert.equal(1, r:stats().inFlight)
        return r, events, peer
      end

      local function silent(r, events, peer)
        if peer then peer:waitEnd() end
        local stats = checkStats(r)
        assert.equal(1, stats.cancelled)
        assert.equal(0, stats.inFlight)
        assert.equal(0, stats.unreachable)
        assert.equal(0, stats.errors)
        -- What comes next is the next attempt's alone.
        r:dropServer "s"
        r:addServer("next", { host = "127.0.0.1", port = closedPort() })
        assert.equal("next", attempt(r, events).id)
        assert.equal(1, #events)
      end

      it("when its server is dropped while " .. phase, function()
        local r, events, peer = inFlight()
        assert.is_true(r:dropServer "s")
        silent(r, events, peer)
      end)

      it("when its server's address is replaced while " .. phase, function()
        local r, events, peer = inFlight()
        r:addServer("s", { host = "127.0.0.1", port = closedPort() })
        silent(r, events, peer)
      end)

      it("when the rover is stopped while " .. phase, function()
        local r, events, peer = inFlight()
        r:stop()
        silent(r, events, peer)
      end)

      it("when the rover is closed while " .. phase, function()
        local r, events, peer = inFlight()
        r:close()
        if peer then peer:waitEnd() end
        local other = rover { port = closedPort() }
        attempt(other, record(other))
        assert.same({}, events)
      end)
    end

    it("when there was nobody to ask", function()
      local r = rover()
      local events = record(r)
      r:connect():stop()
      assert.equal(1, checkStats(r).cancelled)
      r:addServer("s", { host = "127.0.0.1", port = closedPort() })
      assert.equal("unreachable", attempt(r, events).event)
    end)

    it("but not when its server is added again as it is", function()
      local server = serve()
      local r = rover { port = server.port }
      local events = record(r)
      r:connect()
      run(function() return #server.peers == 1 end)
      r:addServer("s", { host = "127.0.0.1", port = server.port })
      server.peers[1]:write("13\r\n")
      run(function() return #events > 0 end)
      assert.equal(13, events[1].slot)
      assert.equal(0, r:stats().cancelled)
    end)

    it("and the attempts to other servers go on", function()
      local a, b = serve(), serve()
      local r = rover { servers = {
        a = { host = "127.0.0.1", port = a.port },
        b = { host = "127.0.0.1", port = b.port },
      } }
      local events = record(r)
      while #a.peers == 0 or #b.peers == 0 do
        assert.truthy(r:connect())
        local stats = r:stats()
        run(function() return #a.peers + #b.peers == stats.attempts end)
      end
      local toA = #a.peers
      r:dropServer "a"
      assert.equal(toA, r:stats().cancelled)
      for _, peer in ipairs(b.peers) do peer:write("1\r\n") end
      run(function() return #events == #b.peers end)
      for _, event in ipairs(events) do assert.equal("b", event.id) end
    end)
  end)

  describe("reaches", function()
    local function reaches(host, listener)
      local server = serve { host = listener, send = "5\r\n" }
      local event, r = outcome { host = host, port = server.port }
      assert.equal("connection", event.event)
      assert.equal(5, event.slot)
      assert.same({ host = host, port = server.port }, event.server)
      assert.equal(listener, (event.socket:peername()))
      assert.same({}, r:stats().causes)
    end

    it("localhost when the server listens on ::1 only", function()
      reaches("localhost", "::1")
    end)

    it("localhost when the server listens on 127.0.0.1 only", function()
      reaches("localhost", "127.0.0.1")
    end)

    it("localhost however it is written", function()
      reaches("LocalHost", "127.0.0.1")
      reaches("localhost.", "127.0.0.1")
    end)

    it("an IPv4 literal", function()
      reaches("127.0.0.1", "127.0.0.1")
      reaches("127.9.8.7", "127.9.8.7")
    end)

    it("a name that the resolver knows", function()
      -- No literal to us, yet to be had without a network.
      local server = serve { send = "5\r\n" }
      local event = outcome { host = "127.1", port = server.port }
      assert.equal("127.0.0.1", (event.socket:peername()))
    end)

    it("an IPv6 literal", function()
      reaches("::1", "::1")
      reaches("0:0:0:0:0:0:0:1", "::1")
    end)

    it("nobody under an address of the other family", function()
      local server = serve { host = "::1", send = "5\r\n" }
      local event = outcome { host = "127.0.0.1", port = server.port }
      assert.equal("ECONNREFUSED", event.err.code)
    end)

    it("nobody under localhost when neither address listens: one event",
      function()
        unreachable("ECONNREFUSED", "connection refused",
          outcome { host = "localhost", port = closedPort() })
      end)

    it("the second address of localhost when the first swallows packets",
      function()
        -- A full queue of ::1 behaves so.
        local handle = uv.new_tcp()
        finally(function() handle:close() end)
        local server = serve { send = "5\r\n" }
        assert(handle:bind("::1", server.port))
        local accepting = false
        assert(handle:listen(0, function() accepting = true end))
        local first = support.connect(server.port, "::1")
        run(function() return first.connected and accepting end)
        local second = support.connect(server.port, "::1")
        run(function() return second.connected end)
        local event = outcome { host = "localhost", port = server.port,
          connectTimeout = 1000 }
        assert.equal("connection", event.event)
        assert.equal("127.0.0.1", (event.socket:peername()))
      end)
  end)

  it("adds up in the stats with others of every kind", function()
    local silent = serve()
    local r = rover { slotTimeout = 30 }
    local events = record(r)
    local function once(port, code)
      r:addServer("s", { host = "127.0.0.1", port = port })
      local event = attempt(r, events)
      assert.equal(code, event.err and event.err.code)
      r:dropServer "s"
    end
    once(serve { send = "1\r\n" }.port)
    once(serve { send = "2\r\n", finish = "close" }.port)
    once(closedPort(), "ECONNREFUSED")
    once(closedPort(), "ECONNREFUSED")
    once(serve { finish = "close" }.port, "EOF")
    once(silent.port, "ETIMEDOUT")
    once(serve { send = "x" }.port, "EPROTO")
    assert.equal("EDESTADDRREQ", attempt(r, events).err.code)
    r:addServer("s", { host = "127.0.0.1", port = silent.port })
    r:connect()
    run(function() return #silent.peers == 2 end)
    r:dropServer "s"
    r:addServer("s", { host = "127.0.0.1", port = silent.port })
    r:connect()
    run(function() return r:stats().kept == 1 end)

    assert.same({
      attempts = 10, connections = 2, unreachable = 4, errors = 2,
      cancelled = 1, inFlight = 1, skipped = 0, kept = 1, closed = 1,
      rejected = 0, handshakes = 0, handshakesResumed = 0,
      causes = { ECONNREFUSED = 2, EOF = 1, ETIMEDOUT = 1 },
    }, checkStats(r))
    r:stop()
  end)
end)
