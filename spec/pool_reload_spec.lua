local reloads = require "support.reloads"
local support = require "support"

local start, reload, fails = reloads.start, reloads.reload, reloads.fails
local closed, listen, told = reloads.closed, reloads.listen, reloads.told
local events, logged, stop = support.events, support.logged, support.stop

-- A policy with a pool, which says what that holds once it holds `n`.
local function pooled(options, n, more)
  return ([[
    r = rover.new { servers = { s = at(1) } }
    p = require "callosum.pool".new %s:attach(r)
    function say()
      local stats = p:stats()
      stats.slots = table.concat(stats.slots, " ")
      log("holds", stats)
    end
    r:on("connection", function(slot)
      if p:stats().size == %d then say() end
    end)
    r:on("error", function() end)
  ]]):format(options, n) .. (more or "")
end

local TEN = [[
  for _ = 1, 10 do r:connect() end
]]

describe("A reload with a pool", function()
  it("closes what was lent out, and keeps the others", function()
    local s = listen()
    local child = start(pooled("{}", 10, TEN .. [[
      r:on("connection", function()
        if p:stats().size < 10 then return end
        for _ = 1, 4 do p:getConnection() end
        p:returnConnection(p:getConnection())
        say()
      end)
    ]]), s)
    assert.equal(4, logged(child, "holds", 2).leased)
    local line = reload(child, pooled("{}", 6))
    assert.same({ 10, 4 }, { line.adopted, line.closed })
    local holds = logged(child, "holds", 3)
    assert.same({ 6, 6, 0, 0 },
      { holds.size, holds.idle, holds.kept, holds.rejected })
    assert.equal("4 5 6 7 8 9", holds.slots)
    assert.same({ 0, 1, 2, 3 }, closed(s, 4))
    stop(child)
  end)

  it("closes what lost its place while it was lent out as well", function()
    local server = support.serve { connection = function(peer)
      peer.server = true
    end }
    local child = start(pooled("{ maxSlots = 1 }", 1, [[
      r:on("connection", function(slot)
        if slot == 5 then p:getConnection() end
        say()
      end)
      r:connect() r:connect()
    ]]), server)
    support.run(function() return #server.peers == 2 end)
    server.peers[1]:write("5\r\n")
    logged(child, "holds", 2)
    server.peers[2]:write("3\r\n")
    assert.equal(1, logged(child, "holds", 4).retiring)
    local line = reload(child, pooled("{}", 1))
    assert.same({ 2, 1 }, { line.adopted, line.closed })
    assert.equal("3", logged(child, "holds", 5).slots)
    server.peers[1]:waitEnd()
    stop(child)
  end)

  it("applies new limits, the lowest slots staying", function()
    local s = listen()
    local child = start(pooled("{}", 10, TEN), s)
    logged(child, "holds")
    local line = reload(child, pooled("{ maxSlots = 3 }", 3))
    assert.same({ 10, 7 }, { line.adopted, line.closed })
    assert.equal("0 1 2", logged(child, "holds", 2).slots)
    stop(child)
  end)

  it("has a pool adopt what a policy without one kept", function()
    local s = listen()
    local child = start([[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(slot) log("got", { slot = slot }) end)
      connect(r, 5)
    ]], s)
    logged(child, "got", 5)
    local line = reload(child, pooled("{}", 5))
    assert.same({ 5, 0 }, { line.adopted, line.closed })
    assert.equal("0 1 2 3 4", logged(child, "holds").slots)
    -- And the other way round.
    line = reload(child, [[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(slot) log("got", { slot = slot }) end)
    ]])
    assert.same({ 5, 0 }, { line.adopted, line.closed })
    stop(child)
  end)

  it("that fails leaves leases and the line alone", function()
    local s = listen()
    local child = start(pooled("{}", 1, [[
      r:on("connection", function()
        local socket = p:getConnection()
        p:requestConnection(function(same)
          log("waited", { same = same.slot == socket.slot })
        end, 60000)
        socket:on("data", function() p:returnConnection(socket) end)
        say()
      end)
      r:connect()
    ]]), s)
    logged(child, "holds", 2)
    fails(child, "error 'no'")
    s.conns[0]:write("answer")
    assert.is_true(logged(child, "waited").same)
    stop(child)
  end)

  it("fills the pool at once, whoever waited while it was loaded", function()
    local s = listen()
    local script = pooled("{ maxSlots = 3, fillInterval = 1 }", 3, [[
      p:requestConnection(function() log "served" end)
    ]])
    local function lasting(interval)
      return script .. ("r:setRovingInterval(%d):start()"):format(interval)
    end
    local child = start(lasting(3600000), s)
    logged(child, "served")
    logged(child, "holds")
    assert.equal(1, reload(child).closed)
    logged(child, "holds", 2) -- long before the clock would have it
    stop(child)
  end)

  it("goes on telling late answers from greetings", function()
    local s = listen()
    local child = start(pooled("{}", 2, [[
      r:on("connection", function()
        if p:stats().size < 2 then return end
        p:returnConnection(p:getConnection())
        say()
      end)
      r:connect() r:connect()
    ]]), s)
    logged(child, "holds", 2)
    reload(child, pooled("{}", 2, [[
      local socket
      require "luv".new_timer():start(1, 1, function()
        if p:stats().unsolicited == 0 then return end
        socket = socket or p:getConnection():on("data", function(chunk)
          log("greeting", { chunk = chunk, slot = socket.slot })
        end)
      end)
    ]]))
    logged(child, "holds", 3)
    s.conns[0]:write("late")  -- was lent out in its time
    s.conns[1]:write("hello") -- never was
    local greeting = logged(child, "greeting")
    assert.same({ "hello", 1 }, { greeting.chunk, greeting.slot })
    assert.same({ 0 }, closed(s, 1))
    stop(child)
  end)

  it("has requests go on, none answered by another's answer", function()
    local server = support.spawnLua [[
      local s = assert(require "callosum.server".new())
      s:on("connection", function(conn)
        conn:on("data", function(chunk) conn:write(chunk) end)
      end)
      print(select(2, s:address()))
      io.stdout:flush()
      require "luv".run()
    ]]
    local port = server:waitFor "(%d+)\n"
    local script = pooled("{ maxSlots = 8, fillInterval = 5 }", 8, [[
      r:start()
      local asked, wrong = 0, 0
      local function work(name)
        while true do
          local socket = p:awaitConnection()
          if socket then
            local this = coroutine.running()
            asked = asked + 1
            local question = ("%d %s %d;"):format(host.generation, name, asked)
            local answer = ""
            local function resume()
              local ok, err = coroutine.resume(this)
              if not ok then host.log.error(err) end
            end
            socket:on("close", resume)
            socket:on("data", function(chunk)
              answer = answer .. chunk
              if chunk:sub(-1) == ";" then resume() end
            end)
            socket:write(question)
            coroutine.yield()
            if not socket.closed and answer ~= question then
              wrong = wrong + 1
            end
            p:returnConnection(socket)
            if asked % 500 == 0 then
              log("asked", { wrong = wrong, generation = host.generation })
            end
          end
        end
      end
      for _, name in ipairs { "a", "b", "c", "d", "e", "f" } do
        coroutine.wrap(work)(name)
      end
    ]])
    local child = start(script, port)
    for i = 1, 5 do
      support.run(function()
        local generations = told(child, "asked", "generation")
        return generations[#generations] == i
      end)
      reload(child)
    end
    for _, wrong in ipairs(told(child, "asked", "wrong")) do
      assert.equal(0, wrong)
    end
    assert.same({}, events(child, "policy error"))
    stop(child)
  end)
end)
