local assert = require "luassert"
local fronts = require "support.fronts"
local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local events, logged, run = support.events, support.logged, support.run
local slot = fronts.slot

local UNUSED = "closed a socket that was passed: nothing is to listen on it"

-- A socket, to be passed and closed before the loop runs, as we would accept
-- connections ourselves. luv removes the file of a Unix socket.
local function passable(handle, path)
  local descriptor = assert(handle:fileno())
  local function close()
    if path then uv.fs_rename(path, path .. ".aside") end
    handle:close()
    if path then uv.fs_rename(path .. ".aside", path) end
  end
  return { descriptor = descriptor, close = close }
end

local function listener(host, port)
  local handle = port and uv.new_tcp() or uv.new_pipe(false)
  assert(handle:bind(host, port))
  assert(handle:listen(128, function() end))
  return passable(handle, not port and host or nil),
    port and handle:getsockname().port
end

-- Starts the command as systemd does, and closes the sockets. LISTEN_PID is
-- whose they are ("$$").
local function start(args, names, passed, pid)
  local descriptors = {}
  for i, each in ipairs(passed) do descriptors[i] = each.descriptor end
  local child = support.spawn("sh", { "-c",
    ('export LISTEN_PID=%s; exec "$0" "$@"'):format(pid or "$$"),
    support.EXECUTABLE, table.unpack(args) },
    { passed = descriptors, env = { LD_PRELOAD = false,
      LISTEN_FDS = tostring(#passed), LISTEN_FDNAMES = names or false } })
  for _, each in ipairs(passed) do each.close() end
  return child
end

local function policy(script, names, passed, pid)
  local path = support.tmpfile([[
    host, front = require "callosum.host", require "callosum.front"
    relay = require "callosum.relay"
    ]] .. script)
  local child = start({ "run", "--log-format", "json", "--load-budget",
    "30000", path }, names, passed, pid)
  child.path = path
  return child
end

local function fails(child)
  local told = logged(child, "cannot load policy").error
  assert.same({ 1, 0 }, { child:wait() })
  return told
end

describe("sockets that are passed", function()
  it("are listened on by whoever has their fdName", function()
    local web, port = listener("127.0.0.1", 0)
    local path = support.tmpdir() .. "/admin.sock"
    local admin = listener(path)
    local early = fronts.connect(port) -- before anything accepts
    local child = policy([[
      local r = relay.new { listen = { fdName = "admin" },
        pick = function() end }
      local f = front.new { listen = { fdName = "web" },
        backend = { port = 1 } }
      host.log.info("staged", { front = tostring(f), relay = tostring(r),
        address = f:address() })
      require "luv".new_timer():start(0, 0, function()
        host.log.info("listens", { front = tostring(f), relay = tostring(r) })
      end)
    ]], "web:admin", { web, admin })
    local told = logged(child, "listens")
    assert.equal(("front 'main' (127.0.0.1:%d)"):format(port), told.front)
    assert.equal(("relay 'main' (%s)"):format(path), told.relay)
    told = events(child, "staged")[1]
    assert.same({ "front 'main' (the socket 'web')",
      "relay 'main' (the socket 'admin')" }, { told.front, told.relay })
    assert.is_nil(told.address)
    assert.equal("0", early:line())
    local given, peer = slot(port)
    assert.equal(1, given)
    fronts.connect(path):close()
    assert.same({}, events(child, UNUSED))
    early:close()
    peer:close()
    support.stop(child)
    assert.is_truthy(uv.fs_stat(path)) -- it is systemd's
  end)

  it("are listened on by whoever is to listen at their address", function()
    local web, port = listener("0.0.0.0", 0)
    local path = support.tmpdir() .. "/own.sock"
    local own = listener(path)
    local child = policy(([[
      relay.new { listen = { path = %q }, pick = function() end }
      front.new { listen = { host = "0.0.0.0", port = %d }, public = true,
        backend = { port = 1 } }
    ]]):format(path:gsub("/own", "/./own"), port), nil, { web, own })
    local given, peer = slot(port)
    assert.equal(0, given)
    peer:close()
    fronts.connect(path):close()
    assert.same({}, events(child, UNUSED))
    support.stop(child)
    assert.is_truthy(uv.fs_stat(path))
  end)

  it("are closed if nothing is to listen on them", function()
    local web, port = listener("127.0.0.1", 0)
    local other, otherPort = listener("127.0.0.1", 0)
    local udp = uv.new_udp()
    udp:bind("127.0.0.1", 0)
    local udpPort = udp:getsockname().port
    local child = policy(("front.new { listen = { port = %d }, backend = "
      .. "{ port = 1 } }"):format(port), "a:b:c", { web, other, passable(udp) })
    logged(child, "policy loaded")
    local told = logged(child, UNUSED, 2)
    assert.same({ "c", ("datagrams of 127.0.0.1:%d"):format(udpPort), 5,
      "warn" },
      { told.fdName, told.socket, told.descriptor, told.level })
    told = logged(child, UNUSED)
    assert.same({ "b", "127.0.0.1:" .. otherPort, 4 },
      { told.fdName, told.socket, told.descriptor })
    local peer = fronts.connect(otherPort)
    assert.equal("ECONNREFUSED", peer:waitEnd())
    assert.equal(0, (slot(port)))
  end)

  it("are not for children", function()
    local web = listener("127.0.0.1", 0)
    local child = policy([[
      front.new { listen = { fdName = "web" }, backend = { port = 1 } }
      local pipe = io.popen "env; ls -l /proc/self/fd"
      print(pipe:read "a")
      host.stop()
    ]], "web", { web })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.matches("PATH=", child.stdout)
    assert.not_matches("LISTEN", child.stdout)
    assert.not_matches(" [3-9] %-> socket", child.stdout)
  end)

  it("are not taken if they are another process's", function()
    local child = policy("front.new { listen = { fdName = 'web' }, backend = "
      .. "{ port = 1 } }", "web", { (listener("127.0.0.1", 0)) }, "1")
    assert.matches("front 'main': cannot listen on the socket 'web': no socket "
      .. "of that name was passed to this process: start it by a systemd "
      .. "socket unit with that FileDescriptorName=", fails(child), 1, true)
  end)

  it("are refused if they are of the wrong kind", function()
    local function why(descriptor)
      return fails(policy("relay.new { listen = { fdName = 'web' }, pick = "
        .. "print } front.new { listen = { port = 0 }, backend = { port = 1 } "
        .. "}", "web", { descriptor })):match "the socket 'web': (.*)"
    end
    local udp = uv.new_udp()
    udp:bind("127.0.0.1", 0)
    assert.equal("it is no stream socket: say ListenStream= in its unit",
      why(passable(udp)))
    local connection = uv.new_tcp()
    local other, port = listener("127.0.0.1", 0)
    connection:connect("127.0.0.1", port)
    assert.equal("it does not listen: say Accept=no in its unit",
      why(passable(connection)))
    other.close()
    local file = uv.fs_open("/dev/null", "r", 0)
    assert.equal("it is no socket: say ListenStream= in its unit", why {
      descriptor = file, close = function() uv.fs_close(file) end })
  end)

  it("are refused where other machines can connect, unless they may", function()
    local web, port = listener("0.0.0.0", 0)
    local other = listener("0.0.0.0", 0)
    local script = "front.new { listen = { fdName = 'web' }, backend = "
      .. "{ port = 1 }, %s }"
    local what = "other machines can connect there, and the backend would "
      .. "take them for this one: say who may in 'allow' or, by their "
      .. "certificates, in 'tls', or 'public = true'"
    assert.matches(what, fails(policy(script:format "", "web", { other })), 1,
      true)
    local child = policy(script:format "allow = { '127.0.0.1' }", "web",
      { web })
    assert.equal(0, (slot(port)))
    local head = "front = require 'callosum.front' "
    reloads.edit(child, head .. script:format "")
    child:kill "sighup"
    local told = logged(child, "reload failed, the old policy goes on")
    assert.matches(what, told.error, 1, true)
    reloads.reload(child, head .. script:format "public = true")
    assert.equal(1, (slot(port)))
  end)

  it("are named where another is asked for", function()
    local web, db = listener("127.0.0.1", 0), listener("127.0.0.1", 0)
    assert.matches("that FileDescriptorName=; passed were 'web', 'db%.socket'$",
      fails(policy("front.new { listen = { fdName = 'db' }, "
        .. "backend = { port = 1 } }", "web:db.socket", { web, db })))
  end)

  it("stay over reloads, under their name and their address", function()
    local web, port = listener("127.0.0.1", 0)
    local child = policy([[
      front.new { listen = { fdName = 'web' }, backend = { port = 1 } }
    ]], "web", { web })
    assert.equal(0, (slot(port)))
    local head = "front = require 'callosum.front' "
    reloads.reload(child)
    assert.equal(1, (slot(port)))
    reloads.reload(child, head .. ("front.new { listen = { port = %d }, "
      .. "backend = { port = 1 } }"):format(port))
    assert.equal(2, (slot(port)))
    reloads.reload(child, head .. "front.new { name = 'b', backend = "
      .. "{ port = 1 }, listen = { port = 0 } }")
    assert.matches("no socket of that name", reloads.fails(child, head
      .. "front.new { listen = { fdName = 'web' }, backend = { port = 1 } }")
      .error)
  end)

  it("have a number and a place of their own, or the command ends", function()
    local function ends(count, message)
      local child = support.command({ "run", "/nowhere" },
        { env = { LISTEN_FDS = count } })
      assert.same({ 1, 0 }, { child:wait() })
      assert.not_matches("LISTEN_FDS", child.stderr) -- no LISTEN_PID
      child = support.spawn("sh", { "-c", 'LISTEN_FDS="$1" LISTEN_PID=$$; '
        .. 'export LISTEN_FDS LISTEN_PID; exec "$0" run /nowhere',
        support.EXECUTABLE, count }, { env = { LD_PRELOAD = false } })
      assert.same({ 1, 0 }, { child:wait() })
      assert.matches(message, child.stderr, 1, true)
    end
    ends("x", "LISTEN_FDS is 'x', but that is no number of descriptors: start")
    ends("-1", "LISTEN_FDS is '-1', but that is no number")
    ends("9000", "LISTEN_FDS is '9000', but descriptor ")
  end)

  it("are for `callosum-rover front`, too", function()
    local web, port = listener("127.0.0.1", 0)
    local server = support.serve()
    local child = start({ "front", "--log-format", "json", "fd:web",
      tostring(server.port) }, "web", { web })
    assert.equal(port, logged(child, "listening").port)
    fronts.pair(port, server)
    web, port = listener("127.0.0.1", 0)
    child = start({ "front", "--log-format", "json", "127.0.0.1:" .. port,
      tostring(server.port) }, nil, { web })
    assert.equal(port, logged(child, "listening").port)
  end)

  it("come from systemd's own launcher, if there is one", function()
    local port = support.freePorts(1)
    local child = support.spawn("sh", { "-c", [[
      command -v systemd-socket-activate >/dev/null || exit 77
      exec systemd-socket-activate --fdname=web -l "127.0.0.1:$1" "$0" front \
        fd:web 1]], support.EXECUTABLE, tostring(port) },
      { env = { LD_PRELOAD = false } })
    run(function()
      return child.code or child.stderr:find "Listening on"
    end)
    if child.code == 77 then return pending "no systemd-socket-activate" end
    local given, peer = slot(port)
    assert.equal(0, given)
    peer:close()
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)
end)

describe("fdName", function()
  it("is all that there is in listen, and known to check", function()
    local function check(listen)
      local path = support.tmpfile("require 'callosum.front'.new { backend = "
        .. "{ port = 1 }, listen = " .. listen .. " }")
      local child = support.command { "check", path }
      child:wait()
      return child
    end
    assert.equal("front 'main': the socket 'web' before 127.0.0.1:1, weight 1, "
      .. "at most 1000 clients\n", check("{ fdName = 'web' }").stdout)
    assert.matches("listen: fdName alone is enough",
      check("{ fdName = 'web', port = 1 }").stderr)
    assert.matches("listen: fdName: string of 1 to 255 bytes expected, got "
      .. "number", check("{ fdName = 5 }").stderr)
    assert.matches("valid are host, port, path, mode, fdName",
      check("{ zzz = 5 }").stderr)
  end)
end)
