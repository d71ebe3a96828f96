-- What callosum-neighbours(7) says of nginx.

local neighbours = require "support.neighbours"
local proxies = require "support.proxies"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("NGINX", it)

local version = neighbours.output("nginx", "-v"):match "nginx/(%d+%.%d+)"

-- Runs nginx by an example, and returns its port, too.
local function nginx(example, at, changes, master)
  local port = support.freePorts(1)
  changes[at] = at:gsub("192.0.2.1", "127.0.0.1"):gsub("%d+$", port)
  return proxies.nginx(example("nginx.conf", changes), port, master), port
end

-- Runs the front of an example before a port.
local function front(example, port)
  local ours = support.freePorts(1)
  return neighbours.command(example("command", {
    ["192.0.2.0/24"] = "127.0.0.1", ["192.0.2.1:4040"] = "127.0.0.1:" .. ours,
    ["8080"] = port })), ours
end

-- Does something for each client that has sent something, after a while.
local function serve(script, ms, fn)
  script.connection = function(peer)
    peer.handle:read_stop()
    peer.handle:read_start(function(_, chunk)
      if not chunk then
        return not peer.handle:is_closing() and peer.handle:close()
      end
      local timer = uv.new_timer()
      finally(function()
        if not timer:is_closing() then timer:close() end
      end)
      timer:start(ms, 0, function()
        timer:close()
        if not peer.handle:is_closing() then fn(peer, chunk) end
      end)
    end)
  end
  return support.serve(script)
end

local ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer"

