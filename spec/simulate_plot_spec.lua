-- The pictures of simulated runs: what is drawn where, for few servers and for
-- many. What they look like is for people to judge.

local support = require "support"
local plot = require "callosum.simulate.plot"

-- A run in which each server has count(server, at) connections.
local function run(about)
  local result = { policy = about.policy or "policy.lua", hosts = 10,
    scenario = "crash", seed = 3, duration = 100, servers = {}, samples = {},
    events = about.events or {}, latency = about.latency, slots = {} }
  for server = 1, about.servers do
    result.servers[server] = "s" .. server
    for slot = 0, about.count(server, 100) - 1 do
      result.slots[slot] = (result.slots[slot] or 0) + 1
    end
  end
  for at = 0, 100 do
    local sample = { at = at }
    for server = 1, about.servers do
      sample[server] = about.count(server, at)
    end
    result.samples[at + 1] = sample
  end
  return result
end

local function ten() return 10 end

-- Fails unless a parser of XML takes it.
local function checkXml(text)
  local name = support.tmpfile(text)
  local pipe = assert(io.popen("python3 -c 'import sys, xml.dom.minidom as x; "
    .. "x.parse(sys.argv[1])' " .. name .. " 2>&1"))
  local said = pipe:read "a"
  assert.is_true(pipe:close(), said)
end

