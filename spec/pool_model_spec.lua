local callosum = require "callosum.pool"
local naive = require "support.naive_pool"
local support = require "support"
local uv = require "luv"

-- Lua alone: sanitizers and the like see nothing of it, and slow it down.
local OPERATIONS = support.WATCHED and 10000 or 100000

-- busted looks up globals in a slow way, and asserts with much ado.
local insert, ipairs, pairs, random, remove, unpack = table.insert, ipairs,
  pairs, math.random, table.remove, table.unpack

local function must(ok, message)
  if not ok then error(message or "not as it must be", 2) end
  return ok
end

local function any(list) return list[random(#list)] end

-- Sockets that obey the interface of a rover's, without a network: what happens
-- to them is told by `deliver`.
local socket = {}
local socketMeta = { __index = socket }

local function newSocket(slot, id, state, adopted)
  return setmetatable({ slot = slot, id = id, state = state or {},
    adopted = adopted or false, closed = false, handlers = {},
    observers = {}, events = {} }, socketMeta)
end

function socket:on(event, fn, options)
  local lists = options and options.observer and self.observers or self.handlers
  local list = { unpack(lists[event] or {}) }
  list[#list + 1] = fn
  lists[event] = list
  return self
end

function socket:off(event, fn)
  if not event then self.handlers = {} return self end
  local list = {}
  for _, each in ipairs(self.handlers[event] or {}) do
    if each ~= fn then list[#list + 1] = each end
  end
  self.handlers[event] = list
  return self
end

function socket:write()
  return not self.closed and self or nil
end

function socket:close()
  if not self.closed then insert(self.events, "close") end
  self.closed = true
  return self
end

function socket:pass()
  if self.passed then return nil, "passed on", "EALREADY" end
  if self.closed then return nil, "closed", "ENOTCONN" end
  self.closed = true
  self.passed = newSocket(self.slot, self.id, self.state, self.adopted)
  self.passed.observers, self.passed.events = self.observers, self.events
  return self.passed
end

-- By which its connection is known now.
local function latest(each)
  while each.passed do each = each.passed end
  return each
end

function socket:deliver()
  while #self.events > 0 do
    local event = remove(self.events, 1)
    for _, lists in ipairs { self.observers, self.handlers } do
      for _, fn in ipairs(lists[event] or {}) do fn() end
    end
  end
end

-- A pool and its naive counterpart, side by side.
local function pair(seen)
  local options = {
    maxSlots = random(12),
    maxPerServer = random() < 0.5 and random(5) or nil,
    checkout = any { "lowestFast", "lowest", "random", "leastRecent",
      "ewma" },
  }
  return {
    options = options, pool = callosum.new(options),
    naive = naive.new(options), sockets = {}, seen = seen,
  }
end

-- The socket that the pool lends; the naive one goes along, if it may.
local function lent(it, each)
  local conn = must(it.naive:find(each), "not in the pool")
  must(conn.status == "idle", "not idle")
  local wanted = it.naive:next()
  -- Of equal slots the naive one takes the first, as the pool does.
  must(not wanted or wanted == conn, "not the next one")
  conn.status = "leased"
  it.naive.lent = it.naive.lent + 1
end

local function serveLine(it)
  for _ = 1, 1000 do
    if #it.naive.line == 0 or #it.naive:all "idle" == 0 then return end
    uv.run "nowait"
  end
  error "who waits is not served"
end

local operations = {}

function operations.offer(it)
  local slot, id = random(0, 20), "server" .. random(4)
  local new = it.make(slot, id)
  local kept = it.naive:offer(new, slot, new.id)
  must(kept == it.pool:newConnection(slot, new))
end

function operations.lease(it)
  local free = #it.naive:all "idle" > #it.naive.line
  local each, _, code = it.pool:getConnection()
  must(code == (not free and "EAGAIN" or nil), code)
  if each then lent(it, each) end
end

function operations.wait(it)
  local waiter = {}
  waiter.cancel = it.pool:requestConnection(function(each)
    must(remove(it.naive.line, 1) == waiter, "served out of turn")
    lent(it, each)
  end, 3600000)
  insert(it.naive.line, waiter)
end

function operations.cancel(it)
  if #it.naive.line == 0 then return end
  must(remove(it.naive.line, random(#it.naive.line)).cancel())
end

local function leasedOne(it)
  local list = it.naive:all "leased"
  table.move(it.naive:all "retiring", 1, 99, #list + 1, list)
  return #list > 0 and any(list)
end

function operations.giveBack(it)
  local conn = leasedOne(it)
  if not conn then return end
  local each, state = conn.socket, conn.socket.state
  local kept = it.pool:returnConnection(each)
  must(it.naive:giveBack(conn) == kept and each.closed)
  if not kept then return end
  conn.socket = it.latest(each, state)
  for i, other in ipairs(it.sockets) do
    if other == each then it.sockets[i] = conn.socket end
  end
  it.returned = each
end

function operations.giveBackWrongly(it)
  local idle = it.naive:all "idle"
  local each = #idle > 0 and any(idle).socket or it.make(3, "server1")
  must(not pcall(it.pool.returnConnection, it.pool, each))
  if #idle == 0 then each:close() end
end

-- Whoever has had it since.
function operations.giveBackAgain(it)
  local _, err = pcall(it.pool.returnConnection, it.pool, it.returned)
  must(not it.returned or err:find "returned before", err)
end

-- Others may close a socket in any state, and return it afterwards.
function operations.close(it)
  local conn = #it.naive.conns > 0 and any(it.naive.conns)
  if not conn then return end
  it.naive:remove(conn)
  conn.socket:close()
  if random() < 0.5 then
    must(not it.pool:returnConnection(conn.socket))
  end
end

function operations.peerClose(it)
  local conn = #it.naive.conns > 0 and any(it.naive.conns)
  if conn then it.peerClose(conn) end
end

-- A new policy with other limits adopts what is open, lowest slot first; what
-- the old one had lent out is closed.
function operations.reload(it)
  for _, waiter in ipairs(it.naive.line) do waiter.cancel() end
  local open = it.naive.conns
  table.sort(open, function(a, b)
    if a.slot ~= b.slot then return a.slot < b.slot end
    return a.number < b.number
  end)
  it.options.maxSlots = random(12)
  it.pool, it.naive = callosum.new(it.options), naive.new(it.options)
  it.sockets = {}
  for _, conn in ipairs(open) do
    local state = { pool = conn.socket.state.pool }
    local new = newSocket(conn.slot, conn.id, state, true)
    insert(it.sockets, new)
    local kept = conn.status == "idle"
      and it.naive:offer(new, conn.slot, conn.id, true)
    must(kept == it.pool:newConnection(conn.slot, new))
  end
end

local function same(a, b)
  if type(a) ~= "table" then return a == b end
  for key, value in pairs(a) do if b[key] ~= value then return false end end
  for key in pairs(b) do if a[key] == nil then return false end end
  return true
end

-- Compares the two after each operation, and all sockets with the books.
local function compare(it)
  local wanted, stats = it.naive:stats(), it.pool:stats()
  for name, value in pairs(wanted) do
    -- Of most use, and most costly, when it fails.
    if not same(value, stats[name]) then assert.same(wanted, stats) end
    if value ~= 0 then it.seen[name] = true end
  end
  -- What is not closed is in the books, and what is in the books not closed.
  local open = 0
  for i = #it.sockets, 1, -1 do
    if it.sockets[i].closed then remove(it.sockets, i) end
  end
  for _, conn in ipairs(it.naive.conns) do
    if not conn.socket.closed then open = open + 1 end
  end
  must(open == #it.sockets and open == #it.naive.conns,
    "neither kept nor closed")
end

local function run(it, n, names)
  for i = 1, n do
    local name = any(names)
    local ok, err = pcall(function()
      operations[name](it)
      it.settle()
      serveLine(it)
      it.settle()
      compare(it)
    end)
    if not ok then
      error(("operation %d, %s: %s"):format(i, name, tostring(err)), 0)
    end
  end
end

-- Prints the seed of a failure, by which it can be had again: SEED=... busted.
local function seeded(fn)
  local seed = math.tointeger(os.getenv "SEED") or os.time()
  math.randomseed(seed)
  local ok, err = pcall(fn)
  if not ok then error(("SEED=%d: %s"):format(seed, tostring(err)), 0) end
end

describe("a pool does what a naive model of it does", function()
  -- Without a network.
  local function simulated(seen)
    local it = pair(seen)
    function it.make(slot, id)
      local new = newSocket(slot, id)
      insert(it.sockets, new)
      return new
    end
    it.latest = latest
    function it.settle()
      for _, each in ipairs(it.sockets) do each:deliver() end
    end
    function it.peerClose(conn)
      insert(conn.socket.events, "end")
      it.settle()
      it.naive:peerEnded(conn)
      if random() < 0.5 then return end -- the rover allows half-open sockets
      conn.socket:close()
      it.naive:remove(conn)
    end
    return it
  end

  it(("in %d random operations"):format(OPERATIONS), function()
    local names = {}
    for name, weight in pairs { offer = 12, lease = 12, giveBack = 20,
        wait = 6, cancel = 2, giveBackWrongly = 1, giveBackAgain = 2, close = 3,
        peerClose = 3, reload = 1 } do
      for _ = 1, weight do names[#names + 1] = name end
    end
    table.sort(names)
    seeded(function()
      local seen = {}
      for _ = 1, 50 do
        local it = simulated(seen)
        run(it, OPERATIONS // 50, names)
        it.pool:close()
        for _, waiter in ipairs(it.naive.line) do waiter.cancel() end
      end
      for name in pairs(callosum.new():stats()) do
        assert.is_true(seen[name] or name == "unsolicited"
          or name == "expired", name)
      end
    end)
  end)

  it("in operations on real connections", function()
    seeded(function()
      local it = pair({})
      local peers = {}
      local slot, id
      local server = support.serve { connection = function(peer)
        peers[#peers + 1] = peer
        peer:write(slot .. "\r\n")
      end }
      local r = support.rover()
      local events = support.record(r)
      function it.make(...)
        if id then r:dropServer(id) end
        slot, id = ...
        r:addServer(id, { host = "127.0.0.1", port = server.port })
        local new = support.attempt(r, events).socket
        it.sockets[#it.sockets + 1] = new
        peers[new] = peers[#peers]
        return new
      end
      function it.latest(each, state)
        for _, new in ipairs(r:sockets()) do
          if new.state == state then
            peers[new] = peers[each]
            return new
          end
        end
      end
      -- What was closed is told in the next turn of the loop.
      function it.settle() uv.run "nowait" end
      function it.peerClose(conn)
        peers[conn.socket]:close()
        support.run(function() return conn.socket.closed end)
        it.naive:remove(conn)
      end
      run(it, 2000, { "offer", "offer", "lease", "lease", "lease", "giveBack",
        "giveBack", "giveBack", "giveBackAgain", "wait", "cancel", "close",
        "peerClose" })
      for _, waiter in ipairs(it.naive.line) do waiter.cancel() end
      it.pool:close()
    end)
  end)

  -- How full the pool takes itself to be depends on what it has been told, so
  -- this is about what must hold at any time.
  it("in the main, when it is told late of what was closed", function()
    local function check(p, maxSlots)
      local stats = p:stats()
      must(stats.size == stats.idle + stats.leased)
      must(stats.size == #stats.slots and stats.size <= maxSlots)
      must(stats.retiring <= maxSlots)
      return stats
    end

    local function play(p, maxSlots)
      local all, out = {}, {}
      for _ = 1, 2000 do
        local what = random()
        if what < 0.3 then
          local each = newSocket(random(0, 20), "server" .. random(4))
          all[#all + 1] = each
          must(p:newConnection(each.slot, each) == not each.closed)
        elseif what < 0.6 then
          local each = p:getConnection()
          if each then
            must(not each.closed and not out[each])
            out[each] = true
          end
        elseif what < 0.8 and next(out) then
          local each = next(out)
          local open = not each.closed
          out[each] = nil
          must(p:returnConnection(each) == (open and not latest(each).closed))
        elseif what < 0.9 and #all > 0 then
          latest(any(all)):close()
        elseif #all > 0 then
          any(all):deliver()
        end
        check(p, maxSlots)
      end
      return all, out
    end

    seeded(function()
      for _ = 1, 20 do
        local maxSlots = random(8)
        local p = callosum.new { maxSlots = maxSlots, maxPerServer = random(4) }
        local all, out = play(p, maxSlots)
        for each in pairs(out) do p:returnConnection(each) end
        local open = 0
        for _, each in ipairs(all) do
          each:deliver()
          if not latest(each).closed then open = open + 1 end
        end
        local stats = check(p, maxSlots)
        assert.same({ open, 0, 0 },
          { stats.idle, stats.leased, stats.retiring })
        p:close()
        for _, each in ipairs(all) do must(latest(each).closed) end
      end
    end)
  end)
end)

describe("a pool of many connections", function()
  local MANY, FEW, ROUNDS = 10000, 50, 2000

  -- CPU seconds for so many rounds of what goes on in a full pool.
  local function timed(checkout, n)
    local p = callosum.new { checkout = checkout, maxSlots = n,
      maxPerServer = n // 5 }
    local function offer(slot)
      local new = newSocket(slot, "server" .. slot % 5)
      new.on, new.off = socket.off, socket.off -- nothing happens to it
      return p:newConnection(slot, new)
    end
    for slot = 1, n do offer(ROUNDS + slot) end
    assert.equal(n, p:stats().size)
    local began = os.clock()
    for i = 1, ROUNDS do
      local one, other = p:getConnection(), p:getConnection()
      p:returnConnection(one)
      p:returnConnection(other)
      must(offer(ROUNDS - i)) -- in place of the highest
    end
    return os.clock() - began
  end

  for _, checkout in ipairs { "lowestFast", "lowest", "random", "leastRecent",
      "ewma" } do
    it("is as fast as one of few, with checkout " .. checkout, function()
      local few, many = timed(checkout, FEW), timed(checkout, MANY)
      -- Walking them all would take two hundred times as long.
      assert.is_true(many < 10 * few, ("%f and %f s"):format(few, many))
    end)
  end
end)
