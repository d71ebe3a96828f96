local server = require "callosum.server"
local slots = require "callosum.slots"
local support = require "support"
local uv = require "luv"

local connect, run, expect = support.connect, support.run, support.expect
local met, misuse = support.met, support.misuse
local settle = require("support.sockets").settle

-- More than the buffers of both ends hold: a write of this stays pending.
local PLENTY = ("x"):rep(64 * 1024 * 1024)

-- Slots that count how often each is put back.
local function counted(options)
  local inner, puts = slots.new(options), 0
  return {
    get = function() return inner:get() end,
    put = function(_, slot)
      puts = puts + 1
      inner:put(slot)
    end,
    count = function() return inner:count() end,
    puts = function() return puts end,
  }
end

-- Tells whether a port takes connections.
local function takes(port)
  local client = connect(port)
  run(function() return client.connected or client.closed end)
  client:close()
  return client.err == nil
end

describe("callosum.server", function()
  -- A server that closes when the test ends, and its port.
  local function listen(options)
    local s = assert(server.new(options))
    finally(function() s:close() end)
    return s, select(2, s:address())
  end

  -- A server and one connection to it: server, connection, client.
  local function pair(options)
    local s, port = listen(options)
    local conn
    local function take(c) conn = c end
    s:on("connection", take)
    local client = connect(port)
    assert.equal("0", client:line())
    return s:off("connection", take), conn, client
  end

  describe("new", function()
    it("listens at once, on a free port of 127.0.0.1", function()
      local s = listen()
      local host, port = s:address()
      assert.equal("127.0.0.1", host)
      assert.is_true(port > 0)
      assert.equal("0", connect(port):line())
    end)

    it("takes localhost for 127.0.0.1", function()
      assert.equal("127.0.0.1", (listen { host = "localhost" }:address()))
    end)

    it("listens on an IPv6 address", function()
      local s, port = listen { host = "::1" }
      assert.equal("::1", (s:address()))
      assert.equal("0", connect(port, "::1"):line())
    end)

    it("reports EADDRINUSE, where, and what to do", function()
      local _, port = listen()
      local s, message, code = server.new { port = port }
      assert.is_nil(s)
      assert.equal("EADDRINUSE", code)
      assert.equal(("cannot listen on 127.0.0.1:%d: address already in use "
        .. "(EADDRINUSE); stop what listens there, or choose another port "
        .. "(0 takes a free one)"):format(port), message)
    end)

    it("reports an address that is not this machine's", function()
      local s, message, code = server.new { host = "192.0.2.1" }
      assert.is_nil(s)
      assert.equal("EADDRNOTAVAIL", code)
      assert.matches("^cannot listen on 192.0.2.1:0: address not available",
        message)
    end)

    it("reports a host that is no address", function()
      local s, message, code = server.new { host = "example.org", port = 80 }
      assert.is_nil(s)
      assert.equal("EINVAL", code)
      assert.equal("cannot listen on example.org:80: "
        .. "the host is not an IP address (EINVAL)", message)
    end)

    it("refuses misuse at the caller's line", function()
      misuse(function() server.new(4040) end,
        "bad argument #1 to 'new' (table expected, got number)")
      misuse(function() server.new { prot = 4040 } end,
        "bad argument #1 to 'new' (unknown option 'prot', nearest is 'port')")
      misuse(function() server.new { timeout = 5 } end,
        "bad argument #1 to 'new' (unknown option 'timeout', valid are host, "
          .. "port, slots, weight, keepalive, backlog, allowHalfOpen)")
      for _, port in ipairs { -1, 65536, 40.5, "4040", false } do
        local shown = type(port) == "string" and "'4040'" or tostring(port)
        misuse(function() server.new { port = port } end,
          "bad argument #1 to 'new' (port: integer from 0 to 65535 "
            .. "expected, got " .. shown .. ")")
      end
      misuse(function() server.new { host = "" } end,
        "bad argument #1 to 'new' (host: string of 1 to 255 bytes expected, "
          .. "got an empty one)")
      misuse(function() server.new { host = 1 } end,
        "bad argument #1 to 'new' (host: string of 1 to 255 bytes expected, "
          .. "got "
          .. "number)")
      misuse(function() server.new { keepalive = -1 } end,
        "bad argument #1 to 'new' (keepalive: integer from 0 to 32767 "
          .. "expected, "
          .. "got -1)")
      misuse(function() server.new { backlog = 0 } end,
        "bad argument #1 to 'new' (backlog: integer from 1 to 65535 "
          .. "expected, got "
          .. "0)")
      misuse(function() server.new { allowHalfOpen = 1 } end,
        "bad argument #1 to 'new' (allowHalfOpen: boolean expected, got 1)")
      misuse(function() server.new { slots = 7 } end,
        "bad argument #1 to 'new' (slots: object with the methods get and put "
          .. "expected, got number)")
    end)
  end)

  describe("on and off", function()
    it("refuse an event that does not exist, naming those that do", function()
      local s, conn = pair()
      misuse(function() s:on("connect", print) end,
        "bad argument #1 to 'on' (unknown event 'connect', nearest is "
          .. "'connection')")
      misuse(function() s:off("close", print) end,
        "bad argument #1 to 'off' (unknown event 'close', valid are "
          .. "connection, error)")
      misuse(function() conn:on("drain", print) end,
        "bad argument #1 to 'on' (unknown event 'drain', valid are data, "
          .. "end, close)")
    end)

    it("refuse a handler that is no function", function()
      local s = listen()
      misuse(function() s:on("error") end,
        "bad argument #2 to 'on' (function expected, got nil)")
      misuse(function() s:off("error", "print") end,
        "bad argument #2 to 'off' (function expected, got 'print')")
    end)

    it("run handlers in order, and removed ones no more", function()
      local s, port = listen()
      local seen = {}
      local function note(what)
        return function() seen[#seen + 1] = what end
      end
      local second = note(2)
      s:on("connection", note(1)):on("connection", second)
      s:on("connection", note(3)):off("connection", second)
      s:off("connection", print)
      connect(port):line()
      assert.same({ 1, 3 }, seen)
    end)
  end)

  describe("a connection", function()
    it("gets its slot in a line, before all else", function()
      local s, port = listen()
      s:on("connection", function(conn) conn:write("hello\r\n") end)
      local client = connect(port)
      assert.equal("0\r\nhello\r\n", client:take("^.-hello\r\n"))
    end)

    it("gets the lowest free slot", function()
      local s, port = listen()
      local clients, given = {}, {}
      s:on("connection", function(conn, slot)
        assert.equal(slot, conn.slot)
        given[#given + 1] = slot
      end)
      for slot = 0, 3 do
        clients[slot] = connect(port)
        assert.equal(tostring(slot), clients[slot]:line())
      end
      clients[2]:close()
      clients[1]:close()
      run(function() return #s:connections() == 2 and s.slots:count() == 2 end)
      for _, slot in ipairs { "1", "2", "4" } do
        assert.equal(slot, connect(port):line())
      end
      assert.same({ 0, 1, 2, 3, 1, 2, 4 }, given)
    end)

    it("shares its slots with the connections of other servers", function()
      local shared = slots.new()
      local _, first = listen { slots = shared }
      local _, second = listen { slots = shared }
      assert.equal("0", connect(first):line())
      assert.equal("1", connect(second):line())
      assert.equal("2", connect(first):line())
    end)

    it("gets one by the server's weight", function()
      local s, port = listen { weight = 2 }
      local clients = {}
      for i, slot in ipairs { "0", "0", "1", "1", "2" } do
        clients[i] = connect(port)
        assert.equal(slot, clients[i]:line())
      end
      clients[2]:close()
      run(function() return #s:connections() == 4 end)
      assert.equal("0", connect(port):line())
      assert.equal("2", connect(port):line())
      misuse(function() server.new { weight = 2, slots = slots.new() } end,
        "bad argument #1 to 'new' (weight: it is for the slots to have, as in "
          .. "slots.new { weight = 2 })")
    end)

    it("is listed by its server, lowest slot first, while open", function()
      local s, port = listen()
      for _ = 1, 12 do connect(port):line() end
      local listed = {}
      for i, conn in ipairs(s:connections()) do listed[i] = conn.slot end
      assert.same({ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 }, listed)
      s:connections()[5]:close()
      assert.equal(5, s:connections()[5].slot)
    end)

    it("tells both its addresses", function()
      local s, conn, client = pair()
      local theirs = client.handle:getsockname()
      assert.same({ theirs.ip, theirs.port }, { conn:peername() })
      assert.same({ s:address() }, { conn:sockname() })
    end)

    it("has TCP keepalive on, unless told otherwise", function()
      -- Whether the kernel's timer of a socket is the keepalive timer (02).
      local function timer(port)
        local hex = ("%04X"):format(port)
        for line in io.lines("/proc/net/tcp") do
          local mine, kind = line:match(
            "^%s*%d+: %x+:(%x+) %x+:%x+ 01 %x+:%x+ (%x+):")
          if mine == hex then return kind end
        end
      end
      local probed = pair()
      local _, conn = pair { keepalive = 0 }
      -- The kernel's other timers stop once the slot line is acknowledged.
      run(function() return timer(select(2, probed:address())) == "02" end)
      local _, port = conn:sockname()
      run(function() return timer(port) == "00" end)
    end)

    it("passes on what the client sends", function()
      local _, conn, client = pair()
      local got = ""
      conn:on("data", function(chunk)
        got = got .. chunk
        conn:write { "got ", chunk, "\r\n" }
      end)
      client:write("a\0b")
      assert.equal("got a\0b", client:line())
      assert.equal("a\0b", got)
    end)

    it("discards what nobody listens for, and notices the end", function()
      local s, port = listen()
      local client = connect(port)
      s:on("connection", function(conn)
        conn:on("close", expect(function(err) assert.is_nil(err) end))
      end)
      client:write(("x"):rep(1000000), function() client:shutdown() end)
      run(met)
      assert.is_nil(client:waitEnd())
    end)

    describe("that is paused", function()
      it("reads nothing until it is resumed, and then goes on", function()
        local s, conn, client = pair()
        local got = ""
        conn:on("data", function(chunk) got = got .. chunk end)
        conn:on("end", expect())
        conn:on("close", expect(function(err) assert.is_nil(err) end))
        assert.equal(conn, conn:pause():pause())
        client:write("one ", expect(function() client:shutdown() end))
        assert.equal("1", connect(select(2, s:address())):line())
        settle()
        assert.equal("", got)
        conn:write("still there\r\n")
        assert.equal("still there", client:line())
        assert.equal(conn, conn:resume():resume())
        run(met)
        assert.equal("one ", got)
        assert.equal(conn, conn:pause():resume())
      end)

      it("may be so from the beginning", function()
        local s, port = listen()
        local conn, got
        s:on("connection", function(c)
          conn = c:pause():on("data", function(chunk) got = chunk end)
        end)
        local client = connect(port)
        assert.equal("0", client:line())
        client:write("hello", expect())
        run(met)
        settle()
        assert.is_nil(got)
        conn:resume()
        run(function() return got end)
        assert.equal("hello", got)
      end)

      it("makes who sends wait, as far as the buffers go", function()
        local _, conn, client = pair()
        local got, written = 0, false
        conn:on("data", function(chunk)
          got = got + #chunk
          if conn:pause() and got < #PLENTY then
            conn:write("", function() conn:resume() end) -- once that is out
          end
        end)
        client:write(PLENTY, function() written = true end)
        run(function() return got == #PLENTY end)
        run(function() return written end)
        client:write("more")
        settle()
        assert.equal(#PLENTY, got)
      end)

      it("closes as any other, when the client has ended, too", function()
        local s, conn, client = pair()
        conn:on("end", expect(function() conn:pause():resume() end))
        client:shutdown()
        conn:on("close", expect())
        run(met)
        assert.equal(0, s.slots:count())
        assert.equal(conn, conn:resume())
      end)
    end)

    it("calls back when data is written", function()
      local _, conn, client = pair()
      local function written(err) assert.is_nil(err) end
      assert.equal(conn, conn:write("one ", expect(written)))
      assert.equal(conn, conn:write({}, expect(written)))
      assert.equal(conn, conn:write({ "two", "", "\r\n" }, expect(written)))
      run(met)
      assert.equal("one two", client:line())
    end)

    it("refuses to write what is no string, at the caller's line", function()
      local _, conn = pair()
      misuse(function() conn:write(1) end,
        "bad argument #1 to 'write' (string or array of strings expected, "
          .. "got number)")
      misuse(function() conn:write { "one", 2 } end,
        "bad argument #1 to 'write' (string or array of strings expected, "
          .. "got number at index 2)")
      misuse(function() conn:write("one", 2) end,
        "bad argument #2 to 'write' (function expected, got 2)")
      misuse(function() conn:shutdown(2) end,
        "bad argument #1 to 'shutdown' (function expected, got 2)")
    end)

    it("refuses to write once it is closed or ended", function()
      local _, conn = pair()
      local never = expect(nil, 0)
      conn:shutdown()
      assert.equal("EPIPE", select(3, conn:write("late", never)))
      assert.equal("ENOTCONN", select(3, conn:shutdown(never)))
      conn:close()
      assert.is_true(conn.closed)
      assert.same({ nil, "the connection is closed", "EPIPE" },
        { conn:write("late", never) })
      assert.same({ nil, "the connection is closed", "EPIPE" },
        { conn:shutdown(never) })
      assert.equal("EBADF", select(3, conn:peername()))
    end)

    it("can still be written to when the client has ended", function()
      local _, conn, client = pair()
      conn:on("end", expect(function() conn:write("bye\r\n") end))
      conn:on("close", expect(function(err) assert.is_nil(err) end))
      client:shutdown()
      assert.equal("bye", client:line())
      assert.is_nil(client:waitEnd())
      run(met)
    end)

    it("keeps its slot until all is written after the end", function()
      local s, conn, client = pair()
      client.handle:read_stop()
      local written = false
      conn:write(PLENTY, function(err)
        assert.is_nil(err)
        written = true
      end)
      conn:on("end", expect())
      client:shutdown()
      run(met)
      assert.is_false(written)
      assert.equal(1, s.slots:count())
      conn:on("close", expect(function()
        assert.is_true(written)
        assert.equal(0, s.slots:count())
      end))
      local received, ended = 0, false
      client.handle:read_start(function(_, chunk)
        if chunk then received = received + #chunk else ended = true end
      end)
      run(function() return ended end)
      run(met)
      assert.equal(#PLENTY, received)
    end)

    it("outlives the client's end if told so", function()
      local s, conn, client = pair { allowHalfOpen = true }
      conn:on("end", expect())
      client:shutdown()
      run(met)
      conn:write("still here\r\n")
      assert.equal("still here", client:line())
      assert.is_false(conn.closed)
      conn:on("close", expect(function(err) assert.is_nil(err) end))
      conn:shutdown(expect(function(err) assert.is_nil(err) end))
      assert.is_nil(client:waitEnd())
      run(met)
      assert.equal(0, s.slots:count())
    end)
  end)

  -- Each ending is given the connection, the client and the server, and tells
  -- by its result which error `close` comes with.
  local endings = {
    ["the client closes it"] = function(_, client) client:close() end,
    ["the client resets it"] = function(_, client)
      client:reset()
      return "ECONNRESET"
    end,
    ["the client ends its side"] = function(_, client) client:shutdown() end,
    ["we close it"] = function(conn) conn:close() end,
    ["we close it twice"] = function(conn) conn:close():close() end,
    ["we and the client close it at once"] = function(conn, client)
      client:close()
      conn:close()
    end,
    ["both sides end it"] = function(conn, client)
      conn:shutdown()
      client:shutdown()
    end,
    ["the server closes"] = function(_, _, s) s:close() end,
    ["we close it with writes pending"] = function(conn)
      conn:write(PLENTY, expect(function(err)
        assert.equal("ECANCELED", err.code)
      end))
      conn:close()
    end,
    ["the client resets it with writes pending"] = function(conn, client)
      client.handle:read_stop()
      conn:write(PLENTY, expect(function(err)
        assert.is_string(err.code)
      end))
      client:reset()
      return "ECONNRESET"
    end,
    ["the client leaves for good with writes pending"] = function(conn, client)
      client.handle:read_stop()
      conn:write(PLENTY, expect(function(err)
        assert.is_string(err.code)
      end))
      conn:on("end", function() client:reset() end)
      client:shutdown()
      return "EPIPE"
    end,
    ["a handler closes it when data comes"] = function(conn, client)
      conn:on("data", function() conn:close() end)
      client:write("x")
    end,
    ["a handler closes it when the client ends"] = function(conn, client)
      conn:on("end", function() conn:close() end)
      client:shutdown()
    end,
  }

  describe("frees a slot exactly once when", function()
    for name, ending in pairs(endings) do
      it(name, function()
        local held = counted()
        local s, conn, client = pair { slots = held }
        local expected
        conn:on("close", expect(function(err)
          assert.equal(expected, err and err.code)
          assert.equal(0, held:count())
          assert.is_true(conn.closed)
        end))
        expected = ending(conn, client, s)
        run(met)
        s:close(expect())
        run(met)
        assert.equal(1, held:puts())
      end)
    end

    for _, how in ipairs { "close", "reset" } do
      it("the client leaves before it is accepted, by a " .. how, function()
        local held = counted()
        local s, port = listen { slots = held }
        local ended = 0
        s:on("connection", function(conn)
          conn:on("close", function() ended = ended + 1 end)
        end)
        -- Blocking system calls of their own would be needed to be sure; among
        -- so many, some leave before.
        for _ = 1, 50 do
          local client = uv.new_tcp()
          client:connect("127.0.0.1", port, function()
            if how == "close" then client:close() else client:close_reset() end
          end)
        end
        run(function() return ended == 50 end)
        assert.equal(0, held:count())
        assert.equal(50, held:puts())
        assert.equal("0", connect(port):line())
      end)
    end

    it("a connection handler closes it", function()
      local held = counted()
      local s, port = listen { slots = held }
      s:on("connection", function(conn)
        conn:on("close", expect())
        conn:close()
      end)
      local client = connect(port)
      client:waitEnd()
      run(met)
      assert.equal(1, held:puts())
    end)

    it("a connection handler raises an error", function()
      local held = counted()
      local s, port = listen { slots = held }
      local function fail(conn)
        conn:on("close", expect(function(err)
          assert.equal("ECONNABORTED", err.code)
          assert.matches("a connection handler raised an error: .*: oops",
            err.message)
        end))
        error("oops")
      end
      s:on("connection", fail)
      local client = connect(port)
      -- With the traceback of the line that raised it.
      assert.matches("oops\nstack traceback:.*spec/server_spec.lua",
        support.runUntilUncaught())
      run(met)
      client:waitEnd()
      assert.equal(0, held:count())
      assert.equal(1, held:puts())

      s:off("connection", fail)
      assert.equal("0", connect(port):line())
    end)

    it("a close handler raises an error", function()
      local held = counted()
      local s, conn = pair { slots = held }
      conn:on("close", function() error("oops") end)
      s:close(expect())
      assert.matches("oops", support.runUntilUncaught())
      run(met)
      assert.equal(0, held:count())
      assert.equal(1, held:puts())
    end)

    it("an end handler raises an error", function()
      local held = counted()
      local _, conn, client = pair { slots = held }
      conn:on("end", function() error("oops") end)
      conn:on("close", expect(function(err) assert.is_nil(err) end))
      client:shutdown()
      assert.matches("oops", support.runUntilUncaught())
      assert.is_nil(client:waitEnd())
      run(met)
      assert.equal(1, held:puts())
    end)
  end)

  it("keeps a connection whose data handler raises an error", function()
    local _, conn, client = pair()
    conn:on("data", function(chunk)
      if chunk == "bad" then error("oops") end
      conn:write("fine\r\n")
    end)
    client:write("bad")
    assert.matches("oops", support.runUntilUncaught())
    client:write("good")
    assert.equal("fine", client:line())
  end)

  it("closes connections for which there is no slot", function()
    local s, port = listen { slots = slots.new { max = 1 } }
    local first = connect(port)
    assert.equal("0", first:line())
    s:on("connection", expect(nil, 0))
    local function check(err)
      assert.equal("EAGAIN", err.code)
      assert.equal(("cannot accept a connection on 127.0.0.1:%d: "
        .. "all 1 slots are taken (EAGAIN)"):format(port), tostring(err))
    end
    local noted = expect(check)
    s:on("error", noted)
    local second = connect(port)
    second:waitEnd()
    assert.equal("", second.received)
    run(met)
    s:off("error", noted):off("connection", noted)
    assert.equal(1, #s:connections())
  end)

  it("raises an error that nobody listens for", function()
    local _, port = listen { slots = slots.new { max = 1 } }
    assert.equal("0", connect(port):line())
    local second = connect(port)
    assert.matches("^cannot accept a connection on 127.0.0.1:%d+: "
      .. "all 1 slots are taken %(EAGAIN%)", support.runUntilUncaught())
    second:waitEnd()
    assert.equal("", second.received)
  end)

  it("closes connections when asking for a slot raises an error", function()
    local s, port = listen {
      slots = { get = function() error("no luck") end, put = print },
    }
    local client = connect(port)
    assert.matches("no luck", support.runUntilUncaught())
    client:waitEnd()
    assert.equal("", client.received)
    s:close(expect())
    run(met)
  end)

  describe("close", function()
    it("closes the listener and all connections, then calls back", function()
      local s, port = listen()
      local clients, open = {}, 20
      s:on("connection", function(conn)
        conn:on("close", function() open = open - 1 end)
      end)
      for i = 1, open do
        clients[i] = connect(port)
        clients[i]:line()
      end
      assert.equal(s, s:close(expect(function()
        assert.equal(0, open)
        assert.equal(0, s.slots:count())
      end)))
      assert.same({}, s:connections())
      run(met)
      for _, client in ipairs(clients) do assert.is_nil(client:waitEnd()) end
      assert.is_false(takes(port))
    end)

    it("may be called again and again", function()
      local s = pair()
      s:close(expect()):close(expect())
      s:close()
      run(met)
      local called = false
      s:close(function() called = true end)
      assert.is_true(called)
    end)

    it("may be called by a connection handler", function()
      local s, port = listen()
      s:on("connection", expect(function() s:close(expect()) end))
      connect(port):waitEnd()
      run(met)
      assert.equal(0, s.slots:count())
    end)

    it("refuses a callback that is no function", function()
      local s = listen()
      misuse(function() s:close(1) end,
        "bad argument #1 to 'close' (function expected, got 1)")
      assert.is_true(takes(select(2, s:address())))
    end)
  end)

  it("lets its port be taken again at once", function()
    local s, _, client = pair()
    local _, port = s:address()
    s:close(expect())
    run(met)
    client:waitEnd()
    assert.equal(port, select(2, listen { port = port }))
  end)

  it("survives SIGPIPE in a plain Lua program", function()
    local script = support.tmpfile([[
      local uv = require "luv"
      local s = assert(require("callosum.server").new())
      local client = uv.new_tcp()
      s:on("connection", function(conn)
        conn:write(("x"):rep(64 * 1024 * 1024))
        conn:on("end", function() client:close_reset() end)
        conn:on("close", function(err)
          print("closed", err and err.code)
          s:close()
        end)
      end)
      local _, port = s:address()
      client:connect("127.0.0.1", port, function() client:shutdown() end)
      uv.run()
      print("done")
    ]], "script.lua")
    local child = support.spawn("lua5.4", { script }, {
      env = { LUA_PATH = "lua/?.lua;;", LUA_CPATH_5_4 = package.cpath },
    })
    assert.same({ 0, 0 }, { child:wait() })
    assert.equal("closed\tEPIPE\ndone\n", child.output)
  end)
end)
