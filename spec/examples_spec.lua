local examples = require "support.examples"
local support = require "support"
local uv = require "luv"

local events, logged = support.events, support.logged

local commands, replace = examples.commands, examples.replace

-- Runs a shell script in which the command is the one under test. Its logs are
-- in JSON if it runs policies with `flags`.
local function shell(script, flags)
  script = replace(script, "build/callosum-rover",
    "'" .. support.EXECUTABLE .. "'")
  for command, flag in pairs(flags or {}) do
    script = replace(script, "' " .. command .. " ",
      "' " .. command .. " " .. flag .. " ")
  end
  -- The last command, over several lines perhaps, takes the place of the shell.
  local lines = script:gsub("\\\n", " "):gsub("([^\n]+\n)$", "exec %1")
  return support.spawn("sh", { "-ec", lines }, { cwd = support.ROOT,
    env = { LD_PRELOAD = false } })
end

describe("the example", function()
  describe("keep_lowest.lua", function()
    -- Writes it and its commands with ports of our own, which are returned
    -- behind these.
    local function withPorts()
      local ports = { support.freePorts(3) }
      local text = examples.read "keep_lowest.lua"
      local script = commands "keep_lowest.lua"
      for i, port in ipairs(ports) do
        text = replace(text, tostring(4039 + i), tostring(port))
        script = replace(script, tostring(4039 + i), tostring(port))
      end
      local path = support.tmpfile(text)
      return path, replace(script, "examples/keep_lowest.lua", path), ports
    end

    it("roves between its servers and keeps the lowest slots", function()
      local _, script, ports = withPorts()
      local child = shell(script)
      for _ = 1, 3 do child:waitFor "new connection with slot number %d+\n" end
      assert.equal("0", support.connect(ports[3]):line()) -- it was dropped
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.matches("^new connection with slot number 0\n", child.stdout)
      for line in child.stdout:gmatch "[^\n]*\n" do
        assert.matches("^new connection with slot number %d+\n$", line)
      end
      for _, port in ipairs(ports) do
        assert.is_true(support.isFree(port), port)
      end
    end)

    it("tells when its servers are unreachable", function()
      local path, _, ports = withPorts()
      local child = support.command { "run", "--for", "0.3", path }
      assert.same({ 0, 0 }, { child:wait() })
      local id, port = child.stdout:match(
        "^server with id localhost:(%d+) is unreachable\nlocalhost\t(%d+)\n$")
      assert.is_truthy(id == port and (id == tostring(ports[1])
        or id == tostring(ports[2])), child.stdout)
    end)

    it("is the usage example of the npm module, line for line", function()
      local text = examples.read "keep_lowest.lua"
      local at = 1
      for _, part in ipairs { 'require "callosum.rover"', "rovingInterval",
          "localhost:4040", "localhost:4041", 'on("error"', 'on("unreachable"',
          'on("connection"', ":start()", 'addServer("localhost:4042"',
          'dropServer("localhost:4042"' } do
        at = assert(text:find(part, at, true), part)
      end
    end)
  end)

  describe("file.lua", function()
    it("connects to the servers in the file, and follows it", function()
      local path = support.tmpdir() .. "/servers"
      local one, two = support.freePorts(2)
      local script = commands "file.lua"
      script = replace(script, "/tmp/servers", path)
      script = replace(script, "4040", tostring(one))
      script = replace(script, "4041", tostring(two))
      local child = shell(script, {
        run = "--log-format json", serve = "--log-format json",
      })
      local ids = { [logged(child, "added").id] = true,
        [logged(child, "added", 2).id] = true }
      local first = "localhost:" .. one
      assert.same({ [first] = true, ["localhost:" .. two] = true }, ids)
      logged(child, "connection", 2)
      support.write(path, "localhost:")
      support.eventually(function()
        return child.output:find "so its 2 servers stay: line 1"
      end)
      support.write(path, ("%s\n127.0.0.1:%d\n"):format(first, two))
      assert.equal("127.0.0.1:" .. two, logged(child, "added", 3).id)
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal(0, #events(child, "policy error"), child.output)
    end)

    it("asks for the file when none is given", function()
      local child = support.command({ "run", "examples/file.lua" },
        { cwd = support.ROOT })
      assert.same({ 1, 0 }, { child:wait() })
      assert.matches("which file%?", child.stderr)
    end)
  end)

  describe("srv.lua", function()
    it("has the servers of a service, with their weights", function()
      local one, two, dns = support.freePorts(3)
      local script = commands "srv.lua"
      script = replace(script, "4040", tostring(one))
      script = replace(script, "4041", tostring(two))
      script = replace(script, "5353", tostring(dns))
      local child = shell(script, { run = "--log-format json",
        serve = "--log-format json" })
      assert.equal(("127.0.0.1:%d"):format(two), logged(child, "added", 2).id)
      local weights = {}
      for _, event in ipairs(events(child, "added")) do
        weights[event.id] = event.weight
      end
      assert.same({ [("127.0.0.1:%d"):format(one)] = 10,
        [("127.0.0.1:%d"):format(two)] = 20 }, weights)
    end)
  end)

  describe("etcd.lua", function()
    it("has the servers whose addresses are there", function()
      local one, two, clients, peers = support.freePorts(4)
      local script = commands "etcd.lua"
      script = replace(script, "4040", tostring(one))
      script = replace(script, "4041", tostring(two))
      script = replace(script, "2379", tostring(clients))
      script = replace(script, "etcd --data", ("etcd --listen-client-urls "
        .. "http://127.0.0.1:%d --advertise-client-urls http://127.0.0.1:%d "
        .. "--listen-peer-urls http://127.0.0.1:%d --data")
        :format(clients, clients, peers))
      script = replace(script, "mktemp -d", "echo " .. support.tmpdir() .. "/d")
      local child = shell(script, { run = "--log-format json",
        serve = "--log-format json" })
      logged(child, "added", 2)
      local ids = {}
      for i, event in ipairs(events(child, "added")) do ids[i] = event.id end
      table.sort(ids)
      local wanted = { ("127.0.0.1:%d"):format(one),
        ("127.0.0.1:%d"):format(two) }
      table.sort(wanted)
      assert.same(wanted, ids)
    end)
  end)

  describe("demo.lua", function()
    -- Runs it with servers of ours; its times are cut off.
    local function demo(...)
      return support.command({ "run", "examples/demo.lua", ... },
        { cwd = support.ROOT })
    end

    it("tells every event, and every second what it keeps", function()
      local slot = -1
      local server = support.serve { connection = function(peer)
        slot = slot + 1
        peer:write(slot .. "\r\n")
      end }
      local port = tostring(server.port)
      local child = demo(port)
      child:waitFor("%d%d:%d%d:%d%d  localhost:" .. port .. " slot 0: kept\n")
      assert.equal("0 1 2", child:waitFor("\n  server +kept  slots\n"
        .. "  localhost:" .. port .. " +%d+  (0 1 2)[ %d]*\n\n"))
      child:waitFor("localhost:" .. port
        .. " slot 9: closed, the 9 lowest are kept\n")
      child:waitFor("  localhost:" .. port .. " +9  0 1 2 3 4 5 6 7 8\n")
      slot = 3
      child:waitFor("slot 8: closed, the 9 lowest are kept\n")
      child:waitFor("slot 4: kept\n")
      server:close()
      child:waitFor("slot 4: the server closed it\n")
      child:waitFor("localhost:" .. port
        .. ": connection refused %(ECONNREFUSED%)\n")
      child:waitFor("  localhost:" .. port .. " +0  \n")
      child:kill()
      assert.same({ 0, 0 }, { child:wait() })
      assert.is_falsy(child.stderr:find(" error ", 1, true), child.stderr)
    end)

    it("closes what is over its limit when that is lowered", function()
      local slot = -1
      local server = support.serve { connection = function(peer)
        slot = slot + 1
        peer:write(slot .. "\r\n")
      end }
      local script = examples.read "demo.lua"
      local path = support.tmpfile(script)
      local child = support.command({ "run", "--watch", path,
        tostring(server.port) }, { cwd = support.ROOT })
      child:waitFor " slot 9: closed, the 9 lowest are kept\n"
      support.write(path, (script:gsub("LIMIT = 9", "LIMIT = 3")))
      for i = 8, 3, -1 do
        child:waitFor(" slot " .. i .. ": closed, the 3 lowest are kept\n")
      end
      child:waitFor "slot 0: stays\n"
      child:waitFor " +3  0 1 2\n"
      child:kill()
      assert.same({ 0, 0 }, { child:wait() })
      assert.matches("adopted=9 closed=6\n", child.stderr)
    end)

    it("tells when there are no servers", function()
      local child = demo()
      child:waitFor "No servers to contact"
      child:waitFor "  server +kept  slots\n\n"
      child:kill()
      assert.same({ 0, 0 }, { child:wait() })
    end)

    it("tells when a server is wrong", function()
      local server = support.serve { send = "no slot\r\n" }
      local child = demo(tostring(server.port))
      child:waitFor 'not a slot line: "no slot\\r\\n" %(EPROTO%)'
      server:close()
      child:kill()
      assert.same({ 0, 0 }, { child:wait() })
      local port = demo "70000"
      assert.same({ 1, 0 }, { port:wait() })
      assert.matches("demo.lua:%d+: .*port", port.stderr)
    end)
  end)

  describe("pool.lua", function()
    it("has workers share connections, and all of them answered", function()
      local child = shell(commands "pool.lua")
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      local answers, total = {}, 0
      for id, worker, n in child.stdout:gmatch(
          "(server [12]): WORKER (%d) ASKS (%d)\n") do
        answers[worker] = (answers[worker] or "") .. n
        total = total + 1
        assert.is_string(id)
      end
      for worker = 1, 6 do
        assert.equal("123", answers[tostring(worker)], child.output)
      end
      assert.equal(18, total)
      local size, idle = child.stdout:match(
        "\n(%d) connections, (%d) idle\n$")
      assert.equal(size, idle)
    end)
  end)

  describe("sidecar.lua", function()
    it("answers curl, which it makes wait for a connection", function()
      local port = support.freePorts(1)
      local child = shell(replace(commands "sidecar.lua", "8080",
        tostring(port)))
      for _ = 1, 6 do
        child:waitFor "server [123], which has %d connections\n"
      end
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.matches("\n6 clients, 6 of them joined\n$", child.stdout)
      assert.is_true(support.isFree(port))
    end)

    it("answers at a Unix socket, too", function()
      local path = support.tmpdir() .. "/door"
      local child = support.command({ "run", "examples/sidecar.lua", path },
        { cwd = support.ROOT })
      support.eventually(function() return uv.fs_stat(path) or child.code end)
      local curl = support.spawn("curl", { "-s", "--unix-socket", path,
        "http://fleet/" }, { env = { LD_PRELOAD = false } })
      assert.same({ 0, 0 }, { curl:wait() }, child.output)
      assert.matches("^server [123], which has %d connections\n$", curl.stdout)
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end)
  end)

  it("front.lua gives slots, and drains as long as there is a file", function()
    local far, port = support.serve(), support.freePorts(1)
    local file = support.tmpdir() .. "/drain"
    local script = replace(commands "front.lua", "/tmp/drain", file)
    script = replace(replace(script, "4040", tostring(port)), "5432",
      tostring(far.port))
    local child = shell(script, { run = "--log-format json" })
    logged(child, "policy loaded")
    -- Its weight depends on how busy this machine is.
    local client = support.connect(port)
    assert.matches("^[01]$", client:line())
    client:write "hello"
    support.run(function() return far.peers[1] end)
    far.peers[1]:take "^hello"
    far.peers[1]:write "welcome"
    client:take "^welcome"
    support.write(file, "")
    local told = logged(child, "draining")
    assert.same({ 1, 1 }, { told.accepted, told.running })
    client:waitEnd()
    client:close()
    assert(uv.fs_unlink(file))
    logged(child, "in use")
    client = support.connect(port)
    assert.matches("^[01]$", client:line())
    client:close()
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.matches("2 connections, 1 of them used\n$", child.stdout)
    assert.equal(0, #events(child, "policy error"))
  end)

  it("tls.lua makes certificates, and relay and front use them", function()
    local far = support.echo()
    local folder, port, door = support.tmpdir(), support.freePorts(2)
    local script = replace(commands "tls.lua", "examples/tls.lua",
      support.ROOT .. "/examples/tls.lua")
    script = replace(replace(replace(script, "4040", tostring(port)), "6379",
      tostring(far)), "6380", tostring(door))
    -- It says "-----".
    script = replace(script, '"$@";', '"$@" 2>/dev/null;')
    local child = shell("cd " .. folder .. "\n" .. script,
      { run = "--log-format json" })
    logged(child, "policy loaded", 2)
    local client = support.connect(door)
    client:write "hello"
    client:take "^hello"

    -- Another certificate is made, and both take it.
    local second = script:match "(new %-days 90.-:127%.0%.0%.1\n)"
    local again = support.spawn("sh", { "-ec", "cd " .. folder .. "\n"
      .. script:match "^[^\n]+\n" .. second }, { env = { LD_PRELOAD = false } })
    assert.same({ 0, 0 }, { again:wait() }, again.output)
    support.run(function()
      local reloads = {}
      for _, event in ipairs(events(child, "policy reloaded")) do
        reloads[#reloads + 1] = event.adopted
      end
      return #reloads >= 2
    end)
    client:write "still"
    client:take "^still"
    local other = support.connect(door)
    other:write "hello"
    other:take "^hello"
    client:close()
    other:close()
    for _, each in ipairs(support.processes(tostring(far))) do
      uv.kill(each.pid, "sigterm") -- the front
    end
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)

  describe("first_ten.lua", function()
    local function figure(child, name)
      return tonumber(child.stdout:match('"' .. name .. '": ([%d.]+)'))
    end

    it("leaves a restarted server empty, but for one line", function()
      local script = commands "first_ten.lua"
      local flags = { simulate = "--json --hosts 50 --servers 10 --for 400" }
      local child = shell(script, flags)
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.is_true(figure(child, "min") < 0.1, child.stdout)
      assert.is_true(figure(child, "worst") > 2, child.stdout)

      local mended = support.tmpfile(replace(examples.read "first_ten.lua",
        "-- socket =", "socket ="), "mended.lua")
      child = shell(replace(script, "examples/first_ten.lua", mended), flags)
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.is_true(figure(child, "min") > 0.9, child.stdout)
      assert.is_true(figure(child, "worst") < 1.2, child.stdout)
    end)
  end)

  it("fleet_test.lua tells a good policy from a bad one", function()
    local text = examples.read "first_ten.lua"
    local function test(policy)
      local child = shell(replace(commands "fleet_test.lua", "POLICY",
        support.tmpfile(policy)))
      local code = child:wait()
      return code, child.stderr
    end
    local code, err = test(text)
    assert.equal(1, code)
    assert.matches("fleet_test%.lua:%d+: assert%(fleet%.%l+ [<>][^\n]*%) "
      .. "%(%l+ is [%d.]+%)\n  failed at %d+ s, seed 1\n$", err)
    assert.same({ 0, "" }, { test(replace(text, "-- socket =", "socket =")) })
    assert.same({ 0, "" }, { test [[
      local r = require "callosum.rover".new {}
      for i, port in ipairs { ... } do
        r:addServer("s" .. i, { host = "localhost", port = tonumber(port) })
      end
      require "callosum.pool".new { maxSlots = 10 }:attach(r)
      r:start()
    ]] })
  end)

  it("is tested, fits a screen, and begins with what it is", function()
    local tested = ""
    for _, name in ipairs { "examples_spec", "embedding_spec", "readme_spec",
        "metrics_spec", "interop/example" } do
      tested = tested .. examples.read("../spec/" .. name .. ".lua")
    end
    local comment = { lua = "^%-%- %u", c = "^/%* %u", cpp = "^/%* %u",
      yml = "^# %u", cfg = "^# %u", conf = "^# %u", ini = "^; %u" }
    local scan = assert(uv.fs_scandir "examples")
    for name in uv.fs_scandir_next, scan do
      -- A policy may go with the configuration of a neighbour.
      local stem = name:match "^(.*)%.lua$"
      assert.is_truthy(tested:find(name, 1, true)
        or tested:find(('fleet("%s",'):format(stem), 1, true), name)
      local text = examples.read(name)
      local kind = name:match "%.(%w+)$"
      assert.matches(comment[kind], text)
      local _, lines = text:gsub("\n", "")
      assert.is_true(lines <= (kind == "lua" and 70 or 95), name)
    end
  end)
end)
