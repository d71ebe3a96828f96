local certificates = require "support.certificates"
local examples = require "support.examples"
local postgres = require "support.postgres"
local proxies = require "support.proxies"
local real = require "support.real"
local support = require "support"
local uv = require "luv"

describe("the example redis.lua", function()
  -- How many clients each server has, in the next table.
  local function shares(child)
    local list = {}
    for i = 1, 3 do
      list[i] = #child:waitFor("redis " .. i .. "  (#*)%.*\n")
    end
    return list
  end

  it("evens out after a restart", function()
    real.find("redis-server", "redis-server")
    local ports = { support.freePorts(4) }
    for i, port in ipairs(ports) do ports[i] = tostring(port) end
    local child = support.command { "run", "examples/redis.lua",
      table.unpack(ports) }
    local function evensOut()
      repeat until math.min(table.unpack(shares(child))) >= 10
    end
    evensOut()
    child:waitFor "redis 2: the backend is down: connection refused\n"
    local list = shares(child)
    assert.equal(0, list[2])
    child:waitFor "redis 2: is up again\n"
    evensOut()
    -- No others than those that the second had.
    local lost = child:waitFor "%d+ answers, (%d+) connections lost\n"
    assert.is_true(tonumber(lost) <= 60)
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    for i = 1, 3 do
      support.eventually(function() return support.isFree(ports[i] + 1000) end)
    end
  end)
end)

