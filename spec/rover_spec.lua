local callosum = require "callosum.rover"
local faults = require "support.faults"
local support = require "support"

local attempt, record, rover = support.attempt, support.record, support.rover
local checkStats, closedPort = support.checkStats, support.closedPort
local misuse, run, serve = support.misuse, support.run, support.serve
local spawnLua = support.spawnLua

describe("callosum.rover", function()
  -- A server that gives its connections these slots in turn, then 0.
  local function slots(list)
    local n = 0
    return serve { connection = function(peer)
      n = n + 1
      peer:write((list[n] or 0) .. "\r\n")
    end }
  end

  -- A rover that its methods do not treat specially (see support.rover), so
  -- that misuse is blamed on its real caller.
  local function plain(options)
    local r = callosum.new(options)
    finally(function() r:close() end)
    return r
  end

  describe("new", function()
    it("makes a rover that does nothing", function()
      local r = rover { port = closedPort() }
      record(r)
      run()
      assert.same({
        attempts = 0, connections = 0, unreachable = 0, errors = 0,
        cancelled = 0, inFlight = 0, skipped = 0, kept = 0, closed = 0,
        rejected = 0, handshakes = 0, handshakesResumed = 0, causes = {},
      }, r:stats())
    end)

    it("needs no options, and names the rover `main`", function()
      assert.equal("rover 'main'", tostring(plain()))
      assert.equal("rover 'main'", tostring(plain {}))
      assert.equal("rover 'other'", tostring(plain { name = "other" }))
      assert.same({}, plain():servers())
    end)

    it("takes every option", function()
      local options = {
        name = ("n"):rep(255), rovingInterval = 1, connectTimeout = 1,
        slotTimeout = 4294967295, maxAttempts = 1, jitter = 1, seed = 0,
        keepalive = 0, allowHalfOpen = true, slotLimit = 2147483648,
        maxKept = 1,
        servers = { a = { host = "localhost", port = 4040 } },
      }
      local r = plain(options)
      assert.same({ a = { host = "localhost", port = 4040 } }, r:servers())
      plain { jitter = 0.5, seed = math.mininteger, keepalive = 32767,
        allowHalfOpen = false, rovingInterval = 1000.0, connectTimeout = 0,
        slotTimeout = 0 }
    end)

    it("refuses options that are no table", function()
      misuse(function() callosum.new(5) end,
        "bad argument #1 to 'new' (table expected, got number)")
      misuse(function() callosum.new("servers") end,
        "bad argument #1 to 'new' (table expected, got string)")
    end)

    it("refuses an unknown option, and names the nearest", function()
      for wrong, nearest in pairs {
        rovinginterval = "rovingInterval", server = "servers",
        jiter = "jitter", maxAttemps = "maxAttempts", seeed = "seed",
        slotTimeOut = "slotTimeout", keepAlive = "keepalive", nome = "name",
        allowHalfOpened = "allowHalfOpen", conectTimeout = "connectTimeout",
        ROVING_INTERVAL = "rovingInterval", interval = "rovingInterval",
        serversById = "servers", sede = "seed",
      } do
        misuse(function() callosum.new { [wrong] = 1 } end,
          ("bad argument #1 to 'new' (unknown option '%s', nearest is '%s')")
            :format(wrong, nearest))
      end
    end)

    it("and names all of them if none is near", function()
      for _, wrong in ipairs { "weight", "timeout", "rove", "" } do
        misuse(function() callosum.new { [wrong] = 1 } end,
          ("bad argument #1 to 'new' (unknown option '%s', valid are name, "
            .. "servers, tls, rovingInterval, connectTimeout, slotTimeout, "
            .. "maxAttempts, jitter, seed, keepalive, allowHalfOpen, "
            .. "slotLimit, maxKept)"):format(wrong))
      end
    end)

    it("refuses numbers that are none, not whole, or out of range", function()
      local ranges = {
        rovingInterval = "1 to 4294967295", connectTimeout = "0 to 4294967295",
        slotTimeout = "0 to 4294967295", maxAttempts = "1 to 4294967295",
        keepalive = "0 to 32767", slotLimit = "1 to 2147483648",
        maxKept = "1 to 4294967295",
      }
      for name, range in pairs(ranges) do
        for _, wrong in ipairs { -1, 1.5, 4294967296, false } do
          misuse(function() callosum.new { [name] = wrong } end,
            ("bad argument #1 to 'new' (%s: integer from %s expected, got %s)")
              :format(name, range, wrong))
        end
        if range:find "^1" then
          misuse(function() callosum.new { [name] = 0 } end,
            ("bad argument #1 to 'new' (%s: integer from %s expected, got 0)")
              :format(name, range))
        end
      end
      for _, wrong in ipairs { -0.1, 1.1, math.huge, true } do
        misuse(function() callosum.new { jitter = wrong } end,
          "bad argument #1 to 'new' (jitter: number from 0 to 1 expected, got "
            .. tostring(wrong) .. ")")
      end
      assert.has_error(function() callosum.new { jitter = 0 / 0 } end)
      misuse(function() callosum.new { seed = 1.5 } end,
        "bad argument #1 to 'new' (seed: integer from -9223372036854775808 to "
          .. "9223372036854775807 expected, got 1.5)")
    end)

    it("shows a string that should be a number as a string", function()
      misuse(function() callosum.new { rovingInterval = "1000" } end,
        "bad argument #1 to 'new' (rovingInterval: integer from 1 to "
          .. "4294967295 expected, got '1000')")
      misuse(function() callosum.new { jitter = "0" } end,
        "bad argument #1 to 'new' (jitter: number from 0 to 1 expected, "
          .. "got '0')")
    end)

    it("refuses other options of the wrong type", function()
      misuse(function() callosum.new { allowHalfOpen = 1 } end,
        "bad argument #1 to 'new' (allowHalfOpen: boolean expected, "
          .. "got number)")
      misuse(function() callosum.new { name = 5 } end,
        "bad argument #1 to 'new' (name: string of 1 to 255 bytes expected, "
          .. "got number)")
      misuse(function() callosum.new { name = "" } end,
        "bad argument #1 to 'new' (name: string of 1 to 255 bytes expected, "
          .. "got an empty one)")
      misuse(function() callosum.new { servers = 5 } end,
        "bad argument #1 to 'new' (servers: table by id expected, got number)")
    end)

    it("looks at servers that change meanwhile as they are", function()
      local looks = { {}, 5 }
      local r = callosum.new(setmetatable({}, { __index = function(_, name)
        return name == "servers" and table.remove(looks, 1) or nil
      end }))
      assert.same({}, r:servers())
      r:close()
    end)

    it("leaves nothing behind when a server is wrong", function()
      misuse(function()
        callosum.new { servers = {
          a = { host = "localhost", port = 4040 },
          b = { host = "localhost", port = 0 },
        } }
      end, "bad argument #1 to 'new' (server 'b': port: integer from 1 to "
        .. "65535 expected, got 0)")
    end)
  end)

  describe("an observer", function()
    it("sees every event, before those who listen", function()
      local server = support.serve { send = "3\r\n" }
      local r = rover { port = server.port }
      local seen = {}
      r:on("connection", function(_, socket)
        seen[#seen + 1] = "listener"
        socket:close()
      end)
      r:on("connection", function(slot) seen[#seen + 1] = slot end,
        { observer = true })
      support.attempt(r, {})
      assert.same({ 3, "listener" }, seen)
    end)

    it("keeps no connection and handles no error", function()
      local child = support.policy [[
        local host, rover = require "callosum.host", require "callosum.rover"
        local r, observer = rover.new(), { observer = true }
        local function seen(err) host.log.info("seen", { code = err.code }) end
        r:on("error", seen, observer):on("error", print, observer)
        r:off("error", print)
        r:connect()
      ]]
      assert.equal("EDESTADDRREQ", support.logged(child, "seen").code)
      assert.matches("unhandled 'error' event",
        support.logged(child, "policy error").error)
      support.stop(child)
      local r = rover { port = support.serve { send = "3\r\n" }.port }
      local socket
      r:on("connection", function(_, s) socket = s end, { observer = true })
      support.attempt(r, {})
      assert.is_true(socket.closed)
    end)
  end)

  describe("a method", function()
    local methods = {
      "on", "off", "addServer", "dropServer", "start", "stop", "connect",
      "setRovingInterval", "rovingInterval", "roveIn", "dueIn",
      "pauseServer", "servers", "sockets", "stats",
    }

    it("refuses a closed rover", function()
      local r = callosum.new()
      r:close()
      for _, name in ipairs(methods) do
        local ok, err = pcall(r[name], r)
        assert.is_false(ok)
        assert.matches("the rover is closed", err, 1, true)
      end
      misuse(function() r:start() end,
        "calling 'start' on bad self (the rover is closed)")
    end)

    it("refuses a self that is no rover", function()
      local r = plain()
      for _, name in ipairs(methods) do
        for _, wrong in ipairs { 5, "r", {}, io.stdout } do
          assert.is_false(pcall(r[name], wrong))
        end
        assert.is_false(pcall(r[name]))
      end
      misuse(function() r.start() end,
        "bad argument #1 to 'start' (callosum.rover expected, got no value)")
      misuse(function() r.close(io.stdout) end,
        "bad argument #1 to 'close' (callosum.rover expected, got FILE*)")
    end)

    it("with nothing to return returns the rover", function()
      local r = plain { servers = { s = { host = "127.0.0.1", port = 1 } } }
      local server = { host = "127.0.0.1", port = closedPort() }
      assert.equal(r, r:on("error", print):off("error", print))
      assert.equal(r, r:addServer("s", server):setRovingInterval(5))
      assert.equal(r, r:start():connect():stop():close())
    end)

    it("`setRovingInterval` refuses what is below 1 or no whole number",
      function()
        local r = plain()
        local message = "bad argument #1 to 'setRovingInterval' "
          .. "(rovingInterval: integer from 1 to 4294967295 expected, got %s)"
        for _, wrong in ipairs { 0, -1, 0.5, 4294967296, false } do
          misuse(function() r:setRovingInterval(wrong) end,
            message:format(wrong))
        end
        misuse(function() r:setRovingInterval() end,
          message:format("nil"))
      end)
  end)

  describe("on and off", function()
    it("refuse an unknown event, and name the nearest", function()
      local r = plain()
      for wrong, nearest in pairs {
        conection = "connection", connect = "connection",
        unreacheable = "unreachable", eror = "error", Error = "error",
      } do
        local message = ("(unknown event '%s', nearest is '%s')")
          :format(wrong, nearest)
        misuse(function() r:on(wrong, print) end,
          "bad argument #1 to 'on' " .. message)
        misuse(function() r:off(wrong, print) end,
          "bad argument #1 to 'off' " .. message)
      end
    end)

    it("refuse a handler that is no function", function()
      local r = plain()
      misuse(function() r:on("error") end,
        "bad argument #2 to 'on' (function expected, got no value)")
      misuse(function() r:on("error", nil) end,
        "bad argument #2 to 'on' (function expected, got nil)")
      misuse(function() r:off("error", "print") end,
        "bad argument #2 to 'off' (function expected, got string)")
    end)

    -- Functions that add their number to a list.
    local function noting()
      local seen, fns = {}, {}
      for i = 1, 4 do
        fns[i] = function() seen[#seen + 1] = i end
      end
      return seen, fns
    end

    it("run handlers in the order of their registration", function()
      local seen, fns = noting()
      local r = rover { port = closedPort() }
      r:on("unreachable", fns[2]):on("unreachable", fns[1])
      r:on("unreachable", fns[3]):on("unreachable", fns[1])
      attempt(r, {})
      assert.same({ 2, 1, 3, 1 }, seen)
    end)

    it("run removed handlers no more, and others still", function()
      local seen, fns = noting()
      local r = rover { port = closedPort() }
      for i = 1, 4 do r:on("unreachable", fns[i]) end
      r:off("unreachable", fns[2]):off("unreachable", fns[4])
      r:off("unreachable", fns[4]) -- not registered: no error
      r:off("error", fns[1])       -- of another event
      attempt(r, {})
      assert.same({ 1, 3 }, seen)
    end)

    it("remove one registration at a time", function()
      local seen, fns = noting()
      local r = rover { port = closedPort() }
      r:on("unreachable", fns[1]):on("unreachable", fns[1])
      r:off("unreachable", fns[1])
      attempt(r, {})
      assert.same({ 1 }, seen)
    end)

    it("take effect with the next event when called in a handler", function()
      local seen, fns = noting()
      local r = rover { port = closedPort() }
      r:on("unreachable", function()
        r:off("unreachable", fns[1]):on("unreachable", fns[2])
      end)
      r:on("unreachable", fns[1])
      attempt(r, {})
      assert.same({ 1 }, seen)
      attempt(r, {})
      assert.same({ 1, 2 }, seen)
    end)

    it("give each handler the same socket", function()
      local server = slots { 3 }
      local r = rover { port = server.port }
      local first, second = record(r), record(r)
      attempt(r, first)
      assert.equal(first[1].socket, second[1].socket)
      assert.equal(first[1].socket, r:sockets()[1])
    end)
  end)

  describe("a handler that raises", function()
    -- What a Lua program writes, after `r` is told to make a rover of a server
    -- that gives slot 13.
    local function output(body, env)
      local server = serve { send = "13\r\n" }
      local child = spawnLua([[
        local uv = require "luv"
        local port, closedPort = ...
        local r = require "callosum.rover".new {
          servers = { s = { host = "127.0.0.1", port = tonumber(port) } },
        }
      ]] .. body .. " uv.run()", {
        args = { tostring(server.port), tostring(closedPort()) }, env = env,
      })
      assert.equal(0, child:wait())
      return child.stdout, child.stderr, server
    end

    it("is reported with its place, closes the socket, and leaves the other "
      .. "handlers to run", function()
      local stdout, stderr, server = output [[
        r:on("connection", function() error "first" end)
        r:on("connection", function(slot, socket)
          print("second", slot, socket.closed)
          local timer = uv.new_timer()
          timer:start(0, 0, function()
            print(socket.closed, #r:sockets(), r:stats().closed)
            timer:close()
            r:close()
          end)
        end)
        r:connect()
      ]]
      assert.equal("second\t13\tfalse\ntrue\t0\t1\n", stdout)
      assert.matches("child%.lua:%d+: first", stderr)
      assert.matches("traceback", stderr)
      run(function()
        return server.peers[1].ended or server.peers[1].closed
      end)
    end)

    it("leaves the others to run though luv cannot show what it raised",
        function()
      local dir = support.tmpdir()
      assert(os.rename((faults.compile "asking_luv"), dir .. "/luv.so"))
      local stdout, stderr = output([[
        local bad = setmetatable({}, {
          __tostring = function() error "no text" end })
        local strings = getmetatable ""
        local write = io.write
        r:on("connection", function(_, socket)
          socket:on("close", function() error(bad) end)
          socket:on("close", function()
            write "second\n"
            strings.__tostring = error
            error "text"
          end)
          socket:on("close", function()
            strings.__tostring = nil
            write "third\n"
            r:close()
            error(bad)
          end)
          error(bad)
        end)
        r:connect()
      ]], { LUV = package.searchpath("luv", package.cpath),
        LUA_CPATH_5_4 = dir .. "/?.so;" .. package.cpath })
      assert.equal("second\nthird\n", stdout)
      local _, shown = stderr:gsub("__tostring raised [^\n]*: no text", "")
      assert.equal(3, shown, stderr)
    end)

    it("costs neither the event nor the rover", function()
      local stdout, stderr = output [[
        local n = 0
        r:on("unreachable", function() error "of unreachable" end)
        r:on("error", function() error "of error" end)
        r:on("connection", function()
          n = n + 1
          if n < 3 then
            r:connect()
            error { "no string" }
          end
          print(r:stats().connections)
          r:dropServer "s"
          r:connect()
          r:on("error", function()
            local port = tonumber(closedPort)
            r:addServer("s", { host = "127.0.0.1", port = port }):connect()
          end)
          r:on("unreachable", function() print "over" r:close() end)
        end)
        r:connect()
      ]]
      assert.equal("3\nover\n", stdout)
      assert.matches("of unreachable", stderr)
      assert.matches("of error", stderr)
    end)

    it("of no connection at all: then the socket is closed", function()
      local server = serve { send = "13\r\n" }
      local r = rover { port = server.port }
      assert.is_nil(attempt(r, {}))
      assert.same({}, r:sockets())
      assert.equal(1, r:stats().connections)
      assert.equal(1, r:stats().closed)
      server.peers[1]:waitEnd()
    end)
  end)

  describe("an error that nobody listens to", function()
    it("is raised by start and connect when there are no servers", function()
      local r = plain()
      local message = "No servers to contact (rover 'main' has none, and "
        .. "nothing listens to its 'error' event)"
      misuse(function() r:start() end, message)
      misuse(function() r:connect() end, message)
      run() -- neither has begun anything
      assert.equal(0, r:stats().attempts)
      r:on("error", print)
      r:off("error", print)
      misuse(function() r:connect() end, message)
    end)

    it("is written to stderr otherwise, and the rover goes on", function()
      local child = spawnLua([[
        local r = require "callosum.rover".new {
          rovingInterval = 1, name = "lonely",
          servers = { s = { host = "127.0.0.1", port = tonumber(...) } },
        }
        r:on("connection", print)
        r:on("unreachable", print)
        r:start()
        local timer = require "luv".new_timer()
        timer:start(1, 1, function()
          if r:stats().errors < 2 then return end
          timer:close()
          r:close()
        end)
        require "luv".run()
      ]], { args = { tostring(serve { send = "-1\r\n" }.port) } })
      assert.equal(0, child:wait())
      assert.equal("", child.stdout)
      assert.matches("unhandled 'error' event of rover 'lonely': "
        .. 's: not a slot line: "-1\\r\\n" (EPROTO)', child.stderr, 1, true)
    end)
  end)

  describe("sockets", function()
    it("lists what was not closed, by slot, the older first of equal ones",
      function()
        local given = { 5, 1, 3, 1, 9, 0, 1, 2147483647 }
        local r = rover { port = slots(given).port }
        local events = record(r)
        for _ in ipairs(given) do attempt(r, events) end
        local wanted = {}
        for _, i in ipairs { 6, 2, 4, 7, 3, 1, 5, 8 } do
          wanted[#wanted + 1] = events[i].socket
        end
        assert.same(wanted, r:sockets())

        events[2].socket:close()
        events[3].socket:close()
        table.remove(wanted, 5)
        table.remove(wanted, 2)
        assert.same(wanted, r:sockets())
        attempt(r, events)
        table.insert(wanted, 2, events[9].socket)
        assert.same(wanted, r:sockets())
        assert.equal(7, checkStats(r).kept)
      end)

    it("does not list what a handler closed", function()
      local r = rover { port = slots { 1, 20, 2 }.port }
      local events = record(r)
      r:on("connection", function(slot, socket)
        if slot > 9 then socket:close() end
      end)
      for _ = 1, 3 do attempt(r, events) end
      assert.same({ events[1].socket, events[3].socket }, r:sockets())
      local stats = r:stats()
      assert.equal(3, stats.connections)
      assert.equal(2, stats.kept)
      assert.equal(1, stats.closed)
    end)

    it("does not list what the server closed", function()
      local server = slots { 1, 2 }
      local r = rover { port = server.port }
      local events = record(r)
      attempt(r, events)
      attempt(r, events)
      server.peers[1]:close()
      run(function() return events[1].socket.closed end)
      assert.same({ events[2].socket }, r:sockets())
      assert.equal(1, checkStats(r).kept)
    end)

    it("gives a new table each time, safe to close from", function()
      local r = rover { port = slots { 3, 2, 1 }.port }
      local events = record(r)
      for _ = 1, 3 do attempt(r, events) end
      for i, socket in ipairs(r:sockets()) do
        assert.equal(i, socket.slot)
        socket:close()
      end
      assert.same({}, r:sockets())
    end)
  end)

  it("has errors that read well", function()
    local r = rover { port = closedPort() }
    local err = attempt(r, record(r)).err
    assert.equal("table", type(err))
    assert.equal("ECONNREFUSED", err.code)
    assert.equal("connection refused", err.message)
    assert.equal("s", err.id)
    assert.equal("s: connection refused (ECONNREFUSED)", tostring(err))
    assert.same({ code = "ECONNREFUSED", message = "connection refused",
      id = "s" }, { code = err.code, message = err.message, id = err.id })
  end)

  it("gives handlers the server, however they take their arguments",
    function()
      local server = serve { send = "0\r\n" }
      local wanted = { host = "127.0.0.1", port = server.port }
      local seen = {}
      local r = rover { port = server.port }
      local function none() seen[#seen + 1] = true end
      local function named(_, _, _, given) seen[#seen + 1] = given end
      local function any(...) seen[#seen + 1] = select(4, ...) end
      for _, handlers in ipairs { { none }, { none, any }, { named },
          { none, coroutine.wrap(function(...)
            while true do any(...) coroutine.yield() end
          end) } } do
        seen = {}
        for _, fn in ipairs(handlers) do r:on("connection", fn) end
        local stats = r:stats()
        r:connect()
        run(function() return r:stats().connections > stats.connections end)
        for i, fn in ipairs(handlers) do
          assert.same(fn == none or wanted, seen[i])
          r:off("connection", fn)
        end
      end
    end)

  it("runs several rovers side by side, with the same name too", function()
    local server = serve { send = "0\r\n" }
    local first, second = rover { port = server.port }, rover()
    local firstEvents, secondEvents = record(first), record(second)
    attempt(first, firstEvents)
    attempt(second, secondEvents)
    assert.equal("connection", firstEvents[1].event)
    assert.equal("error", secondEvents[1].event)
    second:close()
    assert.equal(1, #first:sockets())
  end)

  it("calls back on the main thread when a coroutine made it", function()
    local r
    coroutine.wrap(function()
      r = rover { port = closedPort() }
      r:on("unreachable", support.expect(function()
        assert.is_true(select(2, coroutine.running()))
      end))
      r:connect()
    end)()
    collectgarbage()
    run(support.met)
  end)
end)
