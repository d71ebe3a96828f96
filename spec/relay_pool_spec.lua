local pool = require "callosum.pool"
local relays = require "support.relays"
local support = require "support"

local connect, reached, run = relays.connect, relays.reached, support.run

-- callosum.relay and callosum.pool are made to be used together.
describe("a relay that picks from a pool", function()
  local rover, server, p

  -- A pool that holds `n` connections, and no more by itself.
  local function pooled(n, options, script)
    server = support.serve(script or { send = "0\r\n" })
    rover = support.rover { port = server.port }
    p = pool.new(options):attach(rover)
    finally(function() p:close() end)
    for _ = 1, n do rover:connect() end
    run(function() return p:stats().idle == n end)
  end

  -- Has clients come one after the other, each with its number to say.
  local function come(relay, from, to)
    local clients = {}
    for i = from, to do
      clients[i] = connect(relay):write(i .. "\n")
      reached(relay, "accepted", i)
    end
    return clients
  end

  -- The numbers that reached the servers, in the order of the connections.
  local function said()
    local list = {}
    for i, peer in ipairs(server.peers) do
      list[i] = tonumber(peer.received) or 0
    end
    return list
  end

  local function saying(...)
    local expected = { ... }
    run(function() return #said() == #expected end)
    run(function()
      local list = said()
      table.sort(list)
      for i, number in ipairs(expected) do
        if list[i] ~= number then return false end
      end
      return true
    end)
  end

  it("takes what is idle, and who is left waits for the next", function()
    pooled(2)
    local relay = relays.relay {
      pick = function() return p:getConnection() end,
    }
    come(relay, 1, 4)
    saying(1, 2)
    assert.same({ 2, 2 }, { relay:stats().running, relay:stats().waiting })
    -- What was joined is not the pool's any more.
    run(function() return p:stats().size == 0 end)
    assert.equal(0, p:stats().leased)
    rover:connect()
    saying(1, 2, 3)
    rover:connect()
    saying(1, 2, 3, 4)
    assert.equal(0, relay:stats().waiting)
  end)

  it("tells what the pool says when a client waited in vain", function()
    pooled(0)
    local relay, errors = relays.relay { waitTimeout = 20,
      pick = function() return p:getConnection() end }
    connect(relay):waitEnd()
    assert.equal("no socket for a client in 20 ms: "
      .. select(2, p:getConnection()), errors[1].message)
  end)

  it("may wait in the pool's line", function()
    pooled(1)
    local relay = relays.relay {
      pick = function() return p:awaitConnection() end,
    }
    come(relay, 1, 3)
    saying(1)
    assert.equal(2, p:stats().waiting)
    rover:connect()
    saying(1, 2)
    rover:connect()
    saying(1, 2, 3)
    assert.equal(0, p:stats().waiting)
  end)

  it("leaves the line with its client", function()
    pooled(0)
    local closed = 0
    local relay, errors = relays.relay { waitTimeout = 300, maxClients = 101,
      pick = function()
        local _ <close> = setmetatable({}, { __close = function()
          closed = closed + 1
        end })
        return assert(p:awaitConnection())
      end }
    for i = 1, 100 do
      local client = connect(relay)
      reached(relay, "waiting")
      client:close()
      reached(relay, "gone", i)
    end
    assert.same({ 0, 100 }, { p:stats().waiting, closed })
    local waiting = connect(relay)
    run(function() return p:stats().waiting == 1 end)
    waiting:waitEnd()
    assert.same({ 1, 0, 101 }, { relay:stats().expired, p:stats().waiting,
      closed })
    assert.matches("^no socket for a client in 300 ms$", errors[1].message)
    local last = connect(relay):write "1"
    reached(relay, "waiting")
    rover:connect()
    saying(1)
    assert.is_false(last.ended)
    assert.same({ 1, 1 }, { #server.peers, relay:stats().joined })
  end)

  it("leaves it with one that is refused", function()
    pooled(0)
    local client
    local relay = relays.relay { pick = function(c)
      client = c
      return p:awaitConnection()
    end }
    connect(relay)
    reached(relay, "waiting")
    client:refuse()
    run(function() return p:stats().waiting == 0 end)
  end)

  it("leaves a connection in the pool that its client needs no more",
      function()
    local refused, joined
    pooled(1)
    local other = support.rover { port = server.port }
    other:on("connection", function(_, socket)
      refused:refuse()
      assert(joined:join(socket))
    end)
    local held = assert(p:getConnection())
    local calls = 0
    local relay = relays.relay { pick = function(c)
      calls, refused, joined = calls + 1, joined, c
      return p:awaitConnection()
    end }
    come(relay, 1, 2)
    assert.equal(2, p:stats().waiting)
    other:connect()
    reached(relay, "joined")
    p:returnConnection(held)
    run(function() return p:stats().waiting == 0 end)
    assert.same({ 1, 1, 0 }, { p:stats().size, p:stats().idle,
      p:stats().leased })
    assert.equal(2, calls)
  end)

  it("knows its client, joined or not, before and after it has waited",
      function()
    local module, kept = require "callosum.relay", relays.kept(1)
    local known, waiting = {}, nil
    local function note(client)
      collectgarbage()
      known[#known + 1] = module.client() == client
      known[#known + 1] = coroutine.wrap(module.client)() == nil
    end
    local own = relays.relay { pick = function(client)
      note(client)
      assert(client:join(kept:sockets()[1]))
      note(client)
      waiting = coroutine.running()
      coroutine.yield()
      note(client)
    end }
    relays.connect(own)
    relays.reached(own, "running")
    assert(coroutine.resume(waiting))
    assert.same({ true, true, true, true, true, true }, known)
    assert.is_nil(module.client())
  end)

  it("cannot wait for a client that has gone", function()
    pooled(1)
    local result
    local relay = relays.relay { pick = function(client)
      client:refuse()
      result = table.pack(p:awaitConnection())
    end }
    connect(relay):waitEnd()
    assert.same({ nil, "the client is no longer waiting", "ECANCELED",
      n = 3 }, result)
    assert.equal(1, p:stats().idle)
  end)

  it("gives the pool back what came too late", function()
    pooled(0)
    local relay = relays.relay {
      pick = function()
        local this = coroutine.running()
        p:requestConnection(function(...)
          assert(coroutine.resume(this, ...))
        end)
        return coroutine.yield()
      end,
      returnSocket = function(socket) p:returnConnection(socket) end,
    }
    local client = connect(relay)
    reached(relay, "waiting")
    client:close()
    reached(relay, "gone")
    assert.equal(1, p:stats().waiting)
    rover:connect()
    run(function() return p:stats().idle == 1 end)
    client = connect(relay):write "x"
    server.peers[1]:take "x"
    assert.is_false(client.ended)
  end)

  it("may wait by a function, and leave the line with its client", function()
    pooled(0)
    local relay, errors = relays.relay { pick = function(client)
      local cancel = assert(p:requestConnection(function(socket, message)
        if not socket then return client:refuse(message) end
        assert(client:join(socket))
      end, 100))
      client:on("close", cancel)
    end }
    local gone = connect(relay)
    reached(relay, "waiting")
    connect(relay):write "2"
    reached(relay, "waiting", 2)
    gone:close()
    reached(relay, "gone")
    assert.equal(1, p:stats().waiting)
    rover:connect()
    saying(2)
    connect(relay):waitEnd()
    assert.equal("ECANCELED", errors[1].code)
    assert.equal(0, p:stats().waiting)
  end)

  it("serves many clients with few connections", function()
    pooled(4, { maxSlots = 4 }, { send = "0\r\n", connection = function(peer)
      peer.handle:read_stop()
      peer.handle:read_start(function(_, chunk)
        if not chunk then return peer:close() end
        peer.handle:write(chunk)
        peer.handle:shutdown()
      end)
    end })
    local relay = relays.relay { pick = function()
      rover:connect() -- one for the one that is taken
      return p:getConnection()
    end }
    local come_, answered = 0, 0
    local function next_()
      if come_ == 200 then return end
      come_ = come_ + 1
      local client = connect(relay)
      client:write(come_ .. "\n")
      client.handle:read_stop()
      local answer = ""
      client.read = function(self)
        self.handle:read_start(function(_, chunk)
          if chunk then
            answer = answer .. chunk
            return
          end
          self:close()
          if answer:find "^%d+\n$" then answered = answered + 1 end
          next_()
        end)
      end
    end
    for _ = 1, 10 do next_() end
    run(function() return answered == 200 end)
    reached(relay, "ended", 200)
  end)
end)
