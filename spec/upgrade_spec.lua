-- SIGUSR2: a running command is replaced by another process of it.

local assert = require "luassert"
local faults = require "support.faults"
local fronts = require "support.fronts"
local managers = require "support.manager"
local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local events, logged, run = support.events, support.logged, support.run
local slot = fronts.slot

local TAKEN = "another process has taken over"
local ENDED = "the process before this one has ended"
local FAILED = "upgrade failed, this process goes on"
local REFUSED = "upgrade refused"
local CANNOT = "cannot take over from the process before this one"
local HELD = "reload held back"

-- Processes that are none of libuv's here end with the test, too.
local function owned(pid)
  support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
  return pid
end

-- Starts a front before a server that echoes. Connections stay until their
-- client ends them.
local function start(options)
  options = options or {}
  local server = options.server or support.serve { connection = function(peer)
    peer.handle:read_stop()
    peer.handle:read_start(function(_, chunk)
      if chunk then peer.handle:write(chunk) else peer:close() end
    end)
  end }
  local child = support.spawn(options.file or support.EXECUTABLE, { "front",
    "--log-format", "json", "--drain-timeout", options.drain or "0",
    options.listen or "0", tostring(server.port) },
    { env = { LD_PRELOAD = false, NOTIFY_SOCKET = options.notify or false } })
  local told = logged(child, "listening")
  return child, told.port or told.path, server
end

local function upgrade(child, pid)
  local n = #events(child, TAKEN) + 1
  uv.kill(pid or child.pid, "sigusr2")
  return owned(logged(child, TAKEN, n).pid)
end

local function isAlive(pid)
  local file <close> = io.open("/proc/" .. pid .. "/stat")
  local state = file and file:read "a":match "%) (%a)"
  return state ~= nil and state ~= "Z"
end

local function waitGone(pid)
  support.eventually(function() return not isAlive(pid) end)
end

-- Connects until the slot is that one, as other processes take a while.
local function becomes(where, wanted)
  local peer, given
  support.eventually(function()
    given, peer = slot(where)
    if given ~= wanted then peer:close() end
    return given == wanted
  end)
  return peer
end

local function works(peer)
  peer:write "ping"
  assert.equal("ping", peer:take "^ping")
end

