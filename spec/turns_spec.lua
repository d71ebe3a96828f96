local command = require "support.command"
local support = require "support"

local events, logged = support.events, support.logged
local serve = support.serve

-- Handlers that take BUSY ms each, within their budget, for what is ready all
-- at once. The policy asks for a stop as it logs the first of them; until the
-- loop has come round to that, few others may have run.
local BUSY, MANY, FEW = 20, 40, 5

local HEAD = ([[
  local host, rover = require "callosum.host", require "callosum.rover"
  local uv = require "luv"
  local log = host.log.info
  local function at(i)
    return { host = "127.0.0.1", port = tonumber(host.args[i]) }
  end
  local function busy(ms)
    local till = uv.hrtime() + (ms or %d) * 1e6
    while uv.hrtime() < till do end
  end
  local first = true
  -- What each of the handlers does.
  local function slow(what, by)
    log(what)
    if first then uv.kill(uv.os_getpid(), "sigterm") end
    first = false;
    (by or busy)(%d)
  end
]]):format(BUSY, BUSY)

local function run(script, ...)
  local args = {}
  for i, s in ipairs { ... } do
    args[i] = tostring(type(s) == "table" and s.port or s)
  end
  return command.policy(HEAD .. script, { args = args })
end

-- The same with a budget of a few of these handlers.
local function runTight(script, budget)
  return command.policy(HEAD .. script,
    { flags = { "--budget", tostring(budget or 100) } })
end

-- One that a machine under load does not exceed by pausing a handler.
local LOOSE = 300

local function count(child, message) return #events(child, message) end

-- Stopped in order, after few of them.
local function stopped(child, what, few)
  assert.same({ 0, 0 }, { child:wait() })
  assert.is_true(count(child, what) <= (few or FEW), count(child, what))
  assert.equal(0, count(child, "policy error"))
end

