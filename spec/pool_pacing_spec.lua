local pools = require "support.pools"
local support = require "support"
local uv = require "luv"

local pool, giving, due = pools.pool, pools.giving, pools.due
local closedPort, record, rover = support.closedPort, support.record,
  support.rover
local run = support.run

local function near(wanted, measured)
  assert.is_true(measured <= wanted and measured > wanted - 500,
    ("%d is not near %d"):format(measured, wanted))
end

-- A started rover and a pool of these options, whose intervals are so long that
-- only the first attempt and those asked for by `probe` are made.
-- @param slots what the server gives in turn
local function paced(options, slots, interval)
  local it = { peers = {} }
  it.server = giving(slots)
  it.rover = rover { port = it.server.port, rovingInterval = interval or 80000 }
  local own = { jitter = 0, fillInterval = 40000 }
  for name, value in pairs(options) do own[name] = value end
  it.pool = pool(own):attach(it.rover)
  local events = record(it.rover)
  local function outcome()
    local n = #events
    return function() return #events > n end
  end
  function it.probe()
    local ended = outcome()
    it.rover:connect()
    run(ended)
    return due()
  end
  local ended = outcome()
  it.rover:start()
  run(ended)
  return it
end

describe("a rover with a pool", function()
  it("attempts each `fillInterval` until the pool is full", function()
    local it = paced({ maxSlots = 3 }, { 1, 2, 3, 4 })
    near(40000, due())
    near(40000, it.probe())
    near(80000, it.probe())
    near(80000, it.probe())
    assert.equal(3, it.pool:stats().size)
  end)

  it("attempts each 100 ms then, unless told otherwise", function()
    local r = rover { port = giving({ 0 }).port, rovingInterval = 80000 }
    pool { maxSlots = 3, jitter = 0 }:attach(r)
    r:start()
    uv.update_time()
    local began = uv.now()
    run(function() return r:stats().kept == 3 end)
    assert.is_true(uv.now() - began >= 200)
  end)

  it("that roves already fills at once", function()
    local it = paced({}, { 1 }, 900000)
    it.pool:detach()
    assert.is_true(due() > 500000)
    it.pool:attach(it.rover)
    assert.is_true(due() <= 40000)
  end)

  it("fills no slower than it roves", function()
    near(30000, paced({}, { 1 }, 30000).probe())
  end)

  it("fills up to `target`, and goes on at its own interval", function()
    local it = paced({ maxSlots = 5, target = 2 }, { 1, 2, 3 })
    near(40000, due())
    near(80000, it.probe())
    near(80000, it.probe())
    assert.equal(3, it.pool:stats().size)
  end)

  it("attempts ever less often while probes are rejected", function()
    local it = paced({ maxSlots = 1, maxInterval = 200000 },
      { 5, 6, 6, 6, 6, 6, 6, 4, 6 })
    near(80000, due())
    near(80000, it.probe())
    near(80000, it.probe())
    near(120000, it.probe())
    near(180000, it.probe())
    near(200000, it.probe())
    near(200000, it.probe())
    near(120000, it.probe()) -- this one was kept: half as many in vain
    near(180000, it.probe())
  end)

  it("does not do so while filling, unless that is hopeless", function()
    -- One server gives no more than this, however often it is asked.
    local it = paced({ maxPerServer = 1, maxInterval = 80000 }, { 1, 2 })
    for _ = 1, 29 do near(40000, it.probe()) end
    near(60000, it.probe())
    near(80000, it.probe())
    near(80000, it.probe())
  end)

  it("nor while a handler that comes after the pool's closes them", function()
    local it = paced({ maxInterval = 80000 }, { 1, 2 })
    it.rover:on("connection", function(_, socket) socket:close() end)
    for _ = 1, 29 do near(40000, it.probe()) end
    near(60000, it.probe())
    near(80000, it.probe())
    local stats = it.pool:stats()
    assert.same({ 1, 1, 31 }, { stats.size, stats.kept, stats.rejected })
  end)

  it("and counts all of them, however soon the next comes", function()
    local r = rover { port = giving({ 1 }).port }
    local p = pool():attach(r)
    r:on("connection", function(_, socket) socket:close() end)
    for _ = 1, 5 do r:connect() end
    run(function() return r:stats().closed == 5 end)
    pools.reach(p, { size = 0, kept = 0, rejected = 5 })
  end)

  it("fills at once each time a connection is lost, and is slow again",
    function()
      local it = paced({ maxSlots = 2, maxInterval = 900000, backoff = false },
        { 1, 2, 3 })
      for i = 1, 2 do
        for _ = 1, 8 do it.probe() end
        assert.is_true(it.rover:dueIn() > 500000)
        it.server.peers[i]:close()
        pools.reach(it.pool, { size = 1 })
        assert.is_true(it.rover:dueIn() <= 40000)
        it.rover:connect() -- and at once one that may be better
        run(function() return it.rover:dueIn() > 500000 end)
        assert.equal(2, it.pool:stats().size)
      end
    end)

  it("is asked but once when all are lost at a time", function()
    local it = paced({ maxSlots = 20 }, { 1 })
    for _ = 2, 20 do it.probe() end
    for i, peer in ipairs(it.server.peers) do
      if i > 1 then peer:close() end
    end
    pools.reach(it.pool, { size = 1 })
    local first = due()
    it.server.peers[1]:close()
    pools.reach(it.pool, { size = 0 })
    assert.is_true(due() <= first)
  end)

  it("looks for more when one waits and there is room", function()
    local it = paced({ maxSlots = 2, target = 1 }, { 1 })
    near(80000, due())
    it.pool:getConnection()
    local cancel = it.pool:requestConnection(error, 70000)
    assert.is_true(due() <= 40000)
    cancel()
  end)

  it("spreads its intervals by `jitter`", function()
    local it = paced({ jitter = 0.5, maxPerServer = 1, maxInterval = false },
      { 1 })
    local least, most = math.huge, 0
    for _ = 1, 100 do
      local ms = it.probe()
      least, most = math.min(least, ms), math.max(most, ms)
    end
    assert.is_true(least > 19500 and least < 25000, least)
    assert.is_true(most > 55000 and most <= 60000, most)
  end)

  it("follows an interval that is set while it roves", function()
    local it = paced({ maxSlots = 1 }, { 1, 2 })
    it.rover:setRovingInterval(300000)
    near(300000, it.probe())
  end)

  it("has its fixed clock if both intervals are false", function()
    local it = paced({ maxSlots = 2, fillInterval = false,
      maxInterval = false }, { 1, 2, 3 })
    local began = uv.now()
    for _ = 1, 6 do near(80000, it.probe() + uv.now() - began) end
  end)

  it("has its own clock back when it is detached", function()
    local it = paced({ maxSlots = 1, maxInterval = 900000 }, { 1, 2 })
    local began = uv.now()
    for _ = 1, 8 do it.probe() end
    assert.is_true(due() > 500000)
    it.pool:detach()
    near(80000, due() + uv.now() - began)
  end)

  it("stays stopped when it is", function()
    local it = paced({}, { 1 })
    it.rover:stop()
    it.server.peers[1]:close()
    pools.reach(it.pool, { size = 0 })
    local attempts = it.rover:stats().attempts
    it.server:close()
    run()
    assert.equal(attempts, it.rover:stats().attempts)
  end)

  it("asks again after an error, later each time", function()
    local child = support.policy(([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new { rovingInterval = 60000,
        servers = { s = { host = "127.0.0.1", port = %d } } }
      require "callosum.pool".new { fillInterval = 5, jitter = 0 }:attach(r)
      require "luv".new_timer():start(1, 1, function()
        if r:stats().errors < 5 then return end
        host.log.info("due", { ms = r:dueIn() })
        host.stop()
      end)
      r:start()
    ]]):format(support.serve { send = "220 hello\r\n" }.port))
    assert.is_true(support.logged(child, "due").ms > 20) -- 5 * 1.5 ^ 5 = 38
    -- And they are errors that nobody has handled.
    assert.matches("unhandled 'error' event",
      support.logged(child, "policy error", 5).error)
  end)

  it("asks no later for that than the rover has it by itself", function()
    local it = paced({ fillInterval = 5000 }, { "x" }, 50000)
    near(7500, due())
    for _, wanted in ipairs { 11250, 16875, 25312, 37968, 50000, 50000 } do
      it.rover:roveIn(900000)
      near(wanted, it.probe())
    end
  end)

  it("is hurried by who waits, whatever became of the last hurry", function()
    local it = paced({ maxSlots = 3, fillInterval = 30000 }, { 1 }, 900000)
    it.pool:getConnection()
    for _ = 1, 3 do
      it.rover:roveIn(800000) -- it was asked, and in vain
      local cancel = it.pool:requestConnection(error, 70000)
      assert.is_true(it.rover:dueIn() <= 30000)
      cancel()
    end
  end)

  it("does not have a crowd that waits draw the soonest of times", function()
    local it = paced({ maxSlots = 3, fillInterval = 60000 }, { 1 }, 900000)
    it.pool:getConnection()
    it.rover:roveIn(800000)
    local cancels = { it.pool:requestConnection(error, 70000) }
    local first = it.rover:dueIn()
    for i = 2, 200 do cancels[i] = it.pool:requestConnection(error, 70000) end
    assert.is_true(it.rover:dueIn() > first - 1000)
    for _, cancel in ipairs(cancels) do cancel() end
  end)

  it("attempts again as soon as the one server is awake", function()
    local r = rover { port = closedPort(), rovingInterval = 900000 }
    local p = pool { fillInterval = 5, jitter = 0, backoff = 40,
      maxBackoff = 40 }:attach(r)
    r:start()
    run(function() return r:stats().unreachable >= 3 end)
    assert.equal(0, p:stats().size)
  end)

  describe("and an unreachable server", function()
    -- A rover that tries every millisecond to reach a server, and when that
    -- failed, in ms of the loop.
    local function failing(options)
      local r = rover { port = closedPort(), rovingInterval = 1 }
      local times = {}
      r:on("unreachable", function() times[#times + 1] = uv.now() end)
      local own = { jitter = 0, fillInterval = 1 }
      for name, value in pairs(options) do own[name] = value end
      pool(own):attach(r)
      r:start()
      return r, times
    end

    -- Checks that n failures were at least so far apart.
    local function apart(times, from, ...)
      for i, ms in ipairs { ... } do
        local gap = times[from + i] - times[from + i - 1]
        assert.is_true(gap >= ms, ("%d after %d"):format(gap, i))
      end
    end

    it("lets it be, twice as long each time, up to `maxBackoff`", function()
      local _, times = failing { backoff = 20, maxBackoff = 70 }
      run(function() return #times >= 6 end)
      apart(times, 1, 20, 40, 70, 70, 70)
    end)

    it("goes on without a pause if told to", function()
      local r, times = failing { backoff = false }
      run(function() return #times >= 20 end)
      assert.equal(0, r:stats().skipped)
    end)

    it("asks the others meanwhile", function()
      local r, times = failing { backoff = 60000, maxBackoff = 60000 }
      run(function() return #times == 1 end)
      r:addServer("up", { host = "127.0.0.1", port = giving({ 1 }).port })
      run(function() return r:stats().kept > 10 end)
      assert.equal(1, #times)
    end)

    it("does not forget for one success", function()
      local r, times = failing { backoff = 20, maxBackoff = 160,
        maxSlots = 1 }
      local down = r:servers().s
      run(function() return #times == 3 end)
      local connected = false
      r:on("connection", function(_, socket)
        connected = true
        socket:close()
        r:addServer("s", down)
      end)
      r:addServer("s", { host = "127.0.0.1", port = giving({ 1 }).port })
      run(function() return connected and #times == 5 end)
      apart(times, 4, 80) -- the fourth failure was the third again
    end)

    it("takes one that hangs up on who comes for that", function()
      local server = support.serve { send = "0\r\n", finish = "close" }
      local r = rover { port = server.port, rovingInterval = 20 }
      pool { jitter = 0, backoff = 250, maxBackoff = 1000 }:attach(r)
      local times = {}
      r:on("connection", function() times[#times + 1] = uv.now() end)
      r:start()
      run(function() return #times >= 5 end)
      apart(times, 1, 250, 500, 1000, 1000)
    end)

    it("counts but once that many connections break in one moment", function()
      local server = pools.giving { 0 }
      local r = rover { port = server.port, rovingInterval = 900000 }
      local p = pool { jitter = 0, fillInterval = 50000, backoff = 20000,
        maxBackoff = 800000 }:attach(r)
      local events = record(r)
      r:start()
      for i = 1, 5 do
        if i > 1 then r:connect() end
        run(function() return #events == i end)
      end
      for _, peer in ipairs(server.peers) do peer:close() end
      pools.reach(p, { size = 0 })
      r:roveIn(0) -- is skipped, and made up when the server is awake
      run(function() return r:stats().skipped == 1 end)
      near(20000, r:dueIn())
    end)

    it("forgives one that hung up on a borrower", function()
      local server = pools.giving { 0 }
      local r = rover { port = server.port, rovingInterval = 900000 }
      local p = pool { fillInterval = 50000 }:attach(r)
      support.attempt(r, {})
      p:returnConnection(p:getConnection())
      server.peers[1]:close()
      pools.reach(p, { size = 0 })
      assert.is_truthy(r:connect())
    end)

    it("does not mind that another handler has closed the rover", function()
      local r = rover { port = closedPort(), rovingInterval = 1 }
      local closed = false
      r:on("unreachable", function()
        r:close()
        closed = true
      end)
      pool():attach(r)
      r:start()
      run(function() return closed end)
    end)

    it("takes the user's word that it is back", function()
      local r, times = failing { backoff = 60000, maxBackoff = 60000 }
      local server = r:servers().s
      run(function() return #times == 1 end)
      assert.same({ s = server }, r:servers()) -- it is a server all the time
      r:addServer("s", server)
      run(function() return #times == 2 end)
      assert.is_true(r:dropServer "s")
    end)
  end)
end)

describe("callosum.pool.pacing", function()
  -- The pacing of something that only notes its pauses.
  local function noting(jitter)
    local pauses = {}
    local fake = {
      rovingInterval = function() return 1000 end,
      roveIn = function() end,
      dueIn = function() end,
      pauseServer = function(_, id, ms) pauses[id] = ms end,
    }
    return require "callosum.pool.pacing".new(fake, { fillInterval = 100,
      maxInterval = 1000, jitter = jitter, backoff = 1000,
      maxBackoff = 8000, target = 10 }), pauses
  end

  it("spreads its pauses by `jitter`", function()
    local p, pauses = noting(0.5)
    local least, most = math.huge, 0
    for i = 1, 200 do
      p:unreachable(tostring(i), true)
      local ms = pauses[tostring(i)]
      least, most = math.min(least, ms), math.max(most, ms)
    end
    assert.is_true(least >= 500 and least < 600, least)
    assert.is_true(most > 1400 and most <= 1500, most)
  end)

  it("counts no failures beyond the longest pause", function()
    local p, pauses = noting(0)
    for _ = 1, 20 do p:unreachable("s", true) end
    assert.equal(8000, pauses.s)
    p:reached "s"
    p:unreachable("s", true)
    assert.equal(4000, pauses.s)
    for _ = 1, 3 do p:reached "s" end
    p:unreachable("s", true)
    assert.equal(1000, pauses.s)
  end)

  it("forgets servers that are gone", function()
    local time, now = os.time, os.time()
    -- Not for luacheck, to which the standard library is read-only: the pool
    -- asks os.time for the time, and is told one that runs fast.
    finally(function() os.time = time end) -- luacheck: ignore
    os.time = function() return now end -- luacheck: ignore
    local p, pauses = noting(0)
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 100000 do
      if i % 1000 == 0 then now = now + 20 end
      p:unreachable("pod" .. i, true)
      pauses["pod" .. i] = nil
      if i % 500 == 0 then p:unreachable("still here", true) end
    end
    -- Each time, Lua's own table of strings becomes at most by half smaller.
    for _ = 1, 8 do collectgarbage() end
    assert.is_true(collectgarbage "count" - before < 1000)
    assert.equal(8000, pauses["still here"])
  end)
end)
