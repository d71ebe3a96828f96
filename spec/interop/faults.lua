local real = require "support.real"
local support = require "support"
local uv = require "luv"

local ask, connect = real.ask, support.connect

describe("a front before Redis", function()
  local redis, front

  local function begin(options)
    redis = real.redis()
    front = real.front(redis.port, options)
  end

  -- Gets its slot.
  local function client(slot)
    local peer = connect(front.port)
    assert.equal(tostring(slot), peer:line())
    return peer
  end

  -- Is closed, and gets no slot line.
  local function turnedAway()
    local peer = connect(front.port)
    assert.is_nil(peer:waitEnd())
    assert.equal("", peer.received)
    peer:close()
  end

  local function killRedis()
    redis:kill "sigkill"
    redis:wait()
  end

  -- It is found to be up again by a check, and no slot is lost.
  local function comesBack()
    redis = real.redis(redis.port)
    front:waitFor "backend up\n"
    local peer = client(0)
    assert.equal("PONG", ask(peer, "PING"))
    peer:close()
    real.endsAtZero(front)
  end

  it("spares it 10,000 probes", function()
    begin()
    local direct = connect(redis.port)
    local before = real.redisCounts(direct, "total_connections_received")
    local begun, left = 0, 10000
    local function probe()
      if begun == 10000 then return end
      begun = begun + 1
      local handle = uv.new_tcp()
      handle:connect("127.0.0.1", front.port, function(err)
        assert(not err, err)
        handle:read_start(function(_, chunk)
          assert.matches("^%d+\r\n$", chunk)
          left = left - 1
          handle:close(probe)
        end)
      end)
    end
    for _ = 1, 100 do probe() end
    support.run(function() return left == 0 end)
    local stats = real.settles(front, function(s) return s.probes == 10000 end)
    assert.same({ 10000, 0, 0, 0, 0 }, { stats.accepted, stats.joined,
      stats.refused, stats.failed, stats.checks })
    assert.equal(before, real.redisCounts(direct, "total_connections_received"))
    direct:close()
    real.endsAtZero(front)
  end)

  it("is told that it is down when a first client has something to say",
    function()
      begin()
      killRedis()
      local peer = client(0):write "PING\r\n"
      assert.equal("ECONNRESET", peer:waitEnd())
      front:waitFor "backend down: .*refused"
      turnedAway()
      comesBack()
    end)

  it("ends those who are unused when it is found down", function()
    begin()
    local used, unused = client(0), client(1)
    killRedis()
    used:write "PING\r\n"
    assert.equal("ECONNRESET", used:waitEnd())
    assert.is_nil(unused:waitEnd())
    unused:close()
    turnedAway()
    comesBack()
  end)

  it("passes on that it died", function()
    begin()
    local peers = {}
    for i = 1, 8 do
      peers[i] = client(i - 1)
      assert.equal("PONG", ask(peers[i], "PING"))
    end
    killRedis()
    for _, each in ipairs(peers) do
      each:waitEnd()
      each:close()
    end
    local stats = real.settles(front, function(s) return s.open == 0 end)
    assert.equal(8, stats.ended + stats.reset)
    local peer = client(0):write "PING\r\n"
    assert.equal("ECONNRESET", peer:waitEnd())
    turnedAway()
    comesBack()
  end)

  -- A client that counts, one request at a time, and begins anew with those
  -- that were not answered. `on` is what it counts for.
  local function counter(on)
    local handle, gone, pause = uv.new_tcp(), false, uv.new_timer()
    local function again()
      if gone then return end
      gone = true
      pause:close()
      handle:close(function()
        if on.going then counter(on) else on.clients = on.clients - 1 end
      end)
    end
    local function count()
      if not on.going then return again() end
      handle:write("INCR n\r\n")
    end
    local received = ""
    handle:connect("127.0.0.1", front.port, function(err)
      assert(not err, err)
      handle:read_start(function(_, chunk)
        if not chunk then
          -- Who is turned away waits.
          if received ~= "" then return again() end
          pause:start(20, 0, again)
          return
        end
        received = received .. chunk
        local first, last, sign = received:find "([:%d])%d*\r\n"
        if not first then return end
        if sign == ":" then on.answers = on.answers + 1 end
        received = " " .. received:sub(last + 1)
        pause:start(math.random(0, 20), 0, count)
      end)
    end)
  end

  it("loses no request when it drains, and passes none on that it then resets",
    function()
      begin { quietTime = 2 }
      local on = { going = true, clients = 50, answers = 0 }
      for _ = 1, on.clients do counter(on) end
      for round = 1, 3 do
        local enough = on.answers + 2000
        support.run(function() return on.answers > enough end)
        local drained = real.stats(front).drained
        front:write "drain 1000\n"
        local stats = real.settles(front, function(s) return s.open == 0 end)
        assert.is_true(stats.drained >= drained + 25, round)
        assert.equal(0, stats.reset)
        front:write "resume\n"
      end
      on.going = false
      support.run(function() return on.clients == 0 end)
      local direct = connect(redis.port)
      assert.equal(tostring(on.answers), ask(direct, "GET", "n"))
      direct:close()
      real.endsAtZero(front)
    end)

  it("is replaced after a kill -9, and nothing of it stays", function()
    begin()
    local relay = real.relay { front.port }
    local direct = connect(redis.port)
    local peers = {}
    for i = 1, 4 do
      peers[i] = connect(relay.port)
      assert.equal("PONG", ask(peers[i], "PING"))
    end
    assert.equal(5, real.redisCounts(direct, "connected_clients"))
    front:kill "sigkill"
    front:wait()
    for _, each in ipairs(peers) do
      each:waitEnd()
      each:close()
    end
    support.eventually(function()
      return real.redisCounts(direct, "connected_clients") == 1
    end)
    direct:close()
    front = real.front(redis.port, { listen = { port = front.port } })
    local peer = connect(relay.port)
    assert.equal("PONG", ask(peer, "PING"))
    peer:close()
    support.stop(relay)
    real.endsAtZero(front)
  end)
end)
