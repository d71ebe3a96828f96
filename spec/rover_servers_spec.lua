local callosum = require "callosum.rover"
local support = require "support"

local attempt, record, rover = support.attempt, support.record, support.rover
local checkStats, closedPort = support.checkStats, support.closedPort
local misuse, run, serve = support.misuse, support.run, support.serve

describe("the servers of a rover", function()
  local function plain(options)
    local r = callosum.new(options)
    finally(function() r:close() end)
    return r
  end

  describe("addServer", function()
    it("adds a server to those asked", function()
      local server = serve { send = "3\r\n" }
      local r = rover()
      local events = record(r)
      assert.equal("No servers to contact", attempt(r, events).err.message)
      r:addServer("late", { host = "127.0.0.1", port = server.port })
      local event = attempt(r, events)
      assert.equal(3, event.slot)
      assert.equal("late", event.id)
    end)

    it("replaces the server of a known id", function()
      local old, new = serve { send = "1\r\n" }, serve { send = "2\r\n" }
      local r = rover { port = old.port }
      local events = record(r)
      local kept = attempt(r, events).socket
      r:addServer("s", { host = "127.0.0.1", port = new.port })
      for _ = 1, 10 do assert.equal(2, attempt(r, events).slot) end
      assert.equal(1, #old.peers)
      assert.same({ s = { host = "127.0.0.1", port = new.port } }, r:servers())
      -- What came of the old one stays, and still tells where it came from.
      assert.equal(kept, r:sockets()[1])
      assert.same({ host = "127.0.0.1", port = old.port }, kept.server)
    end)

    it("neither keeps nor changes the caller's tables", function()
      local port = closedPort()
      local server = { host = "127.0.0.1", port = port }
      local servers = { s = server }
      local r = rover { servers = servers }
      r:addServer("t", server)
      r:dropServer "s"
      assert.same({ s = { host = "127.0.0.1", port = port } }, servers)
      assert.equal(server, servers.s)
      server.port = 1
      servers.u = server
      assert.same({ t = { host = "127.0.0.1", port = port } }, r:servers())
    end)

    -- Ids of sixteen bytes whose hashes (see src/rover/ids.c) are the same. The
    -- second half undoes what the first has made of the hash.
    local function mix(hash, word)
      hash = (hash ~ word) * 0x9e3779b97f4a7c15
      return hash ~ hash >> 32
    end

    local function alike(count, state)
      local ids, n = {}, 0
      while #ids < count do
        n = n + 1
        local first = ("%08x"):format(n)
        local id = first
          .. string.pack("=I8", mix(16, string.unpack("=I8", first)) ~ state)
        if not id:find "\0" then ids[#ids + 1] = id end
      end
      return ids
    end

    -- A state whose hash stands for the first places of a table, or the last.
    local function atEnd(bits)
      local state = 0
      while mix(mix(state, 0), 0) & 0xfffc0000 ~= bits do state = state + 1 end
      return state
    end

    it("tells ids apart whose hashes are the same", function()
      local r, left, port = plain { rovingInterval = 3600000 }, {}, 0
      for _, state in ipairs { 1, atEnd(0), atEnd(0xfffc0000) } do
        for _, id in ipairs(alike(300, state)) do
          port = port + 1
          left[id] = { host = "127.0.0.1", port = port }
          r:addServer(id, left[id])
        end
      end
      assert.same(left, r:servers())
      for parity = 0, 1 do
        for id, server in pairs(left) do
          if server.port % 2 == parity then
            assert.is_true(r:dropServer(id))
            assert.is_false(r:hasServer(id))
            left[id] = nil
          end
        end
        assert.same(left, r:servers())
      end
    end)

    it("follows servers that come and go in any order", function()
      local r, left = plain { rovingInterval = 3600000 }, {}
      local random, count = 1, 0
      for step = 1, 30000 do
        random = (random * 1103515245 + 12345) % 2147483648
        local id = ("s"):rep(random >> 8 & 15) .. (random >> 16) % 3000
        -- There are more and more, then fewer and fewer.
        if random >> 8 & 3 < (step < 20000 and 3 or 1) then
          if not left[id] then count = count + 1 end
          left[id] = { host = "127.0.0.1", port = step }
          r:addServer(id, left[id])
        else
          assert.equal(left[id] ~= nil, r:dropServer(id))
          if left[id] then count = count - 1 end
          left[id] = nil
        end
        assert.equal(left[id] ~= nil, r:hasServer(id))
        if step % 5000 == 0 then assert.same(left, r:servers()) end
      end
      assert.is_true(count > 1000)
    end)

    it("takes ids and hosts of 1 to 255 bytes, whatever they are", function()
      local r = rover()
      local server = { host = "127.0.0.1", port = closedPort() }
      local ids = { "x", ("x"):rep(255), "with space", "\u{1F600}", "\255\1" }
      for _, id in ipairs(ids) do r:addServer(id, server) end
      local servers = r:servers()
      for _, id in ipairs(ids) do assert.same(server, servers[id]) end
      for _, id in ipairs(ids) do assert.is_true(r:dropServer(id)) end
      r:addServer("long", { host = ("h"):rep(255), port = 65535 })
      r:addServer("short", { host = "h", port = 1 })
      assert.equal(255, #r:servers().long.host)
      -- The resolver is given the long one, and knows no such host.
      r:dropServer "short"
      assert.equal("unreachable", attempt(r, record(r)).event)
    end)

    it("refuses other ids", function()
      local r = plain()
      local server = { host = "localhost", port = 4040 }
      local message = "bad argument #1 to 'addServer' (server id: string of 1 "
        .. "to 255 bytes expected, got %s)"
      local long = "one that is too long or contains NUL"
      misuse(function() r:addServer("", server) end,
        message:format("an empty one"))
      misuse(function() r:addServer(("x"):rep(256), server) end,
        message:format(long))
      misuse(function() r:addServer("a\0b", server) end, message:format(long))
      misuse(function() r:addServer(7, server) end, message:format("number"))
      misuse(function() r:addServer(nil, server) end, message:format("nil"))
      misuse(function() callosum.new { servers = { server } } end,
        "bad argument #1 to 'new' (server id: string of 1 to 255 bytes "
          .. "expected, got number)")
      assert.same({}, r:servers())
    end)

    -- Checks what a wrong table gets from addServer and new alike.
    local function refused(server, what)
      local r = plain()
      misuse(function() r:addServer("a", server) end,
        "bad argument #2 to 'addServer' (server 'a': " .. what .. ")")
      misuse(function() callosum.new { servers = { a = server } } end,
        "bad argument #1 to 'new' (server 'a': " .. what .. ")")
      assert.same({}, r:servers())
    end

    it("refuses ports out of range, not whole, or no number", function()
      for _, port in ipairs { 0, -1, 65536, 70000, 1.5, math.huge, false } do
        refused({ host = "localhost", port = port },
          "port: integer from 1 to 65535 expected, got " .. tostring(port))
      end
      refused({ host = "localhost" },
        "port: integer from 1 to 65535 expected, got nil")
    end)

    it("refuses a port in a string, and shows that it is one", function()
      refused({ host = "localhost", port = "4040" },
        "port: integer from 1 to 65535 expected, got '4040'")
    end)

    it("refuses hosts that are empty, too long, or no string", function()
      for _, case in ipairs {
        { "", "an empty one" }, { 7, "number" }, { nil, "nil" },
        { ("x"):rep(256), "one that is too long or contains NUL" },
        { "local\0host", "one that is too long or contains NUL" },
      } do
        refused({ host = case[1], port = 4040 },
          "host: string of 1 to 255 bytes expected, got " .. case[2])
      end
    end)

    it("refuses unknown fields, and names the nearest", function()
      refused({ host = "localhost", prot = 4040 },
        "unknown field 'prot', nearest is 'port'")
      refused({ hots = "localhost", port = 4040 },
        "unknown field 'hots', nearest is 'host'")
      refused({ hostname = "localhost", port = 4040 },
        "unknown field 'hostname', nearest is 'host'")
    end)

    it("and names all if none is near", function()
      refused({ host = "localhost", port = 4040, zone = 2 },
        "unknown field 'zone', valid are host, port, weight, tls")
    end)

    it("takes a weight, which servers() shows", function()
      for _, weight in ipairs { -1, 1.5, "heavy", 2 ^ 32 } do
        refused({ host = "localhost", port = 4040, weight = weight },
          "weight: integer from 0 to 4294967295 expected, got "
            .. (weight == "heavy" and "'heavy'" or tostring(weight)))
      end
      local r = plain()
      r:addServer("a", { host = "localhost", port = 4040, weight = 7 })
      assert.same({ host = "localhost", port = 4040, weight = 7 },
        r:servers().a)
      local servers = r:servers()
      servers.b = { host = "localhost", port = 4041 }
      assert.same({ 1, 0, 0 }, { r:setServers(servers) })
      assert.same(servers, r:servers())
      servers.a.weight = nil
      assert.same({ 0, 0, 0 }, { r:setServers(servers) })
      assert.same(servers, r:servers())
    end)

    it("refuses what is no table", function()
      refused("localhost:4040",
        "table {host=, port=} expected, got string")
      refused(4040, "table {host=, port=} expected, got number")
      local r = plain()
      local message = "bad argument #2 to 'addServer' "
        .. "(server 'a': table {host=, port=} expected, got nil)"
      misuse(function() r:addServer("a", nil) end, message)
      misuse(function() r:addServer("a") end, message)
    end)

    it("changes nothing when it refuses", function()
      local server = { host = "127.0.0.1", port = closedPort() }
      local r = rover { servers = { s = server } }
      pcall(r.addServer, r, "s", { host = "127.0.0.1", port = 0 })
      assert.same({ s = server }, r:servers())
    end)
  end)

  describe("setServers", function()
    local function at(port, host)
      return { host = host or "127.0.0.1", port = port }
    end

    it("makes them all there are, and tells what changed", function()
      local r = plain { servers = { a = at(1), b = at(2), c = at(3) } }
      local servers = { b = at(2), c = at(33), d = at(4), e = at(5) }
      assert.same({ 2, 1, 1 }, { r:setServers(servers) })
      assert.same(servers, r:servers())
      assert.same({ 0, 0, 0 }, { r:setServers(servers) })
      servers.d.host = "::1"
      assert.same({ 0, 0, 1 }, { r:setServers(servers) })
      assert.same(servers, r:servers())
      r:addServer("f", at(6)):dropServer "b"
      assert.same({ 1, 1, 0 }, { r:setServers(servers) })
      assert.same({ 0, 4, 0 }, { r:setServers {} })
      assert.same({}, r:servers())
      assert.same({ 0, 0, 0 }, { r:setServers {} })
    end)

    it("neither keeps nor changes the caller's tables", function()
      local server = at(1)
      local servers = { s = server, t = server }
      local r = plain()
      r:setServers(servers)
      assert.same({ s = at(1), t = at(1) }, servers)
      server.port = 2
      servers.u = server
      assert.same({ s = at(1), t = at(1) }, r:servers())
    end)

    it("leaves pauses and attempts of what is the same alone", function()
      local slow, other = serve {}, serve { send = "2\r\n" }
      local r = rover { servers = { slow = at(slow.port) } }
      local events = record(r)
      r:connect()
      run(function() return slow.peers[1] end)
      r:setServers { slow = at(slow.port), other = at(other.port) }
      assert.equal(1, r:stats().inFlight)
      r:pauseServer("other", 1000000)
      assert.equal(1, r:stats().inFlight)
      r:setServers { other = at(other.port), slow = at(slow.port) }
      for _ = 1, 10 do r:connect() end
      run(function() return #slow.peers == 11 end)
      assert.equal(0, #other.peers)
      r:setServers { other = at(other.port) }
      assert.same({ 0, 11 }, { r:stats().inFlight, checkStats(r).cancelled })
      local paused = { r:connect() }
      assert.equal("EAGAIN", paused[3])
      r:setServers { other = at(other.port, "localhost") } -- another server
      assert.equal(2, attempt(r, events).slot)
    end)

    it("leaves kept sockets alone", function()
      local server = serve { send = "1\r\n" }
      local r = rover { port = server.port }
      local socket = attempt(r, record(r)).socket
      assert.same({ 0, 1, 0 }, { r:setServers {} })
      assert.is_false(socket.closed)
      assert.same({ "s", at(server.port) }, { socket.id, socket.server })
    end)

    it("may be called from every handler, without the server in question",
      function()
        for _, script in ipairs {
          { send = "1\r\n" }, { send = "x" }, { finish = "close" },
        } do
          local r = rover { port = serve(script).port }
          local events = record(r)
          local function set()
            assert.equal(1, (r:setServers { t = at(1) }))
          end
          r:on("connection", set):on("unreachable", set):on("error", set)
          local event = attempt(r, events)
          assert.equal("s", event.id or event.err.id)
          assert.same({ t = at(1) }, r:servers())
          assert.equal(0, checkStats(r).cancelled)
        end
      end)

    it("has a seeded rover pick the same, in whatever order they are given",
      function()
        local function picks(ids)
          local r = rover { seed = 7 }
          local events, servers, picked = record(r), {}, {}
          for _, id in ipairs(ids) do servers[id] = at(closedPort()) end
          r:setServers(servers)
          for i = 1, 20 do picked[i] = attempt(r, events).id end
          return picked
        end
        assert.same(picks { "a", "b", "c", "d", "e" },
          picks { "e", "b", "d", "a", "c" })
      end)

    it("refuses a wrong server at the caller's line, and changes nothing",
      function()
        local r = plain { servers = { good = at(1), old = at(2) } }
        local before = r:servers()
        for _, case in ipairs {
          { "port: integer from 1 to 65535 expected, got nil",
            { host = "h" } },
          { "port: integer from 1 to 65535 expected, got '1'",
            { host = "h", port = "1" } },
          { "host: string of 1 to 255 bytes expected, got nil",
            { port = 1 } },
          { "host: string of 1 to 255 bytes expected, got one that is too "
            .. "long or contains NUL", { host = "a\0b", port = 1 } },
          { "unknown field 'prot', nearest is 'port'",
            { host = "h", prot = 1 } },
          { "table {host=, port=} expected, got string", "h:1" },
        } do
          misuse(function()
            r:setServers { good = at(3), new = at(4), wrong = case[2] }
          end, "bad argument #1 to 'setServers' (server 'wrong': " .. case[1]
            .. ")")
          assert.same(before, r:servers())
        end
        local message = "bad argument #1 to 'setServers' (server id: string of "
          .. "1 to 255 bytes expected, got %s)"
        for id, got in pairs { [""] = "an empty one", [1] = "number",
            ["a\0b"] = "one that is too long or contains NUL" } do
          misuse(function() r:setServers { good = at(3), [id] = at(4) } end,
            message:format(got))
          assert.same(before, r:servers())
        end
      end)

    it("refuses what is no table, and a closed rover", function()
      local r = plain()
      for _, servers in ipairs { "s", 1, true, print } do
        misuse(function() r:setServers(servers) end,
          "bad argument #1 to 'setServers' (servers: table by id expected, got "
            .. type(servers) .. ")")
      end
      misuse(function() r:setServers() end,
        "bad argument #1 to 'setServers' (servers: table by id expected, got "
          .. "nil)")
      r:close()
      misuse(function() r:setServers {} end, "calling 'setServers' on bad self "
        .. "(the rover is closed)")
    end)

    it("calls no metamethods", function()
      local r = plain()
      local function called() error("a metamethod") end
      local meta = { __index = called, __pairs = called, __len = called,
        __eq = called, __newindex = called, __metatable = "no" }
      local servers = setmetatable({ s = setmetatable(at(1), meta) }, meta)
      assert.equal(1, (r:setServers(servers)))
      assert.same({ s = at(1) }, r:servers())
      assert.same({ 0, 1, 0 }, { r:setServers(setmetatable({}, meta)) })
      local inherits = setmetatable({}, { __index = at(1) })
      misuse(function() r:setServers { s = inherits } end,
        "bad argument #1 to 'setServers' (server 's': port: integer from 1 "
          .. "to 65535 expected, got nil)")
    end)

    it("takes them as they are once finalizers have run", function()
      local function finalize(fn)
        setmetatable({}, { __gc = fn })
      end
      local function fleet(n)
        local servers = {}
        for i = 1, n do servers["s" .. i] = at(i) end
        return servers
      end
      for _, change in ipairs {
        function(servers) for i = 2, 999 do servers["s" .. i] = nil end end,
        function(servers) servers.s1.port = 0 end,
        function(servers) servers.s1.host = nil end,
        function(servers) for i = 1, 9 do servers["t" .. i] = at(i) end end,
        function(_, r) r:close() end,
        function(_, r) r:setServers(fleet(10)) end,
      } do
        local r, servers, changed = callosum.new(), fleet(1000), false
        finally(function() r:close() end)
        collectgarbage "stop"
        finalize(function()
          changed = true
          change(servers, r)
          for i = 1, 1000 do local _ = ("host%d"):format(i) end
          collectgarbage()
        end)
        collectgarbage "restart"
        collectgarbage("incremental", 1, 10000)
        local set, err = pcall(r.setServers, r, servers)
        collectgarbage("incremental", 200, 100)
        if changed and set then assert.same(servers, r:servers()) end
        if not set then assert.matches("bad argument", err) end
      end
    end)
  end)

  describe("dropServer", function()
    it("tells whether there was such a server", function()
      local r = rover { port = closedPort() }
      assert.is_true(r:dropServer "s")
      assert.is_false(r:dropServer "s")
      assert.is_false(r:dropServer "unknown")
      assert.is_false(r:dropServer "")
      assert.is_false(r:dropServer(("x"):rep(10000)))
    end)

    it("takes an id with a NUL for the unknown one it is", function()
      local r = rover { port = closedPort() }
      assert.is_false(r:dropServer "s\0")
      assert.is_false(r:dropServer "s\0other")
      assert.not_nil(r:servers().s)
    end)

    it("refuses an id that is no string", function()
      local r = plain()
      misuse(function() r:dropServer(7) end,
        "bad argument #1 to 'dropServer' (string expected, got number)")
      misuse(function() r:dropServer() end,
        "bad argument #1 to 'dropServer' (string expected, got no value)")
    end)

    it("ends the asking of that server", function()
      local a, b = serve { send = "1\r\n" }, serve { send = "2\r\n" }
      local r = rover { servers = {
        a = { host = "127.0.0.1", port = a.port },
        b = { host = "127.0.0.1", port = b.port },
      } }
      local events = record(r)
      r:dropServer "a"
      for _ = 1, 20 do assert.equal("b", attempt(r, events).id) end
      assert.equal(0, #a.peers)
    end)

    it("leaves kept sockets alone", function()
      local server = serve { send = "1\r\n" }
      local r = rover { port = server.port }
      local socket = attempt(r, record(r)).socket
      r:dropServer "s"
      assert.is_false(socket.closed)
      assert.same({ socket }, r:sockets())
      assert.equal("s", socket.id)
      assert.same({ host = "127.0.0.1", port = server.port }, socket.server)
      local received = ""
      socket:on("data", function(chunk) received = received .. chunk end)
      server.peers[1]:write("hello")
      run(function() return received == "hello" end)
      socket:write("and back")
      assert.equal("and back", server.peers[1]:take("^and back"))
    end)

    it("may be called from every handler, on the server in question",
      function()
        for _, script in ipairs {
          { send = "1\r\n" }, { send = "x" }, { finish = "close" },
        } do
          local r = rover { port = serve(script).port }
          local events = record(r)
          local function drop() assert.is_true(r:dropServer "s") end
          r:on("connection", drop):on("unreachable", drop):on("error", drop)
          local event = attempt(r, events)
          assert.equal("s", event.id or event.err.id)
          assert.same({}, r:servers())
          assert.equal(0, checkStats(r).cancelled)
        end
      end)
  end)

  describe("servers", function()
    it("gives a copy, by id", function()
      local port = closedPort()
      local r = rover()
      assert.same({}, r:servers())
      r:addServer("a", { host = "127.0.0.1", port = port })
      r:addServer("b", { host = "::1", port = port })
      local servers = r:servers()
      local wanted = {
        a = { host = "127.0.0.1", port = port },
        b = { host = "::1", port = port },
      }
      assert.same(wanted, servers)
      servers.a.port = 1
      servers.b = nil
      assert.same(wanted, r:servers())
    end)

    it("that events give are copies too", function()
      local r = rover { port = closedPort() }
      local events = record(r)
      attempt(r, events).server.port = 1
      assert.not_equal(1, attempt(r, events).server.port)
    end)
  end)

  describe("in great number", function()
    local MILLION, SET = 1000000, 100000

    -- Of this process, for the machine has other things to do.
    local function seconds(fn)
      local began = os.clock()
      fn()
      return os.clock() - began
    end

    local function filled(n)
      local r = rover()
      local server = { host = "127.0.0.1", port = closedPort() }
      for i = 1, n do r:addServer("server" .. i, server) end
      return r
    end

    -- How long that many attempts take, of which each is one pick.
    local function timeOfAttempts(r, n)
      local made = 0
      r:on("unreachable", function()
        made = made + 1
        if made < n then r:connect() end
      end)
      return seconds(function()
        r:connect()
        run(function() return made == n end)
      end)
    end

    it("are added, picked and dropped as fast as few are", function()
      local thousand, million = filled(1000), nil
      local few = timeOfAttempts(thousand, 1000)
      local toAddFew = seconds(function() filled(10000) end) / 10000
      local toAdd = seconds(function() million = filled(MILLION) end) / MILLION
      local many = timeOfAttempts(million, 1000)
      -- Walking a million ids takes thousands of times as long as a thousand.
      assert.is_true(many < 20 * few)
      assert.is_true(toAdd < 20 * toAddFew)

      local server = { host = "127.0.0.1", port = closedPort() }
      local toChange = seconds(function()
        for i = 1, 1000 do
          assert.is_true(million:dropServer("server" .. i * 1000))
          million:addServer("server" .. i * 1000, server)
          million:addServer("server" .. i, server)
        end
      end) / 3000
      assert.is_true(toChange < 20 * toAddFew)
    end)

    it("are set again about as fast as they were added, a hundredth elsewhere",
        function()
      local server, servers = { host = "127.0.0.1", port = closedPort() }, {}
      for i = 1, SET do servers["server" .. i] = server end
      local added = rover()
      local toAdd = seconds(function()
        for id, one in pairs(servers) do added:addServer(id, one) end
      end)
      local again = seconds(function()
        assert.same({ 0, 0, 0 }, { added:setServers(servers) })
      end)
      local moved = { host = "::1", port = server.port }
      for i = 100, SET, 100 do servers["server" .. i] = moved end
      local changed = seconds(function()
        assert.same({ 0, 0, SET // 100 }, { added:setServers(servers) })
      end)
      assert.is_true(again < 3 * toAdd, ("%f of %f s"):format(again, toAdd))
      assert.is_true(changed < 3 * toAdd,
        ("%f of %f s"):format(changed, toAdd))
    end)
  end)
end)
