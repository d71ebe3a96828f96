local asking = require "support.asking"
local scrape = require "support.scrape"
local support = require "support"

local run, await, script = asking.run, asking.await, asking.script

-- Roves fast, and logs which servers are asked, and what the policy sees.
local ROVING = [[
options.rovingInterval = 1
local r = rover.new(options)
r:on("connection", function(_, socket) socket:close() end)
r:start()
]]

-- Runs until a server has been asked so many times more.
local function awaitAttempts(host, id, more)
  local before
  return await(host, function(_, servers)
    before = before or servers[id].attempts
    return servers[id].attempts >= before + (more or 5)
  end)
end

-- Runs until "b" has been asked often, and returns how often "a" was meanwhile.
local function attemptsAtA(host)
  local _, servers = await(host, function() return true end)
  local before = servers.a.attempts
  _, servers = awaitAttempts(host, "b", 50)
  return servers.a.attempts - before, servers.a
end

describe("a server that is paused by hand", function()
  it("is not asked until it is resumed, by the clock or by name", function()
    local host = run(ROVING .. [[
      r:on("added", function(id)
        host.log.info("told", { of = id, asks = r:connect "a" ~= false })
      end)
      local uv = require "luv"
      local timer = uv.new_timer()
      timer:start(0, 1, function()
        if r:connect "a" == false and r:servers().a
            and not r:connectIn("a", 0) then
          timer:close()
          host.log.info "not asked by name"
        end
      end)
    ]])
    awaitAttempts(host, "a")
    assert.equal(1, host:steer "steer - a pause 0")
    local count, a = attemptsAtA(host)
    assert.equal(0, count)
    assert.same({ "paused", true }, { a.state, a.byHand })
    support.run(function()
      return host.child.stderr:find "not asked by name"
    end)
    assert.equal(1, host:steer "steer - a none 0")
    awaitAttempts(host, "a")
    support.run(function()
      return host.child.stderr:find "told asks=true of=a"
    end)
    host:stop()
  end)

  it("keeps its sockets", function()
    local host = run [[
      local r = rover.new(options)
      r:on("connection", function() end)
      ask(r, "a", "a", "b")
    ]]
    await(host, function(r) return r.stats.kept == 3 end)
    host:steer "steer - a pause 0"
    local r, servers = await(host, function() return true end)
    assert.same({ 2, 1 }, { servers.a.kept, servers.b.kept })
    assert.same({ 1, 1 }, { r.balance.servers, r.balance.connections })
    host:stop()
  end)

  for what, change in pairs {
    ["a reload"] = "",
    ["setServers"] = [[r:setServers(servers)]],
    ["setServers without it, and then with it"] =
      [[r:setServers { b = servers.b } r:setServers(servers)]],
    ["addServer"] = [[r:dropServer "a" r:addServer("a", servers.a)]],
    ["a new address"] =
      [[r:addServer("a", { host = "localhost", port = servers.a.port })]],
    ["the end of the policy's own pause"] =
      [[r:pauseServer("a", 1000) r:pauseServer("a", 0)]],
  } do
    it("stays so, whatever comes: " .. what, function()
      local host = run(ROVING)
      host:steer "steer - a pause 0"
      assert.equal(0, host:reload(script(ROVING .. change)))
      local count, a = attemptsAtA(host)
      assert.equal(0, count)
      assert.same({ "paused", true }, { a.state, a.byHand })
      assert.equal(1, host:steer "steer - a none 0")
      awaitAttempts(host, "a")
      host:stop()
    end)
  end
end)

