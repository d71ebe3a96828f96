local callosum = require "callosum.rover"
local support = require "support"
local uv = require "luv"

local attempt, record, rover = support.attempt, support.record, support.rover
local checkStats, closedPort = support.checkStats, support.closedPort
local misuse, run, serve = support.misuse, support.run, support.serve

local HOUR = 3600000

-- Addresses of as many servers, by ids "1", "2", ..., that give slot 0.
local function serving(n)
  local servers, port = {}, serve { send = "0\r\n" }.port
  for i = 1, n do
    servers[tostring(i)] = { host = "127.0.0.1", port = port }
  end
  return servers
end

describe("pauseServer", function()
  it("lets a server be, and asks the others alike", function()
    local r = rover { servers = serving(4), seed = 1 }
    local events = record(r)
    assert.is_true(r:pauseServer("2", HOUR))
    local asked = { ["1"] = 0, ["3"] = 0, ["4"] = 0 }
    for _ = 1, 300 do
      local event = attempt(r, events)
      asked[event.id] = asked[event.id] + 1
      event.socket:close()
    end
    for _, count in pairs(asked) do
      assert.is_true(count > 60 and count < 140, count)
    end
  end)

  it("tells whether there is such a server", function()
    local r = rover { servers = serving(1) }
    assert.is_true(r:pauseServer("1", 5))
    assert.is_false(r:pauseServer("2", 5))
    assert.is_false(r:pauseServer("1\0", 5))
    assert.same(serving(0), rover():servers())
  end)

  it("ends after its time", function()
    local r = rover { servers = serving(1), rovingInterval = 1 }
    local events = record(r)
    uv.update_time()
    local began = uv.now()
    r:pauseServer("1", 60)
    r:start()
    run(function() return #events > 0 end)
    assert.is_true(uv.now() - began >= 60)
    assert.equal("connection", events[1].event)
  end)

  it("of all has the tick it cost made up when the first is awake", function()
    local r = rover { servers = serving(3), rovingInterval = HOUR }
    local events = record(r)
    uv.update_time()
    local began = uv.now()
    for id in pairs(r:servers()) do r:pauseServer(id, HOUR) end
    r:pauseServer("2", 40)
    r:start()
    run(function() return #events > 0 end)
    assert.equal("2", events[1].id)
    assert.is_true(uv.now() - began >= 40)
    assert.same({ 1, 1 }, { r:stats().skipped, r:stats().attempts })
    assert.is_true(r:dueIn() > HOUR - 5000) -- from then on at its interval
  end)

  it("of 0 ms ends a pause, and so does adding the server again", function()
    local r = rover { servers = serving(1) }
    local events = record(r)
    local server = r:servers()["1"]
    for _, again in ipairs {
      function() assert.is_true(r:pauseServer("1", 0)) end,
      function() r:addServer("1", server) end,
      function() r:dropServer "1" r:addServer("1", server) end,
      function()
        r:addServer("1", { host = "localhost", port = server.port })
      end,
    } do
      r:pauseServer("1", HOUR)
      assert.is_nil((r:connect()))
      again()
      assert.equal("connection", attempt(r, events).event)
    end
  end)

  it("skips and counts attempts while all are paused, and says so", function()
    local servers = serving(3)
    local r = rover { servers = servers, rovingInterval = 1 }
    local events = record(r)
    for id in pairs(servers) do r:pauseServer(id, HOUR) end
    local nothing, message, code = r:connect()
    assert.is_nil(nothing)
    assert.equal("maxAttempts attempts are in flight, or every server is "
      .. "paused", message)
    assert.equal("EAGAIN", code)
    r:start()
    run(function() return checkStats(r).skipped > 5 end)
    assert.same({}, events)
    assert.equal(0, r:stats().attempts)
    assert.same(servers, r:servers())
    r:pauseServer("2", 0)
    run(function() return #events > 0 end)
    assert.equal("2", events[1].id)
  end)

  it("cancels the attempts in flight to the server, and no others", function()
    local silent = serve()
    local r = rover { port = silent.port }
    r:addServer("t", { host = "127.0.0.1", port = closedPort() })
    local events = record(r)
    r:pauseServer("t", HOUR)
    for _ = 1, 3 do r:connect() end
    run(function() return #silent.peers == 3 end)
    r:pauseServer("t", 1)
    assert.equal(0, r:stats().cancelled)
    r:pauseServer("s", HOUR)
    assert.equal(3, checkStats(r).cancelled)
    assert.equal(0, r:stats().inFlight)
    assert.same({}, events)
  end)

  it("leaves kept sockets alone", function()
    local r = rover { servers = serving(1) }
    local event = attempt(r, record(r))
    r:pauseServer("1", HOUR)
    assert.is_false(event.socket.closed)
    assert.equal(1, #r:sockets())
  end)

  it("may be called from every handler, on the server in question", function()
    for _, script in ipairs {
      { send = "1\r\n" }, { send = "x" }, { finish = "close" },
    } do
      local r = rover { port = serve(script).port }
      local events = record(r)
      local function pause() assert.is_true(r:pauseServer("s", HOUR)) end
      r:on("connection", pause):on("unreachable", pause):on("error", pause)
      attempt(r, events)
      assert.is_nil((r:connect()))
      assert.equal(0, checkStats(r).cancelled)
    end
  end)

  it("finds the one that is awake among many that are not", function()
    local r = rover { servers = serving(200), rovingInterval = 1 }
    local events = record(r)
    for i = 2, 200 do r:pauseServer(tostring(i), HOUR) end
    r:start()
    run(function() return #events >= 5 end)
    for _, event in ipairs(events) do assert.equal("1", event.id) end
  end)

  it("refuses what is no id and no time", function()
    local r = callosum.new()
    finally(function() r:close() end)
    local message = "bad argument #2 to 'pauseServer' "
      .. "(pause: integer from 0 to 4294967295 expected, got %s)"
    for _, wrong in ipairs { -1, 0.5, 4294967296, false } do
      misuse(function() r:pauseServer("s", wrong) end, message:format(wrong))
    end
    misuse(function() r:pauseServer("s") end, message:format "nil")
    misuse(function() r:pauseServer(7, 1) end,
      "bad argument #1 to 'pauseServer' (string expected, got number)")
  end)

  it("is over for those who take over in a reload", function()
    local child = support.policy([[
      local host = require "callosum.host"
      local r = require "callosum.rover".new()
      local function skipped()
        r:connect()
        return r:stats().skipped > 0
      end
      r:on("error", function() end)
      r:on("unreachable", function(id) host.log.info(id) end)
      if host.generation == 1 then
        require "luv".new_timer():start(1, 0, function()
          r:addServer("added", { host = "127.0.0.1", port = 1 })
          r:pauseServer("added", 3600000)
          host.log.info("paused", { skipped = skipped() })
          host.reload()
        end)
      else
        r:connect()
      end
    ]])
    assert.is_true(support.logged(child, "paused").skipped)
    support.logged(child, "added")
    support.stop(child)
  end)
end)