describe("nginx", function()
  seen(version)

  row("In a stream, the end of a client is the end of its answer",
    function(example)
      local server = support.serve { connection = function(peer)
        peer.handle:read_stop()
        peer.handle:read_start(function(_, chunk)
          if chunk or peer.handle:is_closing() then return end
          local timer = uv.new_timer()
          finally(function() timer:close() end)
          timer:start(200, 0, function()
            if peer.handle:is_closing() then return end
            peer.handle:write "answer"
            peer.handle:shutdown()
          end)
        end)
      end }
      for half, answer in pairs { on = "answer", off = "" } do
        local child, port = nginx(example, "192.0.2.1:5432", {
          ["192.0.2.2:5432"] = "127.0.0.1:" .. server.port,
          ["proxy_half_close on"] = "proxy_half_close " .. half })
        local peer = support.connect(port):write("question"):shutdown()
        assert.is_nil(peer:waitEnd())
        assert.equal(answer, peer.received)
        proxies.stop(child)
      end
    end)

  row("What it proxies over HTTP is lost when the client ends its side",
    function(example)
      local server = serve({}, 200, function(peer)
        peer.handle:write(ANSWER)
      end)
      for ignore, answer in pairs { on = "answer", off = "" } do
        local child, port = nginx(example, "127.0.0.1:8080", {
          ["192.0.2.11:8080"] = "127.0.0.1:" .. server.port,
          ["client_abort on"] = "client_abort " .. ignore })
        local own, ours = front(example, port)
        local peer = support.connect(ours)
        assert.equal("0", peer:line())
        peer:write("GET / HTTP/1.0\r\n\r\n"):shutdown()
        assert.is_nil(peer:waitEnd())
        assert.equal(answer, peer.received:match "(%l*)$")
        peer:close()
        proxies.stop(child)
        support.stop(own)
      end
    end)

  row("Each request takes a connection", function(example)
    local server = serve({ send = "0\r\n" }, 0, function(peer, chunk)
      peer.handle:write(ANSWER)
      if chunk:find "Connection: close" then peer.handle:shutdown() end
    end)
    local ours = support.freePorts(1)
    local relay = neighbours.policy(example("policy.lua", {
      ['"192.0.2.11", port = 4040'] = '"127.0.0.1", port = ' .. server.port,
      ["8080"] = ours }))
    local major, minor = version:match "(%d+)%.(%d+)"
    local kept = (tonumber(major) - 1) * 1000 + tonumber(minor) >= 30
    local lines = { "", "proxy_http_version 1.1;",
      'proxy_set_header Connection "";' }
    for i = 1, #lines do
      local before = relay.stats().joined
      local changes = { ["127.0.0.1:8080"] = "127.0.0.1:" .. ours }
      -- Without one of the lines, and last with all of them.
      if i < #lines then
        changes["      " .. lines[i + 1] .. "\n"] = ""
        if i == 1 then changes["    keepalive 8;\n"] = "" end
      end
      local child, port = nginx(example, "192.0.2.1:80", changes)
      local peer = support.connect(port)
      for _ = 1, 3 do
        peer:write "GET / HTTP/1.1\r\nHost: fleet\r\n\r\n"
        peer:take "answer$"
      end
      peer:close()
      assert.equal((kept or i == #lines) and 1 or 3,
        relay.stats().joined - before)
      if i == #lines then
        -- One more than a connection takes, over two of the client's.
        peer = support.connect(port)
        for _ = 1, 2 do
          peer:write(("GET / HTTP/1.1\r\nHost: fleet\r\n\r\n"):rep(499))
          support.run(function()
            return select(2, peer.received:gsub("answer", "")) == 499
          end)
          peer.received = ""
        end
        assert.equal(2, relay.stats().joined - before)
        peer:close()
      end
      proxies.stop(child)
    end
    support.stop(relay)
  end)

  row("A relay that has refused once is left out for ten seconds",
    function(example)
      local other = support.serve { send = "other" }
      for max, count in pairs { [0] = 2, [1] = 0 } do
        local handle, accepted = uv.new_tcp(), 0
        finally(function() handle:close() end)
        assert(handle:bind("127.0.0.1", 0))
        local child, port = nginx(example, "192.0.2.1:5432", {
          ["192.0.2.2:5432 max_fails=0"] = ("127.0.0.1:%d max_fails=%d")
            :format(handle:getsockname().port, max),
          ["192.0.2.3:5432"] = "127.0.0.1:" .. other.port })
        local function ask()
          local peer = support.connect(port)
          peer:take "^other$"
          peer:close()
        end
        for _ = 1, 2 do ask() end
        -- It is there again.
        handle:listen(128, function()
          accepted = accepted + 1
          local client = uv.new_tcp()
          finally(function() client:close() end)
          handle:accept(client)
          client:write "other"
        end)
        for _ = 1, 4 do ask() end
        assert.equal(count, accepted)
        proxies.stop(child)
      end
    end)

  row("Behind a front, a stream accepts without a server", function()
    local port = support.freePorts(1)
    local child = proxies.nginx(([[
stream {
  server {
    listen 127.0.0.1:%d;
    proxy_pass 127.0.0.1:%d;
  }
}
]]):format(port, support.closedPort()), port)
    local ours = support.freePorts(1)
    local own = neighbours.command(
      ("$ callosum-rover front %d %d"):format(ours, port))
    for _ = 1, 3 do
      local peer = support.connect(ours)
      assert.equal("0", peer:line())
      peer:write "question"
      peer:waitEnd()
      assert.equal("", peer.received)
      peer:close()
      support.eventually(function() return own.stats().open == 0 end)
    end
    assert.equal(0, own.stats().refused)
    proxies.stop(child)
    support.stop(own)
  end)

  row("It takes addresses only from proxies that it trusts", function(example)
    for _, line in ipairs { "real_ip_header proxy_protocol;", "" } do
      local child, port = nginx(example, "127.0.0.1:8080",
        { ["real_ip_header proxy_protocol;"] = line })
      local ours = support.freePorts(1)
      local own = neighbours.command(example("command", {
        ["--allow 192.0.2.0/24"] = "--public",
        ["192.0.2.1:4040"] = "127.0.0.1:" .. ours, ["8080"] = port }))
      local peer = uv.new_tcp()
      finally(function() if not peer:is_closing() then peer:close() end end)
      assert(peer:bind("127.0.0.9", 0))
      local received = ""
      peer:connect("127.0.0.1", ours, function(err)
        assert(not err, err)
        peer:write "GET / HTTP/1.0\r\n\r\n"
        peer:read_start(function(_, chunk)
          received = received .. (chunk or "END")
        end)
      end)
      support.run(function() return received:find "END" end)
      assert.equal(line == "" and "127.0.0.1" or "127.0.0.9",
        received:match "\r\n\r\n(%S+)\n")
      peer:close()
      proxies.stop(child)
      support.stop(own)
    end
  end)

  row("Reloads of a stream leave old workers behind", function(example)
    local port = support.freePorts(1)
    local child = proxies.nginx(([[
stream {
  server {
    listen 127.0.0.1:%d;
    proxy_pass 127.0.0.1:%d;
  }
}
]]):format(port, support.echo())
      .. example("nginx.conf", { ["30s"] = "500ms" }), port, true)
    local peer = support.connect(port)
    peer:write("hello"):take "^hello$"
    child:kill "sighup"
    uv.update_time()
    local begin = uv.now()
    peer:waitEnd()
    assert.is_true(uv.now() - begin >= 450)
    proxies.stop(child)
  end)

  complete()
end)
