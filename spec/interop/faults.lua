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

  -- Its queue has room for two then.
  local function stopRedis()
    local direct = connect(redis.port)
    assert.equal("PONG", ask(direct, "PING"))
    direct:close()
    redis:kill "sigstop"
    redis:waitStopped()
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
    local child = support.policy(([[
      local rover = require "callosum.rover".new { maxAttempts = 100, servers =
        { front = { host = "127.0.0.1", port = %d } } }
      local begun, answered = 0, 0
      local function probe()
        if begun == 10000 then return end
        begun = begun + 1
        rover:connect()
      end
      rover:on("connection", function(_, socket)
        answered = answered + 1
        socket:close()
        if answered == 10000 then print "done" end
        probe()
      end)
      for _ = 1, 100 do probe() end
    ]]):format(front.port))
    child:waitFor "done\n"
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

  it("waits for it when it is slow to accept", function()
    redis = real.redis(nil, "--tcp-backlog", "1")
    front = real.front(redis.port, { connectTimeout = 100 })
    local early = client(0)
    stopRedis()
    -- The kernel takes in so many, and no more.
    early:write "PING\r\n"
    local second = client(1):write "PING\r\n"
    real.settles(front, function(s) return s.running == 2 end)
    for _ = 1, 3 do
      assert.equal("ECONNRESET", client(2):write("PING\r\n"):waitEnd())
    end
    front:waitFor "backend down: .*timed out"
    turnedAway()
    redis:kill "sigcont"
    assert.equal("+PONG", early:line())
    assert.equal("+PONG", second:line())
    early:close()
    second:close()
    front:waitFor "backend up\n"
    real.endsAtZero(front)
  end)

  it("is not failed by a queue that is full for a moment", function()
    redis = real.redis(nil, "--tcp-backlog", "1")
    front = real.front(redis.port)
    stopRedis()
    local first, second = connect(redis.port), connect(redis.port)
    support.run(function() return first.connected and second.connected end)
    local peer = client(0):write "PING\r\n"
    real.settles(front, function(s) return s.unused == 0 end)
    redis:kill "sigcont"
    -- The kernel asks again after a second.
    assert.equal("+PONG", peer:line())
    for _, each in ipairs { first, second, peer } do each:close() end
    assert.equal(0, real.stats(front).failed)
    real.endsAtZero(front)
  end)

  it("passes on what it says when it is full, and does not take that for down",
    function()
      redis = real.redis(nil, "--maxclients", "3")
      front = real.front(redis.port)
      local peers = {}
      for i = 1, 3 do
        peers[i] = client(i - 1)
        assert.equal("PONG", ask(peers[i], "PING"))
      end
      for _ = 1, 5 do
        -- It says so without having read, and closes: by a reset.
        local peer = client(3):write "PING\r\n"
        peer:waitEnd()
        assert.equal("-ERR max number of clients reached\r\n", peer.received)
        peer:close()
        real.settles(front, function(s) return s.open == 3 end)
      end
      peers[2]:close()
      real.settles(front, function(s) return s.open == 2 end)
      local peer = client(1)
      assert.equal("PONG", ask(peer, "PING"))
      for _, each in ipairs { peer, peers[1], peers[3] } do each:close() end
      assert.equal(0, real.stats(front).failed)
      real.endsAtZero(front)
    end)

  it("spares it those who take a slot and say nothing", function()
    begin { maxClients = 200 }
    local direct = connect(redis.port)
    local silent = {}
    for i = 1, 199 do silent[i] = connect(front.port) end
    real.settles(front, function(s) return s.unused == 199 end)
    local peer = client(199)
    assert.equal("PONG", ask(peer, "PING"))
    turnedAway()
    assert.equal(2, real.redisCounts(direct, "connected_clients"))
    for _, each in ipairs(silent) do each:close() end
    peer:close()
    direct:close()
    real.endsAtZero(front)
  end)

  it("passes on resets, either way", function()
    begin()
    local direct = connect(redis.port)
    local peer = client(0)
    local id = ask(peer, "CLIENT", "ID")
    local blocked = client(1):write "BLPOP list 0\r\n"
    real.settles(front, function(s) return s.running == 2 end)
    blocked:reset()
    support.eventually(function()
      return real.redisCounts(direct, "connected_clients") == 2
    end)
    assert.equal(1, ask(direct, "CLIENT", "KILL", "ID", id))
    peer:waitEnd()
    peer:close()
    direct:close()
    real.endsAtZero(front)
  end)

  it("serves whom it can while descriptors are used up", function()
    begin()
    real.stats(front)
    local most = support.descriptors(front) + 20
    real.runs(real.find("prlimit", "util-linux"), { "--pid",
      tostring(front.pid), ("--nofile=%d"):format(most) })
    local peers, served = {}, 0
    for i = 1, 60 do peers[i] = connect(front.port):write "PING\r\n" end
    front:waitFor "error: cannot .* no descriptors left"
    for _, each in ipairs(peers) do
      support.run(function()
        return each.ended or each.closed or each.received:find "PONG"
      end)
      if each.received:find "PONG" then served = served + 1 end
    end
    assert.is_true(served > 0)
    assert.equal(served, real.stats(front).running)
    for _, each in ipairs(peers) do each:close() end
    real.endsAtZero(front)
    assert.is_nil(front.output:find("backend down", 1, true))
    local peer = client(0)
    assert.equal("PONG", ask(peer, "PING"))
    peer:close()
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
      -- A slow machine has requests under way at the deadline, one of each that
      -- is reset then.
      local direct = connect(redis.port)
      local unanswered = ask(direct, "GET", "n") - on.answers
      assert.is_true(unanswered >= 0, unanswered)
      assert.is_true(unanswered <= real.stats(front).cut, unanswered)
      direct:close()
      real.endsAtZero(front)
    end)

  it("loses no request that takes less long than a drain", function()
    begin { quietTime = 20 }
    local peers = {}
    for i = 1, 20 do
      peers[i] = client(i - 1)
        :write(("BLPOP list %g\r\nINCR n\r\n"):format(i * 0.04))
    end
    real.settles(front, function(s) return s.running == 20 end)
    front:write "drain 1500\n"
    for _, each in ipairs(peers) do
      assert.is_nil(each:waitEnd())
      assert.matches("^%*%-1\r\n:%d+\r\n$", each.received)
      each:close()
    end
    assert.equal(20, real.settles(front, function(s) return s.open == 0 end)
      .drained)
    front:write "resume\n"
    real.stats(front) -- after that
    local peer = client(0)
    assert.equal("20", ask(peer, "GET", "n"))
    peer:close()
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
