local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local start, reload, listen = reloads.start, reloads.reload, reloads.listen
local told, count, position = reloads.told, reloads.count, reloads.position
local answering, TICKS, kept = reloads.answering, reloads.TICKS, reloads.kept
local events, logged, stop = support.events, support.logged, support.stop
local eventually, serve = support.eventually, support.serve

describe("The old generation", function()
  -- Reloads to a policy that ticks; has it tick for a while.
  local function replace(child)
    reload(child, answering("new", TICKS))
    local at = position(child, "policy reloaded")
    eventually(function() return count(child, "ticks", at) > 40 end)
    return at
  end

  it("has its unload handlers run once, after the new policy took over",
      function()
    local child = kept(answering("old", [[
      host.on("unload", function() log("unload", { n = 1 }) end)
      host.on("unload", function() error "not this one" end)
      host.on("unload", function() log("unload", { n = 2 }) end)
    ]]))
    replace(child)
    assert.same({ 1, 2 }, told(child, "unload", "n"))
    assert.is_true(position(child, "got", 2) < position(child, "unload"))
    assert.is_true(position(child, "unload", 2)
      < position(child, "policy reloaded"))
    assert.matches("not this one", events(child, "policy error")[1].error)
    stop(child)
    assert.equal(2, count(child, "unload"))
  end)

  it("has none run that is registered while they run", function()
    local child = kept(answering("old", [[
      local n = 0
      local function again()
        n = n + 1
        if n < 1000000 then host.on("unload", again) end
        if n < 10 then log "unload" end
      end
      host.on("unload", again)
    ]]))
    replace(child)
    assert.equal(1, count(child, "unload"))
    stop(child)
  end)

  it("can do no harm in its unload handlers", function()
    local child, peer = kept([[
      local old, server
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(_, socket, _, s)
        old, server = socket, s
        socket:on("data", function() end)
        log "got"
      end)
      connect(r, 1)
      r2 = rover.new { name = "gone" }
      host.on("unload", function()
        local calls = {
          function() return old:write "x" end,
          function() return old:write({ "x", "y" }, function() end) end,
          function() return old:on("data", print) end,
          function() return old:off("data", print) end,
          function() return old:shutdown() end,
          function() return old:close() end,
          function() return old:detach() end,
          function() return old:peername() end,
          function() return old:sockname() end,
          function() return old:writeQueueSize() end,
          function() return old.slot, old.id, old.server, old.adopted end,
          function() old.state.x = 1 old.state = { y = 2 } end,
          function() return tostring(old), tostring(r), tostring(r2) end,
          function() return r:sockets(), r:stats(), r:servers() end,
          function() return r:on("error", print):off("error", print) end,
          function() return r:addServer("t", server):dropServer "s" end,
          function() return r:setRovingInterval(1):start():stop() end,
          function() return r:start():close() end,
          function() return r2:addServer("t", server):start() end,
          function() return r2:sockets(), r2:stats() end,
          function() return rover.new { name = "late" }:start() end,
          function() host.carry = { late = true } end,
          function() return require "luv".new_timer():start(0, 1, print) end,
          function() collectgarbage() end,
        }
        for i, call in ipairs(calls) do
          local ok, err = pcall(call)
          if not ok then log("raised", { call = i, error = err }) end
        end
        log("unloaded", { closed = old.closed, kept = #r2:sockets() })
      end)
    ]])
    replace(child)
    assert.is_true(logged(child, "unloaded").closed)
    assert.equal("new 2 1", peer:write("?"):line())
    assert.equal(0, count(child, "policy error"))
    stop(child)
  end)

  it("can say farewell on the sockets of a rover that is gone", function()
    local s = serve { send = "0\r\n" }
    local child = start([[
      r = rover.new { name = "gone", servers = { s = at(1) } }
      r:on("connection", function() log "got" end)
      connect(r, 2)
      host.on("unload", function()
        for _, socket in ipairs(r:sockets()) do socket:write "bye\r\n" end
      end)
    ]], s)
    logged(child, "got", 2)
    reload(child, "rover.new()")
    for _, peer in ipairs(s.peers) do
      assert.equal("bye", peer:line())
      assert.is_nil(peer:waitEnd())
    end
    stop(child)
  end)

  it("is silent: its timers, listeners and coroutines", function()
    local child, peer = kept(answering("old", [[
      local uv = require "luv"
      local function say() log "old" end
      local turns = 0 -- of which there are more than can be read
      local function rarely()
        turns = turns + 1
        if turns % 100 == 0 then say() end
      end
      uv.new_timer():start(0, 1, say)
      uv.new_idle():start(rarely)
      uv.new_check():start(rarely)
      uv.new_async(say):send()
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(5, say)
      log("listens", { port = listener:getsockname().port })
      local udp = uv.new_udp()
      udp:bind("127.0.0.1", 0)
      udp:recv_start(say)
      udp:send("x", "127.0.0.1", udp:getsockname().port, say)
      local pipe = uv.new_pipe()
      local reader, writer = uv.pipe().read, nil
      pipe:open(reader)
      pipe:read_start(say)
      local co = coroutine.wrap(function()
        local guard <close> = setmetatable({}, { __close = say })
        while true do coroutine.yield() log "old" end
      end)
      co()
      uv.new_timer():start(0, 1, co)
      r:on("connection", function(_, socket)
        socket:on("data", function() co() end)
        socket:on("close", say)
        socket:on("end", say)
      end)
    ]]))
    logged(child, "old", 10)
    local port = logged(child, "listens").port
    local client = support.connect(port)
    support.run(function() return client.connected end)
    local at = replace(child)
    assert.equal(0, count(child, "old", at))
    assert.equal("new 2 1", peer:write("?"):line())
    peer:close()
    support.run(function() return client.ended or client.closed end)
    assert.is_true(support.isFree(port))
    assert.equal(0, count(child, "old", at))
    stop(child)
  end)

  it("is silent: its requests, whatever comes of them", function()
    local port = support.blackHole()
    local child = kept(answering("old", ([[
      local uv = require "luv"
      local function say() log "old" end
      local tcp = uv.new_tcp()
      tcp:connect("127.0.0.1", %d, say)
      uv.getaddrinfo("127.0.0.1", nil, nil, say)
      uv.fs_stat("/", say)
      uv.spawn("sleep", { args = { "0.01" } }, say)
      uv.random(8, 0, say)
      host.on("unload", function()
        uv.fs_stat("/", say)
        uv.getaddrinfo("127.0.0.1", nil, nil, say)
        uv.spawn("true", {}, say)
        uv.new_timer():start(0, 0, say)
      end)
    ]]):format(port)))
    local at = replace(child)
    assert.equal(0, count(child, "old", at))
    stop(child)
  end)

  it("does not hold up the loop by a request that takes its time", function()
    local child, peer = kept(answering("old", [[
      local uv = require "luv"
      local function work() require "luv".sleep(1500) end
      uv.queue_work(uv.new_work(work, function() log "old" end))
    ]]))
    assert.is_true(reload(child, answering "new").ms < 750)
    assert.equal("new 2 1", peer:write("?"):line())
    -- It ends in a while; nobody hears of it.
    reload(child, answering("new", [[
      require "luv".new_timer():start(2000, 0, function() log "later" end)
    ]]))
    logged(child, "later")
    assert.equal(0, count(child, "old"))
    stop(child)
  end)

  it("does not hold up the loop by a request that never ends", function()
    local fifo = support.tmpdir() .. "/fifo"
    support.spawn("mkfifo", { fifo }):wait()
    local child, peer = kept(answering("old", ([[
      require "luv".fs_open(%q, "r", 0, function() log "old" end)
    ]]):format(fifo)))
    reload(child, answering "new")
    assert.equal("new 2 1", peer:write("?"):line())
    -- libuv's threads end with the process, and this one waits for us.
    io.open(fifo, "w"):close()
    stop(child)
    assert.equal(0, count(child, "old"))
  end)

  it("leaves no corpse of a process that it started", function()
    local child = kept(answering("old", [[
      local _, pid = require "luv".spawn("sleep", { args = { "0.2" } }, print)
      log("spawned", { pid = pid })
    ]]))
    local pid = logged(child, "spawned").pid
    reload(child, answering "new")
    eventually(function() return uv.kill(pid, 0) == nil end)
    stop(child)
  end)

  it("can do no harm in its finalizers", function()
    local child = kept(answering("old", [[
      local function finalizer(fn)
        return setmetatable({}, { __gc = fn })
      end
      keep = {}
      for i, fn in ipairs {
        function() require "luv".new_timer():start(0, 1, print) end,
        function() rover.new { name = "late" }:start() end,
        function() r:connect() r:start() end,
        function() for _, s in ipairs(r:sockets()) do s:close() end end,
        function() host.reload() end,
        function() host.log.info "finalized" end,
        function() host.on("unload", print) end,
        function() r:close() end,
        function() error "in a finalizer" end,
      } do keep[i] = finalizer(fn) end
    ]]))
    replace(child)
    assert.equal(1, count(child, "finalized"))
    assert.equal(1, count(child, "policy reloaded"))
    assert.equal(1, count(child, "ticks") > 0 and 1)
    stop(child)
  end)

  it("can do no harm in finalizers that run while it is replaced", function()
    local s = listen()
    local script = [[
      r = rover.new { servers = { s = at(1) }, maxAttempts = 300 }
      r:on("connection", function(_, socket)
        socket.state.some = { "thing", "that", "must", "be", "copied" }
        log "got"
      end)
      connect(r, 300)
    ]]
    local child = start(script, s)
    logged(child, "got", 300)
    -- The next collection closes the rover, once it is declared.
    local line = reload(child, script .. [[
      local declared = false
      local function litter()
        setmetatable({}, { __gc = function()
          if declared then pcall(r.close, r) else litter() end
        end })
      end
      litter()
      require "luv".new_timer():start(0, 0, function() collectgarbage() end)
      declared = true
    ]])
    assert.equal(300, line.adopted)
    assert.equal(300, #reloads.closed(s, 300))
    stop(child)
    -- Nothing was left that would not close.
    for _, event in ipairs(events(child)) do assert.equal("info", event.level)
    end
  end)
end)

describe("Many reloads", function()
  it("leave descriptors and memory as they were", function()
    local s = serve { send = { "0\r\n", "unread" } }
    local child = start([[
      local uv = require "luv"
      for i = 1, 20 do uv.new_timer():start(i, i, function() end) end
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(1, function() end)
      uv.fs_stat("/", function() end)
      waste = {}
      for i = 1, 5000 do waste[i] = { i } end
      host.carry = { n = (host.carry and host.carry.n or 0) + 1 }
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(_, socket)
        socket.state.n = (socket.state.n or 0) + 1
        socket:on("data", function() end)
        log "got"
      end)
      connect(r, 10)
      r:connect()
      r:on("connection", function(_, socket)
        if not socket.adopted and host.generation > 1 then socket:close() end
      end)
    ]], s)
    logged(child, "got", 10)
    local function rss()
      for line in io.lines("/proc/" .. child.pid .. "/status") do
        local kb = line:match "^VmRSS:%s*(%d+)"
        if kb then return tonumber(kb) end
      end
    end
    local descriptors, resident
    for i = 1, 200 do
      assert.equal(i + 1, reload(child).generation)
      if i == 20 then
        descriptors, resident = support.descriptors(child), rss()
      end
    end
    -- What is closed has its descriptor closed in the next turn.
    eventually(function()
      return support.descriptors(child) <= descriptors
    end)
    local growth = rss() / resident
    -- A sanitizer keeps what is freed for a while.
    if not support.WATCHED then
      assert.is_true(growth < 1.1, ("%.3f"):format(growth))
    end
    stop(child)
  end)
end)
