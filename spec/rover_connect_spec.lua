local reloads = require "support.reloads"
local support = require "support"

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
