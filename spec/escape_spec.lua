-- Ways out of the sandbox that are known from others, and what becomes of them
-- here. What the sandbox has, spec/sandbox_spec.lua says.

local support = require "support"

-- What each is to print, as patterns, and no way out prints `OUT`. `none` is
-- what a function that is not there gives.
local none = "attempt to call a nil value"
local escapes = {
  -- Bytecode
  ["bytecode in pieces"] = {
    [[local n = 0
      return load(function() n = n + 1 return ("\27Lua"):sub(n, n) end)]],
    "nil\t.*attempt to load a binary chunk" },
  ["bytecode by a mode that changes"] = {
    [[return load("\27LuaT", "x", setmetatable({}, {
        __tostring = function() return "b" end }))]],
    "nil\t.*attempt to load a binary chunk" },
  ["bytecode behind a comment"] = {
    "return require 'code'", "attempt to load a binary chunk",
    files = { ["code.lua"] = "#\n" .. string.dump(function() end) } },
  ["load called by other functions"] = {
    [[return coroutine.wrap(load)("\27LuaT", "x", "b"),
        select(2, pcall(load, "\27LuaT", "x", "b")),
        select(2, xpcall(load, print, "\27LuaT", "x", "b"))]],
    "true\tnil\tnil\tnil" },
  ["string.dump by any name"] = {
    [[for _, t in pairs(package.loaded) do
        if type(t) == "table" and rawget(t, "dump") then print "OUT" end
      end
      return (""):dump()]], none .. " %(method 'dump'%)" },

  -- Libraries
  ["io and os through package.loaded"] = {
    [[return package.loaded.io, package.loaded.os.execute,
        package.loaded.os.getenv, package.loaded._G.io,
        package.loaded.os == os]], "true\tnil\tnil\tnil\tnil\ttrue" },
  ["package.loadlib"] = {
    [[package.loadlib("liblua5.4.so.0", "luaopen_io")]], none },
  ["searchers of C modules"] = {
    [[for i = 3, 10 do assert(not package.searchers[i]) end
      return #package.searchers]], "true\t2" },
  ["a searcher called by hand"] = {
    [[return package.searchers[2] "../outside"]], "its name may have" },
  ["a searcher with a path of ours"] = {
    [[package.path = "../?.lua" package.cpath = "../?.so"
      package.config = "/\n;\no\n!\n-\n"
      return require "outside"]], "module 'outside' not found" },
  ["a searcher put before"] = {
    [[table.insert(package.searchers, 1, function() return io, "x" end)
      return require "io2"]], "module 'io2' not found" },
  ["require of what was unloaded"] = {
    [[package.loaded.os = nil package.loaded.io = nil
      return pcall(require, "os")]], "true\tfalse\tmodule 'os' not found" },
  ["luv under another name"] = {
    [[package.preload.myluv = package.preload.luv
      return require "myluv"]], "the sandbox has no luv" },
  ["modules of ours that have luv"] = {
    [[return pcall(require, "callosum.server")]], "the sandbox has no luv" },
  ["debug by its parts"] = {
    [[for name in pairs(debug) do if name ~= "traceback" then
        print "OUT" end end
      return debug.traceback(coroutine.create(print)), debug.getregistry]],
    "true\tstack traceback:\tnil" },
  ["functions left in the globals"] = {
    [[return dofile, loadfile, loadstring, newproxy, module, getfenv]],
    "true\tnil\tnil\tnil\tnil\tnil\tnil" },
  ["the environment of what we call"] = {
    [[local _ENV = setmetatable({}, { __index = function(_, k)
        if k == "io" then print "OUT" end return nil end })
      return R]], "true\tnil" },

  -- Our objects
  ["the rover's metatable"] = {
    [[assert(R.__gc == nil and R.__index == nil and R.__name == nil)
      return getmetatable(R), getmetatable(R.on)]],
    "true\tcallosum.rover\tnil" },
  ["methods on what is no rover"] = {
    [[for _, fake in ipairs { {}, "x", 1, print, coroutine.create(print),
          setmetatable({}, { __name = "callosum.rover" }) } do
        for _, name in ipairs { "on", "off", "start", "stop", "close",
            "connect", "stats", "sockets", "servers", "addServer" } do
          assert(not pcall(R[name], fake, "x", print))
        end
      end
      return "refused"]], "true\trefused" },
  ["a rover's handlers"] = {
    [[return pcall(rawget, R, 1), pcall(rawset, R, 1, 2), pcall(next, R)]],
    "true\tfalse\tfalse\tfalse" },
  ["the host's module"] = {
    [[local host = require "callosum.host"
      for name in pairs(host) do
        assert(({ on = 1, reload = 1, stop = 1, log = 1, inherit = 1,
          generation = 1, args = 1 })[name], name)
      end
      host.extra = 1]], "no field 'extra' to set" },

  -- Coroutines and finalizers
  ["coroutines within coroutines"] = {
    [[local function deeper() return coroutine.wrap(deeper)() end
      return deeper()]], "C stack overflow" },
  ["a coroutine that resumes and closes itself"] = {
    [[local co co = coroutine.create(function()
        print(coroutine.resume(co)) print(pcall(coroutine.close, co))
      end)
      return coroutine.resume(co)]],
    "cannot resume non%-suspended coroutine.*cannot close a running" },
  ["a coroutine closed while it closes"] = {
    [[local co co = coroutine.create(function()
        local a <close> = setmetatable({}, { __close = function()
          print(pcall(coroutine.close, co)) error "again"
        end })
        coroutine.yield()
      end)
      coroutine.resume(co)
      return coroutine.close(co)]], "again" },
  ["yields across C"] = {
    [[return pcall(table.sort, { 1, 2, 3 }, coroutine.yield)]],
    "true\tfalse\tattempt to yield" },
  ["errors in the handler of errors"] = {
    [[local function f() error(setmetatable({}, { __tostring = f })) end
      return xpcall(f, function(e) error(e) end)]], "true\tfalse" },
  ["errors in handlers within handlers"] = {
    [[local function f(n) return xpcall(error, n > 0 and function()
        return f(n - 1) end or error, "x") end
      return (f(150))]], "true\tfalse" },
  ["a finalizer that makes its like"] = {
    [[local function again() setmetatable({}, { __gc = again }) end
      again() for _ = 1, 100 do collectgarbage() end return 1]], "true\t1" },
  ["a finalizer that is given more"] = {
    [[local got
      setmetatable({}, { __gc = function(...) got = { n = select("#", ...),
        ... } end })
      collectgarbage() return got.n, type(got[1])]], "true\t1\ttable" },
  ["a finalizer that is no function"] = {
    [[for _, gc in ipairs { 1, "x", {}, true, print, pcall, load, require,
        error, coroutine.wrap(print), setmetatable({}, { __call = load }) } do
        setmetatable({}, { __gc = gc })
      end
      collectgarbage() return 1]], "true\t1" },
  ["a finalizer that raises tables"] = {
    [[setmetatable({}, { __gc = function() error(setmetatable({}, {
        __tostring = function() print "OUT" end })) end })
      collectgarbage() return 1]], "true\t1" },
  -- The collector is quadratic in tables that hang together so.
  ["tables whose keys alone are weak"] = {
    [[return pcall(setmetatable, {}, { __mode = "k" }),
        select(2, pcall(setmetatable, {}, { __mode = "kk" }))]],
    'true\tfalse\tthe sandbox has no tables whose keys alone are weak' },
  ["tables that are made so later"] = {
    [[local mt, tables, keys, n = {}, {}, {}, 20000
      for i = 1, n do tables[i], keys[i] = setmetatable({}, mt), {} end
      for i = n, 2, -1 do
        local j = math.random(i)
        tables[i], tables[j] = tables[j], tables[i]
      end
      for i = 1, n - 1 do tables[i][keys[i] ] = keys[i + 1] end
      kept, keys = { tables, keys[1] }, nil
      local from = os.clock()
      mt.__mode = "k"
      rawset(mt, "__mo" .. "de", "k")
      collectgarbage()
      return os.clock() - from < 1]], "true\ttrue" },
  ["weak values made weak keys"] = {
    [[local mt = { __mode = "v", __index = function(_, k) return k end }
      local t = setmetatable({ {}, "x" }, mt)
      mt.__mode = "k"
      collectgarbage()
      for key in pairs(mt) do assert(key:find "^__%l+$") end
      return getmetatable(t) == mt, rawget(t, 1), t[2], t.x,
        select("#", setmetatable(t, nil)), getmetatable(t)]],
    "true\ttrue\tnil\tx\tx\t1\tnil" },
  ["a protected metatable of a weak table"] = {
    [[local t = setmetatable({}, { __mode = "kv", __metatable = "mine" })
      return getmetatable(t), pcall(setmetatable, t, nil)]],
    "true\tmine\tfalse\tcannot change a protected" },
  ["a metatable of a weak table that a table protects"] = {
    [[local t = setmetatable({}, { __mode = "v", __metatable = {} })
      return pcall(setmetatable, t, {})]],
    "true\tfalse\tcannot change a protected metatable" },
  ["the collector's modes"] = {
    [[return pcall(collectgarbage, "generational"),
        pcall(collectgarbage, "stop"), pcall(collectgarbage, "isrunning"),
        pcall(collectgarbage, "setpause", 1)]],
    "true\tfalse\tfalse\tfalse\tfalse" },

  -- Numbers and sizes that C code may not have thought of
  ["string.format's widths"] = {
    [[return pcall(string.format, "%99999d", 1),
        pcall(string.format, "%.99999f", 1), pcall(string.format, "%n", 1),
        pcall(string.format, "%*d", 1, 1), pcall(string.format, "%", 1),
        #string.format("%99.99f", -1e308)]],
    "true\tfalse\tfalse\tfalse\tfalse\tfalse\t4%d%d" },
  ["string.format of values that lie"] = {
    [[return pcall(string.format, "%s", setmetatable({}, {
        __tostring = print })), pcall(string.format, "%d", "1e400"),
        #tostring(setmetatable({}, { __name = ("x"):rep(1e6) })) > 1e6]],
    "true\tfalse\tfalse\ttrue" },
  ["os.date's formats"] = {
    [[return pcall(os.date, "%Ez"), pcall(os.date, "%"), pcall(os.date, "%!"),
        pcall(os.date, "*t", 1 << 62), pcall(os.time, { year = 1 << 62,
        month = 1, day = 1 }), #os.date(("%c"):rep(10000)) > 10000]],
    "true\tfalse\tfalse\tfalse\tfalse\tfalse\ttrue" },
  ["string.rep's lengths"] = {
    [[return pcall(string.rep, "x", 1 << 62), pcall(string.rep, "x", 1 << 62,
        "y"), pcall(string.rep, "x", 1e12), #("x"):rep(-1)]],
    "true\tfalse\tfalse\tfalse\t0" },
  ["table.concat and unpack of much"] = {
    [[return pcall(table.concat, setmetatable({}, { __index = function()
        return ("x"):rep(1e6) end, __len = function() return 1e9 end })),
        pcall(table.unpack, {}, 1, 1e8),
        pcall(table.unpack, {}, math.mininteger, math.maxinteger)]],
    "true\tfalse\tfalse\tfalse\ttoo many results" },
  ["table.move over all there is"] = {
    [[return pcall(table.move, {}, 1, math.maxinteger, 2),
        pcall(table.move, {}, math.mininteger, 0, 1),
        pcall(table.insert, {}, math.maxinteger, 1),
        pcall(table.remove, setmetatable({}, { __len = function()
          return math.mininteger end }))]],
    "true\tfalse\tfalse\tfalse\t" },
  ["table.sort by an order that is none"] = {
    [[local t = {} for i = 1, 1000 do t[i] = i % 7 end
      pcall(table.sort, t, function() return true end)
      pcall(table.sort, t, function() return math.random() < 0.5 end)
      pcall(table.sort, t, function() t = nil error {} end)
      pcall(table.sort, setmetatable({}, { __len = function()
        return math.maxinteger end }))
      return 1]], "true\t1" },
  ["string.pack's sizes"] = {
    [[return pcall(string.pack, "i17", 1), pcall(string.pack, "!32i4", 1),
        pcall(string.unpack, "s8", ("\xff"):rep(8)),
        pcall(string.unpack, "i4", "abcd", math.maxinteger),
        pcall(string.packsize, ("i16"):rep(1 << 20) .. "c2147483647")]],
    "true\tfalse\tfalse\tfalse\tfalse\tfalse" },
  ["utf8 at its ends"] = {
    [[return pcall(utf8.char, 1 << 31), pcall(utf8.codepoint, "\xff", 1),
        pcall(utf8.offset, "x", math.mininteger), utf8.len("\xff")]],
    "true\tfalse\tfalse\t" },
  ["patterns too deep"] = {
    [[return pcall(string.find, ("a"):rep(300000), (".-"):rep(300000) .. "b"),
        pcall(string.find, "x", ("("):rep(100)),
        pcall(string.gsub, "x", "x", "%9"), pcall(string.find, "x", "%b"),
        pcall(string.find, "x", "[")]],
    "true\tfalse\tfalse\tfalse\tfalse\tfalse" },
  ["source that is too deep"] = {
    [[return load(("("):rep(100000)), load(("{"):rep(100000)),
        load("return " .. ("- "):rep(100000) .. "1"),
        load(("do "):rep(100000)), load(("a."):rep(100000)),
        load("local a " .. ("local b "):rep(300)),
        load("return " .. ("1 .. "):rep(100000) .. "1")]],
    "true\tnil\tnil\tnil\tnil\tnil\tnil\tnil" },
  ["recursion in Lua, metamethods and C"] = {
    [[local function f() return 1 + f() end
      local t = setmetatable({}, {}) getmetatable(t).__index = t
      local u = setmetatable({}, {}) getmetatable(u).__index = function(_, k)
        return u[k] end
      local v = setmetatable({}, {}) getmetatable(v).__tostring = tostring
      local function g(s) return (s:gsub(".", g)) end
      return pcall(f), pcall(function() return t.x end),
        pcall(function() return u.x end), pcall(tostring, v), pcall(g, "x"),
        pcall(pcall, pcall, g, "x")]],
    "true\tfalse\tfalse\tfalse\tfalse\tfalse\ttrue" },
  ["a log line that bursts"] = {
    [[local log = require "callosum.host".log
      log.info(("\0"):rep(1e5), { ["\27[2J"] = ("\xff"):rep(1e5) })
      return pcall(log.info, "x", setmetatable({}, { __index = error })),
        pcall(log.info, "x", { [{}] = 1 }), pcall(log.info, {}),
        (pcall(log.info, "x", { y = setmetatable({}, { __tostring = error }) }))
    ]], "true\ttrue\tfalse\tfalse\tfalse" },
  ["warnings that burst"] = {
    [[warn "@on" warn("@", "off") warn(("x"):rep(1e6), "%n%s") return 1]],
    "true\t1" },
  ["libraries taken apart"] = {
    [[local _G = _G
      for _, name in ipairs { "string", "table", "math", "coroutine", "os",
          "utf8", "debug", "package" } do
        local t = _G[name]
        for key in pairs(t) do
          if name ~= "package" then t[key] = load end
        end
        package.loaded[name] = nil _G[name] = nil
      end
      getmetatable("").__index = load
      local p = print
      for key in next, _ENV do _ENV[key] = nil end
      p(_ENV.pcall)]], "nil\ntrue" },
}

describe("The sandbox holds against", function()
  for name, escape in pairs(escapes) do
    it(name, function()
      local dir = support.tmpdir()
      support.write(dir .. "/outside.lua", "print 'OUT'")
      support.write(dir .. "/outside", "print 'OUT'")
      assert(require "luv".fs_mkdir(dir .. "/inside", 448))
      for file, content in pairs(escape.files or {}) do
        support.write(dir .. "/inside/" .. file, content)
      end
      local path = support.write(dir .. "/inside/policy.lua",
        ("R = require 'callosum.rover'.new {}\n"
        .. "local print, pcall = print, pcall\n"
        .. "print(pcall(function() %s end))"):format(escape[1]))
      local child = support.command({ "check", "--sandbox", "--memory", "64M",
        "--load-budget", "60000", path }, { cwd = dir })
      child:wait()
      assert.equal(0, child.signal, child.output)
      assert.equal(0, child.code, child.output)
      assert.is_nil(child.output:find("OUT", 1, true), child.output)
      assert.is_nil(child.output:find("unprotected", 1, true), child.output)
      assert.matches(escape[2], child.output)
    end)
  end

  it("the metatables of a kept socket and of errors", function()
    local server = support.serve { send = "3\r\n" }
    local child = support.policy([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new { servers = { s = {
        host = "127.0.0.1", port = tonumber(host.args[1]) } } }
      local function try(what, object)
        local _, message = pcall(setmetatable, object, {})
        host.log.info(what, { name = getmetatable(object), refused = message })
        for _, name in ipairs { "__gc", "__index", "__name", "__metatable" } do
          assert(object[name] == nil)
        end
      end
      r:on("connection", function(_, socket)
        for _, fake in ipairs { {}, "x", 1, print, r, socket.state } do
          for _, name in ipairs { "write", "on", "off", "shutdown", "close",
              "detach", "peername", "sockname", "writeQueueSize" } do
            assert(not pcall(socket[name], fake, "data", print))
          end
        end
        try("socket", socket)
        r:dropServer "s"
        r:connect()
      end)
      r:on("error", function(err)
        try("error", err)
        r:addServer("nobody", { host = "127.0.0.1",
          port = tonumber(host.args[2]) })
        r:connect()
      end)
      r:on("unreachable", function(_, _, err) try("unreachable", err) end)
      r:connect()
    ]], { flags = { "--sandbox" },
      args = { tostring(server.port), tostring(support.closedPort()) } })
    for what, wanted in pairs {
      socket = { "callosum.socket", "table expected, got callosum.socket" },
      error = { "callosum.error", "cannot change a protected metatable" },
      unreachable = { "callosum.error", "cannot change a protected metatable" },
    } do
      local event = support.logged(child, what)
      assert.equal(wanted[1], event.name)
      assert.matches(wanted[2], event.refused)
    end
    support.stop(child)
    assert.same({}, support.events(child, "policy error"))
  end)
end)
