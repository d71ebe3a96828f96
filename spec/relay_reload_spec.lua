local relays = require "support.relays"
local reloads = require "support.reloads"
local sockets = require "support.sockets"
local support = require "support"
local uv = require "luv"

local eventually = support.eventually
local events, logged, run = support.events, support.logged, support.run
local edit, fails, reload = reloads.edit, reloads.fails, reloads.reload

describe("a relay over a reload", function()
  -- What the policies here begin with: servers' port and relay's address are
  -- the first arguments. `picks` is a relay that picks any kept socket.
  local HEAD = ([[
    relay = require "callosum.relay"
    r = rover.new { servers = { s = at(1) } }
    r:on("connection", function(_, socket) log "got" end)
    function where(i)
      local port = tonumber(host.args[i])
      return port and { port = port } or { path = host.args[i] }
    end
    function picks(options)
      options.listen = options.listen or where(2)
      options.pick = options.pick or function() return r:sockets()[1] end
      local s = relay.new(options)
      s:on("error", function(err) log("relay error", { err = err.code }) end)
      return s
    end
  ]]):gsub("\n%s*", " ")

  local ends -- of connections, and servers

  local function connect(...)
    ends[#ends + 1] = support.connect(...)
    return ends[#ends]
  end

  -- Runs a policy once it keeps `n` sockets.
  local function start(script, n, ...)
    local server = support.serve { send = "0\r\n" }
    ends = { server }
    local child = reloads.start(HEAD .. script .. " connect(r, " .. n .. ")",
      server, ...)
    if n > 0 then logged(child, "got", n) end
    return child, server
  end

  local function finish(child)
    for _, each in ipairs(ends) do each:close() end
    support.stop(child)
    assert.equal(0, #events(child, "policy error"), child.output)
  end

  -- A pair through a relay at a path.
  local function pair(script)
    local path = relays.path()
    local child, server = start(script or "picks {}", 1, path)
    local client = connect(path):write("hello")
    server.peers[1]:take "^hello"
    return child, client, server.peers[1], path
  end

  local function works(client, server)
    client:write("ping")
    server:take "^ping"
    server:write("pong")
    client:take "^pong"
  end

  -- Sends `count` blocks of a megabyte, each other than the one before.
  local function blocks(i)
    return ("%08x"):format(i) .. ("%7d\n"):format(i):rep(131071)
  end

  local function send(peer, count)
    local sent = { count = 0 }
    local function step(i)
      if i > count then
        return peer.handle:shutdown(function(err) sent.err = err end)
      end
      peer.handle:write(blocks(i), function(err)
        if err then
          sent.err = err
          return
        end
        sent.count = i
        step(i + 1)
      end)
    end
    step(1)
    return sent
  end

  -- Checks them as they come.
  local function check(peer)
    local got = { count = 0, over = false, rest = "" }
    local pieces, length = {}, 0
    peer.handle:read_stop()
    assert(peer.handle:read_start(function(err, chunk)
      if not chunk then
        got.over, got.rest = err or true, table.concat(pieces)
        return
      end
      pieces[#pieces + 1], length = chunk, length + #chunk
      if length < 1 << 20 then return end
      local all = table.concat(pieces)
      got.count = got.count + 1
      sockets.same(blocks(got.count), all:sub(1, 1 << 20))
      pieces, length = { all:sub((1 << 20) + 1) }, length - (1 << 20)
    end))
    return got
  end

  it("copies on, not a byte other, while 100 MB are on their way", function()
    local told = [[
      host.on("unload", function() log("relay", s:stats()) end)
    ]]
    local child, client, server = pair("s = picks {} " .. told)
    local up, down = check(server), check(client)
    local asked, answered = send(client, 100), send(server, 20)
    for i = 1, 5 do
      run(function() return up.count >= i * 15 or up.over end)
      reload(child)
    end
    reload(child,
      HEAD .. "r:start() s = picks { idleTimeout = 60000 } " .. told)
    run(function() return up.over and down.over end, 60)
    finish(child) -- tells why, if it has ended already
    local function seen(sent, got)
      return { sent.count, sent.err, got.count, got.over, got.rest }
    end
    assert.same({ 100, nil, 100, true, "" }, seen(asked, up), child.output)
    assert.same({ 20, nil, 20, true, "" }, seen(answered, down), child.output)
  end)

  it("listens on: no client is refused, ever", function()
    local path = relays.path()
    local child = start("picks { pick = function() end }", 1, path)
    local inode = uv.fs_lstat(path).ino
    local clients = {}
    local timer = uv.new_timer()
    timer:start(1, 1, function()
      if #clients < 300 then clients[#clients + 1] = connect(path) end
    end)
    for _ = 1, 8 do reload(child) end
    run(function() return #clients == 300 end)
    timer:close()
    reload(child, HEAD .. [[
      local s = picks { pick = function() end }
      local timer = require "luv".new_timer()
      timer:start(5, 5, function()
        if s:stats().accepted == 300 then log("all", s:stats()) end
      end)
    ]])
    local all = logged(child, "all")
    assert.same({ 300, 300 }, { all.accepted, all.waiting })
    for _, client in ipairs(clients) do
      assert.is_true(client.connected and not client.ended)
    end
    assert.equal(inode, uv.fs_lstat(path).ino)
    finish(child)
  end)

  it("keeps the port that it has taken", function()
    local script = [[
      local s = picks { listen = { port = 0 } }
      local timer = require "luv".new_timer()
      timer:start(1, 0, function()
        log("listens", { port = select(2, s:address()) })
      end)
    ]]
    local child, server = start(script, 1)
    local port = logged(child, "listens").port
    reload(child)
    assert.equal(port, logged(child, "listens", 2).port)
    connect(port):write("x")
    server.peers[1]:take "x"
    finish(child)
  end)

  it("offers who waits to the new pick, once all sockets are adopted",
      function()
    local path = relays.path()
    local child, server = start("picks { pick = function() end }", 2, path)
    connect(path):write("first")
    connect(path):write("second")
    reload(child, HEAD .. [[
      local asked = 0
      picks { pick = function(client)
        asked = asked + 1
        log("asked", { n = asked, sockets = #r:sockets() })
        return r:sockets()[1]
      end }
    ]])
    logged(child, "asked", 2)
    assert.same({ 2, 1 }, reloads.told(child, "asked", "sockets"))
    local from = {}
    run(function()
      from = { server.peers[1].received, server.peers[2].received }
      table.sort(from)
      return from[1] == "first" and from[2] == "second"
    end)
    finish(child)
  end)

  it("ends what the old pick waits for, and the client it kept", function()
    local path = relays.path()
    local child, server = start([[
      local client, waiting, socket
      r:on("connection", function(_, s) socket = s end)
      picks { pick = function(c)
        client, waiting = c, coroutine.running()
        log "asked"
        return coroutine.yield()
      end }
      host.on("unload", function()
        local ok, message = client:join(socket)
        log("unloaded", { joined = ok ~= nil, why = message,
          waiting = client.waiting,
          resumed = coroutine.resume(waiting, socket) })
      end)
    ]], 1, path)
    connect(path):write("x")
    logged(child, "asked")
    reload(child, HEAD .. "picks {}")
    server.peers[1]:take "x"
    local told = logged(child, "unloaded")
    assert.same({ false, "the client is no longer waiting", false, true },
      { told.joined, told.why, told.waiting, told.resumed })
    finish(child)
  end)

  it("takes new options", function()
    local path = relays.path()
    local child = start("picks { pick = function() end }", 1, path)
    local one, other = connect(path), connect(path)
    logged(child, "policy loaded")
    reload(child, HEAD
      .. "picks { pick = function() end, maxClients = 1, waitTimeout = 200 }")
    assert.equal("ENOBUFS", logged(child, "relay error", 1).err)
    one:waitEnd()
    assert.equal("ETIMEDOUT", logged(child, "relay error", 2).err)
    other:waitEnd()
    finish(child)
  end)

  it("counts a shorter idleTimeout from the last byte", function()
    local child, client, server = pair "picks { idleTimeout = 60000 }"
    local timer, last = uv.new_timer(), nil
    timer:start(300, 0, function()
      timer:close()
      last = uv.now()
      client:write("ping")
    end)
    server:take "^ping"
    reload(child, HEAD .. "picks { idleTimeout = 400 }")
    assert.is_nil(client:waitEnd()) -- a Unix socket knows no reset
    local took = uv.now() - last
    assert.is_true(took >= 399, took)
    finish(child)
  end)

  it("closes in time who waits on, whoever is joined", function()
    local path = relays.path()
    local child = start("picks { pick = function() end, waitTimeout = 200 }", 1,
      path)
    local one, other = connect(path), connect(path)
    logged(child, "policy loaded")
    reload(child, HEAD .. "picks { waitTimeout = 200, idleTimeout = 60000 }")
    assert.equal("ETIMEDOUT", logged(child, "relay error").err)
    run(function() return one.ended or other.ended end)
    finish(child)
  end)

  it("takes a new mode", function()
    local child, client, server, path = pair()
    local inode = uv.fs_lstat(path).ino
    reload(child, HEAD .. [[
      picks { listen = { path = host.args[2], mode = "0666" } }
    ]])
    local stat = uv.fs_lstat(path)
    assert.same({ inode, tonumber("666", 8) }, { stat.ino, stat.mode & 511 })
    works(client, server)
    finish(child)
  end)

  it("listens at a new address; the joined go on", function()
    local child, client, server, path = pair()
    local new = relays.path()
    reload(child, HEAD .. ("picks { listen = { path = %q } }"):format(new))
    assert.is_nil(uv.fs_lstat(path))
    works(client, server)
    local other = connect(new)
    run(function() return other.connected end)
    local port = support.freePorts(1)
    reload(child, HEAD .. ("picks { listen = { port = %d } }"):format(port))
    assert.is_nil(uv.fs_lstat(new))
    works(client, server)
    other = connect(port)
    run(function() return other.connected end)
    finish(child)
    assert.is_true(support.isFree(port))
  end)

  it("may have another's address, or another name", function()
    local one, other = relays.path(), relays.path()
    local child, server = start([[
      picks { name = "one" }
      picks { name = "other", listen = where(3) }
    ]], 1, one, other)
    local inodes = { uv.fs_lstat(one).ino, uv.fs_lstat(other).ino }
    local client = connect(one):write("x")
    server.peers[1]:take "x"
    reload(child, HEAD .. [[
      picks { name = "one", listen = where(3) }
      picks { name = "other" }
    ]])
    works(client, server.peers[1])
    reload(child, HEAD .. [[
      picks { name = "one" }
      picks { name = "new", listen = where(3) }
    ]])
    works(client, server.peers[1])
    assert.same(inodes, { uv.fs_lstat(one).ino, uv.fs_lstat(other).ino })
    for _, path in ipairs { one, other } do
      local late = connect(path)
      run(function() return late.connected end)
    end
    finish(child)
    assert.is_nil(uv.fs_lstat(one) or uv.fs_lstat(other))
  end)

  it("keeps its socket when the path is spelled otherwise", function()
    local child, client, server, path = pair()
    local inode = uv.fs_lstat(path).ino
    local folder, name = path:match "(.*)/(.*)"
    local link = support.tmpdir() .. "/link"
    assert(uv.fs_symlink(folder, link))
    for _, other in ipairs { folder .. "//" .. name,
        ("%s/../%s/./%s"):format(folder, folder:match "[^/]*$", name),
        link .. "/" .. name } do
      reload(child, HEAD .. ("picks { listen = { path = %q } }"):format(other))
      works(client, server)
      assert.equal(inode, uv.fs_lstat(path).ino)
      local late = connect(other)
      run(function() return late.connected end)
    end
    assert(uv.fs_unlink(link)) -- it is by the first name again
    reload(child, HEAD .. "picks {}")
    assert.equal(inode, uv.fs_lstat(path).ino)
    finish(child)
    assert.is_nil(uv.fs_lstat(path))
  end)

  it("makes its socket again if that is gone", function()
    local child, client, server, path = pair()
    uv.fs_unlink(path)
    reload(child)
    works(client, server)
    local other = connect(path)
    run(function() return other.connected end)
    finish(child)
  end)

  it("that is not declared any more stops listening, and its clients get "
      .. "drainTimeout", function()
    local child, client, server, path = pair "picks { drainTimeout = 2000 }"
    local waiting = connect(path)
    run(function() return waiting.connected end)
    local from = uv.hrtime()
    reload(child, HEAD .. "r:start()")
    assert.is_nil(uv.fs_lstat(path))
    waiting:waitEnd()
    works(client, server)
    reload(child) -- of which they notice nothing
    works(client, server)
    assert.equal("ECONNRESET", server:waitEnd())
    assert.is_nil(client:waitEnd())
    assert.is_true(uv.hrtime() - from > 1990e6)
    finish(child)
  end)

  describe("that fails", function()
    local function unchanged(script, message)
      local child, client, server, path = pair()
      local inode = uv.fs_lstat(path).ino
      assert.matches(message, fails(child, HEAD .. script).error)
      works(client, server)
      assert.equal(inode, uv.fs_lstat(path).ino)
      local other = connect(path)
      run(function() return other.connected end)
      reload(child, HEAD .. "picks {}")
      works(client, server)
      finish(child)
    end

    it("by its script changes nothing", function()
      unchanged("picks { drainTimeout = 1 } error 'oops'", "oops")
      unchanged("picks { idleTimeout = 'x' }", "idleTimeout: integer")
    end)

    it("by an address that cannot be had changes nothing", function()
      local taken = support.serve().port
      local path = relays.path()
      unchanged(([[
        picks {}
        picks { name = "a", listen = { path = %q } }
        picks { name = "b", listen = { port = %d } }
      ]]):format(path, taken), ("relay 'b': cannot listen on 127.0.0.1:%d: "
        .. "address already in use"):format(taken))
      assert.is_nil(uv.fs_lstat(path))
    end)

    it("by an address that takes in that of the old policy says so", function()
      local port = support.freePorts(1)
      local child = start("picks {}", 0, port)
      local message = ("relay 'main': cannot listen on %%s:%d: the running "
        .. "policy listens on 127.0.0.1:%d until it is replaced; first reload "
        .. "it with another port or without that relay, or restart")
        :format(port, port)
      for _, host in ipairs { "0.0.0.0", "::" } do
        local any = HEAD .. ("picks { listen = { host = %q, port = %d } }")
          :format(host, port)
        assert.equal(message:format(host == "::" and "[::]" or host),
          fails(child, any).error)
      end
      reload(child, HEAD)
      reload(child, HEAD .. ("picks { listen = { host = '::', port = %d } }")
        :format(port))
      connect(port)
      finish(child)
    end)

    it("by two relays of one name changes nothing", function()
      unchanged("picks {} picks { listen = { port = 0 } }",
        "name: there is a relay 'main' already")
    end)

    it("by two relays at one address changes nothing", function()
      unchanged("picks {} picks { name = 'again' }", "address already in use")
    end)
  end)

  describe("in the host", function()
    before_each(function() ends = {} end)

    it("fails the load if it cannot listen", function()
      local taken = support.serve().port
      local path = relays.path()
      local script = support.tmpfile(([[
        local rover, relay = require "callosum.rover", require "callosum.relay"
        rover.new()
        local function pick() end
        relay.new { name = "a", listen = { path = %q }, pick = pick }
        relay.new { name = "b", listen = { port = %d }, pick = pick }
      ]]):format(path, taken))
      local child = support.command { "run", script }
      assert.same({ 1, 0 }, { child:wait() })
      assert.matches("cannot load policy .*relay 'b': cannot listen on "
        .. "127.0.0.1:" .. taken .. ": address already in use", child.stderr)
      assert.is_nil(uv.fs_lstat(path))
    end)

    it("is declared by a policy that is checked, which listens nowhere",
        function()
      local taken = support.serve().port
      local script = support.tmpfile(([[
        local rover, relay = require "callosum.rover", require "callosum.relay"
        rover.new()
        local function pick() end
        local s = relay.new { listen = { port = %d }, pick = pick }
        assert(select(2, s:address()) == %d and s:stats().accepted == 0)
        relay.new { name = "b", listen = { path = "/nowhere/b.sock",
          mode = "0660" }, maxClients = 7, pick = pick }
      ]]):format(taken, taken))
      local child = support.command { "check", script }
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal(([[
rover 'main': every 1000 ms, 0 servers, does not start
relay 'main': 127.0.0.1:%d, at most 1000 clients
relay 'b': /nowhere/b.sock (mode 0660), at most 7 clients
]]):format(taken), child.stdout)
    end)

    it("resets nobody whose bytes came while a handler ran, or it was stopped",
        function()
      local path = relays.path()
      local child, server = start([[
        picks { idleTimeout = 300, pick = function() return free end }
        r:on("connection", function(_, socket)
          if not free then free = socket return end
          socket:on("data", function()
            log "busy"
            require "luv".sleep(500)
          end)
        end)
      ]], 2, path)
      local client = connect(path):write("hello")
      local one, other = server.peers[1], server.peers[2]
      run(function() return #one.received + #other.received == 5 end)
      if one.received == "" then one, other = other, one end
      other:write "x"
      logged(child, "busy")
      client:write "question"
      one:take "question"
      child:kill "sigstop"
      one:write "answer"
      uv.sleep(500)
      child:kill "sigcont"
      client:take "answer"
      works(client, one)
      finish(child)
    end)

    it("works in the sandbox", function()
      local path = relays.path()
      local server = support.serve { send = "0\r\n" }
      ends[1] = server
      local script = ([[
        local host = require "callosum.host"
        local rover, relay = require "callosum.rover", require "callosum.relay"
        local r = rover.new { servers = {
          s = { host = "127.0.0.1", port = %d } } }
        r:on("connection", function() end)
        r:connect()
        local s = relay.new { listen = { path = %q }, pick = function(client)
          host.log.info("types", { relay = getmetatable(s),
            client = getmetatable(client) })
          return r:sockets()[1]
        end }
        host.log.info("type", { relay = getmetatable(s) })
      ]]):format(server.port, path)
      local child = support.policy(script, {
        flags = { "--sandbox", "--allow-path", path:match "(.*)/" } })
      logged(child, "policy loaded")
      connect(path):write("x")
      run(function() return #server.peers == 1 end)
      server.peers[1]:take "x"
      assert.equal("callosum.relay", events(child, "type")[1].relay)
      assert.equal("callosum.client", events(child, "types")[1].client)
      finish(child)
    end)

    it("logs what pick raises, and closes the client", function()
      local path = relays.path()
      local child = start([[
        function wrong() error "no idea" end
        picks { pick = function() wrong() end }
      ]], 0, path)
      connect(path):waitEnd()
      local event = logged(child, "policy error")
      assert.matches("policy.lua:%d+: no idea$", event.error)
      assert.matches("^stack traceback:\n.*in function 'wrong'.*"
        .. "policy.lua:%d+: in ", event.traceback)
      assert.same({ "pick", "main", "the client is closed" },
        { event.event, event.relay, event.outcome })
      support.stop(child)
    end)

    it("logs what a coroutine of pick raises that waits no more", function()
      local path = relays.path()
      local child = start([[
        local timer = require "luv".new_timer()
        picks { pick = function()
          local co = coroutine.running()
          timer:start(1, 0, function() assert(coroutine.resume(co)) end)
          coroutine.yield()
          error "no idea"
        end }
      ]], 0, path)
      connect(path):waitEnd()
      assert.matches("no idea", logged(child, "policy error").error)
      support.stop(child)
    end)

    it("logs what pick raises as it leaves a pool's line", function()
      local path = relays.path()
      local child = start([[
        local p = require "callosum.pool".new()
        picks { pick = function()
          local _ <close> = setmetatable({}, { __close = function()
            log("left", { waiting = p:stats().waiting })
            error "no idea"
          end })
          log "picks"
          return p:awaitConnection()
        end }
        host.on("unload", function() log "over" end)
      ]], 0, path)
      local client = connect(path)
      logged(child, "picks")
      client:close()
      assert.matches("no idea", logged(child, "policy error").error)
      assert.equal(0, events(child, "left")[1].waiting)
      support.stop(child)
      assert.equal(1, #events(child, "left"))
    end)

    it("holds to its budget what pick does as it leaves", function()
      local path = relays.path()
      local child = support.policy(([[
        local host = require "callosum.host"
        local p = require "callosum.pool".new()
        p:attach(require "callosum.rover".new())
        require "callosum.relay".new { listen = { path = %q },
          pick = function()
            -- TSan has signals wait until the C library is called.
            local _ <close> = setmetatable({}, { __close = function()
              while true do pcall(string.rep, "x", 10) end
            end })
            host.log.info "picks"
            return p:awaitConnection()
          end }
      ]]):format(path), { flags = { "--budget", "100" } })
      logged(child, "policy loaded")
      for i = 1, 2 do
        local client = connect(path)
        logged(child, "picks", i)
        client:close()
        assert.matches("the time budget of 100 ms is over",
          logged(child, "policy error", i).error)
      end
      support.stop(child)
    end)

    it("holds pick to its budget, and closes the client", function()
      local path = relays.path()
      local server = support.serve { send = "0\r\n" }
      local child = support.policy(([[
        local rover, relay = require "callosum.rover", require "callosum.relay"
        rover.new()
        relay.new { listen = { path = %q }, pick = function()
          while true do pcall(string.rep, "x", 10) end
        end }
      ]]):format(path), { flags = { "--budget", "100" } })
      logged(child, "policy loaded")
      connect(path):waitEnd()
      assert.matches("time budget of 100 ms is over",
        logged(child, "policy error").error)
      server:close()
      support.stop(child)
    end)

    it("logs an error that nobody listens to", function()
      local path = relays.path()
      local child = start([[
        relay.new { listen = where(2), waitTimeout = 1, pick = function() end }
      ]], 0, path)
      connect(path):waitEnd()
      assert.equal("unhandled 'error' event of relay 'main': no socket for a "
        .. "client in 1 ms (ETIMEDOUT)", logged(child, "policy error").error)
      support.stop(child)
    end)

    it("lets its clients finish when the host stops", function()
      local child, client, server, path = pair()
      child:kill()
      eventually(function() return not uv.fs_lstat(path) end)
      works(client, server)
      assert.is_nil(child.code)
      client:write("bye"):shutdown()
      assert.equal("bye", server:take "^bye")
      server:write("bye"):shutdown()
      assert.equal("bye", client:take "^bye")
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end)

    it("gives them no longer than drainTimeout then", function()
      local child, _, server = pair "picks { drainTimeout = 100 }"
      child:kill()
      assert.equal("ECONNRESET", server:waitEnd())
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end)

    it("gives them no time when it is told twice to stop", function()
      local child, _, server, path = pair()
      child:kill()
      eventually(function() return not uv.fs_lstat(path) end)
      child:kill()
      server:waitEnd()
      assert.equal(15, select(2, child:wait()))
    end)

    it("has its last counters in `unload`", function()
      local child, client, server = pair([[
        local s = picks {}
        host.on("unload", function()
          log("last", s:stats())
          log("where", { at = s:address() })
        end)
        require "luv".new_timer():start(1, 1, function()
          if s:stats().sent == 4 then log "counted" end
        end)
      ]])
      works(client, server)
      logged(child, "counted")
      reload(child, HEAD .. "picks {}")
      local last = logged(child, "last")
      assert.same({ 1, 1, 1, 9, 4 }, { last.accepted, last.joined, last.running,
        last.received, last.sent })
      works(client, server)
      finish(child)
    end)

    it("keeps its counters", function()
      local script = [[
        local s = picks {}
        require "luv".new_timer():start(1, 1, function()
          if s:stats().running == 1 then log("stats", s:stats()) end
        end)
      ]]
      local child, client, server = pair(script)
      works(client, server)
      reload(child)
      eventually(function()
        local list = events(child, "stats")
        return #list > 0 and list[#list].received == 9
      end)
      edit(child, HEAD .. script)
      finish(child)
    end)
  end)
end)
