local reloads = require "support.reloads"
local support = require "support"

local start, reload, told = reloads.start, reloads.reload, reloads.told
local count, listen = reloads.count, reloads.listen
local opened, closed = reloads.opened, reloads.closed
local events, logged, stop = support.events, support.logged, support.stop
local run, serve = support.run, support.serve

-- A policy that keeps what has a slot of up to LIMIT, and says so.
local function limited(limit, more)
  return ([[
    r = rover.new { servers = { s = at(1) } }
    r:on("connection", function(slot, socket)
      log("got", { slot = slot, adopted = socket.adopted })
      if slot > %d then socket:close() end
    end)
  ]]):format(limit) .. (more or "")
end

-- A server that gives these slots, in this order.
local function giving(slots)
  local n = 0
  return serve { connection = function(peer)
    n = n + 1
    peer:write(slots[n] .. "\r\n")
  end }
end

-- A server that sends no slot line by itself.
local function mute(n)
  local s = serve()
  s.wait = function(_, more)
    run(function() return #s.peers >= (more or n) end)
  end
  return s
end

describe("A reload", function()
  describe("calls connection for every kept socket", function()
    it("with socket.adopted set, and lowest slot first", function()
      local slots = { 5, 1, 9, 1, 0, 7 }
      local script = [[
        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function(slot, socket, id, server)
          log("got", { slot = slot, own = socket.slot, id = id,
            port = server.port, adopted = socket.adopted,
            closed = socket.closed, name = select(2, socket:sockname()) })
        end)
        if host.generation == 1 then
          r:on("connection", function() if n > 0 then n = n - 1 r:connect() end
          end)
          n = 5
          r:connect()
        end
      ]]
      local s = giving(slots)
      local child = start(script, s)
      logged(child, "got", 6)
      local line = reload(child)
      assert.same({ 6, 0 }, { line.adopted, line.closed })
      local got = events(child, "got")
      assert.equal(12, #got)
      for i = 1, 6 do
        assert.same({ slots[i], false }, { got[i].slot, got[i].adopted })
      end
      for i, before in ipairs { 5, 2, 4, 1, 6, 3 } do
        local adopted = got[6 + i]
        before = got[before]
        assert.same({ before.slot, before.slot, "s", s.port, true, false,
          before.name }, { adopted.slot, adopted.own, adopted.id, adopted.port,
            adopted.adopted, adopted.closed, adopted.name })
      end
      stop(child)
    end)

    it("lowest slot first over all rovers", function()
      local a, b = giving { 0, 3, 6 }, giving { 1, 2, 7 }
      local child = start([[
        for i, name in ipairs { "a", "b" } do
          local r = rover.new { name = name, servers = { s = at(i) } }
          r:on("connection", function(slot) log("got", { slot = slot }) end)
          connect(r, 3)
        end
      ]], a, b)
      logged(child, "got", 6)
      assert.equal(6, reload(child).adopted)
      local got = told(child, "got", "slot")
      assert.same({ 0, 1, 2, 3, 6, 7 }, { table.unpack(got, 7) })
      stop(child)
    end)

    it("which the new policy decides about: a lower limit closes what is "
        .. "over it, and the others stay", function()
      local s = listen()
      local child = start(limited(9, "connect(r, 10)"), s)
      logged(child, "got", 10)
      local line = reload(child, limited(3))
      assert.same({ 10, 6 }, { line.adopted, line.closed })
      assert.same({ 4, 5, 6, 7, 8, 9 }, closed(s, 6))
      line = reload(child, limited(1, "r:connect()"))
      assert.same({ 4, 2 }, { line.adopted, line.closed })
      logged(child, "got", 25) -- the new one
      assert.same({ 2, 3, 4, 4, 5, 6, 7, 8, 9 }, closed(s, 9))
      line = reload(child, limited(9))
      assert.same({ 2, 0 }, { line.adopted, line.closed })
      stop(child)
    end)

    it("so that a policy that looks at all of them closes the highest",
        function()
      local script = [[
        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function()
          local sockets = r:sockets()
          if #sockets > LIMIT then sockets[#sockets]:close() end
          log("got", { sockets = #sockets })
        end)
        connect(r, 8)
      ]]
      local s = listen()
      local child = start("LIMIT = 8 " .. script, s)
      logged(child, "got", 8)
      local line = reload(child, "LIMIT = 5 " .. script)
      assert.same({ 8, 3 }, { line.adopted, line.closed })
      assert.same({ 5, 6, 7 }, closed(s, 3))
      -- It saw all of them from the first call on, and nothing of those closed.
      assert.same({ 8, 7, 6, 5, 5 },
        { table.unpack(told(child, "got", "sockets"), 9) })
      stop(child)
    end)

    it("and closes them where nobody listens to it", function()
      local s = listen()
      local child = start(limited(9, "connect(r, 3)"), s)
      logged(child, "got", 3)
      local line = reload(child, "rover.new { servers = { s = at(1) } }")
      assert.same({ 3, 3 }, { line.adopted, line.closed })
      assert.same({ 0, 1, 2 }, closed(s, 3))
      stop(child)
    end)

    it("and closes the one whose handler raises; the rest goes on", function()
      local s = listen()
      local child = start(limited(9, "connect(r, 4)"), s)
      logged(child, "got", 4)
      local line = reload(child, [[

        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function(slot)
          if slot == 1 then error "not this one" end
          if slot == 2 then error { not_a = "string" } end
          log("new", { slot = slot })
        end)
      ]])
      assert.same({ 4, 2, 2 }, { line.adopted, line.closed, line.generation })
      assert.same({ 1, 2 }, closed(s, 2))
      assert.same({ 0, 3 }, told(child, "new", "slot"))
      local errors = events(child, "policy error")
      assert.equal(2, #errors)
      assert.equal(child.path .. ":4: not this one", errors[1].error)
      assert.matches("policy.lua:4: in function", errors[1].traceback)
      assert.same({ "error", "error" }, { errors[1].level, errors[2].level })
      stop(child)
    end)

    it("again at each reload, but for those that are gone", function()
      local s = listen()
      local child = start(limited(9, "connect(r, 4)"), s)
      logged(child, "got", 4)
      for i = 1, 3 do assert.equal(4, reload(child).adopted, i) end
      s.conns[2]:close()
      closed(s, 1)
      -- It has not heard of it until the loop turns once more.
      support.eventually(function() return reload(child).adopted == 3 end)
      local got = told(child, "got", "slot")
      assert.same({ 0, 1, 3 }, { table.unpack(got, #got - 2) })
      assert.same({ 2 }, s.closed)
      stop(child)
    end)

    it("but not for one that is just closing, of which it hears nothing",
        function()
      local s = listen()
      local child = start([[
        local uv = require "luv"
        r = rover.new { servers = { s = at(1) } }
        local function halve()
          for slot, socket in ipairs(r:sockets()) do
            if slot % 2 == 0 then socket:close() end
          end
          host.reload()
        end
        -- Told by a timer, after which a reload comes before what closes.
        local nobody = rover.new { name = "nobody" }
        nobody:on("error", halve)
        r:on("connection", function(slot, socket)
          socket.state.slot = slot
          socket:on("close", function()
            log("close", { generation = host.generation })
          end)
          if slot == 9 then nobody:connect() end
        end)
        connect(r, 10)
        function look()
          for _, socket in ipairs(r:sockets()) do
            log("has", { slot = socket.slot, state = socket.state.slot })
          end
        end
        if host.generation == 2 then uv.new_timer():start(1, 0, look) end
      ]], s)
      assert.equal(5, logged(child, "policy reloaded").adopted)
      logged(child, "has", 5)
      assert.same({ 0, 2, 4, 6, 8 }, told(child, "has", "slot"))
      assert.same({ 0, 2, 4, 6, 8 }, told(child, "has", "state"))
      assert.equal(0, count(child, "close"))
      assert.same({ 1, 3, 5, 7, 9 }, closed(s, 5))
      stop(child)
    end)

    it("and they work for the new policy as for the old one", function()
      local s = serve { send = "0\r\n" }
      local script = [[
        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function(_, socket)
          socket:on("data", function(chunk)
            socket:write { chunk, " ", tostring(host.generation), "\r\n" }
          end)
          socket:on("end", function() log("end") end)
          socket:on("close", function(err)
            log("close", { ordered = err == nil, now = host.generation,
              sockets = #r:sockets() })
          end)
          log "got"
        end)
        connect(r, 1)
      ]]
      local child = start(script, s)
      logged(child, "got")
      local peer = s.peers[1]
      assert.equal("a 1", peer:write("a"):line())
      reload(child)
      assert.equal("b 2", peer:write("b"):line())
      peer:shutdown()
      local event = logged(child, "close")
      assert.same({ true, 2, 0 }, { event.ordered, event.now, event.sockets })
      assert.equal(1, count(child, "end"))
      assert.equal(0, reload(child).adopted)
      stop(child)
    end)
  end)

  describe("matches rovers by name:", function()
    -- Two rovers, to a server each, under these names.
    local function two(first, second)
      return ([[
        for i, name in ipairs { %q, %q } do
          if name ~= "" then
            local r = rover.new { name = name, servers = { s = at(i) } }
            r:on("connection", function(slot, socket)
              log("got", { rover = name, adopted = socket.adopted })
            end)
            connect(r, 2)
          end
        end
      ]]):format(first, second)
    end

    local function started()
      local a, b = listen(), listen()
      local child = start(two("a", "b"), a, b)
      logged(child, "got", 4)
      return child, a, b
    end

    it("each of two has its own sockets again", function()
      local child = started()
      assert.equal(4, reload(child).adopted)
      local of = { a = 0, b = 0 }
      for i, event in ipairs(events(child, "got")) do
        if i > 4 then
          assert.is_true(event.adopted)
          of[event.rover] = of[event.rover] + 1
        end
      end
      assert.same({ a = 2, b = 2 }, of)
      stop(child)
    end)

    it("whatever the order in which they are declared", function()
      local a, b = listen(), listen()
      local script = [[
        for _, i in ipairs { %s } do
          local r = rover.new { name = "r" .. i, servers = { s = at(i) } }
          r:on("connection", function(_, socket, _, server)
            log("got", { ok = server.port == at(i).port })
          end)
          connect(r, 2)
        end
      ]]
      local child = start(script:format "1, 2", a, b)
      logged(child, "got", 4)
      assert.equal(4, reload(child, script:format "2, 1").adopted)
      for _, ok in ipairs(told(child, "got", "ok")) do assert.is_true(ok) end
      stop(child)
    end)

    it("one that the new script does not declare is closed, with its sockets",
        function()
      local child, a, b = started()
      local line = reload(child, two("a", ""))
      assert.equal(2, line.adopted)
      assert.same({ 0, 1 }, closed(b, 2))
      assert.same({}, a.closed)
      stop(child)
    end)

    it("one that it closes itself is not declared", function()
      local child, a, b = started()
      local line = reload(child, two("a", "")
        .. "rover.new { name = 'b', servers = { s = at(2) } }:close()")
      assert.equal(2, line.adopted)
      assert.same({ 0, 1 }, closed(b, 2))
      assert.same({}, a.closed)
      stop(child)
    end)

    it("a renamed one is another", function()
      local child, a, b = started()
      assert.equal(2, reload(child, two("a", "c")).adopted)
      assert.same({ 0, 1 }, closed(b, 2))
      assert.same({}, a.closed)
      stop(child)
    end)

    it("one without a name is 'main'", function()
      local s = listen()
      local script = [[
        r = rover.new { %s servers = { s = at(1) } }
        r:on("connection", function() log "got" end)
        connect(r, 2)
      ]]
      local child = start(script:format "", s)
      logged(child, "got", 2)
      assert.equal(2, reload(child, script:format "name = 'main',").adopted)
      assert.equal(2, reload(child, script:format "").adopted)
      assert.same({}, s.closed)
      stop(child)
    end)

    it("its counters go on", function()
      local s = listen()
      local script = [[
        r = rover.new { servers = { s = at(1) } }
        r:on("connection", function(slot) log "got"
          if host.generation == 2 and slot == 2 then
            local stats = r:stats()
            log("stats", { connections = stats.connections, kept = stats.kept })
          end
        end)
        connect(r, 3)
      ]]
      local child = start(script, s)
      logged(child, "got", 3)
      reload(child)
      local stats = logged(child, "stats")
      assert.same({ 3, 3 }, { stats.connections, stats.kept })
      stop(child)
    end)
  end)

  describe("applies options:", function()
    local function with(options, more)
      return ([[
        r = rover.new { servers = { s = at(1) }, %s }
        r:on("connection", function(_, socket)
          log("got", { port = select(2, socket:sockname()) })
          socket:on("end", function() log "end" end)
          socket:on("close", function() log "close" end)
        end)
        r:on("unreachable", function(_, _, err)
          log("unreachable", { code = err.code })
        end)
      ]]):format(options) .. (more or "")
    end

    it("rovingInterval", function()
      local s = listen()
      local child = start(with("rovingInterval = 3600000", "r:start()"), s)
      opened(s, 1)
      reload(child, with("rovingInterval = 10", "r:start()"))
      opened(s, 5)
      -- Those under way go on, and one may have been due.
      reload(child, with("rovingInterval = 3600000", [[
        r:start()
        local timer = require "luv".new_timer()
        r:on("connection", function(_, socket)
          if not socket.adopted or timer:is_active() then return end
          local before = r:stats().attempts
          timer:start(60, 0, function()
            log("attempts", { more = r:stats().attempts - before })
            timer:close()
          end)
        end)
      ]]))
      assert.is_true(logged(child, "attempts").more <= 1)
      stop(child)
    end)

    it("slotTimeout", function()
      local s = mute(1)
      local child = start(with("slotTimeout = 3600000", "r:connect()"), s)
      s:wait()
      reload(child, with("slotTimeout = 10", "r:connect()"))
      assert.equal("ETIMEDOUT", logged(child, "unreachable").code)
      stop(child)
    end)

    it("connectTimeout", function()
      local port = support.blackHole()
      local child = start(with("connectTimeout = 3600000", "r:connect()"), port)
      reload(child, with("connectTimeout = 10", "r:connect()"))
      assert.equal("ETIMEDOUT", logged(child, "unreachable").code)
      stop(child)
    end)

    it("maxAttempts", function()
      local s = mute(2)
      local script = [[
        local made = 0
        for i = 1, 10 do made = made + (r:connect() and 1 or 0) end
      ]]
      local count_them = [[
        require "luv".new_timer():start(0, 0, function()
          log("stats", { flying = r:stats().inFlight,
            skipped = r:stats().skipped })
        end)
      ]]
      local child = start(with("maxAttempts = 2", script .. count_them), s)
      local first = logged(child, "stats")
      assert.same({ 2, 8 }, { first.flying, first.skipped })
      s:wait()
      reload(child, with("maxAttempts = 5", script .. count_them))
      local second = logged(child, "stats", 2)
      assert.same({ 5, 15 }, { second.flying, second.skipped })
      stop(child)
    end)

    it("keepalive, to new sockets and to kept ones", function()
      local s = listen()
      -- The kernel's timer of the socket with this local port: 02 is the
      -- keepalive timer, 00 none.
      local function timer(port)
        local ports = ("%04X %04X"):format(port, s.port)
        for line in io.lines "/proc/net/tcp" do
          local mine, theirs, kind = line:match(
            "^%s*%d+: %x+:(%x+) %x+:(%x+) 01 %x+:%x+ (%x+):")
          if mine and mine .. " " .. theirs == ports then return kind end
        end
      end
      local child = start(with("keepalive = 0", "connect(r, 1)"), s)
      local old = logged(child, "got").port
      support.eventually(function() return timer(old) == "00" end)
      reload(child, with("keepalive = 100", "r:connect()"))
      local new = logged(child, "got", 3).port
      support.eventually(function() return timer(new) == "02" end)
      support.eventually(function() return timer(old) == "02" end)
      stop(child)
    end)

    it("allowHalfOpen", function()
      local s = serve { send = "0\r\n" }
      local child = start(with("allowHalfOpen = false", "connect(r, 1)"), s)
      logged(child, "got")
      reload(child, with "allowHalfOpen = true")
      s.peers[1]:shutdown()
      logged(child, "end")
      assert.equal(1, reload(child, with "allowHalfOpen = true").adopted)
      assert.equal(0, count(child, "close"))
      assert.is_false(s.peers[1].ended)
      stop(child)
    end)

    it("allowHalfOpen, to a socket that is half open", function()
      local s = serve { send = "0\r\n" }
      local child = start(with("allowHalfOpen = true", "connect(r, 1)"), s)
      logged(child, "got")
      s.peers[1]:shutdown()
      logged(child, "end")
      reload(child, with "allowHalfOpen = false")
      assert.is_nil(s.peers[1]:waitEnd())
      stop(child)
    end)
  end)

  describe("of the servers", function()
    local FIRST = [[
      r = rover.new { servers = { a = at(1), b = at(1) } }
      require "luv".new_timer():start(0, 0, function()
        r:addServer("added", at(2)):addServer("b", at(2))
        r:addServer("gone", at(2)):dropServer "gone"
        r:dropServer "a"
        log "changed"
      end)
    ]]
    local LIST = [[
      require "luv".new_timer():start(0, 0, function()
        local ports = {}
        for id, server in pairs(r:servers()) do
          ports[id] = server.port == at(1).port and 1 or 2
        end
        log("servers", ports)
      end)
    ]]

    -- What the servers are after each of the scripts: 1 and 2 are at(1), at(2).
    local function servers(first, ...)
      local child = start(first, 1001, 1002)
      logged(child, "changed")
      for n, script in ipairs { ... } do
        reload(child, script .. LIST)
        logged(child, "servers", n)
      end
      local list = events(child, "servers")
      for _, each in ipairs(list) do
        each.time, each.level, each.message = nil, nil, nil
      end
      stop(child)
      return list
    end

    it("replaces those that the old script declared by those that the new one "
        .. "does", function()
      assert.same({ { c = 2, d = 1, added = 2, b = 2 }, { d = 2, added = 2,
        b = 2 } }, servers(FIRST,
          "r = rover.new { servers = { c = at(2) } } r:addServer('d', at(1))",
          "r = rover.new { servers = { d = at(2) } }"))
    end)

    it("keeps those that were added since, unless it declares them anew",
        function()
      assert.same({ { added = 2, b = 2 }, { added = 1, b = 2 }, { b = 2 } },
        servers(FIRST,
          "r = rover.new()",
          "r = rover.new { servers = { added = at(1) } }",
          "r = rover.new()"))
    end)

    it("keeps all that were set since, those that were declared before, too",
        function()
      assert.same({ { b = 1, set = 2 }, { b = 2, set = 2 } },
        servers([[
          r = rover.new { servers = { a = at(1), b = at(1) } }
          require "luv".new_timer():start(0, 0, function()
            r:setServers { b = at(1), set = at(2) }
            log "changed"
          end)
        ]], "r = rover.new()", "r = rover.new { servers = { b = at(2) } }"))
    end)

    it("takes those that are set while it loads for declared", function()
      assert.same({ { added = 2, b = 2, c = 1 }, { added = 2, b = 2, d = 1 } },
        servers(FIRST, [[
          r = rover.new { servers = { x = at(1) } }
          r:addServer("y", at(1)):setServers { c = at(1) }
        ]], "r = rover.new() r:setServers { d = at(1) }"))
    end)

    it("brings back none that was dropped, unless it declares it", function()
      assert.same({ { added = 2, b = 2 }, { a = 1, added = 2, b = 2 } },
        servers(FIRST, "r = rover.new()",
          "r = rover.new { servers = { a = at(1) } }"))
    end)
  end)
end)
