-- What callosum-neighbours(7) says of dnsmasq.

local dns = require "support.dns"
local lookups = require "support.lookups"
local neighbours = require "support.neighbours"
local support = require "support"

local row, complete, seen = neighbours.section("DNSMASQ", it)

-- Starts it with a configuration of the page, and more options.
local function start(conf, ...)
  local options = { ... }
  for line in conf:gmatch "[^\n]+" do options[#options + 1] = line end
  return dns.dnsmasq(options)
end

describe("dnsmasq", function()
  seen(neighbours.output("sh", "-c", "PATH=$PATH:/usr/sbin dnsmasq -v"):match
    "version (%d+%.%d+)")

  row("What it knows itself has a TTL of 0", function(example)
    local conf = example "dnsmasq.conf"
    local plain = start((conf:gsub("local%-ttl=60\n", "")))
    local _, records = dns.ask(plain.port, "_web._tcp.fleet.example", "SRV")
    assert.same({ "0 SRV" }, records)
    local each = lookups.source("srv", { service = "_web._tcp.fleet.example",
      servers = plain.at })
    each:has "192.0.2.11:4040/10"
    assert.is_true(each.source:stats().next <= 5500)
    local server = start(conf)
    _, records = dns.ask(server.port, "_web._tcp.fleet.example", "SRV")
    assert.same({ "60 SRV" }, records)
    local policy = support.policy(example("policy.lua",
      { ["192.0.2.53"] = server.at }))
    policy:waitFor "192.0.2.11:4040"
    support.stop(policy)
  end)

  row("SIGHUP reads hosts files anew, and not its configuration",
    function(example)
      local dir = support.tmpdir()
      support.write(dir .. "/hosts", "192.0.2.11 web.fleet.example\n")
      local file = support.write(dir .. "/more.conf",
        "host-record=old.fleet.example,192.0.2.21\n")
      local server = start(example("dnsmasq.conf",
        { ["/etc/fleet/hosts"] = dir .. "/hosts" }), "conf-file=" .. file)
      local function addresses(name)
        local _, records = dns.ask(server.port, name, "A")
        table.sort(records)
        return table.concat(records, ", ")
      end
      assert.equal("0 A 192.0.2.11", addresses "web.fleet.example")
      support.write(dir .. "/hosts", "192.0.2.11 web.fleet.example\n"
        .. "192.0.2.12 web.fleet.example\n")
      support.write(file, "host-record=old.fleet.example,192.0.2.22\n")
      assert.equal("0 A 192.0.2.11", addresses "web.fleet.example")
      server.child:kill "sighup"
      support.eventually(function()
        return addresses "web.fleet.example"
          == "0 A 192.0.2.11, 0 A 192.0.2.12"
      end)
      assert.equal("0 A 192.0.2.21", addresses "old.fleet.example")
    end)

  row("Its protection from rebinding hides private addresses",
    function(example)
      local upstream = dns.serve(function(name, kind)
        return kind == "A" and { name .. " 60 A 10.0.0.7" } or {}
      end)
      local conf = example("dnsmasq.conf",
        { ["192.0.2.54"] = "127.0.0.1#" .. upstream.port })
      local plain = start((conf:gsub("rebind%-domain%-ok=[^\n]*\n", "")))
      local _, records = dns.ask(plain.port, "web.fleet.example", "A")
      assert.same({}, records)
      local each = lookups.source("dns", { host = "web.fleet.example",
        port = 4040, family = "ipv4", servers = plain.at })
      each:fails "web.fleet.example"
      local server = start(conf)
      _, records = dns.ask(server.port, "web.fleet.example", "A")
      assert.same({ "60 A 10.0.0.7" }, records)
    end)

  complete()
end)
