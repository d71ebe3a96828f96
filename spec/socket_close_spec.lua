local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local expect, met, misuse = support.expect, support.met, support.misuse
local rover, run, serve = support.rover, support.run, support.serve

local assertClosed, bytes, deaf = sockets.assertClosed, sockets.bytes,
  sockets.deaf
local gather, keep, note, open = sockets.gather, sockets.keep, sockets.note,
  sockets.open
local plain, same, settle = sockets.plain, sockets.same, sockets.settle
local PLENTY, untilClosed = sockets.PLENTY, sockets.untilClosed

describe("a kept socket", function()
  describe("close", function()
    it("closes at once, tells it once, and may be repeated", function()
      local socket, peer, r = keep()
      local notes = note(socket)
      assert.equal(socket, socket:close())
      assert.is_true(socket.closed)
      assert.same({}, r:sockets())
      assert.same({}, notes)
      assert.equal(socket, socket:close())
      untilClosed(notes)
      assert.equal(socket, socket:close())
      settle()
      assert.same({ "close" }, notes)
      assert.is_nil(peer:waitEnd())
    end)

    it("moves the socket from kept to closed in the stats", function()
      local socket, _, r = keep()
      local stats = r:stats()
      assert.same({ 1, 1, 0 },
        { stats.connections, stats.kept, stats.closed })
      socket:close():close()
      stats = r:stats()
      assert.same({ 1, 0, 1 },
        { stats.connections, stats.kept, stats.closed })
      settle()
      stats = r:stats()
      assert.same({ 1, 0, 1 },
        { stats.connections, stats.kept, stats.closed })
    end)

    it("is what happens at the end of a `<close>` variable", function()
      local socket = keep()
      do
        local own <close> = socket
        assert.is_false(own.closed)
      end
      assert.is_true(socket.closed)
    end)

    it("keeps everything from being delivered, even what waits", function()
      local socket, peer = keep()
      local notes = note(socket, true)
      peer:write("data")
      peer:shutdown()
      socket:close()
      untilClosed(notes)
      settle()
      assert.same({ "close" }, notes)
    end)

    it("is safe from a data handler, the last to be called", function()
      local socket, peer = keep()
      peer:write(bytes(1024 * 1024))
      settle()
      local notes = note(socket)
      socket:on("data", expect(function() socket:close() end))
      untilClosed(notes)
      settle()
      assert.same({ "close" }, notes)
    end)

    it("is safe from an end handler", function()
      for _, halfOpen in ipairs { false, true } do
        local socket, peer = keep { allowHalfOpen = halfOpen }
        socket:on("end", function() socket:close() end)
        local notes = note(socket)
        peer:shutdown()
        untilClosed(notes)
        settle()
        assert.same({ "end", "close" }, notes)
      end
    end)

    it("is safe from an end handler while bytes wait", function()
      local socket, peer = keep()
      socket:on("end", function() socket:on("data", print):close() end)
      local notes = note(socket)
      peer:write("unread")
      peer:shutdown()
      untilClosed(notes)
      assert.same({ "end", "close" }, notes)
    end)

    it("is safe from a drain handler", function()
      local socket, peer = keep()
      deaf(peer)
      socket:on("drain", function() socket:close() end)
      local notes = note(socket)
      socket:write(("x"):rep(PLENTY))
      local got = gather(peer)
      untilClosed(notes)
      assert.same({ "drain", "close" }, notes)
      run(function() return got.over end)
      assert.same({ PLENTY, true }, { got.length, got.over })
    end)

    it("is safe from a write callback, of several", function()
      local socket, peer = keep()
      deaf(peer)
      local notes = note(socket)
      local codes = {}
      for i = 1, 3 do
        socket:write(("x"):rep(i == 2 and PLENTY or 1), expect(function(err)
          codes[i] = err and err.code or "sent"
          socket:close()
        end))
      end
      untilClosed(notes)
      assert.same({ "sent", "ECANCELED", "ECANCELED" }, codes)
      assert.same({ "close" }, notes)
    end)

    it("is safe from a shutdown callback", function()
      local socket = keep()
      local notes = note(socket)
      socket:shutdown(expect(function() socket:close() end))
      untilClosed(notes)
      assert.same({ "close" }, notes)
    end)

    it("is safe from a close handler, where on and write are harmless",
      function()
        local socket = keep()
        local notes = note(socket)
        socket:on("close", function()
          socket:close()
          socket:on("close", expect(nil, 0)):on("data", expect(nil, 0))
          assertClosed(socket:write("x"))
        end)
        socket:close()
        untilClosed(notes)
        settle()
        assert.same({ "close" }, notes)
      end)

    it("refuses the socket from the connection handler", function()
      local server = serve { send = "7\r\n" }
      local r = rover { port = server.port }
      local notes
      r:on("connection", function(_, socket)
        notes = note(socket, true)
        socket:close()
        assert.same({}, r:sockets())
        assert.is_true(socket:close().closed)
      end)
      r:connect()
      run(function() return notes and notes[1] end)
      assert.same({ "close" }, notes)
      assert.equal(1, r:stats().closed)
    end)
  end)

  describe("when closed", function()
    it("answers every method harmlessly", function()
      local socket, _, r = keep()
      local notes = note(socket)
      socket:close()
      untilClosed(notes)
      settle()
      assertClosed(socket:write("x"))
      assertClosed(socket:shutdown(expect(nil, 0)))
      assertClosed(socket:detach())
      assertClosed(socket:peername())
      assert.equal(socket, socket:close())
      assert.same({}, r:sockets())
      settle()
      assert.same({ "close" }, notes)
    end)
  end)

  describe("shutdown", function()
    it("shows the peer the end behind all data", function()
      local socket, peer = keep()
      deaf(peer)
      local data = bytes(PLENTY)
      socket:write(data)
      assert.equal(socket, socket:shutdown(expect(function(err)
        assert.is_nil(err)
        assert.equal(0, socket:writeQueueSize())
      end)))
      local got = gather(peer)
      run(function() return got.over end)
      same(data, got.text())
      assert.is_true(got.over)
      run(met)
      assert.is_false(socket.closed)
    end)

    it("needs no callback", function()
      local socket, peer = keep()
      assert.equal(socket, socket:shutdown())
      assert.is_nil(peer:waitEnd())
      assert.is_false(socket.closed)
    end)

    it("leaves the socket reading until the peer ends as well", function()
      for _, halfOpen in ipairs { false, true } do
        local socket, peer, r = keep { allowHalfOpen = halfOpen }
        local notes = note(socket, true)
        socket:shutdown()
        peer:waitEnd()
        peer:write("answer")
        run(function() return notes[1] == "data answer" end)
        settle()
        assert.equal(socket, r:sockets()[1])
        peer:shutdown()
        untilClosed(notes)
        assert.same({ "data answer", "end", "close" }, notes)
      end
    end)

    it("lets the peer's end close the socket while nobody reads", function()
      for _, halfOpen in ipairs { false, true } do
        local socket, peer = keep { allowHalfOpen = halfOpen }
        local notes = note(socket)
        socket:shutdown(expect())
        peer:waitEnd()
        peer:close()
        untilClosed(notes)
        assert.same({ "end", "close" }, notes)
      end
    end)

    it("refuses to be repeated", function()
      local socket = keep()
      socket:shutdown(expect())
      for _ = 1, 2 do
        local result, message, code = socket:shutdown(expect(nil, 0))
        assert.is_nil(result)
        assert.is_string(message)
        assert.equal("ENOTCONN", code)
        settle()
      end
      assert.is_false(socket.closed)
    end)

    it("calls back with ECANCELED when the socket is closed before", function()
      local socket, peer = keep()
      deaf(peer)
      local notes = note(socket)
      socket:write(("x"):rep(PLENTY))
      socket:shutdown(expect(function(err)
        assert.equal("ECANCELED", err.code)
        assert.same({}, notes)
      end))
      socket:close()
      untilClosed(notes)
    end)

    it("is done, not cancelled, when asked for in an end handler", function()
      local socket, peer = keep()
      local notes = note(socket)
      socket:on("end", function()
        socket:write("bye")
        socket:shutdown(expect(function(err) assert.is_nil(err) end))
      end)
      peer:shutdown()
      untilClosed(notes)
      assert.same({ "end", "close" }, notes)
      assert.is_nil(peer:waitEnd())
      assert.equal("bye", peer.received)
    end)

    it("refuses a callback that is no function", function()
      local socket = plain()
      misuse(function() socket:shutdown(1) end,
        "bad argument #1 to 'shutdown' (function expected, got number)")
    end)
  end)

  describe("detach", function()
    -- What a descriptor of a socket is made of, or nil where /proc cannot tell.
    local function flags(descriptor)
      local file = io.open(("/proc/self/fdinfo/%d"):format(descriptor))
      if not file then return end
      local octal = file:read("a"):match("flags:%s*(%d+)")
      file:close()
      return tonumber(octal, 8)
    end

    it("gives away a descriptor that is open and clean", function()
      local socket, peer, r = keep(nil, { send = "7\r\nhello" })
      local notes = note(socket)
      settle()
      local descriptor = socket:detach()
      assert.equal("integer", math.type(descriptor))
      assert.is_true(socket.closed)
      assert.same({}, r:sockets())
      assert.equal(1, r:stats().closed)

      local handle, got = open(descriptor)
      run(function() return got.length >= 5 and #notes > 0 end)
      assert.equal("hello", got.text())
      assert.same({ "close" }, notes)
      -- The connection has outlived the socket, in both directions.
      handle:write("to the peer")
      peer:take("^to the peer$")
      peer:write(", again")
      run(function() return got.length >= 12 end)
      settle()
      assert.equal("hello, again", got.text())
      assert.is_false(got.over)
      assert.is_false(peer.ended)
      assert.same({ "close" }, notes)
    end)

    it("gives away one that does not block and that no child inherits",
      function()
        local descriptor = keep():detach()
        local bits = flags(descriptor)
        open(descriptor)
        if not bits then return pending("/proc/self/fdinfo is not there") end
        assert.equal(0x800, bits & 0x800)      -- O_NONBLOCK
        assert.equal(0x80000, bits & 0x80000)  -- O_CLOEXEC
      end)

    it("works within the connection handler", function()
      local server = serve { send = "7\r\nhello" }
      local r = rover { port = server.port }
      local notes, got
      r:on("connection", function(_, socket)
        notes = note(socket)
        got = select(2, open(socket:detach()))
      end)
      r:connect()
      run(function() return got and got.length >= 5 end)
      settle()
      assert.equal("hello", got.text())
      assert.same({ "close" }, notes)
      assert.is_false(server.peers[1].ended)
      assert.equal(0, r:stats().kept)
    end)

    it("works within a data handler, and leaves what came behind", function()
      local socket, peer = keep()
      local data = bytes(1024 * 1024)
      peer:write(data)
      settle()
      local first, got
      socket:on("data", expect(function(chunk)
        first = chunk
        got = select(2, open(socket:detach()))
      end))
      run(function() return got and #first + got.length >= #data end)
      same(data, first .. got.text())
    end)

    it("works while bytes wait whose end has come", function()
      local socket, peer = keep { allowHalfOpen = true }
      local notes = note(socket)
      peer:write("unread")
      peer:shutdown()
      run(function() return notes[1] == "end" end)
      local handle, got = open(socket:detach())
      handle:write("answer")
      run(function() return got.over end)
      assert.equal("unread", got.text())
      peer:take("^answer$")
    end)

    it("refuses while writes are queued; the socket stays", function()
      local socket, peer, r = keep()
      local notes = note(socket)
      deaf(peer)
      socket:write(("x"):rep(PLENTY), expect(function(err)
        assert.is_nil(err)
      end))
      local descriptor, message, code = socket:detach()
      assert.is_nil(descriptor)
      assert.equal("writes are queued or a shutdown is in progress", message)
      assert.equal("EBUSY", code)
      assert.is_false(socket.closed)
      assert.equal(socket, r:sockets()[1])
      local got = gather(peer)
      run(function() return notes[1] end)
      assert.same({ "drain" }, notes)
      open(socket:detach())
      run(function() return got.length == PLENTY end)
    end)

    it("does not lose a shutdown that is under way", function()
      local socket, peer = keep()
      socket:shutdown(expect(function(err) assert.is_nil(err) end))
      local descriptor, _, code = socket:detach()
      if descriptor then open(descriptor)
      else assert.equal("EBUSY", code) end
      assert.is_nil(peer:waitEnd())
      run(met)
    end)

    it("leaves nothing of us behind", function()
      local socket, peer = keep()
      local handle = open(socket:detach())
      settle()
      handle:close()
      -- The last descriptor is closed, so the peer sees the end.
      assert.is_nil(peer:waitEnd())
      assert.is_nil(uv.tcp_getpeername(handle))
    end)
  end)
end)
