-- What becomes of the answers that a source has. Time is virtual in most of
-- this, see sources.virtual().

local discover = require "callosum.discover"
local callosum = require "callosum.rover"
local sources = require "support.sources"
local support = require "support"
local uv = require "luv"

local counted, file, has, ids = sources.counted, sources.file, sources.has,
  sources.ids
local misuse, rover, run = support.misuse, support.rover, support.run
local virtual = sources.virtual

describe("A source", function()
  describe("whose look-up fails", function()
    it("keeps its servers, and asks again after 1 s, doubling to 60 s",
      function()
        virtual([[
          put "a:1\nb:1"
          local d, r = file { interval = 1000 }
          local last
          d:on("error", function(err)
            print(last and math.floor((t() - last) / 100 + .5), err.code,
              ids(r), d:stats().stale)
            last = t()
          end)
          at(500, function() put "what is this" end)
          finish(400000)
        ]], function(output)
          local waits = {}
          for wait, rest in output:gmatch "(%S+)\t([^\n]+)" do
            waits[#waits + 1] = wait
            assert.equal("EPROTO\ta:1 b:1\ttrue", rest)
          end
          assert.is_true(#waits > 8, output)
          assert.equal("nil", waits[1])
          for i = 2, #waits do
            local wanted = math.min(60, 2 ^ (i - 2)) * 10
            local wait = tonumber(waits[i])
            local isSo = wait >= wanted * 0.9 - 1 and wait <= wanted * 1.1 + 1
            assert.is_true(isSo, output)
          end
        end)
      end)

    it("is over that with the first answer", function()
      virtual([[
        put "a:1"
        local d, r = file { interval = 1000, removalDelay = 0 }
        d:on("error", function() end)
        at(2500, function() put(nil) end)
        at(20000, function() put "b:1\na:1" end)
        local before
        at(39900, function() before = d:stats() end)
        at(50000, function()
          local s = d:stats()
          print(ids(r), s.stale, s.age <= 1100, before.failures == s.failures,
            s.lookups - before.lookups >= 9)
        end)
        at(50100, function() put(nil) end)
        local failures
        at(50000, function() failures = d:stats().failures end)
        at(53000, function() print(d:stats().failures - failures >= 1) end)
        finish(54000)
      ]], [[
        a:1 b:1	false	true	true	true
        true
      ]])
    end)
  end)

  for text, what in pairs { ["[]"] = "an empty array",
      ['[{"targets": []}]'] = "groups without targets",
      ["# nobody\n"] = "a comment" } do
    it("keeps its servers when the list is empty, as " .. what, function()
      virtual([[
        put "a:1\nb:1"
        local d, r = file { interval = 1000 }
        d:once("error", function(err)
          print((tostring(err):gsub(path, "PATH")))
        end)
        d:on("error", function() end)
        at(1500, function() put(]] .. ("%q"):format(text) .. [[) end)
        at(99500, function()
          local s = d:stats()
          print(ids(r), s.stale, s.failures, s.dropped)
          print(s.empty > 85 and s.empty < 105)
        end)
        finish(100000)
      ]], [[
        file PATH: an empty list, so its servers stay (ENOENT)
        a:1 b:1	true	0	0
        true
      ]])
    end)
  end

  it("believes an empty list if it is to, after it has asked again", function()
    virtual([[
      put "a:1\nb:1"
      local d, r = file { interval = 1000, allowEmpty = true, removalDelay = 0 }
      d:on("error", function(err) print(err.code) end)
      d:on("update", function(added, dropped) print(#added, #dropped) end)
      at(1500, function() put "[]" end)
      at(6000, function() print(("<%s>"):format(ids(r)), d:stats().stale) end)
      finish(6100)
    ]], [[
      2	0
      EAGAIN
      EAGAIN
      0	2
      <>	false
    ]])
  end)

  describe("from which much is gone at once", function()
    it("believes that after `confirm` answers, but what is new at once",
      function()
        virtual([[
          put "a:1\nb:1\nc:1\nd:1"
          local d, r = file { interval = 1000, removalDelay = 0 }
          d:on("error", function(err)
            print((tostring(err):gsub(path, "PATH")))
            print(ids(r), d:stats().stale)
          end)
          at(1500, function() put "a:1\ne:1" end)
          at(9000, function()
            local s = d:stats()
            print(ids(r), s.doubted, s.dropped, s.stale)
          end)
          finish(9100)
        ]], [[
          file PATH: 3 of its 4 servers are gone at once: asking again before]]
            .. [[ they go (1 of 3) (EAGAIN)
          a:1 b:1 c:1 d:1 e:1	true
          file PATH: 3 of its 5 servers are gone at once: asking again before]]
            .. [[ they go (2 of 3) (EAGAIN)
          a:1 b:1 c:1 d:1 e:1	true
          a:1 e:1	2	3	false
        ]])
      end)

    it("begins to count anew when they are back", function()
      virtual([[
        local all = "a:1\nb:1\nc:1\nd:1"
        put(all)
        local d, r = file { interval = 1000, removalDelay = 0 }
        d:on("error", function()
          if d:stats().doubted % 2 == 0 then put(all) end
        end)
        for i = 1, 10 do at(i * 10000, function() put "a:1" end) end
        at(109000, function()
          print(ids(r), d:stats().doubted, d:stats().dropped)
        end)
        finish(110000)
      ]], "a:1 b:1 c:1 d:1\t20\t0")
    end)

    it("believes only answers that lack about the same", function()
      virtual([[
        local function list(from, to)
          local lines = {}
          for i = from, to do lines[#lines + 1] = "s" .. i .. ".x:1" end
          put(table.concat(lines, "\n"))
        end
        list(1, 30)
        local d, r = file { interval = 1000, removalDelay = 0 }
        d:on("error", function() end)
        -- Each time another third.
        for i = 1, 100 do
          at(i * 1000, function() list(i % 3 * 10 + 1, i % 3 * 10 + 10) end)
        end
        at(100500, function()
          local s = d:stats()
          print(s.servers, s.dropped, s.doubted > 50, s.stale)
        end)
        at(101000, function() list(1, 3) end)
        at(102500, function() list(1, 2) end)
        at(106000, function() print(ids(r), d:stats().dropped) end)
        finish(106100)
      ]], "30\t0\ttrue\ttrue\ns1.x:1 s2.x:1\t28")
    end)

    it("begins to count anew after a look-up that failed", function()
      virtual([[
        put "a:1\nb:1\nc:1\nd:1"
        local d, r = file { interval = 10000, removalDelay = 0 }
        local after
        d:on("error", function(err)
          if err.code == "EPROTO" then after = 0 return put "a:1" end
          if after then after = after + 1 end
          if d:stats().doubted == 2 then put "what is this" end
        end)
        at(30000, function() put "a:1" end)
        d:on("update", function(_, dropped)
          if #dropped > 0 then print(#dropped, after) end
        end)
        finish(200000)
      ]], "3\t2")
    end)

    for _, case in ipairs {
      { "half is not too much", "", "a:1\nb:1", "0\t2" },
      { "with a maxDrop of 1 nothing is", "maxDrop = 1", "z:1", "0\t4" },
      { "with a maxDrop of 0 one is", "maxDrop = 0", "a:1\nb:1\nc:1", "2\t1" },
      { "with a confirm of 1 nothing is asked again", "confirm = 1", "z:1",
        "0\t4" },
      { "with a confirm of 2 it is once", "confirm = 2", "z:1", "1\t4" },
    } do
      it("asks as often as it is told: " .. case[1], function()
        virtual(([[
          put "a:1\nb:1\nc:1\nd:1"
          local d = file { interval = 1000, removalDelay = 0, %s }
          d:on("error", function() end)
          at(1500, function() put %q end)
          at(9000, function()
            print(d:stats().doubted, d:stats().dropped)
          end)
          finish(9100)
        ]]):format(case[2], case[3]), case[4])
      end)
    end
  end)

  it("drops what is gone after removalDelay", function()
    virtual([[
      put "a:1\nb:1\nc:1"
      local d, r = file { interval = 1000 }
      local gone
      d:on("update", function(added, dropped)
        if #dropped == 0 then return end
        print(dropped[1], #dropped, t() - gone >= 30000, t() - gone <= 31200)
      end)
      at(5000, function() gone = t() put "a:1\nb:1" end)
      at(20000, function()
        local s = d:stats()
        print(ids(r), s.servers, s.leaving, s.dropped)
      end)
      at(40000, function()
        local s = d:stats()
        print(ids(r), s.servers, s.leaving, s.dropped)
      end)
      finish(41000)
    ]], [[
      a:1 b:1 c:1	2	1	0
      c:1	1	true	true
      a:1 b:1	2	0	1
    ]])
  end)

  it("does nothing about a server that is gone now and then", function()
    virtual([[
      put "a:1\nb:1\nc:1"
      local d, r = file { interval = 1000 }
      d:on("update", function(added, dropped) print(#added, #dropped) end)
      for i = 1, 20 do
        at(i * 25000, function() put "a:1\nb:1" end)
        at(i * 25000 + 20000, function() put "c:1\na:1\nb:1" end)
      end
      at(599000, function() print(ids(r), d:stats().leaving) end)
      finish(600000)
    ]], "3\t0\na:1 b:1 c:1\t0")
  end)

  it("asks at once, then at random within its interval, and then every 0.9 to "
    .. "1.1 of it", function()
    virtual([[
      put "a:1"
      local all = {}
      for i = 1, 200 do all[i] = file { interval = 60000 } end
      local lookups, times = {}, {}
      for i = 1, 200 do lookups[i], times[i] = 0, {} end
      local clock = closing(uv.new_timer())
      clock:start(0, 100, function()
        for i, d in ipairs(all) do
          local s = d:stats()
          if s.lookups > lookups[i] then
            lookups[i] = s.lookups
            table.insert(times[i], t())
          end
        end
      end)
      at(299000, function()
        local quarters, least, most, first = { 0, 0, 0, 0 }, 1e9, 0, 0
        for i = 1, 200 do
          first = math.max(first, times[i][1])
          local second = times[i][2] - times[i][1]
          local quarter = math.min(4, 1 + second // 15000)
          quarters[quarter] = quarters[quarter] + 1
          for j = 3, #times[i] do
            local each = times[i][j] - times[i][j - 1]
            least, most = math.min(least, each), math.max(most, each)
          end
        end
        print(first <= 200, least >= 53800, least < 56000, most <= 66200,
          most > 64000)
        for i = 1, 4 do print(quarters[i] > 25 and quarters[i] < 80) end
      end)
      finish(300000)
    ]], [[
      true	true	true	true	true
      true
      true
      true
      true
    ]])
  end)

  it("asks at random within its interval after the first answer, though it "
    .. "came after failures", function()
    virtual([[
      local all = {}
      for i = 1, 200 do
        all[i] = file { interval = 60000 }
        all[i]:on("error", function() end)
      end
      at(500, function() put "a:1" end)
      at(1300, function()
        local quarters = { 0, 0, 0, 0 }
        for _, d in ipairs(all) do
          assert(d:stats().failures > 0 and not d:stats().stale)
          local quarter = math.min(4, 1 + d:stats().next // 15000)
          quarters[quarter] = quarters[quarter] + 1
        end
        for i = 1, 4 do print(quarters[i] > 20 and quarters[i] < 85) end
      end)
      finish(1400)
    ]], "true\ntrue\ntrue\ntrue")
  end)

  it("adds and drops thousands in pieces, between which others go on",
    function()
      local most, updates, ticks = 0, 0, 0
      local list = {}
      for i = 1, 5000 do
        list[i] = ("10.0.%d.%d:1"):format(i // 250, i % 250)
      end
      local d = file(nil, { interval = 60000 })
      d.source:on("update", function(added, dropped)
        updates, most = updates + 1, math.max(most, #added + #dropped)
      end)
      local timer = uv.new_timer()
      timer:start(0, 0, function() end)
      local idle = uv.new_idle()
      idle:start(function() ticks = ticks + 1 end)
      d.put(table.concat(list, "\n"))
      counted(d.source, "added", 5000)
      assert.is_true(updates >= 5 and ticks >= 5 and most <= 1000)
      table.move(list, 2501, 5000, 1)
      d.put(table.concat(list, "\n", 1, 2500))
      counted(d.source, "dropped", 2500)
      has(d.rover, ids(d.rover))
      local count = 0
      for _ in pairs(d.rover:servers()) do count = count + 1 end
      assert.equal(2500, count)
      timer:close()
      idle:close()
    end)

  -- 300,000 servers take too long under a sanitizer.
  local itIsFast = support.WATCHED and function() end or it
  itIsFast("has no more servers than there is room, and makes some", function()
    local COUNT = 100000
    local function list(n)
      local lines = {}
      for i = 0, COUNT - 1 do
        lines[#lines + 1] = ("10.%d.%d.%d:%d"):format(i >> 16, i >> 8 & 255,
          i & 255, n)
      end
      return table.concat(lines, "\n")
    end
    local d = file(list(1), { interval = 60000, confirm = 2, maxDrop = 0 })
    counted(d.source, "added", COUNT)
    d.put(list(2))
    counted(d.source, "doubted", 1)
    d.put(list(3))
    counted(d.source, "doubted", 2)
    assert.equal(2 * COUNT, d.source:stats().servers)
    d.put(list(3) .. "\n")
    counted(d.source, "dropped", 2 * COUNT)
    run(function() return #d.errors == 3 end)
    assert.matches("too many servers", tostring(d.errors[3]))
    d.put(list(3))
    run(function() return d.source:stats().servers == COUNT end)
    assert.is_false(d.source:stats().stale)
  end)

  it("does not touch servers that stay", function()
    local s = support.serve { send = "0\r\n" }
    local d = file(("127.0.0.1:%d\na:1"):format(s.port))
    local id = ("127.0.0.1:%d"):format(s.port)
    has(d.rover, id .. " a:1")
    d.rover:pauseServer(id, 3600000)
    d.rover:pauseServer("a:1", 3600000)
    d.put(("a:1 7\n127.0.0.1:%d\nb:1"):format(s.port))
    run(function() return d.rover:servers()["b:1"] end)
    d.rover:pauseServer("b:1", 3600000)
    counted(d.source, "unchanged", 2)
    assert.same({ nil, "maxAttempts attempts are in flight, or every server is "
      .. "paused", "EAGAIN" }, { d.rover:connect() })
    assert.equal(3, d.source:stats().added)
  end)

  it("keeps sockets of servers that are gone", function()
    local s = support.serve { send = "0\r\n" }
    local d = file(("127.0.0.1:%d\na:1"):format(s.port))
    counted(d.source, "added", 2)
    local events = support.record(d.rover)
    assert(d.rover:connect(("127.0.0.1:%d"):format(s.port)))
    run(function() return #events > 0 end)
    d.put "a:1"
    has(d.rover, "a:1")
    assert.is_false(events[1].socket.closed)
    assert.equal(1, d.rover:stats().kept)
    events[1].socket:close()
  end)

  describe("whose rover has other servers", function()
    it("has one server of two sources, until both have dropped it", function()
      local r = rover()
      local one, two = file "a:1\nb:1\n# 1", file "b:1\nc:1"
      one.source:attach(r)
      two.source:attach(r)
      has(r, "a:1 b:1 c:1")
      one.put "a:1"
      has(one.rover, "a:1")
      assert.equal("a:1 b:1 c:1", ids(r))
      two.put "c:1"
      has(r, "a:1 c:1")
      one.source:close()
      has(r, "c:1")
    end)

    it("leaves those that the script has added", function()
      local d = file "a:1\nb:1"
      d.rover:addServer("a:1", { host = "a", port = 1 })
      d.rover:addServer("z", { host = "b", port = 1 })
      has(d.rover, "a:1 b:1 z")
      d.put "b:1"
      counted(d.source, "dropped", 1)
      assert.equal("a:1 b:1 z", ids(d.rover))
      d.rover:setServers {}
      assert.equal("b:1", ids(d.rover))
      d.source:close()
      has(d.rover, "")
    end)

    it("has one back that the script has dropped, when it is listed anew",
      function()
        local d = file "a:1\nb:1"
        has(d.rover, "a:1 b:1")
        assert.is_true(d.rover:dropServer "a:1")
        counted(d.source, "unchanged", 3)
        assert.equal("b:1", ids(d.rover))
        d.put "b:1"
        counted(d.source, "dropped", 1)
        d.put "b:1\na:1"
        has(d.rover, "a:1 b:1")
      end)

    it("does without one that the script has dropped, whoever lists it",
      function()
        local one, two, r = file "a:1\nb:1", file "a:1\nc:1", rover()
        one.source:attach(r)
        has(r, "a:1 b:1")
        assert.is_true(r:dropServer "a:1")
        assert.is_false(r:dropServer "a:1")
        two.source:attach(r)
        has(r, "b:1 c:1")
        one.put "b:1"
        has(one.rover, "b:1")
        one.put "b:1\na:1"
        has(one.rover, "a:1 b:1")
        counted(one.source, "unchanged", 2)
        assert.equal("b:1 c:1", ids(r))
        assert.is_false(r:hasServer "a:1")
        assert.is_false(r:pauseServer("a:1", 1))
      end)

    it("has one while a source lists it, however often it was dropped",
      function()
        local one, two, r = file "a:1\nb:1", file "a:1\nc:1", rover()
        local told = {}
        r:on("error", function() end)
        r:on("added", support.watched(function(id) told[#told + 1] = id end))
        r:start()
        one.source:attach(r)
        two.source:attach(r)
        has(r, "a:1 b:1 c:1")
        run(function() return #told == 3 end)
        r:dropServer "a:1"
        r:addServer("a:1", { host = "a", port = 1 })
        run(function() return #told == 4 end)
        r:dropServer "a:1"
        local a = { host = "a", port = 1 }
        assert.same({ 1, 0, 0 }, { r:setServers { ["a:1"] = a } })
        run(function() return #told == 5 end)
        r:dropServer "a:1"
        assert.same({ 0, 0, 0 }, { r:setServers {} })
        a.port = 2
        assert.same({ 1, 0, 0 }, { r:setServers { ["a:1"] = a } })
        run(function() return #told == 6 end)
        assert.same({ "a:1", "a:1", "a:1" }, { told[4], told[5], told[6] })
        assert.same({ 0, 0, 0 }, { r:setServers {} })
        one.put "b:1"
        has(one.rover, "b:1")
        assert.equal("a:1 b:1 c:1", ids(r))
        two.put "c:1"
        has(r, "b:1 c:1")
      end)
  end)

  it("has its rover wait for the first answer, and rove then", function()
    local s = support.serve { send = "0\r\n" }
    local d = file(("127.0.0.1:%d"):format(s.port))
    local events = support.record(d.rover)
    d.rover:setRovingInterval(3600000)
    d.rover:start()
    run(function() return #events > 0 end)
    assert.equal("connection", events[1].event)
    assert.is_true(d.rover:stats().skipped > 0)
    events[1].socket:close()
    d = file "[]"
    events = support.record(d.rover)
    d.rover:start()
    run(function() return #d.errors > 0 end)
    d.rover:start()
    run(function() return #events > 0 end)
    assert.equal("EDESTADDRREQ", events[1].err.code)
  end)

  it("gives rovers that are attached later, or twice, all servers once",
    function()
      local d = file "a:1\nb:1"
      counted(d.source, "added", 2)
      local r = rover()
      assert.equal(d.source, d.source:attach(r))
      assert.equal(d.source, d.source:attach(r))
      has(r, "a:1 b:1")
      d.put "b:1"
      has(r, "b:1")
      assert.same({ "a:1", "b:1" }, d.added)
    end)

  it("goes on without a rover that closes, and with one that comes", function()
    local d = file "a:1"
    has(d.rover, "a:1")
    d.rover:close()
    local r = rover()
    d.source:attach(r)
    d.put "a:1\nb:1"
    has(r, "a:1 b:1")
  end)

  it("takes its servers with it when it closes, also from an event", function()
    for _, event in ipairs { "update", "error" } do
      local d = file "a:1"
      has(d.rover, "a:1")
      d.source:on(event, function() d.source:close() end)
      d.put(event == "update" and "a:1\nb:1" or "?")
      has(d.rover, "")
      d.source:close()
      assert.matches("%(closed%)$", tostring(d.source))
    end
  end)

  it("goes on though nothing refers to it", function()
    local r, path = rover(), support.tmpfile("a:1", "servers")
    local done
    discover.file { path = path, interval = 10 }:attach(r)
      :on("update", function(added) done = added[1] end)
      :on("error", function() end)
    collectgarbage()
    collectgarbage()
    has(r, "a:1")
    assert.equal("a:1", done)
    -- What closes it here is that its state does: see the reload specs.
    local found
    for _, value in pairs(debug.getregistry()) do
      if type(value) == "userdata" and tostring(value):find(path, 1, true) then
        found = value
      end
    end
    found:close()
  end)

  it("says what it is", function()
    local d = file "a:1"
    assert.equal(("source 'main' (file %s)"):format(d.path), tostring(d.source))
  end)

  it("refuses what is no rover, and what is closed", function()
    local d = file "a:1"
    assert.is_false(pcall(d.source.attach, d.source, {}))
    assert.is_false(pcall(d.source.attach, d.source, d.source))
    local r = callosum.new()
    r:close()
    misuse(function() d.source:attach(r) end,
      "bad argument #1 to 'attach' (the rover is closed)")
    d.source:close()
    misuse(function() d.source:attach(d.rover) end,
      "calling 'attach' on bad self (the source is closed)")
  end)
end)

describe("The cache of a source", function()
  it("has its servers, and their weights, for a start without any answer",
    function()
      virtual([[
        put "a:1 7\n[::1]:2"
        local cache = path .. ".cache"
        local d, r = file { interval = 1000, cache = cache }
        at(3000, function()
          d:close()
          put(nil)
          local again, s = file { path = path, interval = 60000, cache = cache }
          again:on("error", function(err) print(err.code) end)
          at(100, function()
            print(ids(s), s:servers()["a:1"].weight, again:stats().stale,
              again:stats().lookups)
          end)
          at(60500, function() print(ids(s), again:stats().lookups > 0) end)
        end)
        finish(70000)
      ]], function(output)
        local first, rest = output:match "^([^\n]*)\n(.*)$"
        assert.equal("[::1]:2 a:1\t7\ttrue\t0", first)
        assert.matches("ENOENT", rest)
        assert.matches("%[::1%]:2 a:1\ttrue\n", rest)
      end)
    end)

  it("is soon followed by an answer, however long the interval is", function()
    virtual([[
      local cache = path .. ".cache"
      local out = io.open(cache, "w")
      out:write "# The servers of a source, as it last knew them.\na:1\n"
      out:close()
      put "a:1\nb:1"
      local d, r = file { interval = 300000, cache = cache }
      at(900, function() print(ids(r), d:stats().lookups) end)
      at(5500, function()
        print(ids(r), d:stats().lookups, d:stats().stale)
      end)
      finish(5600)
    ]], [[
      a:1	0
      a:1 b:1	1	false
    ]])
  end)

  it("gives way to the first answer, whatever that drops", function()
    virtual([[
      local cache = path .. ".cache"
      local out = io.open(cache, "w")
      out:write "# The servers of a source, as it last knew them.\n"
      out:write "a:1\nb:1\nc:1\nd:1\n"
      out:close()
      put "z:1"
      local d, r = file { interval = 1000, cache = cache, removalDelay = 5000 }
      d:on("error", print)
      at(50, function() print(ids(r)) end)
      at(1500, function() print(ids(r), d:stats().stale) end)
      at(7000, function() print(ids(r)) end)
      finish(7100)
    ]], [[
      a:1 b:1 c:1 d:1
      a:1 b:1 c:1 d:1 z:1	false
      z:1
    ]])
  end)

  it("is written once it can be, though the list is the same, and says once"
    .. " that it cannot", function()
    local path = support.tmpdir() .. "/sub/cache"
    local d = file("a:1", { cache = path })
    has(d.rover, "a:1")
    run(function() return d.source:stats().unchanged >= 3 end)
    assert.equal(1, #d.errors)
    uv.fs_mkdir(path:match "^(.*)/", 448)
    run(function()
      local cache = io.open(path)
      return cache and cache:read "a":find "^# [^\n]*\na:1\n$"
    end)
    assert.equal(1, #d.errors)
  end)

  it("is no reason to fail if it is missing, broken, or cannot be written",
    function()
      local d = file("a:1", { cache = "/nowhere/cache" })
      has(d.rover, "a:1")
      run(function() return #d.errors > 0 end)
      assert.matches("cannot write its cache: no such file",
        d.errors[1].message)
      local path = support.tmpfile("?", "cache")
      d = file("a:1", { cache = path })
      has(d.rover, "a:1")
      assert.matches("cannot read its cache: line 1", d.errors[1].message)
      run(function() return #d.errors > 1 end) -- it may be another's
      assert.matches("cannot write its cache: the file is not one that a source"
        .. " has written", d.errors[2].message)
      support.write(path, "")
      d = file("a:1", { cache = path })
      run(function()
        return io.open(path):read "a":find "^# [^\n]*\na:1\n$"
      end)
      support.write(path, "# The servers of a source, as it last knew them.\n"
        .. "what is this\n")
      d = file("a:1", { cache = path })
      run(function()
        return io.open(path):read "a":find "^# [^\n]*\na:1\n$"
      end)
    end)
end)
