local callosum = require "callosum.rover"
local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local attempt, checkStats = support.attempt, support.checkStats
local expect, met, record = support.expect, support.met, support.record
local rover, run, serve = support.rover, support.run, support.serve
local spawnLua = support.spawnLua

local keep, note, open = sockets.keep, sockets.note, sockets.open
local settle, untilClosed = sockets.settle, sockets.untilClosed

describe("a rover's sockets", function()
  it("stay when it stops", function()
    local socket, peer, r = keep()
    local notes = note(socket, true)
    r:start():stop()
    settle()
    assert.same({ socket }, r:sockets())
    assert.is_false(socket.closed)
    peer:write("data")
    run(function() return notes[1] end)
    assert.same({ "data data" }, notes)
  end)

  it("stay when their server is dropped", function()
    local socket, peer, r = keep()
    local notes = note(socket)
    assert.is_true(r:dropServer("s"))
    settle()
    assert.same({ socket }, r:sockets())
    socket:write("hello")
    peer:take("^hello$")
    peer:close()
    untilClosed(notes)
    assert.same({ "end", "close" }, notes)
  end)

  it("stay when another copy of the module is collected", function()
    local socket, peer = keep()
    local notes = note(socket, true)
    for _ = 1, 2 do -- the last copy stays, for the metatables it shares
      package.loaded["callosum.rover"] = nil
      require "callosum.rover"
    end
    package.loaded["callosum.rover"] = callosum
    collectgarbage()
    collectgarbage()
    assert.is_false(socket.closed)
    peer:write("data")
    run(function() return notes[1] end)
    assert.same({ "data data" }, notes)
  end)

  it("close with the rover, each with its close event", function()
    local server = serve { send = "7\r\n" }
    local r = rover { port = server.port }
    local events, notes = record(r), {}
    for i = 1, 5 do notes[i] = note(attempt(r, events).socket) end
    -- With work of any kind in hand.
    events[1].socket:write(("x"):rep(sockets.PLENTY), expect(function(err)
      assert.equal("ECANCELED", err.code)
    end))
    events[2].socket:shutdown(expect(function(err)
      assert.equal("ECANCELED", err.code)
    end))
    events[3].socket:on("data", function() end)
    r:close()
    for i = 1, 5 do
      assert.is_true(events[i].socket.closed)
      assert.same({}, notes[i])
    end
    for i = 1, 5 do untilClosed(notes[i]) end
    settle()
    for i = 1, 5 do assert.same({ "close" }, notes[i]) end
    assert.is_true(met())
  end)

  it("may close the rover from each of their events", function()
    for _, event in ipairs { "data", "end", "close" } do
      local socket, peer, r = keep()
      if event ~= "data" then socket:on("data", function() end) end
      socket:on(event, expect(function() r:close() end))
      local notes = note(socket)
      peer:write("data"):shutdown()
      untilClosed(notes)
      run(met)
      assert.same({ event == "data" and "close" or "end",
        event ~= "data" and "close" or nil }, notes)
    end
  end)

  it("may close one another from their events", function()
    local server = serve { send = "7\r\n" }
    local r = rover { port = server.port }
    local events, closes = record(r), 0
    for _ = 1, 10 do
      local socket = attempt(r, events).socket
      socket:on("end", function()
        for _, each in ipairs(r:sockets()) do each:close() end
      end)
      socket:on("close", function() closes = closes + 1 end)
    end
    for _, peer in ipairs(server.peers) do peer:shutdown() end
    run(function() return closes == 10 end)
    settle()
    assert.equal(10, closes)
    assert.same({}, r:sockets())
  end)

  it("are the same objects wherever they are given, also when unreferenced",
    function()
      local server = serve { send = "7\r\n" }
      local r = rover { port = server.port }
      local seen = setmetatable({}, { __mode = "k" })
      r:on("connection", function(_, socket)
        seen[socket] = true
        socket.state.mark = "mine"
      end)
      r:connect()
      run(function() return r:stats().connections == 1 end)
      collectgarbage()
      collectgarbage()
      local list = r:sockets()
      assert.is_true(seen[list[1]])
      assert.equal("mine", list[1].state.mark)
      assert.equal(list[1], r:sockets()[1])
    end)

  it("are collected once closed and unreferenced, and so is the rover",
    function()
      local server = serve { send = "7\r\n" }
      local weak = setmetatable({}, { __mode = "v" })
      -- A function of its own, whose variables are gone when it returns; and
      -- a rover that support does not hold.
      local function use(closeRover)
        local r = callosum.new {
          servers = { s = { host = "127.0.0.1", port = server.port } },
        }
        local closed = false
        r:on("connection", function(_, socket)
          weak[1], weak[2] = socket, r
          socket.state.self = { socket, r }
          socket:on("data", function() return socket, r end)
          socket:on("close", function() closed = socket.closed end)
          socket:write("x", function() return socket, r end)
        end)
        r:connect()
        run(function() return r:stats().kept == 1 end)
        settle()
        collectgarbage()
        assert.equal(weak[1], r:sockets()[1])
        if closeRover then r:close() else weak[1]:close() end
        run(function() return closed end)
      end
      for _, closeRover in ipairs { false, true } do
        use(closeRover)
        settle()
        collectgarbage()
        collectgarbage()
        assert.same({}, weak)
      end
    end)
end)