-- Runs the commands of an example in Lua: a front before each backend, and a
-- relay for a neighbour that is configured by another example.
-- @param name of the examples, without their ends
-- @param backends ports
-- @param changes of the policy
-- @return the host with the relay, a function that starts it again, and an
--   array of the fronts
local function fleet(name, backends, changes)
  local policy = examples.edited(name .. ".lua", changes)
  local script = examples.commands(name .. ".lua"):gsub("\\\n", " ")
  local rover = "build/callosum%-rover "
  local ofFront, ofRelay = script:match(
    "^" .. rover .. "(front[^\n]+)\n" .. rover .. "(run[^\n]+)\n$")
  local function words(text)
    local list = {}
    for word in text:gmatch "%S+" do list[#list + 1] = word end
    return list
  end
  local fronts = {}
  for i, port in ipairs(backends) do
    local own = support.freePorts(1)
    fronts[i] = support.command(words((ofFront
      :gsub("10%.0%.0%.0/8", "127.0.0.0/8")
      :gsub("0%.0%.0%.0:4040 %d+", ("127.0.0.1:%d %d"):format(own, port)))))
    fronts[i].port = own
    fronts[i]:waitFor "listening"
    ofRelay = examples.replace(ofRelay, "10.0.0." .. 6 + i .. ":4040",
      "127.0.0.1:" .. own)
  end
  ofRelay = examples.replace(ofRelay, "examples/" .. name .. ".lua", policy)
  local function start()
    local child = support.command(words(ofRelay))
    child:waitFor "policy loaded"
    return child
  end
  return start(), start, fronts
end

-- Waits until each front has some of the pool's connections.
local function fill(fronts)
  for _, front in ipairs(fronts) do
    support.eventually(function()
      local peer = support.connect(front.port)
      local slot = tonumber(peer:line())
      peer:close()
      return slot >= 3
    end)
  end
end

local function curl(...)
  return real.runs(real.find("curl", "curl"), { "-sS", "--fail", ... })
end

local function ends(...)
  for _, child in ipairs { ... } do
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end
end

describe("the example haproxy.cfg", function()
  it("tells servers who is outside, and bears a restart of its relay",
    function()
      local site = certificates.fleet()
      local backends = { support.freePorts(2) }
      for _, port in ipairs(backends) do proxies.told(port) end
      local outside, inside = support.freePorts(2)
      local relay, again, fronts = fleet("haproxy", backends,
        { ["5000"] = inside })
      local cfg = examples.edited("haproxy.cfg", {
        [":443"] = "127.0.0.1:" .. outside,
        ["/etc/haproxy/site.pem"] = site.server.both,
        ["127.0.0.1:5000"] = "127.0.0.1:" .. inside })
      local haproxy = real.starts(real.find("haproxy", "haproxy"),
        { "-db", "-f", cfg })
      real.reachable(haproxy, outside)
      local url = ("https://localhost:%d/"):format(outside)
      local function address(i)
        return (curl("--cacert", site.ca.file, "--interface", "127.0.0." .. i,
          url):match "^<(%S+) %d+ GET>$")
      end
      for i = 2, 12 do assert.equal("127.0.0." .. i, address(i)) end
      ends(relay)
      local child = real.starts(real.find("curl", "curl"), { "-sSv", "--cacert",
        site.ca.file, "--interface", "127.0.0.2", url })
      child:waitFor "SSL connection using"
      relay = again()
      assert.equal(0, (child:wait()), child.output)
      assert.matches("^<127%.0%.0%.2 ", child.stdout)
      haproxy:waitFor "fleet/relay [%d/]+ %d+ %-%- [%d/]+/[1-3] 0/0\n"
      fronts[1]:kill "sigkill"
      fronts[1]:wait()
      for i = 2, 5 do assert.equal("127.0.0." .. i, address(i)) end
      ends(relay, fronts[2])
    end)
end)

-- Starts nginx with lines of a http block.
-- @param text the lines
-- @param port one that it listens on
local function nginx(text, port)
  local dir = real.dir()
  local path = support.write(dir .. "/nginx.conf", ([[
daemon off;
pid DIR/pid;
error_log DIR/error.log;
worker_processes 1;
events {}
http {
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  access_log DIR/access.log;
  %s
}
]]):gsub("DIR", dir):format(text))
  local child = real.serve(real.find("nginx", "nginx-light"), { "-p", dir, "-e",
    dir .. "/error.log", "-c", path })
  real.reachable(child, port)
  return child
end

describe("the example nginx.conf", function()
  it("has a few connections for many requests, to all servers", function()
    local backends, outside = { support.freePorts(2) }, support.freePorts(1)
    for _, port in ipairs(backends) do
      nginx(([[server {
        listen 127.0.0.1:%d;
        keepalive_requests 1000000;
        location = /status { stub_status; }
        location / { return 200 "$server_port $http_host\n"; }
      }]]):format(port), port)
    end
    local socket = support.tmpdir() .. "/fleet.sock"
    local relay, _, fronts = fleet("nginx", backends,
      { ["/run/callosum/web/fleet.sock"] = socket })
    real.runs("chmod", { "711", socket:match "^(.*)/" })
    local proxy = nginx(examples.read("nginx.conf", {
      ["/run/callosum/web/fleet.sock"] = socket,
      ["listen 80;"] = "listen 127.0.0.1:" .. outside .. ";" }), outside)
    fill(fronts)
    local url = ("http://127.0.0.1:%d/"):format(outside)
    -- Fewer than keepalive_requests, after which nginx ends a connection.
    local _, count = curl("-Z", "--parallel-max", "8", url .. "[1-500]")
      :gsub("%d+ 127%.0%.0%.1\n", "")
    assert.equal(500, count)
    assert.matches("^%d+ fleet.example\n$",
      curl("-H", "Host: fleet.example", url))
    for _, port in ipairs(backends) do
      local active, accepted = curl(("http://127.0.0.1:%d/status"):format(port))
        :match "Active connections: (%d+).-requests\n (%d+) "
      -- Of eight at most, and the one that asks.
      assert.is_true(active - 1 >= 1, active)
      assert.is_true(tonumber(accepted) <= 10, accepted)
    end
    ends(proxy, relay, fronts[1], fronts[2]) -- nobody waits for clients then
  end)
end)

describe("the example pgbouncer.ini", function()
  it("uses the servers in turn, and is back soon", function()
    local one, two = postgres.clusters(2)
    local backends = { postgres.start(one).port, postgres.start(two).port }
    local dir, port = real.dir(), support.freePorts(1)
    local folder = support.tmpdir()
    local relay, again, fronts = fleet("pgbouncer", backends,
      { ["/run/callosum/db/"] = folder .. "/" })
    real.runs("chmod", { "711", folder })
    local ini = examples.read("pgbouncer.ini", { ["/run/callosum/db"] = folder,
      ["6432"] = port, ["/etc/pgbouncer/userlist.txt"] =
        support.write(dir .. "/userlist.txt", '"app" "secret"\n') })
    local bouncer = real.serve(real.find("pgbouncer", "pgbouncer"), {
      support.write(dir .. "/pgbouncer.ini", ini .. "unix_socket_dir =\n") })
    real.reachable(bouncer, port)

    fill(fronts)
    -- Eight at once, and then one after the other.
    real.runs(real.find("pgbench", "postgresql"), { "-n", "-c", "8", "-t", "2",
      "-f", support.tmpfile("SELECT pg_sleep(0.2);", "script.sql") },
      { env = postgres.env(port) })
    local child = postgres.psql(port)
    child:write(("SELECT inet_server_port();\n"):rep(16)):write(nil)
    assert.equal(0, (child:wait()), child.output)
    for _, each in ipairs(backends) do
      local _, count = child.stdout:gsub(each .. "\n", "")
      assert.is_true(count >= 2, child.output)
    end
    -- Its connections end with the relay, and it asks for others.
    relay:kill("sigkill")
    relay:wait()
    child = postgres.psql(port, "-c", "SELECT 'answered'")
    bouncer:waitFor "connect failed"
    relay = again()
    local began = uv.hrtime()
    assert.equal(0, (child:wait()), child.output)
    assert.equal("answered\n", child.stdout)
    assert.is_true(uv.hrtime() - began < 8e9) -- and not 15 s
    bouncer:kill()
    bouncer:wait()
    ends(relay, fronts[1], fronts[2])
  end)
end)
