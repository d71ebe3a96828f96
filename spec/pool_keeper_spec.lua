-- A pool that alone listens to its rover is not called for each connection. It
-- is to be as if it were.

local pools = require "support.pools"
local reloads = require "support.reloads"
local scrape = require "support.scrape"
local simulate = require "support.simulate"
local support = require "support"

local run = support.run

-- A pool whose rover asks nobody by itself: `connect(id)` does, of the servers
-- in `given`, which say what slots they give in turn.
local function pooled(own, given)
  local r = support.rover { rovingInterval = 3600000 }
  local self = { rover = r, servers = {}, pool = pools.pool(own):attach(r) }
  for id, slots in pairs(given) do
    self.servers[id] = pools.giving(slots)
    r:addServer(id, { host = "127.0.0.1", port = self.servers[id].port })
  end
  function self.idle() return r:stats().inFlight == 0 end
  function self.ended(attempts)
    run(function() return r:stats().attempts >= attempts and self.idle() end)
    return self
  end
  function self.connect(id, times)
    for _ = 1, times or 1 do
      assert(r:connect(id))
      self.ended(r:stats().attempts)
    end
    return self
  end
  return self
end

local function slots(it) return table.concat(it.pool:stats().slots, " ") end

local function counts(it)
  local stats = it.pool:stats()
  return { stats.kept, stats.rejected, stats.size, stats.idle }
end

