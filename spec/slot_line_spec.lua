local support = require "support"
local uv = require "luv"

local attempt, record, rover = support.attempt, support.record, support.rover
local run, serve = support.run, support.serve

-- Cuts a string into pieces of one byte.
local function bytes(text)
  local pieces = {}
  for byte in text:gmatch(".") do pieces[#pieces + 1] = byte end
  return pieces
end

describe("the slot line", function()
  -- What one attempt at a server of `support.serve` ends in: the event, and
  -- the server's end of the connection.
  local function meet(script, options)
    local server = serve(script)
    options = options or {}
    options.port = server.port
    local r = rover(options)
    local event = attempt(r, record(r))
    run(function() return #server.peers > 0 end)
    return event, server.peers[1], r
  end

  describe("that is valid", function()
    for text, slot in pairs {
      ["0"] = 0, ["13"] = 13, ["007"] = 7, ["0000000000"] = 0,
      ["2147483647"] = 2147483647,
    } do
      it(("gives slot %d for %q"):format(slot, text), function()
        local event, _, r = meet { send = text .. "\r\n" }
        assert.equal("connection", event.event)
        assert.equal(slot, event.slot)
        assert.equal("integer", math.type(event.slot))
        assert.equal(slot, event.socket.slot)
        assert.same({ event.socket }, r:sockets())
      end)
    end

    it("may come one byte at a time", function()
      local event = meet { send = bytes "2147483647\r\n" }
      assert.equal(2147483647, event.slot)
    end)

    it("may be cut at every byte", function()
      local line = "1234567890\r\n"
      for cut = 1, #line - 1 do
        local event = meet { send = { line:sub(1, cut), line:sub(cut + 1) } }
        assert.equal(1234567890, event.slot)
      end
    end)

    it("may come long after the connection", function()
      local server = serve()
      -- The attempts' deadline is of another phase by then.
      local r = rover { port = server.port, connectTimeout = 20 }
      local events = record(r)
      r:connect()
      run(function() return #server.peers == 1 end)
      local late = false
      local timer = uv.new_timer()
      finally(function() timer:close() end)
      timer:start(60, 0, function()
        late = true
        server.peers[1]:write("13\r\n")
      end)
      run(function() return #events == 1 end)
      assert.is_true(late)
      assert.equal(13, events[1].slot)
    end)
  end)

  describe("with bytes of the application behind it", function()
    -- Everything that could be taken for a part of the line.
    local application = "14\r\nhello\0\r\n\n" .. ("x"):rep(200)

    -- Reads the socket of an event until that many bytes have come.
    local function readFrom(event, length)
      local received = ""
      event.socket:on("data", function(chunk) received = received .. chunk end)
      run(function() return #received >= length end)
      return received
    end

    local function gives(send)
      local server = serve { send = send }
      local r = rover { port = server.port }
      local received = ""
      r:on("connection", function(_, socket)
        socket:on("data", function(chunk) received = received .. chunk end)
      end)
      r:connect()
      run(function() return #received >= #application end)
      assert.equal(application, received)
    end

    it("leaves exactly these to the data listener", function()
      gives("13\r\n" .. application)
    end)

    it("leaves them after the shortest and the longest line", function()
      gives("0\r\n" .. application)
      gives("2147483647\r\n" .. application)
    end)

    it("leaves them wherever the stream is cut", function()
      local line = "13\r\n"
      for cut = 1, #line - 1 do
        gives { line:sub(1, cut), line:sub(cut + 1) .. application }
      end
      gives { line, application }
    end)

    it("leaves them when the stream comes one byte at a time", function()
      gives(bytes("13\r\n" .. application))
    end)

    it("leaves them to a listener set in a later turn of the loop", function()
      local event, peer = meet { send = "13\r\n" .. application }
      -- Several turns, in which the rover watches a socket with bytes waiting.
      local client = support.connect(serve { send = bytes "abcd" }.port)
      client:take "abcd"
      assert.is_false(event.socket.closed)
      assert.equal(application, readFrom(event, #application))
      -- And what comes from now on follows.
      local more = ""
      event.socket:on("data", function(chunk) more = more .. chunk end)
      peer:write("more")
      run(function() return #more >= 4 end)
      assert.equal("more", more)
    end)

    it("leaves them when the line came one byte at a time and the listener is "
      .. "set later", function()
      local send = bytes "13\r\n"
      send[#send] = "\n" .. application
      local event = meet { send = send }
      assert.equal(application, readFrom(event, #application))
    end)

    it("leaves megabytes of them", function()
      local plenty = application:rep(20000)
      local event = meet { send = "13\r\n" .. plenty }
      local received = {}
      local length = 0
      event.socket:on("data", function(chunk)
        received[#received + 1] = chunk
        length = length + #chunk
      end)
      run(function() return length >= #plenty end)
      assert.is_true(table.concat(received) == plenty)
    end)
  end)

  describe("that is none", function()
    -- Checks that the bytes are one `error` that quotes them so.
    local function refused(send, quoted)
      local event, peer, r = meet { send = send }
      assert.equal("error", event.event)
      assert.equal("EPROTO", event.err.code)
      assert.equal("s", event.err.id)
      assert.equal("not a slot line: " .. quoted, event.err.message)
      assert.equal("s: not a slot line: " .. quoted .. " (EPROTO)",
        tostring(event.err))
      -- The connection is closed, not left to the server.
      peer:waitEnd()
      local stats = r:stats()
      assert.equal(1, stats.attempts)
      assert.equal(1, stats.errors)
      assert.equal(0, stats.connections)
      assert.same({}, r:sockets())
    end

    for name, case in pairs {
      ["an HTTP answer"] =
        { "HTTP/1.1 400 Bad Request\r\n", [["HTTP/1.1 400 Bad Request\r\n"]] },
      ["an SSH banner"] =
        { "SSH-2.0-OpenSSH_9.2\r\n", [["SSH-2.0-OpenSSH_9.2\r\n"]] },
      ["a negative number"] = { "-1\r\n", [["-1\r\n"]] },
      ["a sign"] = { "+1\r\n", [["+1\r\n"]] },
      ["an empty line"] = { "\r\n", [["\r\n"]] },
      ["a line feed alone"] = { "\n", [["\n"]] },
      ["a line without CR"] = { "13\n", [["13\n"]] },
      ["a CR without LF"] = { "13\rx", [["13\rx"]] },
      ["two CRs"] = { "13\r\r\n", [["13\r\r\n"]] },
      ["a blank in front"] = { " 13\r\n", [[" 13\r\n"]] },
      ["a blank behind"] = { "13 \r\n", [["13 \r\n"]] },
      ["a blank line"] = { " \r\n", [[" \r\n"]] },
      ["a fraction"] = { "1.5\r\n", [["1.5\r\n"]] },
      ["an exponent"] = { "1e3\r\n", [["1e3\r\n"]] },
      ["a hexadecimal number"] = { "0x1f\r\n", [["0x1f\r\n"]] },
      ["11 digits"] = { "12345678901\r\n", [["12345678901\r\n"]] },
      ["11 zeros"] = { "00000000000\r\n", [["00000000000\r\n"]] },
      ["a number just above the highest"] =
        { "2147483648\r\n", [["2147483648\r\n"]] },
      ["10 nines"] = { "9999999999\r\n", [["9999999999\r\n"]] },
      ["NUL bytes"] = { "\0\0\r\n", [["\x00\x00\r\n"]] },
      ["a NUL in the number"] = { "1\0003\r\n", [["1\x003\r\n"]] },
      ["a quote and a backslash"] = { '"\\\r\n', [["\"\\\r\n"]] },
      ["UTF-8"] = { "\u{661}\r\n", [["\xd9\xa1\r\n"]] }, -- a digit, not ASCII
    } do
      it("refuses " .. name, function() refused(table.unpack(case)) end)
    end

    it("is refused when it comes one byte at a time", function()
      local event, peer, r = meet { send = bytes "1x\r\n" }
      assert.equal("EPROTO", event.err.code)
      assert.matches('^not a slot line: "1x', event.err.message)
      peer:waitEnd()
      assert.equal(1, r:stats().errors)
    end)

    it("is refused at the first wrong byte, without waiting for more",
      function()
        refused("1234567890a", [["1234567890a"]])
        refused("x", [["x"]])
      end)

    it("is quoted up to a length, and marked as cut", function()
      local event = meet { send = ("y"):rep(200) .. "\r\n" }
      assert.equal("EPROTO", event.err.code)
      assert.matches('^not a slot line: "y+%.%.%."$', event.err.message)
      assert.is_true(#event.err.message <= 120)
      event = meet { send = ("\1"):rep(200) .. "\r\n" }
      assert.matches([[^not a slot line: "[\x01]+%.%.%."$]], event.err.message)
      assert.is_true(#event.err.message <= 120)
    end)

    it("is refused however much of it there is", function()
      for _, text in ipairs { "z", "1", "0", "\0" } do
        local event, peer, r = meet { send = text:rep(8 * 1024 * 1024) }
        assert.equal("EPROTO", event.err.code)
        run(function() return peer.closed or peer.ended end)
        local stats = r:stats()
        assert.equal(1, stats.attempts)
        assert.equal(1, stats.errors)
      end
    end)

    it("does not become a connection by what follows", function()
      local event, peer, r = meet { send = { "garbage\r\n", "13\r\n" } }
      assert.equal("EPROTO", event.err.code)
      peer:waitEnd()
      assert.equal(0, r:stats().connections)
    end)

    it("is an error even if the server closes right behind it", function()
      for _, finish in ipairs { "close", "shutdown", "reset" } do
        local event = meet { send = "220 ready\r\n", finish = finish }
        assert.equal("EPROTO", event.err.code)
      end
    end)
  end)

  -- A server that accepts, sends a line, resets, and only then says so.
  local RESETS = [[
import socket, struct, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
peer = listener.accept()[0]
peer.sendall(sys.argv[1].encode())
peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
peer.close()
open(sys.argv[2], "w").write("reset")
]]

  for line, event in pairs { ["220 ready"] = "error", ["3"] = "connection" } do
    it(("%q is read behind a reset that came before we looked"):format(line),
        function()
      local path = support.tmpfile("", "reset")
      local child = support.spawn("python3", { "-c", RESETS, line .. "\r\n",
        path }, { env = { LD_PRELOAD = false } }) -- a sanitizer's is for us
      run(function() return child.stdout:find "\n" end)
      local r = rover { port = tonumber(child.stdout:match "%d+") }
      local events = record(r)
      r:connect()
      local late = uv.hrtime() + support.TIMEOUT * 1e9
      repeat
        local file <close> = assert(io.open(path))
      until file:read "a" == "reset" or uv.hrtime() > late
      run(function() return #events > 0 end)
      assert.equal(event, events[1].event)
      assert.equal(event == "error" and "EPROTO" or nil,
        events[1].err and events[1].err.code)
      assert.same({ 0, 0 }, { child:wait() })
    end)
  end

  it("keeps none of many bad connections", function()
    local server = serve { send = "bad\r\n" }
    local r = rover { port = server.port, rovingInterval = 1 }
    local events = record(r)
    r:start()
    run(function() return #events >= 50 end)
    r:stop()
    for _, event in ipairs(events) do
      assert.equal("EPROTO", event.err.code)
    end
    assert.equal(#events, r:stats().errors)
    run(function()
      for _, peer in ipairs(server.peers) do
        if not (peer.ended or peer.closed) then return false end
      end
      return true
    end)
  end)
end)
