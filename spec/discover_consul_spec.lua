-- With a server that answers what Consul's documentation of 1.20 says of
-- /v1/health/service and of blocking queries.

local lookups = require "support.lookups"
local support = require "support"
local uv = require "luv"
local web = require "support.web"

describe("A source of Consul", function()
  local consul

  -- { id = { address, port, weight, node } } becomes what it answers.
  local function body()
    local list = {}
    for id, each in pairs(consul.instances) do
      list[#list + 1] = {
        Node = { Node = "n", Address = each[4] or "10.9.9.9" },
        Service = { ID = id, Service = "web", Address = each[1],
          Port = each[2], Weights = { Passing = each[3] or 1, Warning = 1 } },
        Checks = web.EMPTY,
      }
    end
    table.sort(list, function(a, b) return a.Service.ID < b.Service.ID end)
    return web.json(list[1] and list or web.EMPTY)
  end

  local function answer(request)
    request:answer(200, body(), { ["X-Consul-Index"] = consul.index })
  end

  before_each(function()
    local waiting = {}
    consul = { index = 10, requests = {}, instances = {
      a = { "10.0.0.1", 80 }, b = { "", 81, 5, "10.0.0.2" } } }
    consul.server = web.serve(function(request)
      table.insert(consul.requests, request)
      request.index = math.tointeger(request.path:match "[?&]index=(%d+)")
      if consul.bad then return consul.bad(request) end
      if (request.index or 0) < consul.index then return answer(request) end
      waiting[#waiting + 1] = request
    end)
    -- Whoever waits is answered.
    function consul.change(instances, index)
      for id, each in pairs(instances) do consul.instances[id] = each or nil end
      consul.index = index or consul.index + 1
      for _, request in ipairs(waiting) do answer(request) end
      waiting = {}
    end
    function consul.waits(index)
      support.run(function()
        return waiting[1] and waiting[#waiting].index == index
      end)
    end
  end)

  local function source(options)
    local all = { url = consul.server.url, service = "web", interval = 3600000 }
    for name, value in pairs(options or {}) do all[name] = value end
    return lookups.source("consul", all)
  end

  it("has the instances that pass, by blocking queries", function()
    local each = source { datacenter = "dc 1", tag = "a&b" }
    each:has("10.0.0.1:80", "10.0.0.2:81/5")
    assert.equal("/v1/health/service/web?passing=true&dc=dc%201&tag=a%26b",
      consul.requests[1].path)
    consul.waits(10)
    assert.matches("&index=10&wait=3600000ms$", consul.requests[2].path)
    consul.change { c = { "::1", 82 }, b = false }
    each:has("10.0.0.1:80", "[::1]:82")
    consul.waits(11)
    assert.equal(1, each.source:stats().lookups)
    assert.same({}, each.errors)
  end)

  it("asks before it believes a loss that comes bit by bit", function()
    for i = 1, 10 do
      consul.instances["i" .. i] = { "10.0.1." .. i, 80 }
    end
    consul.instances.a, consul.instances.b = nil, nil
    local each = source()
    for i = 1, 5 do
      support.eventually(function() return #each:list() == 11 - i end)
      consul.waits(consul.index)
      consul.change { ["i" .. i] = false }
    end
    support.eventually(function() return #each:list() == 5 end)
    assert.equal(0, each.source:stats().doubted)
    consul.waits(consul.index)
    consul.change { i6 = false }
    each:fails "6 of its 10 servers are gone at once"
    assert.equal(5, #each:list())
    each:has("10.0.1.10:80", "10.0.1.7:80", "10.0.1.8:80", "10.0.1.9:80")
  end)

  it("gives up an index that falls", function()
    local each = source()
    each:has("10.0.0.1:80", "10.0.0.2:81/5")
    consul.waits(10)
    consul.change({ c = { "10.0.0.3", 80 } }, 3)
    each:has("10.0.0.1:80", "10.0.0.2:81/5", "10.0.0.3:80")
    consul.waits(3)
    assert.is_nil(consul.requests[#consul.requests - 1].index)
    consul.change { c = false }
    each:has("10.0.0.1:80", "10.0.0.2:81/5")
  end)

  it("asks again when a wait is over, and not more often than is decent",
    function()
      local each = source()
      each:has("10.0.0.1:80", "10.0.0.2:81/5")
      consul.waits(10)
      local unchanged = each.source:stats().unchanged
      consul.change({}, 10)
      local from = uv.hrtime()
      consul.waits(10)
      consul.change({}, 10)
      consul.waits(10)
      assert.is_true(uv.hrtime() - from > 150e6)
      assert.equal(unchanged, each.source:stats().unchanged)
    end)

  it("keeps its list when Consul fails, and when nothing passes", function()
    local each = source()
    each:has("10.0.0.1:80", "10.0.0.2:81/5")
    consul.waits(10)
    consul.bad = function(request)
      request:answer(500, "No cluster leader")
    end
    consul.change {}
    each:fails "HTTP 500: No cluster leader"
    consul.bad = function(request) request:answer(200, '{"Nodes": []}') end
    each:fails "/v1/health/service/web: not the answer that was expected"
    assert.same({ "10.0.0.1:80", "10.0.0.2:81/5" }, each:list())
    consul.bad, consul.instances = nil, {}
    each:fails "no instance passes its checks"
    assert.same({ "10.0.0.1:80", "10.0.0.2:81/5" }, each:list())
  end)

  it("parses no JSON that would take too much memory", function()
    for name, json in pairs {
        wide = '[{"Service": [' .. ("[],"):rep(1e6) .. "[]]}]",
        deep = ("["):rep(1e5) .. ("]"):rep(1e5) } do
      consul.bad = function(request) request:answer(200, json) end
      source { name = name }:fails "its JSON has too many values, or levels"
    end
  end)

  -- They differ in nothing but their number: it is the text that counts.
  it("has a hundred thousand instances, each of a usual size", function()
    local instance = web.json {
      Node = { Address = "10.0.0.1", Meta = { rack = ("r"):rep(200) } },
      Service = { Address = "", Port = 80, Tags = { 1, 2, 3, 4, 5, 6, 7, 8 },
        Meta = { version = ("v"):rep(200) } },
      Checks = { { Status = "passing", Output = ("o"):rep(200) },
        { Status = "passing", Output = "", Notes = "", Name = "", Type = "" } },
    }
    local count = support.WATCHED and 10000 or 100000
    local list = "[" .. instance:rep(count, ",") .. "]"
    consul.bad = function(request) request:answer(200, list) end
    local each = source { timeout = 60000 }
    each:has "10.0.0.1:80"
    assert.same({}, each.errors)
  end)

  it("sends headers, and a token that it reads anew each time", function()
    local path = support.tmpfile("first\n", "token")
    local each = source { tokenFile = path, headers = { ["X-One"] = "a b" } }
    each:has("10.0.0.1:80", "10.0.0.2:81/5")
    consul.waits(10)
    for _, request in ipairs(consul.requests) do
      assert.equal("Bearer first", request.headers.authorization)
      assert.equal("a b", request.headers["x-one"])
    end
    support.write(path, "second")
    consul.change { b = false }
    each:has "10.0.0.1:80"
    consul.waits(11)
    local last = consul.requests[#consul.requests]
    assert.equal("Bearer second", last.headers.authorization)
    assert.equal("a b", last.headers["x-one"])
  end)

  it("verifies Consul, and shows it a certificate", function()
    local paths, port = web.certificates(), support.freePorts(1)
    web.nginx(port, paths, body())
    local url = ("https://localhost:%d"):format(port)
    source { url = url, name = "both", tls = { ca = paths.ca,
      cert = paths.clientCert, key = paths.clientKey } }
      :has("10.0.0.1:80", "10.0.0.2:81/5")
    source { url = url, name = "no ca" }:fails "certificate"
    source { url = url, name = "no cert", tls = { ca = paths.ca } }
      :fails "HTTP 400"
  end)

  it("only polls where there is no index", function()
    consul.bad = function(request) request:answer(200, body()) end
    local each = source { interval = 100 }
    each:has("10.0.0.1:80", "10.0.0.2:81/5"):settles(2)
    for _, request in ipairs(consul.requests) do
      assert.is_nil(request.index)
    end
  end)

  -- One thread, which opens a pipe that nobody writes to.
  it("keeps no answers that nobody reads while all threads hang", function()
    local large = "[" .. (" "):rep(16 << 20) .. "]"
    consul.bad = function(request) request:answer(200, large) end
    local pipe = support.tmpdir() .. "/pipe"
    assert(os.execute("mkfifo " .. pipe))
    local child = support.policy([[
      local host = require "callosum.host"
      local uv = require "luv"
      uv.fs_open(host.args[2], "r", 0, function() end)
      local d = require "callosum.discover".consul { service = "web",
        url = host.args[1], interval = 3600000, timeout = 1000 }
      d:on("error", function(err)
        host.log.info("failed", { err = tostring(err),
          memory = uv.resident_set_memory() >> 20 })
      end)
      d:attach(require "callosum.rover".new())
    ]], { args = { consul.server.url, pipe },
      env = { UV_THREADPOOL_SIZE = "1" } })
    local first = support.logged(child, "failed", 1)
    assert.matches("no answer within 1000 ms", first.err)
    local second = support.logged(child, "failed", 2)
    assert.is_true(support.WATCHED or second.memory - first.memory < 8)
    io.open(pipe, "w"):close()
    support.stop(child)
  end)
end)
