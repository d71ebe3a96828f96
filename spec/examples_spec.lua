local support = require "support"
local uv = require "luv"

local events, logged = support.events, support.logged

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- The commands in the comment that an example begins with, as a shell script.
local function commands(name)
  local lines = {}
  for line in read("examples/" .. name):gmatch "([^\n]*)\n" do
    if not line:find "^%-%-" then break end
    lines[#lines + 1] = line:match "^%-%-   +(.*)"
  end
  return table.concat(lines, "\n") .. "\n"
end

-- Replaces every occurrence of a text in another by a third.
local function replace(text, what, by)
  local count
  text, count = text:gsub(what:gsub("%p", "%%%0"), (by:gsub("%%", "%%%%")))
  assert.is_true(count > 0, what)
  return text
end

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
      local text = read "examples/keep_lowest.lua"
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
      local text = read "examples/keep_lowest.lua"
      local at = 1
      for _, part in ipairs { 'require "callosum.rover"', "rovingInterval",
          "localhost:4040", "localhost:4041", 'on("error"', 'on("unreachable"',
          'on("connection"', ":start()", 'addServer("localhost:4042"',
          'dropServer("localhost:4042"' } do
        at = assert(text:find(part, at, true), part)
      end
    end)
  end)

  describe("servers_from_file.lua", function()
    -- Runs it as its comment says, with files and ports of our own, or a copy
    -- that is watched; returns the child, the file and the ports.
    local function start(copy)
      local path = support.tmpdir() .. "/servers"
      local one, two = support.freePorts(2)
      local script = commands "servers_from_file.lua"
      script = replace(script, "/tmp/servers", path)
      script = replace(script, "4040", tostring(one))
      script = replace(script, "4041", tostring(two))
      if copy then
        script = replace(script, "examples/servers_from_file.lua", copy)
      end
      return shell(script, {
        run = (copy and "--watch " or "") .. "--log-format json",
        serve = "--log-format json",
      }), path, one, two
    end

    -- Waits until the servers were set once more, and checks what changed.
    local sets = 0
    local function waitSet(child, added, dropped, changed)
      sets = sets + 1
      local event = logged(child, "servers", sets)
      assert.same({ added, dropped, changed },
        { event.added, event.dropped, event.changed }, child.output)
    end
    before_each(function() sets = 0 end)

    -- Waits for a connection to that server.
    local function waitConnection(child, id)
      support.eventually(function()
        for _, event in ipairs(events(child, "connection")) do
          if event.id == id then return true end
        end
        return child.code
      end)
      assert.is_nil(child.code, child.output)
    end

    -- Waits until it has said why the servers stay, and checks that they do.
    local complaints = 0
    local function waitComplaint(child, pattern)
      complaints = complaints + 1
      local event = logged(child, "servers stay as they are", complaints)
      assert.matches(pattern, event.error)
      assert.equal(sets, #events(child, "servers"), child.output)
    end
    before_each(function() complaints = 0 end)

    local function finish(child)
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal(0, #events(child, "policy error"), child.output)
      assert.equal(sets, #events(child, "servers"), child.output)
      assert.equal(complaints, #events(child, "servers stay as they are"),
        child.output)
    end

    it("connects to the servers in the file", function()
      local child = start()
      waitSet(child, 2, 0, 0)
      waitConnection(child, "one")
      waitConnection(child, "two")
      assert.equal(0, #events(child, "error"), child.output)
      finish(child)
    end)

    it("follows the file when it is rewritten", function()
      local child, path, one, two = start()
      waitSet(child, 2, 0, 0)
      support.write(path, ("three localhost %d\n"):format(one))
      waitSet(child, 1, 2, 0)
      waitConnection(child, "three")
      support.write(path, ("  \nthree 127.0.0.1 %d\n\nfour localhost %d\n")
        :format(one, two))
      waitSet(child, 1, 0, 1)
      waitConnection(child, "four")
      finish(child)
    end)

    it("follows the file when it is replaced, removed and made again",
        function()
      local child, path, one = start()
      waitSet(child, 2, 0, 0)
      support.write(path .. ".new", ("three localhost %d\n"):format(one))
      assert(uv.fs_rename(path .. ".new", path))
      waitSet(child, 1, 2, 0)
      assert(uv.fs_unlink(path))
      waitComplaint(child, "No such file")
      support.write(path, ("three localhost %d\nfour localhost %d\n")
        :format(one, one))
      waitSet(child, 1, 0, 0)
      finish(child)
    end)

    it("believes no file that is empty, cut off or wrong", function()
      local child, path, one, two = start()
      waitSet(child, 2, 0, 0)
      local line = ("one localhost %d\n"):format(one)
      for _, case in ipairs {
        { "", "no servers" }, { "\n \n", "no servers" },
        { line .. ("two localhost %d"):format(two), "two localhost" },
        { line .. "two loc", "two loc" }, { "what is this\n", "what is this" },
        { ("\0"):rep(4096), "id host port" },
        { line .. line, "one more of that id" },
        { line .. "five localhost 70000\n", "'five': port" },
        { line .. ("x"):rep(300) .. " localhost 1\n", "server id" },
      } do
        support.write(path, case[1])
        waitComplaint(child, case[2])
      end
      support.write(path, line)
      waitSet(child, 0, 1, 0)
      finish(child)
    end)

    it("believes no file that is being written", function()
      local child, path, one, two = start()
      waitSet(child, 2, 0, 0)
      local whole = ("one localhost %d\ntwo localhost %d\n"):format(one, two)
      -- Writes line by line what without its end would have servers dropped;
      -- returns false if the file was set before.
      local function write()
        local file, lines = assert(io.open(path, "w")), 0
        local timer = uv.new_timer()
        timer:start(0, 20, function()
          lines = lines + 1
          file:write(("s%d localhost %d\n"):format(lines, one)):flush()
        end)
        support.eventually(function() return lines == 40 end)
        timer:close()
        file:write(whole)
        file:close()
        local event = logged(child, "servers", sets + 1)
        return event.added == 40 and event.dropped == 0
      end
      -- This machine may have better to do than to write every 20 ms.
      for _ = 1, 5 do
        if write() then break end
        support.write(path, whole)
        support.eventually(function()
          sets = #events(child, "servers")
          return events(child, "servers")[sets].dropped >= 40
        end)
      end
      waitSet(child, 40, 0, 0)
      finish(child)
    end)

    it("keeps its servers in a reload while the file is incomplete", function()
      local policy = read "examples/servers_from_file.lua"
      local copy = support.tmpfile(policy)
      local child, path, one, two = start(copy)
      waitSet(child, 2, 0, 0)
      local line = ("one localhost %d\n"):format(one)
      support.write(path, line .. ("three localhost %d\n"):format(two))
      waitSet(child, 1, 1, 0)
      support.write(path, line .. "thr")
      support.write(copy, policy .. "-- changed\n")
      logged(child, "policy reloaded")
      support.write(path, line .. ("three localhost %d\nfour localhost %d\n")
        :format(two, two))
      waitSet(child, 1, 0, 0)
      complaints = #events(child, "servers stay as they are")
      assert.is_true(complaints > 0)
      finish(child)
    end)

    it("asks for the file when none is given", function()
      local child = support.command({ "run", "examples/servers_from_file.lua" },
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
      local script = read "examples/demo.lua"
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

      local mended = support.tmpfile(replace(read "examples/first_ten.lua",
        "-- socket =", "socket ="), "mended.lua")
      child = shell(replace(script, "examples/first_ten.lua", mended), flags)
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.is_true(figure(child, "min") > 0.9, child.stdout)
      assert.is_true(figure(child, "worst") < 1.2, child.stdout)
    end)
  end)

  it("fleet_test.lua tells a good policy from a bad one", function()
    local text = read "examples/first_ten.lua"
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
    local tested = read "spec/examples_spec.lua"
      .. read "spec/embedding_spec.lua" .. read "spec/readme_spec.lua"
      .. read "spec/interop/example.lua"
    local scan = assert(uv.fs_scandir "examples")
    for name in uv.fs_scandir_next, scan do
      assert.is_truthy(tested:find(name, 1, true), name)
      local text = read("examples/" .. name)
      local isLua = name:find "%.lua$"
      assert.matches(isLua and "^%-%- %u" or "^/%* %u", text)
      local _, lines = text:gsub("\n", "")
      assert.is_true(lines <= (isLua and 70 or 95), name)
    end
  end)
end)
