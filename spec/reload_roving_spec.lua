local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local start, reload, told = reloads.start, reloads.reload, reloads.told
local count, listen, opened = reloads.count, reloads.listen, reloads.opened
local logged, stop = support.logged, support.stop
local run, serve = support.run, support.serve

-- A server that sends no slot line by itself. `wait(n)` waits for n (`first`)
-- connections to it.
local function mute(first)
  local s = serve()
  function s.wait(_, n)
    run(function() return #s.peers >= (n or first) end)
  end
  return s
end

describe("A reload", function()
  describe("of roving", function()
    local function roving(interval, more)
      return ([[
        r = rover.new { rovingInterval = %d, servers = { s = at(1) } }
        r:on("connection", function() log "got" end)
      ]]):format(interval) .. (more or "")
    end

    -- Behind a script: logs the attempts made so far, after a moment.
    local function attempts(ms)
      return ([[
        require "luv".new_timer():start(%d, 0, function()
          log("attempts", { n = r:stats().attempts })
        end)
      ]]):format(ms)
    end

    it("keeps the rhythm, neither skipping nor doubling a tick", function()
      -- A clock that each reload starts anew would never tick again; one that
      -- each reload lets tick would do so every 70 ms.
      local ticks = {}
      local s = serve { send = "0\r\n", connection = function()
        ticks[#ticks + 1] = uv.hrtime() / 1e6
      end }
      local child = start(roving(400, "r:start()"), s)
      local timer = uv.new_timer()
      timer:start(70, 70, function() child:kill "sighup" end)
      run(function() return #ticks >= 6 end)
      timer:close()
      for i = 2, 6 do
        local gap = ticks[i] - ticks[i - 1]
        assert.is_true(gap > 150 and gap < 790, gap .. " ms")
      end
      assert.is_true(count(child, "policy reloaded") >= 6)
      stop(child)
    end)

    it("makes no attempt by itself", function()
      local s = listen()
      local script = roving(3600000, "r:start()")
      local child = start(script, s)
      logged(child, "got")
      reload(child)
      reload(child, script .. attempts(50))
      assert.equal(1, logged(child, "attempts").n)
      stop(child)
    end)

    it("takes back what the old policy put off", function()
      local s = listen()
      local child = start(roving(300, [[
        r:on("connection", function() r:roveIn(3600000) end)
        r:start()
      ]]), s)
      opened(s, 1)
      reload(child, roving(300, "r:start()"))
      opened(s, 3)
      stop(child)
    end)

    it("lets a changed interval follow the last tick", function()
      local s = listen()
      local child = start(roving(3600000, "r:start()"), s)
      logged(child, "got")
      local got = uv.hrtime() -- later than the tick
      reload(child, roving(300, "r:start()"))
      opened(s, 2)
      local gap = (uv.hrtime() - got) / 1e6
      assert.is_true(gap > 100 and gap < 1000, gap .. " ms")
      stop(child)
    end)

    it("stops a rover that the new script does not start", function()
      local s = mute(2)
      local child = start(roving(10, "r:start()"), s)
      s:wait()
      reload(child, roving(10) .. attempts(0))
      local n = logged(child, "attempts").n
      -- Those in flight are cancelled, as by stop().
      s:wait(n)
      for _, peer in ipairs(s.peers) do peer:waitEnd() end
      reload(child, roving(10) .. attempts(100))
      assert.equal(n, logged(child, "attempts", 2).n)
      stop(child)
    end)

    it("stops one that it starts and stops", function()
      local s = listen()
      local child = start(roving(10, "r:start()"), s)
      opened(s, 2)
      reload(child, roving(10, "r:start() r:stop()") .. attempts(0))
      local n = logged(child, "attempts").n
      reload(child, roving(10) .. attempts(100))
      assert.equal(n, logged(child, "attempts", 2).n)
      stop(child)
    end)

    it("starts one that was not started", function()
      local s = listen()
      local child = start(roving(3600000), s)
      reload(child, roving(3600000, "r:start()"))
      opened(s, 1)
      stop(child)
    end)

    it("starts one that was stopped meanwhile", function()
      local s = listen()
      local child = start(roving(3600000,
        "r:on('connection', function() r:stop() end) r:start()"), s)
      logged(child, "got")
      reload(child, roving(3600000, "r:start()"))
      opened(s, 2)
      stop(child)
    end)

    it("makes the attempts that the new script's body asks for", function()
      local s = listen()
      local child = start(roving(3600000), s)
      reload(child, roving(3600000, "r:connect() r:connect()"))
      opened(s, 2)
      stop(child)
    end)
  end)

  describe("of attempts in flight", function()
    -- A policy that says `what` happens, to the server of id `id`.
    local function flying(what, id, more)
      return ([[
        local what = %q
        r = rover.new { servers = { %s } }
        r:on("connection", function(slot, socket, id)
          log(what, { event = "connection", slot = slot, id = id,
            adopted = socket.adopted })
        end)
        r:on("unreachable", function(id, _, err)
          log(what, { event = "unreachable", id = id, code = err.code })
        end)
        r:on("error", function(err)
          log(what, { event = "error", id = err.id, code = err.code })
        end)
      ]]):format(what, id) .. (more or "")
    end

    -- A policy with an attempt to a server that is silent; both.
    local function inFlight(more)
      local s = mute(1)
      local child = start(flying("old", "s = at(1)", more or "connect(r, 1)"),
        s, 1)
      s:wait()
      return child, s
    end

    it("has them report to the new policy: a connection", function()
      local child, s = inFlight()
      reload(child, flying("new", "s = at(1)"))
      s.peers[1]:write "7\r\n"
      local event = logged(child, "new")
      assert.same({ "connection", 7, "s", false },
        { event.event, event.slot, event.id, event.adopted })
      assert.equal(1, reload(child).adopted)
      assert.equal(0, count(child, "old"))
      stop(child)
    end)

    it("has them report to the new policy: no connection", function()
      local child, s = inFlight()
      reload(child, flying("new", "s = at(1)"))
      s.peers[1]:shutdown()
      local event = logged(child, "new")
      assert.same({ "unreachable", "s", "EOF" },
        { event.event, event.id, event.code })
      assert.equal(0, count(child, "old"))
      stop(child)
    end)

    it("has them report to the new policy: an error", function()
      local child, s = inFlight()
      reload(child, flying("new", "s = at(1)"))
      s.peers[1]:write "hello\r\n"
      local event = logged(child, "new")
      assert.same({ "error", "s", "EPROTO" },
        { event.event, event.id, event.code })
      assert.equal(0, count(child, "old"))
      stop(child)
    end)

    it("goes on in the middle of a slot line", function()
      local child, s = inFlight()
      for i, piece in ipairs { "1", "2", "3", "\r" } do
        s.peers[1]:write(piece)
        reload(child, flying("new", "s = at(1)"))
        assert.equal(i + 1, #told(child, "policy reloaded", "generation") + 1)
      end
      s.peers[1]:write "\nhello"
      assert.equal(123, logged(child, "new").slot)
      assert.equal(0, count(child, "old"))
      stop(child)
    end)

    -- Behind a script: what became of the attempts.
    local STATS = [[
      require "luv".new_timer():start(0, 0, function()
        local stats = r:stats()
        log("stats", { attempts = stats.attempts, flying = stats.inFlight,
          cancelled = stats.cancelled, unreachable = stats.unreachable,
          errors = stats.errors, connections = stats.connections })
      end)
    ]]

    local function silent(child, s)
      s.peers[1]:write "7\r\n"
      s.peers[1]:waitEnd()
      local stats = logged(child, "stats")
      assert.same({ 1, 0, 1, 0, 0, 0 }, { stats.attempts, stats.flying,
        stats.cancelled, stats.unreachable, stats.errors, stats.connections })
      assert.equal(0, count(child, "old"))
      assert.equal(0, count(child, "new"))
      stop(child)
    end

    it("is silent about those to servers that are gone", function()
      local child, s = inFlight()
      reload(child, flying("new", "t = at(1)", STATS))
      silent(child, s)
    end)

    it("is silent about those to servers that are elsewhere now", function()
      local child, s = inFlight()
      reload(child, flying("new", "s = at(2)", STATS))
      silent(child, s)
    end)

    it("is silent about those of rovers that are gone", function()
      local child, s = inFlight()
      reload(child, flying("new", "s = at(1)"):gsub("rover.new {",
        "rover.new { name = 'other',"))
      s.peers[1]:waitEnd()
      reload(child, flying("new", "s = at(1)", STATS))
      assert.equal(0, logged(child, "stats").attempts)
      assert.equal(0, count(child, "old"))
      assert.equal(0, count(child, "new"))
      stop(child)
    end)

    it("lets go on those to a server that was added since", function()
      local s = mute(1)
      local child = start(flying("old", "", [[
        require "luv".new_timer():start(0, 0, function()
          r:addServer("s", at(1)):connect()
        end)
      ]]), s)
      s:wait()
      reload(child, flying("new", ""))
      s.peers[1]:write "7\r\n"
      assert.equal(7, logged(child, "new").slot)
      stop(child)
    end)

    it("has the lack of any server reported once, by either policy", function()
      local child = start([[
        r = rover.new()
        r:on("error", function(err) log("error", { code = err.code }) end)
        if host.generation == 1 then
          require "luv".new_timer():start(0, 0, function()
            host.reload()
            r:connect()
          end)
        end
      ]])
      logged(child, "policy reloaded")
      logged(child, "error")
      stop(child)
      assert.same({ "EDESTADDRREQ" }, told(child, "error", "code"))
    end)
  end)
end)
