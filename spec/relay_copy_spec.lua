local support = require "support"
local relays = require "support.relays"
local sockets = require "support.sockets"
local uv = require "luv"

local MANY = 4 * 1024 * 1024 -- bytes
local PLENTY = 2 * sockets.PLENTY -- more than all buffers on the way hold
local bytes = sockets.bytes(MANY)
local plenty = ("0123456789abcde\n"):rep(PLENTY // 16)

-- Each test for both kinds of clients.
for kind, listen in pairs {
  TCP = function() return { port = 0 } end,
  Unix = function() return { path = relays.path() } end,
} do
  describe("a client of callosum.relay, joined by " .. kind, function()
    local function pair(options)
      local own = { listen = listen() }
      for name, value in pairs(options or {}) do own[name] = value end
      return relays.pair(own)
    end

    it("gets what the server sends, and the server what it sends", function()
      local client, server, relay = pair()
      client:write("to the server")
      assert.equal("to the server", server:take "^to the server")
      server:write("to the client")
      assert.equal("to the client", client:take "^to the client")
      for i = 1, 100 do
        client:write(("ping %d\n"):format(i))
        server:take(("^ping %d\n"):format(i))
        server:write(("pong %d\n"):format(i))
        client:take(("^pong %d\n"):format(i))
      end
      local s = relay:stats()
      assert.equal(13 + 792, s.received)
      assert.equal(13 + 792, s.sent)
    end)

    it("loses nothing that was sent before it was joined", function()
      local rover, server = relays.kept(1, nil, { send = "0\r\nhello" })
      local waiting
      local relay = relays.relay { listen = listen(), pick = function(c)
        waiting = c
      end }
      local client = relays.connect(relay):write("already here")
      relays.reached(relay, "waiting")
      sockets.settle()
      assert(waiting:join(rover:sockets()[1]))
      assert.equal("hello", client:take "^hello")
      assert.equal("already here", server.peers[1]:take "^already here")
    end)

    it("exchanges megabytes both ways at once, through slow readers",
        function()
      local client, server, relay = pair()
      local up, down = bytes, bytes:reverse()
      local atServer, atClient = relays.sip(server), relays.sip(client)
      relays.chop(client, up)
      relays.chop(server, down)
      client:shutdown()
      server:shutdown()
      support.run(function() return atServer.over and atClient.over end, 60)
      sockets.same(up, atServer.text())
      sockets.same(down, atClient.text())
      relays.reached(relay, "ended")
      local s = relays.checkStats(relay)
      assert.same({ MANY, MANY }, { s.received, s.sent })
    end)

    it("exchanges megabytes with fast readers", function()
      local client, server, relay = pair()
      local up, down = bytes .. bytes:reverse(), bytes .. bytes
      local atServer, atClient = relays.gather(server), relays.gather(client)
      client.handle:write(up)
      server.handle:write(down)
      client:shutdown()
      support.run(function() return atServer.over end, 60)
      server:shutdown()
      support.run(function() return atClient.over end, 60)
      sockets.same(up, atServer.text())
      sockets.same(down, atClient.text())
      relays.reached(relay, "ended")
    end)

    it("exchanges the rest after one side has ended", function()
      local client, server, relay = pair()
      client:write("question"):shutdown()
      assert.equal("question", server:take "^question")
      assert.is_nil(server:waitEnd())
      local got = relays.gather(client)
      server.handle:write(bytes)
      server:shutdown()
      support.run(function() return got.over end)
      assert.is_true(got.over)
      sockets.same(bytes, got.text())
      relays.reached(relay, "ended")
    end)

    it("gets what follows a byte that is urgent, and the end", function()
      if kind == "Unix" then return end -- it has none
      local rover, server = relays.kept(1)
      local relay = relays.relay { listen = listen(),
        pick = relays.picking(rover) }
      local _, port = relay:address()
      support.spawn("perl", { "-MSocket", "-e", [[
        socket(my $s, AF_INET, SOCK_STREAM, 0);
        connect($s, pack_sockaddr_in(shift, INADDR_LOOPBACK)) or die;
        send($s, "first", 0);
        sysread $s, my $answer, 1;
        send($s, "before", 0);
        send($s, "!", MSG_OOB);
        send($s, "after", 0);
        sysread $s, $answer, 1;
      ]], tostring(port) }, { env = { LD_PRELOAD = false } })
      local peer = server.peers[1]
      assert.equal("first", peer:take "^first")
      peer:write "1"
      assert.equal("beforeafter", peer:take "^beforeafter")
      peer:write "2"
      assert.is_nil(peer:waitEnd())
      peer:shutdown()
      relays.reached(relay, "ended")
    end)

    it("gets an urgent byte's neighbours with the end behind them", function()
      if kind == "Unix" then return end
      local rover, server = relays.kept(1)
      local relay = relays.relay { listen = listen(),
        pick = relays.picking(rover) }
      local _, port = relay:address()
      support.spawn("perl", { "-MSocket", "-e", [[
        socket(my $s, AF_INET, SOCK_STREAM, 0);
        connect($s, pack_sockaddr_in(shift, INADDR_LOOPBACK)) or die;
        send($s, "before", 0);
        send($s, "!", MSG_OOB);
        send($s, "after", 0);
      ]], tostring(port) }, { env = { LD_PRELOAD = false } })
      local peer = server.peers[1]
      assert.equal("beforeafter", peer:take "^beforeafter")
      assert.is_nil(peer:waitEnd())
      peer:shutdown()
      relays.reached(relay, "ended")
    end)

    it("gets all that the server has sent, however slowly it reads", function()
      local client, server, relay = pair { halfCloseTimeout = 100 }
      local got = relays.sip(client, 5)
      local much = bytes .. bytes
      server.handle:write(much)
      server:shutdown()
      support.run(function() return got.over end)
      sockets.same(much, got.text())
      assert.is_true(got.over)
      relays.reached(relay, "cut")
    end)

    it("is not idle while it takes what waits in the kernel", function()
      local client, server = pair { idleTimeout = 300,
        halfCloseTimeout = 300 }
      if client.handle.send_buffer_size then
        client.handle:recv_buffer_size(65536)
      end
      local got = relays.sip(client, kind == "TCP" and 60 or 120)
      local sent = kind == "TCP" and bytes or bytes:sub(1, MANY // 4)
      server.handle:write(sent)
      server:shutdown()
      support.run(function() return got.over end)
      sockets.same(sent, got.text())
      assert.is_true(got.over)
    end)

    it("is idle when it takes nothing of that", function()
      local client, server, relay = pair { idleTimeout = 60 }
      client.handle:read_stop()
      local from = uv.now()
      server.handle:write(plenty)
      relays.reached(relay, "cut")
      local took = uv.now() - from
      assert.is_true(took >= 60 and took < 5000, took)
    end)

    it("may send on when the server has ended", function()
      local client, server, relay = pair()
      server:write("bye"):shutdown()
      assert.equal("bye", client:take "^bye")
      assert.is_nil(client:waitEnd())
      local got = relays.gather(server)
      client.handle:write(bytes)
      client:shutdown()
      support.run(function() return got.over end)
      sockets.same(bytes, got.text())
      relays.reached(relay, "ended")
    end)

    it("keeps the sender waiting while the receiver does not read", function()
      local client, server, relay = pair()
      sockets.deaf(server)
      client.handle:write(plenty)
      -- What the kernel's buffers hold moves; then nothing does.
      local last, same = -1, 0
      support.eventually(function()
        local received = relay:stats().received
        same = received == last and same + 1 or 0
        last = received
        return same > 20
      end)
      assert.is_true(last < #plenty, "all of it went somewhere")
      local got = relays.gather(server)
      client:shutdown()
      support.run(function() return got.over end, 60)
      sockets.same(plenty, got.text())
    end)

    it("is reset when the server resets", function()
      local client, server, relay = pair()
      client:write("x")
      server:take "x"
      server:reset()
      local err = client:waitEnd()
      -- There is no reset of a Unix socket: the other side sees the end.
      assert.equal(kind == "TCP" and "ECONNRESET" or nil, err)
      relays.reached(relay, "reset")
    end)

    it("gets what the server sent before it reset", function()
      local client, server, relay = pair()
      client:write("x")
      server:take "x"
      server:write("that is enough")
      server:reset()
      client:waitEnd()
      assert.equal("that is enough", client.received)
      relays.reached(relay, "reset")
    end)

    it("gets that also when what it sends is what finds out", function()
      local client, server, relay = pair()
      sockets.deaf(server)
      client.handle:write(plenty)
      support.eventually(function() return relay:stats().received > 0 end)
      sockets.settle()
      server:write("that is enough")
      server:reset()
      client:waitEnd()
      assert.equal("that is enough", client.received)
      relays.reached(relay, "reset")
    end)

    it("is reset while it is kept waiting", function()
      local client, server, relay = pair()
      sockets.deaf(client)
      server.handle:write(plenty)
      support.eventually(function() return relay:stats().sent > 0 end)
      sockets.settle()
      server:reset()
      relays.reached(relay, "reset")
      client:read() -- libuv tells a reset behind bytes as an end
      client:waitEnd()
      assert.is_true(#client.received < #plenty)
      client:write("x")
      support.run(function() return client.err end)
    end)

    it("resets the server when it goes away in the middle", function()
      local client, server, relay = pair()
      server:write("x")
      client:take "x"
      if kind == "TCP" then
        client:reset()
      else -- closing with bytes unread is a reset
        sockets.deaf(client)
        server:write("unread")
        relays.reached(relay, "sent", 7)
        sockets.settle()
        client:close()
      end
      assert.equal("ECONNRESET", server:waitEnd())
      relays.reached(relay, "reset")
    end)

    it("resets the server that is kept waiting", function()
      local client, server, relay = pair()
      sockets.deaf(client)
      local failed
      server.handle:write(plenty, function(err) failed = err end)
      support.eventually(function() return relay:stats().sent > 0 end)
      sockets.settle()
      if kind == "TCP" then client:reset() else client:close() end
      relays.reached(relay, "reset")
      -- libuv may tell a reader that it is the end; who writes learns it.
      support.run(function() return server.err or failed end)
      local err = server.err or failed
      assert.is_true(err == "ECONNRESET" or err == "EPIPE", err)
    end)

    -- How many turns the loop takes in a while.
    local function turns()
      local timer, prepare = uv.new_timer(), uv.new_prepare()
      local count, over = 0, false
      prepare:start(function() count = count + 1 end)
      timer:start(100, 0, function() over = true end)
      support.run(function() return over end)
      timer:close()
      prepare:close()
      return count
    end

    it("costs no turn of the loop when nothing moves", function()
      local client, server, relay = pair()
      client:shutdown()
      assert.is_nil(server:waitEnd())
      sockets.deaf(server)
      sockets.settle()
      local count = turns()
      assert.is_true(count < 10, count)
      assert.equal(1, relay:stats().running)
      assert.is_false(client.ended)
    end)

    it("costs none either after bursts that fill its share of a turn",
        function()
      local client, server = pair()
      local atServer, atClient = relays.gather(server), relays.gather(client)
      -- So large that each side has been waited for, and windows are wide.
      client:write(bytes)
      server:write(bytes)
      support.run(function()
        return atServer.length == MANY and atClient.length == MANY
      end)
      -- One buffer of the relay's, and a part of the next one.
      local sent = assert(client.handle:try_write(bytes:sub(1, 150 * 1024)))
      support.run(function() return atServer.length == MANY + sent end)
      sockets.settle()
      local count = turns()
      assert.is_true(count < 10, count)
    end)
  end)
end
