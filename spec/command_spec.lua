local support = require "support"

local command, policy = support.command, support.policy
local events, logged, stop = support.events, support.logged, support.stop
local run, tmpfile = support.run, support.tmpfile

-- The least policy there is.
local IDLE = [[
local r = require "callosum.rover".new()
r:on("error", function() end)
r:start()
]]

-- A policy that keeps what it gets from the server whose port is its argument.
local KEEP = [[
local host = require "callosum.host"
local rover = require "callosum.rover"
local r = rover.new { rovingInterval = 20 }
r:addServer("s", { host = "127.0.0.1", port = tonumber(host.args[1]) })
r:on("connection", function(slot) host.log.info("kept", { slot = slot }) end)
r:start()
]]

-- Ends with the exit code, and returns the child.
local function ends(code, args, options)
  local child = command(args, options)
  local actual, signal = child:wait()
  assert.equal(0, signal, child.output)
  assert.equal(code, actual, child.output)
  return child
end

describe("callosum-rover", function()
  describe("--help", function()
    for _, flag in ipairs { "--help", "-h" } do
      it("is that of a command behind it: " .. flag, function()
        local function text(...)
          local child = ends(0, { ... })
          assert.equal("", child.stderr)
          return child.stdout
        end
        local all = text(flag)
        for name, has in pairs { run = "--watch", check = "--sandbox",
            front = "--max-clients", serve = "--host" } do
          local own = text(name, flag)
          assert.matches("^usage: callosum%-rover " .. name .. " [^\n]+\n\n"
            .. name .. " ", own)
          for option in own:gmatch "\n  [-hV, ]-(%-%-[%l-]+)" do
            assert.is_truthy(all:find("  " .. option .. " ", 1, true)
              or all:find(", " .. option .. " ", 1, true), option)
          end
          assert.is_truthy(own:find("  " .. has .. " ", 1, true))
          assert.is_falsy(own:find("%f[%a]%l+: stop"), own)
          for line in own:gmatch "[^\n]+" do
            assert.is_true(#line <= 80, line)
          end
        end
        assert.is_falsy(text("run", flag):find "max%-clients")
        assert.is_falsy(text("front", flag):find "%-%-watch")
      end)
    end

    it("names every command and option", function()
      local text = ends(0, { "--help" }).stdout
      for _, name in ipairs { "run", "check", "front", "serve", "simulate",
          "--for", "--host", "--log-format", "--log-level", "--help",
          "--version", "text", "json", "debug", "info", "warn", "error" } do
        assert.is_truthy(text:find(name, 1, true), name)
      end
      for line in text:gmatch "[^\n]+" do
        assert.is_true(#line <= 80, line)
      end
    end)

  end)

  for _, what in ipairs { "--help", "--version", "check" } do
    -- Runs a shell's words, of which "$@" prints that, and returns the child.
    local function prints(shell)
      return support.spawn("sh", { "-c", shell, "sh", support.EXECUTABLE, what,
        what == "check" and tmpfile(IDLE) or nil },
        { env = { LD_PRELOAD = false, FILE = support.tmpdir() .. "/out" } })
    end

    it("tells when what it prints for " .. what .. " is lost", function()
      for shell, message in pairs {
        [ [[exec "$@" >/dev/full]] ] = "No space left on device",
        -- A line at a time, as to a terminal.
        [ [[exec stdbuf -oL "$@" >/dev/full]] ] = "",
        [ [[exec "$@" >&-]] ] = "Bad file descriptor",
        [ [[ulimit -f 0; exec "$@" >"$FILE"]] ] = "File too large",
      } do
        -- stdbuf preloads a library of its own, before a sanitizer's.
        if support.WATCHED then shell = shell:gsub("stdbuf %-oL", "") end
        local child = prints(shell)
        assert.same({ 1, 0 }, { child:wait() }, shell .. child.output)
        assert.matches("callosum%-rover: standard output: " .. message,
          child.stderr)
      end
    end)

    it("tells when nobody is there to read " .. what, function()
      local child = prints [[trap '' PIPE; read -r line; exec "$@"]]
      child.prints:close(function() child.pipes = child.pipes - 1 end)
      child:write "go\n"
      assert.same({ 1, 0 }, { child:wait() })
      assert.matches("standard output: Broken pipe", child.stderr)
    end)
  end

  it("prints its version for --version", function()
    for _, flag in ipairs { "--version", "-V" } do
      local child = ends(0, { flag })
      assert.matches("^callosum%-rover %d+%.%d+%.%d+\n$", child.stdout)
      assert.equal("", child.stderr)
    end
  end)

  describe("told nonsense exits with 2, a message and the usage:", function()
    local long = ("9"):rep(30)
    -- What the message says, in parts, and the arguments.
    for _, case in ipairs {
      { "a command is missing" },
      { "no such command: 'fly'", "fly" },
      { "no such command: ''", "" },
      { "unrecognized option '--watt'", "--watt" },
      { "unrecognized option '--watt'", "run", "--watt", "p.lua" },
      { "unrecognized option '--watt=1'", "run", "--watt=1", "p.lua" },
      { "unrecognized option '--log'", "run", "--log", "p.lua" },
      { "invalid option -- 'z'", "run", "-z", "p.lua" },
      { "unrecognized option '--wach', nearest is '--watch'", "run", "--wach" },
      { "option '--memroy=1G', nearest is '--memory'", "check", "--memroy=1G" },
      { "option '--dog', valid are --host, --log-format,", "serve", "--dog" },
      { "unrecognized option '--for'", "--for", "1", "run", "p.lua" },
      { "unrecognized option '--for'", "serve", "--for", "1", "4040" },
      { "unrecognized option '--for'", "serve", "--for", "1", "0" },
      { "unrecognized option '--host'", "run", "--host", "::1", "p.lua" },
      { "unrecognized option '--host'", "check", "--host", "::1", "p.lua" },
      { "option '--for' requires an argument", "run", "--for" },
      { "option '--help' doesn't allow an argument", "--help=me" },
      { "serve wants options before its PORTs; behind them is '--weight'",
        "serve", "1", "--weight", "2" },
      { "option '--watch' doesn't allow an argument", "run", "--watch=1" },
      { "a POLICY is missing", "run" },
      { "a POLICY is missing", "check" },
      { "a POLICY is missing", "run", "--for", "1" },
      { "a POLICY is missing", "run", "--" },
      { "--for|not '0'", "run", "--for", "0", "p.lua" },
      { "--for|not '-1'", "run", "--for", "-1", "p.lua" },
      { "--for|not 'x'", "run", "--for", "x", "p.lua" },
      { "--for|not '1s'", "run", "--for", "1s", "p.lua" },
      { "--for|not ''", "run", "--for", "", "p.lua" },
      { "--for|not 'nan'", "run", "--for", "nan", "p.lua" },
      { "--for|not 'inf'", "run", "--for", "inf", "p.lua" },
      { "--for|not '1e99'", "run", "--for", "1e99", "p.lua" },
      { "--log-format|not 'xml'", "run", "--log-format", "xml", "p" },
      { "--log-format|not ''", "check", "--log-format=", "p" },
      { "--log-level|not 'loud'", "run", "--log-level", "loud", "p" },
      { "--log-level|not 'INFO'", "serve", "--log-level", "INFO", "0" },
      { "at least one PORT", "serve" },
      { "a PORT|not 'x'", "serve", "x" },
      { "a PORT|not ''", "serve", "" },
      { "a PORT|not '65536'", "serve", "65536" },
      { "a PORT|not '80x'", "serve", "0", "80x" },
      { "a PORT|not ' 80'", "serve", " 80" },
      { "a PORT|not '+80'", "serve", "+80" },
      { "a PORT|not '1.5'", "serve", "1.5" },
      { "a PORT|not '-1'", "serve", "--", "-1" },
      { "a PORT|not '" .. long .. "'", "serve", long },
      { "no COMMAND behind --", "serve", "0", "--" },
    } do
      local args = { table.unpack(case, 2) }
      it("'" .. table.concat(args, " ") .. "'", function()
        local child = ends(2, args)
        assert.equal("", child.stdout)
        local message = child.stderr:match "^[^\n]*"
        for part in case[1]:gmatch "[^|]+" do
          assert.is_truthy(message:find(part, 1, true), message)
        end
        local first, second = child.stderr:match(
          "\nusage: callosum%-rover (%w+) [^\n]*\n *callosum%-rover (%w+) ")
        local name = (args[1] or ""):match "^[a-z]+$"
        if name and name ~= "fly" then
          assert.same({ name, name }, { first, second })
        else
          assert.same({ "run", "check" }, { first, second })
        end
      end)
    end

    it("and the message tells who says so", function()
      for _, args in ipairs { {}, { "--watt" }, { "run", "--watt", "p.lua" },
          { "run", "--for", "x", "p.lua" }, { "run", "--for" } } do
        assert.matches("^[^\n]*callosum%-rover: ", ends(2, args).stderr)
      end
    end)
  end)

  describe("run", function()
    it("hands what follows the policy to it, options too", function()
      local child = policy([[
        local host = require "callosum.host"
        local args = { ... }
        assert(#args == #host.args)
        for i, arg in ipairs(args) do assert(arg == host.args[i]) end
        io.stdout:write(table.concat(args, "|"))
        local r = require "callosum.rover".new()
        host.stop()
      ]], { args = { "--for", "x", "-h", "", "--", "--log-level", "a b" } })
      assert.same({ 0, 0 }, { child:wait() })
      assert.equal("--for|x|-h||--|--log-level|a b", child.stdout)
    end)

    it("takes a policy whose name begins with a dash behind --", function()
      local path = tmpfile(IDLE, "-policy.lua")
      local dir = path:match "^(.*)/"
      ends(0, { "run", "--for", "0.05", "--", "-policy.lua" }, { cwd = dir })
    end)

    it("ends with 0 after the time of --for, in order", function()
      local server = support.serve { send = "0\r\n" }
      local child = policy(KEEP .. [[
        host.on("unload", function() host.log.info("unloading") end)
      ]], { flags = { "--for", "0.3" }, args = { tostring(server.port) } })
      logged(child, "kept")
      assert.same({ 0, 0 }, { child:wait() })
      assert.equal(1, #events(child, "unloading"))
      -- The last may be that of an attempt whose slot nobody has read.
      assert.is_nil(server.peers[1]:waitEnd())
    end)

    it("counts the time of --for from when the policy is loaded", function()
      local child = policy([[
        local uv = require "luv"
        local host = require "callosum.host"
        local start = uv.hrtime()
        while uv.hrtime() - start < 0.7e9 do end
        local r = require "callosum.rover".new { rovingInterval = 50 }
        local attempts = 0
        r:on("error", function()
          attempts = attempts + 1
          host.log.info("attempt")
        end)
        r:start()
      ]], { flags = { "--for", "0.6" } })
      assert.same({ 0, 0 }, { child:wait() })
      assert.is_true(#events(child, "attempt") > 1)
    end)

    it("ends with the status that host.stop is given", function()
      for text, code in pairs { [""] = 0, ["7"] = 7, ["255"] = 255 } do
        local child = policy(IDLE ..
          'require "callosum.host".stop(' .. text .. ")")
        assert.same({ code, 0 }, { child:wait() })
        assert.equal("policy loaded", events(child)[1].message)
      end
    end)

    it("warns of a rover that is not started, in a reload too", function()
      local MESSAGE = "rover '%s' is not started: it makes no attempts"
      local text = [[
        local host = require "callosum.host"
        local rover = require "callosum.rover"
        a, b = rover.new { name = "a" }, rover.new { name = "b" }
        for _, each in ipairs { a, b } do each:on("error", function() end) end
        a:start()
      ]]
      local child = policy(text)
      assert.equal("warn", logged(child, MESSAGE:format "b").level)
      assert.same({}, events(child, MESSAGE:format "a"))
      -- b is started, and a not any more.
      support.write(child.path, (text:gsub("a:start", "b:start")))
      child:kill "sighup"
      logged(child, MESSAGE:format "a")
      stop(child)
      assert.equal(1, #events(child, MESSAGE:format "b"))
    end)

    it("does not warn of one whose attempts the policy makes", function()
      local child = policy [[
        local host = require "callosum.host"
        local r = require "callosum.rover".new {
          servers = { s = { host = "127.0.0.1", port = 1 } },
        }
        r:on("unreachable", function() host.log.info "attempt" end)
        r:connect()
      ]]
      logged(child, "attempt")
      stop(child)
      assert.is_falsy(child.stderr:find "not started")
    end)

    it("does not warn of one in a policy that stops", function()
      local child = policy [[
        r = require "callosum.rover".new()
        require "callosum.host".stop()
      ]]
      assert.same({ 0, 0 }, { child:wait() })
      assert.is_falsy(child.stderr:find "not started")
    end)

    it("reads a policy that begins with a #! line", function()
      local path = tmpfile("#!/usr/bin/env callosum-rover\n" .. IDLE)
      ends(0, { "run", "--for", "0.05", path })
    end)

    -- Fails to load, and says so in one line, `cannot load policy`.
    local function fails(text)
      local child = policy(text)
      assert.same({ 1, 0 }, { child:wait() })
      assert.equal("", child.stdout)
      local list = events(child)
      assert.equal(1, #list, child.stderr)
      assert.same({ "error", "cannot load policy" },
        { list[1].level, list[1].message })
      return list[1], child
    end

    describe("exits with 1, telling where, for a policy that", function()
      it("does not exist", function()
        local path = support.tmpdir() .. "/nowhere.lua"
        local child = ends(1, { "run", path })
        assert.equal("", child.stdout)
        assert.matches("nowhere.lua: No such file or directory", child.stderr)
      end)

      it("is a folder", function()
        local path = support.tmpdir()
        local child = ends(1, { "run", path })
        assert.equal("", child.stdout)
        assert.is_truthy(child.stderr:find(path .. ": Is a directory", 1, true))
      end)

      it("may not be read", function()
        if require "luv".getuid() == 0 then return pending "root reads all" end
        local path = tmpfile(IDLE)
        require "luv".fs_chmod(path, 0)
        assert.matches("policy.lua: Permission denied",
          ends(1, { "run", path }).stderr)
      end)

      it("has a syntax error", function()
        local event, child = fails "local x = 1\nlocal = 2\n"
        assert.equal(child.path .. ":2: <name> expected near '='", event.error)
      end)

      it("raises a string while it loads", function()
        local event, child = fails [[

          local function go() error("no luck") end
          go()
        ]]
        assert.equal(child.path .. ":2: no luck", event.error)
        assert.matches("policy.lua:2: in .*'go'", event.traceback)
        assert.matches("policy.lua:3: in main chunk", event.traceback)
      end)

      it("raises a table while it loads", function()
        local event = fails "\nerror({})"
        assert.matches("table", event.error)
        assert.matches("policy.lua:2: in main chunk", event.traceback)
      end)

      it("raises nil while it loads", function()
        local event = fails "\nerror(nil)"
        assert.matches("nil", event.error)
        assert.matches("policy.lua:2: in main chunk", event.traceback)
      end)

      it("raises an object with a text while it loads", function()
        local event = fails [[
          error(setmetatable({}, { __tostring = function() return "told" end }))
        ]]
        assert.equal("told", event.error)
        assert.matches("policy.lua:1: in main chunk", event.traceback)
      end)

      it("raises an object whose text raises while it loads", function()
        local event = fails [[
          error(setmetatable({}, { __tostring = function() error("no") end }))
        ]]
        assert.is_string(event.error)
        assert.matches("%w", event.error)
      end)

      it("recurses without end while it loads", function()
        local event = fails "local function f() return 1 + f() end\nf()"
        assert.matches("policy.lua:1: stack overflow", event.error)
      end)

      it("misuses the rover while it loads", function()
        local event = fails [[
          local rover = require "callosum.rover"
          rover.new { servers = { a = { host = "localhost", port = 70000 } } }
        ]]
        assert.matches("policy.lua:2: .*port", event.error)
      end)

      it("requires what does not exist", function()
        local event = fails 'require "no.such.module"'
        assert.matches("policy.lua:1: module 'no.such.module' not found",
          event.error)
      end)

      it("requires a module with an error", function()
        local path = tmpfile 'require "broken"'
        support.write(path:match "^(.*)/" .. "/broken.lua", "x = = 1")
        local child = ends(1, { "run", path })
        assert.matches("broken.lua:1: unexpected symbol", child.stderr)
        assert.matches("policy.lua:1: in main chunk", child.stderr)
      end)

      it("is bytecode", function()
        local event, child = fails(string.dump(load(IDLE)))
        assert.matches("binary chunk", event.error)
        -- Which file it was, the message of Lua does not tell.
        assert.is_truthy(child.stderr:find(child.path, 1, true), child.stderr)
      end)

      it("is empty", function()
        local event, child = fails ""
        assert.is_truthy(event.error:find(child.path, 1, true))
        assert.matches("declares no rover", event.error)
      end)

      it("declares no rover", function()
        assert.matches("declares no rover",
          fails 'require "callosum.rover"'.error)
      end)

      it("has closed its only rover", function()
        assert.matches("declares no rover",
          fails 'require "callosum.rover".new():close()'.error)
      end)
    end)

    it("does not run the unload handlers of what did not load", function()
      local child = policy(IDLE .. [[
        local host = require "callosum.host"
        host.on("unload", function() print "unload" end)
        host.stop(7)
        require "luv".new_timer():start(0, 0, function() print "timer" end)
        error("no luck")
      ]])
      assert.same({ 1, 0 }, { child:wait() })
      assert.equal("", child.stdout)
    end)

    it("does not connect for what did not load", function()
      local server = support.serve()
      local child = policy(KEEP .. "r:connect()\nerror 'no luck'",
        { args = { tostring(server.port) } })
      assert.same({ 1, 0 }, { child:wait() })
      -- The first to arrive is ours.
      local client = support.connect(server.port)
      run(function() return client.connected and #server.peers > 0 end)
      assert.equal(1, #server.peers)
      assert.equal(client.handle:getsockname().port,
        server.peers[1].handle:getpeername().port)
    end)
  end)

  describe("stops in order on", function()
    for _, signal in ipairs { "SIGINT", "SIGTERM" } do
      it(signal, function()
        local server = support.serve { send = "0\r\n" }
        local child = policy(KEEP .. [[
          local uv = require "luv"
          local listener = uv.new_tcp()
          listener:bind("127.0.0.1", 0)
          listener:listen(8, function() end)
          host.log.info("listening", { port = listener:getsockname().port })
          uv.new_timer():start(0, 1000, function() end)
          host.on("unload", function()
            for _, socket in ipairs(r:sockets()) do socket:write "bye\r\n" end
            host.log.info("first")
          end)
          host.on("unload", function() host.log.info("second") end)
        ]], { args = { tostring(server.port) } })
        local port = logged(child, "listening").port
        logged(child, "kept", 2)
        stop(child, signal:lower())
        local order = {}
        for _, event in ipairs(events(child)) do
          if event.message ~= "kept" and event.message ~= "listening" then
            order[#order + 1] = event.message
          end
        end
        assert.same({ "policy loaded", "stopping", "first", "second" }, order)
        assert.equal(signal, events(child, "stopping")[1].signal)
        for i = 1, 2 do
          assert.equal("bye", server.peers[i]:line())
          assert.is_nil(server.peers[i]:waitEnd())
        end
        assert.is_true(support.isFree(port))
      end)
    end
  end)

  it("stops in order while attempts are in flight", function()
    local server = support.serve() -- never sends its slot
    local hole = support.blackHole()
    local child = policy(KEEP .. [[
      r:on("unreachable", print)
      r:addServer("hole", { host = "127.0.0.1",
        port = tonumber(host.args[2]) })
    ]], { args = { tostring(server.port), tostring(hole) } })
    run(function() return #server.peers > 1 end)
    stop(child)
    for _, each in ipairs(server.peers) do assert.is_nil(each:waitEnd()) end
    assert.equal("", child.stdout)
  end)

  describe("ends at once on a second signal", function()
    for _, signal in ipairs { "sigint", "sigterm" } do
      it("while an unload handler takes its time, " .. signal, function()
        local child = policy(IDLE .. [[
          local host = require "callosum.host"
          host.on("unload", function()
            host.log.info("unloading")
            while true do end
          end)
        ]])
        logged(child, "policy loaded")
        child:kill(signal)
        logged(child, "unloading")
        child:kill(signal)
        local code, by = child:wait(5)
        assert.equal(0, code)
        assert.equal(signal == "sigint" and 2 or 15, by)
      end)
    end

    it("while a request of luv does not end", function()
      local fifo = support.tmpdir() .. "/fifo"
      assert(os.execute("mkfifo " .. fifo))
      local child = policy(IDLE .. [[
        local host = require "callosum.host"
        require "luv".fs_open(..., "r", 0, function() end)
        host.on("unload", function() host.log.info("unloading") end)
      ]], { args = { fifo } })
      logged(child, "policy loaded")
      child:kill("sigterm")
      logged(child, "unloading")
      child:kill("sigterm")
      local _, by = child:wait(5)
      assert.equal(15, by)
    end)
  end)

  it("stops soon though a request of luv does not end", function()
    local fifo = support.tmpdir() .. "/fifo"
    assert(os.execute("mkfifo " .. fifo))
    local child = policy(IDLE .. [[
      require "luv".fs_open(..., "r", 0, function() end)
    ]], { args = { fifo } })
    logged(child, "policy loaded")
    child:kill("sigterm")
    assert.same({ 0, 0 }, { child:wait(8) })
  end)

  describe("logs", function()
    local LINES = [[
      local host = require "callosum.host"
      local r = require "callosum.rover".new()
      host.log.debug("one")
      host.log.info("two", { number = 1.5, yes = true, text = "t",
        word = "a b" })
      host.log.warn("three")
      host.log.error("four")
      host.stop()
    ]]

    -- Any byte, in the message and in the value of a field.
    local ODD = [[
      local host = require "callosum.host"
      local r = require "callosum.rover".new()
      local all = {}
      for byte = 0, 255 do all[#all + 1] = string.char(byte) end
      all = table.concat(all)
      for _, text in ipairs { "a\nb", 'a"b', "a\\b", "a\0b", "a\rb", "a\27[1mb",
          "a\xffb", "a\xc3", "a\xed\xa0\x80b", "a\xf4\x90\x80\x80b",
          "a\xc0\x80b", "gr\u{fc}n \u{1f600}", all } do
        host.log.info(text, { value = text, [text] = 1 })
      end
      host.stop()
    ]]

    -- But for the line whose level depends on the machine.
    local function lines(child)
      return child.stderr:gsub("[^\n]*descriptors limit=%d+\n", "")
        :gmatch "([^\n]*)\n"
    end

    it("as text, one event a line", function()
      local child = ends(0, { "run", "--log-level", "debug", tmpfile(LINES) })
      assert.equal("", child.stdout)
      local list = {}
      for line in lines(child) do
        list[#list + 1] = line:gsub("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%."
          .. "%d%d%dZ ", "")
      end
      assert.same({
        "debug one",
        'info  two number=1.5 text=t word="a b" yes=true',
        "warn  three",
        "error four",
      }, { table.unpack(list, 1, 4) })
      assert.equal(5, #list)
      assert.matches("^info  policy loaded file=/.*/policy.lua$", list[5])
    end)

    it("as text, one event a line whatever its bytes", function()
      local child = ends(0, { "run", tmpfile(ODD) })
      local count = 0
      for line in lines(child) do
        count = count + 1
        assert.matches("^%d+%-%d+%-%d+T[%d:.]+Z info  ", line)
        assert.is_falsy(line:find "%c", line)
        assert.is_truthy(utf8.len(line), line)
      end
      assert.equal(14, count)
    end)

    it("as JSON, one event a line", function()
      local child = policy(LINES)
      assert.same({ 0, 0 }, { child:wait() })
      local list = events(child)
      for _, event in ipairs(list) do
        assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$",
          event.time)
        event.time = nil
      end
      assert.same({
        { level = "debug", message = "one" },
        { level = "info", message = "two", number = 1.5, yes = true,
          text = "t", word = "a b" },
        { level = "warn", message = "three" },
        { level = "error", message = "four" },
        { level = "info", message = "policy loaded", file = child.path },
      }, list)
    end)

    it("as JSON, valid UTF-8 on one line whatever its bytes", function()
      local child = policy(ODD)
      assert.same({ 0, 0 }, { child:wait() })
      local list = events(child)
      assert.equal(14, #list)
      for i = 1, 13 do
        assert.equal(list[i].message, list[i].value)
        assert.equal(1, list[i][list[i].message])
      end
      local gone = "\u{fffd}"
      for i, text in ipairs { "a\nb", 'a"b', "a\\b", "a\0b", "a\rb",
          "a\27[1mb", "a" .. gone .. "b", "a" .. gone,
          "a" .. gone:rep(3) .. "b", "a" .. gone:rep(4) .. "b",
          "a" .. gone:rep(2) .. "b", "gr\u{fc}n \u{1f600}" } do
        assert.equal(text, list[i].value)
      end
      assert.equal(256, utf8.len(list[13].value))
      for code = 0, 127 do
        assert.equal(code, utf8.codepoint(list[13].value, code + 1))
      end
      assert.is_falsy(child.stderr:find "[%z\1-\9\11-\31]")
    end)

    it("as JSON, fields that are no numbers of JSON too", function()
      local child = policy [[
        local host = require "callosum.host"
        local r = require "callosum.rover".new()
        host.log.info("odd", { inf = 1 / 0, ninf = -1 / 0, nan = 0 / 0,
          int = math.mininteger, float = 1e300, zero = -0.0, third = 1 / 3,
          empty = "", [""] = "", t = {}, f = print,
          o = setmetatable({}, { __tostring = function() return "o!" end }) })
        host.stop()
      ]]
      assert.same({ 0, 0 }, { child:wait() })
      local event = events(child)[1]
      assert.same({ "inf", "-inf" }, { event.inf, event.ninf })
      assert.matches("nan", event.nan)
      assert.equal(1e300, event.float)
      assert.is_true(math.abs(event.third - 1 / 3) < 1e-12)
      assert.same({ "", "", "o!" }, { event.empty, event[""], event.o })
      assert.equal("{}", event.t)
      assert.matches("^function: ", event.f)
      assert.is_truthy(child.stderr:find('"int":-9223372036854775808', 1, true))
    end)

    it("fields that have the names of its own without a clash", function()
      local child = policy [[
        local host = require "callosum.host"
        local r = require "callosum.rover".new()
        host.log.info("m", { time = "t", level = "l", message = 1, other = 2 })
        host.stop()
      ]]
      assert.same({ 0, 0 }, { child:wait() })
      local event = events(child, "m")[1]
      assert.matches("^%d+%-", event.time)
      assert.same({ "info", "m", 2 }, { event.level, event.message,
        event.other })
      assert.same({ "t", "l", 1 }, { event._time, event._level,
        event._message })
    end)

    it("no name twice", function()
      local child = policy [[
        local host = require "callosum.host"
        local r = require "callosum.rover".new()
        host.log.info("m", { time = 1, _time = 2 })
        host.stop()
      ]]
      assert.same({ 0, 0 }, { child:wait() })
      local names = {}
      for name in child.stderr:match "^[^\n]*":gmatch '"([%w_]+)":' do
        assert.is_nil(names[name], name)
        names[name] = true
      end
    end)

    it("what --log-level lets through", function()
      local wanted = {
        debug = { "one", "two", "three", "four", "policy loaded" },
        info = { "two", "three", "four", "policy loaded" },
        warn = { "three", "four" },
        error = { "four" },
      }
      for level, messages in pairs(wanted) do
        local child = ends(0, { "run", "--log-level", level, "--log-format",
          "json", tmpfile(LINES) })
        local got = {}
        for i, event in ipairs(events(child)) do got[i] = event.message end
        assert.same(messages, got)
      end
    end)
  end)

  -- Without a check for leaks: libuv 1.44 does not free a loop that it could
  -- not make.
  it("says what to do if it has too few descriptors to start", function()
    local path = tmpfile(IDLE)
    for _, threads in ipairs { 1, 2 } do
      local child = support.spawn("sh", { "-c",
        'ulimit -n 10; exec "$0" run --threads ' .. threads .. ' "$1"',
        support.EXECUTABLE, path },
        { env = { ASAN_OPTIONS = "verify_asan_link_order=0:detect_leaks=0" } })
      assert.same({ 1, 0 }, { child:wait() }, child.output)
      assert.equal("callosum-rover: cannot start: too many open files; raise "
        .. "the limit (ulimit -n)"
        .. (threads > 1 and ", or lower --threads" or "") .. "\n", child.stderr)
    end
  end)

  it("runs without standard streams, as a daemon may", function()
    local path = tmpfile(IDLE .. [[
      local host = require "callosum.host"
      host.log.info("lost")
      print "lost"
      host.stop(3)
    ]])
    for _, streams in ipairs { "<&-", ">&-", "2>&-", "<&- >&- 2>&-" } do
      local child = support.spawn("sh", { "-c",
        'exec "$0" run "$1" ' .. streams, support.EXECUTABLE, path },
        { env = { LD_PRELOAD = false } })
      assert.same({ 3, 0 }, { child:wait() }, streams)
    end
  end)

  it("goes on when nobody reads its output", function()
    local path = tmpfile(IDLE .. [[
      local host = require "callosum.host"
      require "luv".new_timer():start(0, 1, function()
        host.log.info("lost", { text = ("x"):rep(1000) })
        print(("x"):rep(1000))
      end)
    ]])
    -- The reader of both is gone before the first line.
    local child = support.spawn("sh", { "-c",
      '{ "$0" run --for 0.3 "$1" 2>&1; echo "code $?" >&3; } 3>&2 | exec true',
      support.EXECUTABLE, path }, { env = { LD_PRELOAD = false } })
    child:wait()
    assert.equal("code 0\n", child.stderr)
  end)

  describe("check", function()
    it("prints what a policy declares", function()
      local path = tmpfile [[
        local rover = require "callosum.rover"
        local r = rover.new {
          rovingInterval = 250,
          servers = {
            ["localhost:4041"] = { host = "localhost", port = 4041 },
            b = { host = "::1", port = 1 },
            a = { host = "example.org", port = 65535 },
          },
        }
        r:addServer("c", { host = "127.0.0.1", port = 2 })
        r:addServer("d", { host = "127.0.0.1", port = 3 })
        r:dropServer("d")
        r:start()
        other = rover.new { name = "other" }
        one = rover.new { name = "one",
          servers = { s = { host = "h", port = 1 } } }
        one:start():stop()
      ]]
      local child = ends(0, { "check", path })
      assert.equal([[
rover 'main': every 250 ms, 4 servers, starts
  a: host example.org, port 65535
  b: host ::1, port 1
  c: host 127.0.0.1, port 2
  localhost:4041: host localhost, port 4041
rover 'other': every 1000 ms, 0 servers, does not start
rover 'one': every 1000 ms, 1 server, does not start
  s: host h, port 1
]], child.stdout)
      assert.equal("", child.stderr)
    end)

    it("prints fronts, of which one is enough", function()
      local path = tmpfile [[
        local front = require "callosum.front"
        front.new { listen = { host = "::1", port = 4040 },
          backend = { port = 5432 }, weight = 0.5 }
        front.new { name = "unix", maxClients = 1,
          listen = { path = "/run/front.sock" },
          backend = { path = "/run/app.sock" } }
      ]]
      assert.equal([[
front 'main': [::1]:4040 before 127.0.0.1:5432, weight 0.5, at most 1000 clients
front 'unix': /run/front.sock (mode 0600) before /run/app.sock, weight 1, ]]
        .. "at most 1 client\n", ends(0, { "check", path }).stdout)
    end)

    it("prints sources, and looks nothing up", function()
      local path = tmpfile [[
        local r = require "callosum.rover".new()
        local discover = require "callosum.discover"
        discover.file { path = "/nowhere" }:attach(r)
        discover.file { name = "two", path = "x", interval = 1 }:attach(r)
      ]]
      assert.equal([[
rover 'main': every 1000 ms, 0 servers, does not start
source 'main': file /nowhere, every 30000 ms
source 'two': file x, every 1 ms
]], ends(0, { "check", path }).stdout)
    end)

    it("hands the policy its arguments", function()
      local path = tmpfile [[
        r = require "callosum.rover".new { name = (...) .. #{ ... } }
      ]]
      assert.matches("^rover 'a2': ",
        ends(0, { "check", path, "a", "--for" }).stdout)
    end)

    it("is quiet on request, and takes the options of run", function()
      local child = command { "check", "--watch", "--for", "3", "--quiet",
        tmpfile(IDLE) }
      assert.equal(0, child:wait())
      assert.equal("", child.output)
      child = command { "check", "--quiet", tmpfile "error 'no'" }
      assert.equal(1, child:wait())
      assert.equal("", child.stdout)
      assert.is_truthy(child.stderr:find("no", 1, true))
    end)

    it("does not connect", function()
      local server = support.serve()
      local path = tmpfile(KEEP .. "r:connect() r:connect()")
      local child = ends(0, { "check", path, tostring(server.port) })
      assert.matches("port " .. server.port, child.stdout)
      local client = support.connect(server.port)
      run(function() return client.connected and #server.peers > 0 end)
      assert.equal(client.handle:getsockname().port,
        server.peers[1].handle:getpeername().port)
    end)

    it("runs no unload handlers and no callbacks of luv", function()
      local child = ends(0, { "check", tmpfile(IDLE .. [[
        local uv = require "luv"
        local host = require "callosum.host"
        host.on("unload", function() print "unload" end)
        uv.new_timer():start(0, 1, function() print "timer" end)
        uv.new_idle():start(function() print "idle" end)
        uv.fs_stat("/", function() print "stat" end)
        uv.getaddrinfo("localhost", nil, nil, function() print "name" end)
        uv.new_async(function() print "async" end):send()
        uv.new_timer():close(function() print "closed" end)
        host.stop(7)
      ]]) })
      assert.equal("rover 'main': every 1000 ms, 0 servers, starts\n",
        child.stdout)
      assert.equal("", child.stderr)
    end)

    it("exits with 1 for two rovers of the same name", function()
      for _, name in ipairs { "", "{ name = 'x' }" } do
        local path = tmpfile("local rover = require 'callosum.rover'\n"
          .. "a = rover.new(" .. name .. ")\nb = rover.new(" .. name .. ")")
        local child = ends(1, { "check", path })
        assert.equal("", child.stdout)
        assert.matches("policy.lua:3: .*there is a rover '.+' already",
          child.stderr)
      end
    end)

    it("exits with 1 for what cannot be loaded, as run does", function()
      for text, message in pairs {
        ["x = = 1"] = "policy.lua:1: unexpected symbol",
        ["error 'no luck'"] = "policy.lua:1: no luck",
        ["require 'callosum.rover'.new { foo = 1 }"] =
          "policy.lua:1: .*unknown option 'foo', valid are name",
        [""] = "declares no rover",
      } do
        local child = ends(1, { "check", tmpfile(text) })
        assert.equal("", child.stdout)
        assert.matches(message, child.stderr)
      end
      assert.matches("No such file",
        ends(1, { "check", support.tmpdir() .. "/none.lua" }).stderr)
    end)

  end)
end)
