local sockets = require "support.sockets"
local support = require "support"

local attempt, record, rover = support.attempt, support.record, support.rover
local expect, met, misuse = support.expect, support.met, support.misuse
local run, serve = support.run, support.serve

local assertClosed, bytes, deaf = sockets.assertClosed, sockets.bytes,
  sockets.deaf
local echo, gather, keep, note = sockets.echo, sockets.gather, sockets.keep,
  sockets.note
local plain, same, settle = sockets.plain, sockets.same, sockets.settle
local PLENTY, untilClosed = sockets.PLENTY, sockets.untilClosed

describe("a kept socket", function()
  describe("has fields:", function()
    it("slot, id, server, adopted, closed", function()
      local socket, _, _, server = keep()
      assert.equal(7, socket.slot)
      assert.equal("integer", math.type(socket.slot))
      assert.equal("s", socket.id)
      assert.same({ host = "127.0.0.1", port = server.port }, socket.server)
      assert.is_false(socket.adopted)
      assert.is_false(socket.closed)
      assert.is_nil(socket.nosuchfield)
      assert.is_nil(socket[1])
    end)

    it("which stay readable when it is closed and its server dropped",
      function()
        local socket, _, r, server = keep()
        r:dropServer("s")
        socket:close()
        assert.is_true(socket.closed)
        for _ = 1, 2 do
          assert.equal(7, socket.slot)
          assert.equal("s", socket.id)
          assert.same({ host = "127.0.0.1", port = server.port }, socket.server)
          assert.is_false(socket.adopted)
          assert.is_true(socket.closed)
          settle()
          collectgarbage()
        end
        r:close()
        settle()
        assert.equal("s", socket.id)
      end)

    it("state, a table that is always the same one", function()
      local socket, peer, r = keep()
      local state = socket.state
      assert.same({}, state)
      state.seen = 1
      assert.equal(state, socket.state)
      assert.equal(state, r:sockets()[1].state)
      socket:on("close", function() end)
      peer:close()
      run(function() return socket.closed end)
      settle()
      assert.equal(state, socket.state)
      assert.equal(1, socket.state.seen)
    end)

    it("state, which may be set to another table", function()
      local socket = keep()
      local state = { 1 }
      socket.state = state
      assert.equal(state, socket.state)
      socket.state = {}
      assert.same({}, socket.state)
    end)

    it("state, which each socket has of its own", function()
      local _, _, r = keep()
      r:connect()
      run(function() return #r:sockets() == 2 end)
      local first, second = table.unpack(r:sockets())
      first.state.name = "first"
      assert.same({}, second.state)
    end)

    it("state, which may be nothing but a table", function()
      local socket = plain()
      local state = socket.state
      for _, value in ipairs { 1, "state", print, false } do
        misuse(function() socket.state = value end,
          "socket.state: table expected, got " .. type(value))
      end
      misuse(function() socket.state = nil end,
        "socket.state: table expected, got nil")
      assert.equal(state, socket.state)
    end)

    it("of which no other can be set, and says what to do", function()
      local socket = plain()
      for _, name in ipairs { "slot", "id", "closed", "write", "mine" } do
        misuse(function() socket[name] = 1 end,
          ("a socket's field '%s' cannot be set; put what is yours into its "
            .. "table 'state'"):format(name))
      end
      assert.equal(7, socket.slot)
    end)

    it("which its string names", function()
      local socket = keep()
      assert.equal("socket (slot 7 of s)", tostring(socket))
      socket:close()
      assert.equal("socket (slot 7 of s, closed)", tostring(socket))
    end)
  end)

  describe("on and off", function()
    it("return the socket, and the closed one too", function()
      local socket = keep()
      assert.equal(socket, socket:on("data", print))
      assert.equal(socket, socket:off("data", print))
      assert.equal(socket, socket:off("data", print))
      socket:close()
      assert.equal(socket, socket:on("data", print))
      assert.equal(socket, socket:off("data", print))
    end)

    it("without arguments, off leaves nobody listening", function()
      local socket, peer = keep()
      local notes = note(socket, true)
      peer:write("read")
      run(function() return #notes == 1 end)
      assert.equal(socket, socket:off())
      peer:write("unread")
      settle()
      assert.same({ "data read" }, notes)
      local again = note(socket, true) -- what was not read is there
      run(function() return #again == 1 end)
      peer:close()
      untilClosed(again)
      assert.same({ "data read" }, notes)
      assert.same({ "data unread", "end", "close" }, again)
      assert.equal(socket, socket:off())
    end)

    it("without arguments, off keeps the state", function()
      local socket = keep()
      socket.state.mine = 5
      assert.equal(5, socket:off().state.mine)
    end)

    it("have an observer stay whoever lets go of all", function()
      local socket, peer = keep()
      local seen = {}
      local function onData(chunk) seen[#seen + 1] = chunk end
      local function onEnd() seen[#seen + 1] = "end" end
      local function onClose() seen[#seen + 1] = "close" end
      local observer = { observer = true }
      assert.equal(socket, socket:on("data", onData, observer))
      socket:on("end", onEnd, observer):on("close", onClose, observer)
      socket:off("end", onEnd):off()
      peer:write("1")
      settle()
      assert.same({}, seen) -- it does not have the socket read
      local notes = note(socket, true)
      run(function() return #notes == 1 end)
      peer:close()
      untilClosed(notes)
      assert.same({ "1", "close" }, seen)
    end)

    it("refuse an unknown event, naming the nearest", function()
      local socket = plain()
      misuse(function() socket:on("date", print) end,
        "bad argument #1 to 'on' (unknown event 'date', nearest is 'data')")
      misuse(function() socket:off("closed", print) end,
        "bad argument #1 to 'off' (unknown event 'closed', nearest is 'close')")
    end)

    it("refuse a handler that is no function", function()
      local socket = plain()
      misuse(function() socket:on("data") end,
        "bad argument #2 to 'on' (function expected, got no value)")
      misuse(function() socket:on("data", nil) end,
        "bad argument #2 to 'on' (function expected, got nil)")
      misuse(function() socket:on("data", print, 1) end,
        "bad argument #3 to 'on' (table expected, got number)")
      misuse(function() socket:off("data", "print") end,
        "bad argument #2 to 'off' (function expected, got string)")
    end)

    it("refuse what is no socket", function()
      local socket = plain()
      misuse(function() socket.on({}, "data", print) end,
        "bad argument #1 to 'on' (callosum.socket expected, got table)")
      misuse(function() socket.close() end,
        "bad argument #1 to 'close' (callosum.socket expected, got no value)")
    end)
  end)

  describe("pass", function()
    it("gives another object, with state, observers and writes", function()
      local socket, peer, r = keep()
      local seen, written = {}, 0
      socket.state.mine = 5
      socket:on("data", function(chunk) seen[#seen + 1] = chunk end,
        { observer = true })
      local notes = note(socket, true)
      socket:write("sent", function(err) written = err or written + 1 end)
      local new = socket:pass()
      assert.same({ new }, r:sockets())
      assert.same({ 7, "s", 5, false },
        { new.slot, new.id, new.state.mine, new.closed })
      peer:write("unread")
      settle()
      assert.same({ 1, {} }, { written, seen }) -- nobody reads it
      new:on("data", function() end)
      run(function() return #seen == 1 end)
      peer:close()
      untilClosed(note(new))
      assert.same({ { "unread" }, {} }, { seen, notes })
    end)

    it("leaves an object that is closed to whoever has it", function()
      local socket, peer = keep()
      local new = socket:pass()
      assert.equal("socket (slot 7 of s, passed on)", tostring(socket))
      assert.same({ true, 7, "s", {}, 0 }, { socket.closed, socket.slot,
        socket.id, socket.state, socket:writeQueueSize() })
      for _, name in ipairs { "write", "shutdown", "detach", "peername" } do
        assert.same({ nil, "the socket was passed on", "ENOTCONN" },
          { socket[name](socket, name == "write" and "x" or nil) }, name)
      end
      assert.same({ nil, "the socket was passed on before", "EALREADY" },
        { socket:pass() })
      local notes = note(socket, true)
      socket:off():close()
      peer:write("new's")
      local mine = note(new, true)
      run(function() return #mine == 1 end)
      assert.same({ { "data new's" }, {} }, { mine, notes })
      new:close()
      assert.same({ nil, "the socket is closed", "ENOTCONN" }, { new:pass() })
    end)

    it("may be called while its handlers run, and leaves no garbage",
      function()
        local socket, peer, r = keep()
        local calls = 0
        local function onData(chunk)
          calls = calls + #chunk
          r:sockets()[1]:pass():on("data", onData)
        end
        socket:on("data", onData)
        for i = 1, 10 do
          peer:write("x")
          run(function() return calls == i end)
        end
        socket = r:sockets()[1]
        local function passOn(n)
          for _ = 1, n do socket = socket:pass() end
          collectgarbage()
          return collectgarbage "count"
        end
        local before = passOn(10)
        assert.is_true(passOn(10000) < before + 2) -- KiB
      end)
  end)

  describe("write", function()
    it("sends a string and returns the socket", function()
      local socket, peer = keep()
      assert.equal(socket, socket:write("hello"))
      assert.equal("hello", peer:take("^hello$"))
    end)

    it("sends an array of strings in order, empty ones too", function()
      local socket, peer = keep()
      assert.equal(socket, socket:write { "one,", "", "two,\0", "three", "" })
      assert.equal(socket, socket:write("."))
      assert.equal("one,two,\0three.", peer:take("^.*%.$"))
    end)

    it("sends nothing of an empty string and of an empty array", function()
      local socket, peer = keep()
      assert.equal(socket, socket:write(""))
      assert.equal(socket, socket:write {})
      assert.equal(socket, socket:write { "", "" })
      for _, nothing in ipairs { "", {}, { "", "" } } do
        socket:write(nothing, expect(function(...)
          assert.equal(1, select("#", ...))
          assert.is_nil((...))
        end))
      end
      run(met)
      assert.equal(0, socket:writeQueueSize())
      socket:write("end")
      assert.equal("end", peer:take("^.*d$"))
    end)

    it("sends nothing behind a queue, and in its turn", function()
      local socket, peer = keep()
      deaf(peer)
      local order = {}
      socket:write(("x"):rep(PLENTY), function() order[#order + 1] = 1 end)
      assert.is_true(socket:writeQueueSize() > 0)
      socket:write("")
      socket:write({}, function() order[#order + 1] = 2 end)
      socket:write("", function() order[#order + 1] = 3 end)
      local got = gather(peer)
      run(function() return #order == 3 and got.length == PLENTY end)
      assert.same({ 1, 2, 3 }, order)
    end)

    it("sends an array of more strings than the kernel takes at once",
      function()
        local socket, peer = keep()
        local pieces = {}
        for i = 1, 5000 do pieces[i] = ("%d,"):format(i) end
        local all = table.concat(pieces)
        for _, fn in ipairs { false, expect() } do
          local got = gather(peer)
          socket:write(pieces, fn or nil)
          run(function() return got.length >= #all end)
          same(all, got.text())
        end
      end)

    it("has 8 MiB echoed exactly once and in order", function()
      local socket, peer = keep()
      echo(peer)
      local data, pieces, length = bytes(8 * 1024 * 1024), {}, 0
      socket:on("data", function(chunk)
        pieces[#pieces + 1] = chunk
        length = length + #chunk
      end)
      socket:write(data, expect())
      run(function() return length >= #data end)
      settle()
      same(data, table.concat(pieces))
      run(met)
    end)

    it("keeps writes in order, with and without callbacks", function()
      local socket, peer = keep()
      deaf(peer)
      local data, order = bytes(PLENTY), {}
      local cut = PLENTY // 4
      for i = 0, 3 do
        local piece = data:sub(i * cut + 1, (i + 1) * cut)
        socket:write(piece, i % 2 == 1 and expect(function()
          order[#order + 1] = i
        end) or nil)
      end
      local got = gather(peer)
      run(function() return got.length >= #data end)
      same(data, got.text())
      run(met)
      assert.same({ 1, 3 }, order)
    end)

    it("calls back later, once, with nil", function()
      local socket, peer = keep()
      local now = true
      socket:write("hello", expect(function(...)
        assert.is_false(now)
        assert.equal(1, select("#", ...))
        assert.is_nil((...))
      end))
      now = false
      run(met)
      assert.equal("hello", peer:take("^hello$"))
    end)

    it("calls back with ECANCELED when the socket is closed before", function()
      local socket, peer = keep()
      deaf(peer)
      local notes = note(socket)
      socket:write(("x"):rep(PLENTY), expect(function(err)
        assert.equal("ECANCELED", err.code)
        assert.equal("s", err.id)
        assert.same({}, notes)
      end))
      socket:close()
      untilClosed(notes)
      assert.same({ "close" }, notes)
    end)

    it("calls back with an error when the connection breaks", function()
      local socket, peer = keep()
      deaf(peer)
      local notes = note(socket)
      -- Which error depends on what sees the break first, the write or the
      -- watching for it; the close event tells the cause in either case.
      socket:write(("x"):rep(PLENTY), expect(function(err)
        assert.is_truthy(err.code == "ECONNRESET" or err.code == "ECANCELED")
      end))
      settle()
      peer:reset()
      untilClosed(notes)
      assert.same({ "close ECONNRESET" }, notes)
    end)

    it("may be called from its callback", function()
      local socket, peer = keep()
      local n = 0
      local function again(err)
        assert.is_nil(err)
        n = n + 1
        if n < 100 then socket:write(n .. ",", again) end
      end
      socket:write("0,", again)
      run(function() return n == 100 end)
      assert.matches("^0,1,2,.*,98,99,$", peer:take("^.*99,$"))
    end)

    it("may be called before the connection handler returns", function()
      local server = serve { send = "7\r\n" }
      local r = rover { port = server.port }
      r:on("connection", function(_, socket) socket:write("hello") end)
      r:connect()
      run(function() return server.peers[1] end)
      assert.equal("hello", server.peers[1]:take("^hello"))
    end)

    it("refuses a closed socket, and never calls back", function()
      local socket = keep()
      socket:close()
      assertClosed(socket:write("x", expect(nil, 0)))
      settle()
      assertClosed(socket:write({ "x" }, expect(nil, 0)))
    end)

    it("refuses what follows shutdown; the socket stays", function()
      local socket, peer = keep()
      local notes = note(socket)
      socket:write("last"):shutdown(expect())
      for _ = 1, 2 do
        for _, data in ipairs { "more", "" } do
          local result, message, code = socket:write(data, expect(nil, 0))
          assert.is_nil(result)
          assert.is_string(message)
          assert.equal("EPIPE", code)
        end
        settle()
      end
      run(met)
      assert.is_false(socket.closed)
      assert.same({}, notes)
      peer:waitEnd()
      assert.equal("last", peer.received)
    end)

    it("refuses data of wrong types at the caller's line", function()
      local socket = plain()
      for _, value in ipairs { 12, true, print } do
        misuse(function() socket:write(value) end,
          "bad argument #1 to 'write' (string or array of strings expected, "
            .. "got " .. type(value) .. ")")
      end
      misuse(function() socket:write(nil) end,
        "bad argument #1 to 'write' (string or array of strings expected, "
          .. "got nil)")
    end)

    it("refuses items of wrong types, and sends nothing of the others",
      function()
        local socket = plain()
        misuse(function() socket:write { "a", 2 } end,
          "bad argument #1 to 'write' (string or array of strings expected, "
            .. "got number at index 2)")
        misuse(function() socket:write { {} } end,
          "bad argument #1 to 'write' (string or array of strings expected, "
            .. "got table at index 1)")
        assert.equal(0, socket:writeQueueSize())
      end)

    it("refuses a callback that is no function", function()
      local socket = plain()
      misuse(function() socket:write("a", 1) end,
        "bad argument #2 to 'write' (function expected, got number)")
      misuse(function() socket:write({ "a" }, {}) end,
        "bad argument #2 to 'write' (function expected, got table)")
    end)
  end)

  describe("writeQueueSize", function()
    it("tells how many bytes were accepted and not handed over", function()
      local socket, peer = keep()
      assert.equal(0, socket:writeQueueSize())
      deaf(peer)
      socket:write(("x"):rep(PLENTY))
      local queued = socket:writeQueueSize()
      assert.is_true(queued > 0 and queued < PLENTY)
      socket:write { "abc", "de" }
      assert.equal(queued + 5, socket:writeQueueSize())
      gather(peer)
      run(function() return socket:writeQueueSize() == 0 end)
    end)

    it("is 0 on a closed socket", function()
      local socket, peer = keep()
      deaf(peer)
      socket:write(("x"):rep(PLENTY))
      socket:close()
      assert.equal(0, socket:writeQueueSize())
    end)
  end)

  describe("drain", function()
    it("comes once when all that was queued is handed over", function()
      local socket, peer = keep()
      local drains = 0
      socket:on("drain", function()
        drains = drains + 1
        assert.equal(0, socket:writeQueueSize())
      end)
      deaf(peer)
      socket:write(("x"):rep(PLENTY))
      socket:write("y")
      socket:write("z", expect(function() assert.equal(0, drains) end))
      settle()
      assert.equal(0, drains)
      local got = gather(peer)
      run(function() return got.length == PLENTY + 2 end)
      settle()
      assert.equal(1, drains)
      run(met)
    end)

    it("comes again for what is queued from its handler", function()
      local socket, peer = keep()
      local drains = 0
      socket:on("drain", function()
        drains = drains + 1
        if drains < 3 then socket:write(("x"):rep(PLENTY)) end
      end)
      deaf(peer)
      socket:write(("x"):rep(PLENTY))
      local got = gather(peer)
      run(function() return got.length == 3 * PLENTY end)
      settle()
      assert.equal(3, drains)
    end)

    it("does not come for a write that went out at once", function()
      local socket, peer = keep()
      local notes = note(socket)
      socket:write("a"):write({ "b", "c" }):write("")
      assert.equal(0, socket:writeQueueSize())
      socket:write("d", expect(function() socket:write("e") end))
      assert.equal("abcde", peer:take("^abcde$"))
      settle()
      assert.same({}, notes)
    end)

    it("does not come for what close or a break cut off", function()
      local socket, peer = keep()
      local notes = note(socket)
      deaf(peer)
      socket:write(("x"):rep(PLENTY))
      settle()
      socket:close()
      untilClosed(notes)
      assert.same({ "close" }, notes)
    end)
  end)

  describe("peername and sockname", function()
    it("tell host and port", function()
      local socket, peer, _, server = keep()
      local host, port = socket:peername()
      assert.same({ "127.0.0.1", server.port }, { host, port })
      local name = peer.handle:getpeername()
      host, port = socket:sockname()
      assert.same({ name.ip, name.port }, { host, port })
    end)

    it("tell IPv6 addresses", function()
      local server = serve { host = "::1", send = "0\r\n" }
      local r = rover { host = "::1", port = server.port }
      local socket = attempt(r, record(r)).socket
      assert.same({ "::1", server.port }, { socket:peername() })
      assert.equal("::1", (socket:sockname()))
    end)

    it("refuse a closed socket", function()
      local socket = keep()
      socket:close()
      assertClosed(socket:peername())
      assertClosed(socket:sockname())
      settle()
      assertClosed(socket:peername())
      assertClosed(socket:sockname())
    end)
  end)
end)
