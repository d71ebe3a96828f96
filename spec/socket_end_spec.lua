local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local expect, met, rover = support.expect, support.met, support.rover
local run, serve = support.run, support.serve

local bytes, deaf, gather = sockets.bytes, sockets.deaf, sockets.gather
local keep, note, open = sockets.keep, sockets.note, sockets.open
local same, settle, untilClosed = sockets.same, sockets.settle,
  sockets.untilClosed
local PLENTY = sockets.PLENTY

-- How often the loop comes round until a timer expires. A loop that something
-- keeps ready comes round thousands of times.
local function turns(ms)
  local timer, over, n = uv.new_timer(), false, 0
  uv.update_time()
  timer:start(ms, 0, function() over = true end)
  run(function()
    n = n + 1
    return over
  end)
  timer:close()
  return n
end

describe("reading a kept socket", function()
  it("begins when a data handler is set, and not before", function()
    local socket, peer = keep(nil, { send = "7\r\nfirst" })
    settle()
    peer:write(" second")
    settle()
    local notes = note(socket, true)
    peer:write(" third")
    run(function() return (notes[1] or ""):match("third$") end)
    assert.same({ "data first second third" }, notes)
  end)

  it("begins in the connection handler, with what follows the slot line",
    function()
      local server = serve { send = "7\r\nfirst" }
      local r = rover { port = server.port }
      local notes
      r:on("connection", function(_, socket) notes = note(socket, true) end)
      r:connect()
      run(function() return notes and notes[1] end)
      settle()
      assert.same({ "data first" }, notes)
    end)

  it("takes no byte while nobody reads, and then each exactly once", function()
    local socket, peer = keep()
    local data, sent = bytes(PLENTY), false
    peer:write(data, function() sent = true end)
    settle()
    -- Both kernels' buffers are full, and the peer has to wait.
    local stalled = peer.handle:write_queue_size()
    assert.is_true(stalled > 0)
    for _ = 1, 20 do settle() end
    assert.equal(stalled, peer.handle:write_queue_size())
    assert.is_false(sent)

    local pieces, length = {}, 0
    socket:on("data", function(chunk)
      pieces[#pieces + 1] = chunk
      length = length + #chunk
    end)
    run(function() return length >= #data end)
    settle()
    same(data, table.concat(pieces))
    assert.is_true(sent)
  end)

  it("stops when the last handler is removed; the rest stays in the kernel",
    function()
      local socket, peer = keep()
      local taken = {}
      local function first(chunk) taken[#taken + 1] = "1" .. chunk end
      local function second(chunk) taken[#taken + 1] = "2" .. chunk end
      socket:on("data", first):on("data", second)
      peer:write("a")
      run(function() return #taken == 2 end)
      socket:off("data", first)
      peer:write("b")
      run(function() return #taken == 3 end)
      socket:off("data", second)
      peer:write("c")
      settle()
      peer:write("d")
      settle()
      assert.same({ "1a", "2a", "2b" }, taken)
      local _, got = open(socket:detach())
      run(function() return got.length >= 2 end)
      assert.equal("cd", got.text())
    end)

  it("stops in the middle of much data, and goes on, losing nothing",
    function()
      local socket, peer = keep()
      local data, pieces, length = bytes(4 * 1024 * 1024), {}, 0
      local function one(chunk)
        pieces[#pieces + 1] = chunk
        length = length + #chunk
        socket:off("data", one)
      end
      peer:write(data)
      while length < #data do
        local chunks = #pieces
        socket:on("data", one)
        run(function() return #pieces > chunks end)
        assert.equal(chunks + 1, #pieces)
        if chunks % 8 == 0 then settle() end
        assert.equal(chunks + 1, #pieces)
      end
      same(data, table.concat(pieces))
    end)

  it("calls several handlers in order of registration", function()
    local socket, peer = keep()
    local order = {}
    for i = 1, 3 do
      socket:on("data", expect(function(chunk)
        order[#order + 1] = i .. chunk
      end))
    end
    peer:write("x")
    run(met)
    assert.same({ "1x", "2x", "3x" }, order)
  end)

  it("begins with a handler set in a data handler at the next chunk",
    function()
      local socket, peer = keep()
      local seen = {}
      socket:on("data", function(chunk)
        seen[#seen + 1] = "1" .. chunk
        if #seen > 1 then return end
        socket:on("data", function(more) seen[#seen + 1] = "2" .. more end)
      end)
      peer:write("a")
      run(function() return #seen > 0 end)
      peer:write("b")
      run(function() return #seen == 3 end)
      assert.same({ "1a", "1b", "2b" }, seen)
    end)

  it("gives every byte value", function()
    local every = {}
    for byte = 0, 255 do every[#every + 1] = string.char(byte) end
    every = table.concat(every)
    local socket, peer = keep(nil, { send = "7\r\n" .. every })
    local notes = note(socket, true)
    run(function() return notes[1] and #notes[1] >= 5 + #every end)
    same("data " .. every, notes[1])
    socket:write(every)
    run(function() return #peer.received >= #every end)
    same(every, peer.received)
  end)

  it("does not keep the loop busy, nor do bytes that nobody reads", function()
    local socket, peer = keep()
    peer:write("unread")
    settle()
    assert.is_true(turns(20) < 20)
    local notes = note(socket, true)
    run(function() return notes[1] end)
    assert.is_true(turns(20) < 20)
  end)
end)

describe("pausing a kept socket", function()
  it("stops reading, and leaves the rest in the kernel and handlers there",
    function()
      local socket, peer = keep()
      local notes = note(socket, true)
      peer:write("one")
      run(function() return notes[1] end)
      assert.equal(socket, socket:pause())
      assert.equal(socket, socket:pause())
      peer:write(" two")
      settle()
      assert.same({ "data one" }, notes)
      assert.equal(socket, socket:resume())
      assert.equal(socket, socket:resume())
      run(function() return notes[1] == "data one two" end)
      socket:pause()
      peer:write(" three")
      settle()
      local _, got = open(socket:detach())
      run(function() return got.length == 6 end)
      assert.equal(" three", got.text())
    end)

  it("holds for handlers that come later, until it is resumed", function()
    local socket, peer = keep()
    local got = {}
    local function first(chunk) got[#got + 1] = "1" .. chunk end
    local function second(chunk) got[#got + 1] = "2" .. chunk end
    peer:write("x")
    settle()
    socket:pause():on("data", first):on("data", second)
    settle()
    socket:off("data", first)
    assert.same({}, got)
    socket:resume()
    run(function() return #got == 1 end)
    assert.same({ "2x" }, got)
  end)

  it("ends without a word while nobody listens to data", function()
    local socket, peer = keep()
    local seen = {}
    local function onData(chunk) seen[#seen + 1] = chunk end
    peer:write("x")
    socket:on("data", onData, { observer = true }):resume()
    settle()
    socket:pause():resume()
    settle()
    assert.same({}, seen)
    local notes = note(socket, true)
    run(function() return notes[1] end)
    assert.same({ "x" }, seen)
  end)

  it("ends when all handlers are let go, and for whom it is passed on to",
    function()
      local socket, peer = keep()
      socket:pause():off()
      local notes = note(socket, true)
      peer:write("one")
      run(function() return notes[1] end)
      socket = assert(socket:pause():pass())
      notes = note(socket, true)
      peer:write("two")
      run(function() return notes[1] end)
      assert.same({ "data two" }, notes)
    end)

  it("makes a sender wait for a slower receiver, and loses nothing", function()
    local from, source = keep()
    local to, sink = keep()
    deaf(sink)
    local data, most, pauses, ended = bytes(PLENTY), 0, 0, false
    from:on("data", function(chunk)
      to:write(chunk)
      if not ended then most = math.max(most, to:writeQueueSize()) end
      if to:writeQueueSize() > 65536 then
        from:pause()
        pauses = pauses + 1
      end
    end)
    to:on("drain", function() from:resume() end)
    from:on("end", function()
      ended = true
      from:resume()
    end)
    from:on("close", function() to:shutdown() end) -- behind all of it
    source:write(data):shutdown()
    for _ = 1, 20 do settle() end
    assert.is_true(pauses > 0)
    assert.is_true(source.handle:write_queue_size() > 0)
    local got = gather(sink)
    run(function() return got.over end)
    same(data, got.text())
    assert.is_true(most < 65536 * 3, most)
  end)

  it("in the middle of much data costs and doubles no byte", function()
    local socket, peer = keep()
    local data, pieces, length = bytes(4 * 1024 * 1024), {}, 0
    socket:on("data", function(chunk)
      pieces[#pieces + 1] = chunk
      length = length + #chunk
      socket:pause()
      if #pieces % 2 == 0 then socket:resume():pause() end
    end)
    peer:write(data)
    while length < #data do
      local chunks = #pieces
      socket:resume()
      run(function() return #pieces > chunks end)
      if chunks % 8 == 0 then settle() end
      assert.equal(chunks + 1, #pieces)
    end
    same(data, table.concat(pieces))
  end)

  it("leaves the peer's end to be noticed as while nobody reads", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    socket:pause()
    peer:write("unread"):shutdown()
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
  end)

  it("may be ended in the end handler, to have what was unread", function()
    local socket, peer = keep()
    local data = bytes(16 * 1024)
    local notes, got = note(socket), ""
    socket:on("data", function(chunk)
      got = got .. chunk
      socket:pause() -- without effect by now
    end)
    socket:on("end", function() socket:resume() end):pause()
    peer:write(data):shutdown()
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
    same(data, got)
  end)

  it("outlasts the peer's end where half-open connections are allowed",
    function()
      local socket, peer = keep { allowHalfOpen = true }
      local notes = note(socket, true)
      socket:pause()
      peer:write("unread"):shutdown()
      run(function() return notes[1] == "end" end)
      settle()
      assert.same({ "end" }, notes)
      socket:resume()
      run(function() return notes[2] end)
      socket:close()
      untilClosed(notes)
      assert.same({ "end", "data unread", "close" }, notes)
    end)

  it("lets a reset be noticed", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    socket:pause()
    peer:write("unread", function() peer:reset() end)
    untilClosed(notes)
    assert.same({ "close ECONNRESET" }, notes)
  end)

  it("is harmless on one that is closed or passed on", function()
    local socket = keep()
    local other = socket:pass()
    assert.equal(socket, socket:pause():resume())
    other:pause():close()
    assert.equal(other, other:resume():pause())
  end)
end)

describe("the peer's end of a kept socket", function()
  it("gives end and then close, while nobody reads", function()
    for _, how in ipairs { "shutdown", "close" } do
      local socket, peer, r = keep()
      local notes = note(socket)
      local closedInEnd
      socket:on("end", function() closedInEnd = socket.closed end)
      peer[how](peer)
      untilClosed(notes)
      settle()
      assert.same({ "end", "close" }, notes)
      assert.is_false(closedInEnd)
      assert.is_true(socket.closed)
      assert.same({}, r:sockets())
    end
  end)

  it("gives data, end and then close, while somebody reads", function()
    for _, how in ipairs { "shutdown", "close" } do
      local socket, peer = keep()
      local notes = note(socket, true)
      peer:write("last words")
      peer[how](peer)
      untilClosed(notes)
      settle()
      assert.same({ "data last words", "end", "close" }, notes)
    end
  end)

  it("is noticed though nobody listens to it", function()
    local socket, peer, r = keep()
    peer:close()
    run(function() return socket.closed end)
    assert.equal(0, r:stats().kept)
  end)

  it("is noticed when it comes with the slot line", function()
    local server = serve { send = "7\r\n", finish = "close" }
    local r = rover { port = server.port }
    local notes
    r:on("connection", function(_, socket) notes = note(socket) end)
    r:connect()
    run(function() return notes and #notes == 2 end)
    assert.same({ "end", "close" }, notes)
  end)

  it("is noticed at once while bytes wait that nobody reads", function()
    local socket, peer = keep(nil, { send = "7\r\nunread" })
    local notes = note(socket)
    settle()
    assert.same({}, notes)
    peer:write(" more")
    settle()
    peer:shutdown()
    untilClosed(notes)
    settle()
    assert.same({ "end", "close" }, notes)
  end)

  it("is noticed when reading has stopped amid the bytes", function()
    local socket, peer = keep()
    local notes = note(socket)
    local taken
    local function one(chunk)
      taken = chunk
      socket:off("data", one)
    end
    socket:on("data", one)
    peer:write("read")
    run(function() return taken end)
    peer:write("unread")
    settle()
    assert.same({}, notes)
    peer:close()
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
    assert.equal("read", taken)
  end)

  it("lets a data handler that is set in the end handler have the bytes",
    function()
      local socket, peer = keep()
      -- No more than the kernel takes in: the end comes behind it.
      local data = bytes(16 * 1024)
      local notes = note(socket)
      peer:write(data):shutdown()
      socket:on("end", function()
        notes[2] = "data "
        socket:on("data", function(chunk) notes[2] = notes[2] .. chunk end)
      end)
      untilClosed(notes)
      settle()
      assert.equal(3, #notes)
      assert.equal("end", notes[1])
      same("data " .. data, notes[2])
      assert.equal("close", notes[3])
    end)

  it("closes when that handler is removed before the end", function()
    local socket, peer = keep()
    local notes = note(socket)
    peer:write("unread"):shutdown()
    local chunks = 0
    local function one()
      chunks = chunks + 1
      socket:off("data", one)
    end
    socket:on("end", function() socket:on("data", one) end)
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
    assert.equal(1, chunks)
  end)

  it("lets what was written be sent before the socket closes", function()
    for _, reading in ipairs { false, true } do
      local socket, peer = keep()
      local data = bytes(PLENTY)
      deaf(peer)
      local notes = note(socket, reading)
      socket:write(data, expect(function(err) assert.is_nil(err) end))
      peer:shutdown()
      run(function() return notes[1] end)
      settle()
      assert.same({ "end" }, notes)
      assert.is_false(socket.closed)
      local got = gather(peer)
      run(function() return got.over end)
      assert.is_true(got.over)
      same(data, got.text())
      untilClosed(notes)
      run(met)
      assert.equal("close", notes[#notes])
    end
  end)

  it("lets what was written in the end handler be sent", function()
    local socket, peer = keep()
    deaf(peer)
    local data = bytes(PLENTY)
    local notes = note(socket)
    socket:on("end", function()
      socket:write(data, expect(function(err) assert.is_nil(err) end))
      socket:write("bye")
    end)
    peer:shutdown()
    run(function() return notes[1] end)
    local got = gather(peer)
    run(function() return got.over end)
    same(data .. "bye", got.text())
    assert.is_true(got.over)
    run(met)
    untilClosed(notes)
  end)

  it("lets what was written be sent though bytes wait unread", function()
    -- Closing a descriptor on which bytes wait makes the kernel reset the
    -- connection, and throw away what it has not sent yet.
    local socket, peer = keep()
    local data = bytes(PLENTY)
    deaf(peer)
    local notes = note(socket)
    socket:write(data, expect(function(err) assert.is_nil(err) end))
    peer:write("unread"):shutdown()
    run(function() return notes[1] end)
    local got = gather(peer)
    run(function() return got.over end)
    assert.equal(#data, got.length)
    assert.is_true(got.over)
    same(data, got.text())
    untilClosed(notes)
    run(met)
  end)

  it("refuses writes while the last ones are being sent", function()
    local socket, peer = keep()
    deaf(peer)
    local notes = note(socket)
    socket:write(("x"):rep(PLENTY))
    peer:shutdown()
    run(function() return notes[1] end)
    settle()
    assert.equal("EPIPE", select(3, socket:write("more", expect(nil, 0))))
    assert.equal("ENOTCONN", select(3, socket:shutdown(expect(nil, 0))))
    socket:close()
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
  end)
end)

describe("the peer's end, where half-open connections are allowed", function()
  local HALF = { allowHalfOpen = true }

  it("gives end, once, and the socket stays until it is shut down", function()
    for _, reading in ipairs { false, true } do
      local socket, peer, r = keep(HALF)
      local notes = note(socket, reading)
      peer:shutdown()
      run(function() return notes[1] end)
      settle()
      assert.same({ "end" }, notes)
      assert.equal(socket, r:sockets()[1])
      assert.is_true(turns(20) < 20)
      socket:write("still here")
      peer:take("^still here$")
      assert.is_false(socket.closed)
      socket:shutdown(expect())
      untilClosed(notes)
      settle()
      assert.same({ "end", "close" }, notes)
      assert.is_nil(peer:waitEnd())
      run(met)
    end
  end)

  it("leaves the bytes to whoever reads later, before end or after", function()
    local socket, peer = keep(HALF)
    local notes = note(socket)
    peer:write("unread"):shutdown()
    run(function() return notes[1] end)
    settle()
    local data = {}
    local function take(chunk) data[#data + 1] = chunk end
    socket:on("data", take)
    run(function() return data[1] end)
    settle()
    assert.same({ "unread" }, data)
    assert.same({ "end" }, notes)
    -- The end behind the bytes is no second one, however often it is read.
    socket:off("data", take):on("data", take)
    settle()
    assert.same({ "unread" }, data)
    assert.same({ "end" }, notes)
    assert.is_true(turns(20) < 20)
    socket:shutdown()
    untilClosed(notes)
  end)

  it("leaves the bytes to a handler that stops and goes on", function()
    local socket, peer = keep(HALF)
    local notes = note(socket)
    peer:write("unread"):shutdown()
    run(function() return notes[1] end)
    local chunks = 0
    local function one(chunk)
      assert.equal("unread", chunk)
      chunks = chunks + 1
      socket:off("data", one)
    end
    for _ = 1, 2 do
      socket:on("data", one)
      settle()
    end
    assert.equal(1, chunks)
    assert.same({ "end" }, notes)
    assert.is_false(socket.closed)
  end)

  it("closes by a shutdown in the end handler", function()
    local socket, peer = keep(HALF)
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
    run(met)
  end)

  it("closes a socket that was shut down once its reader stops", function()
    local socket, peer = keep(HALF)
    local notes = note(socket)
    peer:write("unread"):shutdown()
    run(function() return notes[1] end)
    local shut = false
    local function one()
      -- Both sides are ended: nothing can come of this socket any more.
      assert.is_true(shut)
      socket:off("data", one)
    end
    socket:on("data", one)
    socket:shutdown(expect(function() shut = true end))
    run(met)
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
  end)

  it("closes one that is shut down while it has no reader, then a reader",
    function()
      local socket, peer = keep(HALF)
      local notes = note(socket)
      local function take() end
      peer:write("unread"):shutdown()
      run(function() return notes[1] end)
      socket:on("data", take)
      socket:shutdown(expect(function() socket:off("data", take) end))
      untilClosed(notes)
      assert.same({ "end", "close" }, notes)
    end)

  it("still lets a reset be noticed", function()
    local socket, peer = keep(HALF)
    local notes = note(socket)
    peer:shutdown()
    run(function() return notes[1] end)
    settle()
    peer:reset()
    untilClosed(notes)
    -- To the kernel, writing is what is over now: EPIPE.
    assert.matches("^close E", notes[2])
  end)
end)

describe("a reset of a kept socket", function()
  local function check(notes, before)
    untilClosed(notes)
    settle()
    before[#before + 1] = "close ECONNRESET"
    assert.same(before, notes)
  end

  it("gives close with the error, while nobody reads", function()
    local socket, peer, r = keep()
    local notes = note(socket)
    socket:on("close", expect(function(err)
      assert.equal("ECONNRESET", err.code)
      assert.equal("s", err.id)
      assert.equal("connection reset by peer", err.message)
      assert.equal("s: connection reset by peer (ECONNRESET)", tostring(err))
      assert.is_true(socket.closed)
    end))
    peer:reset()
    check(notes, {})
    assert.same({}, r:sockets())
    assert.equal(1, r:stats().closed)
    run(met)
  end)

  it("gives close with the error, while bytes wait that nobody reads",
    function()
      local socket, peer = keep(nil, { send = "7\r\nunread" })
      local notes = note(socket)
      settle()
      peer:reset()
      check(notes, {})
    end)

  it("gives close with the error, when bytes came with it", function()
    local socket, peer = keep()
    local notes = note(socket)
    peer:write("unread"):reset()
    check(notes, {})
  end)

  it("gives close with the error, while somebody reads", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    peer:write("data")
    run(function() return notes[1] end)
    settle()
    peer:reset()
    check(notes, { "data data" })
  end)

  it("gives close with the error, behind bytes that somebody reads", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    peer:write("data")
    run(function() return notes[1] end)
    settle()
    peer:write(" and more"):reset()
    check(notes, { "data data and more" })
  end)

  it("is not taken for an end when data comes with it", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    peer:write("data"):reset()
    check(notes, { "data data" })
  end)

  it("is noticed after our own shutdown", function()
    local socket, peer = keep()
    local notes = note(socket)
    socket:shutdown()
    peer:waitEnd()
    peer:reset()
    check(notes, {})
  end)

  it("is noticed while writes wait, bytes unread", function()
    local socket, peer = keep(nil, { send = "7\r\nunread" })
    deaf(peer)
    local notes = note(socket)
    socket:write(("x"):rep(PLENTY), expect(function(err)
      assert.is_not_nil(err)
    end))
    settle()
    peer:reset()
    check(notes, {})
    run(met)
  end)

  it("comes back from a write that meets it first", function()
    local socket, peer = keep()
    local notes = note(socket)
    -- In the very turn of the reset, before the loop polls again.
    peer:reset()
    local result, message, code = socket:write("x")
    assert.is_nil(result)
    assert.equal("connection reset by peer", message)
    assert.equal("ECONNRESET", code)
    assert.is_true(socket.closed)
    assert.same({}, notes)
    untilClosed(notes)
    assert.same({ "close ECONNRESET" }, notes)
  end)
end)
