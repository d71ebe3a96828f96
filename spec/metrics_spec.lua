local misuse = require("support.errors").misuse
local scrape = require "support.scrape"
local support = require "support"

local EVERYTHING = [[
local rover = require "callosum.rover"
rover.new { name = "main" }
rover.new { name = 'say "\\"\n\255' }
require("callosum.pool").new()
require("callosum.relay").new { listen = { port = 0 }, pick = function() end }
require("callosum.front").new { listen = { port = 0 },
  backend = { host = "127.0.0.1", port = 1 } }
require("callosum.discover").file { path = "/nowhere" }:on("error", print)
]]

-- In the maps of the headers, for each noun: an array of { name, kind }.
local function maps()
  local list = {}
  for noun, header in pairs { policy = "callosum/host",
      rover = "callosum/rover", relay = "callosum/relay",
      front = "callosum/front", discovery = "callosum/discover",
      worker = "callosum/workers", pool = "lua/bind_books" } do
    local file <close> = assert(io.open("src/" .. header .. ".h"))
    local map = file:read "a"
      :match "#define ROVER_[%u_]*STATS_MAP%(XX%)(.-[^\\])\n"
    list[noun] = {}
    for name, kind in map:gmatch "XX%(([%l_]+), (%u+)," do
      table.insert(list[noun], { name, kind })
    end
  end
  return list
end

