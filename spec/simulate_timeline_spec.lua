-- The language of timelines, without a simulation: what a script says is done
-- to a stage that only notes it.

local stages = require "support.stage"
local support = require "support"
local timeline = require "callosum.simulate.timeline"

local EVEN = function() return { 10, 10, 10, 10 } end

-- Plays a timeline: returns the stage, the play, and what failed.
local function play(text, given, counts)
  local path = support.tmpdir() .. "/my.lua"
  support.write(path, text)
  given = given or {}
  given.servers = given.servers or "4"
  given.servers = require "callosum.simulate.servers".parse(given.servers)
  local made, fleet = timeline.load(path, given)
  if not made then return nil, nil, fleet end
  local stage = stages.new(counts or EVEN)
  stage.start { servers = made.settings.servers }
  made.stage = stage
  local reason, failure = made:run(fleet)
  return stage, made, failure, reason
end

local function calls(text, given)
  local stage, _, failure = play(text, given)
  assert.is_nil(failure, failure and failure.message)
  return stage.calls
end

-- The message of an error in a timeline, behind the file's name.
local function wrong(text, given, counts)
  local _, _, failure = play(text, given, counts)
  assert.is_table(failure, "no error")
  return failure.message:match "my%.lua:(.*)$" or failure.message, failure
end

