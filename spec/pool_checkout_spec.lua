local callosum = require "callosum.pool"
local misuse = require("support").misuse
local options = require "callosum.options"

local MS, SECOND = 1000000, 1000000000

-- The pool's clock, which stands unless it is moved.
local now

-- Sockets without a network, of which only what the pool asks for is there.
local socket = {}
local socketMeta = { __index = socket }

local function newSocket(slot, id)
  return setmetatable({ slot = slot, id = id, state = {}, closed = false },
    socketMeta)
end

function socket:on() return self end
function socket:off() return self end
function socket:write() return not self.closed and self or nil end

function socket:close()
  self.closed = true
  return self
end

function socket:pass()
  self.closed = true
  return newSocket(self.slot, self.id)
end

-- A pool of connections to servers: { a = { 3, 5 } } are two to the server "a",
-- with these slots.
local function pooled(own, servers)
  local p = callosum.new(own)
  for id, slots in pairs(servers) do
    for _, slot in ipairs(slots) do
      p:newConnection(slot, newSocket(slot, id))
    end
  end
  return p
end

-- Lends all connections, has each take as long as its server does, in ms, and
-- takes them back.
local function use(p, took, how)
  local lent, began = {}, now
  for i = 1, p:stats().idle do lent[i] = p:getConnection() end
  table.sort(lent, function(a, b) return took[a.id] < took[b.id] end)
  for _, each in ipairs(lent) do
    now = began + took[each.id] * MS
    p:returnConnection(each, how and how[each.id])
  end
  now = now + SECOND
end

-- The slots of the connections that are lent, one after the other.
local function order(p)
  local slots, lent = {}, {}
  for i = 1, p:stats().idle do
    lent[i] = p:getConnection()
    slots[i] = lent[i].slot
  end
  for _, each in ipairs(lent) do p:returnConnection(each) end
  return slots
end

