local proxies = require "support.proxies"
local real = require "support.real"
local support = require "support"

local CONF = [[
daemon off;
pid %s/pid;
error_log %s/error.log;
worker_processes 2;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path %s/body;
  proxy_temp_path %s/proxy;
  fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi;
  scgi_temp_path %s/scgi;
  keepalive_requests 1000000;
  client_max_body_size 100m;
  sendfile on;
  server {
    listen 127.0.0.1:%d;
    listen unix:%s/socket;
    listen unix:%s/proxied proxy_protocol;
    root %s;
    location /files/ { dav_methods PUT; create_full_put_path on; }
    location /small/ { client_max_body_size 1k; dav_methods PUT; }
    location = /status { stub_status; }
    location = /hello { return 200 "hello\n"; }
    location = /me { return 200 "$proxy_protocol_addr\n"; }
  }
}
]]

describe("nginx behind relay and front", function()
  local dir, nginx, front, relay

  -- By its port or one of its Unix sockets.
  local function begin(by, pool, options, ofFront)
    dir = real.dir()
    local port = support.freePorts(1)
    local conf = support.write(dir .. "/nginx.conf",
      (CONF:gsub("%%s", dir):format(port)))
    nginx = real.serve(real.find("nginx", "nginx-light"), { "-p", dir, "-e",
      dir .. "/error.log", "-c", conf }, "QUIT")
    nginx.port = port
    real.reachable(nginx, port)
    front = real.front(by == "port" and port or dir .. "/" .. by, ofFront)
    relay = real.relay({ front.port }, pool, options)
  end

  local function url(path, port)
    return ("http://127.0.0.1:%d%s"):format(port or relay.port, path)
  end

  local function curl(...)
    return real.runs(real.find("curl", "curl"), { "-sS", "--fail", ... })
  end

  local function ends()
    support.stop(relay)
    real.endsAtZero(front)
    support.stop(front)
  end

  for _, by in ipairs { "port", "socket" } do
    it("keeps a connection, by its " .. by, function()
      begin(by)
      local text = curl("-w", "%{num_connects}\n", url "/hello", url "/hello",
        url "/hello")
      assert.equal("hello\n1\nhello\n0\nhello\n0\n", text)
      assert.equal(1, real.stats(front).joined)
      ends()
    end)

    it("takes and gives files, byte for byte, by its " .. by, function()
      begin(by)
      local own = support.tmpdir()
      real.runs("sh", { "-c", 'head -c 30000000 /dev/urandom >"$0/up"', own })
      curl("-T", own .. "/up", url "/files/up")
      real.runs("cmp", { own .. "/up", dir .. "/files/up" })
      curl("-o", own .. "/down", url "/files/up")
      real.runs("cmp", { own .. "/up", own .. "/down" })
      -- 100 Continue, and a body in chunks.
      curl("-H", "Expect: 100-continue", "-H", "Transfer-Encoding: chunked",
        "-T", own .. "/up", url "/files/again")
      real.runs("cmp", { own .. "/up", dir .. "/files/again" })
      -- Who goes away in the midst of it costs nobody else.
      real.runs("sh", { "-c", 'curl -s "$0" | head -c 100000 >/dev/null',
        url "/files/up" })
      curl("-o", own .. "/down", url "/files/up")
      real.runs("cmp", { own .. "/up", own .. "/down" })
      ends()
    end)
  end

  -- It ends its side, and reads on for a while.
  it("says that an upload is too large while that goes on", function()
    begin "port"
    local own = support.tmpdir()
    real.runs("sh", { "-c", 'head -c 30000000 /dev/zero >"$0/up"', own })
    local text = real.runs(real.find("curl", "curl"), { "-sS", "-o",
      "/dev/null", "-w", "%{http_code}", "-H", "Expect:", "-T", own .. "/up",
      url "/small/up" })
    assert.equal("413", text)
    ends()
  end)

  for _, version in ipairs { "v1", "v2" } do
    it("sees who the client is, by PROXY " .. version, function()
      -- The front passes on the relay's header, or its own of the same content.
      for _, ofFront in ipairs { {}, { acceptProxy = true, sendProxy = version,
          trusted = { "127.0.0.1" } } } do
        begin("proxied", nil, { sendProxy = version }, ofFront)
        for i = 2, 5 do
          local address = "127.0.0." .. i
          assert.equal(address .. "\n",
            curl("--interface", address, url "/me"))
        end
        ends()
      end
    end)

    it("sees who the client of HAProxy is, by PROXY " .. version, function()
      local accepts = { acceptProxy = true, sendProxy = version,
        trusted = { "127.0.0.1" } }
      begin("proxied", nil, accepts, accepts)
      local port, path = support.freePorts(1), support.tmpdir() .. "/socket"
      local haproxy = proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d
  bind %s
  server s 127.0.0.1:%d send-proxy%s check inter 50]]):format(port, path,
        relay.port, version == "v1" and "" or "-v2"), port)
      for i = 2, 5 do
        local address = "127.0.0." .. i
        assert.equal(address .. "\n",
          curl("--interface", address, url("/me", port)))
      end
      -- Those of its Unix socket have no address: they come from itself.
      assert.equal("127.0.0.1\n", curl("--unix-socket", path, url "/me"))
      assert.is_nil(haproxy.output:find("DOWN", 1, true), haproxy.output)
      assert.equal(0, real.stats(relay).rejected + real.stats(front).rejected)
      haproxy:kill()
      haproxy:wait()
      ends()
    end)
  end

  it("bears a load", function()
    begin("port", { maxSlots = 50 })
    local text = real.runs(real.find("wrk", "wrk"), { "-t", "2", "-c", "50",
      "-d", "3", "--timeout", "10", url "/hello" })
    assert.matches("%d+ requests in ", text)
    assert.is_nil(text:match "Socket errors")
    assert.is_nil(text:match "Non%-2xx")
    -- It has seen those who were joined, who waited for it, and who asks now.
    local accepted = math.tointeger(
      curl(url("/status", nginx.port)):match "requests\n (%d+)")
    assert.equal(real.stats(front).joined + 2, accepted)
    ends()
  end)
end)
