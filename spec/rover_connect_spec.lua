local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local blackHole, checkStats = support.blackHole, support.checkStats
local record, rover = support.record, support.rover
local misuse, run, serve = support.misuse, support.run, support.serve

local HOUR = 3600000

-- Addresses of as many servers, by ids "1", "2", ..., that give slot 0.
local function serving(n)
  local servers, port = {}, serve { send = "0\r\n" }.port
  for i = 1, n do
    servers[tostring(i)] = { host = "127.0.0.1", port = port }
  end
  return servers
end

describe("connect(id)", function()
  it("makes one attempt at that server, started or not", function()
    local r = rover { servers = serving(50), rovingInterval = HOUR }
    local events = record(r)
    for i = 1, 5 do
      assert.equal(r, r:connect "7")
      assert.equal(i - 1, #events) -- the outcome never comes from within
      run(function() return r:stats().inFlight == 0 end)
      assert.equal("connection", events[i].event)
      assert.equal("7", events[i].id)
    end
    r:start()
    run(function() return #events == 6 end)
    local due = r:dueIn()
    assert(r:connect "7")
    run(function() return #events == 7 end)
    assert.is_true(r:dueIn() <= due) -- the clock is left alone
    assert.equal("7", events[7].id)
    assert.equal(7, checkStats(r).attempts)
  end)

  it("asks a server that is paused, and leaves it paused", function()
    local r = rover { servers = serving(1) }
    local events = record(r)
    r:pauseServer("1", HOUR)
    assert.is_nil((r:connect()))
    assert.equal(r, r:connect "1")
    run(function() return #events == 1 end)
    assert.equal("connection", events[1].event)
    assert.is_nil((r:connect()))
  end)

  it("returns false for an id that no server has", function()
    local r = rover { servers = serving(1) }
    for _, id in ipairs { "2", "", "1\0", ("x"):rep(300) } do
      assert.is_false(r:connect(id))
    end
    r:dropServer "1"
    assert.is_false(r:connect "1") -- without any server, and with no handler
    local stats = checkStats(r)
    assert.same({ 0, 0 }, { stats.attempts, stats.skipped })
  end)

  it("is connect() without an id", function()
    local r = rover { servers = serving(1) }
    local events = record(r)
    assert.equal(r, r:connect(nil))
    run(function() return #events == 1 end)
    r:pauseServer("1", HOUR)
    assert.is_nil((r:connect(nil)))
  end)

  it("takes nothing but a string", function()
    local r = require "callosum.rover".new()
    finally(function() r:close() end)
    for _, wrong in ipairs { 7, false, {} } do
      misuse(function() r:connect(wrong) end, ("bad argument #1 to 'connect' "
        .. "(string expected, got %s)"):format(type(wrong)))
    end
  end)

  it("skips and counts an attempt beyond `maxAttempts`, and says so", function()
    local r = rover { port = blackHole(), maxAttempts = 1 }
    assert.equal(r, r:connect "s")
    local nothing, message, code = r:connect "s"
    assert.is_nil(nothing)
    assert.equal("maxAttempts attempts are in flight", message)
    assert.equal("EAGAIN", code)
    local stats = checkStats(r)
    assert.same({ 1, 1 }, { stats.attempts, stats.skipped })
  end)

  it("may be called from every handler, on the server in question", function()
    for _, script in ipairs {
      { send = "1\r\n" }, { send = "x" }, { finish = "close" },
    } do
      local r = rover { port = serve(script).port, maxAttempts = 1 }
      local events = record(r)
      local function again()
        if #events < 5 then assert.equal(r, r:connect "s") end
      end
      r:on("connection", again):on("unreachable", again):on("error", again)
      r:connect "s"
      run(function() return #events == 5 end)
      assert.equal(5, checkStats(r).attempts)
    end
  end)

  it("in a script that is loaded is made when it takes over", function()
    local s, t = serve { send = "1\r\n" }, serve { send = "2\r\n" }
    local body = [[
      r = rover.new { servers = { s = at(1), t = at(2) } }
      r:on("connection", function(slot, socket, id)
        if not socket.adopted then log("got", { id = id }) end
      end)
      log("asked", { known = r:connect "t" == r, unknown = r:connect "u" })
    ]]
    local child = reloads.start(body, s, t)
    local asked = support.logged(child, "asked")
    assert.same({ true, false }, { asked.known, asked.unknown })
    assert.equal("t", support.logged(child, "got").id)
    -- None for one that was stopped, or did not come to be.
    reloads.fails(child, body .. " error 'no'")
    reloads.reload(child, body .. " r:stop() r:connect 's' r:connect 's'")
    assert.equal("s", support.logged(child, "got", 2).id)
    assert.equal("s", support.logged(child, "got", 3).id)
    support.stop(child)
    assert.equal(3, #support.events(child, "got"))
    assert.same({ 2, 1 }, { #s.peers, #t.peers })
  end)
end)

describe("connectIn", function()
  it("makes one attempt at a server in its time, paused or not", function()
    local r = rover { servers = serving(20), rovingInterval = HOUR }
    local events = record(r)
    r:start()
    run(function() return #events == 1 end)
    r:pauseServer("7", HOUR)
    local due = r:dueIn()
    uv.update_time()
    local began = uv.now()
    assert.is_true(r:connectIn("7", 30))
    run(function() return #events == 2 end)
    assert.is_true(uv.now() - began >= 30)
    assert.equal("7", events[2].id)
    assert.is_true(r:dueIn() <= due and r:dueIn() > due - 5000)
    assert.is_true(r:connectIn "7") -- now
    run(function() return #events == 3 end)
    assert.equal("7", events[3].id)
  end)

  it("is instead of what was asked for before", function()
    local r = rover { servers = serving(3), rovingInterval = HOUR }
    local events = record(r)
    r:start()
    run(function() return #events == 1 end)
    r:connectIn("1", 10)
    r:connectIn("2", 1)
    assert.is_false(r:connectIn("4", 0)) -- which changes nothing
    r:connectIn("3", 20)
    run(function() return #events == 2 end)
    assert.equal("3", events[2].id)
    r:connectIn("1", 1)
    assert.is_false(r:connectIn())
    r:connectIn("2", HOUR)
    local timer, over = uv.new_timer(), false
    timer:start(20, 0, function()
      timer:close()
      over = true
    end)
    run(function() return over end)
    assert.equal(2, checkStats(r).attempts)
  end)

  it("is not made once its server is gone or has moved, or the rover stopped",
    function()
      for _, change in ipairs {
        function(r) r:dropServer "s" end,
        function(r) r:addServer("s", { host = "localhost", port = 1 }) end,
        function(r) r:stop() end,
        function(r) r:stop():start() end,
      } do
        local r = rover { port = serve { send = "0\r\n" }.port,
          rovingInterval = HOUR }
        local events = record(r)
        r:start()
        run(function() return #events == 1 end)
        assert.is_true(r:connectIn("s", 5))
        change(r)
        local timer, over = uv.new_timer(), false
        timer:start(15, 0, function()
          timer:close()
          over = true
        end)
        run(function() return over end)
        for _, event in ipairs(events) do
          assert.equal("connection", event.event)
        end
        assert.is_true(checkStats(r).attempts <= (r:dueIn() and 2 or 1))
      end
    end)

  it("does nothing while the rover is not started", function()
    local r = rover { servers = serving(1) }
    assert.is_false(r:connectIn("1", 0))
    assert.equal(0, r:stats().inFlight)
  end)

  it("refuses what is no id and no time", function()
    local r = require "callosum.rover".new()
    finally(function() r:close() end)
    misuse(function() r:connectIn("s", -1) end,
      "bad argument #2 to 'connectIn' (delay: integer from 0 to 4294967295 "
        .. "expected, got -1)")
    misuse(function() r:connectIn(7, 1) end,
      "bad argument #1 to 'connectIn' (string expected, got number)")
  end)
end)

describe("the event `added`", function()
  -- The ids that a started rover with one server tells of.
  local function telling()
    local r = rover { servers = serving(1), rovingInterval = HOUR }
    local ids = {}
    r:on("added", function(id, server)
      ids[#ids + 1] = id .. ":" .. server.port
    end)
    r:start()
    return r, ids
  end

  it("tells of each server that comes or moves, in a later turn", function()
    local r, ids = telling()
    r:addServer("a", { host = "127.0.0.1", port = 1 })
    r:addServer("b", { host = "127.0.0.1", port = 2 })
    assert.same({}, ids)
    run(function() return #ids == 2 end)
    r:addServer("a", { host = "127.0.0.1", port = 1 }) -- it is there already
    r:addServer("b", { host = "127.0.0.1", port = 3 })
    local servers = r:servers()
    servers.c = { host = "127.0.0.1", port = 4 }
    servers.a = { host = "127.0.0.1", port = 5 }
    r:setServers(servers)
    run(function() return #ids == 5 end)
    assert.same({ "a:1", "b:2", "b:3", "a:5", "c:4" }, ids)
  end)

  it("does not tell of those that were there, or are gone", function()
    local r, ids = telling()
    r:addServer("a", { host = "127.0.0.1", port = 1 })
    r:addServer("b", { host = "127.0.0.1", port = 2 })
    r:addServer("c", { host = "127.0.0.1", port = 3 })
    r:dropServer "b"
    run(function() return #ids == 2 end)
    table.sort(ids)
    assert.same({ "a:1", "c:3" }, ids)
    r:stop()
    r:addServer("d", { host = "127.0.0.1", port = 4 })
    r:addServer("e", { host = "127.0.0.1", port = 5 })
    r:start()
    r:addServer("f", { host = "127.0.0.1", port = 6 })
    run(function() return #ids == 3 end)
    assert.equal("f:6", ids[3])
  end)

  it("tells of thousands, each once, while its handlers change them", function()
    local r = rover { servers = serving(1), rovingInterval = HOUR }
    local told = {}
    r:on("added", function(id)
      assert.is_nil(told[id])
      told[id] = true
      r:dropServer(id)
    end)
    r:start()
    local servers = r:servers()
    for i = 1, 3000 do
      servers["new" .. i] = { host = "127.0.0.1", port = 1 }
    end
    r:setServers(servers)
    run(function() return next(r:servers(), next(r:servers())) == nil end)
    local count = 0
    for _ in pairs(told) do count = count + 1 end
    assert.equal(3000, count)
  end)

  it("may be the last thing that its rover tells", function()
    local r, ids = telling()
    r:once("added", function() r:close() end)
    r:addServer("a", { host = "127.0.0.1", port = 1 })
    r:addServer("b", { host = "127.0.0.1", port = 2 })
    run(function() return #ids > 0 end)
  end)

  it("comes to the new policy of what was added during a reload", function()
    local s = serve { send = "1\r\n" }
    local body = [[
      r = rover.new { servers = { s = at(1) }, rovingInterval = 3600000 }
      r:on("added", function(id) log("added", { id = id }) end)
      r:start()
    ]]
    local child = reloads.start(body .. [[
      if host.generation == 1 then
        require "luv".new_timer():start(1, 0, function()
          r:addServer("t", at(1))
          host.reload()
        end)
      end
    ]], s)
    assert.equal("t", support.logged(child, "added").id)
    support.logged(child, "policy reloaded")
    support.stop(child)
    assert.equal(1, #support.events(child, "added"))
  end)
end)
