local reloads = require "support.reloads"
local support = require "support"

local reload, told, count = reloads.reload, reloads.told, reloads.count
local listen, position = reloads.listen, reloads.position
local events, logged, stop = support.events, support.logged, support.stop

local BUDGET, BUSY, SOCKETS = 200, 30, 12

-- A policy whose `connection` takes BUSY ms for each socket that it adopts, so
-- that all of them take more than a budget. `more` is run in it.
local function busy(more, rest)
  return ([[
    local uv = require "luv"
    function busy(ms)
      local till = uv.hrtime() + ms * 1e6
      while uv.hrtime() < till do end
    end
    r = rover.new { servers = { s = at(1) } }
    r:on("connection", function(slot, socket)
      log("new", { slot = slot, adopted = socket.adopted })
      if socket.adopted then
        busy(%d)
        %s
      end
    end)
    host.on("unload", function() log("unload", { of = host.generation }) end)
    connect(r, %d)
    %s
  ]]):format(BUSY, more or "", SOCKETS, rest or "")
end

-- A child that keeps all of them.
local function keptWith(budget, script, ...)
  local child = reloads.startWith({ "--budget", tostring(budget) },
    script or busy(), ...)
  logged(child, "new", SOCKETS)
  return child
end

local function kept(script, ...) return keptWith(BUDGET, script, ...) end

