local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local start, reload, fails = reloads.start, reloads.reload, reloads.fails
local edit, told, count = reloads.edit, reloads.told, reloads.count
local position = reloads.position
local events, logged, stop = support.events, support.logged, support.stop
local eventually, serve = support.eventually, support.serve

-- A policy that answers `name`, its generation and how often it was asked.
local function answering(name, more)
  return ([[
    r = rover.new { servers = { s = at(1) } }
    local asked = 0
    r:on("connection", function(_, socket)
      socket:on("data", function()
        asked = asked + 1
        socket:write(("%s %%d %%d\r\n"):format(host.generation, asked))
      end)
      log "got"
    end)
    connect(r, 1)
  ]]):format(name) .. (more or "")
end

-- Behind a script: `ticks` is said by a timer of luv, from its 20th tick on.
local TICKS = [[
  local ticks, ticker = 0, require "luv".new_timer()
  ticker:start(1, 1, function()
    ticks = ticks + 1
    if ticks > 20 then log("ticks", { now = host.generation }) end
  end)
]]

-- Runs a policy that keeps a socket; both.
local function kept(script)
  local s = serve { send = "0\r\n" }
  local child = start(script, s)
  logged(child, "got")
  return child, s.peers[1]
end

-- The line of `text` in a script that `edit` writes.
local function lineOf(script, text)
  local before = script:sub(1, (script:find(text, 1, true)))
  return 1 + select(2, before:gsub("\n", ""))
end

