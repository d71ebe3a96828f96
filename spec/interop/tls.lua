-- Relay and front with mutual TLS between them, between programs that know
-- nothing of it; and others in the place of either.

local certificates = require "support.certificates"
local proxies = require "support.proxies"
local real = require "support.real"
local support = require "support"

local fleet = certificates.fleet()

local function tls(certificate)
  return { cert = certificate.cert, key = certificate.key, ca = fleet.ca.file }
end

-- A front with TLS before a backend, and a relay that reaches it so.
local function between(backend, pool)
  local front = real.front(backend, { tls = tls(fleet.server) })
  return front, real.relay({ front.port }, pool, nil,
    { tls = tls(fleet.client) })
end

local function ends(front, relay)
  support.stop(relay)
  real.settles(front, function(s) return s.open == 0 end)
  local stats = real.stats(front)
  assert.same({ 0, 0 }, { stats.failed, stats.handshakesRejected })
  support.stop(front)
end

-- A file of so many random bytes.
local function random(path, bytes)
  real.runs("sh", { "-c", 'head -c "$1" /dev/urandom >"$0"', path,
    tostring(bytes) })
  return path
end

describe("with TLS between relay and front", function()
  it("Redis gives back what it was given, byte for byte", function()
    local redis = real.redis()
    local front, relay = between(redis.port)
    local file <close> = assert(io.open(random(support.tmpdir() .. "/value",
      8 << 20)))
    local value = file:read "a"
    local peer = support.connect(relay.port)
    local direct = support.connect(redis.port)
    assert.equal("OK", real.ask(peer, "SET", "key", value))
    assert.is_true(real.ask(peer, "GET", "key") == value)
    assert.is_true(real.ask(direct, "GET", "key") == value)
    peer:close()
    direct:close()
    ends(front, relay)
  end)

  it("Redis bears its benchmark", function()
    local redis = real.redis()
    local front, relay = between(redis.port, { maxSlots = 20 })
    local text = real.runs(real.find("redis-benchmark", "redis-tools"), {
      "-p", tostring(relay.port), "-c", "16", "-n", "3000", "-d", "500",
      "-t", "ping,set,get,lrange_100", "--csv" })
    assert.is_true(select(2, text:gsub("\n\"", "")) >= 5, text)
    text = real.runs(real.find("redis-benchmark", "redis-tools"), {
      "-p", tostring(relay.port), "-c", "16", "-n", "30000", "-P", "32",
      "-d", "3", "-t", "set,get", "--csv" })
    assert.equal(2, select(2, text:gsub("\n\"", "")), text)
    ends(front, relay)
  end)

  it("PostgreSQL copies 40 MB in and out, byte for byte", function()
    local data, port = real.dir(), support.freePorts(1)
    real.runsAsNobody(real.find("initdb", "postgresql"), { "-D", data, "-A",
      "trust", "-U", "postgres", "--no-sync", "--no-instructions",
      "--locale", "C", "-E", "UTF8" })
    real.serve(real.find("postgres", "postgresql"), { "-D", data, "-p", port,
      "-k", data, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off",
      "-c", "synchronize_seqscans=off" }, "INT")
      :waitFor("ready to accept connections", 30)
    local front, relay = between(port)
    local dir = support.tmpdir()
    real.runs("sh", { "-c", "base64 -w 999 /dev/urandom | head -c 40000000 "
      .. '>"$0/in"', dir })
    real.runs(real.find("psql", "postgresql-client"), { "-X", "-q", "-v",
      "ON_ERROR_STOP=1", "-c", "CREATE UNLOGGED TABLE lines (line text)",
      "-c", ("\\copy lines FROM '%s/in'"):format(dir),
      "-c", ("\\copy lines TO '%s/out'"):format(dir) }, { env = {
        PGHOST = "127.0.0.1", PGPORT = tostring(relay.port),
        PGUSER = "postgres", PGDATABASE = "postgres" } })
    real.runs("cmp", { dir .. "/in", dir .. "/out" })
    ends(front, relay)
  end)

  it("nginx takes and gives files, byte for byte", function()
    local dir, port = real.dir(), support.freePorts(1)
    real.runsAsNobody("mkdir", { dir .. "/files" })
    local conf = support.write(dir .. "/nginx.conf", ([[
      daemon off;
      pid %s/pid;
      error_log %s/error.log;
      events {}
      http {
        access_log off;
        client_body_temp_path %s/body;
        proxy_temp_path %s/proxy;
        fastcgi_temp_path %s/fastcgi;
        uwsgi_temp_path %s/uwsgi;
        scgi_temp_path %s/scgi;
        client_max_body_size 100m;
        server {
          listen 127.0.0.1:PORT;
          root %s;
          location /files/ { dav_methods PUT; create_full_put_path on; }
        }
      }
    ]]):gsub("%%s", dir):gsub("PORT", port))
    local nginx = real.serve(real.find("nginx", "nginx-light"), { "-p", dir,
      "-e", dir .. "/error.log", "-c", conf }, "QUIT")
    real.reachable(nginx, port)
    local front, relay = between(port)
    local own = support.tmpdir()
    local url = ("http://127.0.0.1:%d/files/up"):format(relay.port)
    random(own .. "/up", 50 << 20)
    local curl = real.find("curl", "curl")
    real.runs(curl, { "-sS", "--fail", "-T", own .. "/up", url })
    real.runs("cmp", { own .. "/up", dir .. "/files/up" })
    real.runs(curl, { "-sS", "--fail", "-o", own .. "/down", url })
    real.runs("cmp", { own .. "/up", own .. "/down" })
    -- Who goes away in the midst of it costs nobody else.
    real.runs("sh", { "-c", 'curl -s "$0" | head -c 100000 >/dev/null', url })
    real.runs(curl, { "-sS", "--fail", "-o", own .. "/down", url })
    real.runs("cmp", { own .. "/up", own .. "/down" })
    ends(front, relay)
  end)
end)

