-- What callosum-neighbours(7) says of unbound.

local dns = require "support.dns"
local lookups = require "support.lookups"
local neighbours = require "support.neighbours"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("UNBOUND", it)

-- Starts it before another server, which has the zone "test".
local function before(server, conf)
  return dns.unbound({}, ([[
server:
  do-not-query-localhost: no
  local-zone: "test." nodefault
forward-zone:
  name: "test."
  forward-addr: 127.0.0.1@%d
%s]]):format(server.port, conf or ""))
end

local function ask(server, name)
  local rcode, records = dns.ask(server.port, name, "A")
  return rcode, records[1] and records[1]:match "%S+$", records
end

local function output(command)
  return neighbours.output("sh", "-c", "PATH=$PATH:/usr/sbin; " .. command)
end

local VERSION = output "unbound -V":match "Version (%d+%.%d+)"

describe("unbound", function()
  seen(VERSION)

  row("It remembers that a name was not there", function(example)
    local knot = dns.knot {}
    local plain = before(knot)
    local server = before(knot, example("unbound.conf", { ["5"] = 1 }))
    for _, each in ipairs { knot, plain, server } do
      assert.equal(3, (ask(each, "new.test")))
    end
    knot.change { "new.test. 60 IN A 192.0.2.11" }
    for _, each in ipairs { knot, server } do
      support.eventually(function()
        return select(2, ask(each, "new.test")) == "192.0.2.11"
      end)
    end
    assert.equal(3, (ask(plain, "new.test")))
    assert.equal("3600\n", output("unbound-checkconf -o cache-max-negative-ttl "
      .. support.tmpfile("server:\n", "unbound.conf")))
  end)

  row("Its private-address hides the servers", function(example)
    local upstream = dns.serve(function(name, kind)
      return kind == "A" and { name .. " 60 A 10.0.0.7" } or {}
    end)
    local conf = example("unbound.conf", { ["fleet.example"] = "test" })
    local plain = before(upstream, (conf:gsub("  private%-domain[^\n]*\n", "")))
    assert.same({ 0 }, { ask(plain, "web.test"), nil })
    local each = lookups.source("dns", { host = "web.test", port = 4040,
      family = "ipv4", servers = plain.at })
    each:fails "web.test"
    local server = before(upstream, conf)
    assert.equal("10.0.0.7", (select(2, ask(server, "web.test"))))
  end)

  row("With serve-expired, it answers first and asks then",
    function(example)
      local address = "10.0.0.7"
      local upstream = dns.serve(function(name, kind)
        return kind == "A" and { name .. " 1 A " .. address } or {}
      end)
      local conf = example "unbound.conf"
      local plain = before(upstream,
        (conf:gsub("  serve%-expired%-client[^\n]*\n", "")))
      local server = before(upstream, conf)
      assert.equal("10.0.0.7", (select(2, ask(plain, "web.test"))))
      assert.equal("10.0.0.7", (select(2, ask(server, "web.test"))))
      address = "10.0.0.8"
      local began = uv.hrtime()
      support.eventually(function() return uv.hrtime() - began > 2.1e9 end)
      local _, answered, records = ask(plain, "web.test")
      assert.equal(VERSION == "1.17" and "10.0.0.7" or "10.0.0.8", answered)
      assert.matches(VERSION == "1.17" and "^30 " or "^1 ", records[1])
      assert.equal("10.0.0.8", (select(2, ask(server, "web.test"))))
    end)

  complete()
end)
