local callosum = require "callosum.rover"
local settle = require "support.sockets".settle
local support = require "support"

local attempt, record, rover = support.attempt, support.record, support.rover
local closedPort, run, serve = support.closedPort, support.run, support.serve
local spawnLua = support.spawnLua

-- Collects what nothing refers to: finalizers in the first round, what they
-- referred to in the second.
local function collect()
  collectgarbage()
  collectgarbage()
end

-- A table that refers to the value without keeping it.
local function weak(value)
  return setmetatable({ value = value }, { __mode = "v" })
end

describe("close", function()
  it("may be called twice, and returns the rover", function()
    local r = callosum.new()
    assert.equal(r, r:close())
    assert.equal(r, r:close())
    run()
    assert.equal(r, r:close())
    assert.equal("rover 'main' (closed)", tostring(r))
  end)

  it("closes all sockets and leaves nothing on the loop", function()
    local server = serve { send = "0\r\n" }
    local r = rover { port = server.port, rovingInterval = 1 }
    local events = record(r)
    r:start()
    run(function() return #events >= 5 end)
    local closes = 0
    for _, event in ipairs(events) do
      event.socket:on("close", function(err)
        assert.is_nil(err)
        closes = closes + 1
      end)
    end
    r:close()
    for _, event in ipairs(events) do assert.is_true(event.socket.closed) end
    local before = #events
    for _, peer in ipairs(server.peers) do peer:waitEnd() end
    server:close()
    run() -- ends only if nothing is left
    assert.equal(before, closes)
    assert.equal(before, #events)
  end)

  -- What is ready behind such a handler would wait for another turn of the
  -- loop, if the rover were not closed.
  describe("by a handler that takes long", function()
    local function busy()
      local from = os.clock()
      while os.clock() - from < 0.015 do end
    end

    -- A rover that makes eight attempts at a port.
    local function attempting(port)
      local r = callosum.new {
        servers = { s = { host = "127.0.0.1", port = port } } }
      for _ = 1, 8 do r:connect() end
      return r
    end

    for _, event in ipairs { "connection", "unreachable" } do
      it("of " .. event .. " leaves nothing to be told", function()
        local port = event == "connection" and serve { send = "0\r\n" }.port
          or closedPort()
        local r, calls = attempting(port), 0
        r:on(event, function()
          calls = calls + 1
          busy()
          r:close()
        end)
        run(function() return calls > 0 end)
        settle()
        assert.equal(1, calls)
      end)
    end

    for _, listened in ipairs { true, false } do
      it("of close, the sockets " .. (listened and "" or "not ")
        .. "listened to, tells of all the others", function()
          local r, calls = attempting(serve { send = "0\r\n" }.port), 0
          local events = record(r)
          run(function() return #events == 8 end)
          for _, each in ipairs(events) do
            if listened then each.socket:on("data", print) end
            each.socket:on("close", function()
              calls = calls + 1
              busy()
              r:close()
            end)
          end
          for _, each in ipairs(events) do each.socket:close() end
          busy()
          run(function() return calls == 8 end)
          settle()
        end)
    end
  end)

  it("ends a rover while it resolves a name", function()
    local r = rover { host = "no-such-host.invalid", port = 4040 }
    local events = record(r)
    r:connect()
    r:close()
    run()
    assert.same({}, events)
  end)

  it("may be called from every handler", function()
    for event, script in pairs {
      connection = { send = "1\r\n" }, error = { send = "x" },
      unreachable = { finish = "close" },
    } do
      local server = serve(script)
      local r = rover { port = server.port, rovingInterval = 1 }
      local events = record(r)
      r:on(event, function() r:close() end)
      local after = 0
      r:on(event, function() after = after + 1 end)
      r:start()
      run(function() return after == 1 end)
      for _, peer in ipairs(server.peers) do
        if not peer.closed then peer:waitEnd() end
      end
      server:close()
      run()
      assert.equal(1, #events)
      assert.equal(event, events[1].event)
      assert.equal(1, after)
      if events[1].socket then assert.is_true(events[1].socket.closed) end
    end
  end)

  it("happens at the end of a block to a `<close>` variable", function()
    local server = serve { send = "0\r\n" }
    local outer
    do
      local r <close> = rover { port = server.port }
      outer = r
      r:start()
      attempt(r, record(r:stop()))
    end
    assert.equal("rover 'main' (closed)", tostring(outer))
    server.peers[1]:waitEnd()
  end)

  it("leaves other rovers alone", function()
    local server = serve { send = "0\r\n" }
    local one = rover { port = server.port }
    local other = rover { port = server.port }
    attempt(one, record(one))
    attempt(other, record(other))
    one:close()
    server.peers[1]:waitEnd()
    assert.equal(1, #other:sockets())
    assert.is_false(server.peers[2].ended)
  end)
end)

describe("a rover that nothing refers to", function()
  it("is collected when it does nothing", function()
    local ref = weak(callosum.new {
      servers = { s = { host = "127.0.0.1", port = closedPort() } },
    })
    collect()
    assert.is_nil(ref.value)
    run() -- and has left the loop
  end)

  it("is collected although its handlers refer to it", function()
    local ref
    do
      local r = callosum.new()
      r:on("connection", function() r:stop() end)
      r:on("error", function() r:close() end)
      ref = weak(r)
    end
    collect()
    assert.is_nil(ref.value)
    run()
  end)

  it("goes on when it is started, and is collected once stopped", function()
    local ref = weak(callosum.new {
      rovingInterval = 1,
      servers = { s = { host = "127.0.0.1", port = closedPort() } },
    })
    local events = 0
    ref.value:on("unreachable", function() events = events + 1 end)
    ref.value:start()
    for i = 1, 5 do
      collect()
      run(function() return events >= i end)
    end
    ref.value:stop()
    collect()
    assert.is_nil(ref.value)
    run()
  end)

  it("finishes its attempt, and is collected after it", function()
    local ref = weak(callosum.new {
      servers = { s = { host = "127.0.0.1", port = closedPort() } },
    })
    ref.value:on("unreachable", support.expect())
    ref.value:connect()
    collect()
    assert.not_nil(ref.value)
    run(support.met)
    collect()
    assert.is_nil(ref.value)
    run()
  end)

  it("lives as long as a kept socket does", function()
    local server = serve { send = "7\r\n" }
    local ref = weak(callosum.new {
      servers = { s = { host = "127.0.0.1", port = server.port } },
    })
    local received, closed = "", false
    ref.value:on("connection", function(_, socket)
      socket:on("data", function(chunk) received = received .. chunk end)
      socket:on("close", function() closed = true end)
    end)
    ref.value:connect()
    run(function() return #server.peers == 1 end)
    collect()
    server.peers[1]:write("still")
    run(function()
      collect()
      return received == "still"
    end)
    assert.equal(1, #ref.value:sockets())
    server.peers[1]:close()
    run(function() return closed end)
    collect()
    assert.is_nil(ref.value)
    server:close()
    run()
  end)

  it("is collected once closed, with handlers and sockets that refer to it",
    function()
      local server = serve { send = "7\r\n" }
      local rovers = setmetatable({}, { __mode = "k" })
      local sockets = setmetatable({}, { __mode = "k" })
      do
        local r = callosum.new {
          rovingInterval = 1,
          servers = { s = { host = "127.0.0.1", port = server.port } },
        }
        local kept = {}
        r:on("connection", function(slot, socket)
          kept[slot] = socket
          kept[#kept + 1] = socket
          socket:on("data", function() kept[r] = socket end)
          socket:on("close", function() kept[r] = socket end)
          socket.state.rover = r
          sockets[socket] = true
        end)
        r:start()
        rovers[r] = true
        run(function() return #kept >= 3 end)
        r:close()
      end
      for _, peer in ipairs(server.peers) do peer:waitEnd() end
      server:close()
      run()
      collect()
      assert.is_nil(next(rovers))
      assert.is_nil(next(sockets))
    end)
end)

describe("a rover left open when its Lua state ends", function()
  -- Runs a program to its end with a rover `r` that roves and has attempts in
  -- flight and a kept socket that reads and writes.
  local function ends(how)
    local server, silent = serve { send = "7\r\n" }, serve()
    local child = spawnLua([[
      local uv = require "luv"
      local port, silentPort = ...
      local r = require "callosum.rover".new { servers = {
        s = { host = "127.0.0.1", port = tonumber(port) },
      }, rovingInterval = 1 }
      r:on("unreachable", print)
      r:on("connection", function(slot, socket)
        socket:on("data", print)
        socket:on("close", print)
        socket:write(("x"):rep(1 << 24), print)
        r:dropServer "s"
        r:addServer("t", { host = "127.0.0.1", port = tonumber(silentPort) })
        r:connect()
        uv.new_timer():start(20, 0, function()
          r:addServer("u", { host = "no-such-host.invalid", port = 1 })
          for _ = 1, 5 do r:connect() end
          assert(r:stats().kept == 1)
          assert(r:stats().inFlight > 0)
    ]] .. how .. [[
        end)
      end)
      r:on("error", print)
      r:start()
      uv.run()
    ]], { args = { tostring(server.port), tostring(silent.port) } })
    assert.same({ 0, 0 }, { child:wait() })
    assert.equal("", child.stderr)
    run(function()
      return server.peers[1].ended or server.peers[1].closed
    end)
  end

  it("does no harm when the program just stops running the loop", function()
    ends "uv.stop()"
  end)

  it("does no harm at os.exit", function()
    ends "os.exit(0)"
    ends "os.exit(0, true)"
  end)

  it("does no harm when it was closed but the loop did not run dry", function()
    ends "r:close() uv.stop()"
  end)
end)
