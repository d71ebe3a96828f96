local support = require "support"
local faults = require "support.faults"
local simulate = require "support.simulate"
local uv = require "luv"

local ended, run = simulate.ended, simulate.run
local keep, pool = simulate.keep, simulate.pool

-- A small fleet.
local SMALL = { "--hosts", "20", "--servers", "4", "--for", "60" }

local function small(more)
  local args = { table.unpack(SMALL) }
  for _, each in ipairs(more or {}) do args[#args + 1] = each end
  return args
end

describe("callosum-rover simulate", function()
  it("runs a policy in each host, and prints how connections balance",
    function()
      local path = support.tmpfile(keep(10))
      local child = ended { "--hosts", "20", "--servers", "4", "--for", "60",
        path }
      assert.equal("", child.stderr)
      assert.equal(0, child.status)
      assert.matches("cold: 20 hosts, 4 servers, 60 s, seed 1", child.stdout)
      assert.matches("peak/mean, at the end +1%.%d%d\n", child.stdout)
    end)

  it("prints the same in JSON", function()
    local document = run(keep(10), SMALL)
    assert.equal(0, document.status)
    assert.equal("cold", document.scenario)
    local one = document.runs[1]
    assert.equal(10, one.connections.fill)
    local sum = 0
    for _, name in ipairs { "s1", "s2", "s3", "s4" } do
      sum = sum + one.servers[name]
    end
    assert.is_true(sum >= 200, sum)
    assert.is_true(one.connections.peak < 1.1)
    -- An attempt a second.
    assert.near(20 * 60, one.connections.opens, 40)
    assert.same({}, one.errors)
    assert.same({}, one.warnings)
  end)

  it("runs pools, too", function()
    local one = run(pool(), SMALL).runs[1]
    assert.equal(10, one.connections.fill)
    assert.is_true(one.connections.peak < 1.1)
    assert.same({}, one.errors)
  end)

  it("takes several policies, and compares them", function()
    local document = run({ keep(5), keep(10) }, SMALL)
    assert.equal(2, #document.runs)
    assert.equal(5, document.runs[1].connections.fill)
    assert.equal(10, document.runs[2].connections.fill)
  end)

  it("passes arguments, with the servers in them", function()
    local script = [[
      local host = require "callosum.host"
      local r = require "callosum.rover".new()
      r:on("error", function() end)
      error(table.concat(host.args, " "), 0)
    ]]
    local path = support.tmpfile(script)
    local child = ended { "--hosts", "1", "--servers", "a:7,[::1]:[8-9]", path,
      "--", "x", "{ports}", "{addresses}" }
    assert.matches("x 7 8 9 a:7 %[::1%]:8 %[::1%]:9", child.stderr)
    child = ended { "--hosts", "1", "--servers", "2", path, "x", "{ports}" }
    assert.matches("x 4040 4041", child.stderr)
    child = ended { "--hosts", "1", "--servers", "2", path }
    assert.matches("4040 4041", child.stderr)
  end)

  for _, case in ipairs {
    { "localhost", "3", "localhost:4040" },
    { "::1", "3", "[::1]:4041" },
    { "127.0.0.1", "3", "127.0.0.1:4042" },
    { "127.0.0.9", "3", "127.0.0.9:4042" },
    { "a name of its own", "3", "s3:1234" },
    { "an address of the list", "10.9.8.[7-9]:99", "10.9.8.8:99" },
    { "a name of the list", "db[1-2].example:5432", "db2.example:5432" },
    { "a port of a name", "db.example:[1-3]", "db.example:3" },
    { "an IPv6 address", "[2001:db8::7]:4040", "[2001:db8::7]:4040" },
  } do
    it("has a server at " .. case[1], function()
      local host, port = case[3]:match "^%[?(.-)%]?:(%d+)$"
      local script = ([[
        local r = require "callosum.rover".new()
        r:addServer("it", { host = %q, port = %s })
        r:on("unreachable", function(_, _, err) error(err.message, 0) end)
        r:start()
      ]]):format(host, port)
      local one = run(script, { "--hosts", "2", "--servers", case[2], "--for",
        "5" }).runs[1]
      assert.same({}, one.errors)
      assert.same({}, one.warnings)
      assert.is_true(one.connections.opens >= 8)
    end)
  end

  it("says which address is nobody's", function()
    local one = run([[
      local r = require "callosum.rover".new()
      r:addServer("a", { host = "db.example", port = 5432 })
      r:addServer("b", { host = "10.0.0.7", port = 5432 })
      r:start()
    ]], { "--hosts", "3", "--servers", "2", "--for", "20" }).runs[1]
    table.sort(one.warnings)
    assert.equal(2, #one.warnings)
    assert.matches("^'10%.0%.0%.7:5432' is no virtual server", one.warnings[1])
    assert.matches("^'db%.example' is no virtual server", one.warnings[2])
    assert.matches("^no host has connected .* are 2, .* localhost:4040;",
      one.failed)
  end)

  it("runs a source of servers that is a file", function()
    local list = support.tmpfile("s1:4040\ns2:4041\ns3:4042\ns4:4043\n",
      "servers")
    local child = ended(small { "--json", "examples/file.lua", "--", list })
    assert.equal(0, child.status)
    assert.matches('"peak":', child.stdout)
    assert.equal("", child.stderr)
  end)

  for kind, case in pairs {
    dns = { [[host = "db.example", port = 4040]], "the resolver" },
    http = { [[url = "http://db.example/"]], "the HTTP client" },
    consul = { [[url = "http://127.0.0.1:8500", service = "db"]],
      "the HTTP client" },
  } do
    it("says that a source that asks the network is not virtual: " .. kind,
      function()
        local one = run(([[
          local r = require "callosum.rover".new()
          local d = require "callosum.discover".%s { %s }:attach(r)
          d:on("error", function(err) error(tostring(err), 0) end)
          r:on("error", function() end)
          r:start()
        ]]):format(kind, case[1]), { "--hosts", "3", "--servers", "2",
          "--for", "20" }).runs[1]
        assert.equal(1, #one.warnings)
        assert.matches("^a source of servers needs " .. case[2] .. ", and "
          .. "nothing virtual answers that: simulate with discover.file",
          one.warnings[1])
        assert.matches("^" .. kind .. " .*: no list: the network is virtual, "
          .. "and nothing there answers sources: simulate with discover.file",
          one.errors[1].message)
      end)
  end

  it("says which server a policy does not know", function()
    local one = run(keep(3), SMALL).runs[1]
    assert.same({}, one.warnings)
    local path = support.tmpfile(keep(3))
    local child = ended(small { path, "4040", "4041", "4043" })
    assert.equal(path .. ": no host has connected to s3 at localhost:4042: "
      .. "does the policy know it? See --servers, and ARGS\n", child.stderr)
  end)

  it("says if the system does not let it fix addresses", function()
    if support.WATCHED then return pending "a sanitizer is preloaded" end
    local library = faults.compile "no_personality"
    finally(function() os.remove(library) end)
    local child = ended({ "--hosts", "5", "--servers", "2", "--for", "5",
      support.tmpfile(keep(3)) }, { env = { LD_PRELOAD = library } })
    assert.equal(0, child.status)
    assert.matches("^callosum%-rover: cannot switch off address randomization "
      .. "%(Operation not permitted%): .* pairs%(%)", child.stderr)
    assert.matches("5 hosts, 2 servers", child.stdout)
  end)

  describe("is the same run again", function()
    local function hash(scripts, args, env)
      local document = run(scripts, args, { env = env })
      assert.equal(0, document.status)
      return document.runs[#document.runs].hash
    end

    -- The order in which it does things depends on addresses in memory.
    local ORDER = [[
      local host = require "callosum.host"
      local r = require "callosum.rover".new { rovingInterval = 500 }
      local byTable = {}
      for _, port in ipairs(host.args) do byTable[{}] = port end
      for _, port in pairs(byTable) do
        r:addServer(port, { host = "localhost", port = tonumber(port) })
      end
      r:on("connection", function(slot, socket)
        if math.random(4) > 1 then socket:close() end
      end)
      r:on("error", function() end)
      r:start()
    ]]

    for name, script in pairs { rover = keep(5), pool = pool(), order = ORDER }
    do
      it("with the same seed: " .. name, function()
        local one = hash(script, SMALL)
        assert.equal(one, hash(script, SMALL))
        assert.equal(one, hash(script, SMALL, { EXTRA = ("x"):rep(5000) }))
        assert.not_equal(one, hash(script, small { "--seed", "2" }))
      end)

      it("beside another policy: " .. name, function()
        local one = hash(script, SMALL)
        assert.equal(one, hash({ keep(3), script }, SMALL))
        assert.equal(one, hash({ pool(), keep(3), script }, SMALL))
      end)
    end
  end)

  describe("with a policy that fails", function()
    it("in all hosts is one error", function()
      local path = support.tmpfile "local x = 1\nerror 'boom'"
      local child = ended { "--hosts", "50", "--servers", "2", path }
      assert.equal(1, child.status)
      assert.equal("", child.stdout)
      assert.matches(":2: boom", child.stderr)
      assert.matches("all 50 hosts", child.stderr)
      local _, times = child.stderr:gsub("boom", "")
      assert.is_true(times <= 2, child.stderr)
    end)

    it("because it cannot be read says so", function()
      local child = ended { "--hosts", "2", "/nonexistent/policy.lua" }
      assert.equal(1, child.status)
      assert.matches("/nonexistent/policy.lua", child.stderr)
      assert.matches("[Nn]o such file", child.stderr)
    end)

    it("in some hosts goes on with the others", function()
      local document = run([[
        if math.random() < 0.5 then error "unlucky" end
      ]] .. keep(3), SMALL)
      local one = document.runs[1]
      assert.equal(0, document.status)
      assert.equal(1, #one.errors)
      assert.matches(":1: unlucky", one.errors[1].message)
      assert.is_true(one.errors[1].hosts > 2 and one.errors[1].hosts < 18)
      assert.equal(one.errors[1].hosts, one.errors[1].count)
    end)

    it("in a handler reports the error once, with its traceback", function()
      local path = support.tmpfile(keep(3) .. [[
        r:on("connection", function(slot)
          if slot == 1 then error("slot one") end
        end)
      ]])
      local child = ended { "--hosts", "20", "--servers", "4", "--for", "60",
        path }
      assert.equal(0, child.status)
      local _, times = child.stderr:gsub("%d+: slot one", "")
      assert.equal(1, times, child.stderr)
      assert.matches("%d+ times in %d+ hosts", child.stderr)
      assert.matches("stack traceback:\n", child.stderr)
    end)

    it("with ever other messages is counted", function()
      local path = support.tmpfile(keep(3) .. [[
        local n = 0
        r:on("connection", function()
          n = n + 1
          error("number " .. n, 0)
        end)
      ]])
      local child = ended { "--hosts", "2", "--servers", "2", "--for", "130",
        path }
      assert.equal(0, child.status)
      local count = tonumber(child.stdout:match "errors of the script +(%d+)")
      local more = tonumber(child.stderr:match
        ": (%d+) more errors, with other messages\n")
      assert.is_true(count >= 240, child.stdout)
      assert.equal(count - 200, more, child.stderr)
    end)

    it("and does not return ends that call", function()
      local one = run(keep(3) .. [[
        local done
        r:on("connection", function()
          if done then return end
          done = true
          while true do end
        end)
      ]], { "--hosts", "1", "--servers", "2", "--for", "20" }).runs[1]
      assert.equal(1, #one.errors)
      assert.matches("budget", one.errors[1].message)
      assert.equal(1, one.errors[1].count)
      assert.is_true(one.connections.opens >= 15)
    end)
  end)

  it("starts no processes for a policy", function()
    local one = run(keep(3) .. [[
      local uv = require "luv"
      local handle, message = uv.spawn("/bin/true", {}, function() end)
      assert(not handle, "spawned")
      assert(not os.execute "true", "executed")
      assert(not uv.kill(uv.os_getppid(), "sigterm"), "killed")
      assert(not pcall(io.popen, "true") or not io.popen "true", "opened")
    ]], { "--hosts", "2", "--servers", "2", "--for", "5" }).runs[1]
    assert.same({}, one.errors)
    table.sort(one.warnings)
    for i, name in ipairs { "fork", "kill", "popen", "system" } do
      assert.matches("^" .. name .. "%(%) fails: there are no virtual proc",
        one.warnings[i])
    end
  end)

  it("has no standard input for a policy", function()
    local path = support.tmpfile("assert(not io.read(1))\n" .. keep(3))
    local child = ended { "--hosts", "2", "--servers", "2", "--for", "5", path }
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("has the host that is to be shown", function()
    local child = ended { "--hosts", "2", "--show", "3", "policy.lua" }
    assert.same({ 2, "" }, { child.status, child.stdout })
    assert.equal("callosum-rover simulate: --show wants the number of a host, "
      .. "1 to 2, not '3'\n", child.stderr)
  end)

  it("finds out before the run that it cannot draw", function()
    local file = support.tmpfile "no folder"
    for _, folder in ipairs { file, file .. "/plots" } do
      local child = ended { "--plot", folder, "policy.lua" }
      assert.same({ 1, "" }, { child.status, child.stdout })
      assert.equal("callosum-rover simulate: cannot write the plots: " .. folder
        .. ": Not a directory\n", child.stderr)
    end
  end)

  it("says that files are real where one is written", function()
    local path = support.tmpdir() .. "/written"
    local one = run(keep(3) .. ([[
      local file = assert(io.open(%q, "a"))
      file:write "a line\n"
      file:close()
    ]]):format(path), { "--hosts", "2", "--for", "5" }).runs[1]
    assert.same({}, one.errors)
    assert.equal(1, #one.warnings)
    assert.matches("written' is written: files are real", one.warnings[1])
    local file <close> = assert(io.open(path))
    assert.equal("a line\na line\n", file:read "a")
  end)

  it("shows what one host prints and logs", function()
    local path = support.tmpfile(keep(1) .. [[
      print("begun", #host.args)
      io.write "half a line, "
      r:on("connection", function(slot)
        host.log.info("got", { slot = slot })
      end)
      require "luv".new_timer():start(2000, 0, function() print "over" end)
    ]])
    local child = ended { "--hosts", "3", "--servers", "2", "--for", "3",
      "--show", "2", path }
    assert.equal(0, child.status)
    assert.matches("%d%.%d+ host 2: begun\t2\n", child.stderr)
    assert.matches("host 2: info got slot=%d+\n", child.stderr)
    assert.matches("\n *2%.%d+ host 2: .-over\n", child.stderr)
    assert.is_nil(child.stderr:find "host [13]:")
    assert.is_nil(child.stdout:find "begun")
  end)

  it("prints what there is when it is interrupted", function()
    local path = support.tmpfile(keep(10))
    local child = support.command { "simulate", "--hosts", "20", "--servers",
      "4", "--for", "1000000", path }
    -- It has to be under way: its process has a child.
    support.run(function()
      local file <close> = io.open(("/proc/%d/task/%d/children"):format(
        child.pid, child.pid))
      return file and file:read "a":find "%d"
    end)
    uv.sleep(200)
    child:kill "sigint"
    assert.equal(1, (child:wait()))
    assert.matches("\n  ended at +[%d.]+ s, interrupted\n", child.stdout)
    assert.matches("opened since +[%d,]+\n", child.stdout)
  end)

  it("ends at once at the second signal", function()
    local timeline = support.write(support.tmpdir() .. "/t.lua",
      "at(1, function() print 'on' io.stdout:flush() while true do end end)")
    local child = support.command { "simulate", "--hosts", "1", "--scenario",
      timeline, support.tmpfile(keep(1)) }
    child:waitFor "on"
    child:kill "sigint"
    uv.sleep(50) -- or both may be one, and the end comes after 20 s
    child:kill "sigint"
    assert.equal(1, (child:wait(60)))
    assert.matches("was ended by signal 9", child.stderr)
  end)

  it("draws a bar on a terminal", function()
    local path = support.tmpfile(keep(10))
    local child = support.spawn("/usr/bin/script", { "-qec",
      ("%s simulate --hosts 20 --servers 4 --for 60 %s 2>&1 >/dev/null")
        :format(support.EXECUTABLE, path), "/dev/null" },
      { env = { LD_PRELOAD = false } })
    assert.equal(0, (child:wait()))
    assert.matches("\r%[#* *%] +%d+%%", child.stdout)
  end)

  it("does not need to know where it was started", function()
    local folder = support.tmpdir()
    support.write(folder .. "/p.lua", "require 'own'\n" .. keep(2))
    support.write(folder .. "/own.lua", "return {}")
    local child = ended({ "--hosts", "2", "--servers", "2", "--for", "5",
      "p.lua" }, { cwd = folder })
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("says what is missing where its program is", function()
    local folder = support.tmpdir()
    assert(uv.fs_copyfile(support.EXECUTABLE, folder .. "/callosum-rover"))
    local child = support.spawn(folder .. "/callosum-rover", { "simulate",
      "x.lua" })
    assert.equal(1, (child:wait()))
    assert.matches("^callosum%-rover: cannot simulate: .*libexec/callosum/",
      child.stderr)
  end)

  describe("told nonsense exits with 2 and a message:", function()
    for name, case in pairs {
      ["no policy"] = { {}, "a POLICY is missing" },
      ["an unknown option"] = { { "--hots", "3", "x" },
        "nearest is '%-%-hosts'" },
      ["no value"] = { { "--hosts" }, "requires an argument" },
      ["no number"] = { { "--hosts", "x", "x" },
        "%-%-hosts wants .*, not 'x'" },
      ["too many"] = { { "--hosts", "100001", "x" }, "1 to 100000" },
      ["no time"] = { { "--for", "0", "x" }, "%-%-for wants" },
      ["no servers"] = { { "--servers", "a", "x" }, "%-%-servers wants" },
      ["a value for a flag"] = { { "--json=1", "x" }, "doesn't allow" },
      ["an unknown scenario"] = { { "--scenario", "rol", "x" },
        "no scenario 'rol', nearest is 'roll'" },
    } do
      it(name, function()
        local child = ended(case[1])
        assert.equal(2, child.status)
        assert.equal("", child.stdout)
        assert.matches(case[2], child.stderr)
      end)
    end
  end)

  it("--help explains options and scenarios, as the manual does", function()
    local text = ended { "--help" }.stdout
    for line in text:gmatch "[^\n]+" do
      assert.is_true(utf8.len(line) <= 80, line)
    end
    local manual = support.installed.output("mandoc", { "-Tascii",
      "src/sim/callosum-simulate.1" }):gsub(".\b", "")
    local count = 0
    for name in text:gmatch "\n  [%-h, ]*(%-%-%l+)" do
      assert.is_truthy(manual:find("\n +[%-h, ]*" .. name:gsub("%-", "%%-")),
        name)
      count = count + 1
    end
    for name in text:gmatch "\n  (%l+) +%u" do
      assert.is_truthy(manual:find("\n     " .. name .. " "), name)
      count = count + 1
    end
    assert.is_true(count > 20)
  end)
end)
