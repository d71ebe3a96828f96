local support = require "support"
local simulate = require "support.simulate"

local keep, pool, run = simulate.keep, simulate.pool, simulate.run

-- Runs a timeline on a small fleet, of pools unless told otherwise.
local function play(timeline, script, args)
  local words = { "--hosts", "20", "--servers", "4", "--scenario",
    support.write(support.tmpdir() .. "/timeline.lua", timeline),
    table.unpack(args or {}) }
  local document = run(script or pool(), words)
  local one = document.runs[1]
  one.status, one.stderr = document.status, document.stderr
  return one
end

-- The same, and no assertion of the timeline's fails.
local function holds(...)
  local one = play(...)
  assert.same({}, one.errors)
  assert.equal("", one.stderr)
  assert.equal(0, one.status)
  return one
end

describe("in a simulation", function()
  for how, first in pairs { fin = 0, rst = 0, silence = 1 } do
    it("a server that crashes with " .. how .. " loses its connections",
      function()
        holds(([[
          scenario { seconds = 120 }
          at(20, function(fleet)
            assert(fleet.up "s2" and fleet.connections.s2 > 40)
            fleet.crash("s2", %q)
            assert(fleet.connections.s2 == 0)
            assert(not fleet.up "s2")
          end)
          at(22, function(fleet)
            -- Silence is noticed by keepalive.
            local kept = 0
            for _, n in ipairs(fleet.connections) do kept = kept + n end
            if %d == 1 then assert(kept < 180) else assert(kept >= 195) end
          end)
          at(80, function(fleet)
            assert(fleet.fill == 10 and fleet.connections.s2 == 0)
            fleet.start "s2"
          end)
          at(120, function(fleet) assert(fleet.connections.s2 > 10) end)
        ]]):format(how, first))
      end)
  end

  it("a ghost's clients learn that it has forgotten them", function()
    holds [[
      scenario { seconds = 60 }
      at(20, function(fleet)
        fleet.ghost "s1"
        assert(fleet.up "s1" and fleet.connections.s1 == 0)
      end)
      at(30, function(fleet) assert(fleet.total < 180) end)
      at(60, function(fleet) assert(fleet.fill == 10) end)
    ]]
  end)

  it("slots of hosts that vanish are free once keepalive finds out", function()
    holds [[
      scenario { seconds = 100 }
      at(20).vanish(0.5, 1000)
      at(21, function(fleet) assert(fleet.total >= 195) end)
      at(60, function(fleet) assert(fleet.total < 105) end)
    ]]
    holds [[
      scenario { seconds = 100 }
      at(20).vanish(0.5, 10)
      at(60, function(fleet)
        assert(fleet.total < 205 and fleet.fill == 10)
      end)
    ]]
  end)

  it("nothing passes a partition until it heals", function()
    holds [[
      scenario { seconds = 100 }
      at(20, function(fleet)
        fleet.partition(1, "s1-s3")
        before = fleet.opens
      end)
      at(60, function(fleet)
        assert(fleet.connections.s1 == 0 and fleet.connections.s4 > 100)
        fleet.heal()
      end)
      at(100, function(fleet)
        assert(fleet.connections.s1 > 20 and fleet.fill == 10)
      end)
    ]]
  end)

  it("a short partition is not noticed", function()
    holds [[
      scenario { seconds = 40 }
      at(20, function(fleet)
        before = fleet.connections.s1
        fleet.partition(1, "s1", 5)
      end)
      at(40, function(fleet)
        assert(math.abs(fleet.connections.s1 - before) < 5)
      end)
    ]]
  end)

  it("hosts learn of servers that are added", function()
    local one = holds [[
      scenario { seconds = 200 }
      at(20).add(2, 5)
      at(200, function(fleet)
        assert(fleet.connections.s5 > 25 and fleet.connections.s6 > 25)
      end)
    ]]
    assert.is_true(one.servers.s6 > 25)
  end)

  for _, fronts in ipairs { "false", "true" } do
    it("weights are shares, with real fronts: " .. fronts, function()
      holds(([[
        scenario { seconds = 200, fronts = %s }
        at(0).weight("s1", 0.5)
        at(0).weight("s2", 2)
        at(200, function(fleet)
          local c = fleet.connections
          assert(c.s1 < 0.6 * c.s3 and c.s1 > 0.4 * c.s3)
          assert(c.s2 < 2.2 * c.s3 and c.s2 > 1.8 * c.s3)
          assert(fleet.peak < 1.1)
        end)
      ]]):format(fronts))
    end)
  end

  it("real fronts drain, resume and crash", function()
    holds [[
      scenario { seconds = 200, fronts = true }
      at(20, function(fleet)
        assert(fleet.connections.s1 > 40 and fleet.fill == 10)
        fleet.drain("s1", 10)
      end)
      at(31, function(fleet)
        assert(fleet.connections.s1 == 0)
        fleet.resume "s1"
      end)
      at(90, function(fleet)
        assert(fleet.connections.s1 > 20)
        fleet.crash("s2", "silence")
      end)
      at(130, function(fleet)
        assert(fleet.fill == 10 and fleet.connections.s2 == 0)
        fleet.start "s2"
      end)
      at(200, function(fleet) assert(fleet.connections.s2 > 20) end)
    ]]
  end)

  it("only fronts drain", function()
    local one = play [[at(1).drain "s1"]]
    assert.equal(1, one.status)
    assert.matches("timeline.lua:1: .*fronts", one.assertion.message)
  end)

  it("hosts reload their policy, or another", function()
    local other = support.tmpfile(keep(3))
    holds(([[
      scenario { seconds = 100 }
      at(40, function(fleet) before = fleet.opens end)
      at(40).reload(1, nil, 5)
      at(50, function(fleet)
        assert(fleet.fill == 5 and fleet.opens - before < 300)
        fleet.reload(0.5, %q, 0)
      end)
      at(60, function(fleet)
        assert(fleet.fill == 3 and fleet.total >= 80 and fleet.total <= 100)
      end)
    ]]):format(other), keep(5))
  end)

  it("a policy that cannot be reloaded stays, and says why", function()
    local other = support.tmpfile "error 'not this one'"
    local one = play(([[
      scenario { seconds = 60 }
      at(30).reload(1, %q, 5)
      at(60, function(fleet) assert(fleet.fill == 5) end)
    ]]):format(other), keep(5))
    assert.equal(0, one.status)
    assert.equal(1, #one.errors)
    assert.equal(20, one.errors[1].hosts)
    assert.matches("not this one", one.errors[1].message)
  end)

  it("an assertion that fails is told with its line", function()
    local path = support.write(support.tmpdir() .. "/timeline.lua", [[
      scenario { seconds = 60, hosts = 5, servers = 2 }
      at(7, function(fleet)
        assert(fleet.fill > 10)
      end)
    ]])
    local child = simulate.ended { "--scenario", path, "--seed", "3",
      support.tmpfile(keep(5)) }
    assert.equal(1, child.status)
    assert.matches("timeline%.lua:3: ", child.stderr)
    assert.matches("7 s, seed 3", child.stderr)
    assert.matches("timeline.lua: 5 hosts, 2 servers", child.stdout)
  end)

  it("a host's relay serves programs on that host", function()
    local one = run([[
      local host = require "callosum.host"
      local uv = require "luv"
      local r = require "callosum.rover".new()
      for _, port in ipairs(host.args) do
        r:addServer(port, { host = "localhost", port = tonumber(port) })
      end
      local p = require "callosum.pool".new { maxSlots = 3 }:attach(r)
      r:start()
      require "callosum.relay".new {
        listen = { port = 8080 },
        pick = function() return p:awaitConnection() end,
      }
      local asked = 0
      local function ask()
        local client, got = uv.new_tcp(), ""
        local bytes = ("x"):rep(1000):rep(200, "\n") .. "\n"
        client:connect("127.0.0.1", 8080, function(err)
          assert(not err, err)
          client:write(bytes)
          client:read_start(function(err, chunk)
            assert(not err, err)
            assert(chunk, "ended")
            got = got .. chunk
            if #got < #bytes then return end
            assert(got == bytes, "other bytes")
            client:close()
            asked = asked + 1
            if asked == 3 then error "all is well" end
            ask()
          end)
        end)
      end
      uv.new_timer():start(1000, 0, ask)
    ]], { "--hosts", "5", "--servers", "2", "--for", "60" }).runs[1]
    assert.equal(1, #one.errors)
    assert.matches("all is well", one.errors[1].message)
    assert.equal(5, one.errors[1].hosts)
  end)

  it("a policy may have servers of its own on its host", function()
    local child = simulate.ended { "--hosts", "3", "--for", "10", "--show", "2",
      "examples/pool.lua" }
    assert.equal(1, child.status)
    assert.matches("worker 6 asks 3", child.stderr:lower())
    assert.matches("4 connections, 4 idle", child.stderr)
    assert.matches("no host has connected to a virtual server, of which there "
      .. "are 20, the first at localhost:4040", child.stderr)
    assert.equal("", child.stdout)
  end)

  for _, name in ipairs { "cold", "add", "roll", "crash", "partition", "ghosts",
      "weights", "drain", "reload" } do
    it("the scenario " .. name .. " runs", function()
      local one = run(pool(), { "--scenario", name, "--hosts", "10",
        "--servers", "4", "--for", "120" }).runs[1]
      assert.same({}, one.errors)
      assert.same({}, one.warnings)
      assert.is_true(one.connections.fill >= 9)
    end)
  end
end)
