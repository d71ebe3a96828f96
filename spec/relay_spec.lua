local callosum = require "callosum.relay"
local relays = require "support.relays"
local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local connect, kept, picking = relays.connect, relays.kept, relays.picking
local misuse, reached, run = support.misuse, relays.reached, support.run
local relay = relays.relay

describe("callosum.relay", function()
  local function nothing() end

  -- A relay that nothing treats specially, so that misuse is blamed on its
  -- real caller.
  local function plain(options)
    options.listen = options.listen or { port = 0 }
    options.pick = options.pick or nothing
    local r = assert(callosum.new(options))
    finally(function() r:close(0) end)
    return r
  end

  -- A client that a relay has accepted.
  local function accepted(r)
    local count = r:stats().waiting
    local client = connect(r)
    reached(r, "waiting", count + 1)
    return client
  end

  -- Runs until a peer was closed by the other side, without a byte.
  local function closed(peer)
    peer:waitEnd()
    assert.equal("", peer.received)
  end

  describe("new", function()
    it("listens where it is told", function()
      local r = plain {}
      local host, port = r:address()
      assert.equal("127.0.0.1", host)
      assert.equal(("relay 'main' (127.0.0.1:%d)"):format(port), tostring(r))
      assert.is_true(connect(r):write("x").handle ~= nil)
      reached(r, "waiting")
      r = plain { name = "v6", listen = { host = "::1", port = 0 } }
      host, port = r:address()
      assert.equal("::1", host)
      assert.equal(("relay 'v6' ([::1]:%d)"):format(port), tostring(r))
      connect(r)
      reached(r, "waiting")
      r = plain { listen = { host = "localhost", port = 0 } }
      assert.equal("127.0.0.1", (r:address()))
    end)

    it("takes clients of both IP versions at ::", function()
      local r = plain { listen = { host = "::", port = 0 } }
      local _, port = r:address()
      support.connect(port, "127.0.0.1")
      support.connect(port, "::1")
      reached(r, "waiting", 2)
    end)

    it("listens again at once where it has just listened", function()
      local r = plain { pick = picking(kept()) }
      local _, port = r:address()
      local client = connect(r):write("x")
      reached(r, "running")
      r:close(0)
      client:waitEnd()
      r = plain { listen = { port = port } }
      assert.equal(port, select(2, r:address()))
    end)

    it("returns what went wrong", function()
      local _, port = plain({}):address()
      local options = { listen = { port = port }, pick = nothing, name = "b" }
      local r, message, code = callosum.new(options)
      assert.same({ nil, ("relay 'b': cannot listen on 127.0.0.1:%d: address "
        .. "already in use; stop what listens there, or choose another port")
        :format(port), "EADDRINUSE" }, { r, message, code })
      options.listen = { host = "192.0.2.1", port = 0 }
      r, message, code = callosum.new(options)
      assert.same({ nil, "relay 'b': cannot listen on 192.0.2.1:0: no "
        .. "interface of this machine has that address", "EADDRNOTAVAIL" },
        { r, message, code })
    end)

    it("refuses options that are wrong", function()
      local function refused(options, message)
        misuse(function() callosum.new(options) end,
          "bad argument #1 to 'new' (" .. message .. ")")
      end
      local listen, pick = { port = 0 }, nothing
      refused(nil, "table expected, got nil")
      refused({ listen = listen }, "pick: function expected, got nil")
      refused({ pick = pick },
        "listen: table {host=, port=} or {path=, mode=} expected, got nil")
      refused({ listen = listen, pick = 5 },
        "pick: function expected, got number")
      refused({ listen = listen, pick = pick, returnSocket = true },
        "returnSocket: function expected, got boolean")
      refused({ listen = listen, pick = pick, waitTimeOut = 1 },
        "unknown option 'waitTimeOut', nearest is 'waitTimeout'")
      refused({ listen = listen, pick = pick, name = "" },
        "name: string of 1 to 255 bytes expected, got an empty one")
      refused({ listen = listen, pick = pick, maxClients = 0 },
        "maxClients: integer from 1 to 4294967295 expected, got 0")
      for _, name in ipairs { "waitTimeout", "idleTimeout", "halfCloseTimeout",
          "drainTimeout" } do
        refused({ listen = listen, pick = pick, [name] = -1 },
          name .. ": integer from 0 to 4294967295 expected, got -1")
      end
      local function wrong(address, message)
        refused({ listen = address, pick = pick }, "listen: " .. message)
      end
      wrong({ prt = 5 }, "unknown field 'prt', nearest is 'port'")
      wrong({}, "port: integer from 0 to 65535 expected, got nil")
      wrong({ port = 65536 },
        "port: integer from 0 to 65535 expected, got 65536")
      wrong({ port = 0, host = "example.org" }, "host: an IP address or "
        .. "'localhost' expected, got 'example.org'")
      wrong({ port = 0, host = "" },
        "host: string of 1 to 255 bytes expected, got an empty one")
      wrong({ port = 0, path = "/tmp/x" },
        "either host and port, or path and mode")
      wrong({ port = 0, mode = "0600" },
        "either host and port, or path and mode")
      for _, mode in ipairs { 600, 384, "0o600", "888", "", "01777", "0" } do
        wrong({ path = "/tmp/x", mode = mode }, ("mode: text of octal digits "
          .. "such as '0660' expected, got %s")
          :format(type(mode) == "string" and "'" .. mode .. "'" or mode))
      end
      wrong({ path = ("p"):rep(108) }, "path: string of 1 to 107 bytes "
        .. "expected, got one that is too long or contains NUL")
    end)

    it("needs to be kept by nobody", function()
      local _, port = plain({}):address()
      collectgarbage()
      collectgarbage()
      local client = support.connect(port)
      run(function() return client.connected end)
    end)
  end)

  describe("pick", function()
    it("is called once for a client, and joins it", function()
      local rover, server = kept(2)
      local calls, clients = 0, {}
      local r = relay { pick = function(client)
        calls = calls + 1
        clients[calls] = client
        assert.is_true(client.waiting)
        local host, port = client:peername()
        assert.equal("127.0.0.1", host)
        assert.is_true(port > 0)
        return rover:sockets()[1]
      end }
      local one, other = connect(r), connect(r)
      reached(r, "running", 2)
      one:write("from one\n")
      other:write("from other\n")
      server.peers[1]:take "^from (%w+)\n"
      server.peers[2]:take "^from (%w+)\n"
      assert.equal(2, calls)
      assert.is_false(clients[1].waiting)
      assert.equal("client", tostring(clients[1]))
    end)

    it("gives a socket that leaves its rover, as a detached one", function()
      local rover, server = kept(1)
      local socket = rover:sockets()[1]
      local notes = sockets.note(socket)
      local r = relay { pick = function() return socket end }
      local client = connect(r):write("x")
      server.peers[1]:take "x"
      assert.same({}, rover:sockets())
      assert.is_true(socket.closed)
      assert.same({ "close" }, notes)
      local stats = rover:stats()
      assert.same({ 0, 1 }, { stats.kept, stats.closed })
      rover:close()
      client:write("y")
      server.peers[1]:take "y"
    end)

    it("may give the sockets of several rovers, and when it is asked",
        function()
      local one, server = kept(1)
      local other, another = kept(1)
      local list = { one:sockets()[1], other:sockets()[1] }
      local r = relay { pick = function() return table.remove(list, 1) end }
      connect(r):write("first")
      assert.equal("first", server.peers[1]:take "first")
      connect(r):write("second")
      assert.equal("second", another.peers[1]:take "second")
    end)

    it("lets a client wait by giving nothing, and is asked again when a socket "
        .. "is kept", function()
      local rover, server = kept(0)
      local calls = 0
      local r = relay { pick = function()
        calls = calls + 1
        return rover:sockets()[1]
      end }
      local first = connect(r):write("first")
      reached(r, "waiting", 1)
      connect(r):write("second")
      reached(r, "waiting", 2)
      assert.equal(2, calls)
      rover:connect()
      reached(r, "running", 1)
      assert.equal("first", server.peers[1]:take "first")
      assert.equal(1, r:stats().waiting)
      assert.equal(4, calls) -- and once for the second one, in vain
      rover:connect()
      reached(r, "running", 2)
      assert.equal("second", server.peers[2]:take "second")
      server.peers[1]:write("done")
      assert.equal("done", first:take "done")
    end)

    it("is asked again in the next turn after relay:offer()", function()
      local rover = kept(2)
      local ready, calls = false, 0
      local r = relay { pick = function()
        calls = calls + 1
        return ready and rover:sockets()[1] or nil
      end }
      connect(r)
      connect(r)
      connect(r)
      reached(r, "waiting", 3)
      assert.equal(r, r:offer():offer())
      assert.equal(3, calls) -- never from within the call
      run(function() return calls > 3 end)
      assert.same({ 4, 3 }, { calls, r:stats().waiting })
      ready = true
      r:offer()
      assert.equal(3, r:stats().waiting)
      reached(r, "running", 2)
      assert.equal(1, r:stats().waiting)
    end)

    it("may call offer(), which then does nothing", function()
      local r
      local calls = 0
      r = relay { pick = function()
        calls = calls + 1
        r:offer()
      end }
      connect(r)
      reached(r, "waiting")
      assert.equal(1, calls)
      r:offer()
      run(function() return calls > 1 end)
      sockets.settle()
      assert.equal(2, calls)
    end)

    it("may close the relay, and run the loop until it is gone", function()
      if not support.NESTS then
        return pending "luv runs no loop within itself"
      end
      local r, closing
      local calls = 0
      r = relay { pick = function(client)
        calls = calls + 1
        if not closing then return end
        local gone
        client:on("close", function() gone = true end)
        r:close(0)
        run(function() return gone and not pcall(r.stats, r) end)
      end }
      connect(r)
      connect(r)
      reached(r, "waiting", 2)
      calls, closing = 0, true
      r:offer()
      run(function() return calls > 0 end)
      assert.equal(1, calls)
    end)

    it("may have a client whose end closes the relay, and runs the loop",
      function()
        if not support.NESTS then
          return pending "luv runs no loop within itself"
        end
        local r
        local ended = 0
        r = relay { waitTimeout = 20, pick = function(client)
          client:on("close", function()
            ended = ended + 1
            if ended > 1 then return end
            r:close(0)
            run(function() return not pcall(r.stats, r) end)
          end)
        end }
        r:on("error", nothing)
        connect(r)
        connect(r)
        run(function() return ended == 2 end)
      end)

    it("may be asked while finalizers run the loop, and close the relay",
      function()
        if not support.NESTS then
          return pending "luv runs no loop within itself"
        end
        -- In a small state, of which garbage is collected often.
        local child = support.spawnLua [[
          local relay, uv = require "callosum.relay", require "luv"
          local made, runs, nested, over, r = 0, 0, false, false, nil
          local function nothing() end
          local function arm()
            setmetatable({}, { __gc = function()
              if over then return end
              runs = runs + 1
              if not nested then
                nested = true
                if runs % 8 == 0 then
                  uv.sleep(2)
                  uv.run "nowait"
                end
                if runs % 24 == 0 and r then
                  r:close(0)
                  r = nil
                  for _ = 1, 5 do uv.run "nowait" end
                end
                nested = false
              end
              arm()
            end })
          end
          local function connect(port)
            local c = uv.new_tcp()
            local function close() if not c:is_closing() then c:close() end end
            c:connect("127.0.0.1", port, function(err)
              if err then return close() end
              c:read_start(function(_, chunk) if not chunk then close() end end)
            end)
          end
          collectgarbage("incremental", 0, 1000, 1)
          arm()
          while made < 3000 do
            if not r then
              r = assert(relay.new { listen = { port = 0 }, waitTimeout = 1,
                name = "r" .. runs, pick = function(client)
                  client:on("close", nothing)
                  local _ = { {} }
                end })
              r:on("error", nothing)
            end
            for _ = 1, 4 do
              local open, _, port = pcall(r and r.address, r)
              if open then connect(port) end
              made = made + 1
            end
            for _ = 1, 10 do uv.run "nowait" end
          end
          over = true
          if r then r:close(0) end
          uv.run()
        ]]
        assert.same({ 0, 0 }, { child:wait() }, child.output)
        assert.equal("", child.output)
      end)

    it("may run the loop until another relay is gone", function()
      if not support.NESTS then
        return pending "luv runs no loop within itself"
      end
      local server = support.serve { send = "0\r\n" }
      local child = support.spawnLua([[
        local relay, rover = require "callosum.relay", require "callosum.rover"
        local uv = require "luv"
        local relays, offered = {}, {}
        local r = rover.new { servers = {
          a = { host = "127.0.0.1", port = tonumber(arg[1]) } } }
        for i = 1, 4 do
          relays[i] = assert(relay.new { name = "r" .. i, listen = { port = 0 },
            pick = function()
              offered[#offered + 1] = i
              if i > 1 or #r:sockets() == 0 then return end
              for k = 2, 3 do relays[k]:close(0) end
              for _ = 1, 10 do uv.run "nowait" end -- both are freed
              collectgarbage()
            end })
        end
        local clients = {}
        for i = 1, 4 do
          local _, port = relays[i]:address()
          clients[i] = uv.new_tcp()
          clients[i]:connect("127.0.0.1", port)
          while #offered < i do uv.run "once" end
        end
        r:on("connection", function() end)
        r:connect()
        while #offered < 6 do uv.run "once" end
        print(table.concat(offered, " "))
        os.exit(true, true)
      ]], { args = { tostring(server.port) } })
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal("1 2 3 4 1 4\n", child.output)
    end)

    it("may keep the client, and join it later", function()
      local rover, server = kept(1)
      local client
      local r = relay { pick = function(c) client = c end }
      connect(r):write("x")
      reached(r, "waiting")
      assert.equal("client (waiting)", tostring(client))
      assert.equal(client, client:join(rover:sockets()[1]))
      server.peers[1]:take "x"
      assert.is_false(client.waiting)
      assert.same({ nil, "the client is no longer waiting", "ECANCELED" },
        { client:join(rover:sockets()[1] or sockets.plain()) })
      assert.same({ nil, "the client is no longer waiting", "ECANCELED" },
        { client:peername() })
      assert.equal(client, client:refuse())
      assert.equal(client, client:on("close", nothing))
    end)

    it("may join the client itself", function()
      local rover, server = kept(1)
      local r = relay { pick = function(client)
        assert(client:join(rover:sockets()[1]))
      end }
      connect(r):write("x")
      server.peers[1]:take "x"
    end)

    it("may wait for a socket in a coroutine", function()
      local rover, server = kept(2)
      local waiting = {}
      local calls = 0
      local r = relay { pick = function()
        calls = calls + 1
        waiting[#waiting + 1] = coroutine.running()
        return coroutine.yield()
      end }
      connect(r):write("one\n")
      reached(r, "waiting", 1)
      connect(r):write("two\n")
      reached(r, "waiting", 2)
      r:offer() -- those that wait so are not offered again
      sockets.settle()
      assert.equal(2, calls)
      assert(coroutine.resume(waiting[2], rover:sockets()[1]))
      reached(r, "running", 1)
      run(function()
        return (server.peers[1].received .. server.peers[2].received)
          == "two\n"
      end)
      assert(coroutine.resume(waiting[1], nil, "nobody came"))
      assert.equal(1, r:stats().waiting)
      r:offer()
      run(function() return calls == 3 end)
      assert(coroutine.resume(waiting[3], rover:sockets()[1]))
      reached(r, "running", 2)
    end)

    it("gives back a socket whose client has gone meanwhile", function()
      local rover = kept(2)
      local waiting, back = nil, nil
      local function pick()
        waiting = coroutine.running()
        return coroutine.yield()
      end
      local r = relay { pick = pick, returnSocket = function(s) back = s end }
      accepted(r):close()
      reached(r, "gone")
      local socket = rover:sockets()[1]
      assert(coroutine.resume(waiting, socket))
      assert.equal(socket, back)
      assert.is_false(socket.closed)
      r = relay { pick = pick }
      accepted(r):close()
      reached(r, "gone")
      assert(coroutine.resume(waiting, socket))
      assert.is_true(socket.closed)
      assert.equal(1, #rover:sockets())
    end)

    it("gives back a socket that cannot be joined, once its client is closed",
        function()
      local rover, server = kept(1)
      sockets.deaf(server.peers[1])
      local socket = rover:sockets()[1]
      socket:write(("x"):rep(sockets.PLENTY))
      local r, errors, client, waiting
      local calls = 0
      r, errors = relay {
        pick = function(c)
          client, calls = c, calls + 1
          return socket
        end,
        returnSocket = function(s)
          assert.equal(socket, s)
          waiting = client.waiting
          r:offer()
        end,
      }
      closed(connect(r))
      assert.same({ 1, false }, { calls, waiting })
      assert.equal("the picked socket cannot be used: resource busy or locked "
        .. "(EBUSY)", tostring(errors[1]))
      assert.is_false(socket.closed)
    end)

    it("knows by relay.client() for whom it picks", function()
      local clientOf = require "callosum.relay".client
      local rover = kept(1)
      local calls, waiting, found = 0, nil, {}
      local function deep(n)
        if n > 0 then return (deep(n - 1)) end -- no tail call
        return clientOf()
      end
      local r = relay { pick = function(client)
        calls = calls + 1
        found = { client, clientOf(), deep(1), deep(100),
          select(2, pcall(clientOf)), coroutine.wrap(clientOf)() }
        waiting = coroutine.running()
        local socket = coroutine.yield()
        found = { client, clientOf() }
        return socket
      end }
      connect(r)
      reached(r, "waiting")
      assert.equal(5, #found)
      for i = 2, 5 do assert.equal(found[1], found[i]) end
      assert.is_nil(clientOf())
      assert(coroutine.resume(waiting, rover:sockets()[1]))
      assert.equal(1, calls)
      assert.is_truthy(found[1])
      assert.equal(found[1], found[2])
    end)

    it("may be asked again by a finalizer at any time", function()
      local r
      local over = false
      local function arm()
        setmetatable({}, { __gc = function()
          if over then return end
          if r then r:offer() end
          arm()
        end })
      end
      finally(function()
        over = true
        collectgarbage("incremental", 200, 100)
      end)
      r = relay { pick = function(client) return nil, tostring(client) end }
      collectgarbage("incremental", 1, 1000)
      arm()
      for _ = 1, 200 do
        connect(r)
        for _ = 1, 50 do local _ = { {} } end
      end
      reached(r, "waiting", 200)
    end)

    -- Runs a program whose `pick` is given, with one client; returns what luv
    -- says of errors.
    local function picked(pick)
      local child = support.spawnLua(([[
        local uv = require "luv"
        local s = assert(require "callosum.relay".new { listen = { port = 0 },
          pick = function() %s end })
        local client = uv.new_tcp()
        client:connect("127.0.0.1", select(2, s:address()), function()
          client:read_start(function(err, chunk)
            print(err, chunk, s:stats().refused)
            client:close()
            s:close()
          end)
        end)
        uv.run()
      ]]):format(pick))
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal("nil\tnil\t1\n", child.stdout)
      return child.stderr
    end

    it("closes the client when it raises an error", function()
      assert.matches("child.lua:%d+: no idea\n", picked 'error "no idea"')
    end)

    it("closes the client when it gives something else", function()
      assert.matches("pick: a socket or nothing expected, got number\n",
        picked "return 5")
    end)

    it("closes the client when it raises an error after it waited", function()
      local waiting
      local r = plain { pick = function()
        waiting = coroutine.running()
        coroutine.yield()
        error "no idea"
      end }
      local client = connect(r)
      reached(r, "waiting")
      local ok, err = coroutine.resume(waiting)
      assert.is_false(ok)
      assert.matches("no idea", err)
      closed(client)
      assert.equal(1, r:stats().refused)
    end)

    it("is asked for another when the server has just ended the socket",
        function()
      local rover, server = kept(2)
      local list = rover:sockets()
      local ends = {} -- the servers' ends, by the port of ours
      for _, peer in ipairs(server.peers) do
        ends[peer.handle:getpeername().port] = peer
      end
      local function other(socket)
        return ends[select(2, socket:sockname())]
      end
      local calls = 0
      local r = relay { pick = function()
        calls = calls + 1
        -- Nobody has told the rover yet.
        if calls == 1 then other(list[1]).handle:close() end
        return list[calls]
      end }
      local client = connect(r):write("x")
      other(list[2]):take "x"
      assert.is_false(client.ended)
      assert.equal(0, #rover:sockets())
      assert.equal(2, calls)
    end)

    it("is asked no more once it gave a dozen sockets that are closed",
        function()
      local rover = kept(1)
      local socket = rover:sockets()[1]
      socket:close()
      local calls = 0
      local r, errors = relay { pick = function()
        calls = calls + 1
        return socket
      end }
      closed(connect(r))
      assert.equal(17, calls)
      assert.equal("the picked socket cannot be used: socket is not connected "
        .. "(ENOTCONN)", tostring(errors[1]))
    end)

    it("cannot join a socket that has yet to send what was written", function()
      local rover, server = kept(1)
      sockets.deaf(server.peers[1])
      local socket = rover:sockets()[1]
      socket:write(("x"):rep(sockets.PLENTY))
      local client
      local r = relay { pick = function(c) client = c end }
      connect(r)
      reached(r, "waiting")
      assert.equal("EBUSY", select(3, client:join(socket)))
      assert.is_true(client.waiting)
      assert.is_false(socket.closed)
      socket:close()
      assert.same({ nil, "the socket is closed", "ENOTCONN" },
        { client:join(socket) })
      misuse(function() client:join(client) end,
        "bad argument #1 to 'join' (callosum.socket expected, got "
        .. "callosum.client)")
    end)
  end)

  describe("a client that waits", function()
    it("is read not a byte of", function()
      local r = relay()
      local client = connect(r)
      client.handle:write(("x"):rep(sockets.PLENTY))
      reached(r, "waiting")
      sockets.settle()
      assert.equal(0, r:stats().received)
      assert.is_true(client.handle:write_queue_size() > 0)
    end)

    it("is closed after waitTimeout, and the error says why", function()
      local r, errors = relay { waitTimeout = 50, pick = function()
        return nil, "all sockets\0are lent", "EAGAIN"
      end }
      local from = uv.now()
      local client = connect(r)
      closed(client)
      local took = uv.now() - from
      assert.is_true(took >= 49, took)
      assert.equal("ETIMEDOUT", errors[1].code)
      assert.equal("no socket for a client in 50 ms: all sockets\0are lent "
        .. "(ETIMEDOUT)", tostring(errors[1]))
      assert.equal(1, r:stats().expired)
    end)

    it("is closed in its turn", function()
      local r, errors = relay { waitTimeout = 800 }
      local one = connect(r)
      reached(r, "waiting", 1)
      local timer, other = uv.new_timer(), nil
      timer:start(400, 0, function()
        timer:close()
        other = connect(r)
      end)
      closed(one)
      assert.is_false(other.ended)
      assert.equal("no socket for a client in 800 ms", errors[1].message)
      closed(other)
    end)

    it("tells by `close` that it is gone, and why", function()
      local told = {}
      local r, errors = relay { waitTimeout = 50, pick = function(client)
        client:on("close", function(err)
          told[#told + 1] = err and err.code or "gone"
          assert.is_false(client.waiting)
        end)
      end }
      accepted(r):close()
      reached(r, "gone", 1)
      accepted(r):reset()
      reached(r, "gone", 2)
      closed(connect(r))
      assert.same({ "gone", "gone", "ETIMEDOUT" }, told)
      assert.equal(1, #errors)
    end)

    it("has handlers that can be taken away", function()
      local r
      local function never() error "called" end
      r = relay { pick = function(client)
        assert.equal(client, client:on("close", never))
        assert.equal(client, client:off("close", never))
        client:refuse()
      end }
      closed(connect(r))
      local client
      r = plain { pick = function(c) client = c end }
      connect(r)
      reached(r, "waiting")
      misuse(function() client:on("closed", nothing) end, "bad argument #1 to "
        .. "'on' (unknown event 'closed', nearest is 'close')")
      misuse(function() client:on("close", nil) end,
        "bad argument #2 to 'on' (function expected, got nil)")
    end)

    it("waits on after its end if it has sent something", function()
      local rover, server = kept(0)
      local r = relay { pick = picking(rover) }
      local client = connect(r):write("question"):shutdown()
      reached(r, "waiting")
      sockets.settle()
      sockets.settle()
      assert.equal(1, r:stats().waiting)
      rover:connect()
      reached(r, "running")
      assert.equal("question", server.peers[1]:take "question")
      assert.is_nil(server.peers[1]:waitEnd())
      server.peers[1]:write("answer"):shutdown()
      assert.equal("answer", client:take "answer")
      assert.is_nil(client:waitEnd())
      reached(r, "ended")
    end)

    it("that has gone before it was accepted is joined with nothing",
      function()
        local rover = kept(1)
        for _, listen in ipairs { { port = 0 }, { path = relays.path() } } do
          local r = relay { name = listen.path, listen = listen,
            pick = picking(rover) }
          -- As a health check does: both before the relay looks.
          local client = connect(r)
          client.handle:shutdown()
          client:close()
          reached(r, "gone")
          assert.equal(0, r:stats().joined)
        end
        assert.equal(1, #rover:sockets())
      end)

    it("is gone when it resets after it has sent something", function()
      local r = relay()
      local client = connect(r):write("question"):shutdown()
      reached(r, "waiting")
      sockets.settle()
      client:reset()
      reached(r, "gone")
    end)

    it("may be refused, with a reason for the error or without", function()
      local clients = {}
      local r, errors = relay { pick = function(client)
        clients[#clients + 1] = client
      end }
      local one, other = connect(r), connect(r)
      reached(r, "waiting", 2)
      assert.equal(clients[1], clients[1]:refuse())
      assert.equal(clients[2], clients[2]:refuse("not\0today; later"))
      closed(one)
      closed(other)
      assert.equal(1, #errors)
      assert.equal("not\0today; later", errors[1].message)
      assert.equal("not\0today; later (ECANCELED)", tostring(errors[1]))
      assert.equal(2, r:stats().refused)
      misuse(function() clients[1]:refuse(5) end,
        "bad argument #1 to 'refuse' (string expected, got number)")
    end)

    it("gives way to a newer one when there are too many", function()
      local rover, server = kept(0)
      local r, errors = relay { maxClients = 3, pick = picking(rover) }
      local clients = {}
      for i = 1, 5 do
        clients[i] = connect(r):write(tostring(i))
        reached(r, "accepted", i)
      end
      closed(clients[1])
      closed(clients[2])
      assert.equal(2, #errors)
      assert.equal("more than 3 clients: the one that has waited longest is "
        .. "closed (ENOBUFS)", tostring(errors[1]))
      rover:connect()
      reached(r, "running", 1)
      assert.equal("3", server.peers[1]:take "%d")
      clients[6] = connect(r):write("6")
      closed(clients[4])
      assert.same({ 3, 2 }, { r:stats().refused, r:stats().waiting })
    end)

    it("is closed at once when there are too many, and all are joined",
        function()
      local r, errors = relay { maxClients = 2, pick = picking(kept(2)) }
      local one = connect(r)
      connect(r)
      reached(r, "running", 2)
      closed(connect(r))
      assert.equal("ENOBUFS", errors[1].code)
      assert.equal(2, r:stats().running)
      one:close()
      -- The server has yet to end its side.
      assert.equal(2, r:stats().running)
    end)
  end)

  describe("clients", function()
    it("gives who waits, the one that came first first", function()
      local offered = {}
      local r = relay { pick = function(client)
        offered[#offered + 1] = client
      end }
      assert.same({}, r:clients())
      for i = 1, 5 do
        connect(r)
        reached(r, "waiting", i)
      end
      local clients = r:clients()
      assert.equal(5, #clients)
      for i, client in ipairs(clients) do
        assert.is_true(rawequal(offered[i], client), i)
        assert.is_true(client.waiting)
      end
      assert.not_equal(clients, r:clients())
      clients[2]:refuse()
      assert.same({ offered[1], offered[3], offered[4], offered[5] },
        r:clients())
    end)

    it("which may be joined with what none was picked for", function()
      local r = relay()
      local rover, server = kept(1)
      local first = connect(r)
      reached(r, "waiting", 1)
      connect(r)
      reached(r, "waiting", 2)
      local clients = r:clients()
      local socket = rover:sockets()[1]
      assert.equal(clients[1], clients[1]:join(socket))
      assert.same({ clients[2] }, r:clients())
      first:write "x"
      assert.equal("x", server.peers[1]:take "^x")
    end)

    it("has nobody who was not told apart before, as a finalizer may do",
      function()
        local r
        local over, armed = false, 0
        local function arm()
          setmetatable({}, { __gc = function()
            if over then return end
            armed = armed + 1
            local list = r:clients()
            if armed % 7 == 0 and list[1] then list[1]:refuse() end
            arm()
          end })
        end
        finally(function()
          over = true
          collectgarbage("incremental", 200, 100)
        end)
        r = relay { pick = function() return nil, ("x"):rep(10) end }
        collectgarbage("incremental", 1, 1000)
        arm()
        collectgarbage() -- the pause counts from the end of a cycle
        for _ = 1, 40 do connect(r) end
        run(function() return r:stats().accepted == 40 end)
        over = true
        local list = r:clients()
        assert.equal(r:stats().waiting, #list)
        for i, client in ipairs(list) do
          assert.is_true(client.waiting, i)
          for j = i + 1, #list do assert.not_equal(client, list[j]) end
        end
        assert.is_true(armed > 7)
      end)

    it("is refused by a closed relay", function()
      local r = plain {}
      connect(r)
      reached(r, "waiting")
      r:close(0)
      misuse(function() r:clients() end,
        "calling 'clients' on bad self (the relay is closed)")
    end)
  end)

  describe("an error", function()
    it("that nobody listens to is raised", function()
      local child = support.spawnLua([[
        local uv = require "luv"
        local r = assert(require "callosum.relay".new { name = "lonely",
          listen = { port = 0 }, waitTimeout = 1, pick = function() end })
        local client = uv.new_tcp()
        client:connect("127.0.0.1", select(2, r:address()), function()
          client:read_start(function()
            client:close()
            r:close()
          end)
        end)
        uv.run()
      ]])
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.matches("unhandled 'error' event of relay 'lonely': no socket for "
        .. "a client in 1 ms %(ETIMEDOUT%)", child.output)
    end)

    it("has handlers that can be taken away", function()
      local calls = {}
      local r = relay { waitTimeout = 1 }
      local function one() calls[#calls + 1] = "one" end
      local function other() calls[#calls + 1] = "other" end
      assert.equal(r, r:on("error", one))
      r:on("error", other)
      assert.equal(r, r:off("error", one))
      closed(connect(r))
      assert.same({ "other" }, calls)
      misuse(function() r:on("eror", nothing) end, "bad argument #1 to 'on' "
        .. "(unknown event 'eror', nearest is 'error')")
    end)
  end)

  it("keeps a client waiting for ever where waitTimeout is 0", function()
    local r = relay { waitTimeout = 0, pick = function() end }
    local s, errors = relay { waitTimeout = 30, pick = function() end }
    local client = connect(r)
    run(function() return r:stats().waiting == 1 end)
    connect(s)
    run(function() return #errors == 1 end)
    assert.equal(1, r:stats().waiting)
    client:close()
  end)

  describe("idleTimeout", function()
    it("resets both sides of a client when nothing moves", function()
      local client, server, r = relays.pair { idleTimeout = 60 }
      local from = uv.now()
      assert.equal("ECONNRESET", client:waitEnd())
      local took = uv.now() - from
      assert.is_true(took >= 40, took)
      assert.equal("ECONNRESET", server:waitEnd())
      assert.equal(1, r:stats().cut)
    end)

    it("counts from the last byte, either way", function()
      local client, server, r = relays.pair { idleTimeout = 400 }
      local timer, n = uv.new_timer(), 0
      local from = uv.now()
      timer:start(80, 80, function()
        n = n + 1
        if n <= 3 then client:write("x") else server:write("y") end
        if n == 6 then timer:close() end
      end)
      client:waitEnd()
      local took = uv.now() - from
      assert.is_true(took >= 6 * 80 + 380, took)
      assert.same({ 3, 3 }, { r:stats().received, r:stats().sent })
    end)

    it("is not there unless asked for", function()
      local client, _, r = relays.pair()
      local over = false
      local timer = uv.new_timer()
      timer:start(100, 0, function() over = true end)
      run(function() return over end)
      timer:close()
      assert.is_false(client.ended or client.closed)
      assert.equal(1, r:stats().running)
    end)
  end)

  describe("halfCloseTimeout", function()
    it("resets what has ended on one side only", function()
      for _, ended in ipairs { 1, 2 } do
        local ends = { relays.pair { halfCloseTimeout = 60 } }
        local one, other, r = ends[ended], ends[3 - ended], ends[3]
        uv.update_time()
        local from = uv.now()
        one:shutdown()
        assert.is_nil(other:waitEnd())
        assert.equal("ECONNRESET", one:waitEnd())
        local took = uv.now() - from
        assert.is_true(took >= 59, took)
        reached(r, "cut")
      end
    end)

    it("counts from the last byte", function()
      local client, server, r = relays.pair { halfCloseTimeout = 400 }
      client:shutdown()
      local timer, n = uv.new_timer(), 0
      timer:start(80, 80, function()
        n = n + 1
        server:write("x")
        if n < 6 then return end
        timer:close()
        server:shutdown()
      end)
      assert.is_nil(client:waitEnd())
      assert.equal("xxxxxx", client.received)
      reached(r, "ended")
    end)
  end)

  describe("close", function()
    it("stops listening and closes who waits; the joined go on", function()
      local rover, server = kept(1)
      local r, errors = relay { pick = picking(rover) }
      local joined = connect(r):write("x")
      server.peers[1]:take "x"
      local waiting = connect(r)
      reached(r, "waiting")
      local _, port = r:address()
      assert.equal(r, r:close())
      closed(waiting)
      assert.equal("relay 'main' (closed)", tostring(r))
      local refused = support.connect(port)
      run(function() return refused.err end)
      assert.equal("ECONNREFUSED", refused.err)
      joined:write("still")
      server.peers[1]:take "still"
      server.peers[1]:write("here"):shutdown()
      joined:take "here"
      assert.equal(1, r:stats().running)
      joined:shutdown()
      joined:waitEnd()
      support.run(function() return not pcall(r.stats, r) end)
      assert.equal(0, #errors)
    end)

    it("resets the joined after the time it is given", function()
      local client, server, r = relays.pair()
      r:close(50)
      local from = uv.now()
      assert.equal("ECONNRESET", client:waitEnd())
      local took = uv.now() - from
      assert.is_true(took >= 40, took)
      assert.equal("ECONNRESET", server:waitEnd())
    end)

    it("resets them after drainTimeout otherwise, whatever moves", function()
      local client, server, r = relays.pair { drainTimeout = 80 }
      local timer = uv.new_timer()
      timer:start(10, 10, function() server:write("x") end)
      r:close()
      -- At the other end luv takes a reset right after bytes for an end.
      assert.equal("ECONNRESET", server:waitEnd())
      client:waitEnd()
      timer:close()
    end)

    it("lets them finish, however long it takes, where drainTimeout is 0",
      function()
        local client, server, r = relays.pair { drainTimeout = 0,
          halfCloseTimeout = 0, waitTimeout = 0 }
        local other, peer, s = relays.pair { drainTimeout = 60 }
        r:close()
        client:shutdown()
        assert.is_nil(server:waitEnd())
        s:close()
        assert.equal("ECONNRESET", other:waitEnd())
        assert.equal("ECONNRESET", peer:waitEnd())
        server:write("done")
        server:shutdown()
        assert.is_nil(client:waitEnd())
        assert.equal("done", client.received)
      end)

    it("resets them at once if told so, even late", function()
      local client, server, r = relays.pair()
      r:close()
      r:close(0)
      assert.equal("ECONNRESET", client:waitEnd())
      assert.equal("ECONNRESET", server:waitEnd())
      assert.equal(r, r:close())
    end)

    it("leaves a relay that only tells it is closed", function()
      local r = plain {}
      r:close()
      misuse(function() r:address() end,
        "calling 'address' on bad self (the relay is closed)")
      run(function() return not pcall(r.stats, r) end)
      misuse(function() r:stats() end,
        "calling 'stats' on bad self (the relay is closed)")
      assert.equal(r, r:close())
      misuse(function() plain({}):close(-1) end, "bad argument #1 to 'close' "
        .. "(time: integer from 0 to 4294967295 expected, got -1)")
    end)

    it("comes at the end of a block", function()
      local r
      do
        local own <close> = plain {}
        r = own
      end
      assert.equal("relay 'main' (closed)", tostring(r))
    end)

    it("may come from pick and from every handler", function()
      local r
      r = plain { pick = function() r:close() end }
      closed(connect(r))
      r = plain { waitTimeout = 1 }
      r:on("error", function() r:close() end)
      closed(connect(r))
      r = plain { pick = function(client)
        client:on("close", function() r:close() end)
      end }
      accepted(r):close()
      run(function() return not pcall(r.address, r) end)
    end)
  end)

  it("costs no handle that outlives the Lua state", function()
    local server = support.serve { send = "0\r\n" }
    local child = support.spawnLua([[
      local uv = require "luv"
      local relay, rover = require "callosum.relay", require "callosum.rover"
      local r = rover.new { servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      r:on("connection", function() end)
      r:connect()
      while r:stats().kept < 1 do uv.run "once" end
      local s = assert(relay.new { listen = { port = 0 },
        pick = function() return r:sockets()[1] end })
      for _ = 1, 2 do
        uv.new_tcp():connect("127.0.0.1", select(2, s:address()), print)
      end
      while s:stats().running + s:stats().waiting < 2 do uv.run "once" end
      print(s:stats().running, s:stats().waiting)
    ]], { args = { tostring(server.port) } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal("nil\nnil\n1\t1\n", child.stdout)
  end)

  it("has descriptors for clients when a rover takes all there are; who then "
      .. "finds none is closed after waitTimeout", function()
    local server = support.serve { send = "0\r\n" }
    local child = support.spawnLua([[
      local relay, rover = require "callosum.relay", require "callosum.rover"
      local r = rover.new { rovingInterval = 1, servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      local s = assert(relay.new { listen = { port = 0 }, waitTimeout = 300,
        pick = function() return r:sockets()[1] end })
      s:on("error", function(err) print("relay", err) end)
      r:on("connection", function() end)
      local full
      r:on("error", function(err)
        if full then return end
        full = true
        print(err.code, select(2, s:address()))
      end)
      r:start()
      local uv = require "luv"
      local timer = uv.new_timer()
      timer:start(1, 1, function()
        local stats = s:stats()
        if stats.running == stats.joined then return end
        print "left"
        timer:stop()
      end)
      uv.run()
    ]], { args = { tostring(server.port) }, descriptors = 96 })
    local port = child:waitFor "EMFILE\t(%d+)"
    local function came(client)
      client:write "hello"
      run(function()
        return client.ended or client.err or client.received ~= ""
      end)
      return client.received
    end
    for _, peer in ipairs(server.peers) do
      peer.handle:read_stop()
      peer.handle:read_start(function(_, chunk)
        if chunk then peer.handle:write "world" else peer:close() end
      end)
    end
    port = tonumber(port)
    local one
    for _ = 1, 3 do
      one = support.connect(port)
      assert.equal("world", came(one))
    end
    assert.equal("", came(support.connect(port)))
    child:waitFor(("relay\tno descriptor for a client in 300 ms (EMFILE); "
      .. "raise this process's limit of open files (ulimit -n)")
      :gsub("%p", "%%%0"))
    assert.is_truthy(child.stdout:find("relay\tcannot accept connections: this "
      .. "process has no descriptors left (EMFILE); raise its limit of open "
      .. "files (ulimit -n)\n", 1, true), child.stdout)
    one:close()
    child:waitFor "left\n"
    assert.equal("world", came(support.connect(port)))
    child:kill "sigkill":wait()
  end)

  it("leaves clients in the queue while there are no descriptors", function()
    local server = support.serve { send = "0\r\n" }
    local child = support.spawnLua([[
      local uv = require "luv"
      local relay, rover = require "callosum.relay", require "callosum.rover"
      local r = rover.new { servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      r:on("connection", function() end)
      r:on("unreachable", print)
      r:connect()
      while r:stats().kept < 1 do uv.run "once" end
      local s = assert(relay.new { listen = { port = 0 },
        pick = function() return r:sockets()[1] end })
      local client = uv.new_tcp()
      client:connect("127.0.0.1", select(2, s:address()), function() end)
      local spare = {}
      for file in function() return (io.open "/dev/null") end do
        spare[#spare + 1] = file
      end
      local turns, told = 0, 0
      local prepare = uv.new_prepare()
      prepare:start(function() turns = turns + 1 end)
      s:on("error", function(err)
        told = told + 1
        print(err)
      end)
      local timer = uv.new_timer()
      timer:start(350, 0, function()
        print(told, turns < 20, s:stats().accepted)
        for _, file in ipairs(spare) do file:close() end
      end)
      while s:stats().running == 0 do uv.run "once" end
      print(told, s:stats().accepted)
      os.exit(true, true)
    ]], { args = { tostring(server.port) }, descriptors = 40 })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal("cannot accept connections: this process has no descriptors "
      .. "left (EMFILE); raise its limit of open files (ulimit -n)\n"
      .. "1\ttrue\t0\n1\t1\n", child.stdout)
  end)

  it("joins the client that takes the last descriptor", function()
    local server = support.serve { send = "0\r\n" }
    local child = support.spawnLua([[
      local uv = require "luv"
      local relay, rover = require "callosum.relay", require "callosum.rover"
      local r = rover.new { servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      r:on("connection", function() end)
      for _ = 1, 3 do r:connect() end
      while r:stats().kept < 3 do uv.run "once" end
      local s = assert(relay.new { listen = { port = 0 },
        pick = function() return r:sockets()[1] end })
      s:on("error", print)
      local clients = {}
      for i = 1, 3 do
        clients[i] = uv.new_tcp()
        clients[i]:connect("127.0.0.1", select(2, s:address()), print)
      end
      local spare = {}
      for file in function() return (io.open "/dev/null") end do
        spare[#spare + 1] = file
      end
      for i = 1, 3 do
        spare[i]:close()
        while s:stats().accepted < i do uv.run "once" end
        print(s:stats().running)
      end
      for i = 4, #spare do spare[i]:close() end
      os.exit(true, true)
    ]], { args = { tostring(server.port) }, descriptors = 40 })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.same({ "1", "2", "3" }, { child.stdout:match
      "(%d)\n.*(%d)\n.*(%d)\n" }, child.output)
  end)

  it("joins what was written to without a further descriptor", function()
    local server = support.serve { send = "0\r\n" }
    local child = support.spawnLua([[
      local uv = require "luv"
      local relay, rover = require "callosum.relay", require "callosum.rover"
      local prlimit = ("prlimit --pid %d --nofile="):format(uv.os_getpid())
      local r = rover.new { servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      r:on("connection", function(_, socket) socket:write "x" end)
      r:connect()
      while r:stats().kept < 1 do uv.run "once" end
      local picked
      local s = assert(relay.new { listen = { port = 0 },
        pick = function() return picked end })
      s:on("error", print)
      local port = select(2, s:address())
      uv.new_tcp():connect("127.0.0.1", port, function() end)
      while s:stats().accepted < 1 do uv.run "once" end
      assert(os.execute(prlimit .. "3:"))
      picked = r:sockets()[1]
      s:offer()
      while s:stats().waiting > 0 do uv.run "once" end
      print(s:stats().joined, picked.closed)
      os.exit(true, true)
    ]], { args = { tostring(server.port) }, descriptors = 40,
      -- To look for leaks takes descriptors.
      env = { ASAN_OPTIONS = "verify_asan_link_order=0:detect_leaks=0" } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal("1\ttrue\n", child.stdout)
  end)
end)
