-- What a rover rejects for its slot by itself, without calling the policy.

local callosum = require "callosum.rover"
local pools = require "support.pools"
local reloads = require "support.reloads"
local support = require "support"

local giving, pool = pools.giving, pools.pool
local checkStats, misuse, record, rover = support.checkStats, support.misuse,
  support.record, support.rover
local run = support.run

-- Makes attempts, one after the other.
local function attempt(r, n)
  for _ = 1, n or 1 do
    local before = r:stats().attempts
    r:connect()
    run(function()
      local stats = r:stats()
      return stats.attempts > before and stats.inFlight == 0
    end)
  end
end

local function slotsOf(r)
  local slots = {}
  for i, socket in ipairs(r:sockets()) do slots[i] = socket.slot end
  return slots
end

-- A rover, and what its handler of `connection` was given.
local function watched(slots, options)
  options = options or {}
  local server = giving(slots)
  options.port = server.port
  local r, seen = rover(options), {}
  r:on("connection", function(slot) seen[#seen + 1] = slot end)
  return r, seen, server
end

local function rejected(r) return checkStats(r).rejected end

describe("a slot limit", function()
  it("closes what is not below it, and calls nothing", function()
    local r, seen, server = watched({ 3, 10, 9, 2147483647, 0 },
      { slotLimit = 10 })
    attempt(r, 5)
    assert.same({ 3, 9, 0 }, seen)
    assert.same({ 0, 3, 9 }, slotsOf(r))
    assert.same({ 2, 3, 5 }, { rejected(r), r:stats().connections,
      r:stats().attempts })
    run(function() return server.peers[2].ended end)
  end)

  it("may change", function()
    local r, seen = watched({ 5, 5, 4, 5, 2147483647 })
    assert.is_nil(r:slotLimit())
    attempt(r)
    assert.equal(r, r:setSlotLimit(5))
    assert.equal(5, r:slotLimit())
    attempt(r, 2)
    r:setSlotLimit()
    assert.is_nil(r:slotLimit())
    attempt(r, 2)
    assert.same({ 5, 4, 5, 2147483647 }, seen)
    assert.equal(1, rejected(r))
  end)

  it("is a number of slots", function()
    local r = callosum.new()
    finally(function() r:close() end)
    for _, wrong in ipairs { 0, -1, 1.5, 2147483649 } do
      misuse(function() r:setSlotLimit(wrong) end, ("bad argument #1 to "
        .. "'setSlotLimit' (slotLimit: integer from 1 to 2147483648 expected, "
        .. "got %s)"):format(wrong))
    end
  end)

  it("leaves the rest to its own pace", function()
    local r = watched({ 1 }, { slotLimit = 1, rovingInterval = 20 })
    r:start()
    run(function() return rejected(r) >= 3 end)
    r:stop()
  end)

  it("lets go of a rover that only waited for that", function()
    local server = giving { 9 }
    local found = setmetatable({}, { __mode = "v" })
    do
      local r = callosum.new { slotLimit = 9, servers = {
        s = { host = "127.0.0.1", port = server.port } } }
      r:connect()
      found.rover = r
    end
    run(function()
      local peer = server.peers[1]
      return peer and (peer.ended or peer.closed)
    end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(found.rover)
  end)

  it("closes, when it is lowered by a reload, what is not below", function()
    local server = giving { 3, 7, 5 }
    local child = reloads.start([[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(slot) log("got", { slot = slot }) end)
      connect(r, 3)
    ]], server)
    support.logged(child, "got", 3)
    local event = reloads.reload(child, [[
      r = rover.new { slotLimit = 5, servers = { s = at(1) } }
      r:on("connection", function(slot) log("adopted", { slot = slot }) end)
    ]])
    assert.same({ 3, 2 }, { event.adopted, event.closed })
    local adopted = support.events(child, "adopted")
    assert.same({ 1, 3 }, { #adopted, adopted[1].slot })
    support.stop(child)
  end)
end)

describe("a rover with `maxKept`", function()
  it("keeps so many of the lowest slots, without any handler", function()
    local server = giving { 5, 9, 7, 7, 3, 3, 6 }
    local r = rover { port = server.port, maxKept = 3, rovingInterval = 50,
      maxAttempts = 1 }
    r:start()
    run(function() return rejected(r) == 2 end)
    r:stop()
    assert.same({ 3, 3, 5 }, slotsOf(r))
    assert.same({ 6, 3 }, { r:stats().connections, r:stats().closed })
    run(function() return server.peers[2].ended and server.peers[3].ended end)
    server.peers[1]:close()
    run(function() return r:stats().kept == 2 end)
    attempt(r)
    assert.same({ 3, 3, 6 }, slotsOf(r))
  end)

  it("tells a handler of what it keeps, and then closes another", function()
    local server = giving { 5, 9, 9, 7, 4, 8 }
    local r, seen = rover { port = server.port, maxKept = 2 }, {}
    r:on("connection", function(slot, socket)
      seen[#seen + 1] = slot .. " of " .. #r:sockets()
      socket:on("close", function() seen[#seen + 1] = slot .. " closed" end)
      if slot == 4 then socket:close() end
    end)
    attempt(r, 6)
    run(function() return #seen == 6 end)
    assert.same({ "5 of 1", "9 of 2", "7 of 3", "9 closed", "4 of 3",
      "4 closed" }, seen)
    assert.same({ 5, 7 }, slotsOf(r))
    assert.equal(2, rejected(r))
  end)

  it("may change how many", function()
    local server = giving { 5, 9, 7, 1 }
    local r = rover { port = server.port }
    record(r)
    assert.is_nil(r:maxKept())
    attempt(r, 3)
    assert.equal(r, r:setMaxKept(2))
    assert.equal(2, r:maxKept())
    assert.same({ 5, 7 }, slotsOf(r))
    r:setMaxKept()
    attempt(r)
    assert.same({ 1, 5, 7 }, slotsOf(r))
    misuse(function() r:setMaxKept(0) end, "bad argument #1 to 'setMaxKept' "
      .. "(maxKept: integer from 1 to 4294967295 expected, got 0)")
  end)

  it("is not for a pool", function()
    local r = rover { port = support.closedPort(), maxKept = 2 }
    misuse(function() pool():attach(r) end,
      "the rover has maxKept: a pool has maxSlots instead")
  end)

  it("is collected when it is stopped and keeps nothing", function()
    local server = giving { 1, 2 }
    local found = setmetatable({}, { __mode = "v" })
    found.rover = callosum.new { maxKept = 9, rovingInterval = 5, servers = {
      s = { host = "127.0.0.1", port = server.port } } }
    found.rover:start()
    run(function() return found.rover:stats().kept >= 2 end)
    collectgarbage()
    found.rover:stop()
    collectgarbage()
    assert.is_truthy(found.rover)
    for _, peer in ipairs(server.peers) do peer:close() end
    run(function()
      collectgarbage()
      return not found.rover
    end)
  end)

  it("closes, in a reload, what is beyond", function()
    local server = giving { 3, 7, 5 }
    local child = reloads.start([[
      r = rover.new { maxKept = 5, servers = { s = at(1) } }
      r:on("connection", function(slot) log("got", { slot = slot }) end)
      connect(r, 3)
    ]], server)
    support.logged(child, "got", 3)
    local event = reloads.reload(child, [[
      r = rover.new { maxKept = 2, servers = { s = at(1) } }
    ]])
    assert.same({ 3, 1 }, { event.adopted, event.closed })
    event = reloads.reload(child, [[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(slot) log("adopted", { slot = slot }) end)
    ]])
    assert.same({ 2, 0 }, { event.adopted, event.closed })
    local slots = {}
    for i, each in ipairs(support.events(child, "adopted")) do
      slots[i] = each.slot
    end
    assert.same({ 3, 5 }, slots)
    support.stop(child)
  end)
end)

describe("the rejection that a handler sets", function()
  it("lasts while no other handler may want the connection", function()
    local r, seen = watched { 4, 5, 5, 5, 5, 5 }
    assert.is_true(r:setRejection { slotLimit = 5 })
    attempt(r, 2)
    assert.same({ 4 }, seen)
    local other = record(r)
    attempt(r)
    assert.same({ 4, 5 }, seen)
    assert.equal(5, other[1].slot)
    assert.is_false(r:setRejection { slotLimit = 5 })
    attempt(r)
    assert.same({ 4, 5, 5 }, seen)
    assert.equal(1, rejected(r))
  end)

  it("counts for an observer as well", function()
    local r, seen = watched { 5 }
    r:setRejection { slotLimit = 5 }
    local observed = 0
    r:on("connection", function() observed = observed + 1 end,
      { observer = true })
    attempt(r)
    assert.same({ 5 }, seen)
    assert.equal(1, observed)
  end)

  it("goes beside the limit of the rover, and both count", function()
    local r, seen = watched({ 8, 6, 4, 6 }, { slotLimit = 8 })
    r:setRejection { slotLimit = 5 }
    attempt(r, 3)
    assert.equal(2, r:rejections())
    assert.is_false(r:setRejection())
    assert.equal(0, r:rejections())
    attempt(r)
    assert.same({ 4, 6 }, seen)
  end)

  it("does not concern servers that are exempt", function()
    local r, seen = watched({ 6, 6, 8, 6, 6 }, { slotLimit = 8 })
    r:setRejection { slotLimit = 5 }
    assert.is_false(r:exemptServer("other", true))
    attempt(r)
    assert.is_true(r:exemptServer("s", true))
    attempt(r, 2)
    assert.same({ 6 }, seen)
    r:exemptServer("s", false)
    attempt(r)
    assert.same({ 6 }, seen)
    r:exemptServer("s", true)
    r:addServer("s", r:servers().s)
    attempt(r)
    assert.same({ 6, 6 }, seen)
    r:addServer("s", { host = "localhost", port = r:servers().s.port })
    attempt(r)
    assert.same({ 6, 6 }, seen)
  end)

  it("sets when the next attempt is, later and later", function()
    local r = watched({ 9 }, { rovingInterval = 1000000 })
    r:setRejection { slotLimit = 1, interval = 20000, patience = 2,
      growth = 2, maxInterval = 100000 }
    r:start()
    for n, wanted in ipairs { 20000, 20000, 40000, 80000, 100000, 100000 } do
      if n > 1 then r:connect() end
      run(function() return r:rejections() == n end)
      local ms = r:dueIn()
      assert.is_true(ms <= wanted and ms > wanted - 500, ms .. " ms")
    end
    r:setRejection { slotLimit = 1, interval = 20000, jitter = 0.5 }
    attempt(r)
    assert.is_true(r:dueIn() >= 9500 and r:dueIn() <= 30000)
    r:stop()
    attempt(r)
    assert.is_nil(r:dueIn())
  end)

  it("checks what it is given", function()
    local r = callosum.new()
    finally(function() r:close() end)
    local function wrong(message, given)
      misuse(function() r:setRejection(given) end,
        "bad argument #1 to 'setRejection' (" .. message .. ")")
    end
    wrong("table expected, got number", 5)
    wrong("unknown option 'limit', nearest is 'slotLimit'", { limit = 5 })
    wrong("slotLimit: integer from 1 to 2147483648 expected, got 0",
      { slotLimit = 0 })
    wrong("interval: integer from 1 to 4294967295 expected, got 0",
      { interval = 0 })
    wrong("patience: integer from 0 to 4294967295 expected, got -1",
      { patience = -1 })
    wrong("maxInterval: integer from 1 to 4294967295 expected, got 0",
      { maxInterval = 0 })
    wrong("growth: number from 1 to 256 expected, got 0.5", { growth = 0.5 })
    wrong("jitter: number from 0 to 1 expected, got 2", { jitter = 2 })
    misuse(function() r:exemptServer("s", 1) end,
      "bad argument #2 to 'exemptServer' (boolean expected, got number)")
  end)
end)

describe("a pool that is full", function()
  local function full(slots, own, options)
    local server = giving(slots)
    options = options or {}
    options.port = server.port
    local r = rover(options)
    own = own or {}
    own.maxSlots = own.maxSlots or 2
    local p = pool(own):attach(r)
    attempt(r, 2)
    return p, r, server
  end

  it("has the rover reject what it would", function()
    local p, r = full { 3, 5, 5, 4, 4, 3, 3, 2 }
    attempt(r)
    assert.equal(1, rejected(r))
    attempt(r, 5)
    assert.same({ 2, 3 }, p:stats().slots)
    assert.same({ 5, 3 }, { p:stats().kept, p:stats().rejected })
    assert.equal(3, rejected(r))
  end)

  it("counts that, whoever asks", function()
    local p, r = full { 3, 5, 9 }
    attempt(r, 2)
    assert.same({ 2, 2 }, { p:stats().rejected, p:stats().rejected })
    p:detach()
    attempt(r)
    assert.same({ 2, 2 }, { p:stats().rejected, rejected(r) })
  end)

  it("attempts less and less often meanwhile", function()
    local _, r = full({ 3, 5, 9, 9, 9, 9, 9, 1, 9, 9 }, { jitter = 0,
      maxInterval = 30000 }, { rovingInterval = 10000 })
    r:start()
    local function near(wanted)
      local ms = r:dueIn()
      assert.is_true(ms <= wanted and ms > wanted - 500, ms .. " ms")
    end
    run(function() return rejected(r) == 1 end)
    near(10000)
    for n, wanted in ipairs { 10000, 15000, 22500, 30000 } do
      attempt(r)
      assert.equal(n + 1, rejected(r))
      near(wanted)
    end
    attempt(r) -- is kept
    near(10000)
    attempt(r)
    near(15000)
    attempt(r)
    near(22500)
  end)

  it("wants all when it has lost one", function()
    local p, r, server = full({ 3, 5, 9, 8, 9 }, { backoff = false })
    attempt(r)
    server.peers[1]:close()
    pools.reach(p, { size = 1 })
    attempt(r)
    assert.same({ 5, 8 }, p:stats().slots)
  end)

  it("has it told of a server that was down", function()
    local server = giving { 3, 5 }
    local r = rover { port = server.port, rovingInterval = 900000 }
    local p = pool { maxSlots = 2, backoff = 60000 }:attach(r)
    attempt(r, 2)
    r:on("unreachable", function() end)
    r:start()
    run(function() return r:stats().rejected == 1 end)
    local at = r:servers().s
    r:addServer("s", { host = "127.0.0.1", port = support.closedPort() })
    r:connect "s"
    run(function() return r:stats().unreachable == 1 end)
    r:addServer("s", at)
    local before = r:stats().connections
    run(function() return r:stats().inFlight == 0 end)
    r:connect "s"
    run(function() return r:stats().connections > before end)
    assert.equal(1, rejected(r))
    assert.equal(2, p:stats().rejected)
    r:stop()
  end)

  it("lets other handlers have what it does not want", function()
    local _, r = full { 3, 5, 9 }
    local others = record(r)
    attempt(r)
    assert.equal(9, others[1].slot)
    assert.equal(0, rejected(r))
  end)

  it("ends that when it is detached or closed", function()
    for _, way in ipairs { "detach", "close" } do
      local p, r = full { 3, 5, 9 }
      attempt(r)
      p[way](p)
      local seen = record(r)
      attempt(r)
      assert.equal(9, seen[1].slot)
    end
  end)

  it("does not count what the rover's own limit rejects as its own",
      function()
    local p, r = full({ 1, 2, 7, 7, 1 }, { maxSlots = 3 }, { slotLimit = 5 })
    attempt(r, 3)
    assert.same({ 1, 1, 2 }, p:stats().slots)
    assert.equal(2, rejected(r))
  end)
end)