describe("an upgrade", function()
  it("leaves each connection, and gives no slot twice", function()
    for _, listen in ipairs { "0", support.tmpdir() .. "/front.sock" } do
      local child, where = start { listen = listen }
      local _, peers = fronts.slots(where, 4)
      works(peers[1])
      works(peers[3])
      local pid = upgrade(child)
      assert.not_equal(child.pid, pid)
      assert.equal(4, (slot(where)))
      for _, peer in ipairs(peers) do works(peer) end
      peers[2]:close()
      local second = becomes(where, 1)
      works(second)
      peers[1]:close()
      peers[3]:close()
      becomes(where, 0)
      becomes(where, 2)
      assert.is_nil(child.code)
      peers[4]:close()
      run(function() return child.code end)
      assert.same({ 0, 0 }, { child.code, child.signal })
      logged(child, ENDED)
      becomes(where, 3)
      works(second)
      assert.equal(0, #events(child, FAILED))
      uv.kill(pid, "sigkill")
    end
  end)

  it("loses nobody of those who come and go", function()
    local child, port = start()
    local open, wrong, done, running, going = {}, {}, 0, 0, true
    local function client()
      if not going then return end
      running = running + 1
      local handle, text, given = uv.new_tcp(), "", nil
      local function fails(why)
        wrong[#wrong + 1] = why
        if not handle:is_closing() then handle:close() end
      end
      handle:connect("127.0.0.1", port, function(err)
        if err then return fails(err) end
        handle:read_start(function(failed, chunk)
          if not chunk then return fails(failed or "an end") end
          text = text .. chunk
          if not given and text:find "\r\n" then
            given = tonumber(text:match "^%d+")
            if open[given] then fails("slot " .. given .. " twice") end
            open[given] = true
            handle:write "x"
          elseif text:find "\r\nx$" then
            open[given] = nil
            done, running = done + 1, running - 1
            handle:close()
            client()
          end
        end)
      end)
    end
    for _ = 1, 20 do client() end
    local pid = child.pid
    for i = 1, support.WATCHED and 2 or 4 do
      local before = done
      run(function() return done >= before + 100 or #wrong > 0 end)
      pid = upgrade(child, pid)
      logged(child, ENDED, i)
    end
    going = false
    run(function() return running == 0 or #wrong > 0 end)
    assert.same({}, wrong)
    becomes(port, 0)
  end)

  it("frees all slots of a process that is killed", function()
    local child, port = start()
    local _, peers = fronts.slots(port, 3)
    upgrade(child)
    assert.equal(3, (slot(port)))
    child:kill "sigkill"
    for _, peer in ipairs(peers) do peer:waitEnd() end
    logged(child, ENDED)
    for i = 0, 2 do assert.equal(i, (slot(port))) end
  end)

  for _, limit in ipairs { "max-clients", "max-per-address" } do
    it("counts what the other process has towards --" .. limit, function()
      local server = support.serve()
      local child = support.command { "front", "--log-format", "json",
        "--" .. limit, "3", "--drain-timeout", "0", "0",
        tostring(server.port) }
      local port = logged(child, "listening").port
      local _, peers = fronts.slots(port, 2)
      upgrade(child)
      assert.equal(2, (slot(port)))
      local refused = fronts.connect(port)
      refused:waitEnd()
      assert.equal("", refused.received)
      peers[1]:close()
      support.eventually(function()
        local peer = fronts.connect(port)
        run(function()
          return peer.ended or peer.closed or peer.received ~= ""
        end)
        return peer.received == "0\r\n"
      end)
    end)
  end

  it("drains what is left in its time", function()
    local child, port = start { drain = "20" }
    local _, peers = fronts.slots(port, 3)
    works(peers[1])
    upgrade(child)
    for _, peer in ipairs(peers) do
      peer:waitEnd()
      peer:close()
    end
    logged(child, ENDED)
    assert.equal(0, (slot(port)))
  end)

  it("can follow another, whose connections are gone, twenty times", function()
    local child, port = start()
    local pid, before = child.pid, nil
    local function resident()
      local file <close> = assert(io.open("/proc/" .. pid .. "/status"))
      return tonumber(file:read "a":match "VmRSS:%s*(%d+)")
    end
    for i = 1, support.WATCHED and 3 or 20 do
      pid = upgrade(child, pid)
      logged(child, ENDED, i)
      local given, peer = slot(port)
      assert.equal(0, given)
      -- Once it answers this, it has the descriptors that it reserves.
      local _, other = slot(port)
      local now = { support.descriptors { pid = pid }, resident() }
      before = before or now
      assert.equal(before[1], now[1])
      assert.is_true(now[2] < before[2] + 1024)
      peer:close()
      other:close()
      becomes(port, 0):close()
    end
  end)

  it("leaves the file of a Unix socket to the new process", function()
    local path = support.tmpdir() .. "/front.sock"
    local child = start { listen = path }
    local pid = upgrade(child)
    logged(child, ENDED)
    assert.is_truthy(uv.fs_stat(path))
    uv.kill(pid, "sigterm")
    support.eventually(function() return not uv.fs_stat(path) end)
  end)
end)

it("an upgrade keeps the sockets that systemd has passed", function()
  local path = support.tmpdir() .. "/passed.sock"
  local pipe = uv.new_pipe(false)
  pipe:bind(path)
  pipe:listen(8, function() end)
  local child = support.spawn("sh", { "-c", 'export LISTEN_PID=$$; exec "$0" '
    .. '"$@"', support.EXECUTABLE, "front", "--log-format", "json", "fd:web",
    "1" }, { passed = { pipe:fileno() }, env = { LD_PRELOAD = false,
      LISTEN_FDS = "1", LISTEN_FDNAMES = "web" } })
  uv.fs_rename(path, path .. ".aside") -- luv would remove it
  pipe:close()
  uv.fs_rename(path .. ".aside", path)
  logged(child, "listening")
  local pid = upgrade(child)
  assert.equal(path, logged(child, "listening", 2).path)
  logged(child, ENDED)
  pid = upgrade(child, pid)
  logged(child, ENDED, 2)
  local given, peer = slot(path)
  assert.equal(0, given)
  peer:close()
  uv.kill(pid, "sigterm")
  waitGone(pid)
  assert.is_truthy(uv.fs_stat(path))
end)

-- A process that takes over from this one; returns it, its link, and the path
-- where it will listen.
local function replaces()
  local path = support.tmpdir() .. "/front.sock"
  local pipe, link = uv.new_pipe(false), uv.new_pipe(false)
  assert(pipe:bind(path .. ".bound")) -- which luv removes
  assert(uv.fs_rename(path .. ".bound", path))
  assert(pipe:listen(8, function() end))
  local ends = assert(uv.socketpair("stream", nil, { nonblock = true }, {}))
  link:open(ends[1])
  link:write(("upgrade 1 1\nlistener front main %% %s\n"):format(path))
  local child = support.spawn(support.EXECUTABLE, { "front", "--log-format",
    "json", path, "1" }, { passed = { pipe:fileno(), ends[2] },
    env = { LD_PRELOAD = false, CALLOSUM_UPGRADE = "4" } })
  uv.fs_close(ends[2])
  pipe:close()
  return child, link, path
end

-- No connection is left then, and no slot taken.
it("a process that has been handed all goes on without the old one", function()
  local child, old, path = replaces()
  old:read_start(function(_, chunk)
    if chunk ~= "ready\n" then return end
    child:kill "sigstop" -- it cannot answer in time
    old:write("left 0 1\ntaken 0 0\ntaken 0 7 10.0.0.1\ngo\n", function()
      old:close(function() child:kill "sigcont" end)
    end)
  end)
  logged(child, ENDED)
  local given, peers = fronts.slots(path, 2)
  assert.same({ 0, 1 }, given)
  for _, peer in ipairs(peers) do peer:close() end
  child:kill()
  assert.same({ 0, 0 }, { child:wait() })
  assert.is_nil(uv.fs_stat(path))
end)

-- The old process is busy while the new one answers, and a minute passes.
it("an answer that came in time counts, however late it is read", function()
  local find = assert(io.popen "ls /usr/lib/*/faketime/libfaketimeMT.so.1")
  local faketime = find:read "l"
  find:close()
  if not faketime then return pending "no libfaketime" end
  local folder = support.tmpdir()
  local clock, busy, told = folder .. "/clock", folder .. "/busy",
    folder .. "/told"
  local server = support.serve()
  uv.fs_mkdir(folder .. "/bin", 493)
  uv.fs_symlink(support.ROOT .. "/lua", folder .. "/lua")
  local file = folder .. "/bin/callosum-rover"
  assert(uv.fs_copyfile(support.EXECUTABLE, file))
  support.write(clock, "+0")
  local policy = support.tmpfile(([[
    local uv = require "luv"
    require "callosum.front".new { listen = { port = 0 },
      backend = { port = 1 } }
    local r = require "callosum.rover".new { slotTimeout = 600000,
      servers = { a = { host = "127.0.0.1", port = %d } } }
    r:on("connection", function()
      uv.fs_close(uv.fs_open(%q, "w", 384))
      while uv.fs_stat %q do uv.sleep(1) end
    end)
    r:connect()
  ]]):format(server.port, busy, busy))
  local child = support.spawn(file, { "run", "--log-format", "json",
    "--budget", "100000", policy }, { env = {
      LD_PRELOAD = faketime .. " " .. (os.getenv "LD_PRELOAD" or ""),
      ASAN_OPTIONS = "verify_asan_link_order=0",
      FAKETIME_TIMESTAMP_FILE = clock,
      FAKETIME_NO_CACHE = "1",
      FAKETIME_DONT_FAKE_MONOTONIC = "0",
    } })
  run(function() return server.peers[1] end)
  uv.fs_unlink(file)
  support.write(file, ([[#!/bin/sh
    unset LD_PRELOAD
    exec lua5.4 %s/new.lua
  ]]):format(folder))
  uv.fs_chmod(file, 493)
  support.write(folder .. "/new.lua", ([[
    package.cpath = %q
    local uv, text = require "luv", ""
    local link, timer = uv.new_pipe(false), uv.new_timer()
    local function write(path, text)
      local file = assert(io.open(path .. "~", "w"))
      assert(file:write(text))
      file:close()
      assert(os.rename(path .. "~", path)) -- never half
    end
    link:open(tonumber(os.getenv "CALLOSUM_UPGRADE"))
    link:write "ready\n"
    link:read_start(function(_, chunk)
      if not chunk then os.exit() end
      text = text .. chunk
      if not text:find "\ngo\n" or timer:is_active() then return end
      write(%q, "")
      timer:start(1, 1, function()
        if not uv.fs_stat(%q) then return end
        timer:close()
        link:write("serving\n", function()
          write(%q, "+60")
          uv.fs_unlink(%q)
        end)
      end)
    end)
    uv.run()
  ]]):format(package.cpath, told, busy, clock, busy))
  child:kill "sigusr2"
  support.eventually(function() return uv.fs_stat(told) end)
  server.peers[1]:write "0\r\n"
  logged(child, TAKEN)
  assert.equal(0, #events(child, FAILED))
  assert.same({ 0, 0 }, { child:wait() })
end)

describe("an upgrade that fails", function()
  -- A command of its own that can be replaced: the executable's path, and a
  -- function that does so.
  local function installed()
    local folder = support.tmpdir()
    uv.fs_mkdir(folder .. "/bin", 493)
    uv.fs_symlink(support.ROOT .. "/lua", folder .. "/lua")
    local path = folder .. "/bin/callosum-rover"
    assert(uv.fs_copyfile(support.EXECUTABLE, path))
    return path, function(text)
      uv.fs_unlink(path)
      if not text then return end
      support.write(path, text)
      uv.fs_chmod(path, 493)
    end
  end

  local function fails(child, n)
    child:kill "sigusr2"
    return logged(child, FAILED, n).reason
  end

  it("for want of an executable changes nothing", function()
    local file, replace = installed()
    local child, port = start { file = file }
    local _, peers = fronts.slots(port, 2)
    for _, peer in ipairs(peers) do works(peer) end
    replace()
    assert.equal("no such file or directory", fails(child))
    local before = support.descriptors(child) -- with one that libuv keeps
    replace "\1\2garbage\n"
    assert.equal("inappropriate file type or format", fails(child, 2))
    replace "#!/bin/sh\nexit 3\n"
    assert.equal("it ended with status 3", fails(child, 3))
    replace "#!/bin/sh\nkill -9 $$\n"
    assert.equal("signal 9 ended it", fails(child, 4))
    for _, peer in ipairs(peers) do works(peer) end
    support.eventually(function()
      return support.descriptors(child) == before
    end)
    assert.equal(2, (slot(port)))
    replace()
    assert(uv.fs_copyfile(support.EXECUTABLE, file))
    upgrade(child)
    assert.equal(3, (slot(port)))
  end)

  -- The new process gets everything, and is gone before it serves.
  it("at the last moment changes nothing, either", function()
    local file, replace = installed()
    local path = support.tmpdir() .. "/front.sock"
    local child = start { file = file, listen = path }
    local _, peers = fronts.slots(path, 2)
    replace(([[#!/usr/bin/env lua5.4
      package.cpath = %q
      local uv, text = require "luv", ""
      local link = uv.new_pipe(false)
      link:open(tonumber(os.getenv "CALLOSUM_UPGRADE"))
      link:write "ready\n"
      link:read_start(function(_, chunk)
        text = text .. chunk
        if not text:find "\ngo\n" then return end
        io.stderr:write('{"message":"told","text":"',
          text:gsub("\n", ";"):gsub("%%S+/", "/"), '"}\n')
        os.exit(4)
      end)
      uv.run()
    ]]):format(package.cpath))
    assert.equal("it ended with status 4", fails(child))
    assert.equal("upgrade 1 1;listener front main % /front.sock;taken 0 0;"
      .. "taken 0 1;left 0 1;go;", events(child, "told")[1].text)
    assert.equal(2, (slot(path)))
    for _, peer in ipairs(peers) do works(peer) end
    peers[1]:close()
    becomes(path, 0)
    child:kill()
    logged(child, "front drains")
    support.eventually(function() return not uv.fs_stat(path) end)
  end)

  -- The old process is this one, and makes a mistake.
  it("in the new process leaves the old one the file of its socket", function()
    for _, mistake in ipairs { "left 1 1", "steered main a 10.0.0.1 1 1 0",
        "drained soon" } do
      local child, old, path = replaces()
      old:read_start(function(_, chunk)
        if chunk ~= "ready\n" then return end
        old:write("left 0 1\n" .. mistake .. "\n")
      end)
      assert.equal("protocol error", logged(child, CANNOT).error)
      assert.same({ 1, 0 }, { child:wait() })
      assert.is_truthy(uv.fs_stat(path))
      old:close()
    end
  end)

  it("as the old one is killed before it hands over ends both", function()
    for _, last in ipairs { "", "left 0 1\ntaken 0 0\n" } do
      local child, old, path = replaces()
      old:read_start(function(_, chunk)
        if chunk ~= "ready\n" then return end
        old:write(last, function() old:close() end)
      end)
      assert.equal("connection reset by peer", logged(child, CANNOT).error)
      assert.same({ 1, 0 }, { child:wait() })
      assert.is_truthy(uv.fs_stat(path))
    end
  end)

  -- A policy whose next process says so, and sleeps while it is loaded.
  local function slow()
    local flag = support.tmpdir() .. "/slow"
    local child = support.policy(([[
      local uv, host = require "luv", require "callosum.host"
      local front = require "callosum.front"
      local f = front.new { listen = { port = 0 }, backend = { port = 1 },
        drainTimeout = 0 }
      if uv.fs_stat %q then
        host.log.info("loading", { pid = uv.os_getpid() })
        uv.sleep(60000)
      end
      uv.new_timer():start(0, 0, function()
        host.log.info("address", { port = select(2, f:address()) })
      end)
    ]]):format(flag), { flags = { "--load-budget", "100000" } })
    local port = logged(child, "address").port
    assert.equal(0, (slot(port)))
    support.write(flag, "")
    child:kill "sigusr2"
    local pid = owned(logged(child, "loading").pid)
    return child, port, pid, flag
  end

  it("as the new process is killed, or is asked for twice", function()
    local child, port, pid, flag = slow()
    child:kill "sigusr2"
    assert.equal("one is under way", logged(child, REFUSED).reason)
    child:kill "sighup"
    assert.equal("another process is being started", logged(child, HELD).reason)
    uv.fs_unlink(flag) -- for the old one, which reloads then
    uv.kill(pid, "sigkill")
    assert.equal("signal 9 ended it", logged(child, FAILED).reason)
    logged(child, "policy reloaded") -- once there is no other process
    assert.equal(1, (slot(port)))
  end)

  it("as the old one is stopped", function()
    local child, _, pid = slow()
    child:kill "sigterm"
    child:kill "sigkill"
    waitGone(pid)
  end)

  it("because of the script says what", function()
    local child = support.policy [[
      local front = require "callosum.front"
      front.new { listen = { port = 0 }, backend = { port = 1 } }
    ]]
    logged(child, "policy loaded")
    reloads.edit(child, "error 'no luck'")
    assert.equal("it ended with status 1", fails(child))
    assert.matches("no luck", logged(child, "cannot load policy").error)
    support.stop(child)
  end)

  it("as SIGTERM comes ends both", function()
    local child, _, pid = slow()
    child:kill "sigterm"
    waitGone(pid)
    logged(child, "front drains")
  end)
end)

describe("an upgrade is refused", function()
  it("while the process before still has connections", function()
    local child, port = start()
    local _, peer = slot(port)
    local pid = upgrade(child)
    uv.kill(pid, "sigusr2")
    assert.equal("the process before this one still has connections",
      logged(child, REFUSED).reason)
    child:kill "sigusr2"
    assert.equal("this process is ending", logged(child, REFUSED, 2).reason)
    child:kill "sighup"
    assert.equal(TAKEN, logged(child, "reload refused").reason)
    works(peer)
    peer:close()
    logged(child, ENDED)
    upgrade(child, pid)
    assert.equal(0, #events(child, "policy reloaded"))
  end)

  it("to process 1", function()
    local unshare = faults.unshare "-pf"
    if not unshare then return pending "no process namespace allowed" end
    local path = support.tmpdir() .. "/front.sock"
    local child = support.spawn("sh", { "-c", "exec " .. unshare .. [[ "$@"]],
      "sh", support.EXECUTABLE, "front", "--log-format", "json", path, "1" },
      { env = { LD_PRELOAD = false } })
    logged(child, "listening")
    for _, each in ipairs(support.processes(path)) do
      if each.args[1] == support.EXECUTABLE then
        uv.kill(each.pid, "sigusr2")
      end
    end
    assert.matches("^this is process 1, ", logged(child, REFUSED).reason)
    assert.equal(0, (slot(path)))
  end)
end)

it("SIGHUP while a new process starts reaches that", function()
  local flag = support.tmpdir() .. "/slow"
  local child = support.policy(([[
    local uv, host = require "luv", require "callosum.host"
    require "callosum.front".new { listen = { port = 0 },
      backend = { port = 1 } }
    if uv.fs_stat %q then
      host.log.info "loading"
      while uv.fs_stat %q do uv.sleep(1) end
    end
  ]]):format(flag, flag), { flags = { "--load-budget", "100000" } })
  logged(child, "policy loaded")
  support.write(flag, "")
  child:kill "sigusr2"
  logged(child, "loading")
  child:kill "sighup"
  child:kill "sigusr2" -- libuv delivers in order
  logged(child, REFUSED)
  uv.fs_unlink(flag)
  local pid = owned(logged(child, TAKEN).pid)
  logged(child, "policy reloaded")
  assert.equal(1, #events(child, "policy reloaded"))
  assert.is_true(isAlive(pid))
end)

-- A client that waits keeps the old process from ending.
it("a policy that changes then is reloaded by the new process alone", function()
  local folder = support.tmpdir()
  local first, second = folder .. "/1.sock", folder .. "/2.sock"
  local script = ([[
    local log = require "callosum.host".log.info
    require "callosum.rover".new()
    require "callosum.relay".new { listen = { path = %q }, waitTimeout = 60000,
      pick = function() log "waits" end }
  ]]):format(first)
  local child = support.policy(script, { flags = { "--watch" } })
  logged(child, "policy loaded")
  local waits = fronts.connect(first)
  logged(child, "waits")
  local pid = upgrade(child)
  support.write(child.path, script .. ([[
    require "callosum.front".new { listen = { path = %q },
      backend = { port = 1 } }
  ]]):format(second))
  local held = logged(child, HELD)
  assert.same({ TAKEN, "watch" }, { held.reason, held.trigger })
  logged(child, "policy reloaded")
  assert.equal(0, (slot(second)))
  waits:close()
  logged(child, ENDED)
  assert.equal(1, #events(child, "policy reloaded"))
  assert.equal(1, (slot(second)))
  assert.is_true(isAlive(pid))
end)

it("a service manager is told which process is the main one", function()
  local manager = managers.start()
  local child, port = start { notify = manager.path }
  manager:told "READY=1"
  local pid = upgrade(child)
  manager:told("MAINPID=" .. pid)
  manager:told(("READY=1 MAINPID=%d"):format(pid))
  logged(child, ENDED)
  assert.equal(0, (slot(port)))
  uv.kill(pid, "sigterm")
  manager:told "STOPPING=1"
  for _, each in ipairs(manager:all()) do
    assert.is_true(each.pid == pid or not each.text:find "^STOPPING")
  end
end)

-- The manager may not see it, since its parent is the old one.
it("a process that fails after it has taken over ends the old one", function()
  local manager = managers.start()
  local child, port = start { notify = manager.path }
  local _, peer = slot(port)
  works(peer)
  local pid = upgrade(child)
  manager:told(("READY=1 MAINPID=%d"):format(pid))
  uv.kill(pid, "sigkill")
  assert.equal("signal 9 ended it", logged(child,
    "the process that has taken over has failed").reason)
  manager:told("MAINPID=" .. child.pid)
  manager:told "BARRIER=1"
  assert.same({ 1, 0 }, { child:wait() })
end)

it("a process that ends in order leaves the old one its clients", function()
  local child, port = start()
  local _, peer = slot(port)
  works(peer)
  local pid = upgrade(child)
  uv.kill(pid, "sigterm")
  waitGone(pid)
  works(peer)
  peer:close()
  assert.same({ 0, 0 }, { child:wait() })
end)

describe("relays over an upgrade", function()
  it("have the permissions that the policy says now", function()
    local path = support.tmpdir() .. "/relay.sock"
    local script = [[
      require "callosum.rover".new()
      require "callosum.relay".new { pick = function() end,
        listen = { path = %q, mode = %q } }
    ]]
    local child = support.policy(script:format(path, "0600"))
    logged(child, "policy loaded")
    reloads.edit(child, script:format(path, "0660"))
    upgrade(child)
    logged(child, ENDED)
    assert.equal(tonumber("660", 8), uv.fs_stat(path).mode & 511)
  end)

  it("serve who waits and who is joined, and then newcomers", function()
    local path = support.tmpdir() .. "/relay.sock"
    local gate = support.tmpdir() .. "/gate"
    local server = support.serve { send = "0\r\n" }
    local child = support.policy(([[
      local uv, host = require "luv", require "callosum.host"
      local pool = require "callosum.pool"
      local r = require "callosum.rover".new { rovingInterval = 20, servers = {
        a = { host = "127.0.0.1", port = %d } } }
      local p = pool.new { maxSlots = 2 }:attach(r)
      require "callosum.relay".new { listen = { path = %q },
        pick = function() return p:awaitConnection(20000) end }
      local timer = uv.new_timer()
      timer:start(0, 10, function()
        if not uv.fs_stat %q then return end
        timer:close()
        r:start()
      end)
    ]]):format(server.port, path, gate))
    logged(child, "policy loaded")
    local first, joined, backend
    first = fronts.connect(path)
    run(function() return first.connected end)
    local pid = upgrade(child)
    assert.is_nil(child.code)
    support.write(gate, "")
    first:write "one"
    run(function()
      for _, each in ipairs(server.peers) do
        if each.received == "one" then backend = each end
      end
      return backend
    end)
    joined = fronts.connect(path)
    joined:write "two"
    run(function()
      for _, each in ipairs(server.peers) do
        if each.received == "two" then return true end
      end
    end)
    backend:write "answer"
    first:take "^answer"
    first:close()
    backend:close()
    run(function() return child.code end)
    assert.equal(0, child.code)
    assert.is_truthy(uv.fs_stat(path))
    joined:close()
    uv.kill(pid, "sigterm")
    support.eventually(function() return not uv.fs_stat(path) end)
  end)
end)
