local scrape = require "support.scrape"

local EVERYTHING = [[
local rover = require "callosum.rover"
rover.new { name = "main" }
rover.new { name = 'say "\\"\n\255' }
require "callosum.relay".new { listen = { port = 0 }, pick = function() end }
require "callosum.front".new { listen = { port = 0 },
  backend = { host = "127.0.0.1", port = 1 } }
]]

-- In the maps of the public headers, for each noun: an array of { name, kind }.
local function maps()
  local list = {}
  for noun, header in pairs { policy = "host", rover = "rover",
      relay = "relay", front = "front" } do
    local file <close> = assert(io.open("src/callosum/" .. header .. ".h"))
    local map = file:read "a":match "#define ROVER_[%u_]*STATS_MAP%(XX%).-\n\n"
    list[noun] = {}
    for name, kind in map:gmatch "XX%(([%l_]+), (%u+)," do
      table.insert(list[noun], { name, kind })
    end
  end
  return list
end

describe("the metrics of a host", function()
  it("are what all counters of the headers' maps say, with their kinds",
    function()
      local host = scrape.run(EVERYTHING)
      local families = scrape.parse(host:text "openmetrics")
      local samples = host:samples()
      for noun, map in pairs(maps()) do
        assert.is_true(#map > 3)
        for _, counter in ipairs(map) do
          local name, kind = table.unpack(counter)
          local family = "callosum_" .. noun .. "_" .. name
          if kind == "BYTES" then family = family .. "_bytes" end
          local isGauge = kind == "GAUGE"
          assert.equal(isGauge and "gauge" or "counter", families[family],
            family)
          local label = noun == "policy" and ""
            or ('{%s="main"}'):format(noun)
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
end)
