-- Requests in a simulation: how many, by whom, and what came of them.

local json = require "dkjson"
local rate = require "callosum.simulate.rate"
local support = require "support"

local command, tmpfile = support.command, support.tmpfile

describe("the rate of requests", function()
  it("is a share of what the servers can do, or each host's own", function()
    -- 20 servers with 8 workers, 10 ms a request, and 200 hosts
    assert.near(60, rate.parse("75%", 200, 20), 1e-9)
    assert.near(80, rate.parse(" 100 % ", 200, 20), 1e-9)
    assert.equal(20, rate.parse("20/s", 200, 20))
    assert.equal(0.5, rate.parse("0.5/s", 1, 1))
    assert.equal(0, rate.parse("0", 1, 1))
  end)

  it("has a limit", function()
    assert.equal(100000, rate.parse("100000/s", 1, 1))
    for text, number in pairs { ["100001/s"] = "100001",
        ["1000000%"] = "8000000" } do
      local value, message = rate.parse(text, 1, 1)
      assert.is_nil(value)
      assert.equal(text .. " is " .. number .. " requests per second of each "
        .. "host: at most 100000 can be made", message)
    end
  end)

  it("has a unit", function()
    for _, text in ipairs { "75", "75/", "20/m", "1.2.3%", "%", "-1/s", "" } do
      local value, message = rate.parse(text, 200, 20)
      assert.is_nil(value)
      assert.equal("requests are a share of what all servers can do, such as "
        .. "75%, or how many each host makes, such as 20/s: got "
        .. ("%q"):format(text), message)
    end
  end)
end)

local ROVER = [[
local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local r = rover.new()
for _, port in ipairs(host.args) do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end
r:start()
]]

local POOL = ROVER .. "local p = pool.new { maxSlots = 10 }:attach(r)\n"

