-- With a server that answers what Kubernetes' documentation of 1.34 says of
-- lists, watches and bookmarks, of discovery.k8s.io/v1.

local lookups = require "support.lookups"
local support = require "support"
local web = require "support.web"

local function endpoint(address, ready)
  return { addresses = { address }, conditions = { ready = ready } }
end

-- Of a service "web", with two ports.
local function slice(name, endpoints, version, kind)
  return {
    metadata = { name = name, resourceVersion = version or "1" },
    addressType = kind or "IPv4",
    endpoints = endpoints[1] and endpoints or web.EMPTY,
    ports = { { name = "dns", protocol = "UDP", port = 53 },
      { name = "http", protocol = "TCP", port = 80 },
      { name = "rover", protocol = "TCP", port = 4040 } },
  }
end

describe("A source of Kubernetes", function()
  local api

  before_each(function()
    api = { requests = {}, watches = {}, version = "100", slices = {
      slice("web-1", { endpoint("10.0.0.1"), endpoint("10.0.0.2", true),
        endpoint("10.0.0.3", false) }) } }
    api.server = web.serve(function(request)
      table.insert(api.requests, request)
      if api.bad then return api.bad(request) end
      if request.path:find "watch=true" then
        request:stream()
        table.insert(api.watches, request)
      else
        request:answer(200, web.json { kind = "EndpointSliceList",
          metadata = { resourceVersion = api.version }, items = api.slices })
      end
    end)
    function api.watched(count)
      support.run(function() return #api.watches >= count end)
      return api.watches[count]
    end
    function api.event(type, object)
      local watch = api.watched(math.max(1, #api.watches))
      watch:send(web.json { type = type, object = object } .. "\n")
    end
  end)

  local function source(options)
    local all = { url = api.server.url, service = "web", interval = 3600000,
      portName = "rover" }
    for name, value in pairs(options or {}) do all[name] = value end
    return lookups.source("kubernetes", all)
  end

  it("lists again before it believes a loss that comes in several events",
    function()
      local all = {}
      for i = 1, 4 do all[i] = endpoint("10.0.0." .. i) end
      api.slices = { slice("web-1", all) }
      local each = source()
      each:has("10.0.0.1:4040", "10.0.0.2:4040", "10.0.0.3:4040",
        "10.0.0.4:4040")
      api.event("MODIFIED", slice("web-1", { endpoint "10.0.0.1" }))
      each:fails "3 of its 4 servers are gone at once"
      for i = 5, 8 do -- each is told before the next, or after a list
        local told
        support.eventually(function()
          api.event("MODIFIED", slice("web-1", { endpoint "10.0.0.1",
            endpoint("10.0.0." .. i) }))
          for _, update in ipairs(each.updates) do
            for _, id in ipairs(update[1]) do
              told = told or id == "10.0.0." .. i .. ":4040"
            end
          end
          return told
        end)
      end
      for i = 1, 4 do
        assert.is_table(each.rover:servers()["10.0.0." .. i .. ":4040"])
      end
      local one = slice("web-1", { endpoint "10.0.0.1" })
      api.slices = { one }
      api.event("MODIFIED", one)
      each:has "10.0.0.1:4040"
      assert.is_true(each.source:stats().lookups >= 3)
    end)

  it("lists at its interval, though its watch has much to say", function()
    local each = source { interval = 200 }
    api.watched(1)
    local timer = require "luv".new_timer()
    timer:start(20, 20, support.watched(function()
      api.event("MODIFIED", slice("web-1", { endpoint "10.0.0.1" }))
    end))
    support.atEnd(function() timer:close() end)
    support.eventually(function()
      return each.source:stats().lookups >= 4
    end)
  end)

  it("has the ready endpoints of all slices, each once", function()
    api.slices[2] = slice("web-2", { endpoint "10.0.0.2", endpoint "10.0.0.4" })
    api.slices[3] = slice("web-6", { endpoint "fd00::1" }, "1", "IPv6")
    local each = source { namespace = "shop" }
    each:has("10.0.0.1:4040", "10.0.0.2:4040", "10.0.0.4:4040",
      "[fd00::1]:4040")
    assert.equal("/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices"
      .. "?labelSelector=kubernetes.io%2Fservice-name%3Dweb",
      api.requests[1].path)
    source { name = "four", family = "ipv4", portName = "http" }
      :has("10.0.0.1:80", "10.0.0.2:80", "10.0.0.4:80")
    source { name = "port", family = "ipv6", port = 9 }:has "[fd00::1]:9"
  end)

  it("watches them from the list on", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    assert.matches("&watch=true&allowWatchBookmarks=true&resourceVersion=100$",
      api.watched(1).path)
    api.event("ADDED", slice("web-2", { endpoint "10.0.0.4",
      endpoint "10.0.0.1" }, "101"))
    each:has("10.0.0.1:4040", "10.0.0.2:4040", "10.0.0.4:4040")
    api.event("MODIFIED", slice("web-1", { endpoint "10.0.0.5" }, "102"))
    each:has("10.0.0.1:4040", "10.0.0.4:4040", "10.0.0.5:4040")
    api.event("DELETED", slice("web-1", { endpoint "10.0.0.5" }, "103"))
    each:has("10.0.0.1:4040", "10.0.0.4:4040")
    assert.equal(1, each.source:stats().lookups)
    assert.same({}, each.errors)
  end)

  it("goes on from the last version, a bookmark's too", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    api.event("BOOKMARK", { metadata = { resourceVersion = "150" } })
    api.watches[1]:finish()
    assert.matches("&resourceVersion=150$", api.watched(2).path)
    api.event("ADDED", slice("web-2", { endpoint "10.0.0.4" }, "151"))
    each:has("10.0.0.1:4040", "10.0.0.2:4040", "10.0.0.4:4040")
    assert.equal(3, #api.requests)
    assert.same({}, each.errors)
  end)

  it("lists anew when its version is gone", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    api.watched(1)
    local one = endpoint "10.0.0.1"
    api.slices = { slice("web-1", { one, endpoint "10.0.0.6" }) }
    api.version = "200"
    api.event("ERROR", { kind = "Status", code = 410, reason = "Expired" })
    each:has("10.0.0.1:4040", "10.0.0.6:4040")
    assert.matches("&resourceVersion=200$", api.watched(2).path)
    api.bad = function(request)
      api.bad = nil
      request:answer(410, '{"kind": "Status", "code": 410}')
    end
    api.slices = { slice("web-1", { one, endpoint "10.0.0.7" }) }
    api.watches[2]:finish()
    each:has("10.0.0.1:4040", "10.0.0.7:4040")
    assert.same({}, each.errors)
  end)

  it("reads its token anew, and keeps its list when that is refused",
    function()
      local path = support.tmpfile("old", "token")
      local each = source { tokenFile = path }
      each:has("10.0.0.1:4040", "10.0.0.2:4040")
      assert.equal("Bearer old", api.watched(1).headers.authorization)
      api.bad = function(request)
        if request.headers.authorization == "Bearer new" then
          api.bad = nil
          return request:answer(200, web.json {
            metadata = { resourceVersion = "300" },
            items = { slice("web-1", { endpoint "10.0.0.1",
              endpoint "10.0.0.9" }) } })
        end
        request:answer(401, '{"kind": "Status", "code": 401}')
      end
      api.watches[1]:finish()
      each:fails "HTTP 401 %(see headers, tokenFile or tls%)"
      assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
      support.write(path, "new")
      each:has("10.0.0.1:4040", "10.0.0.9:4040")
    end)

  it("keeps its list when what comes is not of the API", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    api.watched(1):send "{}\n"
    each:fails "Kubernetes' watch: not an event of its API"
    api.watched(2):send '{"type": "ERROR", "object": {"code": 500, '
    api.watches[2]:send '"message": "etcd is slow"}}\n'
    each:fails "Kubernetes' watch: etcd is slow"
    api.bad = function(request) request:answer(200, '{"items": {}}') end
    each:fails "endpointslices: not the answer that was expected"
    assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
  end)

  it("says that a connection broke, not that half a line is wrong", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    api.watched(1):send '{"type": "MODI'
    api.watches[1].peer:reset()
    local err = each:fails "kubernetes web: "
    assert.is_nil(tostring(err):find("not an event", 1, true))
    assert.equal("ECONNRESET", err.code)
    api.watched(2)
    assert.same({}, each.errors)
  end)

  it("keeps its list when no endpoint is ready", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    api.watched(1)
    local unready = { endpoint("10.0.0.1", false) }
    api.event("MODIFIED", slice("web-1", unready, "101"))
    each:fails "no endpoint is ready"
    assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
  end)

  it("takes items that are null for none", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    local watch = api.watched(1)
    api.bad = function(request)
      request:answer(200,
        '{"metadata": {"resourceVersion": "7"}, "items": null}')
    end
    watch.peer:close()
    each:fails "no endpoint is ready"
    assert.equal(0, each.source:stats().failures)
    assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
  end)

  it("does not keep all that a server can think of", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    local items = {}
    for i = 1, 4e5 do items[i] = '{"metadata":{"name":"' .. i .. '"}}' end
    local list = '{"metadata":{"resourceVersion":"7"},"items":['
      .. table.concat(items, ",") .. "]}"
    local watch = api.watched(1)
    api.bad = function(request) request:answer(200, list) end
    watch.peer:close()
    each:fails "endpointslices: more than is kept of one source"
    assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
  end)

  it("does not keep a line without an end", function()
    local each = source()
    each:has("10.0.0.1:4040", "10.0.0.2:4040")
    local watch = api.watched(1)
    watch:send(("x"):rep(33 << 20))
    each:fails "its watch says too much at once"
    api.watched(2)
    assert.same({ "10.0.0.1:4040", "10.0.0.2:4040" }, each:list())
  end)
end)
