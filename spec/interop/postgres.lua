local real = require "support.real"
local support = require "support"

describe("PostgreSQL behind relay and front", function()
  local data, postgres, front, relay

  -- A cluster of its own for each test, as its files go with the test.
  local function begin(options, pool)
    data = real.dir()
    real.runsAsNobody(real.find("initdb", "postgresql"), { "-D", data, "-A",
      "trust", "-U", "postgres", "--no-sync", "--no-instructions",
      "--locale", "C", "-E", "UTF8" })
    local port = support.freePorts(1)
    postgres = real.serve(real.find("postgres", "postgresql"), { "-D", data,
      "-p", port, "-k", data, "-c", "listen_addresses=127.0.0.1",
      "-c", "fsync=off", "-c", "log_connections=on",
      "-c", "synchronize_seqscans=off" }, "INT")
    postgres.port = port
    postgres:waitFor("ready to accept connections", 30)
    front = real.front(port, options)
    relay = real.relay({ front.port }, pool)
  end

  local function env()
    return { PGHOST = "127.0.0.1", PGPORT = tostring(relay.port),
      PGUSER = "postgres", PGDATABASE = "postgres" }
  end

  local function psql(...)
    return real.runs(real.find("psql", "postgresql-client"),
      { "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", ... },
      { env = env() })
  end

  local function pgbench(...)
    return real.runs(real.find("pgbench", "postgresql"), { ... },
      { env = env() })
  end

  -- Nobody but those who were joined has connected, and all have left.
  local function ends()
    support.stop(relay)
    real.endsAtZero(front)
    local stats = real.stats(front)
    assert.equal(0, stats.refused + stats.failed)
    assert.equal(stats.joined,
      select(2, postgres.output:gsub("connection received", "")))
    support.stop(front)
  end

  it("does thousands of transactions", function()
    begin(nil, { maxSlots = 10 })
    pgbench("-i", "-q", "-s", "2")
    for _, protocol in ipairs { "simple", "extended", "prepared" } do
      assert.matches("transactions actually processed: 1600/1600",
        pgbench("-n", "-c", "8", "-j", "2", "-t", "200", "-M", protocol))
    end
    -- A connection for each.
    assert.matches("transactions actually processed: 200/200",
      pgbench("-n", "-c", "4", "-t", "50", "-C"))
    assert.equal("5000\n", psql("-c", "SELECT count(*) FROM pgbench_history"))
    assert.equal("t\n", psql("-c", [[
      SELECT count(DISTINCT sum) = 1 FROM (
        SELECT sum(abalance) FROM pgbench_accounts UNION ALL
        SELECT sum(bbalance) FROM pgbench_branches UNION ALL
        SELECT sum(tbalance) FROM pgbench_tellers UNION ALL
        SELECT sum(delta) FROM pgbench_history) AS sums]]))
    ends()
  end)

  it("notifies who listens", function()
    begin()
    local listener = real.starts(real.find("psql", "postgresql-client"),
      { "-X", "-q", "-A", "-t" }, { env = env() })
    listener:write "LISTEN news;\n\\echo listens\n"
    listener:waitFor "listens"
    psql("-c", "NOTIFY news, 'good'", "-c", "NOTIFY news, 'better'")
    listener:write "SELECT 1;\n"
    listener:waitFor 'notification "news" with payload "good"'
    listener:waitFor 'notification "news" with payload "better"'
    listener:write(nil)
    assert.equal(0, (listener:wait()))
    ends()
  end)

  it("cancels what takes too long", function()
    begin()
    local child = real.starts(real.find("psql", "postgresql-client"),
      { "-X", "-q", "-A", "-t" }, { env = env() })
    child:write "\\echo asks\nSELECT pg_sleep(600);\n"
    child:waitFor "asks"
    local activity = "SELECT count(*) FROM pg_stat_activity "
      .. "WHERE wait_event = 'PgSleep'"
    support.eventually(function() return psql("-c", activity) == "1\n" end)
    child:kill "sigint" -- which it passes on by a connection of its own
    child:waitFor "canceling statement due to user request"
    child:wait()
    ends()
  end)

  it("has no more clients than its front takes, and the others wait", function()
    begin({ maxClients = 4 }, { maxSlots = 4 })
    pgbench("-i", "-q", "-s", "1")
    assert.matches("transactions actually processed: 180/180",
      pgbench("-n", "-c", "12", "-j", "12", "-t", "15", "-C"))
    assert.equal("180\n", psql("-c", "SELECT count(*) FROM pgbench_history"))
    support.stop(relay)
    real.endsAtZero(front)
  end)

  it("copies 100 MB in and out, byte for byte", function()
    begin()
    local dir = support.tmpdir()
    real.runs("sh", { "-c", "base64 -w 999 /dev/urandom | head -c 100000000 "
      .. '>"$0/in"', dir })
    psql("-c", "CREATE UNLOGGED TABLE lines (line text)",
      "-c", ("\\copy lines FROM '%s/in'"):format(dir),
      "-c", ("\\copy lines TO '%s/out'"):format(dir))
    assert.equal("100000\n", psql("-c", "SELECT count(*) FROM lines"))
    real.runs("cmp", { dir .. "/in", dir .. "/out" })
    ends()
  end)
end)
