local asking = require "support.asking"
local fleet = require("support.certificates").fleet()
local json = require "dkjson"
local scrape = require "support.scrape"
local support = require "support"

local run, await, script = asking.run, asking.await, asking.script

local KEEPING = [[
local r = rover.new(options)
r:on("connection", function() end)
]]

describe("the status of a host", function()
  it("has the connections of each server, and how evenly they are spread",
    function()
      local host = run(KEEPING .. [[ask(r, "a", "a", "a", "b")]])
      local rover, servers = await(host, function(r)
        return r.stats.kept == 4
      end)
      assert.equal("a", rover.servers[1].id)
      assert.same({ 3, 1 }, { servers.a.connections, servers.b.connections })
      assert.same({ .75, .25 }, { servers.a.share, servers.b.share })
      assert.same({ ["0"] = 1, ["1"] = 1, ["2"] = 1 }, servers.a.slots)
      assert.same({ "up", 3, 3, 0, 2 }, { servers.a.state, servers.a.attempts,
        servers.a.connected, servers.a.unreachable, servers.a.lastSlot })
      assert.same({ servers = 2, connections = 4, mean = 2, peak = 3, least = 1,
        peakToMean = 1.5, minToMean = .5, cv = .5, verdict = "nearly" },
        rover.balance)
      host:stop()
    end)

  it("has the sources of servers, and how they are", function()
    local path = support.tmpfile("a:1\nb:1\n", "servers")
    local host = scrape.run(([[
      local r = require "callosum.rover".new {}
      local discover = require "callosum.discover"
      discover.file { path = %q }:attach(r)
      discover.file { name = "other", path = "/nowhere" }:attach(r)
        :on("error", function() end)
    ]]):format(path))
    local sources
    support.run(function()
      sources = host:status().sources
      return sources[1].stats.servers == 2 and sources[2].stats.failures > 0
    end)
    assert.same({ "main", "file", path, false },
      { sources[1].name, sources[1].kind, sources[1].place,
        sources[1].stats.stale })
    assert.same({ "other", "/nowhere", true, 0 },
      { sources[2].name, sources[2].place, sources[2].stats.stale,
        sources[2].stats.servers })
    host:stop()
  end)

  it("counts what is lent out, until it is returned, closed or detached",
    function()
      local host = run([[
        local r = rover.new(options)
        local count, first = 0, nil
        r:on("connection", function(slot, socket)
          count = count + 1
          socket.lent = true
          if count == 2 then socket.lent = false end
          if count == 3 then socket:close() end
          if count == 4 then
            local fd = socket:detach()
            require "luv".fs_close(fd)
          end
        end)
        ask(r, "a", "a", "a", "a", "a")
      ]], 1)
      local _, servers = await(host, function(r) return r.stats.closed == 2
        and r.stats.kept == 3 end)
      local a = servers.a
      assert.same({ 3, 2, 0, 3 }, { a.kept, a.lent, a.joined, a.connections })
      assert.equal(0, host:reload(script(KEEPING)))
      _, servers = await(host, function(r) return r.stats.kept == 3 end)
      assert.same({ 3, 0 }, { servers.a.kept, servers.a.lent })
      host:stop()
    end)
end)

