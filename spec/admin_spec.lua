local http = require "support.http"
local support = require "support"
local uv = require "luv"

local ask, get, post = http.ask, http.get, http.post
local events, logged, stop = support.events, support.logged, support.stop

describe("a running host", function()
  it("answers at a Unix socket and a port", function()
    local child, path, address = http.policy()
    for _, at in ipairs { path, address } do
      local body, headers = get(at, "/metrics")
      assert.matches("\n# TYPE callosum_rover_attempts_total counter\n", body)
      assert.equal("text/plain; version=0.0.4; charset=utf-8",
        headers["content-type"])
      assert.matches("^<!", (get(at, "/")))
      assert.matches("/metrics", ask(at, "GET", "/nothing").body)
    end
    stop(child)
    assert.is_nil(uv.fs_lstat(path))
  end)

  it("answers in a connection as often as it is asked, in order", function()
    local child, path = http.policy()
    local peer = http.connect(path)
    for _ = 1, 3 do get(peer, "/metrics") end
    peer:write(http.request("GET", "/") .. http.request("GET", "/nothing")
      .. http.request("HEAD", "/metrics")
      .. http.request("GET", "/", { Connection = "close" })
      .. http.request("GET", "/"))
    assert.equal(200, http.answer(peer).status)
    assert.equal(404, http.answer(peer).status)
    assert.equal(200, http.answer(peer, true).status)
    assert.equal("close", http.answer(peer).headers.connection)
    assert.is_nil(peer:waitEnd())
    assert.equal("", peer.received)
    stop(child)
  end)

  it("answers whether a policy can be reloaded or not", function()
    local child, path = http.policy()
    support.write(child.path, "error 'on purpose'")
    child:kill "sighup"
    logged(child, "reload failed, the old policy goes on")
    get(path, "/metrics")
    support.write(child.path, http.IDLE)
    child:kill "sighup"
    logged(child, "policy reloaded")
    get(path, "/metrics")
    stop(child)
  end)

  it("gives OpenMetrics to who accepts it", function()
    local child, path = http.policy()
    local body, headers = get(path, "/metrics", { Accept =
      "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5" })
    assert.equal("application/openmetrics-text; version=1.0.0; charset=utf-8",
      headers["content-type"])
    assert.matches("\n# EOF\n$", body)
    assert.equal(400, ask(path, "GET", "/metrics?servers=some").status)
    stop(child)
  end)

  describe("asked to reload", function()
    it("says what came of it", function()
      local child, path = http.policy()
      local status, result = post(path, "/reload")
      assert.equal(200, status)
      assert.same({ generation = 2, adopted = 0, closed = 0, ms = result.ms },
        result)
      assert.is_true(result.ms > 0)
      assert.equal("admin", logged(child, "policy reloaded").trigger)
      stop(child)
    end)

    it("says why it failed, and where", function()
      local child, path = http.policy()
      support.write(child.path,
        "local function f() error 'on purpose' end\nf()")
      local status, result = post(path, "/reload")
      assert.equal(422, status)
      assert.matches("policy.lua:1: on purpose$", result.error)
      assert.matches("policy.lua:2: in main chunk", result.traceback)
      support.write(child.path, "nonsense \xff")
      status, result = post(path, "/reload")
      assert.equal(422, status)
      assert.matches("policy.lua:1: ", result.error)
      support.write(child.path, http.IDLE)
      assert.equal(200, post(path, "/reload"))
      stop(child)
    end)

    it("answers all who have asked, once each", function()
      local child, path = http.policy()
      local peers = {}
      for i = 1, 5 do
        peers[i] = http.connect(path):write(http.request("POST", "/reload",
          { ["Callosum-Control"] = "1" }):rep(2))
      end
      for _ = 1, 2 do
        for _, peer in ipairs(peers) do
          assert.equal(200, http.answer(peer).status)
        end
      end
      stop(child)
    end)
  end)

  it("changes the level of its log", function()
    local child, path = http.policy([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new()
      host.log.debug "loaded"
    ]], { flags = { "--log-level", "info" } })
    assert.equal(0, #events(child, "loaded"))
    assert.same({ 200, { level = "debug" } },
      { post(path, "/log", { level = "debug" }) })
    assert.equal(200, post(path, "/reload"))
    logged(child, "loaded")
    assert.same({ 400, { error = "level is debug, info, warn or error" } },
      { post(path, "/log", { level = "loud" }) })
    assert.same({ 400,
      { error = "there is no field 'levle'; valid are level" } },
      { post(path, "/log", { levle = "info" }) })
    stop(child)
  end)

  it("hands its addresses to the process that takes over", function()
    local child, path, address = http.policy()
    local inode, pid = uv.fs_lstat(path).ino, child.pid
    local idle = http.connect(path)
    get(idle, "/metrics")
    for n = 1, 2 do
      uv.kill(pid, "sigusr2")
      pid = logged(child, "another process has taken over", n).pid
      support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
      for _, at in ipairs { path, address } do get(at, "/metrics") end
      assert.equal(inode, uv.fs_lstat(path).ino)
    end
    assert.is_nil(idle:waitEnd())
    assert.equal(200, (post(path, "/reload")))
    uv.kill(pid, "sigterm")
    support.eventually(function() return not uv.fs_lstat(path) end)
    assert.same({ 0, 0 }, { child:wait() })
  end)

  it("keeps its addresses if none can take over", function()
    local child, path, address = http.policy()
    support.write(child.path, "error 'on purpose'")
    child:kill "sigusr2"
    logged(child, "upgrade failed, this process goes on")
    for _, at in ipairs { path, address } do get(at, "/metrics") end
    support.write(child.path, http.IDLE)
    assert.equal(200, (post(path, "/reload")))
    stop(child)
    assert.is_nil(uv.fs_lstat(path))
  end)
end)
