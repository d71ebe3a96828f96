-- What a service manager is told: sd_notify(3).

local assert = require "luassert"
local fronts = require "support.fronts"
local managers = require "support.manager"
local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local logged = support.logged

-- Runs a policy under the manager. With `watchdog`, in ms, as a service that
-- has to show that often that it lives.
local function start(manager, script, options)
  options = options or {}
  local us = options.watchdog and options.watchdog * 1000
  local child
  if us then
    local path = support.tmpfile(script)
    local line = ('%s exec "$@"'):format(
      options.pid and "WATCHDOG_PID=" .. options.pid or "WATCHDOG_PID=$$")
    child = support.spawn("sh", { "-c", line, "sh", support.EXECUTABLE, "run",
      "--log-format", "json", "--log-level", "debug", path,
      table.unpack(options.args or {}) }, { env = { LD_PRELOAD = false,
      NOTIFY_SOCKET = manager.path, WATCHDOG_USEC = tostring(us) } })
    child.path = path
  else
    child = support.policy(script, { env = { NOTIFY_SOCKET = manager.path },
      flags = options.flags, args = options.args })
  end
  return child
end

local ROVER = 'require "callosum.rover".new()\n'

local function texts(manager, pattern)
  local list = {}
  for _, each in ipairs(manager:all()) do
    list[#list + 1] = each.text:match(pattern)
  end
  return list
end

-- Runs a policy under a manager that reads nothing, up to where its queue has
-- room for ten of the fifty messages that there are by then.
local function crowded(manager)
  uv.kill(manager.child.pid, "sigstop")
  local child = start(manager, ROVER .. [[
    local uv = require "luv"
    local turns = 0
    uv.timer_start(uv.new_timer(), 0, 1, function()
      turns = turns + 1
      if turns == 100 then io.stdout:write("turned\n"):flush() end
    end)
  ]], { watchdog = 4 })
  child:waitFor "turned\n"
  return child
end

describe("a service manager", function()
  it("hears READY once relays and fronts listen, and STOPPING", function()
    local manager = managers.start()
    local folder = support.tmpdir()
    local relay, front = folder .. "/relay", folder .. "/front"
    local child = start(manager, ROVER .. ([[
      require "callosum.relay".new { listen = { path = %q },
        pick = function() end }
      require "callosum.front".new { listen = { path = %q },
        backend = { port = 1 } }
    ]]):format(relay, front))
    assert.equal(child.pid, (manager:told "READY=1"))
    assert.is_truthy(uv.fs_stat(relay))
    local peer = fronts.connect(front)
    peer:close()
    support.stop(child)
    manager:told "STOPPING=1"
    assert.equal(1, #texts(manager, "^READY=1$"))
  end)

  it("hears nothing but what is loaded of a policy that fails", function()
    local manager = managers.start()
    local child = start(manager, "error 'no'")
    assert.equal(1, (child:wait()))
    assert.equal(child.path, (manager:told "STATUS=Loading (.*)"))
    assert.equal(1, #manager:all())
  end)

  it("hears of each reload, when it begins and when it is over", function()
    local manager = managers.start()
    local child = start(manager, ROVER)
    manager:told "READY=1"
    child:kill "sighup"
    manager:told "RELOADING=1 MONOTONIC_USEC=%d+"
    manager:told "READY=1"
    support.write(child.path, "error('\27[2Jno')")
    child:kill "sighup"
    manager:told "RELOADING=1 MONOTONIC_USEC=%d+"
    manager:told "READY=1"
    local why = manager:told("STATUS=Generation 2: 0 connections to "
      .. "0 servers; the reload at %d%d:%d%d:%d%dZ failed: (.*)")
    assert.equal(child.path .. ":1: \\x1b[2Jno", why)
    support.write(child.path, ROVER)
    child:kill "sighup"
    manager:told "STATUS=Generation 3: 0 connections to 0 servers"
    support.stop(child)
  end)

  it("hears what the host does, when that changes", function()
    local manager = managers.start()
    local server = support.serve { send = "0\r\n" }
    local child = start(manager, [[
      local rover = require "callosum.rover"
      local r = rover.new { rovingInterval = 10 }
      r:addServer("a", { host = "127.0.0.1",
        port = tonumber(require "callosum.host".args[1]) })
      r:once("connection", function() r:stop() end)
      r:start()
    ]], { args = { tostring(server.port) } })
    manager:told "STATUS=Generation 1: 1 connection to 1 server, 1 to 1 each"
    support.stop(child)
  end)

  -- A reload takes a moment, so there are many within a second.
  it("hears that at most once a second", function()
    local manager = managers.start()
    local child = start(manager, ROVER .. [[
      local uv = require "luv"
      uv.timer_start(uv.new_timer(), 20, 0, require "callosum.host".reload)
    ]])
    for _ = 1, 2 do manager:told "STATUS=Generation %d+: .*" end
    child:kill "sigterm"
    child:wait()
    local reloaded, between = 0, {}
    for _, each in ipairs(manager:all()) do
      if each.text:find "^RELOADING" then reloaded = reloaded + 1 end
      if each.text:find "^STATUS" then
        between[#between + 1] = reloaded
        reloaded = 0
      end
    end
    for i = 2, 3 do assert.is_true(between[i] >= 3, between[i]) end
  end)

  it("that does not read what it is told holds nobody up", function()
    local child = crowded(managers.start())
    reloads.reload(child)
    child:kill "sigterm"
    assert.same({ 0, 0 }, { child:wait() })
  end)

  it("that does not keep up is waited for, whatever interrupts that",
    function()
      local manager = managers.start()
      local child = crowded(manager)
      child:kill "sigterm"
      local timer, till = uv.new_timer(), uv.hrtime() + 100e6
      timer:start(1, 1, function() child:kill "sighup" end)
      support.run(function() return uv.hrtime() > till end)
      timer:close()
      uv.kill(manager.child.pid, "sigcont")
      manager:told "STOPPING=1"
      assert.same({ 0, 0 }, { child:wait() })
    end)
end)

describe("a watchdog", function()
  -- Ends the child, as systemd does, when it is not heard for its time.
  local function watch(manager, child, ms)
    local heard, from = nil, 0
    support.eventually(function()
      local list = manager:all()
      for i = from + 1, #list do
        from = i
        if list[i].text == "WATCHDOG=1" then heard = uv.now() end
      end
      if heard and uv.now() - heard > ms then child:kill "sigabrt" end
      return child.code
    end)
  end

  it("is satisfied by a loop that turns, whatever the policy does", function()
    local manager = managers.start()
    local child = start(manager, ROVER .. [[
      local uv = require "luv"
      uv.timer_start(uv.new_timer(), 0, 1, function()
        local until_ = uv.hrtime() + 2e7
        while uv.hrtime() < until_ do end
      end)
    ]], { watchdog = 200 })
    for _ = 1, 4 do assert.equal(child.pid, (manager:told "WATCHDOG=1")) end
    support.stop(child)
  end)

  it("ends a process whose loop a policy blocks in C", function()
    local manager = managers.start()
    local fifo = support.tmpdir() .. "/fifo"
    assert(os.execute("mkfifo " .. fifo))
    local child = start(manager, ROVER .. ([[
      local uv = require "luv"
      uv.timer_start(uv.new_timer(), 300, 0, function() io.open(%q) end)
    ]]):format(fifo), { watchdog = 1000 })
    watch(manager, child, 1000)
    assert.equal(6, child.signal)
  end)

  it("that is for another process is none of this one", function()
    local manager = managers.start()
    local child = start(manager, ROVER .. [[
      local uv = require "luv"
      local turns = 0
      local timer = uv.new_timer()
      uv.timer_start(timer, 20, 20, function()
        turns = turns + 1
        if turns == 10 then require "callosum.host".stop() end
      end)
    ]], { watchdog = 20, pid = "1" })
    assert.same({ 0, 0 }, { child:wait() })
    manager:told "STOPPING=1"
    assert.same({}, texts(manager, "^WATCHDOG=1$"))
  end)

  it("is no business of the processes that a policy starts", function()
    local manager = managers.start()
    local child = start(manager, ROVER .. [[
      for line in io.popen "env":lines() do print(line) end
      print "end"
    ]], { watchdog = 60000 })
    child:waitFor "end\n"
    assert.is_nil(child.stdout:find "WATCHDOG_")
    assert.is_truthy(child.stdout:find "NOTIFY_SOCKET=")
    support.stop(child)
  end)

  it("is satisfied by the process that has taken over, alone", function()
    local manager = managers.start()
    local relay = support.tmpdir() .. "/relay"
    local child = start(manager, ROVER .. ([[
      require "callosum.relay".new { listen = { path = %q },
        waitTimeout = 60000, pick = function() print "waits" end }
      io.stdout:setvbuf "no"
    ]]):format(relay), { watchdog = 100 })
    manager:told "READY=1"
    -- A client that waits keeps the old process.
    local waits = fronts.connect(relay)
    child:waitFor "waits\n"
    child:kill "sigusr2"
    local pid = logged(child, "another process has taken over").pid
    support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
    manager:told(("READY=1 MAINPID=%d"):format(pid))
    for _ = 1, 4 do assert.equal(pid, (manager:told "WATCHDOG=1")) end
    uv.kill(pid, "sigkill")
    waits:close()
    child:wait()
  end)
end)
