-- What the memory cap of a policy bounds: what the process holds for it, by
-- whatever way it came.

local support = require "support"

local MIB = 1 << 20

-- Begins every policy here: `memory` tells what the process has, now and at
-- most, in bytes.
local HEAD = [[
  local R = require "callosum.rover".new()
  local function memory()
    local file <close> = io.open "/proc/self/status"
    local text = file:read "a"
    local function bytes(of) return 1024 * text:match(of .. ":%s*(%d+)") end
    return bytes "VmRSS", bytes "VmHWM"
  end
]]

-- Runs the script's body under the cap, and returns the numbers that it prints.
local function check(cap, script)
  local path = support.tmpfile(HEAD .. script)
  local child = support.command { "check", "--load-budget", "60000", "--memory",
    tostring(cap), path }
  child:wait()
  assert.equal(0, child.code, child.output)
  local numbers = {}
  for number in child.stdout:match("[^\n]*"):gmatch "%d+" do
    numbers[#numbers + 1] = tonumber(number)
  end
  return table.unpack(numbers)
end

-- Fills the memory again and again, with `each(round)`, which returns one more
-- value to keep. Between rounds what was kept goes, but for every `n`th.
local function fill(rounds, n, each)
  return ([[
    local fixed, count = {}, 0
    local before = memory()
    for round = 1, %d do
      local kept = {}
      pcall(function()
        while true do
          count = count + 1
          kept[#kept + 1] = (%s)(round, count)
        end
      end)
      for i = 1, #kept, %s do
        if not pcall(rawset, fixed, #fixed + 1, kept[i]) then break end
      end
    end
    fixed = nil
    collectgarbage()
    local now, most = memory()
    print(before, now, most)
  ]]):format(rounds, each, n or "math.huge")
end

describe("The process holds at most 1.5 times the cap", function()
  local cases = {
    ["strings of one size after the other"] = fill(24, nil, [[
      function(round, i)
        return ("%010d"):format(i) .. ("x"):rep(round * 40)
      end]]),
    ["strings of one size after the other, some of which stay"] =
      fill(12, 50, [[
      function(round, i)
        return ("%010d"):format(i) .. ("x"):rep(round * 80)
      end]]),
    ["strings from large to small"] = fill(16, nil, [[
      function(round, i)
        return ("%010d"):format(i) .. ("x"):rep(1 << (22 - round))
      end]]),
    ["tables that grow"] = fill(10, nil, [[
      function(round)
        local t = {}
        for i = 1, 1 << (2 * round) do t[i] = i end
        return t
      end]]),
    ["stacks of coroutines"] = fill(8, 20, [[
      function(round)
        local co = coroutine.wrap(function(...) coroutine.yield(...) end)
        co(table.unpack({}, 1, 1 << round))
        return co
      end]]),
    ["sizes at random, which go at random"] = [[
      local before, kept, count = memory(), {}, 0
      math.randomseed(7)
      for _ = 1, 60 do
        local top = math.random(4, 20)
        pcall(function()
          for _ = 1, 3000 do
            count = count + 1
            local size = math.random(1 << math.random(3, top))
            kept[#kept + 1] = math.random(2) == 1 and table.pack(("x"):byte(1,
              size // 16)) or ("%010d"):format(count) .. ("x"):rep(size)
          end
        end)
        for i = #kept, 1, -1 do
          if math.random(3) == 1 then
            kept[i], kept[#kept] = kept[#kept], nil
          end
        end
      end
      kept = nil
      collectgarbage()
      print(before, memory())
    ]],
  }

  for name, script in pairs(cases) do
    it("for " .. name, function()
      local cap = 8 * MIB
      local before, now, most = check(cap, script)
      if support.WATCHED then return end
      assert.is_true(most - before <= 1.5 * cap, (most - before) / MIB)
      -- What was dropped has come back.
      assert.is_true(now - before <= 6 * MIB, (now - before) / MIB)
    end)
  end
end)

describe("The cap leaves a policy", function()
  it("what was of another size before", function()
    local small, large = check(16 * MIB, [[
      local function fill(size)
        -- Where there is no room for the buffer of string.rep, Lua does not
        -- collect garbage.
        local kept, bytes, text = {}, 0, ("x"):rep(size)
        pcall(function()
          while true do
            kept[#kept + 1] = #kept .. text
            bytes = bytes + size
          end
        end)
        return bytes
      end
      local small = fill(100)
      print(small, fill(100000))
    ]])
    assert.is_true(small > 9 * MIB, small / MIB)
    assert.is_true(large > 14 * MIB, large / MIB)
  end)
end)

describe("The cap leaves a policy", function()
  it("as many servers where they are set at once as one by one", function()
    local added, set, others = check(8 * MIB, [[
      local server, added = { host = ("x"):rep(255), port = 1 }, 0
      while pcall(R.addServer, R, "s" .. added, server) do added = added + 1 end
      R:setServers {}
      local servers, count, set, err = {}, 0, 0, nil
      repeat
        for _ = 1, 1000 do
          servers["s" .. count] = server
          count = count + 1
        end
        set, err = pcall(R.setServers, R, servers)
      until not set
      assert(err == "not enough memory", err)
      -- Those that were set before are there, and may be set again.
      count = count - 1000
      for i = count, count + 999 do servers["s" .. i] = nil end
      assert(R:setServers(servers) == 0)
      local moved = { host = ("y"):rep(255), port = 1 }
      for i = 1, 2000 do servers["s" .. i] = moved end
      print(added, count, (pcall(R.setServers, R, servers)) and 1 or 0)
    ]])
    assert.is_true(added > 20000, added)
    assert.is_true(set <= added and set > added * 0.9, set)
    assert.equal(0, others) -- which would be there beside the old ones
  end)
end)

-- A policy with two sockets, which the function `keep` of the script is given,
-- and their servers' sides.
local function keeper(cap, script)
  local server = support.serve { send = "0\r\n" }
  local child = support.policy(([[
    local host = require "callosum.host"
    local r = require "callosum.rover".new { rovingInterval = 1e6 }
    local port = tonumber(host.args[1])
    r:addServer("s", { host = "127.0.0.1", port = port })
    local kept, count, sockets = {}, 0, 0
    %s
    r:on("connection", function(_, socket)
      sockets = sockets + 1
      if sockets == 1 then r:connect() end
      keep(socket, sockets)
      socket:on("close", function(err)
        host.log.info("closed", { code = err and err.code })
      end)
    end)
    r:connect()
  ]]):format(script), { flags = { "--memory", tostring(cap) },
    args = { tostring(server.port) } })
  support.run(function() return #server.peers == 2 or child.code end)
  return child, server.peers[1], server.peers[2]
end

local function peak(child)
  local file <close> = assert(io.open("/proc/" .. child.pid .. "/status"))
  return tonumber(file:read "a":match "VmHWM:%s*(%d+)") * 1024
end

local function noMoreThan(child, bytes)
  if not support.WATCHED then
    assert.is_true(peak(child) < bytes, peak(child) / MIB)
  end
end

describe("Received bytes count:", function()
  local CAP = 8 * MIB
  local chunk = ("x"):rep(MIB)

  -- The table has room already: nothing but the bytes takes memory.
  local KEEP = [[
    for i = 1, 1 << 16 do kept[i] = false end
    local function keep(socket)
      socket:on("data", function(chunk)
        if chunk == "ping" then return socket:write "pong" end
        if chunk == "drop" then
          kept = {}
          return socket:write "dropped"
        end
        count = count + 1
        kept[count] = chunk
      end)
    end
  ]]

  it("those there is no memory for close their socket", function()
    local child, greedy, other = keeper(CAP, KEEP)
    for _ = 1, 40 do greedy:write(chunk) end
    local event = support.logged(child, "closed")
    assert.equal("ENOMEM", event.code)
    assert.matches("^not enough memory",
      support.logged(child, "policy error").error)
    noMoreThan(child, 1.5 * CAP + 4 * MIB)
    other:write "ping"
    other:take "pong"
    other:write "drop"
    other:take "dropped"
    for _ = 1, 100 do
      other:write "ping"
      other:take "pong"
    end
    assert.equal(1, #support.events(child, "policy error"))
    support.stop(child)
  end)

  it("those that are garbage are collected", function()
    local child, fast = keeper(CAP, [[
      collectgarbage "stop" -- Lua collects at the cap all the same
      local function keep(socket)
        socket:on("data", function(chunk)
          count = count + #chunk
          if count == 40 << 20 then socket:write "all" end
        end)
      end
    ]])
    for _ = 1, 40 do fast:write(chunk) end
    fast:take "all"
    noMoreThan(child, 1.5 * CAP + 4 * MIB)
    assert.same({}, support.events(child, "policy error"))
    support.stop(child)
  end)

  it("luv's, too", function()
    local child, greedy = keeper(CAP, KEEP .. [[
      local keepOther = keep
      function keep(socket, n)
        if n > 1 then return keepOther(socket) end
        local tcp = require "luv".new_tcp()
        tcp:open(socket:detach())
        tcp:read_start(function(_, chunk)
          count = count + 1
          kept[count] = chunk
        end)
      end
    ]])
    for _ = 1, 40 do greedy:write(chunk) end
    for n = 1, 10 do
      assert.matches("^not enough memory",
        support.logged(child, "policy error", n).error)
    end
    noMoreThan(child, 1.5 * CAP + 4 * MIB)
    support.stop(child)
  end)
end)

-- As many as come in one turn of luv's loop, before the policy goes on.
it("Received bytes count where luv's callbacks wait for their turn", function()
  local PEERS = 300
  local child = support.policy(([[
    local host, uv = require "callosum.host", require "luv"
    local r = require "callosum.rover".new()
    local server, conns = uv.new_tcp(), {}
    local function busy()
      local till = uv.hrtime() + 30e6
      while uv.hrtime() < till do end
    end
    local function read()
      for _, conn in ipairs(conns) do conn:read_start(busy) end
    end
    server:bind("127.0.0.1", 0)
    server:listen(%d, function()
      local conn = uv.new_tcp()
      server:accept(conn)
      conns[#conns + 1] = conn
      if #conns == %d then uv.new_timer():start(300, 0, read) end
    end)
    host.log.info("listens", { port = server:getsockname().port })
  ]]):format(PEERS, PEERS),
    { flags = { "--memory", "8M", "--budget", "50" } })
  local port = support.logged(child, "listens").port
  local chunk = ("x"):rep(MIB)
  for _ = 1, PEERS do support.connect(port):write(chunk) end
  -- On a busy machine a callback may be over its budget before.
  local n, err = 0
  repeat
    n = n + 1
    err = support.logged(child, "policy error", n).error
  until not err:find "the time budget of 50 ms is over"
  assert.matches("^not enough memory", err)
  noMoreThan(child, 1.5 * 8 * MIB + 8 * MIB)
  support.stop(child)
end)

-- A function of luv's may go beyond the cap, but not what runs where one was
-- ended by an error.
it("The cap holds after errors of luv's functions", function()
  local before, most = check(8 * MIB, [[
    local uv = require "luv"
    local before = memory()
    local function grow()
      local kept = {}
      for i = 1, 64 do
        local s = "x"
        for _ = 1, 20 do s = s .. s end
        kept[i] = s .. i
      end
    end
    local function fail() uv.tcp_bind(1) end
    for _, catch in ipairs { pcall,
        function(fn) return xpcall(fn, function() end) end,
        function(fn) return coroutine.resume(coroutine.create(fn)) end,
        function(fn) return pcall(coroutine.wrap(fn)) end } do
      for _, wrong in ipairs { uv.tcp_bind, fail } do
        assert(not catch(wrong))
        assert(not catch(grow))
        assert(not catch(wrong))
        assert(not pcall(grow))
      end
    end
    print(before, (select(2, memory())))
  ]])
  if not support.WATCHED then
    assert.is_true(most - before < 1.5 * 8 * MIB, (most - before) / MIB)
  end
end)

-- Between an error of memory in luv's C and the end of the process there was
-- luck: which cap it takes differs from luv to luv.
describe("At the cap a policy that goes on making handles of luv", function()
  local SCRIPT = [[
    R = require "callosum.rover".new()
    local uv = require "luv"
    local make = {
      uv.new_timer, uv.new_tcp, uv.new_udp, uv.new_idle, uv.new_check,
      uv.new_signal, uv.new_fs_event,
      function() uv.new_async(print) end,
      function()
        local timer = uv.new_timer()
        timer:start(1e6, 0, function() end)
      end,
      function() return uv.fs_stat "/" end,
      function() uv.fs_stat("/", print) end,
      function() uv.os_uname() end,
    }
    local function close(handle)
      if not handle:is_closing() then handle:close() end
    end
    local round, refused, last = 0, 0
    repeat
      round = round + 1
      local ok, err = pcall(make[round % #make + 1])
      if not ok then
        refused, last = refused + 1, err
        collectgarbage()
      end
    until refused == 5
    uv.walk(close)
    assert(last == "not enough memory", last)
  ]]

  it("gets an error, and can close them", function()
    local path = support.tmpfile(SCRIPT)
    local children = {}
    for kib = 400, 1200, 100 do
      children[#children + 1] = support.command { "check", "--load-budget",
        "60000", "--memory", kib .. "K", path }
    end
    for _, child in ipairs(children) do
      child:wait()
      assert.equal(0, child.signal, child.output)
      assert.equal(0, child.code, child.output)
    end
  end)
end)

describe("A line of the log has at most 64 KiB:", function()
  local MOST = 64 << 10

  -- Has the policy log or raise something; returns its lines.
  local function lines(script, format)
    local path = support.tmpfile("R = require 'callosum.rover'.new()\n"
      .. "local log = require 'callosum.host'.log.info\n" .. script)
    local child = support.command { "run", "--log-format", format, "--for",
      "0.01", "--memory", "16M", path }
    child:wait()
    local found = {}
    for line in child.stderr:gmatch "[^\n]+" do
      assert.is_true(#line <= MOST, #line)
      assert(utf8.len(line))
      -- The command says so where it could raise its limit.
      if not line:find("descriptors", 1, true) then found[#found + 1] = line end
    end
    if not support.WATCHED then
      assert.is_true(#child.stderr < 3 * MOST, #child.stderr)
    end
    return found
  end

  local function decoded(script)
    local event = require "dkjson".decode(lines(script, "json")[1], 1, nil)
    return assert(event)
  end

  local SHORT = [[ log("short", { a = ("x"):rep(60000) }) ]]
  local MESSAGE = [[ log(("x"):rep(1e6), { a = 1, b = "two" }) ]]
  local FIELDS = [[
    local fields, value = {}, ("\0\u{e9}"):rep(1e5)
    for i = 1, 20 do fields["key" .. i] = value end
    log("many", fields)
  ]]
  local MANY = [[
    local fields = {}
    for i = 1, 10000 do fields["key" .. i] = i end
    log("many", fields)
  ]]
  local KEY = [[ log("key", { [("k"):rep(1e6)] = "value" }) ]]
  local ERROR = [[ error(("x"):rep(1e6), 0) ]]

  it("what is shorter is whole", function()
    assert.equal(60000, #decoded(SHORT).a)
  end)

  it("the longest texts are cut, and say so", function()
    local event = decoded(MESSAGE)
    assert.matches("^x+\u{2026}%(cut; 1000000 bytes in all%)$", event.message)
    assert.is_true(#event.message > MOST // 2)
    assert.same({ 1, "two" }, { event.a, event.b })
    event = decoded(FIELDS)
    for i = 1, 20 do
      assert.matches("\u{e9}\u{2026}%(cut; 300000 bytes in all%)$",
        (event["key" .. i]:gsub("\0\u{2026}", "\0\u{e9}\u{2026}")))
    end
    assert.matches("cut; 1000000 bytes in all", lines(KEY, "json")[1])
    assert.matches("cut; 1000000 bytes in all", decoded(ERROR).error)
  end)

  it("of many fields the rest is counted", function()
    local event = decoded(MANY)
    local count = 0
    for key in pairs(event) do
      if key:find "^key%d+$" then count = count + 1 end
    end
    assert.is_true(count > 1000)
    assert.equal(10000 - count, event.fieldsCut)
  end)

  it("as text, too", function()
    local line = lines(MESSAGE, "text")[1]
    assert.matches("x\u{2026}%(cut; 1000000 bytes in all%) a=1 b=two$", line)
    assert.matches("fieldsCut=%d+$", lines(MANY, "text")[1])
    local _, cuts = lines(FIELDS, "text")[1]:gsub("cut; 300000 bytes", "")
    assert.equal(20, cuts)
    lines(KEY, "text")
    lines(ERROR, "text")
  end)
end)
