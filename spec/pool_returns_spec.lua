local options = require "callosum.options"
local pools = require "support.pools"
local support = require "support"

local pool, giving, due = pools.pool, pools.giving, pools.due
local record, rover, run = support.record, support.rover, support.run

-- Intervals so long that only the attempts asked for here are made, and those
-- by name.
local HOUR = 3600000

local clock, ahead = options.now, 0

local function near(wanted, measured)
  assert.is_true(measured <= wanted + 1 and measured > wanted - 500,
    ("%d is not near %d"):format(measured, wanted))
end

-- A pool that is full with n connections to the server "s", all slots being 0,
-- and one to "other".
local function full(n, own)
  local it = { server = giving { 0 } }
  local r = rover { rovingInterval = HOUR, servers = {
    s = { host = "127.0.0.1", port = it.server.port },
    other = { host = "127.0.0.1", port = giving({ 0 }).port },
  } }
  local given = { maxSlots = 20, target = 1, jitter = 0, backoff = false }
  for name, value in pairs(own or {}) do given[name] = value end
  it.rover, it.pool = r, pool(given):attach(r)
  it.events = record(r)
  function it.ask(id)
    local before = #it.events
    assert.equal(r, r:connect(id))
    run(function() return #it.events > before end)
    return it.events[#it.events]
  end
  r:start()
  run(function() return #it.events == 1 end)
  r:roveIn(HOUR)
  for _ = 1, n do it.ask "s" end
  it.ask "other"
  it.size = it.pool:stats().size
  -- The server ends its connections, and perhaps is gone.
  function it.lose(down)
    for _, peer in ipairs(it.server.peers) do peer:close() end
    if down then it.server:close() end
    run(function() return not it.pool:stats().servers.s end)
  end
  return it
end

describe("a server that ended connections", function()
  before_each(function()
    ahead = 0
    options.now = function() return clock() + ahead * 1000000 end
  end)
  after_each(function() options.now = clock end)

  it("is asked by name after 1, 4 and 13 s, then every 60 s", function()
    local it = full(1)
    assert.is_true(due() > HOUR - 5000)
    it.lose(true)
    for _, ms in ipairs { 1000, 3000, 9000, 60000, 60000, 60000 } do
      near(ms, due())
      ahead = ahead + ms
      assert.equal("unreachable", it.ask("s").event)
    end
  end)

  it("is asked by the rover itself when the time has come", function()
    local it = full(1)
    it.lose()
    local peers = #it.server.peers
    run(function() return #it.server.peers > peers end)
    pools.reach(it.pool, { size = it.size })
  end)

  it("is asked for as many connections as it had, and then left", function()
    local it = full(3)
    local lost = it.pool:stats().servers.s
    it.lose()
    ahead = 1000
    it.ask "s" -- the others are made by the rover
    pools.reach(it.pool, { size = it.size })
    assert.equal(lost, it.pool:stats().servers.s)
    assert.is_true(due() > HOUR - 20000)
    assert.equal(lost, #it.server.peers - lost)
  end)

  it("is left when it has answered with a slot that is too high", function()
    local it = full(2, { maxSlots = 2 })
    it.lose()
    repeat it.ask "other" until it.pool:stats().size == 2
    ahead = 1000
    local socket = it.ask("s").socket
    assert.is_true(socket.closed)
    assert.is_true(due() > HOUR - 20000)
  end)

  it("does not have the rover look elsewhere more often", function()
    local it = full(2, { maxInterval = 2 * HOUR })
    it.rover:roveIn(HOUR)
    it.lose()
    ahead = 1000
    it.ask "s"
    pools.reach(it.pool, { size = it.size })
    assert.is_true(it.rover:dueIn() > HOUR - 20000)
  end)

  it("is not asked while the rover is stopped", function()
    local it = full(1)
    it.lose(true)
    near(1000, due())
    it.rover:stop()
    assert.is_true(due() == -1 or due() > 5000)
    it.rover:start()
    ahead = 2000
    run(function() return it.rover:stats().unreachable == 1 end)
  end)

  it("is not asked by a whole fleet at once", function()
    local least, most = math.huge, 0
    for _ = 1, 20 do
      local it = full(1, { jitter = 0.5 })
      it.lose(true)
      local ms = due()
      least, most = math.min(least, ms), math.max(most, ms)
      it.rover:close()
    end
    assert.is_true(least >= 450 and least < 900, least)
    assert.is_true(most > 1100 and most <= 1501, most)
  end)
end)

describe("a server that was unreachable", function()
  it("is asked by name until it answers", function()
    local it = full(1)
    local s = it.rover:servers().s
    it.rover:addServer("down", { host = "127.0.0.1",
      port = support.closedPort() })
    it.ask "down"
    near(1000, due())
    it.rover:addServer("down", s)
    it.ask "down"
    due()
    it.ask "down"
    assert.is_true(due() > HOUR - 20000)
  end)
end)

describe("a server that is added", function()
  -- A pool that has looked in vain for long, and a rover of 200 ms.
  local function idle()
    local r = rover { rovingInterval = 200, servers = {
      old = { host = "127.0.0.1", port = giving({ 5 }).port } } }
    local p = pool { maxSlots = 3, jitter = 0, maxInterval = HOUR,
      fillInterval = 1 }:attach(r)
    local events = record(r)
    r:start()
    pools.reach(p, { size = 3 })
    for _ = 1, 40 do
      local before = #events
      r:connect()
      run(function() return #events > before end)
    end
    assert.is_true(r:dueIn() > 60000)
    return r, p
  end

  it("is asked by name, whoever adds it", function()
    for _, add in ipairs {
      function(r, server) r:addServer("new", server) end,
      function(r, server)
        local servers = r:servers()
        servers.new = server
        r:setServers(servers)
      end,
      function(r, server) -- it has moved
        r:addServer("new", { host = "127.0.0.1", port = 1 })
        r:addServer("new", server)
      end,
    } do
      local r, p = idle()
      add(r, { host = "127.0.0.1", port = giving({ 1 }).port })
      run(function() return p:stats().servers.new ~= nil end)
      assert.equal(1, p:stats().slots[1])
      r:close()
    end
  end)

  it("has the interval begin anew", function()
    local r = idle()
    r:addServer("new", { host = "127.0.0.1", port = giving({ 9 }).port })
    run(function() return r:dueIn() <= 200 end)
  end)

  it("is one of as many as the pool wants, if there are thousands", function()
    local r, p = idle()
    local servers = { old = r:servers().old }
    local port = giving({ 9 }).port
    for i = 1, 2000 do
      servers["new" .. i] = { host = "127.0.0.1", port = port }
    end
    local before = r:stats().attempts
    r:setServers(servers)
    run(function() return r:stats().attempts >= before + 3 end)
    r:stop()
    assert.is_true(r:stats().attempts <= before + 6)
    assert.equal(3, p:stats().size)
  end)
end)

describe("a pool that was full", function()
  -- A pool with three connections, which loses the first, and is then offered
  -- others: these slots are given, in this order.
  local function refilling(...)
    local server = giving { ... }
    local it = { server = server, rover = rover { port = server.port } }
    it.pool = pool { maxSlots = 3, backoff = false }:attach(it.rover)
    function it.connect(n)
      local function ended()
        local stats = it.rover:stats()
        return stats.connections + stats.rejected
      end
      local wanted = ended() + (n or 1)
      it.rover:connect()
      run(function() return ended() == wanted end)
    end
    for _ = 1, 3 do it.connect() end
    server.peers[1]:close()
    pools.reach(it.pool, { size = 2 })
    return it
  end

  it("replaces what it has lost by the better of two", function()
    for _, next in ipairs { { 9, 5 }, { 5, 9 } } do
      local it = refilling(1, 2, 3, next[1], next[2], 8)
      it.connect(2)
      assert.same({ 2, 3, 5 }, it.pool:stats().slots)
      assert.equal(3, it.rover:stats().kept)
      it.connect() -- it is full
      assert.same({ 2, 3, 5 }, it.pool:stats().slots)
    end
  end)

  it("takes one that is lower than another for good", function()
    local it = refilling(1, 2, 7, 6, 5)
    it.connect()
    assert.same({ 2, 6, 7 }, it.pool:stats().slots)
    assert.equal(0, it.rover:stats().inFlight)
  end)

  it("does not take from a borrower what is not the better one", function()
    local it = refilling(1, 2, 3, 9, 5)
    local lent
    it.rover:on("connection", function(slot)
      if slot ~= 9 then return end
      for _ = 1, 3 do lent = it.pool:getConnection() end
    end)
    it.connect(2)
    assert.equal(9, lent.slot)
    assert.is_false(lent.closed)
    assert.same({ 2, 3, 5 }, it.pool:stats().slots)
    assert.equal(1, it.pool:stats().retiring)
  end)

  it("takes each as it comes once it has lost all", function()
    local it = refilling(1, 2, 3, 7, 8, 9)
    for _, peer in pairs(it.server.peers) do peer:close() end
    pools.reach(it.pool, { size = 0 })
    for _ = 1, 3 do it.connect() end
    assert.same({ 7, 8, 9 }, it.pool:stats().slots)
    assert.equal(6, it.rover:stats().connections)
  end)
end)
