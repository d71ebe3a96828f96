-- What `simulate` prints, and its exit status, of fleets that only pretend.

local record = require "callosum.simulate.record"
local report = require "callosum.simulate.report"
local simulate = require "callosum.simulate"
local stages = require "support.stage"
local support = require "support"

-- Calls simulate.main(): returns the status, and what went to both streams.
local function main(options, counts, change)
  local stage = stages.new(counts or function() return { 10, 10, 12, 8 } end)
  if change then change(stage) end
  local texts, real = { out = {}, err = {} }, { out = io.stdout,
    err = io.stderr }
  local function writer(list)
    return { write = function(_, ...)
      for _, text in ipairs { ... } do list[#list + 1] = text end
    end, flush = function() end }
  end
  options.policies = options.policies or { "dir/a.lua" }
  options.args = options.args or {}
  options.servers = require "callosum.simulate.servers".parse "4"
  rawset(io, "stdout", writer(texts.out))
  rawset(io, "stderr", writer(texts.err))
  local ok, status = pcall(simulate.main, options, stage)
  rawset(io, "stdout", real.out)
  rawset(io, "stderr", real.err)
  assert(ok, status)
  return status, table.concat(texts.out), table.concat(texts.err), stage
end

local function timeline(text)
  local path = support.tmpdir() .. "/my.lua"
  support.write(path, text)
  return path
end

-- One that has not to be real.
local LOAD = { count = 12345, answered = 12338, lost = 6, waited = 7,
  p50 = 1.234, p99 = 56.78, p999 = 910.1,
  busiest = { at = 3, count = 99, p99 = 61 },
  share = { 0.2, 0.3, 0.25, 0.25 }, latency = { { at = 1, count = 2, p50 = 1,
  p99 = 2, p999 = 3 } } }

describe("the report", function()
  it("is a table", function()
    local path = timeline [[
      scenario { sentence = "Nothing to see", look = "nothing", seconds = 20,
        hosts = 3 }
      at(4).restart("s1", 2)
    ]]
    local status, out, err, stage = main({ scenario = path, seed = 9,
      latency = 0.2 }, nil, function(stage) stage.load = LOAD end)
    assert.equal("", err)
    assert.equal(0, status)
    assert.equal(path .. [[: 3 hosts, 4 servers, 20 s, seed 9
Nothing to see
Look for: nothing

                                              a.lua
connections (worst: since 4 s)
  peak/mean, at the end                        1.20
  peak/mean, at worst                          1.20
  min/mean, at the end                         0.80
  CV, at the end                              0.141
  s to peak/mean 1.10                             -
  s to peak/mean 1.05                             -
  s to min/mean 0.90                              -
  opened before                                  40
  opened since                                  160
  opened by a client each s                   3.333
  least of a client, at worst                     9
  least of a client, at the end                   9
  most of a client                               10
  servers of a client                           7.5
requests
  made                                       12,345
  answered                                   12,338
  p50, ms                                      1.23
  p99, ms                                      56.8
  p99.9, ms                                     910
  p99 of the busiest second, ms                61.0
  least share of a server                     20.0%
  greatest share of a server                  30.0%
  lost                                            6
  waited for a connection                         7
run
  errors of the script                            0
  trace                            0123456789abcdef
]], out)
    assert.same({ "4040", "4041", "4042", "4043" }, stage.settings.args)
    assert.same({ 3, 9, 0.2, "dir/a.lua" }, { stage.settings.hosts,
      stage.settings.seed, stage.settings.latency, stage.settings.policy })
  end)

  it("has a column for each policy", function()
    local _, out = main { duration = 6, policies = { "a/x.lua", "b/x.lua",
      "b/long_name_of_a_policy.lua" } }
    assert.matches("\n +a/x%.lua +b/x%.lua +b/long_name_of_a_policy%.lua\n",
      out)
    assert.matches("\n  peak/mean, at the end +1%.20 +1%.20 +1%.20\n", out)
    local _, short = main { duration = 6, policies = { "a/x.lua", "b/y.lua" } }
    assert.matches("\n +x%.lua +y%.lua\n", short)
  end)

  it("is JSON", function()
    local path = timeline "at(1).stop(1)\nat(2).slow('s2', 3, 1)"
    local status, out, err = main({ scenario = path, duration = 8, json = true,
      policies = { "a\"\\\n\1\xff.lua" } }, nil, function(stage)
        stage.load = LOAD
        stage.scriptErrors = { { message = "x.lua:1: bad", count = 3,
          hosts = 2, host = 1, at = 0.5, traceback = "stack" } }
      end)
    assert.equal(0, status)
    assert.matches("x%.lua:1: bad\n  3 times in 2 hosts, first at 0%.500 s in "
      .. "h1\nstack", err)
    local script = support.tmpfile([=[
import json, sys
d = json.load(sys.stdin)
r = d["runs"][0]
print(d["seconds"], d["hosts"], d["seed"], len(d["runs"]))
print(ascii(r["policy"]), r["duration"], r["interrupted"], r["failed"])
print(sorted(r["connections"].items()))
print(r["servers"], r["hash"])
print(sorted(r["requests"].items()))
print([sorted(e.items()) for e in r["events"]])
print(sorted(r["errors"][0].items()), r["warnings"], r["assertion"])
]=])
    local json = support.tmpfile(out)
    local pipe = assert(io.popen(("python3 '%s' < '%s'"):format(script, json)))
    local got = pipe:read "a"
    pipe:close()
    assert.equal([==[
8 200 1 1
'a"\\\n\x01\ufffd.lua' 8 False None
[('churn', 0.05), ('cv', 0.163299), ('distinct', 7.5), ('fill', 9), ]==]
.. [==[('from', 1), ('leastFill', 9), ('min', 0.8), ('opens', 70), ]==]
.. [==[('opensBefore', 10), ('peak', 1.2), ('settling', 3), ('target', 10), ]==]
.. [==[('to105', None), ('to110', None), ('to90', None), ('worst', 1.2)]
{'s1': 10, 's2': 10, 's3': 12, 's4': 8} 0123456789abcdef
[('answered', 12338), ('busiest', {'at': 3, 'p99': 61}), ]==]
.. [==[('count', 12345), ('lost', 6), ]==]
.. [==[('p50', 1.234), ('p99', 56.78), ('p999', 910.1), ('share', ]==]
.. [==[{'s1': 0.2, 's2': 0.3, 's3': 0.25, 's4': 0.25}), ('waited', 7)]
[[('at', 1), ('text', 'stop s1'), ('till', None)], [('at', 2), ]==]
.. [==[('text', 'slow s2 ×3'), ('till', 3)]]
[('at', 0.5), ('count', 3), ('host', 1), ('hosts', 2), ('message', ]==]
.. [==['x.lua:1: bad'), ('traceback', 'stack')] [] None
]==], got)
  end)

  it("is apart from what a timeline prints", function()
    local path = timeline [[
      print("loading", nil, 1)
      at(2, function() print(fleet.now) end)]]
    local _, out, err = main { scenario = path, duration = 3, json = true }
    assert.equal("loading\tnil\t1\n2.0\n", err)
    assert.matches("^{\n", out)
  end)

  it("is 1, with the line, if an assert fails", function()
    local path = timeline [[
      at(4, function(fleet) assert(fleet.peak < 1.1) end)]]
    local status, out, err = main { scenario = path, duration = 20, seed = 5 }
    assert.equal(1, status)
    assert.matches("\n  ended at +4 s, failed\n", out)
    assert.matches("^[^\n]*: 200 hosts", out)
    assert.equal(("dir/a.lua: %s:1: at(4, function(fleet) assert(fleet.peak < "
      .. "1.1) end) (peak is 1.2)\n  failed at 4 s, seed 5\n"):format(path),
      err)
    out = select(2, main { scenario = path, duration = 20, json = true })
    assert.is_truthy(out:find('"assertion": {\n        "at": 4', 1, true))
  end)

  it("is 1 if a timeline fails, with its traceback", function()
    local path = timeline [[

      local function fail()
        error "oops"
      end
      at(4, function() fail() end)]]
    local status, _, err = main { scenario = path }
    assert.equal(1, status)
    assert.matches(":3: oops\n  failed at 4 s, seed 1\nstack traceback:\n"
      .. "\t[^\n]*:3: in [^\n]*\n\t[^\n]*:5: in [^\n]*\n$", err)
    status, _, err = main { scenario = timeline "\nat(4).crahs(1)" }
    assert.equal(1, status)
    assert.matches("^callosum%-rover simulate: [^\n]*my%.lua:2: unknown action "
      .. "'crahs', nearest is 'crash'\n$", err)
  end)

  it("is 1 if it was interrupted, and there is a table", function()
    local status, out = main({}, nil, function(stage) stage.interruptAt = 3 end)
    assert.equal(1, status)
    assert.matches("\n  ended at +3 s, interrupted\n", out)
    assert.matches("trace", out)
  end)

  it("is 1 if a policy fails, and there is a table of the others", function()
    local status, out, err = main({ policies = { "a.lua", "b.lua" } }, nil,
      function(stage)
        local start = stage.start
        function stage.start(settings)
          if settings.policy == "a.lua" then return nil, "a.lua:1: no" end
          return start(settings)
        end
      end)
    assert.equal(1, status)
    assert.equal("a.lua: a.lua:1: no\n", err)
    assert.matches("\n +b%.lua\n", out)
    assert.is_nil(out:find("a.lua", 1, true))
  end)

  it("is 1 if a process died", function()
    local status, _, err = main({ policies = { "a.lua", "b.lua" } }, nil,
      function(stage)
        local fork = stage.fork
        function stage.fork(jobs)
          local texts = fork(jobs)
          texts[1] = false
          return texts, { "was killed" }
        end
      end)
    assert.equal(1, status)
    assert.equal("callosum-rover simulate: the process that ran a.lua was "
      .. "killed\n", err)
  end)

  it("tells the stage how many requests there are", function()
    local path = timeline "scenario { requests = '75%', requestsFrom = 3 }"
    local _, _, _, stage = main { scenario = path, duration = 2, hosts = 24 }
    assert.same({ 100, 3 }, { stage.settings.requests,
      stage.settings.requestsFrom })
    stage = select(4, main { duration = 2, requests = "5/s" })
    assert.same({ 5, 0 }, { stage.settings.requests,
      stage.settings.requestsFrom })
    local status, _, err = main { duration = 2, requests = "many" }
    assert.equal(2, status)
    assert.matches("^callosum%-rover simulate: requests are a share.*\"many\"",
      err)
    assert.equal(1, (main { scenario = timeline "scenario{requests='x'}" }))
  end)

  it("is 2 if there is no such scenario", function()
    local status, out, err = main { scenario = "raod" }
    assert.same({ 2, "" }, { status, out })
    assert.matches("^callosum%-rover simulate: no scenario 'raod', ", err)
  end)

  it("draws", function()
    local folder = support.tmpdir() .. "/plots"
    local status, _, err = main { plot = folder, duration = 3 }
    assert.equal("", err)
    assert.equal(0, status)
    local file <close> = assert(io.open(folder .. "/connections.svg"))
    assert.matches("^<svg", file:read "a")
    status, _, err = main({ plot = folder, duration = 3 }, nil,
      function(stage)
        function stage.mkdir() return nil, "no room" end
      end)
    assert.equal(1, status)
    assert.equal("callosum-rover simulate: cannot write the plots: no room\n",
      err)
  end)

  it("has help about all scenarios", function()
    local help = simulate.help()
    for line in help:gmatch "[^\n]+" do
      assert.is_true(utf8.len(line) <= 80, line)
    end
    assert.matches("\n  roll       Each server is restarted", help)
    assert.matches("\n  surge ", help)
  end)
end)

describe("a record", function()
  it("is the same again", function()
    local value = { 1, 2.5, "a\n\0\"", { x = { true, false } }, [0] = 7,
      ["a b"] = 1 / 3, huge = math.huge, [-1] = math.mininteger, [9] = {} }
    assert.same(value, record.read(record.write(value)))
  end)
end)

describe("errors of scripts", function()
  it("are told once each", function()
    local text = report.problems { { policy = "p.lua", seed = 1,
      warnings = { "it forks" },
      errors = { { message = "p.lua:1: x", count = 200, hosts = 200, host = 3,
        at = 0.25, traceback = "stack traceback:\n\t..." },
        { message = "p.lua:2: y", count = 1, hosts = 1, host = 1, at = 1 } },
    }, { policy = "q.lua", seed = 1, failed = "q.lua:1: z",
      errors = { { message = "q.lua:1: z", count = 9, hosts = 9, host = 1,
        at = 0 } } } }
    assert.equal([[
p.lua: it forks
p.lua: p.lua:1: x
  200 times in 200 hosts, first at 0.250 s in h3
stack traceback:
	...
p.lua: p.lua:2: y
  once in one host, first at 1.000 s in h1
q.lua: q.lua:1: z
]], text)
  end)
end)
