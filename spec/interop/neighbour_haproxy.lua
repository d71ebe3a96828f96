-- What callosum-neighbours(7) says of HAProxy.

local files = require "support.files"
local http = require "support.http"
local neighbours = require "support.neighbours"
local proxies = require "support.proxies"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("HAPROXY", it)

-- A server that gives slots, and sends back what comes.
local function slots() return support.echo "0\r\n" end

local CHECKS = "Health checks send a PROXY header, too"

-- The policy of the page, a relay, with its port and its server's.
local function relay(example, port, server)
  return example("policy.lua", {
    ['"192.0.2.1"'] = '"127.0.0.1"',
    ['"192.0.2.2", port = 5432'] = '"127.0.0.1", port = ' .. port,
    ['"192.0.2.11", port = 4040'] = '"127.0.0.1", port = ' .. server }, CHECKS)
end

-- Runs HAProxy by an example, and returns its port, too.
local function haproxy(example, changes)
  local port = support.freePorts(1)
  changes["192.0.2.1:5432"] = "127.0.0.1:" .. port
  return proxies.haproxy(example("haproxy.cfg", changes), port), port
end

describe("HAProxy", function()
  seen(neighbours.output("haproxy", "-v"):match "version (%d+%.%d+)")

  row("Health checks send a PROXY header, too", function(example)
    for _, version in ipairs { "send-proxy", "send-proxy-v2" } do
      local ours = support.freePorts(1)
      local door = neighbours.policy(relay(example, ours, slots()))
      local proxy, port = haproxy(example, {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. ours,
        ["send-proxy-v2"] = version, check = "check inter 20" })
      support.eventually(function() return door.stats().gone >= 20 end)
      -- A machine that is busy may take its time between header and end.
      if version == "send-proxy-v2" then
        assert.is_true(door.stats().joined < 10, door.stats().joined)
      end
      assert.is_true(proxies.echoes(port))
      assert.equal(0, door.stats().rejected)
      assert.same({}, door.complaints())
      proxies.stop(proxy)
      support.stop(door)
    end
    -- The bytes themselves.
    for version, pattern in pairs {
      ["send-proxy"] = "^PROXY TCP4 127.0.0.1 127.0.0.1 %d+ %d+\r\n$",
      ["send-proxy-v2"] = "^\r\n\r\n%z\r\nQUIT\n\x20%z%z%z$" } do
      local server = support.serve()
      local proxy = haproxy(example, {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. server.port,
        ["send-proxy-v2"] = version, check = "check inter 20" })
      support.run(function()
        return server.peers[1] and server.peers[1].received:find(pattern)
      end)
      proxies.stop(proxy)
    end
  end)

  row("Clients of its Unix sockets have no address", function(example)
    local ours, path = support.freePorts(1), support.tmpdir() .. "/db.sock"
    -- It is bound by another name, and renamed.
    local function listens()
      support.eventually(function()
        if not uv.fs_stat(path) then return false end
        for line in io.lines "/proc/net/unix" do
          if line:find(path, 1, true) and line:find " 00010000 " then
            return true
          end
        end
      end)
    end
    local door = neighbours.policy(relay(example, ours, slots()))
    local proxy = haproxy(example, {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. ours,
      ["/run/haproxy/db.sock"] = path })
    listens()
    assert.is_true(proxies.echoes(path))
    assert.equal(1, door.stats().joined)
    proxies.stop(proxy)
    support.stop(door)
    for version, header in pairs { ["send-proxy"] = "PROXY UNKNOWN\r\n",
        ["send-proxy-v2"] = proxies.v2(0x20, 0) } do
      local server = support.serve()
      path = support.tmpdir() .. "/db.sock"
      proxy = haproxy(example, {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. server.port,
        ["/run/haproxy/db.sock"] = path, ["send-proxy-v2"] = version })
      listens()
      local peer = support.connect(path):write "hello"
      support.run(function()
        return server.peers[1] and server.peers[1].received == header .. "hello"
      end)
      peer:close()
      proxies.stop(proxy)
    end
  end)

  row("A relay without servers is up to it", function(example)
    local one, two, admin, other = support.freePorts(4)
    local dead = support.closedPort()
    -- The relay of the page, run as this row says.
    local function run(port, at, server)
      local child = support.command(neighbours.arguments(example("command", {
        ["192.0.2.2:9090"] = "127.0.0.1:" .. at,
        ["policy.lua"] = support.tmpfile((relay(example, port, server or dead)
          :gsub("acceptProxy", server and "%0" or "waitTimeout = 100, %0")))
      })))
      child:waitFor "policy loaded"
      return child
    end
    run(one, admin)
    run(two, other, slots())
    support.eventually(function()
      return http.get("127.0.0.1:" .. other, "/status")
        :find '"connections":[1-9]'
    end)
    -- A check has to be answered before the next one is due.
    local function check(port, fall)
      return ("send-proxy-v2 check inter 100 fall %d port %d")
        :format(fall, port)
    end
    local proxy, port = haproxy(example, {
      ["192.0.2.2:5432 send-proxy-v2 check port 9090"] =
        ("127.0.0.1:%d "):format(one) .. check(admin, 1),
      ["192.0.2.3:5432 send-proxy-v2 check port 9090"] =
        ("127.0.0.1:%d "):format(two) .. check(other, 100) })
    proxy:waitFor "Server db/one is DOWN"
    for _ = 1, 4 do assert.is_true(proxies.echoes(port), proxy.output) end
    assert.is_nil(proxy.output:find("db/two is DOWN", 1, true))
    proxies.stop(proxy)

    -- As one would have guessed.
    local silent, header = support.serve(), support.serve()
    local guessed = support.freePorts(1)
    proxy = proxies.haproxy(([[
listen db
  bind 127.0.0.1:%d
  option tcplog
  log global
  server one 127.0.0.1:%d send-proxy-v2 check inter 20 observe layer4]]
      .. "\nlisten asking\n  option httpchk GET /status\n"
      .. "  bind 127.0.0.1:%d\n"
      .. "  server two 127.0.0.1:%d check inter 500 fall 1 port %d\n"
      .. "listen checking\n  bind 127.0.0.1:%d\n"
      .. "  server silent 127.0.0.1:%d check inter 10\n"
      .. "  server header 127.0.0.1:%d send-proxy check inter 10\n"
      ):format(guessed, one, support.freePorts(1), two, other,
        support.freePorts(1), silent.port, header.port), guessed)
    proxy:waitFor "Server asking/two is DOWN[^\n]*code: 400"
    for _ = 1, 12 do assert.is_false(proxies.echoes(guessed)) end
    proxy:waitFor "db/one [%d/]+ 0 SD "
    assert.is_nil(proxy.output:find("db/one is DOWN", 1, true))
    -- A slow machine may be faster than the reset.
    assert.is_true(#header.peers > 10)
    assert.is_true(#silent.peers < #header.peers / 2, #silent.peers)
    proxies.stop(proxy)
  end)

  row("A path in its configuration is one in its chroot", function(example)
    if uv.getuid() ~= 0 then return pending "only root can change the root" end
    local dir = support.tmpdir()
    local text = relay(example, 1, slots())
      :gsub('require "callosum.relay".*', "")
      :gsub("rover:start", "rover:setRovingInterval(50)\n%0")
    local door = neighbours.policy(text .. example("policy.lua",
      { ["/var/lib/haproxy"] = dir }))
    for path, found in pairs { ["/db.sock"] = true,
        [dir .. "/db.sock"] = false } do
      local proxy, port = haproxy(example, { ["/var/lib/haproxy"] = dir,
        ["/db.sock check"] = path .. (found and " check inter 100" or "") })
      assert.equal(found, proxies.echoes(port))
      if found then
        support.eventually(function() return door.stats().gone >= 5 end)
      end
      proxies.stop(proxy)
    end
    support.stop(door)
  end)

  row("A relay that refuses costs three seconds", function(example)
    local changes = { ["192.0.2.2:5432"] = "127.0.0.1:" .. support.closedPort(),
      ["192.0.2.3:5432"] = "127.0.0.1:" .. support.echo() }
    local proxy, port = haproxy(example, changes)
    changes["option redispatch"] = ""
    local plain, other = haproxy(example, changes)
    uv.update_time()
    local begin = uv.now()
    local peers = {}
    -- In turns: one of two is sent to the one that refuses.
    for i = 1, 2 do peers[i] = support.connect(other):write "hello" end
    for _ = 1, 4 do assert.is_true(proxies.echoes(port), proxy.output) end
    assert.is_true(uv.now() - begin < 1000)
    support.run(function() return peers[1].ended or peers[2].ended end)
    local refused = peers[1].ended and peers[1] or peers[2]
    assert.equal("", refused.received)
    assert.is_true(uv.now() - begin >= 2900, uv.now() - begin)
    proxies.stop(proxy)
    proxies.stop(plain)
  end)

  row("client-fin does not end a client that has ended its side",
    function(example)
      -- Answers what has ended, after a while.
      local server = support.serve { connection = function(peer)
        peer.handle:read_stop()
        peer.handle:read_start(function(_, chunk)
          if chunk then return end
          local timer = uv.new_timer()
          finally(function() timer:close() end)
          timer:start(400, 0, function()
            if peer.handle:is_closing() then return end
            peer.handle:write "answer"
            peer.handle:shutdown()
          end)
        end)
      end }
      for short, answer in pairs { ["client-fin"] = "answer",
          ["server-fin"] = "" } do
        local proxy, port = haproxy(example, {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. server.port,
          [short .. " 30s"] = short .. " 100ms" })
        local peer = support.connect(port):write("question"):shutdown()
        assert.is_nil(peer:waitEnd())
        assert.equal(answer, peer.received)
        proxies.stop(proxy)
      end
    end)

  row("Behind a front, it accepts without a server", function(example)
    local ours, health = support.freePorts(2)
    local backend, down = support.freePorts(2)
    local server = proxies.haproxy(([[
listen server
  bind 127.0.0.1:%d
  server s 127.0.0.1:%d]]):format(down, support.echo()), down)
    local changes = { ["127.0.0.1:5432"] = "127.0.0.1:" .. backend,
      ["127.0.0.1:8404"] = "127.0.0.1:" .. health,
      ["192.0.2.11:5432 check"] = "127.0.0.1:" .. down
        .. " check inter 20 fall 1 rise 1" }
    local proxy = proxies.haproxy(example("haproxy.cfg", changes), backend)
    local front = neighbours.policy(example("policy.lua", {
      ["192.0.2.1"] = "127.0.0.1", ["4040"] = ours, ["5432"] = backend,
      ["192.0.2.0/24"] = "127.0.0.1",
      ["8404"] = health, ["0, 1000"] = "0, 200" }))
    local unused = support.connect(ours)
    assert.equal("0", unused:line())
    unused:close()
    proxies.stop(server)
    -- It is up to whoever connects.
    support.eventually(function()
      local peer = support.connect(backend)
      support.run(function()
        return peer.connected and (peer.ended or peer.closed)
      end)
      return true
    end)
    -- And not to the front.
    support.eventually(function()
      local peer = support.connect(ours)
      support.run(function() return peer.ended or #peer.received > 0 end)
      peer:close()
      return peer.ended and peer.received == ""
    end)
    assert.is_true(front.stats().refused > 0)
    proxies.stop(proxy)
    support.stop(front)
  end)

  row("Reloads leave old processes behind", function(example)
    local echo, port = support.echo(), support.freePorts(1)
    local path = files.tmpfile(example("haproxy.cfg", { ["30s"] = "500ms" })
      .. ([[
  log stderr format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
listen db
  bind 127.0.0.1:%d
  server s 127.0.0.1:%d
]]):format(port, echo), "haproxy.cfg")
    local proxy = support.spawn("haproxy", { "-W", "-f", path })
    proxy:waitFor "Loading success"
    local peer = support.connect(port)
    peer:write("hello"):take "^hello$"
    -- One that comes as soon as it has started is lost.
    support.eventually(function()
      if proxy.output:find "Reloading HAProxy" then return true end
      proxy:kill "sigusr2"
    end)
    uv.update_time()
    local begin = uv.now()
    peer:waitEnd()
    assert.is_true(uv.now() - begin >= 450)
    proxy:kill()
    proxy:wait()
  end)

  complete()
end)
