local support = require "support"

local BUILD = os.getenv "BUILD" or "build"
local ROVER = BUILD .. "/callosum-rover"

-- Loads the code as a policy in the sandbox, with other files beside it;
-- returns its output.
local function sandbox(code, files, plain)
  local dir = support.tmpdir()
  support.write(dir .. "/outside.lua", "return 'outside'")
  assert(require "luv".fs_mkdir(dir .. "/inside", 448))
  for name, content in pairs(files or {}) do
    support.write(dir .. "/inside/" .. name, content)
  end
  local path = support.write(dir .. "/inside/policy.lua",
    "R = require 'callosum.rover'.new {}\n" .. code)
  local child = support.spawn(ROVER,
    { "check", plain and "--budget" or "--sandbox", plain and "1000" or path,
      plain and path or nil },
    { env = { LUA_CPATH_5_4 = BUILD .. "/?.so;;" } })
  child:wait()
  assert.equal(0, child.signal)
  return child.output:gsub("rover 'main'[^\n]*\n$", ""), dir
end

-- What the sandbox refuses when it is called, with this message.
local function refused(code, message, files)
  local output = sandbox(("print(pcall(function() %s end))"):format(code),
    files)
  assert.matches("^false\t", output)
  assert.matches(message, output)
end

describe("the sandbox", function()
  it("has these functions, and no others", function()
    local names = {}
    for name in sandbox([[
      R = nil
      for name, library in pairs(package.loaded) do
        if name ~= "_G" and not name:find "^callosum" then
          assert(_G[name] == library, name)
        end
      end
      local function list(prefix, t)
        for name, value in pairs(t) do
          if type(value) ~= "table" then
            print(prefix .. name)
          elseif name ~= "_G" and name ~= "loaded" then
            list(prefix .. name .. ".", value)
          end
        end
      end
      list("", _G)
    ]]):gmatch "([^\n]+)\n" do
      local library = name:match "^(%w+)%."
      if library ~= "string" and library ~= "table" and library ~= "math"
          and library ~= "utf8" and not name:find " " then
        names[#names + 1] = name
      end
    end
    table.sort(names)
    assert.same({
      "_VERSION", "assert", "collectgarbage",
      "coroutine.close", "coroutine.create", "coroutine.isyieldable",
      "coroutine.resume", "coroutine.running", "coroutine.status",
      "coroutine.wrap", "coroutine.yield",
      "debug.traceback",
      "error", "getmetatable", "ipairs", "load", "next",
      "os.clock", "os.date", "os.difftime", "os.exit", "os.time",
      "package.config", "package.path",
      "package.preload.callosum.books",
      "package.preload.callosum.discover",
      "package.preload.callosum.front", "package.preload.callosum.host",
      "package.preload.callosum.keeper",
      "package.preload.callosum.metrics",
      "package.preload.callosum.options",
      "package.preload.callosum.relay", "package.preload.callosum.rover",
      "package.preload.luv",
      "package.searchers.1", "package.searchers.2",
      "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset",
      "require", "select", "setmetatable", "tonumber", "tostring", "type",
      "warn", "xpcall",
    }, names)
  end)

  it("has no other way to libraries", function()
    assert.equal("nil\tnil\tnil\tnil\tnil\tnil\n", (sandbox [[
      print(io, package.loaded.io, string.dump, ("").dump,
        getmetatable("").__index.dump, package.loaded.debug.getregistry)
    ]]))
  end)

  it("loads text only", function()
    local code = ("%q"):format(string.dump(load "return 'bytecode'"))
      :gsub("\n", "n")
    for _, mode in ipairs { "nil", "'b'", "'bt'", "'t'" } do
      assert.matches("^nil\t.*attempt to load a binary chunk",
        (sandbox(("print(load(%s, 'x', %s))"):format(code, mode))))
    end
    assert.matches("attempt to load a binary chunk", (sandbox((
      "local code = %s print(load(function() local c = code code = nil "
      .. "return c end))"):format(code))))
  end)

  it("loads text as Lua does", function()
    assert.equal("1\n2\nnil\tnil\nx\n", (sandbox [[
      print(load("return 1")())
      print(load("return x", "name", "t", { x = 2 })())
      print(load("return print", "name", "bt", {})(), load(
        "return print", "name", nil, nil) and nil)
      print(select(2, load("=", "=x")):match "^x")
    ]]))
  end)

  it("refuses options of collectgarbage that are not harmless", function()
    for _, option in ipairs { "stop", "generational", "setpause" } do
      refused(("collectgarbage '%s'"):format(option), "invalid option")
    end
    assert.equal("0\ttrue\tboolean\n", (sandbox [[
      print(collectgarbage(), collectgarbage "count" > 1,
        type(collectgarbage "step"))
    ]]))
  end)

  it("requires from the script's folder and callosum", function()
    local output = sandbox([[
      print((require "beside"), (require "part"))
      print(type(require "callosum.slots".new))
      print(require "callosum.host".args[1])
    ]], { ["beside.lua"] = "return 'beside'", ["part.lua"] = "return ..." })
    assert.equal("beside\tpart\nfunction\nnil\n", output)
  end)

  it("requires nothing from elsewhere", function()
    local dir = support.tmpdir()
    support.write(dir .. "/elsewhere.lua", "return 'elsewhere'")
    support.write(dir .. "/elsewhere", "return 'elsewhere'")
    for _, name in ipairs { "outside", "../outside", "..outside", "/outside",
        "argparse", "pl.class", "x;" .. dir .. "/elsewhere;",
        ";" .. dir .. "/elsewhere", dir .. "/elsewhere", "?", "callosum",
        "callosum.;" .. dir .. "/elsewhere", "callosum.x", "outside\\0", "" }
    do
      refused(("return require '%s'"):format(name), "module")
    end
  end)

  it("requires nothing from elsewhere by a path of the script's", function()
    local dir = support.tmpdir()
    support.write(dir .. "/elsewhere.lua", "return 'elsewhere'")
    refused(([[
      package.path = "%s/?.lua"
      package.cpath = "%s/?.so"
      return require "elsewhere"
    ]]):format(dir, dir), "module 'elsewhere' not found")
  end)

  it("loads no C modules", function()
    refused("return require 'lfs'", "module 'lfs' not found")
    refused("return package.loadlib('x', '*')", "loadlib")
    refused("package.cpath = '/usr/lib/x86_64-linux-gnu/lua/5.4/?.so' "
      .. "return require 'lfs'", "module 'lfs' not found")
    refused([[
      for i = 1, 5 do
        local searcher = package.searchers[i]
        if searcher then searcher "lfs" end
      end
      require "lfs"
    ]], "module 'lfs' not found")
  end)

  it("has no luv", function()
    refused("return require 'luv'", "the sandbox has no luv")
    refused("return package.preload.luv()", "the sandbox has no luv")
    refused("return require 'callosum.server'", "the sandbox has no luv")
  end)

  it("has no bytecode in modules", function()
    refused("return require 'code'", "binary chunk",
      { ["code.lua"] = string.dump(function() end) })
  end)

  it("keeps the metatables of the host's objects", function()
    assert.equal("callosum.rover\tfalse\n", (sandbox [[
      print(getmetatable(R), (pcall(setmetatable, R, {})))
    ]]))
  end)

  it("lets a script do what it likes with the string metatable", function()
    assert.equal("true\n", (sandbox [[
      local mt = getmetatable ""
      mt.__index = function() error "no" end
      mt.__gc = function() end
      mt.__name, mt.__call, mt.__tostring = 1, error, error
      print(true)
    ]]))
  end)

  it("ends coroutine tricks in its budget", function()
    local path = support.tmpfile [[
      local mt = getmetatable ""
      mt.__call = function() while true do end end
      local function forever() while true do end end
      local co
      co = coroutine.create(function()
        pcall(coroutine.resume, co)
        pcall(coroutine.close, co)
        xpcall(forever, pcall)
        forever()
      end)
      while true do
        pcall(coroutine.resume, co)
        pcall(coroutine.close, co)
        xpcall(forever, coroutine.wrap(forever))
        xpcall(forever, xpcall)
        xpcall(forever, load)
      end
    ]]
    local child = support.spawn(ROVER,
      { "check", "--sandbox", "--load-budget", "50", path })
    assert.equal(1, (child:wait()))
    assert.matches("the loading budget of 50 ms is over", child.output)
  end)

  describe("lets relays and fronts have", function()
    local dir -- with "inside", where the policy is, and "outside"

    -- How the sandbox takes these paths, with options of the command.
    local function check(paths, options)
      local script = [[
        require "callosum.rover".new {}
        local front, relay = require "callosum.front", require "callosum.relay"
        local function pick() end
        for i, path in ipairs { ... } do
          local function try(module, options)
            options.name = (options.backend and options.backend.path and "b"
              or "a") .. i
            local ok, message = pcall(function() module.new(options) end)
            print(ok or message)
          end
          try(relay, { pick = pick, listen = { path = path } })
          try(front, { listen = { path = path }, backend = { port = 1 } })
          try(front, { listen = { port = 0 }, backend = { path = path } })
        end]]
      local args = { "check" }
      for _, option in ipairs(options or { "--sandbox" }) do
        args[#args + 1] = option
      end
      args[#args + 1] = support.write(dir .. "/inside/policy.lua", script)
      for _, path in ipairs(paths) do args[#args + 1] = path end
      local child = support.command(args, { cwd = dir })
      assert.equal(0, (child:wait()), child.output)
      return child.stdout
    end

    local function refuses(path, options)
      local output = check({ path }, options)
      for _, what in ipairs { "listen", "listen", "backend" } do
        local line
        line, output = output:match "^([^\n]*)\n(.*)$"
        assert.matches(("policy.lua:%%d+: bad argument #1 to 'new' %%(%s: "
          .. "path: in the sandbox, one in the script's folder or in one that "
          .. "is allowed expected, got '"):format(what), line)
        assert.is_truthy(line:find(path, 1, true), line)
      end
    end

    local function allows(path, options)
      assert.matches("^true\ntrue\ntrue\n", check({ path }, options))
    end

    before_each(function()
      local uv = require "luv"
      dir = support.tmpdir()
      for _, name in ipairs { "inside", "outside", "outside/sub", "outside2",
          "inside/sub" } do
        assert(uv.fs_mkdir(dir .. "/" .. name, 448))
      end
      for from, to in pairs { out = "../outside", back = "../outside/in",
          dangling = "../outside/x.sock", ["sub/own"] = "../sub" } do
        assert(uv.fs_symlink(to, dir .. "/inside/" .. from))
      end
      assert(uv.fs_symlink("../inside", dir .. "/outside/in"))
    end)

    it("sockets in the script's folder", function()
      for _, path in ipairs { "x.sock", "sub/x.sock", "sub/../x.sock",
          "sub/own/x.sock", "later/x.sock", "back/x.sock", "//x.sock" } do
        allows(dir .. "/inside/" .. path)
      end
      allows "inside/x.sock"
      allows "./outside/in/x.sock"
    end)

    it("none elsewhere, however it is said", function()
      for _, path in ipairs { "../x.sock", "../outside/x.sock", "out/x.sock",
          "out/sub/x.sock", "dangling", "later/../../x.sock", "later/../x.sock",
          "../inside2/x.sock", "policy.lua/x.sock" } do
        refuses(dir .. "/inside/" .. path)
      end
      refuses "/x.sock"
      refuses "x.sock"
      refuses "outside/x.sock"
      refuses(dir .. "/inside")
    end)

    it("those in folders that are allowed", function()
      local options = { "--allow-path", dir .. "/outside/", "--sandbox",
        "--allow-path=/nowhere" }
      allows(dir .. "/outside/x.sock", options)
      allows(dir .. "/inside/out/sub/x.sock", options)
      allows("/nowhere/x.sock", options)
      allows(dir .. "/inside/x.sock", options)
      refuses(dir .. "/outside2/x.sock", options)
      refuses("/nowhere2/x.sock", options)
      allows("/x.sock", { "--sandbox", "--allow-path", "/" })
      allows("outside/x.sock", { "--sandbox", "--allow-path=outside" })
    end)

    it("files of a tls likewise", function()
      local function output(fields, ...)
        local path = support.write(dir .. "/inside/policy.lua", ([[
          require "callosum.front".new { listen = { port = 0 },
            backend = { port = 1 }, tls = { %s } }
        ]]):format(fields))
        local args = { "check", "--sandbox", ... }
        args[#args + 1] = path
        local child = support.command(args, { cwd = dir })
        child:wait()
        return child.output
      end
      local own = ("cert = %q"):format(dir .. "/inside/server.pem")
      assert.matches("inside/server.pem.*no such file", output(own))
      for _, name in ipairs { "cert", "key", "ca", "crl" } do
        local fields = ("%s, ca = %q, %s = %q"):format(own,
          dir .. "/inside/ca.pem", name, "outside/x.pem")
        if name == "cert" then fields = 'cert = "outside/x.pem"' end
        assert.matches("tls: " .. name .. ": in the sandbox, a path in the "
          .. "script's folder or in one that is allowed expected, got "
          .. "'outside/x.pem'", output(fields), 1, true)
        assert.matches("no such file", output(fields, "--allow-path",
          dir .. "/outside"))
      end
    end)

    it("files of sources likewise", function()
      local function output(file, name, ...)
        local path = support.write(dir .. "/inside/policy.lua", ([[
          require "callosum.rover".new()
          require "callosum.discover".file { path = %q, %s = %q }
        ]]):format(dir .. "/inside/servers", name, file))
        local child = support.command({ "check", "--sandbox", path, ... },
          { cwd = dir })
        child:wait()
        return child.output
      end
      local path = dir .. "/inside/servers"
      assert.matches("source 'main': file " .. path,
        output(path, "path"), 1, true)
      for _, name in ipairs { "path", "cache" } do
        assert.matches(name .. ": in the sandbox, a path in the script's "
          .. "folder or in one that is allowed expected, got '/etc/passwd'",
          output("/etc/passwd", name), 1, true)
      end
    end)

    it("all without it", function()
      allows("/x.sock", {})
      local http = support.command { "check", "--allow-http", "x.lua" }
      assert.equal(2, (http:wait()))
      assert.matches("%-%-allow%-http wants %-%-sandbox beside it", http.stderr)
      local child = support.command { "check", "--allow-path", "/", "x.lua" }
      assert.equal(2, (child:wait()))
      assert.matches("%-%-allow%-path wants %-%-sandbox beside it",
        child.stderr)
    end)
  end)

  it("has os.exit to say what is there instead", function()
    refused("os.exit()", "host%.stop")
  end)

  it("is not there unless asked for", function()
    assert.equal("table\tfunction\ttable\n", (sandbox(
      "print(type(io), type(os.getenv), type(require 'luv'))", nil, true)))
  end)

  it("runs a policy", function()
    local server = support.serve { send = "3\r\n" }
    local path = support.tmpfile(([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new {}
      r:addServer("one", { host = "127.0.0.1", port = %d })
      r:on("connection", function(slot, socket)
        socket:write("slot " .. slot .. "\r\n")
        host.log.info("kept", { slot = slot })
      end)
      r:start()
    ]]):format(server.port))
    local child = support.spawn(ROVER, { "run", "--sandbox", path })
    child:waitFor "kept slot=3"
    assert.equal("slot 3", server.peers[1]:line())
    child:kill()
    assert.equal(0, (child:wait()))
  end)
end)