describe("a timeline", function()
  it("has actions at times, in their order", function()
    assert.same({
      { 5, "slow", 2, 3 },
      { 10.25, "stop", 3, "silence" },
      { 30, "weight", 4, 0.5 },
      { 30, "begin", 3 },
    }, calls [[
      at(30).weight("s4", 0.5)
      at(10.25).crash("s3", "silence")
      at(30).start "s3"
      at(5).slow("s2", 3)
    ]])
  end)

  it("has a set-up at 0, before the first packet", function()
    assert.same({ { 0, "weight", 1, 2 } }, calls [[at(0).weight(1, 2)]])
  end)

  it("names servers by names, indices, ranges and lists", function()
    for text, expected in pairs {
      ['"s2"'] = { 2 }, ["3"] = { 3 }, ['"s2-s4"'] = { 2, 3, 4 },
      ['"all"'] = { 1, 2, 3, 4 }, ['{ "s4", 1, "s1-s2" }'] = { 1, 2, 4 },
      ["fleet.servers"] = { 1, 2, 3, 4 },
    } do
      local list = {}
      for i, call in ipairs(calls(("at(1).resume(%s)"):format(text))) do
        list[i] = call[3]
      end
      assert.same(expected, list, text)
    end
  end)

  it("names hosts likewise, and by a share", function()
    for text, expected in pairs {
      ['"h2"'] = { 2 }, ['"h9-h10"'] = { 9, 10 }, ["0.3"] = { 1, 2, 3 },
      ["0.01"] = { 1 }, ['{ "h1", "h3" }'] = { 1, 3 },
      ["1"] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 },
    } do
      assert.same({ { 1, "partition", expected, { 1 } } },
        calls(("at(1).partition(%s, 1)"):format(text), { hosts = 10 }))
    end
  end)

  it("has each action, whose effects it undoes where a time is given",
      function()
    for text, expected in pairs {
      ['crash "s1"'] = { { 1, "stop", 1, "rst" } },
      ['crash("s1", "fin", 4)'] = { { 1, "stop", 1, "fin" },
        { 5, "begin", 1 } },
      ['stop "s1"'] = { { 1, "stop", 1, "fin" } },
      ['restart "s1"'] = { { 1, "stop", 1, "fin" }, { 11, "begin", 1 } },
      ['slow("s1", 10, 2.5)'] = { { 1, "slow", 1, 10 }, { 3.5, "slow", 1, 1 } },
      ['drain "s1"'] = { { 1, "drain", 1, 30 } },
      ['drain("s1-s2", 5)'] = { { 1, "drain", 1, 5 }, { 1, "drain", 2, 5 } },
      ['resume "s1"'] = { { 1, "resume", 1 } },
      ['add()'] = { { 1, "add", 1, 10 } },
      ['add(2, 3)'] = { { 1, "add", 2, 3 } },
      ['partition(0.5, 1, 2)'] = { { 1, "partition", { 1, 2 }, { 1 } },
        { 3, "heal" } },
      ['heal()'] = { { 1, "heal" } },
      ['ghost "s1"'] = { { 1, "ghost", 1 } },
      ['vanish(0.25, 2)'] = { { 1, "lose", { 1 } }, { 3, "boot", { 1 } } },
      ['surge(3, 2)'] = { { 1, "surge", 3 }, { 3, "surge", 1 } },
    } do
      assert.same(expected, calls("at(1)." .. text, { hosts = 4, seconds = 20,
        fronts = true, requests = "75%" }), text)
    end
  end)

  it("reloads hosts at random times", function()
    local list, at = calls('at(1).reload(1, "/dev/null", 4)', { hosts = 3 }), 1
    assert.equal(3, #list)
    local seen = {}
    for _, call in ipairs(list) do
      assert.is_true(call[1] >= at and call[1] < 5)
      at = call[1]
      assert.equal("/dev/null", call[4])
      seen[call[3][1]] = true
    end
    assert.same({ true, true, true }, seen)
    assert.same(list, calls('at(1).reload(1, "/dev/null", 4)', { hosts = 3 }))
    assert.not_same(list,
      calls('at(1).reload(1, "/dev/null", 4)', { hosts = 3, seed = 2 }))
  end)

  it("repeats what is asked for by every()", function()
    local function times(text)
      local list = {}
      for i, call in ipairs(calls(text, { seconds = 60 })) do
        list[i] = call[1]
      end
      return list
    end
    assert.same({ 20, 40, 60 }, times 'every(20).resume "s1"')
    assert.same({ 5, 25, 45 }, times 'every(20).from(5).resume "s1"')
    assert.same({ 5, 25 }, times 'every(20).from(5).to(30).resume "s1"')
    assert.same({ 0, 20, 40 }, times [[
      every(20).from(0).to(40)(function() fleet.resume(1) end)]])
    assert.same({ 30, 60 }, times [[
      every(30, function(f) f.resume(1) end)]])
  end)

  it("has functions, which act at once, ask, and look ahead", function()
    local list = calls([[
      at(2, function(f)
        assert(f == fleet and f.now == 2 and f.seconds == 40 and f.seed == 7)
        assert(f.hosts == 30 and #f.servers == 4 and f.servers[4] == "s4")
        assert(f.total == 40 and f.mean == 10 and f.peak == 1 and f.min == 1)
        assert(f.cv == 0 and f.connections.s3 == 10 and f.connections[3] == 10)
        assert(f.fill == 9 and f.distinct == 7.5 and f.opens == 20)
        assert(f.errors == 0 and f.p99 == nil and f.up "s1")
        f.stop "s1"
        assert(not f.up "s1" and f.up(2))
        at(f.now + 3).start "s1"
        f.at(4, function() fleet.surge(2) end)
        assert(fleet.report.to105 == nil)
      end)
      at(30, function() assert(fleet.report.to105 == 0) end)
    ]], { seconds = 40, hosts = 30, seed = 7, requests = "10%" })
    assert.same({ { 2, "stop", 1, "fin" }, { 4, "surge", 2 },
      { 5, "begin", 1 } }, list)
  end)

  it("may name the servers that it adds", function()
    local _, made = play [[
      at(1).add(2)
      at(5).crash("s5-s6", "rst")
      at(6, function() assert(#fleet.servers == 6) end)
    ]]
    assert.equal(6, made.existing)
    assert.equal("1: bad argument #1 to 'crash' (unknown server 's5': there are"
      .. " s1 to s4)", (wrong 'at(1).crash "s5"'))
  end)

  it("records what has happened", function()
    local _, made = play([[
      at(1).restart("s2", 3)
      at(2).weight("s1-s3", 0.5)
      at(3).partition(0.5, { "s1", "s4" })
      at(4).slow("s1", 10)
      at(5, function() fleet.note "here" end)
    ]], { hosts = 4 })
    assert.same({
      { at = 1, text = "restart s2", server = 2, till = 4 },
      { at = 2, text = "weight s1-s3 0.5" },
      { at = 3, text = "partition h1-h2 | s1, s4" },
      { at = 4, text = "slow s1 ×10", server = 1 },
      { at = 5, text = "here" },
    }, made.events)
  end)

  it("has settings, over which those of the command line go", function()
    local text = [[scenario { seconds = 7, hosts = 3, servers = 9,
      requests = "50%", fronts = true, look = "up" } ]]
    local _, made = play(text .. "assert(#fleet.servers == 4)")
    assert.same({ 7, 3, 4, "50%", true, "up" }, { made.settings.seconds,
      made.settings.hosts, #made.settings.servers, made.settings.requests,
      made.settings.fronts, made.settings.look })
    _, made = play(text .. "assert(fleet.hosts == 5)", { seconds = 2, hosts = 5,
      requests = "1/s" })
    assert.same({ 2, 5, "1/s" }, { made.settings.seconds, made.settings.hosts,
      made.settings.requests })
  end)

  it("may name the addresses of its servers", function()
    local path = support.tmpfile([[
      scenario { servers = "db[1-3].example:5432" }
      at(1).stop "s3"
    ]], "my.lua")
    local made = timeline.load(path, {})
    assert.equal(3, #made.settings.servers)
    assert.equal("db3.example", made.settings.servers[3].host)
  end)

  it("warns of what is after its end", function()
    local _, made = play("at(5).resume(1)\n\nat(8, function() end)",
      { seconds = 6 })
    assert.equal(1, #made.warnings)
    assert.matches("my%.lua:3: its time, 8 s, was not reached$",
      made.warnings[1])
  end)

  it("is sampled, and drawn, as often as its length allows", function()
    for seconds, expected in pairs { [10] = { 101, 101 },
        [800] = { 8001, 1001 }, [3601] = { 3602, 3602 },
        [8000] = { 8001, 4001 } } do
      local _, made = play("", { seconds = seconds })
      assert.same(expected, { #made.samples, #made.drawn }, seconds)
    end
  end)

  it("is interrupted with what there is", function()
    local path = support.tmpdir() .. "/my.lua"
    support.write(path, "")
    local made, fleet = timeline.load(path, {})
    made.stage = stages.new(EVEN)
    made.stage.interruptAt = 3
    assert.equal("interrupted", (made:run(fleet)))
    assert.equal(3, made.now)
    assert.equal(31, #made.samples)
  end)
end)

describe("an assert", function()
  it("tells the line, and the figures in it", function()
    local message, failure = wrong([[
      at(3, function(fleet)
        assert(fleet.peak < 1.5)
        assert(fleet.peak < 1.1 and fleet.min > 0.5)
      end)]], {}, function() return { 12, 10, 10, 8 } end)
    assert.equal("3: assert(fleet.peak < 1.1 and fleet.min > 0.5) "
      .. "(peak is 1.2, min is 0.8)", message)
    assert.is_true(failure.assertion)
    assert.equal(3, failure.at)
  end)

  it("tells its message", function()
    assert.equal("1: too many (opens is 30)", (wrong
      [[at(3, function() assert(fleet.opens < 3, "too many") end)]]))
    assert.equal("1: oops", (wrong [[assert(nil, "oops")]]))
  end)

  it("returns what it is given", function()
    play [[
      local a, b, c = assert(1, 2, 3)
      assert(a == 1 and b == 2 and c == 3)]]
  end)
end)

describe("misuse of a timeline", function()
  local WRONG = {
    ['at(1).crahs "s1"'] = "unknown action 'crahs', nearest is 'crash'",
    ['at(1).froth()'] = "unknown action 'froth', valid are add, crash, drain, "
      .. "ghost, heal, partition, reload, restart, resume, slow, start, stop, "
      .. "surge, vanish, weight",
    ['every(1).form(2)'] = "unknown action 'form', nearest is 'from'",
    ['at(1).crash "s5"'] = "bad argument #1 to 'crash' (unknown server 's5': "
      .. "there are s1 to s4)",
    ['at(1).crash "s0"'] = "bad argument #1 to 'crash' (unknown server 's0': "
      .. "there are s1 to s4)",
    ['at(1).crash "h1"'] = "bad argument #1 to 'crash' (unknown server 'h1': "
      .. "there are s1 to s4)",
    ['at(1).crash "s3-s2"'] = "bad argument #1 to 'crash' ('s3-s2' begins with "
      .. "the higher number)",
    ['at(1).crash()'] = "bad argument #1 to 'crash' (servers is missing)",
    ['at(1).crash(true)'] = "bad argument #1 to 'crash' (servers expected "
      .. "(\"s3\", \"s1-s5\", an array of these or \"all\"), got boolean)",
    ['at(1).crash {}'] = "bad argument #1 to 'crash' (servers expected "
      .. "(\"s3\", \"s1-s5\", an array of these or \"all\"), got an empty "
      .. "table)",
    ['at(1).crash("s1", "bang")'] = "bad argument #2 to 'crash' (\"fin\", "
      .. "\"rst\" or \"silence\" expected, got 'bang')",
    ['at(1).slow("s1", 0)'] = "bad argument #2 to 'slow' (a factor above 0 "
      .. "expected, got 0)",
    ['at(1).weight("s1", 300)'] = "bad argument #2 to 'weight' (a weight from "
      .. "1/256 to 256 expected, got 300)",
    ['at(1).add(0)'] = "bad argument #1 to 'add' (a whole number from 1 "
      .. "expected, got 0)",
    ['at(1).restart("s1", -1)'] = "bad argument #2 to 'restart' (a time in "
      .. "seconds expected, got -1)",
    ['at(1).vanish(2)'] = "bad argument #1 to 'vanish' (a share of the hosts "
      .. "above 0 and up to 1 expected, got 2)",
    ['at(1).vanish "h7"'] = "bad argument #1 to 'vanish' (unknown host 'h7': "
      .. "there are h1 to h4)",
    ['at(1).heal(1)'] = "heal takes 0 arguments at most, got 1",
    ['at "1"'] = "bad argument #1 to 'at' (a time in seconds expected, got "
      .. "string)",
    ['at(-1)'] = "bad argument #1 to 'at' (-1 s is in the past: it is 0 s)",
    ['at(1, 2)'] = "bad argument #2 to 'at' (function expected, got number)",
    ['at(1)(2)'] = "function expected, got number",
    ['every(0)'] = "bad argument #1 to 'every' (a time from 0.001 s expected, "
      .. "got 0)",
    ['every(1).from "x"'] = "bad argument #1 to 'from' (a time in seconds "
      .. "expected, got string)",
    ['fleet.crash "s1"'] = "the run has not begun: write at(0, function(fleet) "
      .. "... end)",
    ['print(fleet.peak)'] = "the run has not begun: write at(0, "
      .. "function(fleet) ... end)",
    ['print(fleet.paek)'] = "unknown field 'paek' of the fleet, nearest is "
      .. "'peak'",
    ['fleet.peak = 1'] = "the fleet's 'peak' cannot be set",
    ['scenario { second = 1 }'] = "unknown field 'second' of scenario{}, "
      .. "nearest is 'seconds'",
    ['scenario { hosts = 1.5 }'] = "hosts: integer from 1 to 100000 expected, "
      .. "got 1.5",
    ['scenario { hosts = "x" }'] = "hosts: integer from 1 to 100000 expected, "
      .. "got string",
    ['scenario { servers = 0 }'] = "servers: integer or a list as of --servers "
      .. "expected, got 0",
    ['scenario { servers = "db" }'] = "servers: integer or a list as of "
      .. "--servers expected, got string",
    ['scenario(1)'] = "bad argument #1 to 'scenario' (table expected, got "
      .. "number)",
    ['at(1).heal() scenario {}'] = "scenario{} comes once, and before anything "
      .. "else",
    ['nosuch()'] = "attempt to call a nil value (global 'nosuch')",
  }
  for text, message in pairs(WRONG) do
    it("is reported at its line: " .. text, function()
      assert.equal("3: " .. message, (wrong("\n\n" .. text, { hosts = 4 })))
    end)
  end

  for text, message in pairs {
    ['fleet.crash "s5"'] = "bad argument #1 to 'crash' (unknown server 's5': "
      .. "there are s1 to s4)",
    ['at(2)'] = "bad argument #1 to 'at' (2 s is in the past: it is 3 s)",
    ['fleet.surge(2)'] = "there are no requests to surge: give --requests, or "
      .. "'requests' in scenario{}",
    ['fleet.up(9)'] = "unknown server '9': there are s1 to s4",
    ['fleet.note(1)'] = "bad argument #1 to 'note' (string expected, got "
      .. "number)",
    ['error "mine"'] = "mine",
    ['fleet.drain "s1"'] = "only fronts drain: write "
      .. "scenario { fronts = true }",
    ['fleet.reload(1, "/no/such")'] = "bad argument #2 to 'reload' (cannot "
      .. "open /no/such: No such file or directory)",
  } do
    it("is reported at its line, in a function: " .. text, function()
      local got, failure = wrong("at(3, function()\n" .. text .. "\nend)")
      assert.equal("2: " .. message, got)
      assert.equal(3, failure.at)
    end)
  end

  it("with an error that is no text is reported", function()
    assert.matches("^ an error that is no text: table: 0x", (wrong "error {}"))
    assert.matches("^ an error that is no text: nil$",
      (wrong "at(1, function() error() end)"))
  end)

  it("that shows late is reported where it was asked for", function()
    assert.equal("2: there are no requests to surge: give --requests, or "
      .. "'requests' in scenario{}", (wrong "\nat(3).surge(2)"))
  end)

  it("is reported if the file is not there, or no Lua", function()
    local made, err = timeline.load("/nowhere/x.lua", {})
    assert.is_nil(made)
    assert.equal("cannot open /nowhere/x.lua: No such file or directory",
      err.message)
    assert.matches("^1: unexpected symbol near '='$", (wrong "at = = 1"))
  end)
end)

describe("a scenario", function()
  for _, name in ipairs(timeline.SCENARIOS) do
    it("plays, small and at its own size: " .. name, function()
      for _, given in ipairs { {}, { hosts = 1, seconds = 10,
          servers = require "callosum.simulate.servers".parse "1" } } do
        local made, fleet = timeline.load(timeline.find(name), given)
        assert.is_truthy(made, not made and fleet.message)
        assert.is_string(made.settings.sentence)
        assert.is_string(made.settings.look)
        local counts = {}
        for i = 1, #made.settings.servers + 2 do counts[i] = 10 end
        made.stage = stages.new(function() return counts end)
        made.stage.start { servers = made.settings.servers }
        local reason, failure = made:run(fleet)
        assert.is_nil(reason)
        assert.is_nil(failure, failure and failure.message)
        if given.hosts then return end
        assert.same({}, made.warnings)
        assert.equal(name == "cold", #made.events == 0)
      end
    end)
  end

  it("is found by name only if there is one", function()
    local path, message = timeline.find "rol"
    assert.is_nil(path)
    assert.equal("no scenario 'rol', nearest is 'roll'", message)
    assert.equal("roll.lua", (timeline.find "roll.lua"))
    assert.equal("./roll", (timeline.find "./roll"))
  end)

  it("rolls over all servers in half of the time", function()
    local made, fleet = timeline.load(timeline.find "roll", {})
    local counts = {}
    for i = 1, 20 do counts[i] = 10 end
    made.stage = stages.new(function() return counts end)
    made.stage.start { servers = made.settings.servers }
    made:run(fleet)
    local list = made.stage.calls
    assert.equal(40, #list)
    assert.same({ 200, "stop", 1, "fin" }, list[1])
    assert.same({ 210, "begin", 1 }, list[2])
    assert.same({ 220, "stop", 2, "fin" }, list[3])
    assert.same({ 590, "begin", 20 }, list[40])
  end)
end)

describe("the manual", function()
  local function read(path)
    local file <close> = assert(io.open(path))
    return file:read "a"
  end
  local PAGE = read "src/sim/callosum-simulate.1"
  local function section(name)
    return assert(PAGE:match("\n%.Sh " .. name .. "\n(.-)\n%.Sh "), name)
  end

  it("has all scenarios, in their order", function()
    local list = {}
    for name in section "SCENARIOS":gmatch "\n%.It Cm (%l+)" do
      list[#list + 1] = name
    end
    assert.same(timeline.SCENARIOS, list)
  end)

  it("has all actions with their arguments, and no others", function()
    local all = require "callosum.simulate.actions".all
    local text, found = section "TIMELINES":match "The actions;.*", {}
    for line in text:match "^(.-)\n%.El":gmatch "\n%.It (Fn [^\n]*)" do
      for name, rest in (line .. " "):gmatch "Fn (%l+)([^,]*)" do
        found[name] = true
        assert.is_truthy(all[name], name)
        local words = {}
        for word in rest:gmatch "%a+" do words[#words + 1] = word end
        local expected = {}
        for i, parameter in ipairs(all[name]) do expected[i] = parameter[1] end
        assert.same(expected, words, name)
      end
    end
    for name in pairs(all) do assert.is_true(found[name], name) end
  end)

  it("has all fields of the fleet and of scenario{}", function()
    local text = section "TIMELINES"
    local _, message = pcall(load [[return (...).nosuch]],
      select(2, timeline.load("/dev/null", {})))
    local fields = message:match "valid are (.*)$"
    assert.is_truthy(fields, message)
    for name in fields:gmatch "%w+" do
      assert.is_truthy(text:find("%f[%w]" .. name .. "%f[%W]"), name)
    end
    for name in (wrong "scenario { [1] = 2 }"):match "valid are (.*)$"
        :gmatch "%w+" do
      assert.is_truthy(text:find("\n%.Fa " .. name .. "[ \n]"), name)
    end
  end)

  it("has all fields of the JSON", function()
    local text, source = section "JSON", read "lua/callosum/simulate/report.lua"
    local count = 0
    for list in source:match "\n%-%- JSON %-.*":gmatch "{ (\"%l.-) }" do
      for name in list:gmatch '"(%w+)"' do
        assert.is_truthy(text:find("%f[%w]" .. name .. "%f[%W]"), name)
        count = count + 1
      end
    end
    assert.is_true(count > 30)
  end)
end)