describe("checkout", function()
  local clock = options.now
  before_each(function()
    now = 1000 * SECOND
    options.now = function() return now end
  end)
  after_each(function() options.now = clock end)

  describe("lowestFast", function()
    local servers = { a = { 0, 4 }, b = { 1, 5 }, c = { 2, 6 }, d = { 3, 7 } }

    it("lends the lowest slot, but those of slow servers last", function()
      local p = pooled({}, servers)
      assert.same({ 0, 1, 2, 3, 4, 5, 6, 7 }, order(p))
      use(p, { a = 50, b = 10, c = 11, d = 12 })
      assert.same({ 1, 2, 3, 5, 6, 7, 0, 4 }, order(p))
    end)

    it("takes no server for slow below twice the median", function()
      local p = pooled({}, servers)
      use(p, { a = 20, b = 11, c = 12, d = 10 })
      assert.same({ 0, 1, 2, 3, 4, 5, 6, 7 }, order(p))
    end)

    it("nor one of which nothing is known, nor the only one", function()
      local p = pooled({}, { a = { 0, 1 } })
      use(p, { a = 500 })
      p:newConnection(2, newSocket(2, "new"))
      assert.same({ 0, 1, 2 }, order(p))
    end)

    it("has slowness noticed at once, and wear off", function()
      local p = pooled({}, servers)
      use(p, { a = 10, b = 10, c = 10, d = 10 })
      local a = p:getConnection()
      now = now + 300 * MS
      p:returnConnection(a)
      assert.equal(1, p:getConnection().slot)
      local tries = 0
      p = pooled({}, servers)
      use(p, { a = 100, b = 10, c = 10, d = 10 })
      repeat -- the others are used every second
        local first = p:getConnection()
        local second = p:getConnection()
        now = now + 10 * MS
        p:returnConnection(first)
        p:returnConnection(second)
        now = now + SECOND
        tries = tries + 1
      until first.id == "a" or tries == 100
      assert.is_true(tries > 15 and tries < 60, tries)
    end)

    it("goes on with those of slow servers when all others are lent", function()
      local p = pooled({}, servers)
      use(p, { a = 50, b = 10, c = 10, d = 10 })
      local lent = {}
      for i = 1, 6 do lent[i] = p:getConnection() end
      local slow = p:getConnection()
      assert.equal(0, slow.slot)
      now = now + 10 * MS
      for _, each in ipairs(lent) do p:returnConnection(each) end
      p:returnConnection(slow)
      assert.equal(1, p:getConnection().slot)
    end)
  end)

  it("lowest lends the lowest slot, however slow its server", function()
    local p = pooled({ checkout = "lowest" }, { a = { 0, 2 }, b = { 1, 3 } })
    use(p, { a = 500, b = 10 })
    assert.same({ 0, 1, 2, 3 }, order(p))
  end)

  it("ewma lends one of a slow server only for want of three others", function()
    for _, slots in ipairs { { 0 }, { 0, 1 } } do
      local p = pooled({ checkout = "ewma" }, { slow = slots, fast = { 5, 6 } })
      use(p, { slow = 100, fast = 10 })
      for _ = 1, 200 do
        local first = p:getConnection()
        assert.equal("fast", first.id)
        now = now + 10 * MS
        p:returnConnection(first)
      end
    end
  end)

  it("ewma draws each three alike", function()
    local p = pooled({ checkout = "ewma" },
      { a = { 0 }, b = { 1 }, c = { 2 }, d = { 3 }, e = { 4 } })
    use(p, { a = 1, b = 2, c = 3, d = 4, e = 5 })
    -- The best of three is a in six of ten draws, b in three, c in one.
    local counts = { a = 0, b = 0, c = 0, d = 0, e = 0 }
    for _ = 1, 10000 do
      local first = p:getConnection()
      counts[first.id] = counts[first.id] + 1
      -- It takes what it took before.
      now = now + string.byte(first.id) * MS - string.byte "a" * MS + MS
      p:returnConnection(first)
      now = now - string.byte(first.id) * MS + string.byte "a" * MS - MS
    end
    assert.is_true(counts.a > 5700 and counts.a < 6300, counts.a)
    assert.is_true(counts.b > 2700 and counts.b < 3300, counts.b)
    assert.is_true(counts.c > 800 and counts.c < 1200, counts.c)
    assert.equal(10000, counts.a + counts.b + counts.c)
  end)

  describe("of a server whose leases are returned as failed", function()
    local servers = { bad = { 0, 1 }, one = { 2 }, other = { 3 } }
    local quickly = { bad = 1, one = 20, other = 20 }
    local failed = { bad = { failed = true } }

    it("comes last, though it answers first", function()
      local p = pooled({}, servers)
      use(p, quickly, failed)
      assert.same({ 2, 3, 0, 1 }, order(p))
      p = pooled({ checkout = "ewma" }, servers)
      use(p, quickly, failed)
      for _ = 1, 50 do
        local first = p:getConnection()
        assert.not_equal("bad", first.id)
        now = now + 20 * MS
        p:returnConnection(first)
      end
    end)

    it("keeps its connections", function()
      local p = pooled({}, servers)
      use(p, quickly, failed)
      assert.same({ bad = 2, one = 1, other = 1 }, p:stats().servers)
      local first = p:getConnection()
      assert.is_true(p:returnConnection(first, { failed = true }))
      assert.is_true(first.closed)
      assert.equal(4, p:stats().idle)
    end)

    it("is like any other if they are not", function()
      local p = pooled({}, servers)
      use(p, quickly, { bad = { failed = false }, one = {} })
      assert.same({ 0, 1, 2, 3 }, order(p))
    end)
  end)

  it("of a connection that is closed fails, returned as failed or not",
    function()
      local p = pooled({}, { a = { 0, 1 } })
      for _, how in ipairs { {}, { failed = true } } do
        local first = p:getConnection()
        first:close()
        assert.is_false(p:returnConnection(first, how))
      end
    end)

  it("refuses what is no option of a return", function()
    local p = pooled({}, { a = { 0 } })
    local first = p:getConnection()
    misuse(function() p:returnConnection(first, true) end,
      "bad argument #2 to 'returnConnection' (table expected, got boolean)")
    misuse(function() p:returnConnection(first, { fail = true }) end,
      "bad argument #2 to 'returnConnection' (unknown option 'fail', nearest "
        .. "is 'failed')")
    misuse(function() p:returnConnection(first, { failed = "yes" }) end,
      "bad argument #2 to 'returnConnection' (failed: boolean expected, got "
        .. "'yes')")
    assert.is_true(p:returnConnection(first))
  end)
end)
