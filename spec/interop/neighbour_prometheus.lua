-- What callosum-neighbours(7) says of Prometheus.

local http = require "support.http"
local json = require "dkjson"
local neighbours = require "support.neighbours"
local real = require "support.real"
local sources = require "support.sources"
local support = require "support"

local row, complete, seen = neighbours.section("PROMETHEUS", it)

local FAST = "global: { scrape_interval: 200ms }\n"

-- Starts Prometheus.
-- @param config its configuration
-- @return its address
local function start(config)
  local dir, port = real.dir(), support.freePorts(1)
  local address = "127.0.0.1:" .. port
  local child = real.starts(real.find("prometheus", "prometheus"), {
    "--config.file=" .. support.write(dir .. "/prometheus.yml", config),
    "--storage.tsdb.path=" .. dir .. "/data", "--log.level=warn",
    "--web.listen-address=" .. address })
  real.reachable(child, port)
  return address
end

-- What its API says, once it does.
local function ask(address, path)
  local answer, peer = http.ask(address, "GET", "/api/v1/" .. path)
  peer:close()
  if answer.status ~= 200 then return end
  return json.decode(answer.body).data
end

describe("Prometheus", function()
  seen(neighbours.output("prometheus", "--version"):match
    "version (%d+%.%d+)")

  row("It asks by the name in its configuration", function(example)
    -- What it sends.
    local server = support.serve()
    local at = "localhost:" .. server.port
    start(FAST .. example("prometheus.yml", { ["db1.example:9090"] = at }))
    support.run(function()
      return server.peers[1] and server.peers[1].received:find "\r\n\r\n"
    end, 30)
    assert.matches("\r\nHost: " .. at .. "\r\n", server.peers[1].received)
    -- What that is answered.
    local port = support.freePorts(1)
    local path = support.tmpfile(http.IDLE)
    local text = example("command", {
      ["192.0.2.11:9090"] = "127.0.0.1:" .. port, ["policy.lua"] = path })
    for option, status in pairs { ["--admin-host db1.example "] = 421,
        [""] = 200 } do
      local child = support.command(neighbours.arguments((text
        :gsub(option:gsub("%p", "%%%0"), ""))))
      child:waitFor "policy loaded"
      local answer, peer = http.ask("127.0.0.1:" .. port, "GET", "/metrics",
        { Host = "db1.example:9090" })
      assert.equal(status, answer.status)
      peer:close()
      child:kill()
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end
  end)

  row("Labels of a target rename ours", function(example)
    local host, _, target = http.policy([[
      local r = require "callosum.rover".new { servers = {
        ours = { host = "127.0.0.1", port = 1 } } }
      r:on("unreachable", function() end)
      r:start()
    ]])
    local text = example("prometheus.yml", { ["192.0.2.11:9090"] = target })
    local entry = text:match "(  %- job_name.*)$"
      :gsub("job_name: callosum", "job_name: other")
      :gsub("    honor_labels: true\n", "")
    local address = start(FAST .. text .. entry)
    local function labels(job)
      local metric
      support.eventually(function()
        local data = ask(address, "query?query=callosum_rover_server_kept%7B"
          .. "job%3D%22" .. job .. "%22%7D")
        metric = data and data.result[1] and data.result[1].metric
        return metric
      end, 30)
      return { metric.server, metric.exported_server }
    end
    assert.same({ "ours" }, labels "callosum")
    assert.same({ "db1", "ours" }, labels "other")
    support.stop(host)
  end)

  row("A list of targets serves both", function(example)
    local path = support.tmpdir() .. "/servers.json"
    sources.put(path, example("servers.json"))
    local changes = { ["/etc/fleet/servers.json"] = path }
    local host, admin = http.policy(example("policy.lua", changes))
    local address = start(example("prometheus.yml", changes))
    local function targets()
      local data = ask(address, "targets")
      local list = {}
      for i, each in ipairs(data and data.activeTargets or {}) do
        list[i] = each.scrapeUrl
      end
      table.sort(list)
      return table.concat(list, " ")
    end
    local function servers()
      local status = json.decode((http.get(admin, "/status")))
      local list = {}
      for i, each in ipairs(status.rovers[1].servers) do list[i] = each.id end
      table.sort(list)
      return table.concat(list, " ")
    end
    local function has(which, text)
      support.eventually(function() return which() == text end, 30)
    end
    has(targets, "http://192.0.2.11:9090/metrics "
      .. "http://192.0.2.12:9090/metrics")
    has(servers, "192.0.2.11:4040 192.0.2.12:4040")
    sources.put(path, "[]\n")
    has(targets, "")
    support.eventually(function()
      return host.output:find "an empty list, so its servers stay"
    end)
    has(servers, "192.0.2.11:4040 192.0.2.12:4040")
    support.stop(host)
  end)

  complete()
end)