-- A policy with a relay, whose path is the last argument, that joins clients
-- with what a pool lends.
local RELAYING = [[
local pool = require "callosum.pool".new { maxSlots = 4 }
local r = rover.new(options)
pool:attach(r)
require "callosum.relay".new { listen = { path = host.args[#host.args] },
  drainTimeout = 60000, pick = function() return pool:awaitConnection() end }
]]

describe("the connections of a server", function()
  it("include those that a relay has joined, across reloads, until they end",
    function()
      local path = support.tmpdir() .. "/relay"
      local server, port = asking.server()
      server:on("connection", function(connection)
        connection:on("data", function(bytes) connection:write(bytes) end)
      end)
      local host = scrape.run(script(RELAYING .. "r:start()"),
        { args = { tostring(port), path } })
      await(host, function(r) return r.stats.kept == 4 end)
      local clients = {}
      for i = 1, 3 do
        clients[i] = support.connect(path)
        clients[i]:write "x"
        support.run(function() return clients[i].received == "x" end)
      end
      local function books(joined, kept)
        local r, servers = await(host, function(r, servers)
          local a = servers.a
          return r.stats.kept == kept and a.joined == joined and a.lent == 0
        end)
        local slots = 0
        for _, count in pairs(servers.a.slots) do slots = slots + count end
        assert.same({ joined + kept, joined + kept, joined + kept }, {
          servers.a.connections, r.balance.connections, slots })
      end
      books(3, 4)
      assert.equal(0, host:reload())
      books(3, 4)
      clients[1]:close()
      books(2, 4)
      -- Without the relay, whose clients may finish, and moved.
      assert.equal(0, host:reload(script [[
        options.servers = { a = { host = "localhost", port = servers.a.port } }
        local r = rover.new(options)
        r:on("connection", function() end)
      ]]))
      books(2, 4)
      clients[2]:close()
      books(1, 4)
      assert.equal(0, host:reload(script [[
        options.servers = { b = servers.b }
        local r = rover.new(options)
        r:on("connection", function(_, socket) socket:close() end)
      ]]))
      local r, servers = await(host, function(_, servers)
        return servers.a.kept == 0
      end)
      assert.same({ "dropped", false, 1 },
        { servers.a.state, servers.a.byHand, servers.a.joined })
      assert.equal(0, r.balance.connections)
      clients[3]:close()
      await(host, function(_, left) return not left.a end)
      host:stop()
    end)

  it("are counted as lent while a pool's borrower has them", function()
    local path = support.tmpdir() .. "/relay"
    local _, port = asking.server()
    local host = scrape.run(script [[
      local pool = require "callosum.pool".new { maxSlots = 3 }
      local r = rover.new(options)
      pool:attach(r)
      r:start()
      local log = host.log.info
      require "callosum.relay".new { listen = { path = host.args[2] },
        pick = function(client)
          if host.generation > 1 then return end
          lent = lent and lent:close() or pool:getConnection()
          if again then again = pool:returnConnection(again) and nil end
          again = pool:getConnection()
          client:refuse()
        end }
    ]], { args = { tostring(port), path } })
    await(host, function(r) return r.stats.kept == 3 end)
    support.connect(path)
    await(host, function(_, servers) return servers.a.lent == 2 end)
    support.connect(path) -- closes one, returns the other, lends one again
    await(host, function(r, servers)
      return servers.a.lent == 1 and r.stats.closed >= 1
    end)
    assert.equal(0, host:reload())
    await(host, function(_, servers) return servers.a.lent == 0 end)
    host:stop()
  end)

  it("stay with the id of the server when it moves or is added again",
    function()
      local host = run(KEEPING .. [[
        ask(r, "a", "a")
        local count = 0
        r:on("connection", function()
          count = count + 1
          if count == 2 then
            r:addServer("a", { host = "localhost", port = servers.a.port })
            r:connect "a"
          elseif count == 3 then
            r:dropServer "a"
            require "luv".new_timer():start(0, 0, function()
              host.log.info "dropped"
            end)
          end
        end)
      ]])
      local _, servers = await(host, function(r) return r.stats.kept == 3 end)
      assert.same({ "dropped", false, 3, 3 }, { servers.a.state,
        servers.a.byHand, servers.a.connections, servers.a.attempts })
      assert.equal(0, host:reload(script(KEEPING)))
      _, servers = await(host, function() return true end)
      assert.same({ "up", 3, 3 },
        { servers.a.state, servers.a.connections, servers.a.attempts })
      host:stop()
    end)
end)

describe("the servers of a status", function()
  local MANY = [[
    local rover = require "callosum.rover"
    local servers = {}
    for i = 1, 250 do
      servers[("s%03d"):format(i)] = { host = "127.0.0.1", port = i }
    end
    rover.new { name = "many", servers = servers }
    rover.new { name = "none" }
  ]]

  local function ids(host, options)
    local list, status = {}, host:status(options)
    for _, server in ipairs(status.rovers[1].servers) do
      list[#list + 1] = server.id
    end
    return list, status.rovers[1]
  end

  it("are paged, sorted and searched", function()
    local host = scrape.run(MANY)
    local list, r = ids(host)
    assert.same({ 100, "s001", "s100", 250, 0, 100 }, { #list, list[1],
      list[100], r.serverCount, r.offset, r.limit })
    list, r = ids(host, "offset=240 limit=1000")
    assert.same({ 10, "s241", 250, 240, 1000 },
      { #list, list[1], r.serverCount, r.offset, r.limit })
    assert.same({}, (ids(host, "offset=250")))
    assert.same({}, (ids(host, "servers=none")))
    list, r = ids(host, "search=s02 limit=3 sort=1 order=2")
    assert.same({ { "s029", "s028", "s027" }, 10 }, { list, r.serverCount })
    assert.equal("EINVAL", (host:status "limit=1001"))
    assert.equal("EINVAL", (host:status "sort=5"))
    assert.equal("EINVAL", (host:status "order=3"))
    assert.equal("ENOENT", (host:status "rover=other"))
    assert.equal(2, #host:status().rovers)
    local one = host:status "rover=none"
    assert.same({ "none", 0 }, { one.rovers[1].name, #one.rovers[1].servers })
    host:stop()
  end)

  it("are sorted by connections, slots and failures", function()
    local host = run(KEEPING .. [[
      r:addServer("z", { host = "127.0.0.1", port = 1 })
      ask(r, "a", "b", "b", "z")
    ]])
    await(host, function(r)
      return r.stats.kept == 3 and r.stats.unreachable == 1
    end)
    assert.same({ "b", "a", "z" }, (ids(host, "sort=0")))
    assert.same({ "z", "a", "b" }, (ids(host, "sort=0 order=1")))
    assert.same({ "b", "a", "z" }, (ids(host, "sort=2")))
    assert.same({ "b", "a", "z" }, (ids(host, "sort=3")))
    assert.same({ "z", "a", "b" }, (ids(host, "sort=4")))
    host:stop()
  end)

  it("have the last failure of each", function()
    local port = support.closedPort()
    local garbled = support.serve { send = "hello\r\n" }
    local host = scrape.run(script(KEEPING .. [[
      r:on("unreachable", function() end)
      r:on("error", function() end)
      ask(r, "a", "b")
    ]]), { args = { tostring(port), tostring(garbled.port) } })
    local _, servers, status = await(host, function(r)
      return r.stats.unreachable == 1 and r.stats.errors == 1
    end)
    local a, b = servers.a, servers.b
    assert.same({ "unreachable", 1, 0, "ECONNREFUSED", "connection refused" },
      { a.state, a.unreachable, a.errors, a.lastError.code,
        a.lastError.message })
    assert.same({ "up", 0, 1, "EPROTO", [[not a slot line: "hello\r\n"]] },
      { b.state, b.unreachable, b.errors, b.lastError.code,
        b.lastError.message })
    assert.is_true(a.lastError.at >= status.startedAt - .01
      and a.lastError.at <= status.now + .01)
    host:stop()
  end)

  it("are paused where the policy pauses them", function()
    local host = run(KEEPING .. [[r:pauseServer("a", 100000)]])
    local _, servers = await(host, function() return true end)
    assert.same({ "paused", false, "up" },
      { servers.a.state, servers.a.byHand, servers.b.state })
    host:stop()
  end)

  it("may be called anything", function()
    local host = scrape.run [[
      require "callosum.rover".new { servers = {
        ['"\\\n\1\255\xc3\xa9'] = { host = "127.0.0.1", port = 1 } } }
    ]]
    assert.equal('"\\\n\1\u{fffd}\u{e9}', ids(host)[1])
    host:stop()
  end)
end)

describe("what is balanced", function()
  -- Connections of each server, and the verdict.
  for _, case in ipairs {
    { "idle", 0, 0 },
    { "balanced", 2, 2 },
    { "balanced", 2, 1 },
    { "nearly", 3, 1 },
    { "uneven", 4, 0 },
  } do
    local verdict, a, b = table.unpack(case)
    it(("is %s with %d and %d connections"):format(verdict, a, b), function()
      local host = run(KEEPING .. "ask(r" .. (", 'a'"):rep(a)
        .. (", 'b'"):rep(b) .. ")")
      local r = await(host, function(r) return r.stats.kept == a + b end)
      assert.equal(verdict, r.balance.verdict)
      host:stop()
    end)
  end
end)

describe("the last errors of a host", function()
  it("are counted, the newest first, and bounded", function()
    local host = scrape.run [[
      require "callosum.rover".new {}
      local log = require "callosum.host".log
      for i = 1, 60 do log.warn("warning " .. i) end
      log.error("twice", { reason = "it is so", count = 2 })
      log.warn "warning 60"
      log.error("twice", { reason = "it is so", count = 2 })
      log.warn(("x"):rep(1000), { long = ("\u{e9}"):rep(1000) })
      log.info "no error"
    ]]
    local list = host:status().errors
    assert.equal(50, #list)
    assert.same({ "warn", ("x"):rep(127), "long=" .. ("\u{e9}"):rep(189), 1 },
      { list[1].level, list[1].message, list[1].detail, list[1].count })
    assert.same({ "error", "twice", "count=2 reason='it is so'", 2 },
      { list[2].level, list[2].message, list[2].detail, list[2].count })
    assert.same({ "warning 60", "", 2 },
      { list[3].message, list[3].detail, list[3].count })
    assert.equal("warning 13", list[50].message)
    host:stop()
  end)

  it("are those of reloads, too, of which the last has its traceback",
    function()
      local host = scrape.run "require 'callosum.rover'.new {}"
      assert.same({ succeeded = 0, failed = 0 }, host:status().reloads)
      assert.not_equal(0, host:reload "error 'boom'")
      assert.equal(0, host:reload "require 'callosum.rover'.new {}")
      local status = host:status()
      assert.same({ 1, 1, 2 }, { status.reloads.succeeded,
        status.reloads.failed, status.generation })
      assert.matches("policy.lua:1: boom$", status.reloads.lastFailure.error)
      assert.matches("^stack traceback", status.reloads.lastFailure.traceback)
      assert.equal("reload failed, the old policy goes on",
        status.errors[1].message)
      host:stop()
    end)
end)

describe("the history of a host", function()
  it("is kept only if that was asked for", function()
    local host = scrape.run "require 'callosum.rover'.new {}"
    assert.equal("ENOTSUP", (host:history()))
    host:stop()
  end)

  it("has a point of each rover every 2 s, and the reloads", function()
    local host = run(KEEPING .. [[ask(r, "a", "a", "a", "b")]], 2,
      { history = true })
    await(host, function(r) return r.stats.kept == 4 end)
    assert.not_equal(0, host:reload "syntax error")
    assert.equal(0, host:reload(script(KEEPING .. [[ask(r, "a")]])))
    assert.equal("ENOENT", (host:history "other"))
    local history
    support.run(function()
      history = host:history "main"
      return #history.points.at == 2
    end)
    assert.equal(2, history.interval)
    assert.equal("main", history.rover)
    local points = history.points
    assert.equal(2, #points.at)
    assert.near(2, points.at[2] - points.at[1], .5)
    assert.same({ 5, 1.6, .4 }, { points.connections[2], points.peakToMean[2],
      points.minToMean[2] })
    assert.is_true(points.attemptsPerSecond[2] > .3)
    assert.same({ 0, 0 }, { points.unreachablePerSecond[2],
      points.errorsPerSecond[2] })
    assert.is_nil(points.attemptsPerSecond[1])
    assert.same({ { 1, false }, { 2, true } }, {
      { history.reloads[1].generation, history.reloads[1].ok },
      { history.reloads[2].generation, history.reloads[2].ok } })
    host:stop()
  end)
end)

describe("callosum-status(5)", function()
  -- What has fields of its own, which the page leaves to others.
  local OPEN = { ["rovers[].stats"] = true, ["relays[].stats"] = true,
    ["fronts[].stats"] = true, ["sources[].stats"] = true,
    ["rovers[].servers[].slots"] = true }

  -- Adds the paths of all fields: "rovers[].servers[].id".
  local function collect(value, path, into)
    if type(value) ~= "table" then return end
    local isArray = json.encode(value):find "^%["
    for key, each in pairs(value) do
      local its = isArray and path .. "[]"
        or (path == "" and "" or path .. ".") .. key
      if not isArray then into[its] = true end
      if not OPEN[its] then collect(each, its, into) end
    end
  end

  -- Those that a section of the page has.
  local function documented(section)
    local file <close> = assert(io.open "src/host/callosum-status.5")
    local text = file:read "a":match("\n%.Sh " .. section .. "\n(.-)\n%.Sh ")
    local found = {}
    for item in text:gsub("%.It Xo\n(.-)%.Xc", function(names)
      return ".It " .. names:gsub("\n", " ")
    end):gmatch "\n%.It ([^\n]*)" do
      for word in item:gmatch "%S+" do
        if word:find "^%l[%w%[%]%.]*$" then found[word] = true end
      end
    end
    return found
  end

  it("has all fields of a status and of a history, and no others", function()
    local port = support.closedPort()
    local host = scrape.run(script(KEEPING .. [[
      r:on("unreachable", function() end)
      require "callosum.relay".new { listen = { port = 0 },
        pick = function() end }
      require "callosum.front".new { listen = { port = 0 },
        backend = { host = "127.0.0.1", port = 1 } }
      require "callosum.pool".new {}
      require "callosum.discover".file { path = "/nowhere" }
      require "callosum.rover".new { name = "secured",
        tls = { ca = "]] .. fleet.ca.file .. [[" } }
      ask(r, "a")
    ]]), { args = { tostring(port) }, history = true, threads = true })
    host:reload "error 'boom'"
    local _, _, status = await(host, function(r)
      return r.stats.unreachable == 1
    end)
    local fields = {}
    collect(status, "", fields)
    fields["rovers[].servers[].lastSlot"] = true
    assert.same(documented "THE STATUS", fields)
    fields = {}
    collect(host:history(), "", fields)
    assert.same(documented "THE HISTORY", fields)
    host:stop()
  end)
end)