describe("an error in a handler", function()
  -- In a process of its own, where luv reports it, as in any program.
  local function child(body)
    local process = spawnLua([[
      local rover = require "callosum.rover"
      local server = require "callosum.server"
      local uv = require "luv"
      io.stdout:setvbuf("no")
      local s = assert(server.new())
      local conn
      s:on("connection", function(c) conn = c end)
      local host, port = s:address()
      local r = rover.new { servers = { s = { host = host, port = port } } }
      local function done()
        r:close()
        s:close()
      end
      local function on(socket, event)
        socket:on(event, function() error("boom in " .. event) end)
        socket:on(event, function() print("after " .. event) end)
      end
      local function ask(socket)
        print("kept", socket.closed, #r:sockets())
      end
      ]] .. body .. [[
      r:connect()
      uv.run()
      print("the loop ran dry")
    ]])
    assert.same({ 0, 0 }, { process:wait() })
    assert.matches("the loop ran dry\n$", process.stdout)
    return process
  end

  it("of data costs that call alone", function()
    local process = child [[
      r:on("connection", function(_, socket)
        on(socket, "data")
        socket:on("data", function(chunk)
          ask(socket)
          if chunk == "two" then return done() end
          conn:write("two")
        end)
        conn:write("one")
      end)
    ]]
    assert.equal("after data\nkept\tfalse\t1\nafter data\nkept\tfalse\t1\n"
      .. "the loop ran dry\n", process.stdout)
    assert.equal(2, select(2, process.stderr:gsub("boom in data", "")))
    assert.matches("stack traceback", process.stderr)
  end)

  it("of end and of close costs that call alone", function()
    local process = child [[
      r:on("connection", function(_, socket)
        on(socket, "end")
        on(socket, "close")
        socket:on("end", function() ask(socket) end)
        socket:on("close", done)
        conn:shutdown()
      end)
    ]]
    assert.equal("after end\nkept\tfalse\t1\nafter close\nthe loop ran dry\n",
      process.stdout)
    assert.matches("boom in end", process.stderr)
    assert.matches("boom in close", process.stderr)
  end)

  it("of drain and of callbacks costs that call alone", function()
    local process = child [[
      r:on("connection", function(_, socket)
        on(socket, "drain")
        socket:on("drain", function()
          ask(socket)
          socket:shutdown(function() error("boom in shutdown") end)
        end)
        socket:on("close", function(err)
          print("close", err)
          done()
        end)
        socket:write(("x"):rep(1 << 24), function() error("boom in write") end)
        socket:write("y", function(err) print("written", err) end)
      end)
    ]]
    assert.equal("written\tnil\nafter drain\nkept\tfalse\t1\nclose\tnil\n"
      .. "the loop ran dry\n", process.stdout)
    for _, where in ipairs { "drain", "write", "shutdown" } do
      assert.matches("boom in " .. where, process.stderr)
    end
  end)

  it("costs that call alone if it is no string", function()
    local process = child [[
      r:on("connection", function(_, socket)
        local values = { {}, 1.5, false, setmetatable({}, {
          __tostring = function() error("boom in tostring") end,
        }) }
        for i = 1, 5 do
          socket:on("data", function() error(values[i], 0) end)
        end
        socket:on("data", function()
          ask(socket)
          done()
        end)
        conn:write("data")
      end)
    ]]
    assert.equal("kept\tfalse\t1\nthe loop ran dry\n", process.stdout)
  end)
end)

describe("a kept socket's TCP options", function()
  local PERL = [[
    use Socket;
    open(my $socket, "+<&=", 3) or die $!;
    # no-delay, keepalive, its idle time, the user timeout
    print join " ", map {
      unpack "i", getsockopt($socket, $_->[0], $_->[1])
    } [6, 1], [SOL_SOCKET, SO_KEEPALIVE], [6, 4], [6, 18];
  ]]

  -- The descriptor of the connection between these ports of 127.0.0.1; nil
  -- where /proc does not tell.
  local function descriptorOf(here, there)
    local file = io.open("/proc/self/net/tcp")
    if not file then return end
    local rows = file:read("a")
    file:close()
    local inode = rows:match(("0100007F:%04X 0100007F:%04X")
      :format(here, there) .. (" +%S+"):rep(6) .. " +(%d+)")
    for name in uv.fs_scandir_next, uv.fs_scandir("/proc/self/fd") do
      local target = uv.fs_readlink("/proc/self/fd/" .. name)
      if target == ("socket:[%s]"):format(inode) then return tonumber(name) end
    end
  end

  -- The options of a descriptor: Lua cannot ask for them, but a child that
  -- inherits it can. Nil where there is no perl.
  local function optionsOf(descriptor)
    local pipe, output, code = uv.new_pipe(false), "", nil
    local handle
    handle = uv.spawn("perl", {
      args = { "-e", PERL },
      -- Not what checks our own memory, by LD_PRELOAD: perl leaks.
      env = { "PATH=" .. os.getenv("PATH") },
      stdio = { nil, pipe, 2, descriptor },
    }, function(exit)
      code = exit
      handle:close()
    end)
    if not handle then
      pipe:close()
      return
    end
    pipe:read_start(function(_, chunk)
      if chunk then output = output .. chunk else pipe:close() end
    end)
    run(function() return code and pipe:is_closing() end)
    assert.equal(0, code)
    return output
  end

  local function check(expected, options)
    local socket, _, _, server = keep(options)
    local descriptor = descriptorOf(select(2, socket:sockname()), server.port)
    if not descriptor then return pending("/proc does not tell") end
    local found = optionsOf(descriptor)
    if not found then return pending("perl is not there") end
    assert.equal(expected, found)
  end

  it("are no-delay and keepalive at 15 s; no user timeout, which would end who "
      .. "takes in nothing", function()
    check("1 1 15 0")
  end)

  it("follow the option keepalive", function()
    check("1 1 40 0", { keepalive = 40 })
  end)

  it("are no-delay alone when keepalive is off", function()
    -- 7200 is the kernel's default, of a keepalive that is off.
    local file = io.open("/proc/sys/net/ipv4/tcp_keepalive_time")
    local default = file and file:read("n") or 7200
    if file then file:close() end
    check(("1 0 %d 0"):format(default), { keepalive = 0 })
  end)
end)

describe("kept sockets", function()
  it("take a descriptor each, whatever waits unread, and keep the loop alive",
      function()
    local server = support.serve { send = "0\r\nunread" }
    local process = spawnLua([[
      local rover = require "callosum.rover"
      local uv = require "luv"
      local function descriptors()
        local scan, count = uv.fs_scandir("/proc/self/fd"), 0
        for _ in uv.fs_scandir_next, scan do count = count + 1 end
        return count
      end

      local r = rover.new { servers = {
        s = { host = "127.0.0.1", port = tonumber((...)) },
      } }
      local before, closed = descriptors(), 0
      r:on("connection", function(_, socket)
        socket:on("close", function() closed = closed + 1 end)
      end)
      for _ = 1, 10 do r:connect() end
      while r:stats().kept < 10 do uv.run "once" end
      print(descriptors() - before)
      io.stdout:flush()
      uv.run()
      print(closed)
    ]], { args = { tostring(server.port) } })
    process:waitFor "\n"
    assert.equal("10\n", process.stdout)
    for _, peer in ipairs(server.peers) do peer:shutdown() end
    assert.same({ 0, 0 }, { process:wait() }, process.output)
    assert.equal("10\n10\n", process.stdout)
  end)
end)

describe("a thousand kept sockets", function()
  it("are each seen closing, and all their memory returns", function()
    -- In a process of its own, for its descriptors and its memory.
    local process = spawnLua([[
      local rover = require "callosum.rover"
      local server = require "callosum.server"
      local uv = require "luv"
      local COUNT = 1000

      local s = assert(server.new())
      local host, port = s:address()
      local r = rover.new {
        maxAttempts = 32,
        servers = { s = { host = host, port = port } },
      }
      local objects = setmetatable({}, { __mode = "k" })
      local ended, closed, wrong = {}, {}, 0
      r:on("connection", function(slot, socket)
        objects[socket] = true
        socket.state.slot = slot
        socket:on("end", function() ended[slot] = (ended[slot] or 0) + 1 end)
        socket:on("close", function(err)
          if err or not ended[slot] then wrong = wrong + 1 end
          closed[slot] = (closed[slot] or 0) + 1
        end)
      end)

      local function expect(what, wanted, got)
        if wanted == got then return end
        error(("%s: %s and not %s"):format(what, got, wanted), 2)
      end

      local function round()
        ended, closed = {}, {}
        -- Every attempt in flight that ends makes room for another.
        local started = 0
        while r:stats().kept < COUNT do
          while started < COUNT and r:connect() do started = started + 1 end
          uv.run("once")
        end
        collectgarbage()
        local list = r:sockets()
        expect("kept", COUNT, #list)
        for i, socket in ipairs(list) do
          assert(objects[socket], "another object")
          expect("slot", i - 1, socket.slot)
          expect("state", i - 1, socket.state.slot)
        end
        list = nil

        -- One by one, the odd ones first.
        local conns = s:connections()
        expect("connections", COUNT, #conns)
        local left = COUNT
        for first = 1, 2 do
          for i = first, COUNT, 2 do
            conns[i]:shutdown()
            left = left - 1
            if i % 50 < 2 then
              while r:stats().kept > left do uv.run("once") end
            end
          end
        end
        conns = nil
        while r:stats().kept > 0 or #s:connections() > 0 do uv.run("once") end
        uv.run("nowait")
        for slot = 0, COUNT - 1 do
          expect("ends", 1, ended[slot])
          expect("closes", 1, closed[slot])
        end
        expect("wrong", 0, wrong)
      end

      local function memory()
        ended, closed = {}, {}
        uv.run("nowait")
        for _ = 1, 3 do collectgarbage() end
        expect("objects left", nil, next(objects))
        return collectgarbage("count")
      end

      round()
      local before = memory()
      for _ = 1, 3 do round() end
      local grown = memory() - before
      -- A leaked socket would cost hundreds of bytes, 3,000 of them a MiB.
      assert(grown < 64, grown .. " KiB are left")
      local stats = r:stats()
      expect("closed", 4 * COUNT, stats.closed)
      expect("attempts", 4 * COUNT, stats.attempts)
      r:close()
      s:close()
      uv.run()
      print("all well")
    ]], { descriptors = 4096 })
    process:wait()
    assert.equal("all well\n", process.output)
  end)
end)

describe("whatever handlers do", function()
  local SOCKETS, OPERATIONS = 50, 4000

  -- Many times the same, each time with other dice.
  local function torture(seed, halfOpen)
    math.randomseed(seed)
    local server = serve { connection = function(peer)
      peer:write(math.random(0, 99) .. "\r\n" .. ("early"):rep(
        math.random(0, 2)))
      sockets.echo(peer)
    end }
    local r = rover {
      port = server.port, maxAttempts = SOCKETS, allowHalfOpen = halfOpen,
    }
    local budget, alive, live = OPERATIONS, 0, {}
    local pendingCalls, closes, opened = 0, {}, 0
    local act

    -- A callback that must come exactly once, unless the call is refused.
    local function done(socket)
      local called = false
      pendingCalls = pendingCalls + 1
      return function()
        assert(not called)
        called = true
        pendingCalls = pendingCalls - 1
        act(socket)
      end
    end

    local function onData(chunk)
      local socket = live[math.random(#live)]
      assert(#chunk > 0)
      act(socket)
    end

    local operations = {
      function(socket)
        socket:write(("x"):rep(math.random(0, 200)))
      end,
      function(socket)
        socket:write({ "a", ("b"):rep(math.random(0, 3) * 100000), "" })
      end,
      function(socket) socket:on("data", onData) end,
      function(socket) socket:off("data", onData) end,
      function(socket) socket.state.n = (socket.state.n or 0) + 1 end,
      function() checkStats(r) end,
      function() r:connect() end,
      function(socket)
        local peer = server.peers[math.random(#server.peers)]
        local how = math.random(6)
        if peer.closed then return socket:peername() end
        if how == 1 then peer:close()
        elseif how == 2 then peer:reset()
        elseif how == 3 then peer:shutdown()
        else peer:write("unsolicited") end
      end,
      function(socket) if math.random(4) == 1 then socket:close() end end,
      function(socket) if math.random(4) == 1 then socket:shutdown() end end,
      function(socket)
        if math.random(4) > 1 then return end
        local descriptor = socket:detach()
        if descriptor then
          assert(socket.closed)
          open(descriptor)
        end
      end,
    }

    function act(socket)
      for _ = 1, math.random(0, 3) do
        if budget <= 0 then return end
        budget = budget - 1
        local other = math.random() < 0.3 and live[math.random(#live)]
        operations[math.random(#operations)](other or socket)
        if math.random() < 0.2 then
          local accepted
          if math.random(10) > 1 then
            accepted = socket:write("request", done(socket))
          else
            accepted = socket:shutdown(done(socket))
          end
          if not accepted then pendingCalls = pendingCalls - 1 end
        end
      end
    end

    r:on("connection", function(_, socket)
      opened = opened + 1
      alive = alive + 1
      live[#live + 1] = socket
      socket:on("end", function()
        assert(not socket.closed)
        act(socket)
      end)
      socket:on("drain", function()
        assert(not socket.closed)
        act(socket)
      end)
      socket:on("close", function()
        assert(socket.closed)
        closes[socket] = (closes[socket] or 0) + 1
        alive = alive - 1
        act(socket)
      end)
      if math.random() < 0.7 then socket:on("data", onData) end
      act(socket)
    end)
    r:on("error", function(err) error(tostring(err)) end)
    r:on("unreachable", function() end)

    -- The loop goes on turning when all are silent.
    local idle = uv.new_idle()
    idle:start(function() end)
    support.atEnd(function() idle:close() end)
    while budget > 0 do
      while r:stats().inFlight + r:stats().kept < SOCKETS do r:connect() end
      local turns = 0
      run(function()
        turns = turns + 1
        local socket = live[1] and live[math.random(#live)]
        if socket and turns % 3 == 0 then act(socket) end
        return budget <= 0 or turns > 20
          or r:stats().inFlight + r:stats().kept < SOCKETS
      end)
      checkStats(r)
    end
    idle:stop()
    r:stop()
    for _, socket in ipairs(r:sockets()) do socket:close() end
    run(function() return alive == 0 end)
    local stats = checkStats(r)
    assert.equal(opened, stats.closed)
    assert.equal(opened, stats.connections)
    for _, socket in ipairs(live) do assert.equal(1, closes[socket]) end
    assert.equal(0, pendingCalls)
    r:close()
    server:close()
  end

  for _, halfOpen in ipairs { false, true } do
    it("the books stay in order" .. (halfOpen and ", half-open too" or ""),
      function()
        local seed = tonumber(os.getenv("SEED")) or os.time() * 1000
          + uv.hrtime() % 1000
        local ok, err = pcall(torture, seed, halfOpen)
        if not ok then
          error(("with SEED=%d: %s"):format(seed, tostring(err)), 0)
        end
      end)
  end
end)
