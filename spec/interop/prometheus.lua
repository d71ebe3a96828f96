-- A real Prometheus scrapes a host, and judges the rules in examples.

local files = require "support.files"
local http = require "support.http"
local json = require "dkjson"
local real = require "support.real"
local server = require "callosum.server"
local support = require "support"

local CONFIG = [[
global: { scrape_interval: 200ms, evaluation_interval: 200ms }
rule_files: ["%s"]
scrape_configs:
  - job_name: callosum
    static_configs: [{ targets: ["%s"] }]
  - job_name: all
    metrics_path: /metrics
    params: { servers: [all] }
    static_configs: [{ targets: ["%s"] }]
]]

local POLICY = [[
local r = require("callosum.rover").new {
  servers = { s = { host = "127.0.0.1", port = tonumber(...) } } }
r:on("unreachable", function() end)
for i = 1, 300 do
  r:addServer('odd "\\" \255 ' .. i, { host = "127.0.0.1", port = 1 })
end
local pool = require("callosum.pool").new { maxSlots = 3, fillInterval = 1 }
pool:attach(r)
r:start()
require("callosum.metrics").histogram { name = "shop_seconds",
  help = 'A "quoted" \\ help.', labels = { "a" } }:observe(0.2, "x\n\255")
]]

-- What its API says.
local function ask(address, path)
  local answer = http.ask(address, "GET", path)
  if answer.status ~= 200 then return end
  local value = assert(json.decode(answer.body))
  assert.equal("success", value.status)
  return value.data
end

local function value(address, query)
  local text = query:gsub("[^%w]", function(char)
    return ("%%%02X"):format(char:byte())
  end)
  local data = ask(address, "/api/v1/query?query=" .. text)
  local first = data and data.result[1]
  return first and tonumber(first.value[2])
end

describe("Prometheus", function()
  it("takes every sample that a host has, of servers with odd names as well, "
    .. "and the rules for alerts", function()
      local s = assert(server.new())
      s:on("connection", function() end)
      finally(function() s:close() end)
      local host, _, target = http.policy(POLICY,
        { args = { select(2, s:address()) } })
      local port = support.freePorts(1)
      local address = "127.0.0.1:" .. port
      local dir = real.dir()
      local config = files.write(dir .. "/prometheus.yml",
        CONFIG:format(support.ROOT .. "/examples/alerts.yml", target, target))
      local prometheus = real.starts(real.find("prometheus", "prometheus"), {
        "--config.file=" .. config, "--storage.tsdb.path=" .. dir .. "/data",
        "--web.listen-address=" .. address, "--log.level=warn" })
      real.reachable(prometheus, port)
      support.run(function()
        return value(address, 'callosum_pool_idle{job="all"}') == 3
      end, 60)
      -- Each job is scraped at an offset of its own.
      local targets
      support.run(function()
        targets = ask(address, "/api/v1/targets").activeTargets
        for _, each in ipairs(targets) do
          if each.health == "unknown" then return false end
        end
        return true
      end, 60)
      for _, each in ipairs(targets) do
        assert.same({ "up", "" }, { each.health, each.lastError })
      end
      -- No sample is lost on the way: of servers with odd names, and all else.
      local lines = 0
      for line in http.get(target, "/metrics?servers=all"):gmatch "[^\n]+" do
        if not line:find "^#" then lines = lines + 1 end
      end
      support.run(function()
        local count = value(address, 'scrape_samples_scraped{job="all"}')
        return count and math.abs(count - lines) <= 2 -- of causes, say
      end, 60)
      assert.equal(301, value(address,
        'count(callosum_rover_server_kept{job="all"})'))
      assert.is_nil(value(address,
        'count(callosum_rover_server_kept{job="callosum"})'))
      assert.equal(1, value(address, 'shop_seconds_count{job="all"}'))
      assert.equal(1, value(address,
        'callosum_policy_last_reload_successful{job="callosum"}'))
      local rules = ask(address, "/api/v1/rules").groups[1].rules
      assert.is_true(#rules > 10)
      support.run(function()
        rules = ask(address, "/api/v1/rules").groups[1].rules
        for _, rule in ipairs(rules) do
          if rule.health ~= "ok" then return false end
        end
        return true
      end, 60)
      prometheus:kill()
      assert.equal(0, (prometheus:wait(60)))
      support.stop(host)
    end)
end)
