local callosum = require "callosum.pool"
local pools = require "support.pools"
local sockets = require "support.sockets"
local support = require "support"

local filled, pool, reach = pools.filled, pools.pool, pools.reach
local misuse, rover, run = support.misuse, support.rover, support.run

-- The slots of a pool's connections.
local function slots(p)
  return table.concat(p:stats().slots, " ")
end

describe("callosum.pool", function()
  describe("new", function()
    it("makes a pool that holds nothing", function()
      assert.same({
        size = 0, idle = 0, leased = 0, retiring = 0, waiting = 0,
        servers = {}, slots = {}, kept = 0, rejected = 0, unsolicited = 0,
        lent = 0, expired = 0,
      }, callosum.new():stats())
    end)

    it("refuses unknown options, and names the nearest", function()
      misuse(function() callosum.new { maxSlot = 5 } end,
        "bad argument #1 to 'new' (unknown option 'maxSlot', nearest is "
          .. "'maxSlots')")
      misuse(function() callosum.new { MAX_SLOTS = 5 } end,
        "bad argument #1 to 'new' (unknown option 'MAX_SLOTS', nearest is "
          .. "'maxSlots')")
      misuse(function() callosum.new { slots = 5 } end,
        "bad argument #1 to 'new' (unknown option 'slots', nearest is "
          .. "'maxSlots')")
      for shown, name in pairs { ["[1]"] = 1, interval = "interval",
          weight = "weight" } do
        misuse(function() callosum.new { [name] = 5 } end,
          ("bad argument #1 to 'new' (unknown option '%s', valid are name, "
            .. "maxSlots, maxPerServer, checkout, keepUnsolicited, maxWaiting, "
            .. "waitTimeout, target, fillInterval, maxInterval, jitter, "
            .. "backoff, maxBackoff)"):format(shown))
      end
      misuse(function() callosum.new(5) end,
        "bad argument #1 to 'new' (table expected, got number)")
    end)

    it("refuses options that are out of range", function()
      for name, wrong in pairs { maxSlots = 0, maxPerServer = 1.5 } do
        misuse(function() callosum.new { [name] = wrong } end,
          ("bad argument #1 to 'new' (%s: integer from 1 to 2147483647 "
            .. "expected, "
            .. "got %s)")
            :format(name, wrong))
      end
      for name, wrong in pairs { maxWaiting = -1, waitTimeout = "5",
          target = 2147483648 } do
        misuse(function() callosum.new { [name] = wrong } end,
          ("bad argument #1 to 'new' (%s: integer from 0 to 2147483647 "
            .. "expected, "
            .. "got %s)")
            :format(name, wrong == "5" and "'5'" or wrong))
      end
      for name, wrong in pairs { fillInterval = 0, maxInterval = true,
          backoff = 0.5 } do
        misuse(function() callosum.new { [name] = wrong } end,
          ("bad argument #1 to 'new' (%s: integer from 1 to 4294967295, or "
            .. "false "
            .. "expected, got %s)"):format(name, wrong))
      end
      misuse(function() callosum.new { maxBackoff = false } end,
        "bad argument #1 to 'new' (maxBackoff: integer from 1 to 4294967295 "
          .. "expected, got false)")
      misuse(function() callosum.new { jitter = 1.1 } end,
        "bad argument #1 to 'new' (jitter: number from 0 to 1 expected, got "
          .. "1.1)")
      misuse(function() callosum.new { keepUnsolicited = 1 } end,
        "bad argument #1 to 'new' (keepUnsolicited: boolean expected, got 1)")
      misuse(function() callosum.new { checkout = "highest" } end,
        "bad argument #1 to 'new' (checkout: one of 'lowestFast', 'lowest', "
          .. "'random', 'leastRecent', 'ewma' expected, got 'highest')")
    end)
  end)

  describe("attach", function()
    it("keeps what comes, and returns the pool", function()
      local it = filled({}, 3, 1, 2)
      assert.equal("1 2 3", slots(it.pool))
      assert.equal(3, #it.rover:sockets())
      local p = pool()
      assert.equal(p, p:attach(rover()))
    end)

    it("refuses what is no rover, a second one, and a closed pool", function()
      local p = callosum.new()
      finally(function() p:close() end)
      misuse(function() p:attach() end,
        "bad argument #1 to 'attach' (rover expected, got nil)")
      misuse(function() p:attach "r" end,
        "bad argument #1 to 'attach' (rover expected, got string)")
      misuse(function() p:attach(io.stdout) end,
        "bad argument #1 to 'attach' (rover expected, got userdata)")
      misuse(function() p:attach {} end,
        "bad argument #1 to 'attach' (rover expected, got table)")
      local r = require "callosum.rover".new()
      p:attach(r)
      misuse(function() p:attach(r) end,
        "the pool has a rover: detach it first")
      p:detach():attach(r):close()
      r:close()
      misuse(function() callosum.new():attach(r) end,
        "cannot attach: the rover is closed")
      misuse(function() p:attach(r) end, "the pool is closed")
    end)

    it("refuses a rover that has a pool, until that is detached", function()
      local it = filled({}, 1, 2)
      local other = callosum.new()
      finally(function() other:close() end)
      misuse(function() other:attach(it.rover) end,
        "the rover has a pool: detach that first")
      it.pool:detach()
      other:attach(it.rover)
      it.offer(3)
      assert.equal("1 2", slots(it.pool))
      assert.equal("3", slots(other))
      misuse(function() other:newConnection(1, it.sockets[1]) end,
        "the socket is held by another pool")
      other:detach()
      it.pool:attach(it.rover)
      it.offer(4)
      assert.equal("1 2 4", slots(it.pool))
    end)

    it("leaves those that the rover has to whom they belong", function()
      local it = filled({}, 1)
      it.pool:detach()
      it.offer(2)
      it.pool:attach(it.rover)
      assert.equal("1", slots(it.pool))
      for _, socket in ipairs(it.rover:sockets()) do -- they are nobody's
        it.pool:newConnection(socket.slot, socket)
      end
      assert.equal("1 2", slots(it.pool))
    end)

    it("leaves alone what another handler has closed", function()
      local server = pools.giving { 0 }
      local r = rover { port = server.port }
      r:on("connection", function(_, socket) socket:close() end)
      local p = pool():attach(r)
      support.attempt(r, {})
      local stats = p:stats()
      assert.same({ 0, 0, 0 }, { stats.size, stats.kept, stats.rejected })
    end)

    it("lets go of what a later handler makes the rover close", function()
      local it = filled({}, 1)
      it.rover:on("connection", function(_, socket) socket:close() end)
      it.offer(0)
      reach(it.pool, { size = 1, kept = 1, rejected = 1 })
      assert.equal("1", slots(it.pool))
    end)
  end)

  describe("detach", function()
    it("leaves new connections to others, and holds what it holds", function()
      local it = filled({}, 4)
      local p = it.pool
      assert.equal(p, p:detach())
      assert.equal(p, p:detach())
      it.offer(2)
      assert.equal("4", slots(p))
      assert.equal(it.sockets[4], p:getConnection())
      p:attach(it.rover)
      it.offer(1)
      assert.equal("1 4", slots(p))
    end)

    it("and close count at once, in an earlier handler as well", function()
      for _, part in ipairs { "detach", "close" } do
        local server = pools.giving { 0 }
        local r = rover { port = server.port }
        local p = pool()
        r:on("connection", function() p[part](p) end)
        p:attach(r)
        local event = support.attempt(r, support.record(r))
        local stats = p:stats()
        assert.same({ 0, 0, 0 }, { stats.size, stats.kept, stats.rejected })
        assert.is_false(event.socket.closed)
      end
    end)

    it("and close go well with a rover that is closed", function()
      local it = filled({}, 4, 5)
      it.pool:getConnection()
      it.rover:close()
      reach(it.pool, { size = 0, leased = 0 })
      it.pool:detach()
      local p = pool():attach(rover())
      p:close()
    end)
  end)

  describe("newConnection", function()
    it("keeps up to `maxSlots`, by default 100", function()
      local it = filled({ maxSlots = 2 }, 5, 6)
      assert.is_true(it.offer(7).closed)
      assert.equal("5 6", slots(it.pool))
      it = filled()
      for slot = 1, 101 do it.offer(slot) end
      assert.equal(100, it.pool:stats().size)
    end)

    it("replaces the highest slot by a lower one, and counts", function()
      local it = filled({ maxSlots = 2 }, 5, 9)
      it.offer(7)
      assert.is_true(it.sockets[9].closed)
      assert.is_true(it.offer(7).closed) -- not lower
      local stats = it.pool:stats()
      assert.same({ 5, 7 }, stats.slots)
      assert.same({ 3, 1 }, { stats.kept, stats.rejected })
      assert.equal(2, #it.rover:sockets())
    end)

    it("tells whether it kept the socket; twice is once", function()
      local it = filled({ maxSlots = 1 }, 5)
      local p, kept = it.pool, it.sockets[5]
      p:detach()
      assert.is_true(p:newConnection(5, kept))
      assert.is_false(p:newConnection(5, it.offer(6)))
      assert.is_true(it.sockets[6].closed)
      assert.is_false(p:newConnection(4, it.sockets[6])) -- closed before
      assert.is_true(p:newConnection(4, it.offer(4)))
      local stats = p:stats()
      assert.same({ 1, 2, 1 }, { stats.size, stats.kept, stats.rejected })
    end)

    it("rejects nothing for one that was closed a moment ago", function()
      local it = filled({ maxSlots = 1 }, 5)
      it.pool:detach()
      local socket = it.offer(7)
      it.sockets[5]:close()
      assert.is_true(it.pool:newConnection(7, socket))
      assert.equal("7", slots(it.pool))
    end)

    it("refuses what is no slot and no socket", function()
      local p = callosum.new()
      misuse(function() p:newConnection(-1, {}) end,
        "bad argument #1 to 'newConnection' (slot: integer from 0 to "
          .. "2147483647 expected, got -1)")
      misuse(function() p:newConnection("1", {}) end,
        "bad argument #1 to 'newConnection' (slot: integer from 0 to "
          .. "2147483647 expected, got '1')")
      misuse(function() p:newConnection(1) end,
        "bad argument #2 to 'newConnection' (socket expected, got nil)")
      misuse(function() p:newConnection(1, {}) end,
        "bad argument #2 to 'newConnection' (socket expected, got table)")
    end)

    it("keeps up to `maxPerServer` of one server, the lowest", function()
      local a, b = pools.giving { 5, 6, 7, 3, 6 }, pools.giving { 9 }
      local r = rover { servers = {
        a = { host = "127.0.0.1", port = a.port },
      } }
      local events = support.record(r)
      local p = pool { maxPerServer = 2, maxSlots = 3 }:attach(r)
      for _ = 1, 3 do support.attempt(r, events) end
      assert.equal("5 6", slots(p))
      r:dropServer "a"
      r:addServer("b", { host = "127.0.0.1", port = b.port })
      support.attempt(r, events)
      assert.equal("5 6 9", slots(p))
      assert.same({ a = 2, b = 1 }, p:stats().servers)
      -- In a full pool, too, a server's own highest gives way.
      r:dropServer "b"
      r:addServer("a", { host = "127.0.0.1", port = a.port })
      support.attempt(r, events)
      assert.equal("3 5 9", slots(p))
      support.attempt(r, events)
      assert.equal("3 5 9", slots(p))
      assert.same({ a = 2, b = 1 }, p:stats().servers)
    end)
  end)

  describe("getConnection", function()
    it("lends an idle connection, and says if there is none", function()
      local it = filled({}, 2)
      assert.equal(it.sockets[2], it.pool:getConnection())
      local nothing, message, code = it.pool:getConnection()
      assert.is_nil(nothing)
      assert.same({ "no connection is idle", "EAGAIN" }, { message, code })
      local stats = it.pool:stats()
      assert.same({ 1, 0, 1 }, { stats.size, stats.idle, stats.leased })
    end)

    it("does not give what was closed a moment ago", function()
      local it = filled({}, 2, 3, 4)
      it.sockets[2]:close()
      it.sockets[3]:close()
      assert.equal(it.sockets[4], it.pool:getConnection())
      assert.equal(1, it.pool:stats().size)
      run(function() return it.peers[2].ended and it.peers[3].ended end)
      assert.equal(1, it.pool:stats().size)
    end)

    describe("with checkout", function()
      -- The slots that this many leases are given, each returned at once.
      local function given(p, n)
        local list = {}
        for i = 1, n do
          local socket = p:getConnection()
          list[i] = socket.slot
          p:returnConnection(socket)
        end
        return list
      end

      it("lowestFast, the default, and lowest give the lowest slot", function()
        for _, options in ipairs { {}, { checkout = "lowest" } } do
          local p = filled(options, 4, 2, 3).pool
          assert.same({ 2, 2, 2 }, given(p, 3))
          local two = p:getConnection()
          assert.equal(2, two.slot)
          assert.equal(3, p:getConnection().slot)
          p:returnConnection(two)
          assert.equal(2, p:getConnection().slot)
          assert.equal(4, p:getConnection().slot)
        end
      end)

      it("leastRecent gives the one that has been idle longest", function()
        local it = filled({ checkout = "leastRecent" }, 4, 2, 3)
        assert.same({ 4, 2, 3, 4, 2, 3 }, given(it.pool, 6))
        local first, second = it.pool:getConnection(), it.pool:getConnection()
        it.pool:returnConnection(second)
        it.pool:returnConnection(first)
        assert.same({ 3, 2, 4 }, given(it.pool, 3))
      end)

      it("random gives each alike", function()
        local it = filled({ checkout = "random" }, 0, 1, 2, 3)
        local counts = { [0] = 0, 0, 0, 0 }
        for _, slot in ipairs(given(it.pool, 2000)) do
          counts[slot] = counts[slot] + 1
        end
        for slot = 0, 3 do
          assert.is_true(counts[slot] > 400 and counts[slot] < 600)
        end
      end)

      it("ewma prefers the server whose leases are shorter", function()
        local r = rover { servers = {
          slow = { host = "127.0.0.1", port = pools.giving { 0 }.port },
          fast = { host = "127.0.0.1", port = pools.giving { 1 }.port },
        }, seed = 1 }
        local p = pool { checkout = "ewma", maxPerServer = 10,
          maxSlots = 20 }:attach(r)
        local events = support.record(r)
        while p:stats().size < 20 do support.attempt(r, events) end
        -- Requests that take a while each, so many at once that both kinds of
        -- connections are in use, and tell what they cost.
        local counts, under = { slow = 0, fast = 0 }, 0
        local uv = require "luv"
        local function request()
          local socket = p:getConnection()
          if counts.slow + counts.fast == 400 then
            return p:returnConnection(socket)
          end
          counts[socket.id] = counts[socket.id] + 1
          local timer = uv.new_timer()
          under = under + 1
          timer:start(socket.id == "slow" and 10 or 1, 0, function()
            timer:close()
            under = under - 1
            p:returnConnection(socket)
            request()
          end)
        end
        for _ = 1, 4 do request() end
        run(function() return under == 0 end)
        assert.is_true(counts.fast > 2 * counts.slow, counts.fast)
        assert.is_true(counts.slow > 0) -- all draws are of slow ones at times
      end)

      it("ewma takes a server that fails at once for no quick one", function()
        local uv = require "luv"
        local up, down = pools.giving { 0 }, pools.giving { 1 }
        local r = rover { servers = {
          up = { host = "127.0.0.1", port = up.port },
          down = { host = "127.0.0.1", port = down.port },
        }, seed = 1 }
        local p = pool { checkout = "ewma", maxPerServer = 10,
          maxSlots = 20 }:attach(r)
        local events = support.record(r)
        while p:stats().size < 20 do support.attempt(r, events) end
        local counts = { up = 0, down = 0 }
        for _ = 1, 24 do -- all ten by chance: in one run of 60,000
          local socket = p:getConnection()
          counts[socket.id] = counts[socket.id] + 1
          if socket.id == "down" then
            socket:close() -- as soon as it is asked
          else
            local timer = uv.new_timer()
            local over = false
            timer:start(2, 0, function()
              timer:close()
              over = true
            end)
            run(function() return over end)
            p:returnConnection(socket)
          end
        end
        assert.is_true(counts.down < 10, counts.down)
      end)
    end)
  end)

  describe("returnConnection", function()
    it("makes a connection idle again", function()
      local it = filled({}, 2)
      local p = it.pool
      assert.is_true(p:returnConnection(p:getConnection()))
      local stats = p:stats()
      assert.same({ 1, 1, 0 }, { stats.size, stats.idle, stats.leased })
      assert.equal(2, p:getConnection().slot)
    end)

    it("tells who had the connection from who has it", function()
      local it = filled({}, 2)
      local p, peer = it.pool, it.peers[2]
      local function wrong(socket)
        misuse(function() p:returnConnection(socket) end,
          "the socket was returned before")
      end
      local one = p:getConnection()
      assert.is_true(p:returnConnection(one))
      wrong(one)
      local other = p:getConnection()
      wrong(one)
      assert.equal(1, p:stats().leased)
      -- Nor can it do any harm otherwise.
      local answers, stolen = {}, {}
      one:on("data", function(chunk) stolen[#stolen + 1] = chunk end)
      other:on("data", function(chunk) answers[#answers + 1] = chunk end)
      one:off():close()
      assert.equal("ENOTCONN", select(3, one:write "stale"))
      peer:write "answer"
      run(function() return #answers == 1 end)
      assert.same({}, stolen)
      assert.is_true(p:returnConnection(other))
      assert.equal(1, p:stats().idle)
    end)

    it("closes what lost its place meanwhile, and not before", function()
      local it = filled({ maxSlots = 1 }, 9)
      local p, socket = it.pool, it.pool:getConnection()
      it.offer(5)
      local stats = p:stats()
      assert.same({ 1, 1, 0, 1 },
        { stats.size, stats.idle, stats.leased, stats.retiring })
      assert.is_false(socket.closed)
      assert.is_false(p:returnConnection(socket))
      assert.is_true(socket.closed)
      stats = p:stats()
      assert.same({ 1, 0 }, { stats.size, stats.retiring })
      assert.equal("5", slots(p))
    end)

    it("counts a close but once, in whatever state", function()
      local it = filled({ maxSlots = 2, backoff = false }, 6, 8, 9)
      local p = it.pool
      assert.equal("6 8", slots(p))
      local six, eight = p:getConnection(), p:getConnection()
      it.offer(4) -- eight retires
      eight:close()
      reach(p, { retiring = 0 })
      assert.equal(2, p:stats().size)
      assert.is_false(p:returnConnection(eight))
      assert.equal(2, p:stats().size)
      six:close()
      reach(p, { size = 1, leased = 0 })
      assert.is_false(p:returnConnection(six))
      it.peers[4]:close()
      reach(p, { size = 0, idle = 0 })
      it.offer(9)
      it.offer(10)
      assert.is_true(it.offer(11).closed)
      assert.equal("9 10", slots(p))
    end)

    it("does not have the pool grow with use", function()
      local it = filled({}, 1, 2, 3)
      local function lendAll(n)
        for _ = 1, n do it.pool:returnConnection(it.pool:getConnection()) end
        collectgarbage()
        return collectgarbage "count"
      end
      local before = lendAll(1000)
      assert.is_true(lendAll(10000) < before + 2) -- KiB
    end)

    it("takes handlers off that were left on the socket", function()
      local it = filled({}, 2)
      local p, socket, peer = it.pool, it.sockets[2], it.peers[2]
      local notes = sockets.note(p:getConnection(), true)
      peer:write("answer")
      run(function() return #notes == 1 end)
      p:returnConnection(socket)
      local mine = sockets.note(p:getConnection(), true)
      peer:write("another")
      run(function() return #mine == 1 end)
      peer:close()
      sockets.untilClosed(mine)
      assert.same({ "data answer" }, notes)
      assert.same({ "data another", "end", "close" }, mine)
      assert.equal(0, p:stats().size)
    end)

    it("may be called from the handlers of the socket", function()
      local it = filled({}, 2)
      local p, socket = it.pool, it.pool:getConnection()
      socket:on("data", function() p:returnConnection(socket) end)
      it.peers[2]:write("x")
      reach(p, { idle = 1 })
      socket = p:getConnection()
      local kept
      socket:on("close", function() kept = p:returnConnection(socket) end)
      it.peers[2]:close()
      run(function() return kept ~= nil end)
      assert.is_false(kept)
      assert.equal(0, p:stats().size)
    end)

    it("refuses what is not lent out, and what is not its own", function()
      local p = callosum.new()
      local socket = sockets.plain()
      misuse(function() p:returnConnection() end,
        "bad argument #1 to 'returnConnection' (socket expected, got nil)")
      misuse(function() p:returnConnection {} end,
        "bad argument #1 to 'returnConnection' (socket expected, got table)")
      misuse(function() p:returnConnection(socket) end,
        "the socket is not one of this pool")
      p:newConnection(7, socket)
      misuse(function() p:returnConnection(socket) end,
        "the socket is not lent out")
      p:returnConnection(p:getConnection())
      misuse(function() p:returnConnection(socket) end,
        "the socket was returned before")
      assert.equal(1, p:stats().size)
      assert.is_false(p:returnConnection(sockets.plain():close()))
    end)

    it("bounds what lost its place and is never returned", function()
      local it = filled({ maxSlots = 2 }, 91, 92)
      for slot = 90, 60, -1 do
        it.pool:getConnection()
        it.offer(slot)
      end
      local stats = it.pool:stats()
      assert.same({ 2, 2 }, { stats.size, stats.retiring })
      assert.equal(4, #it.rover:sockets())
    end)
  end)

  describe("a connection", function()
    it("that its server closes while idle leaves the pool", function()
      local it = filled({}, 1, 2, 3)
      it.peers[1]:close()
      it.peers[2]:reset()
      reach(it.pool, { size = 1, idle = 1 })
      assert.same({ s = 1 }, it.pool:stats().servers)
      assert.equal("3", slots(it.pool))
    end)

    it("that its server ends while it is lent out is not lent out again",
      function()
        for _, half in ipairs { false, true } do
          local server = pools.giving { 3 }
          local r = rover { port = server.port, allowHalfOpen = half }
          local p = pool():attach(r)
          support.attempt(r, {})
          local socket, ended = p:getConnection(), false
          socket:on("end", function() ended = true end)
          server.peers[1]:shutdown()
          run(function() return ended end)
          assert.equal(0, p:stats().size)
          assert.is_false(p:returnConnection(socket))
          assert.is_true(socket.closed)
          reach(p, { retiring = 0 })
        end
      end)

    it("that its server ends while idle is closed, half-open rover or not",
      function()
        for _, half in ipairs { false, true } do
          local server = pools.giving { 3 }
          local r = rover { port = server.port, allowHalfOpen = half }
          local p = pool():attach(r)
          support.attempt(r, {})
          server.peers[1]:shutdown()
          reach(p, { size = 0 })
          run(function() return server.peers[1].ended end)
        end
      end)

    it("that its borrower closes leaves the pool, handlers or none", function()
      local it = filled({}, 1, 2)
      for _ = 1, 2 do it.pool:getConnection():off():close() end
      reach(it.pool, { size = 0, leased = 0 })
      it = filled({}, 1)
      it.pool:getConnection():off()
      it.peers[1]:reset()
      reach(it.pool, { size = 0, leased = 0 })
    end)

    it("that its server ends is not lent out again, handlers or none",
      function()
        local server = pools.giving { 3 }
        local r = rover { port = server.port, allowHalfOpen = true }
        local p = pool():attach(r)
        support.attempt(r, {})
        local socket = p:getConnection():off()
        server.peers[1]:shutdown()
        reach(p, { retiring = 1 })
        assert.is_false(p:returnConnection(socket))
        reach(p, { retiring = 0 })
      end)

    it("that its borrower has shut down is not lent out again", function()
      local server = pools.giving { 3 }
      local r = rover { port = server.port, allowHalfOpen = true }
      local p = pool():attach(r)
      support.attempt(r, {})
      local socket = p:getConnection()
      socket:shutdown()
      assert.is_false(p:returnConnection(socket))
      assert.is_true(socket.closed)
      assert.equal(0, p:stats().size)
    end)

    it("that its borrower detaches leaves the pool", function()
      local it = filled({}, 1)
      local fd = assert(it.pool:getConnection():detach())
      reach(it.pool, { size = 0, leased = 0 })
      assert.is_false(it.pool:returnConnection(it.sockets[1]))
      sockets.open(fd):write("on its own")
      assert.equal("on its own", it.peers[1]:take "on its own")
    end)

    it("on which bytes come that nobody asked for is closed", function()
      local it = filled({}, 1)
      local p = it.pool
      p:returnConnection(p:getConnection())
      it.peers[1]:write("late answer")
      reach(p, { unsolicited = 1, size = 0 })
      assert.is_true(it.sockets[1].closed)
    end)

    it("is not read for a borrower who does not listen yet", function()
      local it = filled({}, 1)
      local p = it.pool
      p:returnConnection(p:getConnection())
      local socket = p:getConnection()
      it.peers[1]:write("answer")
      sockets.settle()
      local notes = sockets.note(socket, true)
      run(function() return #notes == 1 end)
      assert.same({ "data answer" }, notes)
    end)

    it("keeps them for the next borrower if told to", function()
      local it = filled({ keepUnsolicited = true }, 1)
      local p = it.pool
      p:returnConnection(p:getConnection())
      it.peers[1]:write("news")
      sockets.settle()
      local notes = sockets.note(p:getConnection(), true)
      run(function() return #notes == 1 end)
      assert.same({ "data news" }, notes)
    end)

    it("has its server's greeting wait for the first borrower", function()
      local server = support.serve { send = "3\r\n220 hello\r\n" }
      local r = rover { port = server.port }
      local p = pool():attach(r)
      support.attempt(r, {})
      sockets.settle()
      local notes = sockets.note(p:getConnection(), true)
      run(function() return #notes == 1 end)
      assert.same({ "data 220 hello\r\n" }, notes)
      assert.equal(0, p:stats().unsolicited)
    end)
  end)

  describe("close", function()
    it("closes what is idle, and the rest when it is returned", function()
      local it = filled({}, 1, 2)
      local p, socket = it.pool, it.pool:getConnection()
      assert.equal(p, p:close())
      assert.equal(p, p:close())
      assert.is_true(it.sockets[2].closed)
      assert.is_false(socket.closed)
      local stats = p:stats()
      assert.same({ 1, 0, 1 }, { stats.size, stats.idle, stats.leased })
      assert.is_false(p:returnConnection(socket))
      assert.is_true(socket.closed)
      assert.equal(0, p:stats().size)
    end)

    it("leaves nothing to be had, and closes what is offered", function()
      local it = filled({}, 1)
      it.pool:close()
      local nothing, message, code = it.pool:getConnection()
      assert.is_nil(nothing)
      assert.same({ "the pool is closed", "ECANCELED" }, { message, code })
      local socket = it.offer(0) -- nobody listens to it any more
      assert.is_false(it.pool:newConnection(0, socket))
      assert.is_true(socket.closed)
    end)
  end)
end)
