local http = require "support.http"
local json = require "dkjson"
local support = require "support"
local uv = require "luv"

local ask, get, post = http.ask, http.get, http.post
local events, logged, stop = support.events, support.logged, support.stop

local LOST = "some decisions by hand are lost: the policy has no such rover "
  .. "or front"

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

  describe("answers whatever its policy does:", function()
    -- Runs a policy that does something bad every 20 ms.
    local function bad(what, flags, message)
      local child, path, address = http.policy([[
        local uv = require "luv"
        require "callosum.rover".new():on("error", function() end)
        local kept = {}
        uv.new_timer():start(0, 20, function()
      ]] .. what .. "\nend)", { flags = flags })
      assert.is_true(os.execute("prlimit --nofile=400 --pid " .. child.pid))
      logged(child, message)
      for _ = 1, 3 do
        for _, at in ipairs { path, address } do
          get(at, "/metrics")
          assert.equal("running", json.decode((get(at, "/status"))).state)
        end
      end
      support.write(child.path, http.IDLE)
      local code, answer = post(path, "/reload")
      assert.equal(200, code, answer.error)
      stop(child)
    end

    it("it does not return", function()
      bad("while true do end", { "--budget", "50" }, "policy error")
    end)

    it("it raises errors", function()
      bad("error 'on purpose'", {}, "policy error")
    end)

    it("it uses all of its memory", function()
      bad("while true do kept[#kept + 1] = ('x'):rep(#kept) end",
        { "--memory", "8M" }, "policy error")
    end)

    it("it uses up all descriptors", function()
      bad([[
        for _ = 1, 100 do
          if not uv.fs_open("/dev/null", "r", 0) then
            return require "callosum.host".log.info "none left"
          end
        end
      ]], {}, "none left")
    end)
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

  it("tells its status, of the servers that are asked for", function()
    local child, path = http.policy [[
      local rover = require "callosum.rover"
      for _, name in ipairs { "main", "other" } do
        local r = rover.new { name = name }
        for i = 1, 150 do
          r:addServer("s" .. i, { host = "127.0.0.1", port = i })
        end
        r:on("error", function() end)
      end
    ]]
    local function status(query)
      local body, headers = get(path, "/status" .. query)
      assert.equal("application/json", headers["content-type"])
      return json.decode(body)
    end
    local all = status ""
    assert.same({ "running", child.pid, 1 },
      { all.state, all.pid, all.generation })
    assert.same({ 2, 100, 150 },
      { #all.rovers, #all.rovers[1].servers, all.rovers[1].serverCount })
    assert.same({}, status "?rover=other&servers=none".rovers[1].servers or {})
    local some = status
      "?rover=other&sort=id&order=desc&offset=1&limit=2&search=s1".rovers
    assert.equal("other", some[1].name)
    assert.same({ 1, 2, "s18", "s17" },
      { #some, #some[1].servers, some[1].servers[1].id,
        some[1].servers[2].id })
    assert.equal(1, #status "?search=s%31%350".rovers[1].servers)
    for query, message in pairs {
      ["sort=size"] = "sort is not 'size'; valid are connections, id, share, "
        .. "slot, unreachable",
      ["order=up"] = "order is not 'up'; valid are asc, desc",
      ["limit=1001"] = "limit is a number from 0 to 1000",
      ["limit="] = "limit is a number", ["limit=+1"] = "limit is a number",
      ["offset=-1"] = "offset is a number",
      ["sotr=id"] = "there is no parameter 'sotr'; valid are rover, search",
      ["sort=id&sort=id"] = "sort is given twice",
      ["search=%zz"] = "search is too long, or not encoded as in a URL",
      ["search=%00"] = "search is too long, or not encoded as in a URL",
      ["search=" .. ("x"):rep(300)] = "search is too long" } do
      local answer = ask(path, "GET", "/status?" .. query)
      assert.equal(400, answer.status, query)
      assert.is_truthy(answer.body:find(message, 1, true), answer.body)
    end
    local answer = ask(path, "GET", "/status?rover=none")
    assert.same({ 404, "there is no rover of that name\n" },
      { answer.status, answer.body })
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
      if n == 2 then logged(child, "the process before this one has ended") end
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

  it("keeps what was decided by hand when another takes over", function()
    local folder = support.tmpdir()
    local list = support.write(folder .. "/list", "127.0.0.1:1\n127.0.0.1:2\n")
    local script = ([[
      local discover = require "callosum.discover"
      local r = require "callosum.rover".new { name = %q, servers = {
        a = { host = "127.0.0.1", port = 1 },
        b = { host = "127.0.0.1", port = 1 } } }
      discover.file { path = %q }:attach(r)
      require "callosum.front".new { listen = { path = %q },
        backend = { port = 1 } }
    ]])
    local function policy(name)
      return script:format(name, list, folder .. "/front")
    end
    local child, path = http.policy(policy "main")
    local function servers()
      local states, status = {}, json.decode((get(path, "/status")))
      for _, each in ipairs(status.rovers[1].servers) do
        states[each.id] = each.byHand and each.state or "none"
      end
      return states, status.state
    end
    support.eventually(function() return servers()["127.0.0.1:2"] end)
    for at, body in pairs { ["/servers/a/pause"] = false,
        ["/servers/b/drain"] = false, ["/servers/127.0.0.1:1/drop"] = false,
        ["/servers"] = { id = "c d", host = "::1", port = 7 },
        ["/drain"] = { ms = 0 } } do
      assert.equal(200, (post(path, at, body or nil)))
    end
    assert.equal(200, (post(path, "/servers",
      { id = "gone", host = "::1", port = 8 })))
    assert.equal(200, (post(path, "/servers/gone/drop")))
    local before = servers()
    assert.same({ a = "paused", b = "draining", ["127.0.0.1:1"] = "dropped",
      ["127.0.0.1:2"] = "none", ["c d"] = "none", gone = "dropped" }, before)
    uv.kill(child.pid, "sigusr2")
    local pid = logged(child, "another process has taken over").pid
    support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
    support.eventually(function() return servers()["127.0.0.1:2"] end)
    local after, state = servers()
    assert.same(before, after)
    assert.equal("draining", state)
    assert.equal(200, (post(path, "/resume")))
    for at, id in pairs { ["/servers/gone/resume"] = "gone",
        ["/servers/127.0.0.1:1/resume"] = "127.0.0.1:1" } do
      assert.equal(200, (post(path, at)))
      assert.equal("none", servers()[id])
    end
    assert.equal(200, (post(path, "/reload")))
    assert.equal("none", servers()["c d"])

    -- A rover of another name.
    logged(child, "the process before this one has ended")
    support.write(child.path, policy "other")
    uv.kill(pid, "sigusr2")
    pid = logged(child, "another process has taken over", 2).pid
    support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
    assert.equal(4, logged(child, LOST).decisions) -- a, b, "c d", gone
    uv.kill(pid, "sigterm")
    support.eventually(function() return not uv.fs_lstat(path) end)
  end)

  it("changes nothing while another process is being started", function()
    local flag = support.tmpdir() .. "/slow"
    local child, path = http.policy(([[
      local uv = require "luv"
      require "callosum.rover".new { servers = {
        a = { host = "127.0.0.1", port = 1 } } }
      if uv.fs_stat %q then
        require "callosum.host".log.info("loading", { pid = uv.os_getpid() })
        uv.sleep(60000)
      end
    ]]):format(flag), { flags = { "--load-budget", "100000" } })
    support.write(flag, "")
    child:kill "sigusr2"
    local pid = logged(child, "loading").pid
    support.atEnd(function() pcall(uv.kill, pid, "sigkill") end)
    for _, at in ipairs { "/servers/a/drop", "/reload", "/drain" } do
      assert.same({ 409, { error = "another process is being started" } },
        { post(path, at) })
    end
    uv.fs_unlink(flag)
    uv.kill(pid, "sigkill")
    logged(child, "upgrade failed, this process goes on")
    assert.equal(200, (post(path, "/servers/a/drop")))
    stop(child)
  end)

  it("removes its socket though a request of the policy never ends", function()
    local fifo = support.tmpdir() .. "/fifo"
    support.spawn("mkfifo", { fifo }):wait()
    local child, path = http.policy(http.IDLE .. ([[
      require "luv".fs_open(%q, "r", 0, print)
    ]]):format(fifo))
    child:kill "sigterm"
    logged(child, "leaving though a request has not ended")
    assert.same({ 0, 0 }, { child:wait() })
    assert.is_nil(uv.fs_lstat(path))
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