-- A server that gives connections these slots in turn, and then the last.
local function giving(...)
  local slots, n = { ... }, 0
  return support.serve { connection = function(peer)
    n = n + 1
    peer:write((slots[n] or slots[#slots]) .. "\r\n")
  end }
end

-- Scrapes until a sample has this value.
local function reach(host, sample, value)
  local samples
  support.run(function()
    samples = host:samples()
    return samples[sample] == value
  end)
  return samples
end

-- The buckets of a histogram, as they come: { bound, count }.
local function buckets(text, name, labels)
  local list = {}
  for bound, count in text:gmatch(("\n%s_bucket{%sle=\"([^\"]+)\"} (%%d+)")
      :format(name, labels)) do
    list[#list + 1] = { bound, tonumber(count) }
  end
  return list
end

describe("the metrics of a host", function()
  it("are what all counters of the headers' maps say, with their kinds",
    function()
      local host = scrape.run(EVERYTHING, { threads = true })
      local families = scrape.parse(host:text "openmetrics")
      local samples = host:samples()
      for noun, map in pairs(maps()) do
        assert.is_true(#map > 3)
        for _, counter in ipairs(map) do
          local name, kind = table.unpack(counter)
          local family = "callosum_" .. noun .. "_" .. name
          if kind == "BYTES" then family = family .. "_bytes" end
          if kind == "TIME" or kind == "CPU" then
            family = family .. "_seconds"
          end
          local isGauge = kind == "GAUGE" or kind == "TIME" or kind == "FLAG"
          assert.equal(isGauge and "gauge" or "counter", families[family],
            family)
          local label = noun == "policy" and ""
            or noun == "worker" and '{worker="1"}'
            or ('{%s="main"}'):format(noun == "discovery" and "source" or noun)
          assert.is_number(samples[family .. (isGauge and "" or "_total")
            .. label], family)
        end
      end
      host:stop()
    end)

  it("are valid for promtool and a strict parser of OpenMetrics, whatever "
    .. "names there are", function()
      local host = scrape.run(EVERYTHING)
      scrape.lint(host:text())
      scrape.parse(host:text "openmetrics")
      assert.equal(0, host:samples()
        ['callosum_rover_kept{rover="say \\"\\\\\\"\\n\\\\xff"}'])
      host:stop()
    end)

  it("have each slot in the first bucket that it fits, also of what was "
    .. "rejected or refused, and each connect time", function()
      local slots = { 0, 1, 9, 10, 5000, 2147483647 }
      local server = support.serve { connection = function(peer)
        local slot = table.remove(slots, 1)
        if slot then peer:write(slot .. "\r\n") end
      end }
      local host = scrape.run([[
        local r = require("callosum.rover").new { slotLimit = 10,
          rovingInterval = 1,
          servers = { s = { host = "127.0.0.1", port = tonumber(...) } } }
        local n = 0
        r:on("connection", function(_, socket)
          n = n + 1
          if n % 2 == 0 then socket:close() end
        end)
        r:start()
      ]], { args = { server.port } })
      local samples = reach(host, 'callosum_rover_slot_count{rover="main"}', 6)
      local of = buckets(host:text(), "callosum_rover_slot", 'rover="main",')
      local counts = {}
      for _, bucket in ipairs(of) do counts[bucket[1]] = bucket[2] end
      assert.equal("0.0", of[1][1])
      assert.equal("+Inf", of[#of][1])
      assert.same({ 1, 2, 2, 3, 4, 4, 6 }, { counts["0.0"], counts["1.0"],
        counts["6.0"], counts["9.0"], counts["14.0"], counts["4999.0"],
        counts["+Inf"] })
      assert.equal(2147483647 + 5020,
        samples['callosum_rover_slot_sum{rover="main"}'])
      assert.equal(3, samples['callosum_rover_rejected_total{rover="main"}'])
      assert.equal(6,
        samples['callosum_rover_connect_seconds_count{rover="main"}'])
      local sum = samples['callosum_rover_connect_seconds_sum{rover="main"}']
      assert.is_true(sum > 0 and sum < 60)
      host:stop()
    end)

  it("have the causes of what was unreachable, and those alone", function()
    local host = scrape.run([[
      local r = require("callosum.rover").new {
        servers = { s = { host = "127.0.0.1", port = tonumber(...) } } }
      r:on("unreachable", function() end)
      r:connect()
    ]], { args = { support.closedPort() } })
    reach(host, 'callosum_rover_unreachable_total{rover="main"}', 1)
    local causes = {}
    for cause, count in (host:text()):gmatch('callosum_rover_unreachable_'
        .. 'causes_total{rover="main",cause="(%u+)"} (%d)') do
      causes[cause] = count
    end
    assert.same({ ECONNREFUSED = "1" }, causes)
    host:stop()
  end)

  it("say whether the last reload failed, and go on in the next policy",
    function()
      local host = scrape.run 'require("callosum.rover").new():connect()'
      local errors = 'callosum_rover_errors_total{rover="main"}'
      reach(host, errors, 1)
      assert.is_true(host:reload "error 'oh'" < 0)
      local samples = host:samples()
      assert.equal(0, samples.callosum_policy_last_reload_successful)
      assert.equal(1, samples.callosum_policy_failed_reloads_total)
      assert.equal(1, samples.callosum_policy_generation)
      assert.equal(0, host:reload 'require("callosum.rover").new()')
      samples = host:samples()
      assert.equal(1, samples.callosum_policy_last_reload_successful)
      assert.equal(1, samples.callosum_policy_failed_reloads_total)
      assert.equal(2, samples.callosum_policy_generation)
      assert.equal(1, samples[errors])
      host:stop()
    end)

  it("are made without anything in the policy's state", function()
    local host = scrape.run(EVERYTHING .. [[
      local c = require("callosum.metrics").counter { name = "x_total",
        labels = { "y" } }
      for i = 1, 100 do c:inc(1, i) end
      collectgarbage "stop"
    ]])
    local before = host:samples().callosum_policy_memory_bytes
    for _ = 1, 10 do host:text "openmetrics" end
    assert.equal(before, host:samples().callosum_policy_memory_bytes)
    assert.is_true(before > 10000)
    host:stop()
  end)
end)

describe("the metrics of servers", function()
  local function of(name, server)
    return ('callosum_rover_server_%s{rover="main",server="%s"}')
      :format(name, server)
  end

  local function balance(samples)
    local list = {}
    for i, name in ipairs { "servers", "connections", "mean", "peak",
        "least" } do
      list[i] = samples[('callosum_rover_balance_%s{rover="main"}')
        :format(name)]
    end
    return list
  end

  local function statusBalance(host)
    local b = host:status().rovers[1].balance
    return { b.servers, b.connections, b.mean, b.peak, b.least }
  end

  local function states(samples)
    local list = {}
    for i, state in ipairs { "up", "unreachable", "paused", "draining",
        "dropped" } do
      list[i] = samples[('callosum_rover_servers{rover="main",state="%s"}')
        :format(state)]
    end
    return list
  end

  local TWO = [[
    r = require("callosum.rover").new { servers = {
      s = { host = "127.0.0.1", port = tonumber((...)) },
      ['say "\\"\n\255'] = { host = "127.0.0.1",
        port = tonumber((select(2, ...))) } } }
    r:on("connection", function() end)
    r:on("unreachable", function() end)
  ]]

  it("are there for each, with the balance of all, and go on in the next "
    .. "policy", function()
      local server, closed = giving(3), support.closedPort()
      local args = { server.port, closed }
      local host = scrape.run(TWO .. [[
        for _ = 1, 3 do r:connect "s" end
        r:connect 'say "\\"\n\255'
      ]], { args = args })
      local odd = 'say \\"\\\\\\"\\n\\\\xff'
      reach(host, of("kept", "s"), 3)
      local samples = reach(host, of("unreachable_total", odd), 1)
      assert.same({ 3, 3, 1, 1 }, { samples[of("attempts_total", "s")],
        samples[of("connections_total", "s")], samples[of("up", "s")],
        samples[of("attempts_total", odd)] })
      assert.equal(0, samples[of("up", odd)])
      assert.same({ 2, 3, 1.5, 3, 0 }, balance(samples))
      assert.same({ 1, 1, 0, 0, 0 }, states(samples))
      assert.same(statusBalance(host), balance(samples))
      scrape.lint(host:text())
      scrape.parse(host:text "openmetrics")

      assert.equal(0, host:reload(TWO .. 'r:dropServer "s"'))
      samples = host:samples()
      assert.equal(3, samples[of("connections_total", "s")])
      assert.equal(3, samples[of("kept", "s")])
      assert.equal(0, samples[of("up", "s")])
      assert.equal(1, samples[of("unreachable_total", odd)])
      assert.same({ 0, 1, 0, 0, 1 }, states(samples))
      assert.same(statusBalance(host), balance(samples))
      host:stop()
    end)

  it("are there only for rovers with few, or if asked for", function()
    local host = scrape.run [[
      local rover = require "callosum.rover"
      local function with(name, count)
        local r = rover.new { name = name }
        for i = 1, count do
          r:addServer("s" .. i, { host = "::1", port = 1 })
        end
      end
      with("few", 200)
      with("many", 201)
    ]]
    local function count(options)
      local counts = { few = 0, many = 0 }
      for name in (host:text(options)):gmatch
          'callosum_rover_server_kept{rover="(%l+)"' do
        counts[name] = counts[name] + 1
      end
      return { counts.few, counts.many }
    end
    assert.same({ 200, 0 }, count())
    assert.same({ 0, 0 }, count "199")
    assert.same({ 200, 201 }, count "201")
    assert.same({ 200, 201 }, count "all")
    assert.same({ 0, 0 }, count "none")
    assert.equal(201, host:samples()
      ['callosum_rover_servers{rover="many",state="up"}'])
    host:stop()
  end)

  it("are written in pieces, each in no time", function()
    local host = scrape.run [[
      local servers = {}
      for i = 1, 10000 do servers["s" .. i] = { host = "::1", port = 1 } end
      local r = require("callosum.rover").new { servers = servers,
        maxAttempts = 10000 }
      r:on("unreachable", function() end)
      for id in pairs(servers) do r:connect(id) end
    ]]
    reach(host, 'callosum_rover_unreachable_total{rover="main"}', 10000)
    local least, cpu = math.huge, math.huge
    for _ = 1, 5 do
      local most, all, lines = host:measure "all"
      least, cpu = math.min(least, most), math.min(cpu, all)
      assert.is_true(lines > 90000)
    end
    -- On a machine that is not loaded, 1 and 10 ms: see spec/bench.
    if not support.WATCHED then
      assert.is_true(least < 10, least)
      assert.is_true(cpu < 100, cpu)
    end
    host:stop()
  end)
end)

describe("the metrics of pools", function()
  local POOL = [[
    local rover = require("callosum.rover").new {
      servers = { s = { host = "127.0.0.1", port = tonumber(...) } } }
    p = require("callosum.pool").new { name = "x", maxSlots = 2,
      fillInterval = 1 }
    p:attach(rover)
    rover:start()
  ]]

  local function pool(name)
    return ('callosum_pool_%s{pool="x"}'):format(name)
  end

  it("are those of all pools of a name, and go on in the next policy, in "
    .. "which what is there is counted anew", function()
      local server = giving(0)
      local host = scrape.run(POOL .. [[
        require("callosum.pool").new { name = "x" }
          :requestConnection(function() end, 3600000)
        local timer = require("luv").new_timer()
        timer:start(1, 1, function()
          if p:stats().idle < 2 then return end
          timer:close()
          local a, b = p:getConnection(), p:getConnection()
          p:returnConnection(a)
        end)
      ]], { args = { server.port } })
      local samples = reach(host, pool "lease_seconds_count", 1)
      assert.same({ 2, 1, 1, 0, 1, 2, 2 }, { samples[pool "size"],
        samples[pool "idle"], samples[pool "leased"], samples[pool "retiring"],
        samples[pool "waiting"], samples[pool "lent_total"],
        samples[pool "wait_seconds_count"] })
      assert.equal(2, samples[pool "kept_total"])
      -- The one that is lent out is closed, and another is found.
      assert.equal(0, host:reload(POOL))
      samples = reach(host, pool "idle", 2)
      assert.same({ 2, 0, 0, 0, 2, 2 }, { samples[pool "size"],
        samples[pool "leased"], samples[pool "retiring"],
        samples[pool "waiting"], samples[pool "lent_total"],
        samples[pool "wait_seconds_count"] })
      assert.equal(3, samples[pool "kept_total"])
      host:stop()
    end)

  it("time how long requests wait, also in vain, and leases last", function()
    local server = giving(0)
    local host = scrape.run([[
      local rover = require("callosum.rover").new {
        servers = { s = { host = "127.0.0.1", port = tonumber(...) } } }
      local p = require("callosum.pool").new { name = "x", maxSlots = 1 }
      p:attach(rover)
      local timer = require("luv").new_timer()
      p:requestConnection(function(a)
        p:requestConnection(function(nothing)
          assert(not nothing)
          p:returnConnection(a)
        end, 30)
      end, 3600000)
      timer:start(1, 0, function() timer:close() rover:connect() end)
    ]], { args = { server.port } })
    local samples = reach(host, pool "lease_seconds_count", 1)
    assert.equal(1, samples[pool "expired_total"])
    assert.equal(2, samples[pool "wait_seconds_count"])
    -- Each timer may be a millisecond early.
    assert.is_true(samples[pool "wait_seconds_sum"] >= .029)
    assert.is_true(samples[pool "lease_seconds_sum"] >= .029)
    local of = buckets(host:text(), "callosum_pool_wait_seconds", 'pool="x",')
    assert.equal(17, #of)
    for _, bucket in ipairs(of) do
      if tonumber(bucket[1]) and tonumber(bucket[1]) <= .025 then
        assert.is_true(bucket[2] <= 1) -- of the one that got a connection
      end
    end
    assert.equal(2, of[#of][2])
    host:stop()
  end)

  it("do not have what a pool held that is gone", function()
    local server = giving(0)
    local host = scrape.run(POOL .. [[
      local timer = require("luv").new_timer()
      timer:start(1, 1, function()
        if p:stats().idle < 2 then return end
        timer:close()
        p:getConnection()
        p:close()
        rover:close()
        p, rover = nil, nil
        collectgarbage()
        collectgarbage()
      end)
    ]], { args = { server.port } })
    local samples = reach(host, pool "lent_total", 1)
    samples = reach(host, pool "size", 0) or samples
    assert.equal(0, samples[pool "leased"])
    host:stop()
  end)

  it("are kept in a program without a host, too", function()
    local child = support.spawnLua [[
      local server = assert(require("callosum.server").new())
      local host, port = server:address()
      local rover = require("callosum.rover").new {
        servers = { s = { host = host, port = port } } }
      local p = require("callosum.pool").new { maxSlots = 1 }
      p:attach(rover)
      p:requestConnection(function(socket)
        p:returnConnection(socket)
        local stats = p:stats()
        print(stats.lent, stats.kept, stats.waiting, stats.idle, stats.size)
        server:close()
        p:close()
        rover:close()
      end)
      rover:start()
      require("luv").run()
    ]]
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal("1\t1\t0\t1\t1\n", child.stdout)
  end)
end)

describe("callosum.metrics", function()
  local ROVER = 'require("callosum.rover").new()\n'
    .. 'local metrics = require "callosum.metrics"\n'

  it("counts, sets and observes, by labels", function()
    local host = scrape.run(ROVER .. [[
      local plain = metrics.counter { name = "plain" }
      local c = metrics.counter { name = "c_total", help = 'A "c"\\\n.',
        labels = { "route", "code" } }
      c:inc(1, "/", 200)
      c:inc(nil, "/", "200")
      c:inc(0.25, "\"\\\n\0\255é", -1.5)
      local g = metrics.gauge { name = "g", labels = { "x" } }
      g:set(-math.huge, "inf")
      g:set(0/0, "nan")
      g:set(5, "")
      g:inc(nil, "")
      g:dec(0.5, "")
      local h = metrics.histogram { name = "h_seconds",
        buckets = { 0, 0.125, 3 } }
      for _, value in ipairs { 0, 0.125, 0.25, 3, 4 } do h:observe(value) end
    ]])
    local samples = host:samples()
    assert.equal(0, samples["plain_total"])
    assert.equal(2, samples['c_total{route="/",code="200"}'])
    assert.equal(.25, samples['c_total{route="\\"\\\\\\n\\\\x00\\\\xffé",'
      .. 'code="-1.5"}'])
    assert.equal("-Inf", samples['g{x="inf"}'])
    assert.equal("NaN", samples['g{x="nan"}'])
    assert.equal(5.5, samples['g{x=""}'])
    assert.same({ 1, 2, 4, 5, 5, 7.375 }, {
      samples['h_seconds_bucket{le="0.0"}'],
      samples['h_seconds_bucket{le="0.125"}'],
      samples['h_seconds_bucket{le="3.0"}'],
      samples['h_seconds_bucket{le="+Inf"}'],
      samples.h_seconds_count, samples.h_seconds_sum })
    local families = scrape.parse(host:text "openmetrics")
    assert.equal("counter", families.c)
    assert.equal("histogram", families.h_seconds)
    host:stop()
  end)

  it("has points in numbers in any locale", function()
    local locale = support.commaLocale()
    if not locale then return pending "no locale can be made" end
    local host = scrape.run(ROVER .. [[
      assert(os.setlocale("comma", "numeric"))
      assert(("%.1f"):format(1.5) == "1,5")
      metrics.gauge { name = "g" }:set(1.5)
    ]], { env = locale })
    assert.equal(1.5, host:samples().g)
    host:stop()
  end)

  it("gives the same metric again, and none that would clash with it",
    function()
      local metrics = require "callosum.metrics"
      local counter = { name = "again", labels = { "a", "b" } }
      local c = metrics.counter(counter)
      assert.equal(c, metrics.counter(counter))
      counter.name = "again_total"
      assert.equal(c, metrics.counter(counter))
      assert.equal("counter 'again'", tostring(c))
      misuse(function() metrics.counter { name = "again" } end,
        "bad argument #1 to 'counter' (name: there is a metric 'again' "
          .. "already, a counter with the labels a, b)")
      misuse(function() metrics.gauge { name = "again_created" } end,
        "bad argument #1 to 'gauge' (name: 'again_created' clashes with "
          .. "another metric, as both would have samples named "
          .. "'again_created')")
      metrics.gauge { name = "taken_sum" }
      misuse(function() metrics.histogram { name = "taken" } end,
        "bad argument #1 to 'histogram' (name: 'taken' clashes with another "
          .. "metric, as both would have samples named 'taken_sum')")
      metrics.histogram { name = "times", buckets = { 1 } }
      misuse(function() metrics.histogram { name = "times" } end,
        "bad argument #1 to 'histogram' (name: there is a metric 'times' "
          .. "already, a histogram with no labels and its own buckets)")
    end)

  it("refuses what makes no metric, at the caller's line", function()
    local metrics = require "callosum.metrics"
    local long = ("x"):rep(256)
    for message, options in pairs {
      ["name: string of 1 to 255 bytes expected, got nil"] = {},
      ["name: 'callosum_x' begins with callosum_, as only the host's own do"] =
        { name = "callosum_x" },
      ["name: letters, digits and _ expected, not beginning with a digit, got "
        .. "'a:b'"] = { name = "a:b" },
      ["unknown option 'lables', nearest is 'labels'"] =
        { name = "x", lables = {} },
      ["unknown option 'buckets', valid are name, help, labels"] =
        { name = "x", buckets = { 1 } },
      ["help: string of 1 to 1000 bytes expected, got an empty one"] =
        { name = "x", help = "" },
      ["labels: array of at most 8 names expected, got string"] =
        { name = "x", labels = "a" },
      ["labels: 'le' has a meaning of its own"] =
        { name = "x", labels = { "le" } },
      ["labels: 'a' comes twice"] = { name = "x", labels = { "a", "a" } },
      ["labels: names of letters, digits and _ expected, not beginning with a "
        .. "digit or __, got '__a'"] = { name = "x", labels = { "__a" } },
    } do
      misuse(function() metrics.counter(options) end,
        ("bad argument #1 to 'counter' (%s)"):format(message))
    end
    misuse(function() metrics.gauge { name = "x_total" } end,
      "bad argument #1 to 'gauge' (name: 'x_total' ends with _total, as only "
        .. "those of counters do)")
    for shown, list in pairs { ["2 at index 2"] = { 2, 2 },
        ["-1 at index 1"] = { -1 }, ["a at index 1"] = { "a" },
        ["inf at index 1"] = { math.huge } } do
      misuse(function() metrics.histogram { name = "x", buckets = list } end,
        "bad argument #1 to 'histogram' (buckets: ascending numbers from 0 "
          .. "expected, got " .. shown .. ")")
    end
    misuse(function() metrics:counter { name = "x" } end,
      "calling 'counter' on bad self (call it with a dot, not a colon: "
        .. "metrics.counter { ... })")
    local c = metrics.counter { name = "strict", labels = { "a" } }
    misuse(function() c:inc(-1, "x") end, "bad argument #1 to 'inc' (number "
      .. "from 0, as counters never fall, expected, got -1)")
    misuse(function() c:inc(math.huge, "x") end, "bad argument #1 to 'inc' "
      .. "(number from 0, as counters never fall, expected, got inf)")
    misuse(function() c:inc(1) end, "0 label values given to 'strict', which "
      .. "is a counter with the labels a")
    misuse(function() c:inc(1, {}) end, "bad argument #2 to 'inc' (label 'a': "
      .. "string or number expected, got table)")
    misuse(function() c:inc(1, long) end, "bad argument #2 to 'inc' (label "
      .. "'a': 256 bytes are more than 255)")
    local h = metrics.histogram { name = "strict_seconds" }
    misuse(function() h:observe(-0.1) end,
      "bad argument #1 to 'observe' (number from 0 expected, got -0.1)")
    misuse(function() h:observe(1, "x") end, "1 label values given to "
      .. "'strict_seconds', which is a histogram with no labels")
    misuse(function() c.inc(h) end, "bad argument #1 to 'inc' "
      .. "(callosum.counter expected, got callosum.histogram)")
  end)

  it("keeps values across reloads, by name, where type, labels and buckets "
    .. "are the same", function()
      local host = scrape.run(ROVER .. [[
        metrics.counter { name = "same" }:inc(3)
        metrics.counter { name = "with", labels = { "a" } }:inc(1, "x")
        metrics.gauge { name = "level" }:set(7)
        metrics.gauge { name = "anew" }:set(7)
        metrics.gauge { name = "beside" }:set(7)
        metrics.histogram { name = "h", buckets = { 1 } }:observe(0.5)
        metrics.gauge { name = "other_type" }:set(7)
        metrics.counter { name = "other_labels" }:inc(7)
        metrics.histogram { name = "other_buckets" }:observe(7)
        metrics.counter { name = "gone" }:inc(7)
        local late = metrics.counter { name = "late" }
        local level = metrics.gauge { name = "level" }
        require("callosum.host").on("unload", function()
          late:inc(5)
          level:set(100)
        end)
      ]])
      assert.equal(0, host:reload(ROVER .. [[
        metrics.counter { name = "same" }:inc(1)
        metrics.counter { name = "with", labels = { "a" } }:inc(1, "y")
        metrics.gauge { name = "level" }
        metrics.gauge { name = "anew" }:set(1)
        metrics.gauge { name = "beside" }:inc(1)
        metrics.histogram { name = "h", buckets = { 1 } }:observe(2)
        metrics.counter { name = "other_type" }
        metrics.counter { name = "other_labels", labels = { "a" } }:inc(1, "x")
        metrics.histogram { name = "other_buckets", buckets = { 1 } }
        metrics.counter { name = "late" }
      ]]))
      local samples = host:samples()
      for sample, value in pairs {
        same_total = 4, ['with_total{a="x"}'] = 1, ['with_total{a="y"}'] = 1,
        level = 7, anew = 1, beside = 8, ['h_bucket{le="1.0"}'] = 1,
        h_count = 2, h_sum = 2.5, other_type_total = 0,
        ['other_labels_total{a="x"}'] = 1, other_buckets_count = 0,
        late_total = 5,
      } do
        assert.equal(value, samples[sample], sample)
      end
      for _, sample in ipairs { "other_type", "other_labels_total",
          "gone_total", 'other_buckets_bucket{le="10.0"}' } do
        assert.is_nil(samples[sample], sample)
      end
      scrape.parse(host:text "openmetrics")
      host:stop()
    end)

  it("is not touched by a script that fails to load, or is only checked",
    function()
      local host = scrape.run(ROVER .. 'metrics.counter { name = "c" }:inc(3)')
      assert.is_true(host:reload(ROVER .. [[
        metrics.counter { name = "c" }:inc(100)
        metrics.counter { name = "d" }:inc(100)
        error "no"
      ]]) < 0)
      local samples = host:samples()
      assert.equal(3, samples.c_total)
      assert.is_nil(samples.d_total)
      assert.equal(0, host:reload(ROVER .. 'metrics.counter { name = "c" }'))
      assert.equal(3, host:samples().c_total)
      host:stop()
      local path = support.tmpfile(ROVER
        .. 'metrics.counter { name = "c" }:inc(3)')
      local child = support.command { "check", path }
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end)

  it("works in the sandbox", function()
    local host = scrape.run(ROVER .. [[
      local c = metrics.counter { name = "c" }
      c:inc()
      assert(getmetatable(c) == "callosum.counter")
    ]], { sandbox = true })
    assert.equal(1, host:samples().c_total)
    host:stop()
  end)

  it("has at most 1000 series, and counts what would need more", function()
    local host = scrape.run(ROVER .. [[
      local h = metrics.histogram { name = "h", labels = { "a" },
        buckets = { 1, 2 } } -- each 5 of them
      local c = metrics.counter { name = "c", labels = { "a" } }
      h:observe(1, "x")
      for i = 1, 1100 do c:inc(1, i) end
      c:inc(1, 1)
      h:observe(1, "y")
      h:observe(1, "x")
      metrics.counter { name = "d" }:inc()
    ]])
    local samples = host:samples()
    local count = 0
    for sample in pairs(samples) do
      count = count + (sample:find "^callosum" and 0 or 1)
    end
    assert.equal(1000, count)
    assert.equal(2, samples['c_total{a="1"}'])
    assert.equal(2, samples['h_count{a="x"}'])
    assert.equal(105 + 1 + 2, samples.callosum_policy_metrics_lost_total)
    local _, warnings = host.child.stderr:gsub("so many series", "")
    assert.equal(1, warnings, host.child.stderr)
    -- In the next policy there is room for others.
    assert.equal(0, host:reload(ROVER .. [[
      metrics.counter { name = "d" }:inc()
    ]]))
    samples = host:samples()
    assert.equal(1, samples.d_total)
    assert.equal(108, samples.callosum_policy_metrics_lost_total)
    host:stop()
  end)
end)

describe("the alerts in the examples", function()
  local RULES = support.ROOT .. "/examples/alerts.yml"

  it("are valid, of metrics that there are, and said in the manual", function()
    local child = support.spawn("promtool", { "check", "rules", RULES },
      { env = { LD_PRELOAD = false } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    local file <close> = assert(io.open(RULES))
    local text = file:read "a"
    local page <close> = assert(io.open "src/cli/callosum-rover.1")
    local manual = page:read "a"
    local fleet = require("support.certificates").fleet()
    local host = scrape.run(EVERYTHING .. ([[
      require("callosum.front").new { name = "secured",
        listen = { port = 0 }, backend = { port = 1 },
        tls = { cert = %q, key = %q } }
    ]]):format(fleet.server.cert, fleet.server.key))
    local metrics = host:text()
    host:stop()
    local count = 0
    for name in text:gmatch "callosum_[%l_]+" do
      assert.is_truthy(metrics:find("\n" .. name .. "%f[^%l_]"), name)
      count = count + 1
    end
    assert.is_true(count > 10)
    for name in text:gmatch "alert: (%a+)" do
      assert.is_truthy(manual:find(name, 1, true), name)
    end
  end)

  it("fire when they should, and not otherwise", function()
    local tests = support.tmpfile(([[
rule_files: ["%s"]
tests:
  - interval: 1m
    input_series:
      - series: 'callosum_rover_servers{rover="r",state="unreachable"}'
        values: "0x9 3x20"
      - series: 'callosum_rover_servers{rover="r",state="up"}'
        values: "10x9 7x20"
      - series: 'callosum_rover_balance_peak{rover="r"}'
        values: "11x40 17x40"
      - series: 'callosum_rover_balance_mean{rover="r"}'
        values: "10x80"
      - series: 'callosum_rover_balance_connections{rover="r"}'
        values: "100x80"
      - series: 'callosum_policy_last_reload_successful'
        values: "1x9 0x20"
      - series: 'callosum_tls_certificate_expiry_timestamp_seconds{file="f"}'
        values: "605400x80"
      - series: 'callosum_policy_script_errors_total'
        values: "7x20 8x20"
    alert_rule_test:
      - { eval_time: 9m, alertname: CallosumServersUnreachable }
      - { eval_time: 9m, alertname: CallosumReloadFailed }
      - { eval_time: 40m, alertname: CallosumUnbalanced }
      - { eval_time: 20m, alertname: CallosumScriptErrors }
      - { eval_time: 9m, alertname: CallosumCertificateExpires }
      - eval_time: 16m
        alertname: CallosumServersUnreachable
        exp_alerts:
          - exp_labels: { rover: r, severity: page }
            exp_annotations: { summary: "3 servers of r are unreachable" }
      - eval_time: 12m
        alertname: CallosumReloadFailed
        exp_alerts:
          - exp_labels: { severity: ticket }
            exp_annotations:
              summary: "The policy failed to reload: the old one goes on"
      - eval_time: 15m
        alertname: CallosumCertificateExpires
        exp_alerts:
          - exp_labels: { file: f, severity: ticket }
            exp_annotations: { summary: "f expires in 6d 23h 55m 0s" }
      - eval_time: 24m
        alertname: CallosumScriptErrors
        exp_alerts:
          - exp_labels: { severity: ticket }
            exp_annotations: { summary: "The policy raises errors" }
      - eval_time: 60m
        alertname: CallosumUnbalanced
        exp_alerts:
          - exp_labels: { rover: r, severity: ticket }
            exp_annotations: { summary: "A server of r has 17 connections" }
]]):format(RULES))
    local child = support.spawn("promtool", { "test", "rules", tests },
      { env = { LD_PRELOAD = false } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)
end)