-- The heights of the ends of all lines of a class, in order.
local function ends(svg, class)
  local list = {}
  for d in svg:gmatch('<path class="' .. class .. '" d="([^"]*)"') do
    local y
    for command, dy in d:gmatch "(%a)%-?[%d.]+[ ]?(%-?[%d.]*)" do
      y = command == "M" and tonumber(dy) or y + (tonumber(dy) or 0)
    end
    list[#list + 1] = y
  end
  return list
end

-- How high the grid line is that has this number.
local function heightOf(svg, number)
  local y = svg:match('<path class="grid" d="M%d+ ([%d.]+)H%d+"/>\n'
    .. '<text class="dim end" x="%d+" y="[%d.]+">' .. number .. "</text>")
  return tonumber(y)
end

describe("the pictures of a simulation", function()
  it("are well-formed, whatever a policy is called", function()
    local odd = run { policy = 'a<b>&"c\1\n.lua', servers = 3, count = ten,
      events = { { at = 5, text = "crash <s1>", server = 1 } },
      latency = { { at = 5, p50 = 1, p99 = 2, p999 = 3 } } }
    local files = plot.files { odd, odd }
    for _, name in ipairs { "connections", "latency", "slots" } do
      local svg = files[name .. ".svg"]
      checkXml(svg)
      assert.truthy(svg:find("a&lt;b&gt;&amp;&quot;c??.lua", 1, true))
    end
  end)

  it("leave out folders of policies that have names of their own", function()
    local function names(...)
      local runs = {}
      for i, policy in ipairs { ... } do
        runs[i] = run { policy = policy, servers = 3, count = ten }
      end
      local list = {}
      for name in plot.files(runs)["slots.svg"]
          :gmatch 'class="name">([^<]*)<' do
        list[#list + 1] = name
      end
      return list
    end
    assert.same({ "x.lua", "y.lua" }, names("a/x.lua", "/b/c/y.lua"))
    assert.same({ "a/x.lua", "b/x.lua", "y.lua" },
      names("a/x.lua", "b/x.lua", "y.lua"))
  end)

  it("show each of few servers, labelled, to scale", function()
    local svg = plot.files { run { servers = 3, count = function(server)
      return server * 10
    end } }["connections.svg"]
    assert.truthy(svg:find "s2 +20</text>")
    for server = 1, 3 do
      assert.same({ heightOf(svg, server * 10) },
        ends(svg, "line c" .. server))
    end
  end)

  it("show a line for each of some servers, their mean and the most", function()
    local svg = plot.files { run { servers = 20, count = function(server, at)
      return server == 7 and at == 60 and 30 or 10
    end } }["connections.svg"]
    assert.equal(20, #ends(svg, "thin c1"))
    assert.truthy(svg:find("most: s7, 30 at 60 s", 1, true))
    assert.truthy(svg:find "mean +10</text>")
  end)

  it("show the spread of many servers, and the server of an event", function()
    local svg = plot.files { run { servers = 500, count = function(server, at)
      return server == 3 and at > 50 and 0 or 10 + server % 5
    end, events = { { at = 50, text = "crash s3", server = 3 } } } }
      ["connections.svg"]
    checkXml(svg)
    assert.is_true(#svg < 20000, #svg)
    assert.truthy(svg:find "least +10</text>")
    assert.truthy(svg:find "median +12</text>")
    assert.truthy(svg:find "most +14</text>")
    assert.truthy(svg:find "s3 +0</text>")
  end)

  it("show the least of many servers when it was so, as the most", function()
    -- Both bands' lower and upper edges, with a dip of one server at 60 s.
    local svg = plot.files { run { servers = 50, count = function(server, at)
      return server == 3 and at >= 60 and at < 62 and 1 or 10
    end } }["connections.svg"]
    local d = svg:match 'class="band f1" d="([^"]*)"'
    local widths = {}
    for dx in d:gmatch "l(%-[%d.]+)" do
      widths[#widths + 1] = math.abs(tonumber(dx))
    end
    -- Backwards: from 100 s to 62 s, the dip within 3 s, and from 59 s on.
    table.sort(widths)
    local second = 718 / 100
    assert.near(38 * second, widths[#widths - 1], 0.2)
    assert.near(59 * second, widths[#widths], 0.2)
  end)

  it("mark events, in a row for each kind, however many there are", function()
    local events = {}
    for i = 1, 500 do
      events[i] = { at = 20 + i / 10, text = "stop s" .. i, server = i }
    end
    events[501] = { at = 80, till = 90, text = "partition 0.5" }
    local svg = plot.files { run { servers = 8, count = ten,
      events = events } }["connections.svg"]
    checkXml(svg)
    assert.is_true(#svg < 20000, #svg)
    assert.truthy(svg:find("s1 … s500", 1, true))
    assert.truthy(svg:find(">partition</text>", 1, true))
    assert.truthy(svg:find(">0.5</text>", 1, true))
    assert.truthy(svg:find('class="event bar"', 1, true)) -- how long it lasts
  end)

  it("compare the percentiles of policies, and leave gaps", function()
    local function with(policy, factor)
      local latency = {}
      for i = 1, 20 do
        latency[i] = i ~= 10 and { at = i * 5, p50 = 10 * factor,
          p99 = 50 * factor, p999 = 200 * factor } or { at = i * 5 }
      end
      return run { policy = policy, servers = 3, count = ten,
        latency = latency }
    end
    local svg = plot.files { with("a.lua", 1), with("b.lua", 4) }["latency.svg"]
    checkXml(svg)
    for _, name in ipairs { ">p50<", ">p99<", ">p99.9<", "latency, ms" } do
      assert.truthy(svg:find(name, 1, true), name)
    end
    for d in svg:gmatch '<path class="line c%d" d="([^"]*)"' do
      assert.equal(2, select(2, d:gsub("M", "")))
    end
    assert.is_nil(svg:find(">lost<", 1, true))
    assert.is_nil(plot.files { run { servers = 3, count = ten } }
      ["latency.svg"])
  end)

  it("show how many requests were lost, if any were", function()
    local latency = {}
    for i = 1, 20 do
      latency[i] = { at = i * 5, p50 = 10, p99 = 50, p999 = 200,
        lost = i == 20 and 50 or 0 }
    end
    local svg = plot.files { run { servers = 3, count = ten,
      latency = latency } }["latency.svg"]
    local lost = svg:match ">lost<.*"
    assert.same({ heightOf(lost, 10) }, ends(lost, "line c1"))
  end)

  it("show how many servers have a connection in each slot", function()
    local svg = plot.files { run { servers = 4, count = function(server)
      return server <= 2 and 20 or 10
    end } }["slots.svg"]
    assert.truthy(svg:find("fair share 15", 1, true))
    assert.truthy(heightOf(svg, "4"))
  end)

  it("follow the reader's light or dark scheme", function()
    local svg = plot.files { run { servers = 3, count = ten } }["slots.svg"]
    assert.truthy(svg:find("prefers-color-scheme:dark", 1, true))
  end)

  it("are drawn of a run that was interrupted at once, too", function()
    local none = { policy = "policy.lua", hosts = 10, servers = { "s1" },
      duration = 0, samples = {}, events = {}, latency = {}, slots = {} }
    local files = plot.files { none }
    checkXml(files["connections.svg"])
    checkXml(files["slots.svg"])
    assert.is_nil(files["latency.svg"])
  end)

  it("are written to a folder, or the error says which file", function()
    local runs = { run { servers = 3, count = ten } }
    local folder = support.tmpdir()
    assert.is_true(plot.write(folder, runs))
    assert(io.open(folder .. "/connections.svg")):close()
    local ok, message = plot.write(folder .. "/none", runs)
    assert.is_nil(ok)
    assert.truthy(message:find("/none/", 1, true), message)
    assert.truthy(message:find "No such file", message)
  end)
end)
