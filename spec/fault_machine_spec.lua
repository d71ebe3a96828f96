local assert = require "luassert"
local certificates = require "support.certificates"
local support = require "support"
local faults = require "support.faults"
local uv = require "luv"

local BAD = 500 -- servers

local function add(h, count, port)
  for i = 1, count do h:tell("add", "bad" .. i, "127.0.0.1", port) end
  for _ = 1, count do h:answer() end
end

-- Waits, for that is what it takes to be late.
local function let(ms)
  local over = false
  local timer = uv.new_timer()
  timer:start(ms, 0, function()
    timer:close()
    over = true
  end)
  support.run(function() return over end)
end

local function elapsed(since) return (uv.hrtime() - since) / 1e6 end

describe("the descriptor limit", function()
  for _, count in ipairs { 1, BAD } do
    it(("may be reached, and left again, with %d servers"):format(count),
      function()
        local h = faults.host({ maxAttempts = 100, slotTimeout = 100 },
          { shell = [[ulimit -n 60; exec "$@"]] })
        add(h, count, faults.serve({}).port)
        h:check()
        local descriptors, memory = h:descriptors(), nil
        for _ = 1, 3 do
          local counts = h:ask("rove", 100, 0).counts
          local late = counts["bad unreachable ETIMEDOUT"]
          local without = counts["bad error EMFILE"]
          assert.same({ ["bad unreachable ETIMEDOUT"] = late,
            ["bad error EMFILE"] = without }, counts)
          assert.equal(100, late + without)
          -- As many as there was room for, and the others.
          assert.is_true(late >= 60 - descriptors)
          assert.equal(descriptors, h:descriptors())
          assert.same({ ["bad unreachable ETIMEDOUT"] = 10,
            ["well connection"] = 10 }, h:ask("rove", 10, 10).counts)
          memory = memory or h:memory()
        end
        h:checkMemory(memory)
        h:check()
        support.stop(h.child)
      end)
  end

  it("keeps no policy that has reached it from being replaced", function()
    local greedy, modest = [[
      local rover, uv = require "callosum.rover", require "luv"
      local r = rover.new {}
      held = {}
      uv.new_timer():start(0, 0, function()
        for file in function() return (io.open "/dev/null") end do
          held[#held + 1] = file
        end
        require "callosum.host".log.info "full"
      end)
    ]], [[
      local rover, uv = require "callosum.rover", require "luv"
      local relay, pool = require "callosum.relay", require "callosum.pool"
      for i = 1, 3 do
        local r = rover.new { name = "r" .. i }
        pool.new {}:attach(r)
        relay.new { name = "s" .. i, listen = { port = 0 },
          pick = function() end }
      end
      uv.new_timer():start(9, 9, function() end)
    ]]
    local path = support.tmpfile(greedy)
    local child = support.spawn("sh", { "-c", [[
      ulimit -n 128
      exec "$0" run --log-format json "$1"]], support.EXECUTABLE, path },
      { env = { LD_PRELOAD = false } })
    for round = 1, 3 do
      support.logged(child, "full", round)
      support.write(path, modest)
      child:kill "sighup"
      support.logged(child, "policy reloaded", 2 * round - 1)
      support.write(path, greedy)
      child:kill "sighup"
      support.logged(child, "policy reloaded", 2 * round)
    end
    support.logged(child, "full", 4)
    -- What uses them up while it is loaded does not, either.
    support.write(path, [[
      held = {}
      for file in function() return (io.open "/dev/null") end do
        held[#held + 1] = file
      end
      error "bad"
    ]])
    child:kill "sighup"
    support.logged(child, "reload failed, the old policy goes on")
    support.write(path, modest)
    child:kill "sighup"
    support.logged(child, "policy reloaded", 7)
    support.stop(child)
  end)

  it("is named, and as what to raise, wherever it stops the command", function()
    local path = support.tmpfile [[
      require "callosum.relay".new { listen = { port = 0 }, pick = print }
      require "callosum.rover".new {}
      require "callosum.host".stop()
    ]]
    local commands = {
      { "front", "--for", "0.01", "--threads", "2", "0", "1" },
      { "run", "--admin", "0", path },
      { "serve", "0", "--", "true" },
    }
    for _, command in ipairs(commands) do
      local limit, code = 9
      repeat
        limit = limit + 1
        local child = support.spawn("sh", { "-c", 'ulimit -n "$0"; exec "$@"',
          tostring(limit), support.EXECUTABLE, table.unpack(command) },
          { env = { LD_PRELOAD = false } })
        code = child:wait()
        assert(code == 0 or child.output:find("ulimit -n", 1, true),
          child.output)
      until code == 0
      assert.is_true(limit > 12)
    end
  end)

  it("is named by what could be loaded if it were higher", function()
    local child = support.spawn("sh", { "-c", 'ulimit -n 40; exec "$@"', "sh",
      support.EXECUTABLE, "run", "--log-format", "json", support.tmpfile [[
        local discover = require "callosum.discover"
        local host = require "callosum.host"
        local rover = require "callosum.rover"
        local held = {}
        for file in function() return (io.open "/dev/null") end do
          held[#held + 1] = file
        end
        print(pcall(require, "callosum.pool"))
        print(pcall(rover.new, { tls = {} }))
        table.remove(held):close()
        local r = rover.new {}
        held[#held + 1] = io.open "/dev/null"
        for _, source in ipairs {
          discover.http { name = "http", url = "http://127.0.0.1:1/" },
          discover.dns { name = "dns", host = "one.test", port = 1 } } do
          source:on("error", function(err) print(err) end)
          source:attach(r)
        end
        r:on("error", print)
      ]] }, { env = { LD_PRELOAD = false } })
    child:waitFor "HTTP client: [^\n]*\n"
    child:waitFor "resolver: [^\n]*\n"
    for _, line in ipairs {
      "/pool.lua': too many open files; raise",
      "cannot load libcallosum-tls: too many open files; raise",
      "the HTTP client: too many open files (EMFILE); raise",
      "the resolver: too many open files (EMFILE); raise" } do
      assert.matches(line .. " this process's limit (ulimit -n)", child.stdout,
        1, true)
    end
    support.stop(child)
  end)

  it("costs nothing when luv cannot be opened for it", function()
    local path = support.tmpfile [[
      local function fill(held)
        for file in function() return (io.open "/dev/null") end do
          held[#held + 1] = file
        end
        return held
      end
      local spare = tonumber((...))
      local held = fill {}
      for _ = 1, spare do table.remove(held):close() end
      local _, err = pcall(require, "luv")
      local host = require "callosum.host"
      host.log.info("tried", { left = #fill {}, err = tostring(err) })
      for _, file in ipairs(held) do file:close() end
      require "callosum.rover".new {}
    ]]
    for spare = 1, 4 do
      local child = support.spawn("sh", { "-c", [[
        ulimit -n 64
        exec "$0" run --log-format json "$1" "$2"]], support.EXECUTABLE, path,
        tostring(spare) }, { env = { LD_PRELOAD = false } })
      local line = support.logged(child, "tried")
      assert.matches("cannot open luv: too many open files", line.err)
      assert.equal(spare, line.left)
      support.stop(child)
    end
  end)

  it("is not reached by what many relays have in reserve", function()
    local path = support.tmpfile [[
      local host = require "callosum.host"
      local rover, uv = require "callosum.rover", require "luv"
      local relay = require "callosum.relay"
      for i = 1, 40 do
        relay.new { name = "s" .. i, listen = { port = 0 },
          pick = function() end }
      end
      rover.new {}
      uv.new_timer():start(100, 0, function()
        local left = 0
        while io.open "/dev/null" do left = left + 1 end
        host.log.info("left", { count = left })
      end)
    ]]
    local child = support.spawn("sh", { "-c", [[
      ulimit -n 512
      exec "$0" run --log-format json "$1"]], support.EXECUTABLE, path },
      { env = { LD_PRELOAD = false } })
    assert.is_true(support.logged(child, "left").count >= 60)
    support.stop(child)
  end)

  it("is raised to the hard one, and told", function()
    local h = faults.host(nil,
      { shell = [[ulimit -n 400; ulimit -Sn 60; exec "$@"]] })
    local line = support.logged(h.child, "descriptors")
    assert.same({ "info", 400 }, { line.level, line.limit })
    local file = assert(io.open("/proc/" .. h.pid .. "/limits"))
    assert.matches("Max open files%s+400%s+400%s", file:read "a")
    file:close()
    support.stop(h.child)
  end)

  it("is told for the curious alone where it was as high", function()
    for level, told in pairs { debug = { "debug", 400 }, info = {} } do
      local h = faults.host(nil, { flags = { "--log-level", level },
        shell = [[ulimit -n 400; exec "$@"]] })
      support.stop(h.child)
      local line = support.events(h.child, "descriptors")[1] or {}
      assert.same(told, { line.level, line.limit })
    end
  end)
end)

describe("the system's table of descriptors", function()
  local shim, resolver, full

  setup(function()
    shim, resolver = faults.compile("full_table", "resolver")
  end)

  teardown(function()
    os.remove(shim)
    os.remove(resolver)
  end)
  before_each(function() full = support.tmpdir() .. "/full" end)

  local function env()
    return { LD_PRELOAD = faults.preload(shim, resolver), FULL_TABLE = full }
  end

  local function fill() support.write(full, "") end
  local function empty() os.remove(full) end

  for _, count in ipairs { 1, BAD } do
    it(("may be full, and have room again, with %d servers"):format(count),
      function()
        local h = faults.host({ maxAttempts = 100 }, { env = env() })
        local server = faults.serve { send = "1\r\n", finish = "close" }
        add(h, count, server.port)
        h:check()
        local descriptors, memory = h:descriptors(), nil
        for round = 1, 3 do
          fill()
          local got = h:ask("rove", 200, 10)
          assert.same({ ["bad error ENFILE"] = 200,
            ["well error ENFILE"] = 10 }, got.counts)
          assert.same({ round * 200, 0 },
            { got.bad.errors, got.bad.unreachable })
          assert.equal(descriptors, h:descriptors())
          empty()
          assert.same({ ["bad connection"] = 10, ["bad close"] = 10,
            ["well connection"] = 10 }, h:ask("rove", 10, 10).counts)
          memory = memory or h:memory()
        end
        h:checkMemory(memory)
        h:check()
        support.eventually(function() return h:descriptors() == descriptors end)
        support.stop(h.child)
      end)
  end

  it("if full, is not taken for a name that is not known", function()
    local h = faults.host(nil, { env = env() })
    h:ask("add", "bad1", "unknown.test", 1)
    fill()
    assert.same({ ["bad error ENFILE"] = 10 }, h:ask("rove", 10, 0).counts)
    empty()
    assert.same({ ["bad unreachable EAI_NONAME"] = 10 },
      h:ask("rove", 10, 0).counts)
    support.stop(h.child)
  end)

  it("if full, has a reload fail that needs it, and the policy go on",
    function()
      local child = support.policy([[
        local host = require "callosum.host"
        local uv = require "luv"
        require "callosum.rover".new {}
        uv.new_timer():start(0, 5, function() host.log.info "ticks" end)
      ]], { env = env() })
      support.logged(child, "ticks")
      fill()
      child:kill "sighup"
      assert.matches("ENFILE",
        support.logged(child, "reload failed, the old policy goes on").error)
      support.logged(child, "ticks", #support.events(child, "ticks") + 1)
      empty()
      child:kill "sighup"
      support.logged(child, "policy reloaded")
      support.stop(child)
    end)

  it("if full, leaves a relay's clients in the queue", function()
    local path = support.tmpdir() .. "/sock"
    local child = support.policy([[
      local host = require "callosum.host"
      local relay = require "callosum.relay"
      require "callosum.rover".new {}
      local door = relay.new { listen = { path = host.args[1] },
        pick = function() host.log.info "asked" end }
      door:on("error", function(err)
        host.log.info("turned away", { code = err.code })
      end)
    ]], { env = env(), args = { path } })
    support.logged(child, "policy loaded")
    fill()
    local client = uv.new_pipe()
    finally(function() client:close() end)
    client:connect(path, function() end)
    assert.equal("ENFILE", support.logged(child, "turned away").code)
    assert.same({}, support.events(child, "asked"))
    empty()
    support.logged(child, "asked")
    support.stop(child)
  end)
end)

describe("a host that is stopped and continued", function()
  -- Stops it at once, and continues it after some time.
  local function suspend(h, ms, meanwhile)
    h.child:kill "sigstop"
    h.child:waitStopped()
    if meanwhile then meanwhile() end
    let(ms)
    h.child:kill "sigcont"
  end

  for _, count in ipairs { 1, BAD } do
    it(("loses nothing that came meanwhile, of %d servers"):format(count),
      function()
        local server = faults.serve {}
        local h = faults.host { maxAttempts = 50, slotTimeout = 800 }
        add(h, count, server.port)
        h:check()
        local descriptors, memory = h:descriptors(), nil
        for _ = 1, 2 do
          server.handles = {}
          h:tell("rove", 50, 0)
          support.run(function() return server.count == 50 end)
          -- The deadlines pass; what came before is what counts.
          suspend(h, 900, function()
            for _, each in ipairs(server.handles) do each:write "3\r\n" end
          end)
          support.eventually(function()
            return h:ask("results").bad.kept == 50
          end)
          for _, each in ipairs(server.handles) do each:shutdown() end
          assert.same({ ["bad connection"] = 50, ["bad close"] = 50 },
            h:answer().counts)
          h:check()
          support.eventually(function()
            return h:descriptors() == descriptors and server.count == 0
          end)
          memory = memory or h:memory()
        end
        h:checkMemory(memory)
        support.stop(h.child)
      end)
  end

  it("does not make up for the ticks it has missed", function()
    local h = faults.host { rovingInterval = 20 }
    add(h, 1, support.closedPort())
    h:ask "start"
    support.eventually(function()
      return h:ask("results").bad.unreachable >= 5
    end)
    local memory = h:memory()
    local began = uv.hrtime()
    local before = h:ask("results").bad.attempts
    suspend(h, 400)
    local most = (elapsed(began) - 400) / 20 + 3
    assert.is_true(h:ask("results").bad.attempts - before <= most)
    local now = h:ask("results").bad.attempts
    support.eventually(function()
      return h:ask("results").bad.attempts >= now + 5
    end)
    h:checkMemory(memory)
    support.stop(h.child)
  end)
end)

describe("a wall clock that jumps", function()
  -- The year of a line that is logged now.
  local function year(h)
    local n = #support.events(h.child, "line")
    h:ask("log", n, n)
    return tonumber(support.logged(h.child, "line", n + 1).time:match "^%d+")
  end

  it("changes the dates in the log and nothing else", function()
    local find = assert(io.popen "ls /usr/lib/*/faketime/libfaketimeMT.so.1")
    local faketime = find:read "l"
    find:close()
    if not faketime then return pending "no libfaketime" end
    local file = support.tmpfile("+0", "clock")
    local function set(jump) -- never half
      assert(os.rename(support.write(file .. ".new", jump), file))
    end
    local h = faults.host({ rovingInterval = 20, slotTimeout = 200 }, { env = {
      -- What is preloaded last starts first, and ASan, which asks for the time,
      -- would wait for a libfaketime that waits for it.
      LD_PRELOAD = faketime .. " " .. (os.getenv "LD_PRELOAD" or ""),
      ASAN_OPTIONS = "verify_asan_link_order=0",
      FAKETIME_TIMESTAMP_FILE = file,
      FAKETIME_NO_CACHE = "1",
      FAKETIME_DONT_FAKE_MONOTONIC = "1",
    } })
    local silent = faults.serve {}
    add(h, 1, silent.port)
    local jumps = { ["+3000d"] = 8, ["-3000d"] = -8 }
    for jump in pairs(jumps) do
      local began = uv.hrtime()
      h:tell("rove", 1, 0)
      support.run(function() return silent.count == 1 end)
      set(jump)
      assert.same({ ["bad unreachable ETIMEDOUT"] = 1 }, h:answer().counts)
      -- A turn of the loop takes its time for that of its beginning.
      assert.is_true(elapsed(began) > 195, elapsed(began))
      set("+0")
      support.run(function() return silent.count == 0 end)
    end
    h:ask "start"
    local today = year(h)
    for jump, years in pairs(jumps) do
      local began, before = uv.hrtime(), h:ask("results").bad
      set(jump)
      assert.is_true(math.abs(year(h) - today - years) <= 1)
      -- Neither are deadlines early or late, nor ticks lost or doubled.
      local after
      support.eventually(function()
        after = h:ask("results").bad
        return after.attempts >= before.attempts + 20
          and after.unreachable >= before.unreachable + 10
      end)
      assert.is_true(after.attempts - before.attempts
        <= elapsed(began) / 20 + 2)
      assert.is_true(after.unreachable - before.attempts
        <= (elapsed(began) - 200) / 20 + 2)
      assert.is_true(after.inFlight <= 16)
      assert.equal(0, after.errors)
      set("+0")
      h:check()
    end
    support.stop(h.child)
  end)
end)

describe("ten thousand kept sockets", function()
  it("that their peer closes at once are each seen closing", function()
    local count, _, most = 10000, support.descriptorLimits()
    if most < count + 100 then
      return pending(("a hard limit of %d descriptors"):format(most))
    end
    local h = faults.host { maxAttempts = 256 }
    h:check()
    local descriptors, memory = h:descriptors(), h:memory()
    local resident
    local kept, gone = {}, {} -- the C heap while they are; Lua's after
    for round = 1, 4 do
      local server = support.command { "serve", "--log-format", "json", "0" }
      add(h, 1, support.logged(server, "listening").port)
      h:tell("rove", count, 0)
      support.eventually(function()
        return h:ask("results").bad.kept == count
      end, 60)
      assert.is_true(h:descriptors() >= descriptors + count)
      resident = resident or h:memory()
      if not support.WATCHED then kept[round] = h:heap() end
      server:kill "sigkill"
      assert.same({ ["bad connection"] = count, ["bad close"] = count },
        h:answer(60).counts)
      support.eventually(function() return h:descriptors() == descriptors end)
      gone[round] = h:ask("collect").bytes
    end
    -- Lua's is exact, but for tables that grow once. Of the heap, malloc()
    -- gives back what lies above the last block in use, all of it or nothing,
    -- so what is left afterwards says little. What the next ones take does: it
    -- would be more by all that was lost of those before.
    assert.is_true(gone[4] - gone[1] < 1024, gone[4] - gone[1])
    if not support.WATCHED then
      assert.is_true(kept[4] - kept[2] < 16 * 2 * count, kept[4] - kept[2])
      -- There is no buffer for any.
      assert.is_true(resident - memory < 2048 * count, resident - memory)
    end
    h:check()
    support.stop(h.child)
  end)
end)

describe("a peer that vanishes without a word", function()
  local fleet = certificates.fleet()

  local POLICY = [[
    local host = require "callosum.host"
    local rover = require "callosum.rover"
    local kept = 0
    local tls = { ca = host.args[1], serverName = "localhost" }
    -- Silent, with data on its way, both over TLS, too; and without keepalive.
    local kinds = {
      silent = { keepalive = 1 }, sending = { keepalive = 1 },
      silentTls = { keepalive = 1, tls = tls },
      sendingTls = { keepalive = 1, tls = tls },
      careless = { keepalive = 0 },
    }
    for name, o in pairs(kinds) do
      local r = rover.new { name = name, keepalive = o.keepalive, tls = o.tls,
        rovingInterval = 20, maxAttempts = 1,
        servers = { s = { host = "10.9.0.2", port = o.tls and 4041 or 4040 } } }
      r:on("unreachable", function() end)
      r:on("connection", function(_, socket)
        r:stop()
        socket:on("close", function(err)
          host.log.info("closed", { name = name, code = err and err.code })
        end)
        kept = kept + 1
        if kept == 5 then host.log.info "kept" end
        if not name:find "^sending" then return end
        require "luv".new_timer():start(10, 10, function()
          if not socket.closed then socket:write "hello" end
        end)
      end)
      r:start()
      host.on("unload", function()
        host.log.info("left", { name = name, kept = r:stats().kept })
      end)
    end
  ]]

  it("is noticed by keepalive within its time", function()
    local unshare = faults.unshare "-n"
    if not unshare then return pending "no network namespace allowed" end
    local child = support.spawn("sh", { "-c", unshare .. [[ sh -c '
        unshare -n "$0" serve --host 0.0.0.0 4040 2>/dev/null & peer=$!
        while test "$(readlink /proc/$peer/ns/net)" = \
          "$(readlink /proc/self/ns/net)"; do :; done
        inside="nsenter -t $peer -n"
        ip link add v0 type veth peer name v1 netns $peer
        ip addr add 10.9.0.1/24 dev v0
        ip link set v0 up
        $inside ip addr add 10.9.0.2/24 dev v1
        $inside ip link set v1 up
        $inside ip link set lo up
        $inside "$0" front --public --log-level error --tls-cert "$2" \
          --tls-key "$3" 0.0.0.0:4041 127.0.0.1:4040 & front=$!
        "$0" run --log-format json "$1" "$4" & host=$!
        read line
        $inside ip link set v1 down
        echo down
        read line
        kill $host
        wait $host
        code=$?
        kill -9 $peer $front
        exit $code' "$0" "$@"]],
      support.EXECUTABLE, support.tmpfile(POLICY), fleet.server.cert,
      fleet.server.key, fleet.ca.file },
      { env = { LD_PRELOAD = false } })
    support.logged(child, "kept")
    child:write "down\n"
    child:waitFor "down"
    local began = uv.hrtime()
    support.run(function()
      return #support.events(child, "closed") == 4
    end, 20)
    -- A second of silence, ten of probes, and some for a loaded machine.
    local ms = elapsed(began)
    assert.is_true(ms > 5000 and ms < 13000, ms)
    local codes = {}
    for _, event in ipairs(support.events(child, "closed")) do
      codes[event.name] = event.code
    end
    -- The kernel tells what it last heard of the way, if it has heard anything.
    local timedOut = { ETIMEDOUT = true, EHOSTUNREACH = true }
    for _, name in ipairs { "silent", "sending", "silentTls", "sendingTls" } do
      assert.is_true(timedOut[codes[name]], codes[name])
    end
    child:write "end\n"
    child:wait()
    assert.equal(0, child.code)
    assert.equal(4, #support.events(child, "closed"))
    local left = {}
    for _, event in ipairs(support.events(child, "left")) do
      left[event.name] = event.kept
    end
    assert.same({ silent = 0, sending = 0, silentTls = 0, sendingTls = 0,
      careless = 1 }, left)
  end)
end)
