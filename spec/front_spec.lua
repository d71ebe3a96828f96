local callosum = require "callosum.front"
local fronts = require "support.fronts"
local support = require "support"

local connect, front, pair = fronts.connect, fronts.front, fronts.pair
local reached, slot, slots = fronts.reached, fronts.slot, fronts.slots
local misuse, run = support.misuse, support.run

describe("callosum.front", function()
  -- A front that nothing treats specially, so that misuse is blamed on its real
  -- caller.
  local function plain(options)
    options.listen = options.listen or { port = 0 }
    options.backend = options.backend or { port = 1 }
    local f = assert(callosum.new(options))
    finally(function() f:close(0) end)
    return f
  end

  -- What its `backend` handlers are told.
  local function findings(f)
    local found = {}
    f:on("backend", support.watched(function(up, err)
      found[#found + 1] = up and "up" or err.code .. " " .. err.message
    end))
    return found
  end

  -- Runs until a peer was closed by the other side, without a byte.
  local function refused(peer)
    peer:waitEnd()
    assert.equal("", peer.received)
  end

  describe("new", function()
    it("listens where it is told", function()
      local f = plain {}
      local host, port = f:address()
      assert.equal("127.0.0.1", host)
      assert.equal(("front 'main' (127.0.0.1:%d)"):format(port), tostring(f))
      assert.equal(0, (slot(f)))
      f = plain { name = "v6", listen = { host = "::1", port = 0 } }
      host, port = f:address()
      assert.equal("::1", host)
      assert.equal(("front 'v6' ([::1]:%d)"):format(port), tostring(f))
      assert.equal(0, (slot(f)))
      local path = support.tmpdir() .. "/front.sock"
      f = plain { name = "unix", listen = { path = path, mode = "0600" } }
      assert.same({ path }, { f:address() })
      assert.equal(0, (slot(f)))
    end)

    it("returns what went wrong", function()
      local _, port = plain({}):address()
      local options = { listen = { port = port }, backend = { port = 1 },
        name = "b" }
      local f, message, code = callosum.new(options)
      assert.same({ nil, ("front 'b': cannot listen on 127.0.0.1:%d: ")
        :format(port), "EADDRINUSE" }, { f, message:match "^.*: ", code })
    end)

    it("refuses options that are wrong", function()
      local function wrong(options, message)
        misuse(function() callosum.new(options) end,
          "bad argument #1 to 'new' (" .. message .. ")")
      end
      local function with(name, value, message)
        local options = { listen = { port = 0 }, backend = { port = 1 } }
        options[name] = value
        wrong(options, message)
      end
      wrong(nil, "table expected, got nil")
      wrong({ backend = { port = 1 } },
        "listen: table {host=, port=} or {path=, mode=} expected, got nil")
      wrong({ listen = { port = 0 } },
        "backend: table {host=, port=} or {path=} expected, got nil")
      with("backend", { port = 0 },
        "backend: port: integer from 1 to 65535 expected, got 0")
      with("backend", { path = "/x", mode = "0600" },
        "backend: unknown field 'mode', valid are host, port, path")
      with("backend", { path = "/x", port = 1 },
        "backend: either host and port, or path")
      with("backend", { host = "example.org", port = 1 }, "backend: host: an "
        .. "IP address or 'localhost' expected, got 'example.org'")
      with("listen", { host = "example.org", port = 0 }, "listen: host: an "
        .. "IP address or 'localhost' expected, got 'example.org'")
      with("listen", { port = 1 }, "backend: it is the front itself")
      with("weigth", 1, "unknown option 'weigth', nearest is 'weight'")
      for _, weight in ipairs { 0, -1, 257, 0.001, "1" } do
        with("weight", weight, ("weight: number from 0.00390625 to 256 "
          .. "expected, got %s"):format(type(weight) == "string" and "'1'"
          or weight))
      end
      with("connectOn", "join",
        "connectOn: 'data', 'kept' or 'slot' expected, got 'join'")
      with("connectOn", true,
        "connectOn: 'data', 'kept' or 'slot' expected, got true")
      with("keptAfter", 0,
        "keptAfter: integer from 1 to 4294967295 expected, got 0")
      with("public", 1, "public: boolean expected, got number")
    end)

    it("names the range of addresses that is none", function()
      local function wrong(allow, message)
        misuse(function()
          callosum.new { listen = { port = 0 }, backend = { port = 1 },
            allow = allow }
        end, "bad argument #1 to 'new' (allow: " .. message .. ")")
      end
      local expected = "array of strings such as '10.0.0.0/8' expected, got "
      wrong({ "127.0.0.1", "10.0.0.300" }, "'10.0.0.300': it is no IP address")
      wrong({ "10.0.0.1/8" }, "'10.0.0.1/8': bits behind the prefix are set")
      wrong("10.0.0.0/8", expected .. "'10.0.0.0/8'")
      wrong({ "::1", 5 }, expected .. "5")
      assert.error_matches(function()
        callosum.new { listen = { port = 0 }, backend = { port = 1 },
          allow = { ["10.0.0.0/8"] = "::1" } }
      end, "allow: array of strings")
    end)

    it("is open to other machines only where it is told to be", function()
      local function of(host)
        return { listen = { host = host, port = 0 }, backend = { port = 1 } }
      end
      local function try(host, more)
        local options = of(host)
        for name, value in pairs(more or {}) do options[name] = value end
        callosum.new(options):close()
      end
      for _, host in ipairs { "0.0.0.0", "::" } do
        misuse(function() callosum.new(of(host)) end, ("bad argument #1 to "
          .. "'new' (listen: on %s other machines can connect, and the backend "
          .. "would take them for this one: say who may in 'allow' or, by "
          .. "their certificates, in 'tls', or 'public = true')"):format(host))
        try(host, { public = true })
        try(host, { allow = { "10.0.0.0/8" } })
      end
      for _, host in ipairs { "127.0.0.1", "127.9.9.9", "::1", "localhost" } do
        try(host)
      end
    end)

    it("needs to be kept by nobody", function()
      local _, port = plain({}):address()
      collectgarbage()
      collectgarbage()
      assert.equal(0, (slot(port)))
    end)
  end)

  describe("a slot", function()
    it("is the lowest that is free, and costs the backend nothing", function()
      local f, server = front()
      local given, peers = slots(f, 4)
      assert.same({ 0, 1, 2, 3 }, given)
      peers[2]:close()
      peers[4]:reset()
      reached(f, "open", 2)
      assert.same({ 1, 3 }, (slots(f, 2)))
      local s = f:stats()
      assert.same({ 6, 2, 0, 4 }, { s.accepted, s.probes, s.joined, s.unused })
      assert.equal(0, #server.peers)
    end)

    it("follows the weight", function()
      assert.same({ 0, 0, 1, 1 }, (slots(front { weight = 2 }, 4)))
      local f = front { name = "half", weight = 0.5 }
      assert.same({ 1, 3 }, (slots(f, 2)))
      assert.equal(f, f:setWeight(1))
      assert.same({ 2, 3 }, (slots(f, 2)))
    end)

    it("is for those who are allowed, as many as may be", function()
      local f = front { allow = { "127.0.0.2", "::1" } }
      refused(connect(f))
      assert.equal(1, f:stats().refused)
      f = front { name = "few", maxClients = 3, maxPerAddress = 1 }
      assert.equal(0, (slot(f)))
      refused(connect(f))
      f = front { name = "none", maxClients = 1 }
      assert.equal(0, (slot(f)))
      refused(connect(f))
    end)
  end)

  describe("a connection", function()
    it("is joined with the backend at its first byte", function()
      local f, server = front()
      local client, backend = pair(f, server)
      backend:write "welcome"
      client:take "^welcome"
      client:write("more"):shutdown()
      backend:take "^more"
      backend:waitEnd()
      backend:write("bye"):shutdown()
      client:take "^bye"
      client:waitEnd()
      reached(f, "ended")
      local s = f:stats()
      assert.same({ 1, 9, 10, 0 }, { s.joined, s.received, s.sent, s.open })
    end)

    it("goes on when its backend has ended its side", function()
      local f, server = front()
      local client, backend = pair(f, server)
      backend:write("bye"):shutdown()
      client:take "^bye"
      client:waitEnd()
      for _ = 1, 3 do
        client:write "more"
        backend:take "^more"
      end
      assert.equal(1, f:stats().running)
      client:shutdown()
      backend:waitEnd()
      reached(f, "ended")
    end)

    it("is joined when it is kept, or at once", function()
      local script = { send = "220 ready\r\n" }
      local server = support.serve(script)
      local f = front { backend = { port = server.port }, connectOn = "kept",
        keptAfter = 1 }
      local _, client = slot(f)
      assert.equal("220 ready", client:line())
      f = front { name = "slot", backend = { port = server.port },
        connectOn = "slot" }
      _, client = slot(f)
      assert.equal(2, #server.peers)
      assert.equal("220 ready", client:line())
    end)

    it("goes to a backend on a Unix socket", function()
      local path = support.tmpdir() .. "/app.sock"
      local far, server = front { name = "far", listen = { path = path } }
      local f = front { backend = { path = path } }
      local _, client = slot(f)
      client:write "hello"
      assert.equal("0", client:line()) -- the other front's
      run(function() return server.peers[1] end)
      server.peers[1]:take "^hello"
      assert.equal(1, far:stats().running)
    end)
  end)

  describe("backend", function()
    it("is told down and up again", function()
      local port = support.closedPort()
      local f = front { backend = { port = port }, healthInterval = 5 }
      local found = findings(f)
      local _, client = slot(f)
      client:write "x"
      assert.equal("ECONNRESET", client:waitEnd())
      run(function() return #found == 1 end)
      assert.matches("^ECONNREFUSED .", found[1])
      refused(connect(f))
      local s = f:stats()
      assert.same({ 1, 1 }, { s.failed, s.refused })
    end)

    it("is down as long as somebody says so", function()
      local f = front()
      local found = findings(f)
      local _, unused = slot(f)
      assert.equal(f, f:setDown "maintenance")
      refused(connect(f))
      unused:waitEnd()
      unused:close()
      reached(f, "open", 0)
      assert.same({ "ECANCELED maintenance" }, found)
      f:setDown()
      run(function() return found[2] end)
      assert.equal("up", found[2])
      assert.equal(0, (slot(f)))
    end)
  end)

  it("may be closed by its handlers, which run the loop until it is gone",
    function()
      if not support.NESTS then
        return pending "luv runs no loop within itself"
      end
      local f, told = front {}, 0
      f:on("backend", function(up, err)
        f:close(0)
        support.run(function() return not pcall(f.stats, f) end)
        told = told + 1
        assert.is_false(up)
        assert.equal("out for lunch", err.message)
      end)
      f:setDown "out for lunch"
      support.run(function() return told == 1 end)
    end)

  describe("drain", function()
    it("ends what is there, and gives no slots until it is resumed", function()
      local f, server = front { quietTime = 1 }
      local client, backend = pair(f, server)
      local _, unused = slot(f)
      backend:write "answer"
      client:take "^answer"
      assert.equal(f, f:drain(50))
      assert.is_nil(unused:waitEnd())
      assert.is_nil(client:waitEnd())
      unused:close()
      client:close()
      reached(f, "open", 0)
      assert.equal(1, f:stats().drained)
      refused(connect(f))
      assert.equal(f, f:resume())
      assert.equal(0, (slot(f)))
    end)

    it("is what a lower weight is for the surplus", function()
      local f = front { drainTimeout = 20 }
      local _, peers = slots(f, 4)
      f:setWeight(0.5)
      reached(f, "ending", 2)
      run(function()
        for _, peer in ipairs(peers) do
          if peer.ended and not peer.closed then peer:close() end
        end
        return f:stats().open == 2
      end)
      assert.same({ 4, 2 }, { f:stats().closed + f:stats().open,
        f:stats().unused })
    end)
  end)

  describe("close", function()
    it("gives connections drainTimeout, or the time it is given", function()
      local f, server = front { drainTimeout = 60000 }
      local client, backend = pair(f, server)
      assert.equal(f, f:close())
      backend:write "late"
      client:take "^late"
      assert.equal(1, f:stats().running)
      f:close(60000)
      f:close(0)
      assert.equal("ECONNRESET", client:waitEnd())
      run(function() return not pcall(f.stats, f) end)
      assert.equal("front 'main' (closed)", tostring(f))
    end)

    it("ends it for all methods but two", function()
      local f, server = front()
      pair(f, server)
      f:close(60000)
      misuse(function() f:drain() end,
        "calling 'drain' on bad self (the front is closed)")
      for _, name in ipairs { "setWeight", "resume", "setDown", "address",
          "on" } do
        assert.error_matches(function() f[name](f, 1) end, "closed")
      end
      assert.equal(1, f:stats().running)
      f:close(0)
    end)

    it("is the end of a block", function()
      local port
      do
        local f <close> = front()
        port = select(2, f:address())
      end
      run(function()
        local client = connect(port)
        run(function() return client.connected or client.err end)
        return client.err == "ECONNREFUSED"
      end)
    end)
  end)

  describe("an error", function()
    -- A front in a process whose descriptors are all in use, with clients that
    -- have their slots.
    local HEAD = [[
      local uv = require "luv"
      local f = assert(require "callosum.front".new { name = "poor",
        listen = { port = 0 }, backend = { port = tonumber((...)) } })
      f:on("backend", function(up, err) print("backend", up, err) end)
      local clients, spare = {}, {}
      local function reaches(name, count)
        while f:stats()[name] ~= count do uv.run "once" end
      end
      for i = 1, 6 do
        local client = uv.new_tcp()
        client:connect("127.0.0.1", select(2, f:address()), function()
          client:read_start(function(_, chunk)
            if not chunk then client:close() end
          end)
        end)
        clients[i] = client
        reaches("unused", i)
      end
      local function full()
        for file in function() return (io.open "/dev/null") end do
          spare[#spare + 1] = file
        end
      end
      local function joins(i)
        local s = f:stats()
        clients[i]:write "x"
        reaches("joined", s.joined + 1)
      end
      local function fails(i)
        full()
        clients[i]:write "x"
        while not clients[i]:is_closing() do uv.run "once" end
      end
      -- A descriptor is in reserve.
      full()
      joins(1)
    ]]

    local function starved(script)
      local server = support.serve()
      local child = support.spawnLua(HEAD .. script .. " os.exit(true, true)",
        { args = { tostring(server.port) }, descriptors = 40 })
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      return child
    end

    it("says once what this machine lacks, which is not the backend's fault",
      function()
        local child = starved [[
          f:on("error", function(err) print(err.code, err) end)
          for i = 2, 4 do fails(i) end
          for _, file in ipairs(spare) do file:close() end
          spare = {}
          joins(5)
          fails(6)
          print(f:stats().failed, f:stats().refused)
        ]]
        local line = "EMFILE\tcannot connect to the backend: this process has "
          .. "no descriptors left (EMFILE); raise its limit of open files "
          .. "(ulimit -n)\n"
        assert.equal(line .. line .. "4\t0\n", child.stdout)
      end)

    it("that nobody listens to is raised", function()
      assert.matches("unhandled 'error' event of front 'poor': cannot connect "
        .. "to the backend: this process has no descriptors left",
        starved "fails(2)".output)
    end)
  end)

  it("blames misuse on its caller", function()
    local f = plain {}
    misuse(function() f:setWeight(0) end, "bad argument #1 to 'setWeight' "
      .. "(weight: number from 0.00390625 to 256 expected, got 0)")
    misuse(function() f:setWeight() end, "bad argument #1 to 'setWeight' "
      .. "(weight: number from 0.00390625 to 256 expected, got nil)")
    misuse(function() f:drain(-1) end, "bad argument #1 to 'drain' (time: "
      .. "integer from 0 to 4294967295 expected, got -1)")
    misuse(function() f:setDown(5) end, "bad argument #1 to 'setDown' "
      .. "(reason: string of 1 to 255 bytes expected, got number)")
    misuse(function() f:on("backed", print) end, "bad argument #1 to 'on' "
      .. "(unknown event 'backed', nearest is 'backend')")
  end)
end)