-- Lends all that it has, and returns their slots in that order.
local function order(it)
  local all = {}
  for socket in function() return it.pool:getConnection() end do
    all[#all + 1] = socket.slot
  end
  return table.concat(all, " ")
end

describe("a pool that alone listens to its rover", function()
  it("keeps the lowest slots, and counts what it does not", function()
    local it = pooled({ maxSlots = 3 }, { s = { 5, 3, 9, 1, 9, 2, 3, 4 } })
    it.connect("s", 5)
    it.connect("s", 3)
    assert.equal("1 2 3", slots(it))
    assert.same({ 5, 3, 3, 3 }, counts(it))
  end)

  it("goes on when it knows of some", function()
    local it = pooled({ maxSlots = 3 }, { s = { 5, 8, 9, 1, 7, 2, 6, 0 } })
    for _, wanted in ipairs { "5", "5 8", "5 8 9", "1 5 8", "1 5 7", "1 2 5",
        "1 2 5", "0 1 2" } do
      it.connect "s"
      assert.equal(wanted, slots(it))
    end
    assert.same({ 7, 1, 3, 3 }, counts(it))
  end)

  it("replaces what is lent out, which retires", function()
    local it = pooled({ maxSlots = 2 }, { s = { 4, 7, 1, 2 } })
    it.connect("s", 2)
    local low, high = it.pool:getConnection(), it.pool:getConnection()
    it.connect("s", 2)
    local stats = it.pool:stats()
    assert.same({ 2, 2, 0, 2 },
      { stats.size, stats.idle, stats.leased, stats.retiring })
    assert.is_false(it.pool:returnConnection(high))
    assert.is_false(it.pool:returnConnection(low))
    assert.equal("1 2", order(it))
  end)

  it("lends them as if it had seen them come", function()
    for way, wanted in pairs { lowest = "1 3 5", lowestFast = "1 3 5",
        leastRecent = "5 1 3" } do
      local it = pooled({ checkout = way }, { s = { 5, 1, 3 } }).connect("s", 3)
      assert.equal(wanted, order(it), way)
    end
  end)

  it("serves a request that waits", function()
    local it, got = pooled({}, { s = { 6, 2 } }), {}
    for i = 1, 2 do
      it.pool:requestConnection(function(socket) got[i] = socket end)
    end
    it.connect("s", 2)
    run(function() return #got == 2 end)
    assert.same({ 6, 2 }, { got[1].slot, got[2].slot })
  end)

  it("notices what is lost", function()
    local it = pooled({}, { s = { 1, 2 }, other = { 3 } })
    it.connect("s", 2).connect "other"
    for _, peer in ipairs(it.servers.s.peers) do peer:close() end
    run(function() return #it.rover:sockets() == 1 end)
    assert.equal("3", slots(it))
    assert.same({ 3, 0, 1, 1 }, counts(it))
    assert.equal("3", order(it))
  end)

  it("never lends what has been lost", function()
    local it = pooled({}, { s = { 1, 2, 3 } }).connect("s", 3)
    it.servers.s.peers[1]:close()
    run(function() return it.rover:stats().kept == 2 end)
    assert.equal("2 3", order(it))
  end)

  it("does not lend what is closed by others", function()
    local it = pooled({}, { s = { 1, 2, 3 } }).connect("s", 3)
    assert.equal(3, #it.rover:sockets())
    it.rover:sockets()[2]:close()
    run(function() return it.pool:stats().size == 2 end)
    assert.equal("1 3", order(it))
  end)

  it("fills up again by the better of two", function()
    local it = pooled({ maxSlots = 3, fillInterval = 3600000, backoff = false },
      { s = { 1, 2, 3, 8, 5, 9 } }).connect("s", 3)
    it.servers.s.peers[3]:close()
    run(function() return it.rover:stats().kept == 2 end)
    it.connect "s" -- and once more, at once
    it.ended(5)
    assert.equal("1 2 5", slots(it))
    assert.same({ 5, 0, 3, 3 }, counts(it))
  end)

  it("asks a server by name that has ended connections", function()
    local it = pooled({ maxSlots = 2, fillInterval = false, backoff = false,
      maxInterval = false }, { s = { 1, 2 } })
    it.rover:start()
    it.ended(1).connect "s"
    for _, peer in ipairs(it.servers.s.peers) do peer:close() end
    it.ended(4)
    assert.equal(2, it.pool:stats().size)
  end)

  it("paces attempts by what they find", function()
    local it = pooled({ maxSlots = 2, jitter = 0, fillInterval = 50000,
      maxInterval = 20000000 }, { s = { 1, 2, 3 } })
    it.rover:start()
    it.ended(1)
    local function due() return (it.rover:dueIn() + 999) // 1000 end
    assert.equal(50, due())
    it.connect "s"
    assert.equal(3600, due())
    for _, seconds in ipairs { 3600, 3600, 5400, 8100, 12150, 18225, 20000 } do
      it.connect "s"
      assert.equal(seconds, due())
    end
    assert.equal("1 2", slots(it))
  end)

  it("lends and replaces those of servers that are gone as others do",
    function()
      local it = pooled({ maxSlots = 3 },
        { s = { 1, 2 }, other = { 7, 5, 6 } })
      it.connect("s", 2).connect "other"
      it.rover:dropServer "s"
      it.connect "other" -- takes the place of the 2, though it is higher
      assert.equal("1 5 7", slots(it))
      it.connect "other"
      assert.equal("5 6 7", order(it))
    end)

  for _, looks in ipairs { false, true } do
    it("replaces those of servers that are gone first, though it is full"
      .. (looks and " and has just looked" or ""), function()
      local it = pooled({ maxSlots = 2 }, { a = { 1 }, b = { 5 } })
      it.connect("a", 2)
      if looks then it.pool:returnConnection(it.pool:getConnection()) end
      it.rover:dropServer "a"
      it.connect("b", 3)
      assert.same({ b = 2 }, it.pool:stats().servers)
      assert.same({ 4, 1, 2, 2 }, counts(it))
    end)
  end

  it("paces by all that were rejected, whoever else listens", function()
    local it = pooled({ maxSlots = 2, jitter = 0, fillInterval = false,
      maxInterval = 20000000 }, { s = { 1, 2, 9, 9, 9, 9, 7 } })
    it.rover:start()
    it.ended(1).connect("s", 3)
    it.rover:on("connection", function() end, { observer = true })
    it.rover:setSlotLimit(8)
    it.connect("s", 3)
    assert.equal(12150, (it.rover:dueIn() + 999) // 1000)
  end)

  it("leaves the next to others that listen", function()
    local it = pooled({ maxSlots = 2 }, { s = { 1, 5, 0 } }).connect("s", 2)
    local heard = {}
    local function hear(slot, socket)
      heard[#heard + 1] = slot
      socket:close()
    end
    it.rover:on("connection", hear)
    it.connect "s"
    assert.same({ 0 }, heard)
    run(function() return it.pool:stats().size == 1 end)
    assert.equal("1", slots(it))
  end)

  it("has them when it is detached, and closes them when it is", function()
    local it = pooled({}, { s = { 1, 2, 3 } }).connect("s", 3)
    it.pool:detach()
    assert.equal("1 2 3", slots(it))
    it.pool:attach(it.rover)
    it.connect "s"
    it.pool:close()
    assert.equal(0, it.pool:stats().size)
    run(function() return it.rover:stats().kept == 0 end)
  end)

  it("loses them with the rover", function()
    local it = pooled({}, { s = { 1, 2, 3 } }).connect("s", 3)
    it.rover:close()
    run(function() return it.pool:stats().size == 0 end)
    assert.same({ 3, 0, 0, 0 }, counts(it))
  end)

  -- The policy fills its memory, so that the pool cannot learn of all that the
  -- rover has kept for it.
  it("forgets none when there is no memory to learn of them", function()
    local child = reloads.startWith({ "--memory", "4000000" }, [[
      local uv = require "luv"
      local r = rover.new { rovingInterval = 1, servers = { s = at(1) } }
      local p = require "callosum.pool".new { maxSlots = 400, fillInterval = 1,
        backoff = false, jitter = 0 }
      p:attach(r)
      r:start()
      local wanted = coroutine.wrap(function()
        while r:stats().kept < 400 do coroutine.yield() end
        r:stop()
        local filler, size = {}, 1 << 16
        while size >= 64 do
          local ok, text = pcall(string.rep, "x", size)
          ok = ok and pcall(rawset, filler, #filler + 1, text)
          if not ok then size = size // 2 end
        end
        filler[1] = nil
        collectgarbage()
        local ok, err = pcall(p.stats, p)
        filler = nil
        collectgarbage()
        local stats = p:stats()
        log("seen", { err = not ok and tostring(err), kept = r:stats().kept,
          size = stats.size, known = #stats.slots })
        r:start()
        while r:stats().kept < 400 do coroutine.yield() end
        r:stop()
        while r:stats().inFlight > 0 do coroutine.yield() end
        stats = p:stats()
        log("full", { kept = r:stats().kept, size = stats.size,
          known = #stats.slots })
        coroutine.yield(true)
      end)
      local timer = uv.new_timer()
      timer:start(20, 5, function()
        if wanted() then timer:close() end
      end)
    ]], pools.giving { 7 })
    local seen = support.logged(child, "seen", 1)
    assert.match("memory", seen.err)
    assert.same({ seen.kept, seen.kept }, { seen.size, seen.known })
    local full = support.logged(child, "full", 1)
    assert.same({ 400, 400, 400 }, { full.kept, full.size, full.known })
    support.stop(child)
  end)

  it("counts what is kept to the policy's memory", function()
    local function memory(more)
      local host = scrape.run(([[
        local r = require "callosum.rover".new { name = "r",
          rovingInterval = 1, servers = { s = { host = "127.0.0.1",
          port = %d } } }
        local p = require "callosum.pool".new { maxSlots = 100,
          maxInterval = false, fillInterval = 1, jitter = 0 }
        p:attach(r)
        r:start()
        %s
        local timer = require "luv".new_timer()
        timer:start(1, 1, function()
          if r:stats().kept < 100 then return end
          r:stop()
          if r:stats().inFlight == 0 then
            timer:close()
            print "full"
          end
        end)
      ]]):format(pools.giving({ 7 }).port, more))
      support.run(function() return host.child.output:find "full" end)
      local bytes = host:samples().callosum_policy_rover_memory_bytes
      host:stop()
      return bytes
    end
    local called = memory [[
      r:on("connection", function() end, { observer = true })]]
    -- A pointer, two integers and a time for each.
    assert.is_true(memory "" - called >= 100 * 24)
  end)

  it("passes them on in a reload", function()
    local policy = [[
      r = rover.new { servers = { s = at(1) } }
      p = require "callosum.pool".new():attach(r)
      connect(r, 5)
      host.on("unload", function() log("had", { size = p:stats().size }) end)
      timer = require "luv".new_timer()
      timer:start(1, 1, function()
        if p:stats().size < 5 then return end
        if host.generation == 2 then log("has", p:stats()) end
        log "is there"
        timer:close()
      end)
    ]]
    local child = reloads.start(policy, reloads.listen())
    support.logged(child, "is there")
    assert.equal(5, reloads.reload(child, policy).adopted)
    assert.equal(5, support.logged(child, "had").size)
    local has = support.logged(child, "has")
    assert.same({ 5, 5, 0 }, { has.size, has.idle, has.kept })
    support.stop(child)
  end)

  -- Policies that nobody trusts can reach what is between the two.
  it("can be lied to, and nothing is corrupted", function()
    local r = support.rover { port = pools.giving({ 3, 1, 2 }).port }
    local keeper = require "callosum.keeper"
    local rules = { target = 2, maxSlots = 2, jitter = 0, growth = 1.5,
      patience = 3, hopeless = 30, seed = 1, maxInterval = 10 }
    local book = require "callosum.books".new "x"
    local function make(given)
      return keeper.new(r, book, given, type, error, type)
    end
    for _, wrong in ipairs { 1, {}, { target = 2 } } do
      assert.is_false(pcall(make, wrong))
    end
    assert.is_false(pcall(keeper.new, {}, book, rules))
    assert.is_false(pcall(keeper.new, r, {}, rules))
    local before, unseen = make(rules)
    local k, fetch = make(rules)
    r:on("connection", function() end)
    for _, lie in ipairs {
        { 2, false, 1 << 60, 7, true, -1, -1 << 62, 1 << 62 },
        { 2, true, -1 << 60, -5, true, nil, 1 << 62, -1 << 62 },
        { 99, 0, 2, 1 << 40, 0, 0 }, { 2, false, 2, 9, true, 0, 0, 0 }, {} } do
      before:leave(table.unpack(lie, 1, 8))
      k:leave(table.unpack(lie, 1, 8))
      k:note(-1, true, 5)
      r:connect()
      run(function() return r:stats().inFlight == 0 end)
      before:enter()
      assert.is_nil(unseen())
      if fetch() then k:enter() end
    end
    r:close()
    k:leave()
    assert.is_nil(fetch())
    k:stop()
  end)

  -- With nothing drawn at random, all is the same to the last event.
  for scenario, options in pairs {
    cold = "maxSlots = 10, fillInterval = false, maxInterval = false",
    roll = "maxSlots = 10, fillInterval = false, maxInterval = false, "
      .. "jitter = 0, backoff = false",
    ghosts = "maxSlots = 10, target = 5, fillInterval = false, "
      .. "maxInterval = false, jitter = 0",
  } do
    it("does what it does if it is called for each: " .. scenario, function()
      local alone = simulate.pool(options)
      local called = alone
        .. "r:on('connection', function() end, { observer = true })"
      local document = simulate.run({ alone, called }, {
        "--hosts", "20", "--servers", "5", "--scenario", scenario,
        "--for", "250" })
      assert.equal(document.runs[1].hash, document.runs[2].hash)
    end)
  end
end)