describe("The loop comes round to a signal, however many", function()
  it("attempts fail at once", function()
    local child = run(([[
      local r = rover.new { servers = { s = at(1) }, maxAttempts = %d }
      r:on("unreachable", function() slow "unreachable" end)
      for _ = 1, %d do r:connect() end
    ]]):format(MANY, MANY), support.closedPort())
    stopped(child, "unreachable")
  end)

  it("attempts fail at once, each of another rover", function()
    local child = run(([[
      for i = 1, %d do
        local r = rover.new { name = "r" .. i, servers = { s = at(1) } }
        r:on("unreachable", function() slow "unreachable" end)
        r:connect()
      end
    ]]):format(MANY), support.closedPort())
    stopped(child, "unreachable")
  end)

  it("attempts have nobody to ask", function()
    local child = run(([[
      local r = rover.new { maxAttempts = %d }
      r:on("error", function() slow "error" end)
      for _ = 1, %d do r:connect() end
    ]]):format(MANY, MANY))
    stopped(child, "error")
  end)

  it("deadlines have come", function()
    local s = serve()
    local child = run(([[
      local r = rover.new { servers = { s = at(1) }, maxAttempts = %d,
        slotTimeout = 50 }
      r:on("unreachable", function() slow "unreachable" end)
      for _ = 1, %d do r:connect() end
    ]]):format(MANY, MANY), s)
    stopped(child, "unreachable")
  end)

  -- Held up until all of it is there: from a timer of luv's, once the others
  -- have told that they are ready.
  local function together(script, s)
    local child = run(([[
      local r = rover.new { servers = { s = at(1) }, maxAttempts = %d }
      %s
      for _ = 1, %d do r:connect() end
    ]]):format(MANY, script, MANY), s)
    return child
  end

  it("connections have come", function()
    local s = serve { send = "0\r\n" }
    local child = together([[
      r:on("connection", function() slow "connection" end)
      uv.new_timer():start(0, 0, function() busy(100) end)
    ]], s)
    stopped(child, "connection")
  end)

  -- All are kept, and then `go` has the servers act on all.
  local function keeping(script, act)
    local s = serve { send = "0\r\n" }
    local child = together(([[
      local kept = 0
      r:on("connection", function(_, socket)
        kept = kept + 1
        %s
        if kept == %d then
          log "kept"
          uv.new_timer():start(0, 0, function() busy(100) end)
        end
      end)
    ]]):format(script, MANY), s)
    logged(child, "kept")
    for _, peer in ipairs(s.peers) do act(peer) end
    return child, s
  end

  it("sockets have bytes", function()
    stopped(keeping([[socket:on("data", function() slow "data" end)]],
      function(peer) peer:write "bytes" end), "data")
  end)

  it("writes are done", function()
    local s = serve { send = "0\r\n" }
    local child = together(([[
      local kept = {}
      r:on("connection", function(_, socket)
        kept[#kept + 1] = socket
        for i = 1, #kept == %d and #kept or 0 do
          kept[i]:write("bytes", function() slow "written" end)
        end
      end)
    ]]):format(MANY), s)
    stopped(child, "written")
  end)

  it("sockets have ended", function()
    stopped(keeping([[socket:on("end", function() slow "end" end)]],
      function(peer) peer:shutdown() end), "end")
  end)

  it("sockets have closed, read or not", function()
    for _, read in ipairs { "", "socket:on('data', function() end)" } do
      stopped(keeping(read
        .. [[socket:on("close", function() slow "close" end)]],
        function(peer) peer:shutdown() end), "close")
    end
  end)
end)

describe("The loop comes round to a signal, however many clients", function()
  local function relaying(script)
    local path = support.tmpdir() .. "/relay.sock"
    local child = run(([[
      local clients = 0
      local relay = require "callosum.relay".new {
        listen = { path = host.args[1] }, waitTimeout = 300,
        pick = function() %s end,
      }
      rover.new { servers = { s = { host = "127.0.0.1", port = 9 } } }
      relay:on("error", function() slow "expired" end)
    ]]):format(script), path)
    logged(child, "policy loaded")
    for _ = 1, MANY do support.connect(path) end
    return child
  end

  it("a relay has to pick for", function()
    stopped(relaying "slow 'pick'", "pick")
  end)

  it("have waited too long", function()
    stopped(relaying "", "expired")
  end)
end)

describe("What a turn of the loop was too short for", function()
  -- So many timers of luv's, due at once, and what each of them does.
  local function timers(what, budget)
    return runTight(([[
      rover.new { servers = { s = { host = "127.0.0.1", port = 9 } } }
      local timers = {}
      for i = 1, %d do
        timers[i] = uv.new_timer()
        timers[i]:start(10, 0, function() %s end)
      end
      busy(15)
    ]]):format(MANY, what), budget)
  end

  it("waits where luv calls back, too: they share a budget", function()
    local child = timers("slow 'timer'", LOOSE)
    stopped(child, "timer", 20)
  end)

  -- What luv reads makes for collections that are in none of its callbacks.
  it("waits where luv's own allocations collect garbage", function()
    local child = runTight [[
      rover.new { name = "idle" }
      local kept = {}
      for i = 1, 500 do
        kept[i] = setmetatable({}, { __gc = function()
          slow("finalizer", function(ms) -- not luv's: the state may be closing
            local till = os.clock() + ms / 1000
            while os.clock() < till do end
          end)
        end })
      end
      local fd = uv.fs_open("/proc/self/exe", "r", 0)
      local function ignore() end
      uv.new_timer():start(50, 5, function()
        kept = nil
        for _ = 1, 20 do uv.fs_read(fd, 1 << 16, 0, ignore) end
      end)
    ]]
    assert.same({ 0, 0 }, { child:wait() })
    assert.is_true(count(child, "finalizer") < 30, count(child, "finalizer"))
  end)

  it("is not lost where luv calls back, nor out of order", function()
    local child = timers([[
      busy(15)
      log("timer", { i = i, closed = timers[i]:is_closing() })
      if i == 1 then uv.new_timer():start(0, 0, function() log "new" end) end
      timers[i]:close(function() log("closed", { i = i }) end)
    ]], LOOSE)
    logged(child, "closed", MANY)
    logged(child, "new")
    for i, event in ipairs(events(child, "timer")) do
      assert.same({ i, false }, { event.i, event.closed })
    end
    assert.equal(MANY, count(child, "timer"))
    assert.equal(1, count(child, "new"))
    assert.equal(0, count(child, "policy error"))
    support.stop(child)
  end)

  it("keeps its arguments where luv calls back", function()
    local child = runTight([[
      rover.new { servers = { s = { host = "127.0.0.1", port = 9 } } }
      for i = 1, 20 do
        uv.fs_stat("/nowhere/" .. i, function(err, stat)
          busy(45)
          log("stat", { ok = err:find("/nowhere/" .. i, 1, true) ~= nil
            and stat == nil })
        end)
      end
      busy(50)
    ]], LOOSE)
    logged(child, "stat", 20)
    for _, event in ipairs(events(child, "stat")) do
      assert.is_true(event.ok)
    end
    support.stop(child)
  end)

  it("comes later, in order, and before what is new", function()
    local s = serve { send = "0\r\n" }
    local child = run(([[
      local r = rover.new { servers = { s = at(1) }, maxAttempts = %d }
      local n, got, sockets = 0, 0, {}
      r:on("connection", function(_, socket)
        n = n + 1
        sockets[n] = socket
        local own, times = n, 0
        socket:on("data", function(bytes)
          got = got + 1
          times = times + 1
          log("data", { n = own, times = times, length = #bytes })
          socket:write "more"
          busy()
        end)
        if n == %d then log "kept" end
      end)
      for _ = 1, %d do r:connect() end
    ]]):format(12, 12, 12), s)
    logged(child, "kept")
    -- Each answers at once, so that it has bytes again all the time.
    for _, peer in ipairs(s.peers) do
      peer:write "first"
    end
    support.run(function()
      for _, peer in ipairs(s.peers) do
        if peer.received:find "more" then
          peer.received = ""
          peer:write "again"
        end
      end
      return count(child, "data") >= 60
    end)
    -- Nobody is ever ahead of others by more than the round that goes on.
    local times = {}
    for i = 1, 12 do times[i] = 0 end
    for _, event in ipairs(events(child, "data")) do
      times[event.n] = event.times
      local least = math.min(table.unpack(times))
      assert.is_true(event.times <= least + 2)
    end
    support.stop(child)
  end)
end)