describe("a server that is dropped by hand", function()
  it("is none for the policy, and stays dropped", function()
    local seeing = [[
      local function see(what)
        local ids = {}
        for id in pairs(r:servers()) do ids[#ids + 1] = id end
        table.sort(ids)
        host.log.info(what, { ids = table.concat(ids, ","),
          connects = r:connect "a" ~= false, pauses = r:pauseServer("a", 1) })
      end
    ]]
    local host = run(ROVING)
    assert.equal(1, host:steer "steer - a drop 0")
    assert.equal(0, host:reload(script(ROVING .. seeing .. [[
      require "luv".new_timer():start(0, 0, function()
        r:addServer("a", servers.a)
        see "added"
        r:setServers(servers)
        see "set"
      end)
    ]])))
    support.run(function()
      return host.child.stderr:find "added connects=false ids=b pauses=false"
        and host.child.stderr:find "set connects=false ids=b pauses=false"
    end)
    local count, a = attemptsAtA(host)
    assert.equal(0, count)
    assert.same({ "dropped", true }, { a.state, a.byHand })
    assert.equal(1, host:steer "steer - a none 0")
    local _, servers = awaitAttempts(host, "a")
    assert.equal("up", servers.a.state)
    host:stop()
  end)

  it("is gone for good once the policy has dropped it as well", function()
    local host = run(ROVING)
    host:steer "steer - a drop 0"
    assert.equal(0, host:reload(script(ROVING .. [[
      host.log.info("dropped", { it = r:dropServer "a" })
    ]])))
    local _, servers = await(host, function(_, servers) return servers.a end)
    assert.equal("dropped", servers.a.state)
    assert.equal("ESRCH", host:steer "steer - a none 0")
    await(host, function(_, left) return not left.a end)
    assert.equal(0, host:steer "steer - a none 0")
    host:stop()
  end)

  it("comes back if it is added by hand", function()
    local host, servers = run(ROVING)
    host:steer "steer - a drop 0"
    local _, port = servers[1]:address()
    assert.equal(0, host:steer("add - a 127.0.0.1 " .. port))
    awaitAttempts(host, "a")
    host:stop()
  end)

  it("leaves a rover without servers if it was the only one", function()
    local host = run(ROVING .. [[
      r:on("error", function(err) host.log.info(tostring(err)) end)
    ]], 1)
    host:steer "steer - a drop 0"
    support.run(function()
      return host.child.stderr:find "No servers to contact"
    end)
    host:stop()
  end)
end)

describe("a server that is drained by hand", function()
  local KEEPING = [[
    local r = rover.new(options)
    local count = 0
    r:on("connection", function(_, socket)
      count = count + 1
      if count == 1 then
        socket.lent = true
        back = function() socket.lent = false end
      end
      socket:on("close", function() if done then done() end end)
    end)
    ask(r, "a", "a", "a", "a", "a", "a", "b")
  ]]

  it("loses its sockets over that time, the highest slots first, and what is "
    .. "lent when it is returned", function()
      local host = run(KEEPING .. [[
        function done()
          if r:stats().kept == 2 then
            require "luv".new_timer():start(50, 0, function()
              host.log.info "returned"
              back()
            end)
          end
        end
      ]])
      await(host, function(r) return r.stats.kept == 7 end)
      assert.equal(1, host:steer "steer - a drain 300")
      local fewest, slots = 6, nil
      local _, servers = await(host, function(_, servers)
        local a = servers.a
        assert.is_true(a.kept <= fewest)
        if a.kept == 3 then slots = a.slots end
        fewest = a.kept
        assert.is_true(a.kept > 0 or host.child.stderr:find "returned" ~= nil)
        return a.kept == 0
      end)
      if slots then
        assert.same({ ["0"] = 1, ["1"] = 1, ["2"] = 1 }, slots)
      end
      assert.same({ "draining", 1 }, { servers.a.state, servers.b.kept })
      host:stop()
    end)

  it("goes on with that across a reload", function()
    local host = run(KEEPING)
    await(host, function(r) return r.stats.kept == 7 end)
    host:steer "steer - a drain 200"
    assert.equal(0, host:reload(script [[
      local r = rover.new(options)
      r:on("connection", function() end)
    ]]))
    await(host, function(_, servers)
      return servers.a.kept == 0 and servers.b.kept == 1
    end)
    host:stop()
  end)

  it("keeps the rest once it is resumed", function()
    local host = run(KEEPING)
    await(host, function(r) return r.stats.kept == 7 end)
    host:steer "steer - a drain 1000000"
    host:steer "steer - a none 0"
    local _, servers = await(host, function() return true end)
    assert.equal(6, servers.a.kept)
    host:stop()
  end)
end)

describe("a server that is added by hand", function()
  it("stays on the list, whatever the policy sets, until it is dropped",
    function()
      local _, port = asking.server()
      local host = run(ROVING)
      assert.equal(0, host:steer("add - c 127.0.0.1 " .. port))
      awaitAttempts(host, "c")
      assert.equal(0, host:reload(script(ROVING .. [[r:setServers(servers)]])))
      awaitAttempts(host, "c")
      assert.equal(1, host:steer "steer - c pause 0")
      assert.equal(1, host:steer "steer - c none 0")
      assert.equal(0, host:reload(script(ROVING .. [[
        require "luv".new_timer():start(0, 0, function()
          r:setServers(servers)
          r:dropServer "c"
        end)
      ]])))
      await(host, function(_, servers) return not servers.c end)
      host:stop()
    end)

  it("comes back when it is resumed, though it was dropped by hand", function()
    local _, port = asking.server()
    local host = run(ROVING)
    host:steer("add - c 127.0.0.1 " .. port)
    awaitAttempts(host, "c")
    assert.equal(1, host:steer "steer - c drop 0")
    assert.equal(0, host:reload(script(ROVING .. [[r:setServers(servers)]])))
    local _, servers = await(host, function() return true end)
    assert.same({ "dropped", true }, { servers.c.state, servers.c.byHand })
    assert.equal(1, host:steer "steer - c none 0")
    awaitAttempts(host, "c")
    host:stop()
  end)

  it("is added at another address once it is dropped by hand", function()
    local _, port = asking.server()
    local host, others = run(ROVING)
    local _, taken = others[1]:address()
    host:steer("add - c 127.0.0.1 " .. port)
    assert.equal("EEXIST", host:steer("add - c localhost " .. port))
    host:steer "steer - c drop 0"
    assert.equal("EINVAL", host:steer "add - c localhost 0")
    assert.equal(0, host:steer("add - c localhost " .. port))
    local _, servers = awaitAttempts(host, "c")
    assert.same({ "localhost", "up" }, { servers.c.host, servers.c.state })
    host:steer "steer - a drop 0" -- which the policy has
    assert.equal("EEXIST", host:steer("add - a localhost " .. taken))
    assert.equal(0, host:reload(script(ROVING .. [[r:setServers(servers)]])))
    awaitAttempts(host, "c")
    assert.equal(0, host:reload(script(ROVING .. [[
      require "luv".new_timer():start(0, 0, function() r:dropServer "c" end)
    ]])))
    await(host, function(_, left) return not left.c end)
    host:stop()
  end)
end)

describe("steering by hand", function()
  it("needs a rover and a server that are there", function()
    local host = scrape.run [[
      local rover = require "callosum.rover"
      for _, name in ipairs { "one", "two" } do
        rover.new { name = name,
          servers = { a = { host = "127.0.0.1", port = 1 } } }
      end
    ]]
    assert.equal("EDESTADDRREQ", host:steer "steer - a pause 0")
    assert.equal("ENOENT", host:steer "steer three a pause 0")
    assert.equal(0, host:steer "steer one b pause 0")
    assert.equal("EINVAL", host:steer "steer one a drain 9007199254740993")
    assert.equal("EEXIST", host:steer "add one a 127.0.0.1 2")
    assert.equal("EINVAL", host:steer "add one b 127.0.0.1 0")
    assert.equal("EDESTADDRREQ", host:steer "add - b 127.0.0.1 1")
    assert.equal(1, host:steer "steer two a pause 0")
    local status = host:status()
    assert.same({ "up", "paused" }, { status.rovers[1].servers[1].state,
      status.rovers[2].servers[1].state })
    assert.truthy(host.child.stderr:find
      "server paused by hand rover=two server=a")
    host:stop()
  end)
end)

describe("a host that is drained by hand", function()
  local FRONT = [[
    require "callosum.front".new { name = "%s", listen = { port = 0 },
      backend = { host = "127.0.0.1", port = 1 }, healthInterval = 0 }
  ]]

  local function drained(host)
    local status, list = host:status(), {}
    for _, front in ipairs(status.fronts) do
      list[front.name] = front.draining
    end
    return list, status.state
  end

  it("drains its fronts, and those of policies to come, until it is resumed",
    function()
      local host = scrape.run(FRONT:format "one")
      assert.same({ one = false }, (drained(host)))
      assert.equal(0, host:steer "resume")
      assert.equal(0, host:steer "drain 10000")
      local fronts, state = drained(host)
      assert.same({ { one = true }, "draining" }, { fronts, state })
      assert.equal(0, host:reload(FRONT:format "one" .. FRONT:format "two"))
      fronts, state = drained(host)
      assert.same({ { one = true, two = true }, "draining" },
        { fronts, state })
      assert.equal(1, host:steer "resume")
      fronts, state = drained(host)
      assert.same({ { one = false, two = false }, "running" },
        { fronts, state })
      host:stop()
    end)

  it("leaves those that the policy drains drained", function()
    local host = scrape.run(FRONT:format "one" .. "local two ="
      .. FRONT:format "two" .. "two:drain(0)")
    assert.equal(0, host:steer "drain 0")
    assert.equal(1, host:steer "resume")
    assert.same({ one = false, two = true }, (drained(host)))
    host:stop()
  end)

  it("goes on roving", function()
    local host = run(ROVING .. FRONT:format "one")
    assert.equal(0, host:steer "drain 0")
    awaitAttempts(host, "a")
    host:stop()
  end)

  it("needs a front to drain", function()
    local host = run(ROVING)
    assert.equal("ENOENT", host:steer "drain 0")
    assert.equal("running", host:status().state)
    assert.equal(0, host:steer "resume")
    host:stop()
  end)
end)