describe("A reload that fails", function()
  -- What is wrong: a script, what the error says behind the position of the
  -- word BAD in the script, if that is there. A function sees to what a
  -- script cannot do.
  for name, case in pairs {
    ["does not parse"] = { "\n\nr = = 1 -- BAD\n",
      "unexpected symbol near '='" },
    ["raises an error"] = {
      "r = rover.new()\nlocal function f()\n  error 'oops' -- BAD\nend\nf()\n",
      "oops", "in local 'f'.*in main chunk" },
    ["raises a table"] = { "r = rover.new()\nerror {}",
      "%(error object is a table value%)" },
    ["calls nil"] = { "r = rover.new()\nnothing() -- BAD",
      "attempt to call a nil value %(global 'nothing'%)", "in main chunk" },
    ["misuses the rover"] = {
      "r = rover.new { rovingIntervall = 1 } -- BAD",
      "bad argument #1 to 'new' %(unknown option 'rovingIntervall'",
      "in main chunk" },
    ["requires a module that does not parse"] = { function(child)
      support.write((child.path:gsub("policy.lua$", "helper.lua")),
        "\nlocal = 1\n")
      edit(child, "r = rover.new()\nrequire 'helper'")
    end, "helper.lua:2: <name> expected near '='", "in main chunk" },
    ["requires a module that is not there"] = {
      "r = rover.new()\nrequire 'no_such_module' -- BAD",
      "module 'no_such_module' not found", "in main chunk" },
    ["declares no rover"] = { "log 'here'", "policy.lua declares no rover" },
    ["closes its rover"] = { "rover.new():close()",
      "policy.lua declares no rover" },
    ["is removed"] = { function(child) os.remove(child.path) end,
      "cannot open .*policy.lua" },
    ["is a folder"] = { function(child)
      os.remove(child.path)
      assert(uv.fs_mkdir(child.path, 448))
    end, "cannot read .*policy.lua" },
    ["is bytecode"] = { function(child)
      support.write(child.path, string.dump(load "return 1"))
    end, "attempt to load a binary chunk" },
    ["takes one name for two rovers"] = {
      "rover.new()\nrover.new() -- BAD",
      "name: there is a rover 'main' already" },
  } do
    it("because the script " .. name .. " changes nothing, and the log says "
        .. "why", function()
      local child, peer = kept(answering "old")
      assert.equal("old 1 1", peer:write("?"):line())
      local script = case[1]
      if type(script) == "string" then edit(child, script)
      else script(child) end
      local line = fails(child)
      assert.equal("error", line.level)
      local message = line.error
      if type(script) == "string" and script:find "BAD" then
        local at = ("%s:%d: "):format(child.path, lineOf(script, "BAD"))
        assert.equal(at, message:sub(1, #at))
      end
      assert.matches(case[2], message)
      assert.matches("^stack traceback:", line.traceback)
      assert.matches(case[3] or "", line.traceback)
      -- The old one has not noticed: its variables, its sockets.
      assert.equal("old 1 2", peer:write("?"):line())
      assert.equal(1, count(child, "got"))
      if name == "is a folder" then assert(uv.fs_rmdir(child.path)) end
      -- Nor does the next one.
      assert.same({ 2, 1, 0 }, (function(l)
        return { l.generation, l.adopted, l.closed }
      end)(reload(child, answering "new")))
      assert.equal("new 2 1", peer:write("?"):line())
      stop(child)
    end)
  end

  it("leaves alone what the script made before it failed", function()
    local s = serve { send = "0\r\n" }
    local child = start(answering("old", TICKS), s)
    logged(child, "got")
    fails(child, [[
      local uv = require "luv"
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(1, function() end)
      log("listens", { port = listener:getsockname().port })
      uv.new_timer():start(0, 1, function() log "bad" end)
      r = rover.new { rovingInterval = 1, servers = { s = at(1) } }
      r:on("connection", function() log "bad" end):start():connect()
      rover.new { name = "other", servers = { s = at(1) } }:start()
      host.on("unload", function() log "bad" end)
      error "enough"
    ]])
    local port = logged(child, "listens").port
    eventually(function() return support.isFree(port) end)
    local at = position(child, "reload failed, the old policy goes on")
    eventually(function() return count(child, "ticks", at) > 20 end)
    assert.equal(0, count(child, "bad"))
    assert.equal(1, #s.peers)
    assert.is_false(s.peers[1].ended)
    stop(child)
  end)

  it("keeps the rhythm of the old policy", function()
    local s = serve { send = "0\r\n" }
    local roving = answering("old", "r:setRovingInterval(10) r:start()")
    local child = start(roving, s)
    for i = 1, 5 do
      fails(child, "r = rover.new { rovingInterval = 3600000 } error 'no'")
      support.run(function() return #s.peers > 2 * i end)
    end
    stop(child)
  end)

  it("has not asked for anything, neither stop() nor reload()", function()
    local child, peer = kept(answering("old", TICKS))
    local failed = fails(child, [[
      r = rover.new()
      host.stop(7)
      host.reload()
      error "no"
    ]])
    assert.matches("no$", failed.error)
    local at = position(child, "reload failed, the old policy goes on")
    eventually(function() return count(child, "ticks", at) > 20 end)
    assert.equal(1, count(child, "reload failed, the old policy goes on"))
    assert.equal("old 1 1", peer:write("?"):line())
    assert.equal(2, reload(child, answering "new").generation)
    stop(child)
  end)

  it("does not change a stop() that was asked for before", function()
    local path = support.tmpfile([[
      local host = require "callosum.host"
      if host.generation == 2 then host.stop(7) error "no" end
      local r = require "callosum.rover".new()
      require "luv".new_timer():start(0, 0, function()
        host.reload()
        host.stop(3)
      end)
    ]])
    local other = support.command { "run", path }
    assert.same({ 3, 0 }, { other:wait() }, other.output)
  end)

  it("is no generation", function()
    local child, peer = kept(answering "old")
    assert.equal("old 1 1", peer:write("?"):line())
    fails(child, "error 'one'")
    fails(child, "error 'two'")
    assert.equal(2, reload(child, answering "new").generation)
    assert.equal("new 2 1", peer:write("?"):line())
    fails(child, "error 'three'")
    assert.equal(3, reload(child, answering "newer").generation)
    assert.equal("newer 3 1", peer:write("?"):line())
    stop(child)
  end)
end)

describe("A reload", function()
  describe("is triggered", function()
    it("by SIGHUP", function()
      local child, peer = kept(answering "old")
      local line = reload(child, answering "new")
      assert.same({ "info", "SIGHUP", 2, child.path, 1, 0 },
        { line.level, line.trigger, line.generation, line.file, line.adopted,
          line.closed })
      assert.equal("number", type(line.ms))
      assert.is_true(line.ms >= 0 and line.ms < 10000)
      assert.equal("new 2 1", peer:write("?"):line())
      stop(child)
    end)

    -- Where host.reload() is called from, once, by the first generation.
    for where, script in pairs {
      ["a rover's handler"] = [[
        r:on("connection", function() if first then ask() end end)
      ]],
      ["a socket's handler"] = [[
        r:on("connection", function(_, socket)
          if first then socket:on("data", ask) end
        end)
      ]],
      ["a callback of a write"] = [[
        r:on("connection", function(_, socket)
          if first then socket:write("x", ask) end
        end)
      ]],
      ["a timer of luv"] = [[
        if first then require "luv".new_timer():start(1, 0, ask) end
      ]],
      ["a coroutine"] = [[
        r:on("connection", coroutine.wrap(function()
          coroutine.yield()
        end))
        local co = coroutine.wrap(function() ask() coroutine.yield() end)
        r:on("connection", function() if first then co() end end)
      ]],
    } do
      it("by host.reload() in " .. where .. ", once that is through", function()
        local s = serve { send = { "0\r\n", "data" } }
        local child = start([[
          first = host.generation == 1
          r = rover.new { servers = { s = at(1) } }
          local mine = "mine"
          function ask()
            assert(select("#", host.reload()) == 0)
            host.reload()
            log("after", { now = host.generation, mine = mine })
            host.reload()
          end
        ]] .. script .. TICKS .. [[
          r:on("connection", function() log("got", {now = host.generation}) end)
          connect(r, 1)
        ]], s)
        local line = logged(child, "policy reloaded")
        assert.same({ "host.reload()", 2 }, { line.trigger, line.generation })
        local after = events(child, "after")
        assert.equal(1, #after)
        assert.same({ 1, "mine" }, { after[1].now, after[1].mine })
        assert.is_true(position(child, "after")
          < position(child, "policy reloaded"))
        -- Three were asked for; they were one.
        local at = position(child, "policy reloaded")
        eventually(function() return count(child, "ticks", at) > 20 end)
        assert.equal(1, count(child, "policy reloaded"))
        assert.equal(0, count(child, "policy error"))
        stop(child)
      end)
    end
  end)

  -- Asks for reloads where that makes no sense; each must do nothing, and not
  -- go on for ever either.
  local function triggersNone(script)
    local child = kept(answering("any", TICKS .. script))
    -- In vain, it is only to give up soon: there would be many reloads.
    local function tick(from)
      eventually(function()
        return count(child, "ticks", from) > 20
          or count(child, "policy reloaded") > 1
      end)
    end
    tick()
    assert.equal(0, count(child, "policy reloaded"))
    assert.equal(2, reload(child).generation)
    tick(position(child, "policy reloaded"))
    assert.equal(1, count(child, "policy reloaded"))
    stop(child)
  end

  it("is not triggered by the script's own body, which is being loaded",
      function()
    triggersNone "host.reload()"
  end)

  it("is not triggered by the unload handlers of a policy that is replaced",
      function()
    triggersNone "host.on('unload', function() host.reload() end)"
  end)

  it("triggered again by each adoption leaves the loop its turns", function()
    local s = serve { send = "0\r\n" }
    local child = start([[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(_, socket)
        socket:on("data", function(chunk) socket:write(chunk) end)
        host.reload()
      end)
      connect(r, 1)
    ]], s)
    logged(child, "policy reloaded", 20)
    assert.equal("hello", s.peers[1]:write("hello\r\n"):line())
    stop(child)
  end)

  it("counts generations up by one, in the log and in host.generation",
      function()
    local child = kept(answering("any",
      "log('body', { now = host.generation })"))
    for i = 2, 6 do assert.equal(i, reload(child).generation) end
    assert.same({ 1, 2, 3, 4, 5, 6 }, told(child, "body", "now"))
    stop(child)
  end)

  it("hands the new policy the same arguments", function()
    local child = kept(answering("any",
      "log('args', { same = (...) == host.args[1], n = select('#', ...) })"))
    reload(child)
    for _, event in ipairs(events(child, "args")) do
      assert.same({ true, 1 }, { event.same, event.n })
    end
    stop(child)
  end)

  it("loads anew what the script requires", function()
    local child = kept(answering("any"))
    local helper = child.path:gsub("policy.lua$", "helper.lua")
    local script = answering("any", "log('helper', { n = require 'helper' })")
    for i = 1, 3 do
      support.write(helper, "return " .. i)
      reload(child, script)
    end
    assert.same({ 1, 2, 3 }, told(child, "helper", "n"))
    stop(child)
  end)

  it("lets the new script's body call stop()", function()
    local child = kept(answering "old")
    edit(child, answering("new", "host.stop(4)"))
    child:kill "sighup"
    assert.same({ 4, 0 }, { child:wait() })
    assert.equal(1, count(child, "policy reloaded"))
  end)
end)

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
      uv.new_timer():start(0, 1, say)
      uv.new_idle():start(say)
      uv.new_check():start(say)
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
    local child, peer = kept(answering("old", [[
      function litter()
        for _ = 1, 5 do
          setmetatable({}, { __gc = function() r:connect() litter() end })
        end
      end
      litter()
    ]]))
    reload(child, [[
      collectgarbage "generational"
      function litter()
        setmetatable({}, { __gc = function() r2:close() end })
      end
      r2 = rover.new { name = "other" }
      litter()
    ]] .. answering "new")
    assert.equal("new 2 1", peer:write("?"):line())
    stop(child)
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
    if not support.EXECUTABLE:find "/asan/" then
      assert.is_true(growth < 1.1, ("%.3f"):format(growth))
    end
    stop(child)
  end)
end)
