local callosum = require "callosum.pool"
local pools = require "support.pools"
local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local filled, pool = pools.filled, pools.pool
local expect, met, misuse = support.expect, support.met, support.misuse
local run, uncaught = support.run, support.runUntilUncaught

-- Runs until every callback that is expected has come.
local function untilMet() run(met) end

-- Notes who is called, in order, and with what.
local function line()
  local calls = {}
  local function waiter(name, then_)
    return expect(function(socket, message, code)
      calls[#calls + 1] = { name = name, socket = socket, message = message,
        code = code }
      if then_ then then_(socket) end
    end)
  end
  return calls, waiter
end

-- Runs `fn` in a coroutine, which must end before the test does.
local function go(fn)
  local done = expect()
  local co = coroutine.create(function()
    fn()
    done()
  end)
  assert(coroutine.resume(co))
  return co
end

describe("the waiting line of a pool", function()
  describe("with callbacks", function()
    it("gives what is idle from the loop, not from within the call", function()
      local it = filled({}, 3)
      local calls, waiter = line()
      assert.equal("function", type(it.pool:requestConnection(waiter "a")))
      assert.same({}, calls)
      untilMet()
      assert.equal(it.sockets[3], calls[1].socket)
      local stats = it.pool:stats()
      assert.same({ 1, 0 }, { stats.leased, stats.waiting })
    end)

    it("gives what is returned to who came first", function()
      local it = filled({}, 3)
      local p, socket = it.pool, it.pool:getConnection()
      local calls, waiter = line()
      local function give(s) p:returnConnection(s) end
      for _, name in ipairs { "a", "b", "c" } do
        p:requestConnection(waiter(name, give))
      end
      assert.equal(3, p:stats().waiting)
      p:returnConnection(socket)
      untilMet()
      for i, name in ipairs { "a", "b", "c" } do
        assert.same({ name, 3 }, { calls[i].name, calls[i].socket.slot })
      end
      assert.equal(1, p:stats().idle)
    end)

    it("gives what the rover brings", function()
      local it = filled()
      local calls, waiter = line()
      it.pool:requestConnection(waiter "a")
      it.offer(8)
      untilMet()
      assert.equal(8, calls[1].socket.slot)
    end)

    it("lets nobody past by getConnection", function()
      local it = filled({}, 1, 2)
      local _, waiter = line()
      it.pool:requestConnection(waiter "a")
      assert.equal(1, it.pool:getConnection().slot) -- one is left for "a"
      assert.equal("EAGAIN", select(3, it.pool:getConnection()))
      untilMet()
      assert.equal(2, it.pool:stats().leased)
    end)

    it("serves the next when what was idle turns out to be closed", function()
      local it = filled({}, 1, 2)
      local calls, waiter = line()
      it.pool:requestConnection(waiter "a")
      it.pool:requestConnection(waiter "b", 40)
      it.sockets[1]:close()
      untilMet()
      assert.equal(2, calls[1].socket.slot)
      assert.equal("ETIMEDOUT", calls[2].code)
    end)

    it("ends at the deadline, each at its own", function()
      local p = pool { waitTimeout = 60 }
      local calls, waiter = line()
      local began = uv.hrtime()
      p:requestConnection(waiter "default")
      p:requestConnection(waiter "late", 80)
      p:requestConnection(waiter "soon", 20)
      p:requestConnection(waiter "now", 0)
      untilMet()
      assert.is_true(uv.hrtime() - began >= 80e6)
      local names = {}
      for i, call in ipairs(calls) do
        names[i] = call.name
        assert.is_nil(call.socket)
        assert.equal("ETIMEDOUT", call.code)
      end
      assert.same({ "now", "soon", "default", "late" }, names)
      assert.equal("no connection came within 20 ms", calls[2].message)
      assert.equal(0, p:stats().waiting)
    end)

    it("gives what came while the loop was held up, past the deadline",
        function()
      local it = { server = support.serve() }
      it.rover = support.rover { port = it.server.port }
      it.pool = pool():attach(it.rover)
      it.rover:connect()
      run(function() return it.server.peers[1] end)
      sockets.settle() -- it waits for the slot line
      local calls, waiter = line()
      it.pool:requestConnection(waiter "a", 20)
      it.server.peers[1]:write "3\r\n"
      uv.sleep(40)
      untilMet()
      assert.equal(3, calls[1].socket and calls[1].socket.slot)
    end)

    it("may be left, once, and then `fn` is not called", function()
      local it = filled()
      local calls, waiter = line()
      local cancel = it.pool:requestConnection(function() error "called" end)
      local stay = it.pool:requestConnection(waiter "a")
      assert.is_true(cancel())
      assert.is_false(cancel())
      assert.equal(1, it.pool:stats().waiting)
      it.offer(1)
      untilMet()
      assert.equal("a", calls[1].name)
      assert.is_false(stay())
    end)

    it("goes on when one leaves who was about to be served", function()
      local it = filled({}, 1)
      local _, waiter = line()
      local cancel = it.pool:requestConnection(function() error "called" end)
      it.pool:requestConnection(waiter "a")
      cancel()
      untilMet()
      assert.equal(1, it.pool:stats().leased)
    end)

    it("fails at once when it is full, and never calls back", function()
      local it = filled({ maxWaiting = 2 })
      local _, waiter = line()
      it.pool:requestConnection(waiter "a", 10)
      it.pool:requestConnection(waiter "b", 10)
      local nothing, message, code = it.pool:requestConnection(error)
      assert.is_nil(nothing)
      assert.same({ "the queue is full: 2 requests wait", "ENOBUFS" },
        { message, code })
      untilMet()
      it.pool:requestConnection(waiter "c", 10)
      untilMet()
    end)

    it("of 0 places serves what need not wait", function()
      local it = filled({ maxWaiting = 0 }, 1)
      local _, waiter = line()
      it.pool:requestConnection(waiter "a")
      assert.equal("ENOBUFS", select(3, it.pool:requestConnection(error)))
      untilMet()
      assert.equal("ENOBUFS", select(3, it.pool:requestConnection(error)))
    end)

    it("tells those in it when the pool is closed", function()
      local it = filled({}, 1)
      local calls, waiter = line()
      for _, name in ipairs { "a", "b" } do
        it.pool:requestConnection(waiter(name))
      end
      it.pool:close()
      assert.same({}, calls)
      untilMet()
      for _, call in ipairs(calls) do
        assert.same({ "the pool is closed", "ECANCELED" },
          { call.message, call.code })
      end
      assert.equal("ECANCELED", select(3, it.pool:requestConnection(error)))
    end)

    it("goes on behind a callback that raises, and closes its connection",
      function()
        local it = filled({}, 1, 2)
        local calls, waiter = line()
        it.pool:requestConnection(function() error "oh no" end)
        it.pool:requestConnection(waiter "a")
        assert.matches("oh no", uncaught())
        untilMet()
        assert.equal(2, calls[1].socket.slot)
        assert.is_true(it.sockets[1].closed)
        pools.reach(it.pool, { size = 1, leased = 1 })
      end)

    it("does not close what such a callback has returned", function()
      local it = filled({}, 1)
      it.pool:requestConnection(function(socket)
        it.pool:returnConnection(socket)
        error "oh no"
      end)
      assert.matches("oh no", uncaught())
      assert.equal(1, it.pool:getConnection().slot)
    end)

    it("leaves no timer behind, nor anything else", function()
      local p = callosum.new()
      for _ = 1, 3 do
        local _, waiter = line()
        p:requestConnection(waiter "a", 1)
        p:requestConnection(error)()
        untilMet()
      end
      run() -- until there is nothing left to do
    end)

    it("refuses what is no callback and no time", function()
      local p = callosum.new()
      misuse(function() p:requestConnection() end,
        "bad argument #1 to 'requestConnection' (function expected, got nil)")
      misuse(function() p:requestConnection(500) end,
        "bad argument #1 to 'requestConnection' (function expected, got 500)")
      misuse(function() p:requestConnection(print, -1) end,
        "bad argument #2 to 'requestConnection' (timeout: integer from 0 to "
          .. "2147483647 expected, got -1)")
      misuse(function() p:requestConnection(print, "5") end,
        "bad argument #2 to 'requestConnection' (timeout: integer from 0 to "
          .. "2147483647 expected, got '5')")
    end)
  end)

  describe("in coroutines", function()
    it("gives what is idle at once", function()
      local it = filled({}, 3)
      go(function()
        assert.equal(it.sockets[3], it.pool:awaitConnection())
      end)
      assert(met())
    end)

    it("waits for what is returned, in order", function()
      local it = filled({}, 3)
      local p, order = it.pool, {}
      local socket = p:getConnection()
      for i = 1, 300 do -- more than C lets coroutines resume one another
        go(function()
          local mine = p:awaitConnection()
          order[#order + 1] = i
          p:returnConnection(mine)
        end)
      end
      p:returnConnection(socket)
      untilMet()
      for i = 1, 300 do assert.equal(i, order[i]) end
    end)

    it("tells what went wrong as callbacks are told", function()
      local p = pool { maxWaiting = 1 }
      go(function()
        assert.same({ "no connection came within 10 ms", "ETIMEDOUT" },
          { select(2, p:awaitConnection(10)) })
        go(function()
          assert.equal("ECANCELED", select(3, p:awaitConnection()))
          assert.equal("ECANCELED", select(3, p:awaitConnection()))
        end)
        assert.equal("ENOBUFS", select(3, p:awaitConnection()))
        p:close()
      end)
      untilMet()
    end)

    it("goes on waiting when others resume the coroutine", function()
      local it = filled()
      local co = go(function()
        assert.equal(7, it.pool:awaitConnection().slot)
      end)
      coroutine.resume(co, "something else")
      coroutine.resume(co)
      it.offer(7)
      untilMet()
    end)

    it("leaves the line when the coroutine is closed", function()
      local it = filled()
      local co = coroutine.create(function() it.pool:awaitConnection() end)
      coroutine.resume(co)
      assert.equal(1, it.pool:stats().waiting)
      coroutine.close(co)
      assert.equal(0, it.pool:stats().waiting)
    end)

    it("lets errors out with their traceback, and closes the connection",
      function()
        local it = filled({}, 1)
        local p, socket = it.pool, it.pool:getConnection()
        local co = coroutine.create(function()
          p:awaitConnection()
          error "oh no"
        end)
        coroutine.resume(co)
        p:returnConnection(socket)
        local err = uncaught()
        assert.matches("oh no", err)
        assert.matches("pool_line_spec.lua:%d+: in function", err)
        assert.is_true(socket.closed)
      end)

    it("refuses what is no coroutine, and no time", function()
      local p = callosum.new()
      misuse(function() p:awaitConnection() end,
        "only a coroutine can wait like this; use requestConnection")
      go(function()
        misuse(function() p:awaitConnection(-1) end,
          "bad argument #1 to 'awaitConnection' (timeout: integer from 0 to "
            .. "2147483647 expected, got -1)")
      end)
    end)
  end)

  it("opens luv in a policy only once one has to wait", function()
    local server = pools.giving { 4 }
    local child = support.policy(([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new {
        servers = { s = { host = "127.0.0.1", port = %d } },
      }
      local p = require "callosum.pool".new { maxSlots = 1 }:attach(r)
      local function hasLuv() return package.loaded.luv ~= nil end
      r:once("connection", function()
        local before = hasLuv()
        local first = p:getConnection()
        local lent = hasLuv()
        coroutine.wrap(function()
          local second = p:awaitConnection()
          host.log.info("got", { before = before, lent = lent,
            waited = hasLuv(), slot = second.slot })
          p:close()
          second:close()
        end)()
        p:returnConnection(first)
        r:stop()
      end)
      r:start()
    ]]):format(server.port))
    local got = support.logged(child, "got")
    assert.same({ false, false, true, 4 },
      { got.before, got.lent, got.waited, got.slot })
    support.stop(child)
  end)

  it("is not there in the sandbox, and the rest of the pool is", function()
    local server = pools.giving { 4 }
    local child = support.policy(([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new {
        servers = { s = { host = "127.0.0.1", port = %d } },
      }
      local p = require "callosum.pool".new { maxSlots = 2,
        checkout = "ewma" }:attach(r)
      r:on("connection", function()
        local _, why, code = p:requestConnection(print)
        local socket = p:getConnection()
        host.log.info("got", { slot = socket.slot, code = code, why = why,
          kept = p:returnConnection(socket) })
        p:close()
      end)
      r:start()
    ]]):format(server.port), { flags = { "--sandbox" } })
    local got = support.logged(child, "got")
    assert.same({ 4, "ENOTSUP", true }, { got.slot, got.code, got.kept })
    assert.equal("waiting needs luv's timers: the sandbox has no luv", got.why)
    support.stop(child)
  end)
end)
