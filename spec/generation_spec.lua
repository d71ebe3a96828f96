local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local start, reload, fails = reloads.start, reloads.reload, reloads.fails
local edit, told, count = reloads.edit, reloads.told, reloads.count
local position, kept = reloads.position, reloads.kept
local answering, TICKS = reloads.answering, reloads.TICKS
local events, logged, stop = support.events, support.logged, support.stop
local eventually, serve = support.eventually, support.serve

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
    ["is a FIFO"] = { function(child)
      os.remove(child.path)
      assert(os.execute("mkfifo " .. child.path))
    end, "cannot read .*policy.lua: it is a FIFO, not a regular file" },
    ["is a symlink to a device"] = { function(child)
      os.remove(child.path)
      assert(uv.fs_symlink("/dev/zero", child.path))
    end, "cannot read .*policy.lua: it is a device, not a regular file" },
    ["requires a module that is a FIFO"] = { function(child)
      assert(os.execute("mkfifo "
        .. child.path:gsub("policy.lua$", "helper.lua")))
      edit(child, "r = rover.new()\nrequire 'helper'")
    end, "cannot read '.*helper.lua': it is a FIFO, not a regular file" },
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
      -- To write to what is no file would be to wait, or worse.
      local what = (uv.fs_lstat(child.path) or {}).type
      if what == "directory" then assert(uv.fs_rmdir(child.path))
      elseif what and what ~= "file" then assert(os.remove(child.path)) end
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
