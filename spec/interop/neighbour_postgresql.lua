-- What callosum-neighbours(7) says of PostgreSQL.

local certificates = require "support.certificates"
local neighbours = require "support.neighbours"
local postgres = require "support.postgres"
local real = require "support.real"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("POSTGRESQL", it)

-- Changes settings as an example of postgresql.conf has them.
local function settings(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do
    list[#list + 1] = line:gsub(" *= *", "="):gsub("'", "")
  end
  return list
end

-- A front of an example, with the port that it has been given.
local function front(command, port)
  local child = neighbours.command(command)
  child.port = port
  return child
end

local function kill(child, signal)
  child:kill(signal or "sigkill")
  child:wait()
end

describe("PostgreSQL", function()
  seen(neighbours.output(real.find("postgres", "postgresql"), "--version")
    :match "PostgreSQL%) (%d+)")

  row("It accepts connections before it answers queries", function(example)
    local data = postgres.clusters(1)
    real.runsAsNobody("touch", { data .. "/standby.signal" })
    local server = postgres.start(data, { "hot_standby=off" },
      "entering standby mode")
    local port = support.freePorts(1)
    -- A front that only connects takes it for up.
    local plain = real.front(server.port)
    local child = postgres.psql(real.relay({ plain.port }).port, "-c",
      "SELECT 1")
    assert.equal(2, (child:wait()))
    assert.matches("FATAL: +the database system is ", child.output)
    local policy = neighbours.policy(example("policy.lua", {
      ['"192.0.2.11", port = 4040'] = '"127.0.0.1", port = ' .. port,
      ["192.0.2.0/24"] = "127.0.0.1",
      ["port = 5432"] = "port = " .. server.port,
      ['"5432"'] = ('"%d"'):format(server.port),
      ["1000, function"] = "50, function",
      ['"pg_isready"'] = ("%q"):format(real.find("pg_isready",
        "postgresql-client")) }))
    local function slot()
      local peer = support.connect(port)
      support.run(function()
        return peer.ended or peer.closed or peer.received ~= ""
      end)
      peer:close()
      return peer.received ~= ""
    end
    support.eventually(function() return not slot() end)
    assert.is_false(slot())
    real.runsAsNobody(real.find("pg_ctl", "postgresql"),
      { "promote", "-D", data, "-s" })
    support.eventually(slot)
    support.stop(policy)
  end)

  row("Over its Unix socket, everybody is the user of the front",
    function(example)
      local data = postgres.clusters(1)
      local function hba(text) support.write(data .. "/pg_hba.conf", text) end
      hba "local all all peer\nhost all all 127.0.0.1/32 scram-sha-256\n"
      local server = postgres.start(data)
      local name = real.runs("id", { "-un" }):match "%S+"
      postgres.query(server.port, ("CREATE ROLE %q LOGIN"):format(name))
      local ours = support.freePorts(1)
      local door = front(example("command", {
        ["192.0.2.11:4040"] = "127.0.0.1:" .. ours,
        ["/var/run/postgresql/.s.PGSQL.5432"] = data .. "/.s.PGSQL."
          .. server.port }), ours)
      local relay = real.relay { ours }
      local function login(as)
        local child = postgres.psql(relay.port, "-U", as, "-c", "SELECT 1")
        child:wait(60)
        return child.code == 0, child.output
      end
      -- Who knows the password does not get in, and who does not, does.
      local is, said = login "app"
      assert.is_false(is)
      assert.matches('Peer authentication failed for user "app"', said)
      assert.is_true(login(name))
      hba(example("pg_hba.conf"))
      server:kill "sighup"
      support.eventually(function() return (login "app") end)
      assert.is_false((login(name)))
      support.stop(relay)
      kill(door)
    end)

  row("It has fewer connections than a front lets in", function(example)
    local server = postgres.start(postgres.clusters(1),
      settings(example("postgresql.conf", { ["100"] = 10 })))
    postgres.query(server.port, "CREATE ROLE user1 LOGIN PASSWORD 'secret'")
    local function sleeper(port)
      return postgres.psql(port, "-U", "user1", "-c", "SELECT 'in'", "-c",
        "SELECT pg_sleep(600)")
    end
    local ours = support.freePorts(1)
    local door = front(example("command", {
      ["192.0.2.11:4040"] = "127.0.0.1:" .. ours,
      ["192.0.2.0/24"] = "127.0.0.1", ["5432"] = server.port,
      ["97"] = 7 }), ours)
    local relay = real.relay({ ours }, { maxSlots = 1 })
    local list = {}
    support.eventually(function() -- the one that made the role may linger
      local count = 0
      for i = 1, 7 do
        if not list[i] or list[i].code then list[i] = sleeper(relay.port) end
        if list[i].stdout == "in\n" then count = count + 1 end
      end
      return count == 7
    end)
    -- One more is refused by the server, and waits at the relay.
    local refused = sleeper(server.port)
    assert.equal(2, (refused:wait()))
    assert.matches("FATAL: .*connection", refused.output)
    local waits = postgres.psql(relay.port, "-U", "user1", "-c",
      "SELECT 'served'")
    real.settles(relay, function(s) return s.waiting == 1 end)
    postgres.query(server.port, "SELECT pg_terminate_backend(pid) FROM "
      .. "pg_stat_activity WHERE usename = 'user1' LIMIT 1")
    assert.equal(0, (waits:wait()), waits.output)
    assert.equal("served\n", waits.stdout)
    kill(relay)
    kill(door)
  end)

  row("Cancelling may reach another server", function(example)
    local one, two = postgres.clusters(2)
    local list = settings(example("postgresql.conf", { ["60s"] = "2s" }))
    local servers = { postgres.start(one, list), postgres.start(two, list) }
    local fronts = { real.front(servers[1].port), real.front(servers[2].port) }
    local relay = real.relay { fronts[1].port, fronts[2].port }
    local child = postgres.psql(relay.port)
    child:write "SELECT inet_server_port();\n"
    local mine = child:waitFor "(%d+)\n"
    local is = servers[1].port == tonumber(mine) and 1 or 2
    fronts[is]:write "setDown now\n"
    fronts[is]:waitFor "backend down"
    child:write "SELECT pg_sleep(600);\n"
    support.eventually(function()
      return postgres.query(servers[is].port, "SELECT count(*) FROM "
        .. "pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
    end)
    child:kill "sigint"
    servers[3 - is]:waitFor
      "PID %d+ in cancel request did not match any process"
    child:waitFor "canceling statement due to statement timeout"
    kill(child)
    kill(relay)
  end)

  row("TLS is between client and server", function(example)
    local fleet = certificates.fleet()
    local own = fleet.ca:issue { name = "db", names = { "db.fleet.example" } }
    local data = postgres.clusters(1)
    for _, kind in ipairs { "cert", "key" } do
      local path = data .. "/server." .. kind
      real.runs("cp", { own[kind], path })
      if uv.getuid() == 0 then
        real.runs("chown", { "--reference=" .. data, path })
      end
      real.runs("chmod", { "600", path })
    end
    local server = postgres.start(data, { "ssl=on",
      "ssl_cert_file=server.cert", "ssl_key_file=server.key" })
    local relay = real.relay { (real.front(server.port).port) }
    local function connect(text)
      local child = real.starts("sh", { "-c", text:gsub("^%$ psql", "exec "
        .. real.find("psql", "postgresql-client") .. " -XAtc 'SELECT ssl FROM "
        .. "pg_stat_ssl WHERE pid = pg_backend_pid()'") },
        { env = postgres.env(relay.port) })
      return (child:wait(60)), child.output
    end
    local text = example("command", { ["192.0.2.1"] = "127.0.0.1",
      ["/etc/ssl/fleet.pem"] = fleet.ca.file })
    assert.same({ 0, "t\n" }, { connect(text) })
    local code, said = connect(text:gsub("host=%S+ hostaddr", "host"))
    assert.equal(2, code)
    assert.matches('does not match host name "127.0.0.1"', said)
    kill(relay)
  end)

  row("A query outlives its client", function(example)
    local data = postgres.clusters(1)
    local function run(list)
      local server = postgres.start(data, list)
      local door = real.front(server.port, { halfCloseTimeout = 300 })
      local relay = real.relay { door.port }
      local child = postgres.psql(relay.port, "-c", "SELECT pg_sleep(600)")
      local function count()
        return postgres.query(server.port, "SELECT count(*) FROM "
          .. "pg_stat_activity WHERE wait_event = 'PgSleep'")
      end
      support.eventually(function() return count() == "1" end)
      kill(child)
      return server, door, count, function()
        kill(relay)
        kill(door)
        kill(server, "sigquit")
      end
    end
    local _, door, count, ends = run()
    real.settles(door, function(s) return s.running == 0 end)
    assert.equal("1", count())
    ends()
    local server
    server, _, count, ends = run(settings(example("postgresql.conf",
      { ["10s"] = "100ms" })))
    server:waitFor "connection to client lost"
    assert.equal("0", count())
    ends()
  end)

  row("A drain does not wait for a transaction", function(example)
    local server = postgres.start((postgres.clusters(1)))
    postgres.query(server.port, "CREATE TABLE t (n int)")
    -- Begins a transaction, drains, and ends it a second later.
    local function commits(changes)
      local ours = support.freePorts(1)
      changes["192.0.2.11:4040"] = "127.0.0.1:" .. ours
      changes["192.0.2.0/24"], changes["5432"] = "127.0.0.1", server.port
      local door = front(example("command", changes), ours)
      local child = postgres.psql(real.relay({ ours }).port)
      child:write "BEGIN;\nINSERT INTO t VALUES (1);\nSELECT 'begun';\n"
      child:waitFor "begun"
      door:kill()
      local began = uv.hrtime()
      support.eventually(function() return uv.hrtime() - began > 1e9 end)
      child:write "COMMIT;\n\\echo committed\n"
      child:write(nil)
      child:wait()
      assert.same({ 0, 0 }, { door:wait() }, door.output)
      return child.stdout:find "committed" ~= nil
    end
    assert.is_true(commits { ["5000"] = 1500, ["60000"] = 2500 })
    assert.equal("1", postgres.query(server.port, "SELECT count(*) FROM t"))
    assert.is_false(commits { ["--quiet-time 5000 "] = "", ["60000"] = 600 })
    assert.equal("1", postgres.query(server.port, "SELECT count(*) FROM t"))
  end)

  complete()
end)
