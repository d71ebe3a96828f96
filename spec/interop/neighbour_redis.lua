-- What callosum-neighbours(7) says of Redis.

local neighbours = require "support.neighbours"
local real = require "support.real"
local support = require "support"

local row, complete, seen = neighbours.section("REDIS", it)

local ask, connect = real.ask, support.connect

-- The words of a configuration, as arguments.
local function arguments(conf)
  local list = {}
  for line in conf:gmatch "[^\n]+" do
    local first = true
    for word in line:gmatch "%S+" do
      list[#list + 1] = first and "--" .. word or word
      first = false
    end
  end
  return table.unpack(list)
end

-- The slot that a front gives, or nil.
local function slot(port)
  local peer = connect(port)
  support.run(function()
    return peer.ended or peer.closed or peer.received:find "\n"
  end)
  peer:close()
  return tonumber(peer.received)
end

local VERSION = neighbours.output("redis-server", "--version")
  :match "v=(%d+%.%d+)"

describe("Redis", function()
  seen(VERSION)

  row("A replica that has lost its master answers with old data",
    function(example)
      local dead = tostring(support.closedPort())
      local old = real.redis(nil, "--replicaof", "127.0.0.1", dead)
      local peer = connect(old.port)
      assert.is_nil(ask(peer, "GET", "key"))
      peer:close()
      local redis = real.redis(nil, "--replicaof", "127.0.0.1", dead,
        arguments(example "redis.conf"))
      peer = connect(redis.port):write "PING\r\n"
      assert.matches("^%-MASTERDOWN", peer:line())
      -- To a front that only connects it is up.
      assert.equal(0, slot(real.front(redis.port).port))
      local port = support.freePorts(1)
      local policy = neighbours.policy(example("policy.lua", {
        ['"192.0.2.11", port = 4040'] = '"127.0.0.1", port = ' .. port,
        ["192.0.2.0/24"] = "127.0.0.1", ["6379"] = redis.port,
        ["1000, function"] = "100, function" }))
      local function becomes(up)
        support.eventually(function() return (slot(port) ~= nil) == up end)
      end
      becomes(false)
      assert.equal("OK", ask(peer, "REPLICAOF", "NO", "ONE"))
      becomes(true)
      redis:kill "sigstop"
      becomes(false)
      redis:kill "sigcont"
      becomes(true)
      redis:kill "sigkill"
      becomes(false)
      peer:close()
      support.stop(policy)
    end)

  row("Its maxclients may be less than is written", function(example)
    local function limited(most, ...)
      local port = support.freePorts(1)
      local child = real.serve(real.find("prlimit", "util-linux"), {
        ("--nofile=%d:%d"):format(most, most),
        real.find("redis-server", "redis-server"), "--port", port, "--bind",
        "127.0.0.1", "--save", "", "--dir", real.dir(), ... })
      real.reachable(child, port)
      local peer = connect(port)
      local answer = ask(peer, "CONFIG", "GET", "maxclients")
      peer:close()
      return port, answer[2]
    end
    assert.equal("992", (select(2, limited(1024))))
    local port, most = limited(100, "--maxclients", "1000")
    assert.equal("68", most)
    local ours = support.freePorts(1)
    local door = neighbours.command(example("command", {
      ["192.0.2.11:4040"] = "127.0.0.1:" .. ours,
      ["192.0.2.0/24"] = "127.0.0.1", ["6379"] = port, ["980"] = 66 }))
    local peers = {}
    for i = 1, 66 do
      peers[i] = connect(ours)
      peers[i]:line()
      assert.equal("PONG", ask(peers[i], "PING"))
    end
    assert.is_nil(slot(ours))
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(door)
  end)

  row("It takes a FIN for the end of its client", function()
    local redis = real.redis()
    local door = real.front(redis.port)
    local relay = real.relay { door.port }
    for _, port in ipairs { redis.port, relay.port } do
      local peer = connect(port):write(("PING\r\n"):rep(1000)):shutdown()
      assert.is_nil(peer:waitEnd())
      assert.equal(("+PONG\r\n"):rep(1000), peer.received)
      peer:close()
      peer = connect(port):write "BLPOP list 0\r\n"
      support.eventually(function()
        local other = connect(redis.port)
        local count = real.redisCounts(other, "blocked_clients")
        other:close()
        return count == 1
      end)
      peer:shutdown()
      assert.is_nil(peer:waitEnd())
      assert.equal("", peer.received)
      peer:close()
    end
    support.stop(relay)
    assert.equal(0, real.settles(door, function(s)
      return s.running == 0
    end).cut) -- not after halfCloseTimeout
  end)

  row("A cluster sends clients past the relay", function(example)
    local ports = { support.freePorts(2) }
    local entrance = support.freePorts(1)
    local peers, fronts, hosts = {}, {}, { "127.0.0.2", "127.0.0.3" }
    local function node(i, ...)
      local port = ports[i]
      local child = real.serve(real.find("redis-server", "redis-server"), {
        "--bind", hosts[i], "--bind-source-addr", hosts[i], "--save", "",
        "--dir", real.dir(), ... })
      support.eventually(function()
        assert(not child.code, child.output)
        local peer = connect(port, hosts[i])
        support.run(function() return peer.connected or peer.closed end)
        if peer.closed then return false end
        peers[i] = peer
        return true
      end)
      return child
    end
    for i, port in ipairs(ports) do
      node(i, arguments(example("redis.conf", { ["7001"] = port })))
      fronts[i] = support.policy(([[require "callosum.front".new {
        listen = { host = %q, port = %d }, backend = { host = %q, port = %d } }
      ]]):format(hosts[i], entrance, hosts[i], port))
      fronts[i]:waitFor "policy loaded"
    end
    ask(peers[1], "CLUSTER", "ADDSLOTSRANGE", 0, 8191)
    ask(peers[2], "CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    ask(peers[1], "CLUSTER", "MEET", hosts[2], ports[2])
    for i = 1, 2 do
      support.eventually(function()
        return ask(peers[i], "CLUSTER", "INFO"):find "cluster_state:ok"
      end, 30)
    end
    local function moved()
      peers[1]:write "GET foo\r\n"
      return peers[1]:line()
    end
    assert.equal("-MOVED 12182 localhost:" .. ports[2], moved())
    local policy = support.policy(example("policy.lua", {
      ["[7001]"] = ("[%d]"):format(ports[1]),
      ["[7002]"] = ("[%d]"):format(ports[2]),
      ["192.0.2.11"] = hosts[1], ["192.0.2.12"] = hosts[2],
      ["4040"] = entrance }))
    policy:waitFor "policy loaded"
    local function cli(...)
      return real.runs(real.find("redis-cli", "redis-tools"),
        { "-c", "-h", "127.0.0.1", "-p", ports[1], ... })
    end
    assert.equal("OK\n", cli("SET", "foo", "bar"))
    assert.equal("bar\n", cli("GET", "foo"))
    -- As it is otherwise.
    local function prefers(kind)
      assert.equal("OK", ask(peers[1], "CONFIG", "SET",
        "cluster-preferred-endpoint-type", kind))
    end
    prefers "ip"
    assert.equal(("-MOVED 12182 %s:%d"):format(hosts[2], ports[2]), moved())
    prefers "unknown-endpoint"
    assert.equal("-MOVED 12182 :" .. ports[2], moved())
    local child = real.starts(real.find("redis-cli", "redis-tools"),
      { "-c", "-h", "127.0.0.1", "-p", ports[1], "GET", "foo" })
    child:wait()
    assert.equal(VERSION == "7.0" and "" or "bar\n", child.stdout)
  end)

  complete()
end)
