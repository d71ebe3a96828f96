local callosum = require "callosum.rover"
local support = require "support"
local uv = require "luv"

local attempt, record, rover = support.attempt, support.record, support.rover
local blackHole, closedPort = support.blackHole, support.closedPort
local misuse, run, serve = support.misuse, support.run, support.serve
local spawnLua = support.spawnLua

-- Servers a, b, c, ... on which nobody listens.
local function refusing(n)
  local servers, port = {}, closedPort()
  for i = 1, n do
    servers[string.char(96 + i)] = { host = "127.0.0.1", port = port }
  end
  return servers
end

-- Runs until the rover has made that many attempts, and they are over.
local function attempts(r, n)
  run(function()
    local stats = r:stats()
    return stats.attempts >= n and stats.inFlight == 0
  end)
end

-- Milliseconds from the loop's present to what it is to do next. There must be
-- nothing on it but a rover's clock: then this tells when the rover ticks,
-- without waiting for it.
local function due()
  run(function() return uv.backend_timeout() ~= 0 end)
  return uv.backend_timeout()
end

-- Checks a span that was measured from a little after its beginning.
local function near(wanted, measured)
  assert.is_true(measured <= wanted and measured > wanted - 500,
    ("%d is not near %d"):format(measured, wanted))
end

-- The ids that this rover picks, one after the other.
local function picks(r, n)
  local ids = {}
  r:on("unreachable", function(id)
    ids[#ids + 1] = id
    if #ids < n then assert(r:connect()) end
  end)
  r:connect()
  run(function() return #ids == n end)
  return ids
end

describe("roving", function()
  it("attempts at once", function()
    local server = serve { send = "0\r\n" }
    local r = rover { port = server.port, rovingInterval = 3600000 }
    local events = record(r)
    assert.equal(r, r:start())
    assert.same({}, events) -- but not before `start` returns
    run(function() return #events == 1 end)
    assert.equal(1, r:stats().attempts)
  end)

  it("attempts every interval after that", function()
    local server = serve { send = "0\r\n" }
    local r = rover { port = server.port, rovingInterval = 25 }
    local events = record(r)
    uv.update_time()
    local began = uv.now()
    r:start()
    run(function() return #events >= 5 end)
    assert.is_true(uv.now() - began >= 4 * 25)
  end)

  it("has an interval of a second unless told otherwise", function()
    local r = rover { port = closedPort() }
    local began
    r:on("unreachable", function() began = uv.now() end)
    r:start()
    attempts(r, 1)
    local left = due()
    near(1000, left + uv.now() - began)
  end)

  it("goes on after every outcome", function()
    local r = rover { rovingInterval = 2, slotTimeout = 10 }
    local events = record(r)
    local function reach(code)
      local seen = #events
      run(function()
        local last = #events > seen and events[#events]
        return last and code == (last.err and last.err.code)
      end)
    end
    r:start()
    reach "EDESTADDRREQ"
    for code, port in pairs {
      ECONNREFUSED = closedPort(), EOF = serve { finish = "close" }.port,
      EPROTO = serve { send = "x" }.port, ETIMEDOUT = serve().port,
    } do
      r:addServer("s", { host = "127.0.0.1", port = port })
      reach(code)
    end
    local server = serve { send = "0\r\n" }
    r:addServer("s", { host = "127.0.0.1", port = server.port })
    reach(nil)
  end)

  describe("started again", function()
    it("attempts at once again", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start()
      attempts(r, 1)
      r:start()
      attempts(r, 2)
    end)

    it("restarts the clock", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start()
      attempts(r, 1)
      local timer = uv.new_timer()
      local fired = false
      timer:start(50, 0, function()
        timer:close()
        fired = true
      end)
      run(function() return fired end)
      assert.is_true(due() <= 3600000 - 49)
      r:start()
      attempts(r, 2)
      assert.is_true(due() > 3600000 - 49)
    end)

    it("in the same turn is one start", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start():start():start()
      attempts(r, 1)
      due()
      assert.equal(1, r:stats().attempts)
    end)

    it("after a stop goes on", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start():stop():start()
      attempts(r, 1)
      r:stop():start()
      attempts(r, 2)
    end)
  end)

  describe("stopped", function()
    it("leaves nothing to do", function()
      local r = rover { servers = refusing(1), rovingInterval = 1 }
      r:start()
      attempts(r, 3)
      assert.equal(r, r:stop())
      local before = r:stats().attempts
      run()
      assert.equal(before, r:stats().attempts)
    end)

    it("before the first attempt makes none", function()
      local r = rover { servers = refusing(1) }
      r:start():stop()
      run()
      assert.equal(0, r:stats().attempts)
    end)

    it("from a handler ends the other attempts in silence", function()
      local server = serve()
      local r = rover { port = server.port, maxAttempts = 3 }
      local events = record(r)
      r:on("connection", function() r:stop() end)
      for _ = 1, 3 do assert(r:connect()) end
      run(function() return #server.peers == 3 end)
      server.peers[1]:write("1\r\n")
      server.peers[2]:write("2\r\n")
      server.peers[3]:write("3\r\n")
      run(function() return #events > 0 and r:stats().inFlight == 0 end)
      run(function()
        local ended = 0
        for _, peer in ipairs(server.peers) do
          if peer.ended or peer.closed then ended = ended + 1 end
        end
        return ended == 2
      end)
      assert.equal(1, #events)
      assert.equal(2, r:stats().cancelled)
      assert.equal(1, r:stats().kept)
    end)

    it("keeps the kept sockets", function()
      local server = serve { send = "0\r\n" }
      local r = rover { port = server.port }
      local event = attempt(r, record(r))
      r:stop()
      local got = ""
      event.socket:on("data", function(chunk) got = got .. chunk end)
      server.peers[1]:write("still here")
      run(function() return got == "still here" end)
      assert.same({ event.socket }, r:sockets())
    end)

    it("or not started, it may be stopped", function()
      local r = rover()
      assert.equal(r, r:stop():stop())
    end)
  end)

  describe("at an interval that is set", function()
    -- A rover that has ticked once at this interval, and when.
    local function ticked(interval)
      local r = rover { servers = refusing(1), rovingInterval = interval }
      local began
      r:on("unreachable", function() began = began or uv.now() end)
      r:start()
      attempts(r, 1)
      return r, began
    end

    it("keeps the last tick", function()
      local r, began = ticked(3600000)
      assert.equal(r, r:setRovingInterval(1800000))
      near(1800000, due() + uv.now() - began)
      r:setRovingInterval(7200000)
      near(7200000, due() + uv.now() - began)
      assert.equal(1, r:stats().attempts)
    end)

    it("ticks at once if that is overdue", function()
      local r = ticked(3600000)
      r:setRovingInterval(1)
      attempts(r, 4)
    end)

    it("does not start a rover", function()
      local r = rover { servers = refusing(1) }
      r:setRovingInterval(1)
      run()
      assert.equal(0, r:stats().attempts)
      r:setRovingInterval(3600000):start()
      attempts(r, 1)
      assert.is_true(due() > 1000)
    end)

    it("before the first attempt leaves that to come at once", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start():setRovingInterval(7200000)
      attempts(r, 1)
    end)
  end)

  it("tells its interval", function()
    local r = rover()
    assert.equal(1000, r:rovingInterval())
    assert.equal(7, r:setRovingInterval(7):rovingInterval())
    assert.equal(1, rover { rovingInterval = 1 }:rovingInterval())
  end)

  describe("roveIn", function()
    -- A rover of this interval that has attempted once.
    local function started(interval)
      local r = rover { servers = refusing(1), rovingInterval = interval }
      r:start()
      attempts(r, 1)
      return r
    end

    it("has the next attempt come sooner, once", function()
      local r = started(3600000)
      assert.is_true(r:roveIn(5))
      attempts(r, 2)
      near(3600000, due())
    end)

    it("has the next attempt come later, once", function()
      local r = started(50000)
      r:roveIn(3600000)
      near(3600000, due())
      r:roveIn(0)
      attempts(r, 2)
      near(50000, due())
    end)

    it("counts from now, and the last word counts", function()
      local r = started(50000)
      for _ = 1, 3 do
        r:roveIn(200000)
        near(200000, due())
      end
    end)

    it("counts from now, whatever held up the loop, as pauses do", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      attempts(r:start(), 1)
      uv.sleep(60)
      local now = uv.hrtime()
      r:roveIn(50)
      assert.is_true(r:dueIn() > 45 and r:dueIn() <= 50, r:dueIn())
      attempts(r, 2)
      assert.is_true(uv.hrtime() - now > 48e6)
      uv.sleep(60)
      assert(r:pauseServer("a", 50))
      assert.equal("EAGAIN", (select(3, r:connect())))
    end)

    it("before the first attempt leaves that to come at once", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      assert.is_true(r:start():roveIn(7200000))
      attempts(r, 1)
    end)

    it("starts no rover, and says so", function()
      local r = rover { servers = refusing(1) }
      assert.is_false(r:roveIn(0))
      run()
      assert.is_false(r:start():stop():roveIn(0))
      run()
      assert.equal(0, r:stats().attempts)
    end)

    it("refuses what is no time", function()
      local r = callosum.new()
      finally(function() r:close() end)
      local message = "bad argument #1 to 'roveIn' "
        .. "(delay: integer from 0 to 4294967295 expected, got %s)"
      misuse(function() r:roveIn(-1) end, message:format "-1")
      misuse(function() r:roveIn(1.5) end, message:format "1.5")
      misuse(function() r:roveIn() end, message:format "nil")
    end)
  end)

  describe("dueIn", function()
    it("tells when the next attempt is due", function()
      local r = rover { servers = refusing(1), rovingInterval = 50000 }
      assert.is_nil(r:dueIn())
      assert.equal(0, r:start():dueIn())
      attempts(r, 1)
      near(50000, r:dueIn())
      r:roveIn(200000)
      near(200000, r:dueIn())
      assert.is_nil(r:stop():dueIn())
    end)
  end)

  describe("with jitter", function()
    -- The intervals that a rover draws.
    local function intervals(options, n)
      options.servers = refusing(1)
      local r = rover(options)
      local drawn, began = {}, nil
      r:on("unreachable", function() began = uv.now() end)
      for i = 1, n do
        r:start()
        attempts(r, i)
        drawn[i] = due() + uv.now() - began
      end
      table.sort(drawn)
      return drawn
    end

    it("spreads each interval by that fraction", function()
      local drawn = intervals({ rovingInterval = 100000, jitter = 0.5 }, 200)
      assert.is_true(drawn[1] > 49500 and drawn[1] < 60000)
      assert.is_true(drawn[100] > 85000 and drawn[100] < 115000)
      assert.is_true(drawn[200] > 140000 and drawn[200] <= 150000)
    end)

    it("of 1 spreads them from nothing to double", function()
      local drawn = intervals({ rovingInterval = 100000, jitter = 1 }, 200)
      assert.is_true(drawn[1] > -500 and drawn[1] < 20000)
      assert.is_true(drawn[200] > 180000 and drawn[200] <= 200000)
    end)

    it("of 0, the default, keeps them as they are", function()
      local drawn = intervals({ rovingInterval = 100000 }, 20)
      near(100000, drawn[1])
      near(100000, drawn[20])
    end)

    it("of 1 and the shortest interval still ticks", function()
      local r = rover { servers = refusing(1), rovingInterval = 1, jitter = 1 }
      r:start()
      attempts(r, 20)
    end)
  end)

  describe("connect", function()
    it("makes one attempt, started or not", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      local events = record(r)
      assert.equal(r, r:connect())
      assert.same({}, events) -- the outcome never comes from within
      run()
      assert.equal(1, #events)
      assert.equal(1, r:stats().attempts)
      r:start()
      attempts(r, 2)
      r:connect()
      attempts(r, 3)
      assert.equal(3, #events)
    end)

    it("leaves the clock alone", function()
      local r = rover { servers = refusing(1), rovingInterval = 3600000 }
      r:start()
      attempts(r, 1)
      local before = due() + uv.now()
      r:connect()
      attempts(r, 2)
      assert.equal(before, due() + uv.now())
    end)

    it("from a busy handler of what fails at once leaves the loop its turns",
        function()
      local r, calls, over = rover(), 0, false
      r:on("error", function()
        calls = calls + 1
        local till = uv.hrtime() + 200000
        repeat until uv.hrtime() > till
        if not over and calls < 5000 then r:connect() end
      end)
      for _ = 1, 16 do r:connect() end
      local idle = uv.new_idle()
      idle:start(function() over = calls > 100 end)
      run(function() return over end)
      idle:close()
      assert.is_true(calls < 1000, calls)
    end)

    it("may be called from every handler, with a single attempt allowed too",
      function()
        for _, port in ipairs {
          closedPort(), serve { send = "1\r\n" }.port,
          serve { send = "x" }.port, serve { finish = "close" }.port,
        } do
          local r = rover { port = port, maxAttempts = 1 }
          local events = record(r)
          local function again()
            if #events < 5 then assert.equal(r, r:connect()) end
          end
          r:on("connection", again):on("unreachable", again):on("error", again)
          r:connect()
          run(function() return #events == 5 end)
          assert.equal(5, r:stats().attempts)
          assert.equal(0, r:stats().skipped)
        end
      end)

    it("may be called from handlers when there are no servers", function()
      local r = rover { maxAttempts = 1 }
      local errors = 0
      r:on("error", function()
        errors = errors + 1
        if errors < 5 then assert.equal(r, r:connect()) end
      end)
      r:connect()
      run()
      assert.equal(5, errors)
    end)
  end)

  describe("with `maxAttempts` in flight", function()
    it("skips and counts an attempt, and `connect` says so", function()
      local r = rover { port = blackHole(), maxAttempts = 2 }
      record(r)
      assert.equal(r, r:connect())
      assert.equal(r, r:connect())
      local nothing, message, code = r:connect()
      assert.is_nil(nothing)
      assert.equal("EAGAIN", code)
      assert.equal("string", type(message))
      local stats = r:stats()
      assert.equal(2, stats.attempts)
      assert.equal(2, stats.inFlight)
      assert.equal(1, stats.skipped)
    end)

    it("skips and counts ticks, without a word", function()
      local server = serve()
      local r = rover {
        port = server.port, rovingInterval = 1, maxAttempts = 3,
      }
      local events = record(r)
      r:start()
      run(function() return r:stats().skipped >= 5 end)
      assert.equal(3, r:stats().attempts)
      assert.same({}, events)
      -- And goes on once there is room.
      run(function() return #server.peers == 3 end)
      server.peers[1]:close()
      run(function() return r:stats().attempts == 4 end)
      assert.equal("EOF", events[1].err.code)
    end)

    it("allows 16 unless told otherwise", function()
      local r = rover { port = serve().port }
      record(r)
      for _ = 1, 16 do assert(r:connect()) end
      assert.equal("EAGAIN", select(3, r:connect()))
      assert.equal(16, r:stats().inFlight)
    end)

    it("does not count the kept sockets", function()
      local server = serve { send = "0\r\n" }
      local r = rover { port = server.port, maxAttempts = 1 }
      local events = record(r)
      for i = 1, 5 do
        attempt(r, events)
        assert.equal(i, #r:sockets())
      end
    end)
  end)

  describe("picks", function()
    it("servers uniformly", function()
      -- Chi square: above 30 once in 100,000 runs for 4 degrees of freedom.
      local n, servers = 3000, 5
      local counts = {}
      for _, id in ipairs(picks(rover { servers = refusing(servers) }, n)) do
        counts[id] = (counts[id] or 0) + 1
      end
      local expected, sum = n / servers, 0
      for id in pairs(refusing(servers)) do
        sum = sum + ((counts[id] or 0) - expected) ^ 2 / expected
      end
      assert.is_true(sum < 30)
    end)

    it("servers uniformly after many adds and drops", function()
      local r, port = rover(), closedPort()
      for i = 1, 100 do
        r:addServer("s" .. i, { host = "127.0.0.1", port = port })
      end
      for i = 1, 100 do
        if i % 20 ~= 0 then assert.is_true(r:dropServer("s" .. i)) end
      end
      local counts, kinds = {}, 0
      for _, id in ipairs(picks(r, 1000)) do
        if not counts[id] then kinds = kinds + 1 end
        counts[id] = (counts[id] or 0) + 1
      end
      assert.equal(5, kinds)
      for i = 20, 100, 20 do assert.is_true(counts["s" .. i] > 120) end
    end)

    it("the same with the same seed", function()
      local servers = refusing(7)
      local first = picks(rover { servers = servers, seed = 42 }, 100)
      assert.same(first, picks(rover { servers = servers, seed = 42 }, 100))
      local zero = picks(rover { servers = servers, seed = 0 }, 100)
      assert.same(zero, picks(rover { servers = servers, seed = 0 }, 100))
      assert.not_same(first, zero)
    end)

    it("others with another seed, or with none", function()
      local servers = refusing(7)
      local seen = {}
      for _, seed in ipairs { 1, 2, 3, -1, 0, math.mininteger, false, false } do
        local r = rover { servers = servers, seed = seed or nil }
        local ids = table.concat(picks(r, 100))
        assert.is_nil(seen[ids])
        seen[ids] = true
      end
    end)

    it("the same with the same seed in another process", function()
      local servers = {}
      for id in pairs(refusing(9)) do
        servers[#servers + 1] =
          ("[%q] = { host = '127.0.0.1', port = %d }"):format(id, closedPort())
      end
      local script = ([[
        local r = require "callosum.rover".new {
          seed = 42, servers = { %s },
        }
        local n = 0
        r:on("unreachable", function(id)
          io.write(id)
          n = n + 1
          if n < 50 then r:connect() end
        end)
        r:connect()
        require "luv".run()
      ]]):format(table.concat(servers, ", "))
      local first
      for _ = 1, 5 do
        local child = spawnLua(script)
        assert.equal(0, child:wait())
        assert.equal(50, #child.stdout)
        first = first or child.stdout
        assert.equal(first, child.stdout)
      end
    end)
  end)

  it("has each rover at its own rhythm", function()
    local fast = rover { servers = refusing(1), rovingInterval = 1 }
    local slow = rover { servers = refusing(1), rovingInterval = 3600000 }
    fast:start()
    slow:start()
    attempts(fast, 10)
    assert.equal(1, slow:stats().attempts)
    fast:stop()
    assert.is_true(due() > 1000)
  end)
end)
