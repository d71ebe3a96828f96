local assert = require "luassert"
local support = require "support"
local faults = require "support.faults"
local uv = require "luv"

local events, logged = support.events, support.logged

local EXECUTABLE = support.EXECUTABLE
local ENV = { env = { LD_PRELOAD = false } }

local HEAD = [[
local host, uv = require "callosum.host", require "luv"
local r = require "callosum.rover".new()
r:on("error", function() end)
r:start()
]]

-- Runs a policy as the last of a shell's words, which set signals up and then
-- put themselves in its place.
local function from(shell, script, flags)
  local path = support.tmpfile(script)
  local child = support.spawn("sh", { "-c", shell, "sh", EXECUTABLE, "run",
    "--log-format", "json", table.unpack(flags or { "--budget", "20000" }) },
    { env = { LD_PRELOAD = false, POLICY = path } })
  child.path = path
  return child
end

local function bits(status, field)
  return tonumber(status:match(field .. ":%s*(%x+)"), 16)
end

describe("signals that the parent has blocked", function()
  it("stop, reload, and end what is over its budget, all the same", function()
    local child = from([[exec env --block-signal "$@" "$POLICY"]], HEAD .. [[
      uv.new_timer():start(0, 0, function() while true do end end)
    ]], { "--budget", "50" })
    assert.matches("time budget", logged(child, "policy error").error)
    child:kill "sighup"
    assert.equal("SIGHUP", logged(child, "policy reloaded").trigger)
    support.stop(child)
  end)

  it("are there for what a policy watches and starts, too", function()
    local child = from([[exec env --block-signal "$@" "$POLICY"]], HEAD .. [[
      uv.new_signal():start("sigusr1", function() host.log.info("usr1") end)
      uv.spawn("true", {}, function() host.log.info("ended") end)
    ]])
    logged(child, "ended")
    child:kill "sigusr1"
    logged(child, "usr1")
    support.stop(child)
  end)

  it("and sent before the command began, do not end it", function()
    local child = from([[
      exec env --block-signal=HUP sh -c 'kill -HUP $$; exec "$@" "$POLICY"' \
        sh "$@"
    ]], HEAD)
    logged(child, "policy loaded")
    support.stop(child)
  end)
end)

describe("signals that the parent ignores", function()
  it("stop and reload all the same", function()
    local child = from([[exec env --ignore-signal "$@" "$POLICY"]], HEAD .. [[
      host.log.info("ended", { ok = os.execute "true" })
    ]])
    logged(child, "policy loaded")
    assert.is_true(events(child, "ended")[1].ok)
    child:kill "sighup"
    logged(child, "policy reloaded")
    support.stop(child)
  end)

  it("leave serve alone, if it is SIGHUP, and its command", function()
    local child = support.spawn("sh", { "-c", [[
      trap '' HUP INT
      exec "$0" serve --log-format json 0 -- sh -c '
        while read -r line; do echo "$line"; done </proc/self/status
        read -r line; exit 3'
    ]], EXECUTABLE }, ENV)
    child:waitFor "SigCgt"
    assert.equal(3, bits(child.stdout, "SigIgn") & 3)
    child:kill "sighup"
    child:write "go\n"
    assert.same({ 3, 0 }, { child:wait() })
  end)
end)

-- Its handles are closed by then, and libuv's action with them.
it("a SIGHUP that comes at the very end changes no status", function()
  for _ = 1, support.WATCHED and 3 or 20 do
    local child = from([[exec "$@" "$POLICY"]], HEAD)
    logged(child, "policy loaded")
    local idle = uv.new_idle()
    child:kill()
    idle:start(function() child:kill "sighup" end)
    support.run(function() return child.code end)
    idle:close()
    assert.same({ 0, 0 }, { child:wait() })
  end
end)

it("a policy's children have the system's own signals", function()
  local child = from([[exec "$@" "$POLICY"]], HEAD .. [[
    local pipe = io.popen "cat /proc/self/status"
    print(pipe:read "a")
    host.stop()
  ]])
  assert.same({ 0, 0 }, { child:wait() })
  -- 32 and 33 are the C library's own.
  assert.equal(0, bits(child.stdout, "SigIgn") & 0x7fffffff)
  assert.equal(0, bits(child.stdout, "SigBlk"))
end)

