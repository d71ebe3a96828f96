local real = require "support.real"
local support = require "support"

local ask, connect = real.ask, support.connect

describe("Redis behind relay and front", function()
  local redis, front, relay

  local function begin(options)
    redis = real.redis()
    front = real.front(redis.port)
    relay = real.relay({ front.port }, options)
  end

  local function ends()
    support.stop(relay)
    real.endsAtZero(front)
    support.stop(front)
  end

  it("bears its benchmark", function()
    begin { maxSlots = 20 }
    local text = real.runs(real.find("redis-benchmark", "redis-tools"), {
      "-p", tostring(relay.port), "-c", "16", "-n", "5000", "-d", "500",
      "-t", "ping,set,get,incr,lpush,lpop,lrange_100,mset", "--csv" })
    assert.equal(10, select(2, text:gsub("\n\"", "")), text)
    text = real.runs(real.find("redis-benchmark", "redis-tools"), {
      "-p", tostring(relay.port), "-c", "16", "-n", "50000", "-P", "32",
      "-d", "3", "-t", "set,get", "--csv" })
    assert.equal(2, select(2, text:gsub("\n\"", "")), text)
    local peer = connect(redis.port)
    assert.equal("5000", ask(peer, "GET", "counter:__rand_int__"))
    assert.equal(0, real.redisCounts(peer, "rejected_connections"))
    peer:close()
    ends()
  end)

  it("gives back what it was given, byte for byte", function()
    begin()
    local file <close> = assert(io.open "/dev/urandom")
    local value = file:read(8 << 20)
    local peer = connect(relay.port)
    assert.equal("OK", ask(peer, "SET", "key", value))
    assert.is_true(ask(peer, "GET", "key") == value)
    peer:close()
    local direct = connect(redis.port)
    assert.is_true(ask(direct, "GET", "key") == value)
    direct:close()
    ends()
  end)

  it("lets a client wait for what another brings", function()
    begin()
    local waiting, other = connect(relay.port), connect(relay.port)
    waiting:write "BLPOP list 0\r\n"
    real.settles(front, function(s) return s.running == 1 end)
    assert.equal(1, ask(other, "RPUSH", "list", "value"))
    assert.same({ "list", "value" }, real.answer(waiting))
    waiting:close()
    other:close()
    ends()
  end)

  it("publishes to all subscribers in order", function()
    begin()
    local subscribers = {}
    for i = 1, 4 do
      subscribers[i] = connect(relay.port)
      assert.same({ "subscribe", "news", 1 },
        ask(subscribers[i], "SUBSCRIBE", "news"))
    end
    local other = connect(relay.port)
    for i = 1, 500 do assert.equal(4, ask(other, "PUBLISH", "news", i)) end
    for _, each in ipairs(subscribers) do
      for i = 1, 500 do
        assert.same({ "message", "news", tostring(i) }, real.answer(each))
      end
      each:close()
    end
    other:close()
    ends()
  end)

  it("keeps a transaction to one connection", function()
    begin()
    local one, other = connect(relay.port), connect(relay.port)
    assert.equal("OK", ask(one, "MULTI"))
    for _ = 1, 100 do assert.equal("QUEUED", ask(one, "INCR", "n")) end
    assert.is_nil(ask(other, "GET", "n"))
    assert.equal(100, #ask(one, "EXEC"))
    assert.equal("100", ask(other, "GET", "n"))
    -- What another has changed meanwhile undoes it.
    assert.equal("OK", ask(one, "WATCH", "n"))
    assert.equal(101, ask(other, "INCR", "n"))
    assert.equal("OK", ask(one, "MULTI"))
    assert.equal("QUEUED", ask(one, "INCR", "n"))
    assert.is_nil(ask(one, "EXEC"))
    one:close()
    other:close()
    ends()
  end)
end)
