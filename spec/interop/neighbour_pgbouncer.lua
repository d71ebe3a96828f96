-- What callosum-neighbours(7) says of PgBouncer.

local neighbours = require "support.neighbours"
local postgres = require "support.postgres"
local real = require "support.real"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("PGBOUNCER", it)

-- Starts PgBouncer.
-- @param to the port of PostgreSQL, or of a relay before it
-- @param lines of its configuration
-- @return the child, with its `port`
local function bouncer(to, lines)
  local dir, port = real.dir(), support.freePorts(1)
  local child = real.serve(real.find("pgbouncer", "pgbouncer"), {
    support.write(dir .. "/pgbouncer.ini", ([[
[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
admin_users = app
pool_mode = transaction
%s]]):format(to, port, support.write(dir .. "/userlist.txt",
      '"app" "secret"\n'), lines)) })
  child.port = port
  real.reachable(child, port)
  return child
end

-- What its console answers.
local function ask(child, text)
  local asked = postgres.psql(child.port, "-d", "pgbouncer", "-c", text)
  assert.equal(0, (asked:wait()), asked.output)
  return asked.stdout
end

local VERSION = neighbours.output(real.find("pgbouncer", "pgbouncer"),
  "--version"):match "PgBouncer (%d+%.%d+)"

describe("PgBouncer", function()
  seen(VERSION)

  row("After a failed connection, it waits", function(example)
    local server = postgres.start((postgres.clusters(1)))
    local door = real.front(server.port)
    local port = support.freePorts(1)
    local child = bouncer(port, "")
    assert.matches("\nserver_login_retry|15|", ask(child, "SHOW CONFIG"))
    child:kill "sigkill"
    child:wait()
    child = bouncer(port, example "pgbouncer.ini")
    local client = postgres.psql(child.port, "-c", "SELECT 'answered'")
    child:waitFor "connect failed"
    local began = uv.hrtime()
    real.relay({ door.port }, nil, { listen = { port = port } })
    assert.equal(0, (client:wait()), client.output)
    assert.equal("answered\n", client.stdout)
    assert.is_true(uv.hrtime() - began < 8e9)
  end)

  row("It uses the connection that was used last", function(example)
    local one, two = postgres.clusters(2)
    local servers = { postgres.start(one), postgres.start(two) }
    local fronts = { real.front(servers[1].port), real.front(servers[2].port) }
    local relay = real.relay { fronts[1].port, fronts[2].port }
    local child = bouncer(relay.port, example "pgbouncer.ini")
    -- Until it has some to each.
    support.eventually(function()
      local clients = {}
      for i = 1, 4 do
        clients[i] = postgres.psql(child.port, "-c", "SELECT pg_sleep(0.3)")
      end
      for _, each in ipairs(clients) do each:wait() end
      return real.stats(fronts[1]).running > 0
        and real.stats(fronts[2]).running > 0
    end)
    local function used()
      local client = postgres.psql(child.port)
      client:write(("SELECT inet_server_port();\n"):rep(16)):write(nil)
      assert.equal(0, (client:wait()), client.output)
      local count, seenPorts = 0, {}
      for port in client.stdout:gmatch "%d+" do
        if not seenPorts[port] then count = count + 1 end
        seenPorts[port] = true
      end
      return count
    end
    assert.equal(2, used())
    ask(child, "SET server_round_robin = 0")
    assert.equal(1, used())
  end)

  row("It has room for 100 clients", function(example)
    local child = bouncer(support.closedPort(), "")
    assert.matches("\nmax_client_conn|100|", ask(child, "SHOW CONFIG"))
    child:kill "sigkill"
    child:wait()
    child = bouncer(support.closedPort(),
      example("pgbouncer.ini", { ["1000"] = 2 }))
    local ours = support.freePorts(1)
    local door = neighbours.command(example("command", {
      ["192.0.2.11:4040"] = "127.0.0.1:" .. ours,
      ["192.0.2.0/24"] = "127.0.0.1", ["6432"] = child.port,
      ["1000"] = 2 }))
    -- Two have come so far as to be asked who they are.
    local peers = {}
    local function startup(port)
      local peer = support.connect(port)
      if port == ours then peer:line() end
      local words = "user\0app\0database\0postgres\0\0"
      peer:write((">I4I4"):pack(8 + #words, 196608) .. words)
      support.run(function() return peer.received ~= "" end)
      return peer
    end
    for i = 1, 2 do
      peers[i] = startup(ours)
      assert.equal("R", peers[i].received:sub(1, 1))
    end
    -- One more is refused by PgBouncer, or gets no slot.
    peers[3] = startup(child.port)
    assert.matches("^E.*no more connections allowed", peers[3].received)
    peers[4] = support.connect(ours)
    assert.is_nil(peers[4]:waitEnd())
    assert.equal("", peers[4].received)
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(door)
  end)

  row("SIGTERM waits for its clients, since 1.23", function(example)
    local server = postgres.start((postgres.clusters(1)))
    local child = bouncer(server.port, "")
    local door, admin = support.freePorts(1), support.tmpdir() .. "/admin.sock"
    local front = neighbours.command(example("front", {
      ["192.0.2.11:4040"] = "127.0.0.1:" .. door, ["6432"] = child.port,
      ["192.0.2.0/24"] = "127.0.0.1", ["/run/callosum/db/admin.sock"] = admin,
    }))
    local function client(port)
      local psql = postgres.psql(port)
      psql:write "SELECT 'first';\n"
      psql:waitFor "first"
      return psql
    end
    local theirs, ours = client(child.port), client(real.relay({ door }).port)
    local drain = support.command(neighbours.arguments(example("drain", {
      ["/run/callosum/db/admin.sock"] = admin, ["30"] = "0.1" })))
    assert.equal(0, (drain:wait()), drain.output)
    support.eventually(function() return front.stats().open == 0 end)
    ours:write "SELECT 'second';\n"
    ours:waitFor "connection"
    child:kill()
    if tonumber(VERSION:match "%.(%d+)") < 23 then
      child:wait()
      theirs:write "SELECT 'second';\n"
      theirs:waitFor "connection"
      return
    end
    child:waitFor "SIGTERM"
    theirs:write "SELECT 'second';\n"
    theirs:waitFor "second"
    support.eventually(function() return support.isFree(child.port) end)
    assert.is_nil(child.code)
    theirs:write(nil)
    assert.equal(0, (child:wait()), child.output)
  end)

  complete()
end)