-- What was adopted, by slot.
local function adopted(child)
  local slots = {}
  for _, event in ipairs(events(child, "new")) do
    if event.adopted then slots[#slots + 1] = event.slot end
  end
  return slots
end

local function upTo(last, without)
  local slots = {}
  for slot = 0, last do
    if slot ~= without then slots[#slots + 1] = slot end
  end
  return slots
end

describe("A reload whose sockets take longer than a budget", function()
  it("lets the loop turn between two budgets, and is told at the end",
      function()
    local s = listen()
    local child = kept(nil, s)
    local line = reload(child, busy("", [[
      local ticks = 0
      uv.new_timer():start(0, 1, function()
        ticks = ticks + 1
        if ticks < 20 then log "tick" end
      end)
    ]]))
    assert.same({ SOCKETS, 0 }, { line.adopted, line.closed })
    assert.same(upTo(SOCKETS - 1), adopted(child))
    local last = position(child, "new", 2 * SOCKETS)
    assert.is_true(position(child, "tick") < last)
    assert.is_true(last < position(child, "unload"))
    assert.is_true(position(child, "unload") < position(child,
      "policy reloaded"))
    assert.equal(1, events(child, "unload")[1].of)
    stop(child)
  end)

  it("lets it turn between two sockets, too", function()
    local s = listen()
    local child = keptWith(100 * SOCKETS * BUSY, nil, s)
    reload(child, busy("", [[
      local ticks = 0
      uv.new_timer():start(0, 1, function()
        ticks = ticks + 1
        if ticks < 20 then log "tick" end
      end)
    ]]))
    assert.same(upTo(SOCKETS - 1), adopted(child))
    assert.is_true(position(child, "tick") < position(child, "new",
      SOCKETS + 3))
    stop(child)
  end)

  it("tells a socket's bytes meanwhile, but none before its connection",
      function()
    local s = listen()
    local child = kept(nil, s)
    for slot = 0, SOCKETS - 1 do s.conns[slot]:write "bytes" end
    reload(child, busy([[
      if slot == 0 then
        for _, each in ipairs(r:sockets()) do
          each:on("data", function() log("data", { slot = each.slot }) end)
        end
      end
    ]]))
    logged(child, "data", SOCKETS)
    for slot = 0, SOCKETS - 1 do
      local new, data
      for i, event in ipairs(events(child)) do
        if event.slot == slot and event.adopted then new = i end
        if event.slot == slot and event.message == "data" then data = i end
      end
      assert.is_true(new < data, slot)
    end
    assert.is_true(position(child, "data") < position(child, "new",
      2 * SOCKETS))
    stop(child)
  end)

  it("has new connections wait for the last", function()
    local s = listen()
    local child = kept(nil, s)
    reload(child, busy "if slot == 0 then r:connect() end")
    local new = logged(child, "new", 2 * SOCKETS + 1)
    assert.same({ SOCKETS, false }, { new.slot, new.adopted })
    stop(child)
  end)

  it("calls nothing of the old policy's meanwhile but unload", function()
    local s = listen()
    local ticking = [[
      uv.new_timer():start(1, 1, function()
        log("tick", { of = host.generation })
      end)
    ]]
    local child = kept(busy("", ticking), s)
    logged(child, "tick")
    reload(child)
    local from, to = position(child, "new", SOCKETS + 1),
      position(child, "policy reloaded")
    local seen = 0
    for i, event in ipairs(events(child)) do
      if i > from and i < to and event.message == "tick" then
        assert.equal(2, event.of)
        seen = seen + 1
      end
    end
    assert.is_true(seen > 0)
    stop(child)
  end)

  it("does not adopt what ends meanwhile", function()
    local s = listen()
    local child = kept(nil, s)
    local path = support.tmpfile("", "gone")
    s.conns[0]:on("data", function()
      s.conns[SOCKETS - 1]:close()
      support.write(path, "gone")
    end)
    local line = reload(child, busy(([[
      if slot == 0 then socket:write "close the last" end
      for _ = 1, slot < 10 and 140 or 0 do
        local file = io.open %q
        local gone = file:read "a" ~= ""
        file:close()
        if gone then break end
        busy(1)
      end
      if slot == 0 then
        local all = r:sockets()
        local last = all[#all]
        for _, event in ipairs { "data", "end", "close" } do
          last:on(event, function() log "heard" end)
        end
      end
    ]]):format(path)))
    assert.same({ SOCKETS - 1, 0 }, { line.adopted, line.closed })
    assert.same(upTo(SOCKETS - 2), adopted(child))
    assert.equal(0, count(child, "heard"))
    stop(child)
  end)

  -- Slot 9 was shut down by the old policy; 10 is written to, and not read.
  it("adopts what ends meanwhile if there are bytes to read", function()
    local peers, MUCH = {}, 4 << 20
    local s = support.serve { connection = function(peer)
      peers[#peers + 1] = peer
      peer:write(#peers - 1 .. "\r\n")
    end }
    local path = support.tmpfile("", "ended")
    local child = kept(busy(nil, [[
      r:on("connection", function(slot, socket)
        if slot == 9 then socket:shutdown() end
      end)
    ]]), s)
    assert.is_nil(peers[10]:waitEnd())
    reloads.edit(child, busy(([[
      if slot == 0 then socket:write "end the last three" end
      for _ = 1, slot < 8 and 140 or 0 do
        local file = io.open %q
        local ended = file:read "a" ~= ""
        file:close()
        if ended then break end
        busy(1)
      end
      if slot == 10 then socket:write(("x"):rep(%d)) end
      if slot == 9 or slot == 11 then
        socket:on("data", function(chunk)
          log("told", { slot = slot, of = "data", chunk = chunk })
        end)
      end
      for _, event in ipairs { "end", "close" } do
        socket:on(event, function(err)
          log("told", { slot = slot, of = event, err = tostring(err) })
        end)
      end
    ]]):format(path, MUCH)))
    child:kill "sighup"
    support.run(function() return peers[1].received:find "end" end)
    for i = SOCKETS - 2, SOCKETS do
      peers[i]:write("the answer")
      peers[i]:shutdown()
    end
    support.write(path, "ended")
    local line = logged(child, "policy reloaded")
    assert.equal(SOCKETS, line.adopted)
    assert.same(upTo(SOCKETS - 1), adopted(child))
    assert.is_nil(peers[11]:waitEnd())
    assert.equal(MUCH, #peers[11].received)
    assert.is_nil(peers[12]:waitEnd())
    logged(child, "told", 3 + 2 + 3)
    local order = { [9] = {}, [10] = {}, [11] = {} }
    for _, event in ipairs(events(child, "told")) do
      table.insert(order[event.slot], event.chunk or event.of)
      assert.is_true(event.of ~= "close" or event.err == "nil", event.err)
    end
    local all = { "the answer", "end", "close" }
    assert.same({ [9] = all, [10] = { "end", "close" }, [11] = all }, order)
    stop(child)
  end)

  it("tells the end of one that may be half open after its connection",
      function()
    local peers = {}
    local s = support.serve { connection = function(peer)
      peers[#peers + 1] = peer
      peer:write(#peers - 1 .. "\r\n")
    end }
    local path = support.tmpfile("", "ended")
    local function halfOpen(more)
      return (busy(more):gsub("servers = ", "allowHalfOpen = true, %0"))
    end
    local child = kept(halfOpen(), s)
    reloads.edit(child, halfOpen(([[
      if slot == 0 then socket:write "end the last" end
      for _ = 1, slot < 10 and 140 or 0 do
        local file = io.open %q
        local ended = file:read "a" ~= ""
        file:close()
        if ended then break end
        busy(1)
      end
      socket:on("end", function() log("end", { slot = slot }) end)
    ]]):format(path)))
    child:kill "sighup"
    support.run(function() return peers[1].received:find "end" end)
    peers[SOCKETS]:shutdown()
    support.write(path, "ended")
    local line = logged(child, "policy reloaded")
    assert.same({ SOCKETS, 0 }, { line.adopted, line.closed })
    assert.equal(SOCKETS - 1, logged(child, "end").slot)
    assert.is_true(position(child, "new", 2 * SOCKETS)
      < position(child, "end"))
    stop(child)
  end)

  it("does not adopt what a handler closes meanwhile, and counts it",
      function()
    local s = listen()
    local child = kept(nil, s)
    local line = reload(child, busy([[
      local all = r:sockets()
      if #all > 8 then all[#all]:close() end
    ]]))
    assert.same({ SOCKETS, SOCKETS - 8 }, { line.adopted, line.closed })
    assert.same(upTo(7), adopted(child))
    stop(child)
  end)

  it("ends where the policy closes the rover between two turns", function()
    local s = listen()
    local child = kept(nil, s)
    local line = reload(child, busy("",
      "uv.new_timer():start(0, 0, function() r:close() end)"))
    assert.same({ SOCKETS, SOCKETS }, { line.adopted, line.closed })
    assert.is_true(#adopted(child) < SOCKETS)
    reloads.closed(s, SOCKETS)
    stop(child)
  end)

  it("asks pick for the clients that wait, too, a budget in each turn",
      function()
    local path = support.tmpdir() .. "/relay.sock"
    local script = [[
      local uv = require "luv"
      r = rover.new { servers = { s = at(1) } }
      local idle = {}
      r:on("connection", function(_, socket)
        idle[#idle + 1] = socket
        log "new"
      end)
      require "callosum.relay".new {
        listen = { path = host.args[2] },
        pick = function()
          if host.generation == 1 then return log "asked" end
          local till = uv.hrtime() + %d * 1e6
          while uv.hrtime() < till do end
          log "pick"
          return table.remove(idle)
        end,
      }
      local timer = uv.new_timer()
      timer:start(0, 1, function()
        if host.generation > 1 then log "tick" end
      end)
      connect(r, %d)
    ]]
    local s = listen()
    local child = kept(script:format(BUSY, SOCKETS), s, path)
    for _ = 1, SOCKETS do support.connect(path) end
    logged(child, "asked", SOCKETS)
    reload(child)
    assert.is_true(position(child, "tick") < position(child, "pick", SOCKETS))
    assert.is_true(position(child, "pick", SOCKETS)
      < position(child, "policy reloaded"))
  end)

  it("tells neither policy of what the old one was closing as it began",
      function()
    local s = listen()
    local child = kept(busy([[
      socket:on("close", function()
        log("close", { slot = slot, closed = socket.closed })
      end)
    ]], [[
      r:on("connection", function(slot, socket)
        if host.generation > 1 then return end
        socket:on("close", function() log "old" end)
        if slot > 0 then return end
        socket:on("data", function()
          for _, each in ipairs(r:sockets()) do
            if each.slot > 0 and each.slot < 4 then each:close() end
          end
          host.reload()
        end)
      end)
    ]]), s)
    s.conns[0]:write "now"
    local line = logged(child, "policy reloaded")
    assert.same({ SOCKETS - 3, 0 }, { line.adopted, line.closed })
    s.conns[SOCKETS - 1]:close()
    assert.same({ SOCKETS - 1, true },
      { logged(child, "close").slot, logged(child, "close").closed })
    assert.equal(1, count(child, "close"))
    -- If the loop was late, it has told the old one before that.
    local old = count(child, "old")
    assert.is_true(old == 0 or position(child, "old", old)
      < position(child, "new", SOCKETS + 1))
    stop(child)
  end)

  it("has another wait for its end", function()
    local s = listen()
    local child = kept(nil, s)
    local script = busy([[
      if host.generation == 2 and slot == 0 then host.reload() end
    ]])
    reload(child, script)
    logged(child, "policy reloaded", 2)
    local order = {}
    for _, event in ipairs(events(child)) do
      if event.message == "unload" then order[#order + 1] = event.of end
      if event.message == "policy reloaded" then
        order[#order + 1] = -event.generation
        assert.equal(SOCKETS, event.adopted)
      end
    end
    assert.same({ 1, -2, 2, -3 }, order)
    assert.same("host.reload()", told(child, "policy reloaded", "trigger")[2])
    stop(child)
  end)

  it("stops in order in the middle", function()
    local s = listen()
    local child = kept(nil, s)
    reloads.edit(child, busy [[
      if slot == 0 then uv.kill(uv.os_getpid(), "sigterm") end
    ]])
    child:kill "sighup"
    local code, by = child:wait()
    assert.same({ 0, 0 }, { code, by })
    assert.is_true(#adopted(child) < SOCKETS)
    assert.same({ 1, 2 }, told(child, "unload", "of"))
    assert.equal(0, count(child, "policy reloaded"))
  end)

  it("goes on where handlers raise", function()
    local s = listen()
    local child = kept(nil, s)
    local line = reload(child, busy "if slot % 3 == 0 then error 'no' end")
    assert.same({ SOCKETS, SOCKETS // 3 }, { line.adopted, line.closed })
    assert.same(upTo(SOCKETS - 1), adopted(child))
    assert.equal(SOCKETS // 3, count(child, "policy error"))
    stop(child)
  end)
end)