it("a signal of the budget's that another sends means nothing", function()
  local child = from([[exec "$@" "$POLICY"]], HEAD .. [[
    uv.new_timer():start(0, 20, function()
      local signal = 34 -- SIGRTMIN
      for _ = 1, 3 do uv.kill(uv.os_getpid(), signal) end
    end)
    uv.new_timer():start(60, 0, function() while true do end end)
  ]], { "--budget", "50" })
  assert.matches("time budget", logged(child, "policy error").error)
  support.stop(child)
end)

it("a file that may not grow ends nobody", function()
  local log = support.tmpdir() .. "/log"
  local child = support.spawn("sh", { "-c", [[
    ulimit -f 1
    exec "$0" run "$1" 2>"$2"
  ]], EXECUTABLE, support.tmpfile(HEAD .. [[
    for _ = 1, 30 do host.log.info(("x"):rep(100)) end
    print "there"
  ]]), log }, ENV)
  child:waitFor "there\n"
  support.stop(child)
end)

describe("the second signal to stop", function()
  local BUSY = HEAD .. [[
    uv.new_timer():start(0, 0, function()
      host.log.info("busy")
      while true do end
    end)
  ]]

  it("ends at once a loop that the first has not come to", function()
    local child = support.policy(BUSY)
    logged(child, "busy")
    child:kill "sigterm"
    child:kill "sigint" -- the other, since equal ones that wait are one
    local code, signal = child:wait(5)
    assert.equal(0, code)
    -- Which is delivered first is the kernel's to say.
    assert.is_truthy(signal == 2 or signal == 15)
    assert.same({}, events(child, "stopping"))
  end)

  it("ends a policy at once that watches the signal itself", function()
    local child = support.policy(HEAD .. [[
      uv.new_signal():start("sigterm", function() host.log.info("seen") end)
      host.on("unload", function() host.log.info("unloading")
        while true do end
      end)
    ]])
    logged(child, "policy loaded")
    child:kill "sigterm"
    logged(child, "unloading")
    assert.equal(1, #events(child, "stopping"))
    child:kill "sigterm"
    assert.same({ 0, 15 }, { child:wait(5) })
  end)

  -- As timeout(1) sends it, and what passes on what it was sent itself.
  it("is not one that somebody else sends along with the first", function()
    local function twice()
      local child = support.policy(HEAD .. [[
        host.on("unload", function() uv.kill(uv.os_getpid(), "sigterm") end)
      ]])
      logged(child, "policy loaded")
      child:kill "sigterm"
      local _, signal = child:wait()
      return signal == 0
    end
    -- A machine that is busy may hold up the second.
    assert.is_true(twice() or twice() or twice())
  end)
end)

describe("the first process of a namespace", function()
  -- Starts the command as such; returns unshare, and the command's process id.
  local function first(...)
    local unshare = faults.unshare "-pf"
    if not unshare then return end
    local child = support.spawn("sh", { "-c", "exec " .. unshare .. [[ "$@"]],
      "sh", EXECUTABLE, ... }, ENV)
    local last, pid = select(-1, ...), nil
    support.eventually(function()
      for _, each in ipairs(support.processes(last)) do
        if each.args[1] == EXECUTABLE then pid = each.pid end
      end
      return pid
    end)
    return child, pid
  end

  it("is ended by the second signal too", function()
    local child, pid = first("run", "--log-format", "json",
      support.tmpfile(HEAD .. [[
        host.on("unload", function()
          host.log.info("unloading")
          while true do end
        end)
      ]]))
    if not child then return pending "no process namespace allowed" end
    logged(child, "policy loaded")
    uv.kill(pid, "sigterm")
    logged(child, "unloading")
    uv.kill(pid, "sigterm")
    assert.same({ 128 + 15, 0 }, { child:wait(5) })
  end)

  it("is ended by SIGHUP, as serve", function()
    local port = tostring(support.freePorts(1))
    local child, pid = first("serve", "--log-format", "json", port)
    if not child then return pending "no process namespace allowed" end
    logged(child, "listening")
    uv.kill(pid, "sighup")
    assert.same({ 0, 0 }, { child:wait(5) })
    assert.equal("SIGHUP", events(child, "stopping")[1].signal)
  end)

  it("is ended by the first, as check", function()
    local child, pid = first("check", support.tmpfile [[
      io.stderr:write "ready\n"
      while true do end
    ]])
    if not child then return pending "no process namespace allowed" end
    child:waitFor "ready\n"
    uv.kill(pid, "sigterm")
    assert.same({ 128 + 15, 0 }, { child:wait(5) })
  end)
end)
