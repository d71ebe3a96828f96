local support = require "support"
local faults = require "support.faults"
local uv = require "luv"

local policy, command = support.policy, support.command
local events, logged, stop = support.events, support.logged, support.stop
local run, tmpfile, serve = support.run, support.tmpfile, support.serve

-- What nearly every policy here begins with, in one line: a rover to a server
-- whose port is the first argument, if there is one.
local HEAD = ([[
  host = require "callosum.host" rover = require "callosum.rover"
  log = host.log.info
  r = rover.new { rovingInterval = 20 }
  if host.args[1] then r:addServer("s", { host = "127.0.0.1",
    port = tonumber(host.args[1]) }) end
]]):gsub("\n%s*", " ")

-- Runs a policy to its end, which must be in order, with nothing said on
-- standard output; returns the child and what it logged at level error.
local function finish(script, options)
  local child = policy(HEAD .. script, options)
  assert.same({ 0, 0 }, { child:wait() }, child.output)
  local errors = {}
  for _, event in ipairs(events(child)) do
    if event.level == "error" then errors[#errors + 1] = event end
  end
  return child, errors
end

-- As `finish`, and no error was logged.
local function succeed(script, options)
  local child, errors = finish(script, options)
  assert.equal(0, #errors, child.stderr)
  return child
end

-- Options that hand a policy the port of a server.
local function to(server, more)
  local options = more or {}
  options.args = { tostring(type(server) == "table" and server.port or server) }
  return options
end

describe("callosum.host", function()
  it("is a policy of the first generation", function()
    succeed [[
      assert(math.type(host.generation) == "integer")
      assert(host.generation == 1)
      host.stop()
    ]]
  end)

  it("hands it its arguments, in host.args and in ...", function()
    succeed([[
      assert(select("#", ...) == 3 and #host.args == 3)
      local one, two, three = ...
      assert(one == "1" and two == "" and three == "--c")
      assert(host.args[1] == one and host.args[2] == two)
      assert(host.args[3] == three)
      host.stop()
    ]], { args = { "1", "", "--c" } })
  end)

  it("is the same table each time", function()
    succeed [[
      assert(require "callosum.host" == host)
      assert(require "callosum.rover" == rover)
      assert(require "luv" == require "luv")
      host.stop()
    ]]
  end)

  it("gives its version, as the rover's", function()
    local child = succeed "print(rover._VERSION) host.stop()"
    local version = command { "--version" }
    version:wait()
    assert.equal("callosum-rover " .. child.stdout, version.stdout)
  end)

  describe("log", function()
    it("takes a message and fields of any type", function()
      local child = succeed [[
        host.log.debug("a")
        host.log.info("b", nil)
        host.log.warn("c", {})
        log("d", { n = 1, f = 0.5, yes = true, no = false, s = "text",
          t = setmetatable({}, { __tostring = function() return "shown" end }),
          r = r })
        host.stop()
      ]]
      local list = events(child)
      for _, event in ipairs(list) do event.time = nil end
      assert.same({ { level = "debug", message = "a" },
        { level = "info", message = "b" }, { level = "warn", message = "c" },
        { level = "info", message = "d", n = 1, f = 0.5, yes = true, no = false,
          s = "text", t = "shown", r = "rover 'main'" } },
        { table.unpack(list, 1, 4) })
    end)

    it("shows what is in a table, as much as fits", function()
      local child = succeed [[
        local shown = setmetatable({}, {
          __tostring = function() return "S" end })
        local own, many, long = {}, {}, { ("x"):rep(2000), 1 }
        own[1] = own
        for i = 1, 40 do many["k" .. i % 10 .. i // 10] = i end
        local gone = {}
        for i = 1, 20 do gone["a" .. i] = setmetatable({}, {
          __tostring = function()
            for k in pairs(gone) do gone[k] = nil end
            collectgarbage()
            return "G"
          end }) end
        log("tables", { empty = {}, list = { 1, "two", 2.5, true },
          map = { port = 80, host = "a", [false] = 1, [2] = { {} } },
          deep = { { { { {} } } } }, own = own, shown = { shown },
          many = many, long = long, gone = gone, userdata = { r } })
        host.stop()
      ]]
      local t = events(child, "tables")[1]
      assert.same({ "{}", "{1, 'two', 2.5, true}", "{S}", "{{{{{...}}}}}",
        "{rover 'main'}" }, { t.empty, t.list, t.shown, t.own, t.userdata })
      assert.matches("^{%[.*%]=.*, %[.*%]=.*, host='a', port=80}$", t.map)
      assert.matches("%[2%]={{}}", t.map)
      assert.equal("{{{{{...}}}}}", t.deep)
      assert.matches("^{k.*, %.%.%.}$", t.many)
      assert.matches("^{'x+%.%.%.$", t.long)
      assert.equal(1003, #t.long)
      assert.matches("^{a%d+=G, a%d+=nil, ", t.gone)
    end)

    it("returns nothing, and shows fields by name", function()
      local child = succeed [[
        assert(select("#", log("m", { c = 1, b = 2, a = 3, d = 4 })) == 0)
        host.stop()
      ]]
      assert.matches('"a":3,"b":2,"c":1,"d":4', child.stderr)
    end)

    local numbers = [[
      log("numbers", { a = 1.5, b = -2.0, c = 1e300, d = 1.25e-7, e = -3,
        f = math.mininteger, yes = true })
    ]]
    local json = '"a":1.5,"b":-2.0,"c":1e+300,"d":1.25e-07,"e":-3,'
      .. '"f":-9223372036854775808,"yes":true'

    it("writes numbers as JSON does in a locale with a decimal comma",
      function()
        local env = support.commaLocale()
        if not env then return pending "no localedef" end
        local child = policy(HEAD .. [[
          assert(os.setlocale("comma", "numeric"))
          assert(tostring(1.5) == "1,5")
        ]] .. numbers, { env = env })
        logged(child, "numbers")
        child:kill "sighup"
        assert.equal("float", math.type(logged(child, "policy reloaded").ms))
        stop(child)
        assert.is_truthy(child.stderr:find(json, 1, true), child.stderr)
      end)

    it("writes numbers as JSON does, whatever their metatable", function()
      local child = succeed([[
        local mt = { __tostring = function() return "shown" end, __name = "x" }
        debug.setmetatable(1, mt) debug.setmetatable(true, mt)
      ]] .. numbers .. "host.stop()")
      assert.is_truthy(child.stderr:find(json, 1, true), child.stderr)
    end)

    it("takes many fields, and cuts long ones", function()
      local child = policy(HEAD .. [[
        local fields = {}
        for i = 1, 1000 do fields["f" .. i] = i end
        fields.long = ("x"):rep(1000000)
        log("many", fields)
      ]])
      local event = logged(child, "many")
      stop(child)
      for i = 1, 1000 do assert.equal(i, event["f" .. i]) end
      assert.is_true(#event.long > 30000, #event.long)
    end)
  end)

  describe("refuses, at the line of the script,", function()
    for text, message in pairs {
      ["host.log.info()"] = "bad argument #1 to 'info' %(string expected",
      ["host.log.info({})"] = "bad argument #1 to 'info' %(string expected",
      ["host.log.warn('m', 1)"] = "bad argument #2 to 'warn' %(table expected",
      ["host.log.error('m', 'x')"] =
        "bad argument #2 to 'error' %(table expected",
      ["host.log.debug('m', { 1 })"] =
        "bad argument #2 to 'debug' %(field names must be strings",
      ["host.log.info('m', { [true] = 1 })"] =
        "bad argument #2 to 'info' %(field names must be strings",
      ["host.on('unlod', print)"] =
        "bad argument #1 to 'on' %(unknown event 'unlod', "
        .. "nearest is 'unload'%)",
      ["host.on(nil, print)"] = "bad argument #1 to 'on' %(string expected",
      ["host.on('unload')"] = "bad argument #2 to 'on' %(function expected",
      ["host.on('unload', {})"] = "bad argument #2 to 'on' %(function expected",
      ["host.stop('now')"] = "bad argument #1 to 'stop' %(number expected",
      ["host.stop(1.5)"] = "bad argument #1 to 'stop' %(number has no integer",
      ["host.stop(-1)"] = "bad argument #1 to 'stop' %(.*0 to 255",
      ["host.stop(256)"] = "bad argument #1 to 'stop' %(.*0 to 255",
    } do
      it(text, function()
        local child = policy(HEAD .. "\n\n" .. text .. "\n")
        assert.same({ 1, 0 }, { child:wait() })
        local event = logged(child, "cannot load policy")
        assert.equal(child.path .. ":3: ",
          event.error:sub(1, #child.path + 4))
        assert.matches(message, event.error:sub(#child.path + 5))
        assert.matches("policy.lua:3: in main chunk", event.traceback)
      end)
    end
  end)

  describe("stop", function()
    local function connected(code)
      return ([[
        local function go() host.stop(3) end
        r:on("connection", function(_, s) r:stop() %s end)
        r:start()
      ]]):format(code)
    end

    for where, script in pairs {
      ["from the script's body"] = "host.stop(3)",
      ["from a connection handler"] = connected "go()",
      ["from a data handler"] = connected "s:on('data', go)",
      ["from the end handler of a socket ended by its peer"] =
        connected "s:on('end', go)",
      ["from the close handler of a socket closed here"] =
        connected "s:on('close', go) s:close()",
      ["from the close handler of a socket closed by its peer"] =
        connected "s:on('close', go)",
      ["from a drain handler"] = connected [[
        s:on("drain", go)
        local much = ("x"):rep(1e6)
        repeat until not s:write(much) or s:writeQueueSize() > 0
      ]],
      ["from the callback of a write"] = connected "s:write('x', go)",
      ["from the callback of a write that is cancelled"] = connected [[
        local much = ("x"):rep(1e6)
        repeat until not s:write(much) or s:writeQueueSize() > 0
        s:write("x", go)
        s:close()
      ]],
      ["from the callback of a shutdown"] = connected "s:shutdown(go)",
      ["from a finalizer"] = connected
        "setmetatable({}, { __gc = go }) collectgarbage()",
      ["from an error handler"] = [[
        r:on("error", function() host.stop(3) end)
        r:dropServer "s"
        r:start()
      ]],
      ["from an unreachable handler"] = [[
        r:on("unreachable", function() host.stop(3) end)
        r:dropServer "s"
        local nobody = require "luv".new_tcp()
        nobody:bind("127.0.0.1", 0)
        r:addServer("none", { host = "127.0.0.1",
          port = nobody:getsockname().port })
        r:start()
      ]],
      ["from a callback of luv"] =
        "require 'luv'.new_timer():start(1, 0, function() host.stop(3) end)",
      ["from a coroutine that opened luv and is resumed by it"] = [[
        local co = coroutine.create(function()
          local timer = require "luv".new_timer()
          local this = coroutine.running()
          timer:start(1, 0, function() assert(coroutine.resume(this)) end)
          coroutine.yield()
          host.stop(3)
        end)
        assert(coroutine.resume(co))
      ]],
      ["from a coroutine"] = [[
        r:on("connection", coroutine.wrap(function()
          coroutine.yield()
          host.stop(3)
        end))
        r:start()
      ]],
    } do
      it("ends the run " .. where, function()
        -- A connection with bytes that nobody has read ends with a reset.
        local data = script:find "data" and "data" or ""
        local server = serve { send = { "0\r\n", data },
          finish = where:find "by its peer" and "shutdown" }
        local child = policy(HEAD .. script .. [[
          host.on("unload", function() log("unload") end)
        ]], to(server))
        assert.same({ 3, 0 }, { child:wait() })
        assert.equal(1, #events(child, "unload"))
        assert.is_nil(server.peers[1] and server.peers[1]:waitEnd())
        -- So does an attempt that was under way, when its line has come.
        for _, each in ipairs(server.peers) do each:waitEnd() end
      end)
    end

    it("runs nothing of the policy after the call that asked for it", function()
      local child = policy(HEAD .. [[
        local uv = require "luv"
        uv.new_timer():start(1, 0, function()
          host.stop(1)
          host.stop(4) -- the last word counts
          log("still runs")
        end)
        host.on("unload", function() host.stop(5) log("unload") end)
        host.on("unload", function() r:connect() r:start() end)
      ]])
      assert.same({ 4, 0 }, { child:wait() })
      assert.equal(1, #events(child, "still runs"))
      assert.equal(1, #events(child, "unload"))
    end)
  end)

  describe("on unload", function()
    it("calls every handler once, in order", function()
      local child = policy(HEAD .. [[
        for i = 1, 3 do
          host.on("unload", function() log("unload", { i = i }) end)
        end
        local function same() log("same") end
        host.on("unload", same)
        host.on("unload", same)
      ]])
      logged(child, "policy loaded")
      stop(child)
      for i, event in ipairs(events(child, "unload")) do
        assert.equal(i, event.i)
      end
      assert.equal(3, #events(child, "unload"))
      assert.equal(2, #events(child, "same"))
    end)

    it("finds the sockets still open", function()
      local server = serve { send = "5\r\n" }
      local child = policy(HEAD .. [[
        r:on("connection", function() log("kept") end)
        host.on("unload", function()
          for _, socket in ipairs(r:sockets()) do
            log("open", { slot = socket.slot, closed = socket.closed })
          end
        end)
        r:connect()
      ]], to(server))
      logged(child, "kept")
      stop(child)
      local list = events(child, "open")
      assert.equal(1, #list)
      assert.same({ 5, false }, { list[1].slot, list[1].closed })
    end)
  end)
end)

describe("a policy", function()
  it("finds modules in its own folder and ours, wherever it is run",
      function()
    local dir = support.tmpdir()
    for _, sub in ipairs { "/a b", "/a b/deep", "/elsewhere" } do
      assert(uv.fs_mkdir(dir .. sub, 493))
    end
    support.write(dir .. "/a b/mine.lua", "return { name = ... }")
    support.write(dir .. "/a b/deep/init.lua", "return { name = ... }")
    support.write(dir .. "/a b/policy.lua", HEAD .. [[
      assert(require "mine".name == "mine")
      assert(require "deep".name == "deep")
      assert(require "callosum.slots".new():get() == 0)
      assert(require "callosum.server".new():close())
      print "fine"
      host.stop()
    ]])
    for cwd, path in pairs { ["/"] = dir .. "/a b/policy.lua",
        [dir] = "a b/policy.lua", [dir .. "/a b"] = "policy.lua",
        [dir .. "/a b/deep"] = "../policy.lua",
        [dir .. "/elsewhere"] = ".././a b/policy.lua" } do
      local child = command({ "run", path }, { cwd = cwd })
      assert.same({ 0, 0 }, { child:wait() })
      assert.equal("fine\n", child.stdout)
    end
  end)

  it("finds our modules when the command is called by a link", function()
    local link = support.tmpdir() .. "/rover"
    assert(uv.fs_symlink(support.EXECUTABLE, link))
    local path = tmpfile(HEAD .. "require 'callosum.slots' host.stop()")
    local child = support.spawn("rover", { "run", path }, { cwd = "/",
      env = { LD_PRELOAD = false,
        PATH = link:match "^(.*)/" .. ":" .. os.getenv "PATH" } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)

  it("finds our modules where there is no /proc", function()
    local unshare = faults.unshare "-m"
    if not unshare or support.WATCHED then
      return pending "no mount namespace allowed, or a sanitizer wants /proc"
    end
    local folder = support.tmpdir()
    assert(uv.fs_symlink(support.EXECUTABLE, folder .. "/rover"))
    local path = tmpfile(HEAD .. "require 'callosum.slots' host.stop()")
    for _, name in ipairs { support.EXECUTABLE, "rover", "./rover" } do
      local child = support.spawn("sh", { "-c", unshare .. [[ sh -c '
        mount -t tmpfs none /proc && cd "$1" && shift && PATH=$PWD:$PATH
        exec "$@"' sh "$@"]], "sh", folder, name, "run", path },
        { env = { LD_PRELOAD = false } })
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end
  end)

  it("may have several rovers, each on its own", function()
    local one, two = serve { send = "1\r\n" }, serve { send = "2\r\n" }
    local child = policy(HEAD .. [[
      for i = 1, 2 do
        local name = "rover " .. i
        local each = rover.new { name = name, rovingInterval = 10,
          servers = { s = { host = "127.0.0.1",
            port = tonumber(host.args[i]) } } }
        each:on("connection", function(slot, socket)
          log(name, { slot = slot })
          socket:close()
        end)
        each:start()
      end
    ]], { args = { tostring(one.port), tostring(two.port) } })
    logged(child, "rover 1", 2)
    logged(child, "rover 2", 2)
    stop(child)
    for i = 1, 2 do
      for _, event in ipairs(events(child, "rover " .. i)) do
        assert.equal(i, event.slot)
      end
    end
  end)

  it("may make a rover at any time, and close it", function()
    local server = serve { send = "1\r\n" }
    local child = succeed([[
      local count = 0
      local function again()
        local each = rover.new { name = "again", rovingInterval = 1000,
          servers = r:servers() }
        each:on("connection", function()
          count = count + 1
          each:close()
          if count == 5 then host.stop() else again() end
        end)
        each:start()
      end
      again()
    ]], to(server))
    assert.equal("", child.stdout)
    assert.equal(5, #server.peers)
    for _, each in ipairs(server.peers) do assert.is_nil(each:waitEnd()) end
  end)

  it("gets no connection before all of its body has run", function()
    local server = serve { send = "1\r\n" }
    succeed([[
      local uv = require "luv"
      r:on("connection", function() assert(complete) host.stop() end)
      r:start()
      local start = uv.hrtime()
      while uv.hrtime() - start < 1e8 do end
      complete = true
    ]], to(server))
  end)
end)

-- Errors ---------------------------------------------------------------------

-- Ways to raise, one a line, from line 2 on: the function's text, and what the
-- logged error must match.
local RAISES = {
  { [[error("oops")]], "policy.lua:2: oops$" },
  { [[local x = nil; x.y = 1]], "policy.lua:3: attempt to index a nil" },
  { [[error({})]], "table" },
  { [[error(nil)]], "nil" },
  { [[error(setmetatable({}, { __tostring = function() return "told" end }))]],
    "^told$" },
  { [[error(setmetatable({}, { __tostring = function() error("bad") end }))]],
    "^%(error object is a table value; its __tostring raised .*:7: bad%)$" },
  { [[local t = setmetatable({}, {}) ]]
    .. [[getmetatable(t).__tostring = function() error(t) end error(t)]],
    "^%(error object is a table value; its __tostring raised another%)$" },
  { [[error("two\nlines\0and\xff bytes")]],
    "policy.lua:9: two\nlines%zand" },
  { [[coroutine.wrap(function() error("deep") end)()]],
    "policy.lua:10: deep$" },
  { [[rover.new { foo = 1 }]], "policy.lua:11: .*unknown option 'foo'" },
  { [[error("level 2", 2)]], "level 2$" },
}

local function raisers()
  local lines = { HEAD .. "raises = {" }
  for _, raise in ipairs(RAISES) do
    lines[#lines + 1] = "function(...) " .. raise[1] .. " end,"
  end
  lines[#lines + 1] = "}"
  return table.concat(lines, "\n") .. "\n"
end

-- Checks that `times` times every raiser was reported, in order.
local function checkErrors(child, times)
  local list = events(child, "policy error")
  assert.is_true(#list >= times * #RAISES, #list)
  for i = 1, times * #RAISES do
    local event = list[i]
    local which = (i - 1) % #RAISES + 1
    assert.equal("error", event.level)
    assert.matches(RAISES[which][2], event.error)
    assert.matches("^stack traceback:\n", event.traceback)
    assert.is_truthy(event.traceback:find(
      ("policy.lua:%d: "):format(which + 1), 1, true), event.traceback)
  end
end

describe("A module of ours", function()
  it("is the same one when it is required again", function()
    succeed [[
      for _, name in ipairs { "relay", "front", "discover" } do
        name = "callosum." .. name
        local first = require(name)
        package.loaded[name] = nil
        assert(require(name) == first)
      end
      host.stop()
    ]]
    for _, name in ipairs { "relay", "front", "discover" } do
      name = "callosum." .. name
      local first = require(name)
      package.loaded[name] = nil
      assert.equal(first, require(name))
    end
  end)

  it("has functions that tracebacks know, whenever it is required", function()
    succeed [[
      for name, call in pairs { relay = "new", front = "new",
          discover = "file", metrics = "counter" } do
        name = "callosum." .. name
        local _, text = xpcall(require(name)[call], debug.traceback, 0)
        assert(text:find("in function '" .. name .. "." .. call, 1, true), text)
      end
      host.stop()
    ]]
  end)
end)

describe("The log of an error", function()
  it("names what the handler was called for, and what becomes of the socket",
      function()
    local server = serve { send = "7\r\n" }
    local child = policy(HEAD .. [[
      local nobody = rover.new { name = "nobody", servers = { n = {
        host = "127.0.0.1", port = tonumber(host.args[2]) } } }
      nobody:on("unreachable", function()
        nobody:dropServer "n"
        error "unreachable"
      end)
      nobody:on("error", function() error "error" end)
      nobody:connect():connect()
      local n = 0
      r:on("connection", function(_, socket)
        n = n + 1
        if n == 1 then error "refused" end
        socket:on("data", function() socket:close() error "data" end)
        socket:on("close", function()
          setmetatable({}, { __gc = function() error "collected" end })
          collectgarbage()
          nobody:connect()
          error "close"
        end)
        socket:write("x", function() error "written" end)
      end)
      r:connect():connect()
      require "luv".new_timer():start(0, 0, function() error "timer" end)
    ]], { args = { tostring(server.port), tostring(support.closedPort()) } })
    run(function() return #server.peers == 2 end)
    for _, peer in ipairs(server.peers) do peer:write "data" end
    logged(child, "policy error", 8)
    stop(child)
    local told = {}
    for _, e in ipairs(events(child, "policy error")) do
      told[e.error:match "%S*$"] = { e.event, e.rover, e.server or "", e.slot,
        e.outcome }
    end
    assert.same({
      refused = { "connection", "main", "s", 7, "the socket is closed" },
      written = { "write or shutdown", "main", "s", 7, "the socket stays" },
      data = { "data", "main", "s", 7, "the socket is closed" },
      close = { "close", "main", "s", 7, "the socket is closed" },
      unreachable = { "unreachable", "nobody", "n" },
      error = { "error", "nobody", "" },
      collected = { [3] = "" },
      timer = { [3] = "" },
    }, told)
  end)
end)

-- How each kind of handler is given the functions `raises`, and `after`, which
-- does not raise; what the server does; how often it can be seen (2).
local KINDS = {
  connection = { [[
    for _, raise in ipairs(raises) do r:on("connection", raise) end
    r:on("connection", after)
    r:start()
  ]] },
  unreachable = { [[
    for _, raise in ipairs(raises) do r:on("unreachable", raise) end
    r:on("unreachable", after)
    r:start()
  ]], server = { finish = "close" } },
  error = { [[
    for _, raise in ipairs(raises) do r:on("error", raise) end
    r:on("error", after)
    r:start()
  ]], server = { send = "no slot\r\n" } },
  data = { [[
    r:on("connection", function(_, socket)
      for _, raise in ipairs(raises) do socket:on("data", raise) end
      socket:on("data", after)
    end)
    r:start()
  ]], server = { send = { "0\r\n", "data" } } },
  ["end"] = { [[
    r:on("connection", function(_, socket)
      for _, raise in ipairs(raises) do socket:on("end", raise) end
      socket:on("end", after)
    end)
    r:start()
  ]], server = { send = "0\r\n", finish = "shutdown" } },
  close = { [[
    r:on("connection", function(_, socket)
      for _, raise in ipairs(raises) do socket:on("close", raise) end
      socket:on("close", after)
      socket:close()
    end)
    r:start()
  ]] },
  drain = { [[
    r:on("connection", function(_, socket)
      for _, raise in ipairs(raises) do socket:on("drain", raise) end
      socket:on("drain", after)
      socket:write(("x"):rep(10 * 1024 * 1024), function() end)
    end)
    r:connect():connect()
  ]] },
  ["write callback"] = { [[
    r:on("connection", function(_, socket)
      for _, raise in ipairs(raises) do socket:write("x", raise) end
      socket:write("x", after)
    end)
    r:start()
  ]] },
  ["shutdown callback"] = { [[
    local i = 0
    r:on("connection", function(_, socket)
      i = i + 1
      socket:shutdown(raises[i] or after)
      if i > #raises then i = 0 end
    end)
    r:setRovingInterval(5)
    r:start()
  ]] },
  ["timer of luv"] = { [[
    local uv = require "luv"
    for _, raise in ipairs(raises) do uv.new_timer():start(1, 5, raise) end
    uv.new_timer():start(1, 5, after)
  ]] },
  ["listener of luv"] = { [[
    local uv = require "luv"
    local listener, i = uv.new_tcp(), 0
    listener:bind("127.0.0.1", 0)
    listener:listen(128, function()
      local client = uv.new_tcp()
      listener:accept(client)
      client:close()
      i = i % (#raises + 1) + 1
      ;(raises[i] or after)()
    end)
    local port = listener:getsockname().port
    uv.new_timer():start(1, 2, function()
      local client = uv.new_tcp()
      client:connect("127.0.0.1", port, function() client:close() end)
    end)
  ]] },
  ["file callback of luv"] = { [[
    local uv = require "luv"
    local i = 0
    uv.new_timer():start(1, 2, function()
      uv.fs_stat("/", function()
        i = i % (#raises + 1) + 1
        ;(raises[i] or after)()
      end)
    end)
  ]] },
  unload = { [[
    for _, raise in ipairs(raises) do host.on("unload", raise) end
    host.on("unload", after)
    host.stop()
  ]], times = 1 },
}

describe("an error in a policy's", function()
  for kind, case in pairs(KINDS) do
    it(kind .. " handler is logged, and the host goes on", function()
      local server = serve(case.server or { send = "0\r\n" })
      local child = policy(raisers() .. [[
        local times = 0
        function after()
          times = times + 1
          log("after", { times = times })
        end
      ]] .. case[1], to(server))
      local times = case.times or 2
      logged(child, "after", times)
      if times == 1 then assert.same({ 0, 0 }, { child:wait() })
      else stop(child) end
      assert.equal("", child.stdout)
      checkErrors(child, times)
    end)
  end

  it("handler that is a number is shown", function()
    local child = policy(HEAD .. "r:on('error', function() error(12.5) end) "
      .. "r:start()")
    assert.matches("12.5", logged(child, "policy error").error)
    stop(child)
  end)

  it("handler that recurses without end is reported", function()
    local child = policy(HEAD .. [[
      r:on("error", function()
        local function f() return 1 + f() end
        f()
      end)
      r:on("error", function() log("after") end)
      r:connect()
    ]])
    logged(child, "after")
    stop(child)
    assert.matches("policy.lua:2: stack overflow",
      logged(child, "policy error").error)
  end)

  it("connection handler closes the socket, also if another kept it",
      function()
    local server = serve { send = "0\r\n" }
    local child = policy(HEAD .. [[
      r:on("connection", function(_, socket)
        socket:on("close", function(err) log("closed", { err = err }) end)
      end)
      r:on("connection", function(_, socket) error "oops" end)
      r:on("connection", function(_, socket)
        log("others run", { closed = socket.closed })
      end)
      r:connect()
    ]], to(server))
    run(function() return server.peers[1] end)
    assert.is_nil(server.peers[1]:waitEnd())
    assert.is_nil(logged(child, "closed").err)
    assert.is_false(logged(child, "others run").closed)
    stop(child)
  end)

  it("connection that nobody listens for closes the socket", function()
    local server = serve { send = "0\r\n" }
    local child = policy(HEAD .. "r:connect()", to(server))
    run(function() return server.peers[1] end)
    assert.is_nil(server.peers[1]:waitEnd())
    stop(child)
    assert.equal(0, #events(child, "policy error"))
  end)

  it("data handler keeps the socket", function()
    local server = serve { send = "0\r\none" }
    local child = policy(HEAD .. [[
      r:on("connection", function(_, socket)
        socket:on("data", function(chunk)
          if chunk == "two" then return log("kept") end
          socket:write "?"
          error "oops"
        end)
      end)
      r:connect()
    ]], to(server))
    run(function() return server.peers[1] end)
    server.peers[1]:take "%?"
    server.peers[1]:write "two"
    logged(child, "kept")
    assert.equal(1, #events(child, "policy error"))
    stop(child)
  end)

  it("coroutine that a handler resumes is the handler's to see", function()
    local server = serve { send = "0\r\n" }
    local child, errors = finish([[
      r:on("connection", function()
        local co = coroutine.create(function() error "caught" end)
        local ok, err = coroutine.resume(co)
        log("resumed", { ok = ok, err = err })
        coroutine.wrap(function()
          coroutine.wrap(function() error "raised" end)()
        end)()
      end)
      r:on("connection", function() host.stop() end)
      r:connect()
    ]], to(server))
    local event = logged(child, "resumed")
    assert.is_false(event.ok)
    assert.matches("policy.lua:2: caught", event.err)
    assert.equal(1, #errors)
    assert.matches(": raised$", errors[1].error)
    -- Where a call of several lines is, versions of Lua see differently.
    assert.matches("policy.lua:[567]: in function", errors[1].traceback)
  end)

  it("coroutine that set the handler is reported all the same", function()
    local server = serve { send = "0\r\n" }
    local _, errors = finish([[
      local uv = require "luv"
      coroutine.wrap(function()
        r:on("connection", function(_, socket)
          coroutine.wrap(function()
            socket:on("close", function() error "in close" end)
            socket:close()
          end)()
        end)
        uv.new_timer():start(1, 0, function() error "in timer" end)
        r:connect()
      end)()
      collectgarbage()
      uv.new_timer():start(1, 1, function()
        collectgarbage()
        if #r:sockets() == 0 and r:stats().connections > 0 then
          host.stop()
        end
      end)
    ]], to(server))
    local texts = {}
    for i, event in ipairs(errors) do texts[i] = event.error:match ": (.*)" end
    table.sort(texts)
    assert.same({ "in close", "in timer" }, texts)
  end)

  it("leaves no descriptor open, however many come", function()
    local server = serve { send = { "0\r\nx" } }
    local child = policy(HEAD .. [[
      local uv = require "luv"
      local wanted = 20
      r:on("connection", function(_, socket)
        local file = uv.new_tcp()
        socket:on("data", function() error "data" end)
        socket:on("close", function() file:close() error "close" end)
        if r:stats().connections >= wanted then
          r:stop()
          log("enough")
        end
        error "connection"
      end)
      r:setRovingInterval(1)
      r:start()
      local signal = uv.new_signal()
      signal:start("sigusr1", function()
        wanted = wanted + 200
        r:start()
      end)
    ]], to(server))
    logged(child, "enough")
    local function settled()
      for _, each in ipairs(server.peers) do
        if not each.ended and not each.closed then return false end
      end
      return #server.peers
    end
    support.eventually(settled)
    -- The kernel tells our side of an end before theirs is closed.
    local first, before
    support.eventually(function()
      before, first = first, support.descriptors(child)
      return before == first
    end)
    for _, each in ipairs(server.peers) do each:close() end
    child:kill "sigusr1"
    logged(child, "enough", 2)
    support.eventually(settled)
    assert.is_true(#server.peers >= 220)
    support.eventually(function()
      return support.descriptors(child) == first
    end)
    run(function() return #events(child, "policy error") >= 2 * 220 end)
    stop(child)
  end)
end)

describe("an error event that nobody listens to", function()
  it("is logged as unhandled, and the host goes on", function()
    local server = serve { send = "no slot\r\n" }
    local child = policy(HEAD .. "r:start()", to(server))
    for i = 1, 2 do
      local event = logged(child, "policy error", i)
      assert.equal("error", event.level)
      assert.matches("unhandled 'error' event of rover 'main': .*"
        .. "%(EPROTO%)", event.error)
    end
    stop(child)
  end)

  it("is logged for a rover without servers too", function()
    local child = policy(HEAD .. "r:start()")
    assert.matches("unhandled .*No servers to contact",
      logged(child, "policy error", 2).error)
    stop(child)
  end)
end)

-- luv ------------------------------------------------------------------------

describe("luv in a policy", function()
  it("fires timers on time", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      local start = uv.hrtime()
      for _, ms in ipairs { 0, 30, 90 } do
        uv.new_timer():start(ms, 0, function()
          log("fired", { wanted = ms, ms = (uv.hrtime() - start) / 1e6 })
        end)
      end
    ]])
    logged(child, "fired", 3)
    local last = -1
    for _, event in ipairs(events(child, "fired")) do
      assert.is_true(event.wanted > last)
      last = event.wanted
      -- libuv counts in whole milliseconds, from when its loop last looked
      -- at the clock, which was while luv was being loaded.
      assert.is_true(event.ms > event.wanted - 20, event.ms)
      assert.is_true(event.ms < event.wanted + 2000, event.ms)
    end
    stop(child)
  end)

  it("costs nothing while it has nothing to do", function()
    local closed = support.closedPort()
    for _, use in ipairs {
      "", "uv.new_timer():start(1, 0, function() end)",
      -- Something comes that nobody takes.
      [[
        local listener, timer = uv.new_tcp(), uv.new_timer()
        listener:bind("127.0.0.1", 0)
        listener:listen(8, function() end)
        local one = require "callosum.rover".new { name = "one", servers = {
          s = { host = "127.0.0.1", port = listener:getsockname().port } } }
        timer:start(1, 0, function()
          timer:close(function() listener:unref() end)
        end)
        r:on("unreachable", function() one:connect() end)
      ]],
    } do
      local child = policy(([[
        local host, uv = require "callosum.host", require "luv"
        local r = require "callosum.rover".new { rovingInterval = 50,
          servers = { s = { host = "127.0.0.1", port = %d } } }
        %s
        local n, from = 0
        r:on("unreachable", function()
          n = n + 1
          if n == 2 then from = os.clock() end
          if n == 10 then host.log.info("cpu", { s = os.clock() - from }) end
        end)
        r:start()
      ]]):format(closed, use))
      assert.is_true(logged(child, "cpu").s < 0.15)
      stop(child)
    end
  end)

  it("makes no timer of the host late by a long call", function()
    local child = policy(([[
      local host, uv = require "callosum.host", require "luv"
      local r = require "callosum.rover".new { rovingInterval = 1000,
        servers = { s = { host = "127.0.0.1", port = %d } } }
      local n, timer, over = 0, uv.new_timer(), nil
      timer:start(50, 0, function()
        timer:close()
        uv.sleep(1000)
        over = uv.hrtime()
      end)
      r:on("unreachable", function()
        n = n + 1
        if n < 2 then return end
        host.log.info("second", { ms = (uv.hrtime() - over) / 1e6 })
        r:stop()
      end)
      r:start()
    ]]):format(support.closedPort()))
    assert.is_true(logged(child, "second").ms < 500)
    stop(child)
  end)

  it("costs only the policy that wants it when descriptors run out", function()
    local script = support.tmpfile [[
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      -- Enough to find luv, and not for a loop of its own.
      table.remove(files):close()
      print(pcall(require, "luv"))
      for _, each in ipairs(files) do each:close() end
      error(require "luv".version_string())
    ]]
    local child = support.spawn("sh", { "-c",
      'ulimit -n 40; exec "$0" check "$1"', support.EXECUTABLE, script },
      { env = { LD_PRELOAD = false } })
    child:wait()
    assert.same({ 1, 0 }, { child.code, child.signal }, child.output)
    assert.equal("false\tcannot open luv: too many open files; raise this "
      .. "process's limit (ulimit -n)\n",
      child.stdout:match ".-\n")
    assert.matches(uv.version_string(), child.stderr, 1, true)
  end)

  it("repeats timers", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      uv.update_time() -- a loop's time may be old, as the policy was loaded
      local start, count = uv.hrtime(), 0
      local timer = uv.new_timer()
      timer:start(20, 20, function()
        count = count + 1
        if count < 6 then return end
        timer:stop()
        log("six", { ms = (uv.hrtime() - start) / 1e6 })
      end)
    ]])
    assert.is_true(logged(child, "six").ms > 118)
    stop(child)
  end)

  -- The server does nothing for a while, so the policy's loop is idle; then it
  -- makes the handler run that starts a timer.
  local PAUSE = 1100
  for kind, script in pairs {
    ["a rover's"] = "r:on('connection', function() go() end) r:connect()",
    ["a socket's"] = [[
      r:on("connection", function(_, socket) socket:on("end", go) end)
      r:connect()
    ]],
    ["a rover's, with another timer of luv running,"] = [[
      uv.new_timer():start(3000, 0, function() end)
      r:on("connection", function() go() end)
      r:connect()
    ]],
    ["a luv listener's"] = [[
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(8, go)
      log("port", { port = listener:getsockname().port })
    ]],
  } do
    it("fires a timer on time that " .. kind .. " handler starts after a while",
        function()
      local slow = uv.new_timer()
      finally(function() slow:close() end)
      local server = serve { connection = function(peer)
        if kind == "a socket's" then peer:write "0\r\n" end
        slow:start(PAUSE, 0, function()
          if kind ~= "a socket's" then peer:write "0\r\n" end
          peer:shutdown()
        end)
      end }
      local child = policy(HEAD .. [[
        local uv = require "luv"
        function go()
          if gone then return end
          gone = true
          local start = uv.hrtime()
          uv.new_timer():start(200, 0, function()
            log("fired", { ms = (uv.hrtime() - start) / 1e6 })
          end)
        end
      ]] .. script, to(server))
      if kind == "a luv listener's" then
        local port = logged(child, "port").port
        slow:start(PAUSE, 0, function() support.connect(port) end)
      end
      local ms = logged(child, "fired").ms
      assert.is_true(ms > 198.5, ms)
      assert.is_true(ms < 2200, ms)
      stop(child)
    end)
  end

  it("starts and stops timers at any time", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      local long = uv.new_timer()
      long:start(100000, 0, function() end)
      r:on("error", function()
        if done then return end
        done = true
        -- Brought forward from outside luv, then back again.
        long:start(10, 0, function()
          log("forward")
          long:start(5, 0, function() log("again") end)
        end)
      end)
      r:connect()
    ]])
    logged(child, "again")
    stop(child)
  end)

  it("accepts connections, reads and writes", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(8, function(err)
        assert(not err, err)
        local client = uv.new_tcp()
        listener:accept(client)
        client:read_start(function(_, chunk)
          if chunk then client:write("got " .. chunk) else client:close() end
        end)
      end)
      log("port", { port = listener:getsockname().port })
    ]])
    local port = logged(child, "port").port
    for i = 1, 3 do
      local client = support.connect(port)
      client:write("line " .. i .. "\r\n")
      assert.equal("got line " .. i, client:line())
      client:shutdown()
      assert.is_nil(client:waitEnd())
    end
    stop(child)
  end)

  it("runs a server of callosum.server beside a rover", function()
    succeed [[
      local server = assert(require "callosum.server".new())
      local _, port = server:address()
      r:addServer("own", { host = "127.0.0.1", port = port })
      local slots = {}
      r:on("connection", function(slot, socket)
        slots[#slots + 1] = slot
        if #slots == 3 then
          assert(slots[1] == 0 and slots[2] == 1 and slots[3] == 2)
          host.stop()
        end
      end)
      r:start()
    ]]
  end)

  it("calls back from files, names and child processes", function()
    local child = succeed [[
      local uv = require "luv"
      local left = { stat = true, name = true, exit = true, pipe = true,
        work = true }
      local function done(what)
        assert(left[what])
        left[what] = nil
        if not next(left) then host.stop() end
      end
      uv.fs_stat("/", function(err, stat)
        assert(not err and stat.type == "directory")
        done "stat"
      end)
      uv.getaddrinfo("127.0.0.1", nil, { socktype = "stream" },
        function(err, list)
          assert(not err and list[1].addr == "127.0.0.1")
          done "name"
        end)
      local out = uv.new_pipe(false)
      local process
      process = assert(uv.spawn("sh", { args = { "-c", "echo hello; exit 3" },
        stdio = { nil, out } }, function(code, signal)
          assert(code == 3 and signal == 0)
          process:close()
          done "exit"
        end))
      local text = ""
      out:read_start(function(_, chunk)
        if chunk then text = text .. chunk return end
        assert(text == "hello\n")
        out:close()
        done "pipe"
      end)
      uv.new_work(function(a, b) return a + b end, function(sum)
        assert(sum == 3)
        done "work"
      end):queue(1, 2)
    ]]
    assert.equal("", child.stdout)
  end)

  it("sees signals", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      uv.new_signal():start("sigusr1", function() log("usr1") end)
    ]])
    logged(child, "policy loaded")
    child:kill "sigusr1"
    logged(child, "usr1")
    child:kill "sigusr1"
    logged(child, "usr1", 2)
    stop(child)
  end)

  it("is not the policy's to run", function()
    local _, errors = finish [[
      local uv = require "luv"
      r:on("error", function() r:stop() uv.run() end)
      r:on("error", function() uv.new_timer():start(1, 0, function()
        host.stop()
        uv.run("nowait")
      end) end)
      r:start()
    ]]
    assert.equal(2, #errors)
    for i, event in ipairs(errors) do
      assert.matches(("policy.lua:%d: .*the host runs luv's loop"):format(
        i == 1 and 2 or 5), event.error)
    end
    local child = policy(HEAD .. "require 'luv'.run()")
    assert.same({ 1, 0 }, { child:wait() })
    assert.matches("policy.lua:1: the host runs luv's loop",
      logged(child, "cannot load policy").error)
  end)

  it("is not the policy's to close", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      r:on("error", function() uv.loop_close() end)
      r:start()
    ]])
    logged(child, "policy error", 2)
    stop(child)
  end)

  it("may be stopped, and runs on", function()
    local child = policy(HEAD .. [[
      local uv = require "luv"
      uv.new_timer():start(1, 5, function() uv.stop() log("tick") end)
    ]])
    logged(child, "tick", 5)
    stop(child)
  end)

  -- What may be open or under way when the state closes.
  local LEFT = {
    ["timers"] = [[
      for i = 0, 20 do uv.new_timer():start(i, i, function() end) end
    ]],
    ["closing handles"] = [[
      for _, new in ipairs { uv.new_timer, uv.new_tcp, uv.new_udp, uv.new_idle,
          uv.new_check, uv.new_prepare, uv.new_fs_event, uv.new_fs_poll } do
        new():close(function() end)
      end
      uv.new_pipe(false):close()
      uv.new_async(function() end):close()
      uv.new_signal():close()
      local poll = uv.new_fs_poll()
      poll:start("/", 1000, function() end)
      poll:close()
    ]],
    ["listeners and connections"] = [[
      local listener = uv.new_tcp()
      listener:bind("127.0.0.1", 0)
      listener:listen(8, function()
        local client = uv.new_tcp()
        listener:accept(client)
        client:read_start(function() end)
        client:write(("x"):rep(10 * 1024 * 1024), function() end)
      end)
      for _ = 1, 3 do
        local client = uv.new_tcp()
        client:connect("127.0.0.1", listener:getsockname().port,
          function() client:read_start(function() client:read_stop() end) end)
      end
    ]],
    ["connections under way"] = [[
      for _ = 1, 3 do
        uv.new_tcp():connect("127.0.0.1", tonumber(host.args[1]),
          function() end)
      end
    ]],
    ["processes and pipes"] = [[
      local out = uv.new_pipe(false)
      uv.spawn("sleep", { args = { "60" }, stdio = { nil, out } },
        function() end)
      out:read_start(function() end)
      uv.spawn("true", {}, function() end)
    ]],
    ["requests"] = [[
      for _ = 1, 20 do
        uv.fs_stat("/", function() end)
        uv.fs_scandir("/", function() end)
        uv.getaddrinfo("localhost", nil, nil, function() end)
      end
    ]],
    ["work"] = [[
      work = uv.new_work(function() return 1 end, function() end)
      for _ = 1, 20 do work:queue() end
    ]],
    ["signals, idlers and watchers"] = [[
      uv.new_signal():start("sigusr2", function() end)
      uv.new_idle():start(function() end)
      uv.new_check():start(function() end)
      uv.new_prepare():start(function() end)
      uv.new_async(function() end):send()
      uv.new_fs_event():start("/", {}, function() end)
      uv.new_fs_poll():start("/", 1, function() end)
      local udp = uv.new_udp()
      udp:bind("127.0.0.1", 0)
      udp:recv_start(function() end)
      udp:send("x", "127.0.0.1", udp:getsockname().port, function() end)
    ]],
    ["servers of callosum.server"] = [[
      local server = require "callosum.server".new()
      local client = uv.new_tcp()
      client:connect("127.0.0.1", select(2, server:address()), function() end)
      local closing = require "callosum.server".new()
      closing:close(function() end)
    ]],
  }
  for what, script in pairs(LEFT) do
    for moment, trigger in pairs {
      ["at load"] = "open() host.stop()",
      ["from a handler"] =
        "r:on('unreachable', function() open() host.stop() end) r:start()",
      ["from a timer"] = "uv.new_timer():start(1, 0, "
        .. "function() open() host.stop() end)",
      ["when unloading"] = "host.on('unload', open) host.stop()",
      ["a while before"] = "open() uv.new_timer():start(20, 0, host.stop)",
    } do
      it("leaves no trouble behind with " .. what .. " opened " .. moment,
          function()
        local child = succeed([[
          uv = require "luv"
          function open()
            ]] .. script .. [[
          end
          ]] .. trigger, to(support.closedPort()))
        assert.equal("", child.stdout)
        for _, event in ipairs(events(child)) do
          assert.equal("policy loaded", event.message)
        end
      end)
    end
  end

  it("leaves no trouble behind in a policy that fails to load", function()
    for what, script in pairs(LEFT) do
      local child = policy(HEAD .. "local uv = require 'luv'\n" .. script
        .. "error 'no luck'", to(support.closedPort()))
      assert.same({ 1, 0 }, { child:wait() }, what)
      local list = events(child)
      assert.equal(1, #list, child.stderr)
      assert.matches("no luck", list[1].error)
    end
  end)
end)