-- Runs the simulator, and returns what it found of the one policy.
local function simulate(policy, options, scenario)
  local args = { "simulate", "--json", "--hosts", "10", "--servers", "4",
    "--for", "40" }
  table.move({ "--scenario", tmpfile("scenario {}\n" .. (scenario or ""),
    "own.lua") }, 1, 2, #args + 1, args)
  table.move(options, 1, #options, #args + 1, args)
  args[#args + 1] = tmpfile(policy)
  local child = command(args)
  child:wait()
  assert(child.stdout ~= "", child.stderr)
  local document = assert(json.decode(child.stdout))
  return document.runs[1], child
end

describe("requests in a simulation", function()
  it("are made through the pools of an unmodified policy", function()
    local result = simulate(POOL, { "--requests", "20/s" })
    local requests = result.requests
    -- 10 hosts, 20/s, from 10 s on
    assert.near(6000, requests.count, 300)
    assert.equal(0, requests.lost)
    -- 10 ms on average, and 0.3 ms on the way
    assert.near(7.2, requests.p50, 0.7)
    assert.near(46, requests.p99, 6)
    assert.is_true(requests.p999 > requests.p99)
    assert.is_true(requests.busiest.at >= 10)
    local sum = 0
    for i = 1, 4 do sum = sum + requests.share["s" .. i] end
    assert.near(1, sum, 1e-3)
    assert.same({}, result.errors)
    assert.same({}, result.warnings)
  end)

  it("are made through a relay, if the policy listens with one", function()
    local result = simulate(POOL .. [[
      relay.new { listen = { port = 8080 }, pick = function()
        return p:getConnection()
      end }
    ]], { "--requests", "20/s" })
    local requests = result.requests
    assert.near(6000, requests.count, 300)
    assert.equal(0, requests.lost)
    assert.near(7.2, requests.p50, 0.7)
    assert.is_true(requests.waited > 0) -- the first ones
    assert.same({}, result.errors)
  end)

  it("are lost if a relay has no connection for them", function()
    local result = simulate(ROVER .. [[
      local r = relay.new { listen = { port = 8080 }, waitTimeout = 500,
        pick = function() end }
      r:on("error", function() end)
    ]], { "--requests", "20/s" })
    local requests = result.requests
    assert.near(6000, requests.count, 300)
    assert.equal(0, requests.answered)
    assert.near(requests.count, requests.lost, 150) -- but for the last 500 ms
    assert.is_nil(requests.p50)
  end)

  it("are made through a relay at a Unix socket", function()
    local result = simulate(POOL .. [[
      relay.new { listen = { path = "/tmp/relay.socket" }, pick = function()
        return p:getConnection()
      end }
    ]], { "--requests", "20/s" })
    assert.near(6000, result.requests.count, 300)
    assert.equal(0, result.requests.lost)
  end)

  it("are lost with their connections, and wait for new ones", function()
    local result = simulate(POOL, { "--requests", "20/s" }, [[
      at(20).crash "all"
      at(25).start "all"
    ]])
    local requests = result.requests
    assert.near(6000, requests.count, 300)
    assert.is_true(requests.lost > 0)
    assert.is_true(requests.waited > 500) -- 5 s without servers
    -- All but what is under way: 200/s for 10 ms.
    assert.near(requests.count, requests.answered + requests.lost, 12)
    assert.is_true(requests.p999 > 1000)
  end)

  it("are lost with a policy that is replaced meanwhile", function()
    local result = simulate(POOL, { "--requests", "80/s" }, [[
      at(20).reload "all"
    ]])
    local requests = result.requests
    assert.near(24000, requests.count, 1000)
    -- Each host has one under way, more or less: 80/s for 10 ms.
    assert.is_true(requests.lost > 0 and requests.lost < 40, requests.lost)
  end)

  it("are counted by their servers, which tell when they are asked", function()
    -- A server gets 30 requests at once, and is asked before, meanwhile and
    -- after.
    local result, child = simulate([[
      local r = require "callosum.rover".new()
      local port = tonumber(require "callosum.host".args[1])
      r:addServer("s1", { host = "localhost", port = port })
      r:on("connection", function(_, socket)
        r:stop()
        local answers, isDone = "", false
        socket:on("data", function(lines)
          io.stdout:write(lines)
          answers = answers .. lines
          if isDone then return end
          if answers == "load 0 0\n" then
            socket:write(("request\n"):rep(30) .. "load\n")
          end
          isDone = select(2, answers:gsub("request\n", "")) == 30
          if isDone then socket:write "load\r\nloads\n load\n" end
        end)
        socket:write "load\n"
      end)
      r:start()
    ]], { "--hosts", "1", "--servers", "1", "--show", "1" })
    assert.same({}, result.errors)
    local told, others = {}, {}
    for line in child.stderr:gmatch "host 1: ([^\n]*)" do
      local count, us = line:match "^load (%d+) (%d+)$"
      if count then told[#told + 1] = { tonumber(count), tonumber(us) }
      else others[#others + 1] = #told .. line end
    end
    assert.equal(3, #told, child.stderr)
    assert.same({ 0, 0 }, told[1])
    assert.same({ 30, 0 }, told[2])
    assert.equal(0, told[3][1])
    assert.is_true(told[3][2] > 1000 and told[3][2] < 100000, told[3][2])
    -- Requests wait, and are sent back, as lines that only look like it.
    assert.equal("2request", others[#others - 2])
    assert.same({ "3loads", "3 load" }, table.move(others, #others - 1, #others,
      1, {}))
  end)

  it("surge", function()
    local result = simulate(POOL, { "--requests", "20/s" }, [[
      at(20).surge(3, 10)
    ]])
    assert.near(10000, result.requests.count, 500)
    assert.near(25, result.requests.busiest.at, 5)
  end)

  it("do not surge beyond what can be made", function()
    local result, child = simulate(POOL, { "--requests", "20/s" },
      "at(20).surge(1e6)\n")
    assert.equal(1, child.code)
    assert.truthy(result.assertion.message:find("own.lua:2: that would be "
      .. "20000000 requests per second of each host: at most 1000000 can be "
      .. "made", 1, true), result.assertion.message)
  end)

  it("are the same ones with the same seed", function()
    local one = simulate(POOL, { "--requests", "20/s" })
    local other = simulate(POOL, { "--requests", "20/s" })
    local third = simulate(POOL, { "--requests", "20/s", "--seed", "7" })
    assert.equal(one.hash, other.hash)
    assert.same(one.requests, other.requests)
    assert.not_equal(one.hash, third.hash)
  end)

  it("need a pool or a relay", function()
    local result = simulate(ROVER, { "--requests", "20/s" })
    assert.equal(0, result.requests.count)
    assert.equal("no request could be made: the policy makes no pool "
      .. "(callosum.pool), and no relay of it listens", result.warnings[1])
  end)

  it("leave a policy's mistakes with its pool where they are", function()
    local result = simulate(ROVER .. "pool.new { maxSlot = 10 }", {
      "--requests", "20/s" })
    assert.truthy(result.failed:find("policy.lua:10: bad argument #1 to 'new'",
      1, true), result.failed)
  end)

  it("have no rate that is not understood", function()
    local child = command { "simulate", "--requests", "75", tmpfile(POOL) }
    child:wait()
    assert.equal(2, child.code)
    assert.truthy(child.stderr:find('such as 20/s: got "75"', 1, true))
  end)
end)
