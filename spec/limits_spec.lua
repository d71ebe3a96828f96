local support = require "support"

local serve, run = support.serve, support.run

local ROVER = (os.getenv "BUILD" or "build") .. "/callosum-rover"
local BUDGET = 100 -- ms
local MEMORY = "16M"

-- How a budget is kept: by the command's timer; or, where the kernel has no
-- timer to give, by a hook that counts.
local ways = {
  ["an alarm"] = function(args) return support.spawn(ROVER, args) end,
  ["a count hook"] = function(args)
    return support.spawn("prlimit",
      { "--sigpending=0", ROVER, table.unpack(args) })
  end,
}

-- Echoes what the server sends, and calls what it names first.
local ECHO = [[
local host = require "callosum.host"
local rover = require "callosum.rover"
local attacks = {}
local function forever() while true do end end
%s
local r = rover.new { rovingInterval = 3600000 }
r:addServer("one", { host = "127.0.0.1", port = tonumber(host.args[1]) })
r:on("connection", function(_, socket)
  socket:on("data", function(chunk)
    if attacks[chunk] then attacks[chunk](socket) end
    socket:write(chunk .. "\r\n")
  end)
end)
r:start()
]]

-- A running policy of ECHO with more code in it, and the server's side of the
-- socket that it keeps.
local function start(code, options, spawn)
  local server = serve { send = "0\r\n" }
  local script = support.tmpfile(ECHO:format(code))
  local args = { "run", "--budget", tostring(BUDGET), "--memory", MEMORY }
  for _, option in ipairs(options or {}) do args[#args + 1] = option end
  args[#args + 1] = script
  args[#args + 1] = tostring(server.port)
  local child = (spawn or ways["an alarm"])(args)
  run(function() return server.peers[1] or child.code end)
  assert(server.peers[1], child.output)
  return child, server.peers[1]
end

-- What must hold whatever a policy does.
local function fine(child, peer)
  peer:write("still there?")
  peer:take("still there%?\r\n")
  child:kill():wait()
  assert.equal(0, child.code, child.output)
  assert.equal(0, child.signal, child.output)
  assert.is_nil(child.output:find("unprotected", 1, true), child.output)
end

-- The code is the body of a handler.
local function attack(code, expected, spawn, options)
  local child, peer = start(("attacks.go = function(socket) %s end")
    :format(code), options, spawn)
  peer:write("go")
  child:waitFor(expected)
  fine(child, peer)
  return child
end

local function check(code, options)
  local args = { "check" }
  for _, option in ipairs(options) do args[#args + 1] = option end
  args[#args + 1] = support.tmpfile(code)
  local child = support.spawn(ROVER, args)
  child:wait()
  return child
end

local OVER = "time budget of 100 ms is over"

describe("the time budget", function()
  local loops = {
    ["bare"] = "forever()",
    ["in pcall in a loop"] = "while true do pcall(forever) end",
    ["in nested pcalls"] = "pcall(pcall, pcall, forever) forever()",
    ["in xpcall's handler"] =
      "xpcall(function() error 'x' end, forever) forever()",
    ["in the handler of the budget's own error"] =
      "while true do xpcall(forever, forever) end",
    ["in a coroutine"] = [[
      while true do coroutine.resume(coroutine.create(forever)) end]],
    ["in a coroutine that yields for ever"] = [[
      local step = coroutine.wrap(function()
        while true do pcall(coroutine.yield) end
      end)
      while true do pcall(step) end]],
    ["in nested coroutines"] = [[
      coroutine.wrap(function()
        pcall(coroutine.wrap(function() pcall(forever) forever() end))
        forever()
      end)()]],
    ["in a variable that a dead coroutine closes"] = [[
      local mt = { __close = forever }
      local co = coroutine.create(function()
        local x <close> = setmetatable({}, mt)
        forever()
      end)
      stopped = co
      coroutine.resume(co)]],
    ["in a variable that coroutine.wrap closes"] = [[
      local mt = { __close = forever }
      coroutine.wrap(function()
        local x <close> = setmetatable({}, mt)
        error "x"
      end)()]],
    ["in coroutine.close"] = [[
      local mt = { __close = forever }
      local co = coroutine.create(function()
        local x <close> = setmetatable({}, mt)
        coroutine.yield()
      end)
      coroutine.resume(co)
      coroutine.close(co)]],
    ["in __gc"] = [[
      setmetatable({}, { __gc = forever })
      collectgarbage()]],
    ["in __gc set late"] = [[
      local mt = { __gc = true }
      setmetatable({}, mt)
      mt.__gc = forever
      collectgarbage()]],
    ["in __gc through pcall"] = [[
      setmetatable({}, { __gc = pcall, __call = forever })
      collectgarbage()]],
    ["in __gc given by debug.setmetatable"] = [[
      debug.setmetatable({}, { __gc = forever })
      collectgarbage()]],
    ["in __close"] = [[
      local x <close> = setmetatable({}, { __close = forever })]],
    ["in __close while the budget's error passes"] = [[
      local x <close> = setmetatable({}, { __close = forever })
      local y <close> = setmetatable({}, { __close = forever })
      forever()]],
    ["in __index"] = [[
      local t = setmetatable({}, { __index = forever })
      while true do pcall(function() return t.x end) end]],
    ["in __tostring of an error"] = [[
      error(setmetatable({}, { __tostring = forever }))]],
    -- What tells of the budget's end asks no metamethod.
    ["with a __tostring of strings that loops"] = [[
      getmetatable("").__tostring = forever
      forever()]],
    ["in __tostring of a number that is raised"] = [[
      debug.setmetatable(1, { __tostring = forever })
      error(1)]],
    ["in __tostring while an error that it raised is told"] = [[
      error(setmetatable({}, { __tostring = function()
        getmetatable("").__tostring = forever
        pcall(forever)
        error(setmetatable({}, { __tostring = forever }))
      end }))]],
    ["in what a C function calls"] = [[
      while true do
        pcall(table.sort, { 3, 2, 1 }, forever)
        pcall(string.gsub, "x", "x", forever)
      end]],
    ["in C functions that call C functions"] = [[
      load(function() return " " end)]],
    ["in a module being required"] = [[
      package.preload.slow = forever
      require "slow"]],
    ["in a write's callback"] = [[
      socket:write("", forever)]],
    ["in a luv timer"] = [[
      local timer = require "luv".new_timer()
      timer:start(0, 0, function() timer:close() forever() end)]],
  }

  for way, spawn in pairs(ways) do
    describe("kept by " .. way, function()
      for where, code in pairs(loops) do
        -- Until it is over, only a counted instruction would tell.
        local counted = way ~= "a count hook" or not where:find "^in C func"
        if counted then
          it("ends a loop " .. where, function()
            attack(code, OVER, spawn)
          end)
        end
      end

      it("ends a loop in a coroutine from before", function()
        local child, peer = start([[
          local co = coroutine.wrap(function()
            coroutine.yield()
            pcall(forever)
            forever()
          end)
          co()
          attacks.go = function() co() end
        ]], nil, spawn)
        peer:write("go")
        child:waitFor(OVER)
        fine(child, peer)
      end)

      it("is a new one for each call", function()
        local child, peer = start("attacks.go = forever", nil, spawn)
        for _ = 1, 3 do
          peer:write("go")
          child:waitFor(OVER)
        end
        fine(child, peer)
      end)

      it("leaves what is within it alone", function()
        local child, peer = start([[
          local uv = require "luv"
          local since = uv.hrtime()
          local co = coroutine.wrap(function()
            while true do
              for _ = 1, 1000 do end
              coroutine.yield()
            end
          end)
          attacks.go = function(socket)
            for _ = 1, 100 do co() end
            -- Until calls have taken several budgets together.
            if uv.hrtime() - since < 1.2e9 then
              local timer = uv.new_timer()
              timer:start(0, 0, function()
                timer:close()
                attacks.go(socket)
              end)
            else
              socket:write("done\r\n")
            end
          end
        ]], { "--budget", "500" }, spawn)
        peer:write("go")
        assert.equal("go", peer:line())
        assert.equal("done", peer:line())
        fine(child, peer)
        assert.is_nil(child.output:find("budget", 1, true))
      end)

      it("ends a loop while loading", function()
        local path = support.tmpfile("while true do pcall(load, '') end")
        local child = spawn { "check", "--load-budget", "50", path }
        child:wait()
        assert.equal(1, child.code)
        assert.matches("policy.lua:1: the loading budget of 50 ms is over",
          child.output)
      end)

      it("ends loops in unload handlers and finalizers", function()
        local child, peer = start([[
          host.on("unload", forever)
          for i = 1, 3 do
            _G[i] = setmetatable({}, { __gc = forever })
          end
        ]], nil, spawn)
        fine(child, peer)
        assert.matches(OVER .. ".*" .. OVER, child.output)
      end)
    end)
  end

  it("of loading counts for modules too", function()
    local dir = support.tmpdir()
    support.write(dir .. "/slow.lua", "while true do end")
    local path = support.write(dir .. "/policy.lua", "require 'slow'")
    local child = support.spawn(ROVER,
      { "check", "--load-budget", "500", path })
    assert.equal(1, (child:wait()))
    assert.matches("slow.lua:1: the loading budget of 500 ms is over",
      child.output)
  end)

  it("names the line that ran", function()
    local child = attack("forever()", OVER)
    assert.matches('error="[^"]*policy.lua:4: the time budget of 100 ms is '
      .. 'over: do less in one call, or raise the option budget"', child.output)
    assert.matches("in upvalue 'forever'", child.output)
  end)

  it("is shared by the handlers of an event", function()
    local child, peer = start [[
      attacks.go = function(socket)
        for i = 1, 3 do
          socket:on("data", function(chunk)
            if chunk ~= "now" then return end
            host.log.info("begins " .. i)
            forever()
          end)
        end
      end
    ]]
    peer:write("go")
    assert.equal("go", peer:line())
    peer:write("now")
    for _ = 1, 3 do child:waitFor(OVER) end
    fine(child, peer)
    assert.matches("begins 1", child.output)
    assert.is_nil(child.output:find("begins 2", 1, true))
  end)

  it("lets a finalizer that was not at fault run later", function()
    local child, peer = start [[
      attacks.go = function(socket)
        for i = 1, 2 do
          setmetatable({}, { __gc = function()
            if i == 2 then forever() end
            socket:write("finalized\r\n")
          end })
        end
        collectgarbage()
      end
      attacks.collect = function() collectgarbage() end
    ]]
    peer:write("go")
    child:waitFor(OVER)
    peer:write("collect")
    assert.equal("finalized", peer:line())
    assert.equal("collect", peer:line())
    fine(child, peer)
  end)

  it("does not let a stopped coroutine run on", function()
    local child, peer = start [[
      local mt = { __close = forever }
      local co = coroutine.create(function()
        local x <close> = setmetatable({}, mt)
        forever()
      end)
      attacks.go = function() coroutine.resume(co) end
      attacks.close = function(socket)
        socket:write(tostring(select(2, coroutine.close(co))) .. "\r\n")
      end
    ]]
    peer:write("go")
    child:waitFor(OVER)
    peer:write("close")
    assert.equal("the coroutine was stopped", peer:line())
    assert.equal("close", peer:line())
    fine(child, peer)
  end)

  it("holds though strings have a __tostring, as it is loaded", function()
    for _, option in ipairs { "--load-budget=500", "--sandbox" } do
      local child = check([[
        getmetatable("").__tostring = function() while true do end end
        while true do end
      ]], { option, "--load-budget=500" })
      assert.equal(1, child.code)
      assert.matches(":2: the loading budget of 500 ms is over", child.output)
    end
  end)

  -- A finalizer in C has no hooks, so none is to call the script.
  it("holds for the finalizers of what C makes", function()
    attack([[
      local uv = require "luv"
      local made = { file = io.stdout, timer = uv.new_timer(), socket = socket,
        rover = r, relay = require "callosum.relay".new { listen = { port = 0 },
          pick = print } }
      for name, object in pairs(made) do
        local mt = getmetatable(object)
        if type(mt) == "table" and mt.__gc then
          mt.__gc = forever
          host.log.info("changed " .. name)
        end
      end
      collectgarbage()
      error "none was changed"
    ]], "none was changed")
  end)

  -- With names that belong to many modules, each search took seconds.
  it("is not passed by looking for names in what is loaded", function()
    local child = check([[
      require "callosum.rover".new {}
      local many = {}
      for i = 1, 100000 do many["k" .. i] = i end
      for i = 1, 100 do package.loaded["m" .. i] = many end
      for name in pairs(package.loaded) do -- as the host has them
        local known, found = pcall(require, "_G." .. name)
        if known and type(found) == "table" then
          for i = 1, 300000 do found["k" .. i] = i end
        end
      end
      local function deep(n)
        if n == 0 then error "deep" end
        return (deep(n - 1))
      end
      local from = os.clock()
      print((select(2, xpcall(deep, debug.traceback, 30))))
      print(pcall(string.rep))
      print(require "m1" == many)
      setmetatable({}, { __gc = function() error "in a finalizer" end })
      collectgarbage()
      print(os.clock() - from < 1)
      deep(30)
    ]], { "--sandbox", "--load-budget=3000" })
    assert.equal(1, child.code)
    assert.matches("deep\nstack traceback:\n\t%[C%]: in function 'error'",
      child.stdout)
    assert.matches("bad argument #1 to 'string.rep'", child.stdout)
    assert.matches("true\ntrue\n$", child.stdout)
    assert.matches("19: in a finalizer", child.stderr)
    assert.matches('error="[^"]*policy.lua:12: deep"', child.stderr)
    assert.matches("skipping %d+ levels", child.stderr)
  end)

  it("does not hold up a reload by metatables of the old policy's", function()
    local child, peer = start [[
      local timer = require "luv".new_timer()
      timer:start(3600000, 0, forever)
      attacks.go = function(socket)
        debug.getmetatable(timer).__tostring = forever
        rawset(socket.state, 1,
          { [setmetatable({}, { __tostring = forever })] = 1 })
      end
      attacks.mend = function(socket) socket.state[1] = nil end
    ]]
    peer:write("go")
    assert.equal("go", peer:line())
    child:kill("sighup")
    child:waitFor("reload failed.*socket.state%[1%]%[table%]: .*metatable")
    peer:write("mend")
    assert.equal("mend", peer:line())
    child:kill("sighup")
    child:waitFor("policy reloaded")
    fine(child, peer)
  end)

  it("cannot be switched off", function()
    attack("debug.sethook() forever()", "a policy has no hooks")
  end)
end)

describe("the functions of Lua that the budget replaces", function()
  -- Runs the code in a policy and in plain Lua; returns what both print.
  local function both(code)
    local path = support.tmpfile(
      "R = require 'callosum.rover'.new {}\n" .. code)
    local plain = support.spawn("lua5.4", { "-e",
      "package.preload['callosum.rover'] = function() "
      .. "return { new = type } end", path })
    local policy = support.spawn(ROVER, { "check", path })
    plain:wait()
    policy:wait()
    assert.equal("", plain.stderr)
    assert.equal("", policy.stderr)
    local function clean(text)
      return (text:gsub("rover 'main'[^\n]*\n", "")
        :gsub("table: 0x%x+", "table"))
    end
    assert.equal(clean(plain.stdout), clean(policy.stdout))
    return plain.stdout
  end

  it("behave as Lua's: coroutines", function()
    assert.matches("3\n$", both [[
      local co = coroutine.create(function(a, ...)
        print(a, ...)
        print(coroutine.yield(1, 2, 3))
        error { "x" }
      end)
      print(coroutine.resume(co, "a", "b", nil))
      print(coroutine.status(co))
      print(type(select(2, coroutine.resume(co, "c"))))
      print(coroutine.resume(co))
      print(coroutine.status(co), coroutine.close(co))
      print(pcall(coroutine.resume, 1))
      print(pcall(coroutine.close, 1))
      print(pcall(coroutine.close, coroutine.running()))
      print(pcall(coroutine.wrap, 1))
      print(coroutine.resume(coroutine.running()))
      local f = coroutine.wrap(function() error("x", 0) end)
      print(pcall(f))
      print(pcall(f))
      print(pcall(coroutine.wrap(function()
        local a <close> = setmetatable({}, { __close = function(_, e)
          print("closing", e)
          error("y", 0)
        end })
        error("x", 0)
      end)))
      local g = coroutine.create(function()
        local a <close> = setmetatable({}, { __close = print })
        coroutine.yield()
      end)
      coroutine.resume(g)
      coroutine.close(g)
      print(coroutine.status(g))
      for i in coroutine.wrap(function()
        for i = 1, 3 do coroutine.yield(i) end
      end) do print(i) end
    ]])
  end)

  it("behave as Lua's: xpcall", function()
    assert.matches("\nx\n$", both [[
      print(xpcall(function(...) return ... end, print, 1, nil, 3))
      print(xpcall(error, function(e) return e .. "!" end, "x"))
      print(pcall(xpcall, print))
      print(coroutine.wrap(function()
        return xpcall(function() return coroutine.yield(1) end, print)
      end)())
      local co = coroutine.wrap(function()
        return xpcall(function()
          error(coroutine.yield(), 0)
        end, function(e) return e, 2 end)
      end)
      co()
      print(co("z"))
      print((select(2, xpcall(error, debug.traceback, "x"))
        :gsub("\n.*", "")))
    ]])
  end)

  it("behave as Lua's: finalizers", function()
    assert.equal([[
3 2 1 late
false
cannot change a protected metatable
again
again
closing 2
closing 1
]], both [[
      local out = {}
      local mt = { __gc = true }
      local t = setmetatable({}, mt)
      setmetatable(t, mt)
      mt.__gc = function(o)
        out[#out + 1] = "late"
        assert(getmetatable(o) == mt)
      end
      t = nil
      for i = 1, 3 do
        setmetatable({}, { __gc = function() out[#out + 1] = i end })
      end
      collectgarbage()
      print(table.concat(out, " "))

      print((pcall(setmetatable, 1, {})))
      print(select(2, pcall(setmetatable,
        setmetatable({}, { __metatable = 1 }), {})))

      setmetatable({}, { __gc = function(o)
        print "again"
        kept = o
      end })
      collectgarbage()
      setmetatable(kept, getmetatable(kept))
      kept = nil
      collectgarbage()
      setmetatable(kept, { __gc = nil })
      kept = nil
      collectgarbage()

      for i = 1, 2 do
        _G[i] = setmetatable({}, { __gc = function()
          print("closing " .. i)
        end })
      end
    ]])
  end)

  it("report an error in a finalizer", function()
    local child = check([[
      R = require "callosum.rover".new {}
      setmetatable({}, { __gc = function() error "oh" end })
      collectgarbage()
      setmetatable({}, { __gc = coroutine.yield })
      collectgarbage()
    ]], {})
    assert.equal(0, child.code, child.output)
    assert.matches('policy error error="[^"]*policy.lua:2: oh"', child.output)
    assert.matches("a finalizer cannot yield", child.output)
  end)
end)

describe("the memory cap", function()
  local NOT_ENOUGH = "not enough memory: the policy may have 16777216 bytes: "
    .. "keep less, or raise the option memory"
  local eaters = {
    tables = "local t = {} while true do t = { t, t } end",
    ["one table"] = "local t = {} for i = 1, math.huge do t[i] = i end",
    strings = "local s = 'x' while true do s = s .. s end",
    ["one string"] = "return ('x'):rep(1e9)",
    closures = [[
      local f
      while true do
        local g = f
        f = function() return g end
      end]],
    coroutines = [[
      local t = {}
      while true do t[#t + 1] = coroutine.wrap(forever) end]],
    finalizers = [[
      local t, mt = {}, { __gc = function() end }
      while true do t[#t + 1] = setmetatable({}, mt) end]],
    ["a callback"] = [[
      socket:write("", function()
        local t = {}
        while true do t = { t } end
      end)]],
    ["a timer"] = [[
      local timer = require "luv".new_timer()
      timer:start(0, 0, function()
        timer:close()
        local t = {}
        while true do t = { t } end
      end)]],
  }

  for what, code in pairs(eaters) do
    it("stops a policy that eats it by " .. what, function()
      attack(code, NOT_ENOUGH, nil, { "--budget", "10000" })
    end)
  end

  it("is an error that the policy can catch", function()
    local child, peer = start([[
      attacks.go = function(socket)
        local ok, err = pcall(string.rep, "x", 1e9)
        socket:write(tostring(err) .. "\r\n")
      end
    ]])
    peer:write("go")
    assert.equal("not enough memory", peer:line())
    assert.equal("go", peer:line())
    fine(child, peer)
  end)

  it("counts what is alive, not what was", function()
    local child, peer = start([[
      local page = ("x"):rep(65536) -- string.rep copies piece by piece
      attacks.go = function(socket)
        for _ = 1, 100 do local s = page:rep(16) end
        local kept = {}
        local function keep(what) kept[#kept + 1] = what .. #kept end
        while pcall(keep, page) do end
        while pcall(keep, "0123456789") do end
        collectgarbage()
        local count = collectgarbage "count" * 1024
        kept = nil
        socket:write(("%d\r\n"):format(count))
      end
    ]], { "--budget", "10000" })
    peer:write("go")
    local count = tonumber(peer:line())
    assert.is_true(count <= 16 << 20 and count > 15 << 20, count)
    assert.equal("go", peer:line())
    fine(child, peer)
  end)

  it("holds for loading", function()
    local child = check("local t = {} while true do t = { t } end",
      { "--memory", "4M" })
    assert.equal(1, child.code)
    assert.matches("cannot load policy.*the policy may have 4194304 bytes",
      child.output)
  end)

  it("may be too small for anything", function()
    for _, size in ipairs { "1", "1K", "20K" } do
      local child = check("", { "--memory", size })
      assert.equal(1, child.code)
      assert.equal(0, child.signal)
      assert.matches("not enough memory", child.output)
    end
  end)

  it("leaves the host its other sockets when a policy keeps all", function()
    local child, peer = start([[
      local uv = require "luv"
      local kept = {}
      local function fill()
        for _, size in ipairs { 1 << 20, 1 << 12, 1 << 6, 8 } do
          while pcall(function() kept[#kept + 1] = ("x"):rep(size) .. #kept end)
          do end
        end
      end
      local timer, ticks = uv.new_timer(), 0
      attacks.go = function(socket)
        timer:start(1, 1, function()
          ticks = ticks + 1
          if ticks < 20 then return fill() end
          timer:close()
          kept = {}
          collectgarbage()
          socket:write("freed\r\n")
        end)
      end
    ]], { "--budget", "10000" })
    peer:write("go")
    assert.equal("go", peer:line())
    peer:take("freed\r\n")
    peer:write("still there?")
    peer:take("still there%?\r\n")
    child:kill():wait()
    assert.equal(0, child.code, child.output)
    assert.equal(0, child.signal)
    assert.is_nil(child.output:find("unprotected", 1, true))
  end)

  it("costs a connection handler its socket only", function()
    local server = serve { send = "0\r\n" }
    local path = support.tmpfile(([[
      local r = require "callosum.rover".new { rovingInterval = 10 }
      r:addServer("one", { host = "127.0.0.1", port = %d })
      r:on("connection", function() return ("x"):rep(1e9) end)
      r:start()
    ]]):format(server.port))
    local child = support.spawn(ROVER, { "run", "--memory", "16M", path })
    for _ = 1, 3 do child:waitFor(NOT_ENOUGH) end
    assert.is_nil(server.peers[1]:waitEnd())
    child:kill():wait()
    assert.equal(0, child.code)
  end)
end)

describe("the options", function()
  local function usage(...)
    local child = support.spawn(ROVER, { "check", ... })
    child:wait()
    assert.equal(2, child.code)
    return child.stderr
  end

  it("refuse what is no size", function()
    for _, size in ipairs { "", "x", "-1", "0", "1T", "1KK", "1.5G", "K",
        "99999999999999999999", "9999999999G" } do
      assert.matches("%-%-memory wants bytes, or a number with K, M or G",
        usage("--memory", size, "policy.lua"))
    end
  end)

  it("refuse what is no time", function()
    for _, ms in ipairs { "", "x", "-1", "0", "1s", "1e3", "1000000001" } do
      assert.matches("%-%-budget wants milliseconds above 0",
        usage("--budget", ms, "policy.lua"))
      assert.matches("%-%-load%-budget wants milliseconds above 0",
        usage("--load-budget", ms, "policy.lua"))
    end
  end)

  it("are told by --help", function()
    local child = support.spawn(ROVER, { "--help" })
    child:wait()
    for _, option in ipairs { "budget", "load%-budget", "memory",
        "sandbox" } do
      assert.matches("%-%-" .. option, child.stdout)
    end
  end)
end)

describe("os.exit", function()
  it("is an error that names host.stop", function()
    attack("os.exit(3)", "call host.stop")
  end)
end)

describe("chunks", function()
  it("are text, modules too", function()
    local dir = support.tmpdir()
    support.write(dir .. "/code.lua", string.dump(function() end))
    local path = support.write(dir .. "/policy.lua", [[
      print(pcall(require, "code"))
      require "callosum.rover".new {}
    ]])
    local child = support.spawn(ROVER, { "check", path })
    assert.equal(0, (child:wait()))
    assert.matches("error loading module 'code'.*binary chunk", child.stdout)
  end)
end)
