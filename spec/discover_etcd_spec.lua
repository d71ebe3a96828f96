-- With the etcd that Debian has (3.4 or 3.5).

local lookups = require "support.lookups"
local support = require "support"
local web = require "support.web"

-- Base64 by the system, since Lua has none.
local function base64(text)
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    .. "0123456789+/"
  return (text:gsub("..?.?", function(bytes)
    local a, b, c = bytes:byte(1, 3)
    local bits, out = a << 16 | (b or 0) << 8 | (c or 0), ""
    for i = 0, #bytes do
      local at = (bits >> 18 - 6 * i & 63) + 1
      out = out .. digits:sub(at, at)
    end
    return out .. ("="):rep(3 - #bytes)
  end))
end

describe("A source of etcd", function()
  local etcd

  -- `tls` is nil, or paths of web.certificates().
  local function start(dir, port, peers, tls)
    local url = (tls and "https" or "http") .. "://127.0.0.1:" .. port
    local args = { "--data-dir", dir, "--name", "one",
      "--listen-client-urls", url, "--advertise-client-urls", url,
      "--listen-peer-urls", "http://127.0.0.1:" .. peers,
      "--initial-advertise-peer-urls", "http://127.0.0.1:" .. peers,
      "--initial-cluster", "one=http://127.0.0.1:" .. peers }
    for _, each in ipairs(tls and { "--cert-file", tls.cert, "--key-file",
        tls.key, "--trusted-ca-file", tls.ca, "--client-cert-auth" } or {}) do
      args[#args + 1] = each
    end
    local child = support.spawn("etcd", args, { env = { LD_PRELOAD = false } })
    return web.listens(child, port)
  end

  -- Asks etcd itself; returns the answer's text.
  local function call(what, body)
    local peer = support.connect(etcd.port)
    local text = web.json(body)
    peer:write(("POST /v3/%s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s")
      :format(what, #text, text))
    peer:waitEnd()
    assert.matches("^HTTP/1.. 200 ", peer.received)
    return peer.received
  end

  local function put(key, value)
    return call("kv/put", { key = base64(key), value = base64(value) })
  end

  local function delete(from, to)
    return call("kv/deleterange", { key = base64(from),
      range_end = to and base64(to) })
  end

  before_each(function()
    local dir, port, peers = support.tmpdir(), support.freePorts(2)
    etcd = { port = port, url = "http://127.0.0.1:" .. port,
      child = start(dir .. "/data", port, peers) }
    function etcd.restart(tls)
      etcd.child:kill():wait()
      etcd.child = start(dir .. "/data", port, peers, tls)
    end
  end)

  local function source(options)
    local all = { url = etcd.url, prefix = "/web/" }
    for name, value in pairs(options or {}) do all[name] = value end
    all.interval = all.interval or 3600000
    return lookups.source("etcd", all)
  end

  -- Between the source and etcd: a request for a watch waits until `goOn`.
  local function gate()
    local self = { held = 0 }
    local waiting = {}
    local server = support.serve { connection = function(peer)
      local upstream = support.connect(etcd.port)
      upstream.handle:read_stop()
      peer.handle:read_stop()
      peer.handle:read_start(function(_, chunk)
        if not chunk then return upstream:close() end
        if chunk:find("/v3/watch", 1, true) and not self.isOpen then
          self.held = self.held + 1
          waiting[#waiting + 1] = function() upstream:write(chunk) end
        else
          upstream:write(chunk)
        end
      end)
      support.run(function() return upstream.connected end)
      upstream.handle:read_stop()
      upstream.handle:read_start(function(_, chunk)
        if chunk then peer:write(chunk) else peer:close() end
      end)
    end }
    function self.goOn()
      self.isOpen = true
      for _, fn in ipairs(waiting) do fn() end
    end
    self.url = "http://127.0.0.1:" .. server.port
    return self
  end

  it("has what is there, and what comes, changes and goes", function()
    put("/web/a", "10.0.0.1:80")
    put("/weba", "10.9.9.9:80")
    local each = source { port = 4040 }
    each:has "10.0.0.1:80"
    put("/web/b", '{"host": "10.0.0.2", "port": 81, "weight": 3}')
    put("/web/c", '{"Op": 0, "Addr": "10.0.0.3:82", "Metadata": null}')
    put("/web/[::1]:99", "")
    put("/web/d", "10.0.0.4")
    put("/web/e", "not: an: address")
    each:has("10.0.0.1:80", "10.0.0.2:81/3", "10.0.0.3:82", "10.0.0.4:4040",
      "[::1]:99")
    put("/web/a", "10.0.0.5:80")
    delete "/web/b"
    each:has("10.0.0.3:82", "10.0.0.4:4040", "10.0.0.5:80", "[::1]:99")
    assert.equal(1, each.source:stats().lookups)
    assert.same({}, each.errors)
  end)

  it("counts keys without an address as wrong", function()
    put("/web/a", "10.0.0.1:80")
    put("/web/b", "nothing of the kind!")
    local each = source()
    each:has "10.0.0.1:80"
    assert.equal(1, each.source:stats().invalid)
    put("/web/b", "10.0.0.2:80")
    each:has("10.0.0.1:80", "10.0.0.2:80")
    assert.equal(1, each.source:stats().invalid)
    assert.same({}, each.errors)
    source { name = "wrong", prefix = "/weba" }
      :fails "no key has the prefix and an address"
    put("/weba", "nothing of the kind!")
    source { name = "all", prefix = "/weba" }
      :fails "none of what it lists is a server"
  end)

  it("keeps its list when it is emptied, and asks before it believes a loss",
    function()
      local none = source { name = "none", prefix = "/none/" }
      none:fails "no key has the prefix and an address"
      for i = 1, 4 do put("/web/" .. i, "10.0.0." .. i .. ":80") end
      local each = source { confirm = 2 }
      each:has("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
      delete("/web/2", "/web/5")
      each:fails "3 of its 4 servers are gone at once"
      assert.equal(4, #each:list())
      each:has "10.0.0.1:80"
      assert.equal(2, each.source:stats().lookups)
      delete "/web/1"
      each:fails "empty"
      assert.same({ "10.0.0.1:80" }, each:list())
    end)

  it("asks before it believes a loss that comes key by key", function()
    for i = 0, 9 do put("/web/" .. i, "10.0.0." .. i .. ":80") end
    local each = source()
    support.eventually(function() return #each:list() == 10 end)
    for i = 1, 5 do delete("/web/" .. i) end
    each:has("10.0.0.0:80", "10.0.0.6:80", "10.0.0.7:80", "10.0.0.8:80",
      "10.0.0.9:80")
    assert.same({}, each.errors)
    delete "/web/6"
    each:fails "6 of its 10 servers are gone at once"
    assert.equal(5, #each:list())
    for i = 7, 9 do delete("/web/" .. i) end
    each:has "10.0.0.0:80"
    assert.is_true(each.source:stats().lookups >= 3)
  end)

  it("does not doubt that its keys are replaced one by one", function()
    for i = 1, 4 do put("/web/" .. i, "10.0.0." .. i .. ":80") end
    local each = source()
    support.eventually(function() return #each:list() == 4 end)
    for i = 1, 4 do
      local id = "10.0.1." .. i .. ":80"
      put("/web/" .. i, id)
      support.eventually(function()
        return each.rover:servers()[id] and #each:list() == 4
      end)
    end
    assert.same({ 1, 0 },
      { each.source:stats().lookups, each.source:stats().doubted })
  end)

  it("reads anew when a compaction has cancelled its watch", function()
    put("/web/a", "10.0.0.1:80")
    local between = gate()
    local each = source { url = between.url }
    each:has "10.0.0.1:80"
    support.run(function() return between.held == 1 end)
    put("/web/b", "10.0.0.2:80")
    local revision = put("/web/c", "10.0.0.3:80"):match '"revision":"(%d+)"'
    call("kv/compaction", { revision = revision })
    between.goOn()
    each:has("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
    put("/web/d", "10.0.0.4:80")
    each:has("10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
    assert.same({}, each.errors)
  end)

  it("reads anew after the interval, though its watch says nothing", function()
    local between = gate()
    put("/web/a", "10.0.0.1:80")
    local each = source { url = between.url, interval = 200 }
    each:has "10.0.0.1:80"
    put("/web/b", "10.0.0.2:80")
    each:has("10.0.0.1:80", "10.0.0.2:80")
  end)

  it("outlives a restart of etcd", function()
    put("/web/a", "10.0.0.1:80")
    local each = source()
    each:has "10.0.0.1:80"
    etcd.restart()
    each:fails "etcd"
    put("/web/b", "10.0.0.2:80")
    each:has("10.0.0.1:80", "10.0.0.2:80")
  end)

  it("verifies etcd, and shows it a certificate", function()
    local paths = web.certificates()
    put("/web/a", "10.0.0.1:80")
    etcd.restart(paths)
    local url = "https://localhost:" .. etcd.port
    source { name = "no ca", url = url }:fails "certificate"
    source { name = "no cert", url = url, tls = { ca = paths.ca } }
      :fails "/v3/kv/range: "
    local each = source { url = url, tls = { ca = paths.ca,
      cert = paths.clientCert, key = paths.clientKey } }
    each:has "10.0.0.1:80"
    assert.same({}, each.errors)
  end)

  -- A token of etcd is sent as it is.
  it("sends headers, and a token that it reads anew each time", function()
    local path, requests = support.tmpfile("first\n", "token"), {}
    local server = web.serve(function(request)
      requests[#requests + 1] = request
      if request.path == "/v3/watch" then return request:stream() end
      request:answer(200, web.json { header = { revision = "5" }, kvs = { {
        key = base64 "/web/a", value = base64 "10.0.0.1:80" } } })
    end)
    local function asked(count)
      support.run(function() return #requests >= count end)
      for i = count - 1, count do
        assert.equal("a b", requests[i].headers["x-one"])
      end
      return requests[count - 1].headers.authorization,
        requests[count].headers.authorization
    end
    local each = source { url = server.url, tokenFile = path,
      headers = { ["X-One"] = "a b" } }
    each:has "10.0.0.1:80"
    assert.same({ "first", "first" }, { asked(2) })
    support.write(path, "second")
    requests[2].peer:close()
    assert.same({ "second", "second" }, { asked(4) })
  end)

  it("says that something else answers", function()
    local other = web.serve(function(request) request:answer(200, "{}") end)
    source { url = other.url }
      :fails "/v3/kv/range: not the answer that was expected"
    local old = web.serve(function(request)
      request:answer(404, "404 page not found\n")
    end)
    source { name = "old", url = old.url }
      :fails "/v3/kv/range: HTTP 404: 404 page not found"
  end)
end)
