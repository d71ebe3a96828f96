-- What a source of DNS is to make of the answers of each real server: cases
-- that are the same for all. And sources for specs.

local assert = require "luassert"
local discover = require "callosum.discover"
local rover = require "callosum.rover"
local support = require "support"

local lookups = {}

--- Attaches a source to a rover of its own, and records what it says.
-- @param kind "dns", ...
-- @param options those of the source; short times unless they say otherwise
-- @return a table: `rover`, `source`, `updates` (arrays of added, dropped), and
--   `errors`
function lookups.source(kind, options)
  local all = { name = kind, interval = 100, removalDelay = 10 }
  for name, value in pairs(options) do all[name] = value end
  local self = { rover = rover.new {}, updates = {}, errors = {} }
  local source = discover[kind](all)
  source:on("update", support.watched(function(added, dropped)
    table.insert(self.updates, { added, dropped })
  end))
  source:on("error", support.watched(function(err)
    table.insert(self.errors, err)
  end))
  self.source = source:attach(self.rover)
  support.atEnd(function()
    self.source:close()
    self.rover:close()
  end)
  return setmetatable(self, { __index = lookups })
end

--- The ids of its servers, sorted, with the weights behind that are not 1.
function lookups:list()
  local ids = {}
  for id, server in pairs(self.rover:servers()) do
    local weight = server.weight or 1
    ids[#ids + 1] = weight == 1 and id or id .. "/" .. math.tointeger(weight)
  end
  table.sort(ids)
  return ids
end

--- Runs the loop until these are its servers.
function lookups:has(...)
  local wanted = table.concat({ ... }, " ")
  local ok, err = pcall(support.eventually, function()
    return table.concat(self:list(), " ") == wanted
  end)
  if ok then return self end
  local told = {}
  for i, each in ipairs(self.errors) do told[i] = tostring(each) end
  error(("%s\nservers %s\ninstead of %s\nerrors: %s"):format(err,
    table.concat(self:list(), " "), wanted, table.concat(told, "\n")), 2)
end

--- Runs the loop until an error matches, and takes all up to that.
-- @return the error
function lookups:fails(pattern)
  local found
  local ok, err = pcall(support.run, function()
    while self.errors[1] and not found do
      local each = table.remove(self.errors, 1)
      if tostring(each):find(pattern) then found = each end
    end
    return found
  end)
  if ok then return found end
  error(err .. "\nno error: " .. pattern, 2)
end

--- Runs the loop until so many answers have come that changed nothing.
function lookups:settles(count)
  support.eventually(function()
    return self.source:stats().unchanged >= (count or 1)
  end)
  return self
end

local RECORDS = {
  "web.test. 300 IN A 10.0.0.7", "web.test. 300 IN A 10.0.0.8",
  "web.test. 300 IN AAAA fd00::7",
  "four.test. 250 IN A 10.0.0.4",
  "one.test. 200 IN A 10.0.1.1", "two.test. 90 IN A 10.0.1.2",
  "two.test. 200 IN AAAA fd00::2", "three.test. 200 IN A 10.0.1.3",
  "_web._tcp.test. 250 IN SRV 1 10 4040 one.test.",
  "_web._tcp.test. 250 IN SRV 1 20 4041 two.test.",
  "_web._tcp.test. 250 IN SRV 5 30 4042 three.test.",
  "alias.test. 40 IN CNAME other.test.",
  "other.test. 250 IN CNAME four.test.",
  "many.test. 250 IN A 10.0.2.1",
}
for i = 1, 1000 do
  RECORDS[#RECORDS + 1] =
    ("_many._tcp.test. 250 IN SRV 0 0 %d many.test."):format(10000 + i)
end
lookups.RECORDS = RECORDS

--- The same for dnsmasq, as its options.
function lookups.dnsmasqOptions()
  local options, hosts = { "local-ttl=250" }, {}
  for _, record in ipairs(RECORDS) do
    local name, ttl, kind, data = record:match "^(%S+)%. (%d+) IN (%S+) (.*)$"
    if kind == "SRV" then
      local priority, weight, port, target =
        data:match "^(%d+) (%d+) (%d+) (.*)%.$"
      options[#options + 1] = ("srv-host=%s,%s,%s,%s,%s"):format(name, target,
        port, priority, weight)
    elseif kind == "CNAME" then
      options[#options + 1] = ("cname=%s,%s,%s"):format(name, data:sub(1, -2),
        ttl)
    else
      -- Of several lines with one name it takes the first of a family.
      hosts[#hosts + 1] = ("%s %s"):format(data, name)
    end
  end
  options[#options + 1] = "addn-hosts="
    .. support.tmpfile(table.concat(hosts, "\n") .. "\n", "hosts")
  return options
end

--- Declares the cases.
-- @param it busted's
-- @param start starts the server, and returns it
-- @param knows a table: `chains`, whether it follows CNAMEs; `ttl`, the one
--   that all other records have, if not their own
function lookups.cases(it, start, knows)
  local function ask(kind, options)
    options.servers = start().at
    return lookups.source(kind, options)
  end

  it("has both families, or one", function()
    local server = start()
    local function ask_(family)
      return lookups.source("dns", { host = "web.test", port = 4040,
        family = family, servers = server.at, name = tostring(family) })
    end
    local both, four, six = ask_(nil), ask_ "ipv4", ask_ "ipv6"
    both:has("10.0.0.7:4040", "10.0.0.8:4040", "[fd00::7]:4040")
    four:has("10.0.0.7:4040", "10.0.0.8:4040")
    six:has "[fd00::7]:4040"
    assert.same({}, both.errors)
  end)

  it("takes a name with one family for what it is", function()
    local each = ask("dns", { host = "four.test", port = 80 })
    each:has "10.0.0.4:80"
    assert.same({}, each.errors)
  end)

  it("has the services of the lowest priority, with weights", function()
    ask("srv", { service = "_web._tcp.test" }):has("10.0.1.1:4040/10",
      "10.0.1.2:4041/20", "[fd00::2]:4041/20")
  end)

  it("has a thousand services, by TCP", function()
    local each = ask("srv", { service = "_many._tcp.test" })
    support.eventually(function() return #each:list() == 1000 end)
    support.eventually(function() return each.source:stats().changes == 1 end)
    assert.equal("10.0.2.1:10001", each:list()[1])
    assert.equal("10.0.2.1:11000", each:list()[1000])
  end)

  it("keeps its list where there is no such name, or record", function()
    local server = start()
    for host, word in pairs { ["gone.test"] = "NXDOMAIN",
        ["four.test"] = "NODATA" } do
      local each = lookups.source("dns", { host = host, port = 80, name = host,
        family = "ipv6", servers = server.at })
      each:fails(word)
      assert.equal(0, each.source:stats().failures)
    end
  end)

  it("asks again when the least TTL is over", function()
    local server = start()
    local function next(kind, options)
      options.servers = server.at
      options.name = options.host or options.service
      local each = lookups.source(kind, options)
      support.eventually(function() return #each:list() > 0 end)
      return each.source:stats().next / 1000
    end
    -- The first time at random within it.
    local of = knows.ttl
    assert.is_true(next("dns", { host = "web.test", port = 1 })
      <= (of or 300))
    if knows.chains then
      assert.is_true(next("dns", { host = "alias.test", port = 1 }) <= 40)
    end
    if not of then
      assert.is_true(next("srv", { service = "_web._tcp.test" }) <= 90)
    end
  end)
end

return lookups
