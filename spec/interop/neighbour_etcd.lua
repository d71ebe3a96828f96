-- What callosum-neighbours(7) says of etcd.

local certificates = require "support.certificates"
local http = require "support.http"
local json = require "dkjson"
local neighbours = require "support.neighbours"
local real = require "support.real"
local support = require "support"
local web = require "support.web"

local row, complete, seen = neighbours.section("ETCD", it)

-- Starts etcd.
-- @param dir where its data are
-- @param port where it listens
-- @param ... more of its arguments
local function start(dir, port, ...)
  local peers = "http://127.0.0.1:" .. support.freePorts(1)
  local url = (... and "https" or "http") .. "://127.0.0.1:" .. port
  return web.listens(support.spawn("etcd", { "--data-dir", dir, "--name", "one",
    "--listen-client-urls", url, "--advertise-client-urls", url,
    "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
    "--initial-cluster", "one=" .. peers, ... },
    { env = { LD_PRELOAD = false } }), port)
end

-- Base64 by the system, since Lua has none.
local function base64(text)
  return real.runs("sh", { "-c", 'printf %s "$0" | base64 -w 0', text })
end

-- Asks etcd; returns what it answers.
local function call(port, what, body, ...)
  local args = { "-sS", "-d", type(body) == "string" and body
    or json.encode(body), ... }
  args[#args + 1] = ("%s://127.0.0.1:%d/v3/%s"):format(
    ... == "--cacert" and "https" or "http", port, what)
  return json.decode(real.runs(real.find("curl", "curl"), args))
end

local function put(port, address, lease, ...)
  assert(call(port, "kv/put", { key = base64("/web/" .. address),
    value = base64(address), lease = lease }, ...).header)
end

-- A policy with a function that waits until it has that number of servers.
local function policy(text)
  local child, admin = http.policy(text)
  function child.has(count)
    support.eventually(function()
      local rover = json.decode((http.get(admin, "/status"))).rovers[1]
      return #rover.servers == count
    end, 30)
  end
  return child
end

local VERSION = neighbours.output("etcd", "--version")
  :match "Version: (%d+%.%d+)"

describe("etcd", function()
  seen(VERSION)

  row("No lease is shorter than two seconds", function(example)
    local port = support.freePorts(1)
    start(support.tmpdir() .. "/data", port)
    local lease = call(port, "lease/grant", { TTL = 1 })
    assert.equal("2", lease.TTL)
    put(port, "192.0.2.11:4040", lease.ID)
    put(port, "192.0.2.12:4040")
    local ours = policy(example("policy.lua", {
      ["192.0.2.21:2379"] = "127.0.0.1:" .. port, ["5000"] = 50 }))
    ours.has(2)
    ours.has(1)
    support.stop(ours)
  end)

  row("Its gateway needs a certificate for clients, too", function(example)
    local fleet = certificates.fleet()
    local folder = support.tmpdir()
    local function issue(changes)
      changes["ca.pem"], changes["ca.key"] = fleet.ca.file, fleet.ca.key
      changes["192.0.2.21"] = "127.0.0.1"
      real.runs("sh", { "-c", 'cd "$0" && ' .. example("command", changes)
        :gsub("^%$ ", ""), folder })
    end
    local function run()
      local port = support.freePorts(1)
      return start(support.tmpdir() .. "/data", port, "--cert-file",
        folder .. "/etcd.pem", "--key-file", folder .. "/etcd.key",
        "--trusted-ca-file", fleet.ca.file, "--client-cert-auth"), port
    end
    local function source(port)
      return policy(example("policy.lua", {
        ["192.0.2.21:2379"] = "127.0.0.1:" .. port,
        ["/etc/fleet/ca.pem"] = fleet.ca.file,
        ["/etc/fleet/one.pem"] = fleet.client.cert,
        ["/etc/fleet/one.key"] = fleet.client.key }))
    end
    issue { ["serverAuth,clientAuth"] = "serverAuth" }
    local child, port = run()
    local ours = source(port)
    ours:waitFor "503"
    support.stop(ours)
    child:kill()
    child:wait()
    assert.matches("incompatible key usage", child.output)
    issue {}
    child, port = run()
    put(port, "192.0.2.11:4040", nil, "--cacert", fleet.ca.file, "--cert",
      fleet.client.cert, "--key", fleet.client.key)
    ours = source(port)
    ours.has(1)
    support.stop(ours)
    child:kill()
  end)

  row("Its tokens do not outlive a restart, since 3.5", function(example)
    local dir, port = support.tmpdir(), support.freePorts(1)
    local child = start(dir .. "/data", port)
    put(port, "192.0.2.11:4040")
    for _, each in ipairs { { "user/add", "root" }, { "user/add", "web" } } do
      call(port, "auth/" .. each[1], { name = each[2], password = "secret" })
    end
    for _, each in ipairs { "root", "web" } do
      call(port, "auth/role/add", { name = each })
      call(port, "auth/user/grant", { user = each, role = each })
    end
    call(port, "auth/role/grant", { name = "web", perm = { permType = "READ",
      key = base64 "/web/", range_end = base64 "/web0" } })
    call(port, "auth/enable", "{}")
    local token = dir .. "/token"
    local function renew()
      real.runs("sh", { "-c", (example("command", {
        ["192.0.2.21:2379"] = "127.0.0.1:" .. port,
        ["/run/fleet/token"] = token }):gsub("^%$ ", "")) })
    end
    renew()
    local ours = policy(example("policy.lua", {
      ["192.0.2.21:2379"] = "127.0.0.1:" .. port,
      ["/run/fleet/token"] = token }))
    ours.has(1)
    child:kill():wait()
    start(dir .. "/data", port)
    if VERSION ~= "3.4" then ours:waitFor "invalid auth token" end
    ours.has(1)
    local file <close> = assert(io.open(token))
    local answer = call(port, "kv/range", { key = base64 "/web/a" }, "-H",
      "Authorization: " .. file:read "l")
    assert.equal(VERSION == "3.4", answer.header ~= nil)
    -- Once it is renewed, the source hears of others.
    renew()
    local root = call(port, "auth/authenticate",
      { name = "root", password = "secret" }).token
    put(port, "192.0.2.12:4040", nil, "-H", "Authorization: " .. root)
    ours.has(2)
    support.stop(ours)
  end)

  complete()
end)
