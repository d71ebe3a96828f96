local support = require "support"
local uv = require "luv"

local command, connect = support.command, support.connect
local events = support.events

-- Starts serve with logs in JSON.
local function serve(...)
  return command { "serve", "--log-format", "json", ... }
end

-- The ports it has told that it listens on, once there are so many.
local function ports(child, count)
  support.logged(child, "listening", count)
  local list = {}
  for i, event in ipairs(events(child, "listening")) do list[i] = event.port end
  return table.unpack(list)
end

-- Waits for its end, in order or as told.
local function ends(child, code)
  assert.same({ code, 0 }, { child:wait() }, child.output)
  events(child)
  return child
end

describe("callosum-rover serve", function()
  it("listens on every port it is given", function()
    local one, two = support.freePorts(2)
    local child = serve(one, two)
    assert.same({ one, two }, { ports(child, 2) })
    for _, port in ipairs { one, two } do
      assert.equal("0", connect(port):line())
    end
    assert.equal("127.0.0.1", events(child, "listening")[1].host)
    assert.equal("", child.stdout)
    support.stop(child)
    assert.is_true(support.isFree(one) and support.isFree(two))
  end)

  it("tells which port it got for port 0", function()
    local child = serve("0", "0")
    local one, two = ports(child, 2)
    assert.is_true(one > 0 and two > 0 and one ~= two)
    assert.equal("0", connect(one):line())
    assert.equal("0", connect(two):line())
    support.stop(child)
  end)

  it("listens on the address of --host", function()
    local port = support.freePorts(1)
    local child = serve("--host", "::1", port)
    assert.equal(port, ports(child, 1))
    assert.equal("::1", events(child, "listening")[1].host)
    assert.equal("0", connect(port, "::1"):line())
    local other = connect(port)
    other:waitEnd()
    assert.equal("ECONNREFUSED", other.err)
    support.stop(child)
  end)

  it("gives the lowest free slot, and takes it back", function()
    local child = serve("0", "0")
    local port, other = ports(child, 2)
    local clients = {}
    for slot = 0, 4 do
      clients[slot] = connect(port)
      assert.equal(tostring(slot), clients[slot]:line())
    end
    assert.equal("0", connect(other):line())
    for _, slot in ipairs { 3, 1 } do
      clients[slot]:shutdown()
      assert.is_nil(clients[slot]:waitEnd())
    end
    assert.equal("1", connect(port):line())
    assert.equal("3", connect(port):line())
    assert.equal("5", connect(port):line())
    support.stop(child)
  end)

  it("gives slots by its weight", function()
    local child = serve("--weight", "0.5", "0", "0")
    for _, port in ipairs { ports(child, 2) } do
      for _, slot in ipairs { "1", "3", "5" } do
        assert.equal(slot, connect(port):line())
      end
    end
    support.stop(child)
    for _, wrong in ipairs { "0", "257", "x", "" } do
      local refused = serve("--weight", wrong, "0")
      assert.equal(2, refused:wait())
      assert.matches("--weight wants a number from 1/256 to 256, not '"
        .. wrong .. "'", refused.stderr, 1, true)
    end
  end)

  it("sends back what clients send", function()
    local child = serve("0")
    local client = connect((ports(child, 1)))
    assert.equal("0", client:line())
    local sent = ("x\0y\r\n"):rep(200000)
    client:write(sent, function() client:shutdown() end)
    assert.is_nil(client:waitEnd())
    assert.is_true(sent == client.received)
    support.stop(child)
  end)

  it("closes a connection whose client sends and does not read", function()
    local child = serve("0")
    local client = connect((ports(child, 1)))
    assert.equal("0", client:line())
    client.handle:read_stop()
    local chunk, refused = ("x"):rep(1024 * 1024), false
    local function send(err)
      refused = err
      if not err then client.handle:write(chunk, send) end
    end
    send()
    support.run(function() return refused end)
    assert.equal(0, support.logged(child,
      "closing a connection whose client sends and does not read").slot)
    assert.equal("0", connect((ports(child, 1))):line())
    support.stop(child)
  end)

  it("closes one if many leave too much unread, and loses no byte of others",
    function()
      local child = serve("0")
      local chunk = ("0123456789abcdef"):rep(65536)
      local twice = chunk .. chunk
      local clients, left, whole = {}, 8, 0
      for i = 1, left do
        local client = connect((ports(child, 1)))
        client.handle:recv_buffer_size(65536)
        clients[i] = client
        client:line()
        client.handle:read_stop()
        local sent = 0
        local function send(err)
          if err or sent == 15 then
            left = left - 1
          else
            sent = sent + 1
            client.handle:write(chunk, send)
          end
        end
        send()
      end
      support.run(function() return left == 0 end)
      support.logged(child,
        "closing a connection whose client sends and does not read")
      for _, client in ipairs(clients) do
        local at, over = 0, false
        client.handle:read_start(function(err, data)
          over = err or not data
          if over then return end
          local from = at % #chunk + 1
          assert(data == twice:sub(from, from + #data - 1))
          at = at + #data
        end)
        client.handle:shutdown()
        support.run(function() return over end)
        whole = whole + at // (15 * #chunk)
      end
      assert.is_true(whole > 0 and whole < #clients, whole)
      assert.equal(0, #support.events(child, "policy error"))
      support.stop(child)
    end)

  it("has clients wait while it is out of descriptors, and says so", function()
    local child = support.spawn("sh", { "-c", 'ulimit -n 40; exec "$0" "$@"',
      support.EXECUTABLE, "serve", "--log-format", "json", "0" })
    local port, clients = ports(child, 1), {}
    for i = 1, 60 do clients[i] = connect(port) end
    local event = support.logged(child, ("cannot accept a connection on "
      .. "127.0.0.1:%d: too many open files, so clients wait (EMFILE)")
      :format(port))
    assert.equal("EMFILE", event.code)
    -- Each is served in its turn, as those before it leave.
    for _, client in ipairs(clients) do
      assert.matches("^%d+$", client:line())
      client:close()
    end
    support.stop(child)
  end)

  it("logs connections at level debug", function()
    local child = command { "serve", "--log-format", "json", "--log-level",
      "debug", "0" }
    local port = ports(child, 1)
    connect(port):close()
    for _, message in ipairs { "connection", "closed" } do
      local event = support.logged(child, message)
      assert.same({ "debug", port, 0 }, { event.level, event.port, event.slot })
    end
    support.stop(child)
  end)

  it("exits with 1 for a port that is taken, and names it", function()
    local taken = support.serve().port
    local child = ends(serve("0", tostring(taken)), 1)
    local list = {}
    for _, event in ipairs(events(child)) do
      if event.level == "error" then list[#list + 1] = event end
    end
    assert.equal(1, #list)
    assert.matches("cannot listen on 127.0.0.1:" .. taken
      .. ": address already in use", list[1].message)
    assert.is_nil(list[1].traceback)
    assert.same({}, events(child, "policy loaded")) -- its script is no policy
    assert.equal("", child.stdout)
    -- What it had opened before is closed.
    assert.is_true(support.isFree(events(child, "listening")[1].port))
  end)

  it("exits with 1 for an address that is none of ours", function()
    local child = ends(serve("--host", "192.0.2.1", "0"), 1)
    assert.matches('cannot listen on 192.0.2.1:0', child.stderr)
  end)

  it("exits with 1 for an address that is none", function()
    for _, host in ipairs { "", "no address" } do
      local child = ends(serve("--host", host, "0"), 1)
      assert.matches('"level":"error"', child.stderr)
      assert.is_falsy(child.stderr:find("traceback", 1, true), child.stderr)
    end
  end)

  it("ends with 0 on SIGTERM and SIGINT", function()
    for _, signal in ipairs { "sigterm", "sigint" } do
      local child = serve("0")
      local client = connect((ports(child, 1)))
      assert.equal("0", client:line())
      support.stop(child, signal)
      assert.is_nil(client:waitEnd())
      assert.equal(signal:upper(), events(child, "stopping")[1].signal)
    end
  end)

  describe("with a command", function()
    -- Starts serve with a shell script as its command; more arguments are the
    -- script's.
    local function with(script, ...)
      return serve("0", "0", "--", "sh", "-c", script, "sh", ...)
    end

    it("runs it once all ports listen, and ends with it", function()
      local one, two = support.freePorts(2)
      local child = ends(serve(one, two, "--", support.EXECUTABLE, "run",
        "--log-format", "json", support.tmpfile [[
          local host = require "callosum.host"
          local r = require "callosum.rover".new { rovingInterval = 10 }
          for _, port in ipairs(host.args) do
            r:addServer(port, { host = "127.0.0.1", port = tonumber(port) })
          end
          local seen, count = {}, 0
          r:on("unreachable", function(_, _, err) error(err) end)
          r:on("connection", function(slot, _, id)
            if slot == 0 then
              assert(not seen[id])
              seen[id] = true
              count = count + 1
              if count == 2 then print "seen" host.stop(9) end
            end
          end)
          r:start()
        ]], one, two), 9)
      assert.equal("seen\n", child.stdout)
      assert.equal(2, #events(child, "listening"))
      for _, event in ipairs(events(child)) do
        assert.equal("info", event.level)
      end
      assert.is_true(support.isFree(one) and support.isFree(two))
    end)

    it("says that the servers do not stand in front of it", function()
      local child = ends(serve("0", "--", "true"), 0)
      local event = events(child, "running the command; the servers echo, "
        .. "and forward nothing to it")[1]
      assert.same({ "info", "true" }, { event.level, event.command })
      local help = command { "--help" }
      help:wait()
      assert.matches("with a COMMAND, to which they%s+forward nothing",
        help.stdout)
    end)

    it("passes its arguments, its exit code and its standard streams",
        function()
      for code = 0, 255, 85 do
        local child = with("cat; echo \"$#$1$2$3\" >&2; exit $1", code,
          "--help", "a b")
        child:write("typed\n"):write()
        assert.same({ code, 0 }, { child:wait() })
        assert.equal("typed\n", child.stdout)
        assert.matches("\n3" .. code .. "%-%-helpa b\n", child.stderr)
      end
    end)

    it("finds it in PATH", function()
      ends(serve("0", "--", "true"), 0)
      ends(serve("0", "--", "false"), 1)
    end)

    it("exits with 128 and the number of the signal that killed it",
        function()
      for signal, number in pairs { KILL = 9, TERM = 15, HUP = 1 } do
        local child = ends(with("kill -" .. signal .. " $$"), 128 + number)
        local event = events(child, "command killed")[1]
        assert.same({ "sh", number }, { event.command, event.signal })
      end
    end)

    it("exits with 1 when there is no such command", function()
      for _, name in ipairs { "no-such-command", "/no/such/command", "/",
          support.tmpfile "" } do
        local child = serve("0", "--", name)
        local port = ports(child, 1)
        ends(child, 1)
        local list = events(child)
        local event
        for _, each in ipairs(list) do
          if each.level == "error" then
            assert.is_nil(event)
            event = each
          end
        end
        assert.equal("cannot start " .. name .. ": ",
          event.message:sub(1, #name + 15))
        assert.matches("%u+%)$", event.message)
        assert.is_nil(event.traceback)
        assert.is_true(support.isFree(port))
      end
    end)

    it("does not run it when a port is taken", function()
      local taken = support.serve().port
      local child = ends(serve("0", tostring(taken), "--", "sh", "-c",
        "echo ran"), 1)
      assert.equal("", child.stdout)
    end)

    it("passes SIGTERM on, and waits for it to end", function()
      local child = with([[
        trap 'echo ending; exec 2>&1; echo $(kill -0 $PPID && echo there)
          exit 5' TERM
        echo ready
        while :; do sleep 0.02; done
      ]])
      child:waitFor "ready\n"
      child:kill "sigterm"
      ends(child, 5)
      assert.equal("ready\nending\nthere\n", child.stdout)
    end)

    it("ends it on SIGHUP too, for the terminal is gone", function()
      local child = with([[
        trap 'exit 6' TERM HUP
        echo ready
        while :; do sleep 0.02; done
      ]])
      child:waitFor "ready\n"
      child:kill "sighup"
      ends(child, 6)
    end)

    it("leaves SIGINT, which a terminal sends to both, to it", function()
      local child = with([[
        trap 'echo interrupted; exit 7' INT
        echo ready
        while :; do sleep 0.02; done
      ]])
      child:waitFor "ready\n"
      local client = connect((ports(child, 1)))
      assert.equal("0", client:line())
      child:kill "sigint"
      -- Sent to us alone, it changes nothing.
      assert.equal("1", connect((ports(child, 1))):line())
      uv.kill(-child.pid, "sigint")
      ends(child, 7)
      assert.equal("ready\ninterrupted\n", child.stdout)
    end)

    it("ends when it does, whatever the clients do", function()
      local child = with("echo ready; read line; exit 3")
      child:waitFor "ready\n"
      local client = connect((ports(child, 1)))
      assert.equal("0", client:line())
      child:write "go\n"
      ends(child, 3)
      assert.is_nil(client:waitEnd())
    end)
  end)
end)
