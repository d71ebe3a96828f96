-- What a pool does with connections of servers that are gone from its rover's
-- list: they are lent last, and replaced first.

local options = require "callosum.options"
local pools = require "support.pools"
local support = require "support"

-- A pool's rover with the servers a and b, neither of which it asks by itself.
-- `connect(id)` makes a connection; slots are those of each server, in turn.
local function pooled(own, a, b)
  local r = support.rover { rovingInterval = 3600000 }
  local list = { a = pools.giving(a), b = pools.giving(b) }
  local self = { rover = r, pool = pools.pool(own):attach(r) }
  for id, server in pairs(list) do
    r:addServer(id, { host = "127.0.0.1", port = server.port })
  end
  function self.add(id)
    r:addServer(id, { host = "127.0.0.1", port = list[id].port })
  end
  function self.connect(id)
    local before = r:stats().attempts
    assert(r:connect(id))
    support.run(function()
      local s = r:stats()
      return s.attempts > before and s.inFlight == 0
    end)
  end
  return self
end

-- The ids of the servers whose connections are lent, one after the other.
local function order(p)
  local ids, lent = {}, {}
  repeat
    local socket = p:getConnection()
    lent[#lent + 1] = socket
    ids[#ids + 1] = socket and socket.id
  until not socket
  for _, socket in ipairs(lent) do p:returnConnection(socket) end
  return table.concat(ids, " ")
end

describe("a pool", function()
  local now, real

  before_each(function()
    real, now = options.now, options.now()
    options.now = function() return now end
  end)
  after_each(function() options.now = real end)

  for _, way in ipairs { "lowestFast", "lowest", "leastRecent", "random",
      "ewma" } do
    it("lends connections of servers that are gone last: " .. way, function()
      local it = pooled({ checkout = way }, { 0, 1 }, { 5, 6 })
      for _, id in ipairs { "a", "a", "b", "b" } do it.connect(id) end
      it.rover:dropServer "a"
      now = now + 1e9 // 1
      assert.equal("b b a a", order(it.pool))
      it.add "a"
      it.rover:dropServer "b"
      now = now + 1e9 // 1
      assert.equal("a a b b", order(it.pool))
      assert.equal(4, it.pool:stats().size)
    end)
  end

  it("replaces them first, whatever their slots", function()
    local it = pooled({ maxSlots = 2 }, { 0, 1 }, { 5, 7, 9 })
    it.connect "a"
    it.connect "a"
    it.connect "b"
    assert.same({ 0, 1 }, it.pool:stats().slots)
    it.rover:dropServer "a"
    now = now + 1e9 // 1
    assert.equal("a a", order(it.pool))
    it.connect "b"
    assert.same({ a = 1, b = 1 }, it.pool:stats().servers)
    it.connect "b"
    assert.same({ b = 2 }, it.pool:stats().servers)
    assert.same({ 7, 9 }, it.pool:stats().slots)
  end)

  it("has them lent as others when the server is back", function()
    local it = pooled({}, { 0 }, { 5 })
    it.connect "a"
    it.connect "b"
    it.rover:dropServer "a"
    now = now + 1e9 // 1
    assert.equal("b a", order(it.pool))
    it.add "a"
    now = now + 1e9 // 1
    assert.equal("a b", order(it.pool))
  end)
end)
