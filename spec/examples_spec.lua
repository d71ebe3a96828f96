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
    -- Runs it as its comment says, with files and ports of our own; returns
    -- the child, the file and the ports.
    local function start()
      local path = support.tmpdir() .. "/servers"
      local one, two = support.freePorts(2)
      local script = commands "servers_from_file.lua"
      script = replace(script, "/tmp/servers", path)
      script = replace(script, "4040", tostring(one))
      script = replace(script, "4041", tostring(two))
      return shell(script, { run = "--log-format json",
        serve = "--log-format json" }), path, one, two
    end

    -- Tells whether something was logged about an id.
    local function told(child, message, id, n)
      local count = 0
      for _, event in ipairs(events(child, message)) do
        if event.id == id then count = count + 1 end
      end
      return count >= (n or 1)
    end

    local function waitTold(child, ...)
      local what = { ... }
      support.eventually(function()
        return told(child, table.unpack(what)) or child.code
      end)
      assert.is_nil(child.code, child.output)
    end

    local function finish(child)
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.equal(0, #events(child, "policy error"), child.output)
    end

    it("connects to the servers in the file", function()
      local child = start()
      waitTold(child, "added", "one")
      waitTold(child, "added", "two")
      logged(child, "connection", 2)
      for _, event in ipairs(events(child, "connection")) do
        assert.is_true(event.id == "one" or event.id == "two")
      end
      finish(child)
    end)

    it("follows the file when it is rewritten", function()
      local child, path, one, two = start()
      waitTold(child, "added", "two")
      support.write(path, ("three localhost %d\n"):format(one))
      waitTold(child, "added", "three")
      waitTold(child, "dropped", "one")
      waitTold(child, "dropped", "two")
      waitTold(child, "connection", "three")
      support.write(path, ("  \nwhat is this\nfour localhost %d\n"
        .. "five localhost 70000\n"):format(two))
      waitTold(child, "added", "four")
      waitTold(child, "dropped", "three")
      assert.equal("what is this", logged(child, "not 'id host port'").line)
      assert.matches("port", logged(child, "wrong server").error)
      finish(child)
    end)

    it("follows the file when it is replaced, removed and made again",
        function()
      local child, path, one = start()
      waitTold(child, "added", "two")
      support.write(path .. ".new", ("three localhost %d\n"):format(one))
      assert(uv.fs_rename(path .. ".new", path))
      waitTold(child, "added", "three")
      waitTold(child, "dropped", "two")
      assert(uv.fs_unlink(path))
      assert.matches("No such file",
        logged(child, "cannot read servers").error)
      support.write(path, ("three localhost %d\nfour localhost %d\n")
        :format(one, one))
      waitTold(child, "added", "four")
      finish(child)
    end)

    it("asks for the file when none is given", function()
      local child = support.command({ "run", "examples/servers_from_file.lua" },
        { cwd = support.ROOT })
      assert.same({ 1, 0 }, { child:wait() })
      assert.matches("which file%?", child.stderr)
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

  it("is tested, fits a screen, and begins with what it is", function()
    local tested = read "spec/examples_spec.lua"
      .. read "spec/embedding_spec.lua"
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