describe("stunnel", function()
  it("stands in a front's place, before a server with slots", function()
    local greeting = support.echo "0\r\n"
    local port = support.freePorts(1)
    local stunnel = proxies.stunnel(([[
[server]
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
cert = %s
key = %s
CAfile = %s
verifyChain = yes
requireCert = yes
]]):format(port, greeting, fleet.chained.cert, fleet.chained.key,
      fleet.ca.file), port)
    local relay = real.relay({ port }, nil, nil, { tls = tls(fleet.client) })
    local peer = support.connect(relay.port)
    local text = ("stunnel\n"):rep(100000)
    peer:write(text)
    support.run(function() return #peer.received == #text end)
    assert.is_true(peer.received == text)
    peer:shutdown()
    assert.is_nil(peer:waitEnd())
    peer:close()
    support.stop(relay)
    stunnel:kill()
    stunnel:wait()
  end)

  it("asks a front for slots, for clients without TLS", function()
    local echo = support.echo()
    local front = real.front(echo, { tls = tls(fleet.server) })
    local port = support.freePorts(1)
    local stunnel = proxies.stunnel(([[
[client]
client = yes
accept = 127.0.0.1:%d
connect = 127.0.0.1:%d
cert = %s
key = %s
CAfile = %s
verifyChain = yes
checkIP = 127.0.0.1
]]):format(port, front.port, fleet.client.cert, fleet.client.key,
      fleet.ca.file), port)
    local peers = {}
    for slot = 0, 3 do
      peers[slot] = support.connect(port)
      assert.equal(tostring(slot), peers[slot]:line())
    end
    local text = ("stunnel\n"):rep(100000)
    peers[2]:write(text)
    support.run(function() return #peers[2].received == #text end)
    assert.is_true(peers[2].received == text)
    for slot = 0, 3 do peers[slot]:close() end
    real.settles(front, function(s) return s.open == 0 end)
    assert.is_true(real.stats(front).handshakesResumed > 0)
    stunnel:kill()
    stunnel:wait()
    support.stop(front)
  end)
end)

it("HAProxy stands behind a front with TLS, and has TLS to its own servers",
  function()
    local echo = support.echo()
    local inner, outer = support.freePorts(2)
    local haproxy = proxies.haproxy(([[
listen inner
  bind 127.0.0.1:%d ssl crt %s
  server s 127.0.0.1:%d
listen outer
  bind 127.0.0.1:%d
  server s 127.0.0.1:%d ssl verify required ca-file %s verifyhost localhost
]]):format(inner, fleet.rsaServer.both, echo, outer, inner,
      fleet.ca.file), outer)
    local front, relay = between(outer)
    local peer = support.connect(relay.port)
    local text = ("HAProxy\n"):rep(200000)
    peer:write(text)
    support.run(function() return #peer.received == #text end)
    assert.is_true(peer.received == text)
    peer:shutdown()
    assert.is_nil(peer:waitEnd())
    peer:close()
    ends(front, relay)
    haproxy:kill()
    haproxy:wait()
  end)
