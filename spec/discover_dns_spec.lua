local discover = require "callosum.discover"
local dns = require "support.dns"
local faults = require "support.faults"
local lookups = require "support.lookups"
local support = require "support"
local uv = require "luv"

local BUILD = support.EXECUTABLE:gsub("/[^/]*$", "")

describe("A source of DNS", function()
  describe("that asks dnsmasq", function()
    lookups.cases(it, function()
      return dns.dnsmasq(lookups.dnsmasqOptions())
    end, { chains = true, ttl = 250 })
  end)

  describe("that asks unbound", function()
    lookups.cases(it, function() return dns.unbound(lookups.RECORDS) end, {})
  end)

  -- At once, since each waits for TTLs.
  it("drops nobody while one family fails, or nobody answers", function()
    local changed, mute, back = false, false, false
    local upstream = dns.serve(function(name, kind)
      if name == "half.test" then
        if kind == "AAAA" then return "SERVFAIL" end
        return { name .. " 0 A 10.0.0." .. (changed and 2 or 1) }
      end
      if mute then return nil end
      if kind == "AAAA" then return {} end
      return { name .. " 0 A 10.0.0." .. (back and 2 or 1) }
    end)
    -- A real one passes on what is between, and SERVFAIL.
    local server = dns.dnsmasq { "cache-size=0",
      "server=/half.test/mute.test/127.0.0.1#" .. upstream.port }
    local function ask(host)
      return lookups.source("dns", { name = host, host = host, port = 80,
        servers = server.at, timeout = 300 })
    end
    local half, silent = ask "half.test", ask "mute.test"
    half:has "10.0.0.1:80":fails "AAAA of half%.test: .*SERVFAIL"
    assert.is_true(half.source:stats().stale)
    silent:has "10.0.0.1:80"
    changed, mute = true, true
    local err = silent:fails "of mute%.test: no DNS server answered in time"
    assert.equal("ETIMEDOUT", err.code)
    assert.same({ "10.0.0.1:80" }, silent:list())
    mute, back = false, true
    silent:has "10.0.0.2:80"
    half:has("10.0.0.1:80", "10.0.0.2:80")
  end)

  it("asks the next server when the first is mute, or fails", function()
    local mute = dns.serve(function() end)
    local failing = dns.serve(function() return "SERVFAIL" end)
    local good = dns.serve(function(name, kind)
      return kind == "A" and { name .. " 60 A 10.0.0.1" } or {}
    end)
    for _, first in ipairs { mute, failing } do
      lookups.source("dns", { name = first.at, host = "web.test", port = 80,
        servers = first.at .. "," .. good.at, timeout = 1000 })
        :has "10.0.0.1:80"
    end
  end)

  it("takes targets that have no address for gone, not those that fail",
    function()
      local server = dns.serve(function(name, kind)
        if kind == "SRV" then
          local records = {}
          for port, target in ipairs { "a", "b", "c", "a" } do
            records[port] = ("%s 60 SRV 0 0 %d %s.test"):format(name, port,
              target)
          end
          return records
        end
        if name == "a.test" then
          return kind == "A" and { "a.test 60 A 10.0.0.1" } or {}
        end
        return name == "b.test" and "NXDOMAIN" or "SERVFAIL"
      end)
      lookups.source("srv", { service = "_x._tcp.test", servers = server.at })
        :has("10.0.0.1:1", "10.0.0.1:4"):fails "of c%.test: .*SERVFAIL"
    end)

  it("has as many servers as there may be, and none of more", function()
    local function numbered(count, format)
      local records = {}
      for i = 1, count do records[i] = format:format(i) end
      return records
    end
    local server = dns.serve(function(name, kind)
      if kind == "SRV" then
        return numbered(name == "_big.test" and 500 or 5, name
          .. " 60 SRV 0 0 %d many.test")
      end
      if kind == "AAAA" then
        return numbered(101, name .. " 60 AAAA fd00::%x")
      end
      return numbered(100, name .. " 60 A 10.0.0.%d")
    end)
    local few, all = {}, lookups.source("srv", { service = "_few.test",
      servers = server.at })
    support.eventually(function() return #all:list() == 5 * 201 end)
    for _, id in ipairs(all:list()) do few[id] = true end
    assert.is_true(few["10.0.0.100:5"] and few["[fd00::65]:1"])
    local big = lookups.source("srv", { service = "_big.test", name = "big",
      servers = server.at })
    local err = big:fails("no list: more than 100000 servers: 500 services, "
      .. "and the addresses of each")
    assert.equal("E2BIG", err.code)
    assert.same({}, big:list())
  end)

  it("has no servers where the only target is the root", function()
    local server = dns.serve(function(name)
      return { name .. " 60 SRV 0 0 0 ." }
    end)
    lookups.source("srv", { service = "_x._tcp.test", servers = server.at })
      :fails "NODATA"
  end)

  it("follows a TTL within bounds, the least of a chain", function()
    local server = dns.serve(function(name, kind)
      if kind ~= "A" then return {} end
      local ttl = math.tointeger(name:match "^%d+")
      return { ("%s 100000 CNAME x.test"):format(name),
        ("x.test %d CNAME y.test"):format(ttl), "y.test 90000 A 10.0.0.1" }
    end)
    for ttl, most in pairs { [0] = 5, [40] = 40, [80000] = 300 } do
      local each = lookups.source("dns", { host = ttl .. ".test", port = 80,
        servers = server.at, name = tostring(ttl), interval = 1 })
      each:has "10.0.0.1:80"
      assert.is_true(each.source:stats().next <= most * 1000)
    end
  end)

  it("refuses what cannot be asked, where it is declared", function()
    support.misuse(function()
      discover.dns { host = "a" }
    end, "bad argument #1 to 'dns' (port: required, since an "
      .. "address in DNS has none (srv has))")
    support.misuse(function()
      discover.srv { service = "a", servers = "ns1" }
    end, "bad argument #1 to 'srv' (servers: IP addresses of "
      .. "DNS servers expected, each with a port if it is not 53, as "
      .. "'10.0.0.53,[::1]:5353'; got 'ns1')")
  end)

  -- A test by itself, as root of a network, where /etc/resolv.conf is another
  -- file, `path`.
  local function asSystem(test)
    local unshare = faults.unshare "-n -m"
    if not unshare then return pending "no namespaces allowed" end
    local path = support.tmpfile("nameserver 127.0.0.1\n", "resolv.conf")
    local spec = support.tmpfile([[
      local dns = require "support.dns"
      local lookups = require "support.lookups"
      local support = require "support"
      local web = require "support.web"
      local path = os.getenv "RESOLV_CONF"
      it("test", function()
    ]] .. test .. [[ end)
    ]], "one_spec.lua")
    local child = support.spawn("sh", { "-c", unshare .. [[ sh -c '
      LD_PRELOAD= ip link set lo up &&
      LD_PRELOAD= mount --bind "$RESOLV_CONF" /etc/resolv.conf &&
      exec busted "$@"' sh "$@"]], "sh", spec }, { env = { RESOLV_CONF = path,
        LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath } })
    assert.equal(0, child:wait(), child.output)
  end

  it("reads resolv.conf anew each time", function()
    asSystem [[
      for i = 1, 2 do
        dns.serve(function(name, kind)
          if i == 1 then return "NXDOMAIN" end
          return kind == "A" and { name .. " 0 A 10.0.0.1" } or {}
        end, "127.0.0." .. i)
      end
      local each = lookups.source("dns", { host = "web.test", port = 80 })
      each:fails "NXDOMAIN"
      support.write(path, "nameserver 127.0.0.2\n")
      each:has "10.0.0.1:80"
    ]]
  end)

  it("resolves the hosts of URLs, with search domains", function()
    asSystem [[
      support.write(path, "nameserver 127.0.0.1\nsearch a.test b.test\n")
      local asked = {}
      dns.serve(function(name, kind)
        asked[#asked + 1] = kind .. " " .. name
        if name ~= "list.b.test" then return "NXDOMAIN" end
        return kind == "A" and { name .. " 60 A 127.0.0.1" } or {}
      end, "127.0.0.1")
      local server = web.serve(function(request)
        request:answer(200, "10.0.0.7:80 # of " .. request.headers.host)
      end)
      local port = ":" .. server.port .. "/"
      lookups.source("http", { url = "http://list" .. port }):has "10.0.0.7:80"
      lookups.source("http", { url = "http://none.test" .. port,
        name = "none" }):fails "addresses of none.test: .*NXDOMAIN"
      local all = table.concat(asked, ",")
      assert(all:find("A list.a.test", 1, true), all)
    ]]
  end)

  it("is not linked with its resolver, nor is anything else", function()
    local function needs(file, library)
      local path = BUILD .. "/" .. file
      local pipe = assert(io.popen("readelf -d '" .. path .. "'"))
      local text = pipe:read "a"
      assert(pipe:close())
      return text:find("NEEDED[^\n]*lib" .. library) ~= nil
    end
    for _, file in ipairs { "callosum-rover", "libcallosum-host.so",
        "libcallosum-rover.so", "callosum/rover.so" } do
      assert.is_false(needs(file, "cares") or needs(file, "curl"), file)
    end
    assert.is_true(needs("libexec/callosum/resolver.so", "cares"))
    assert.is_true(needs("libexec/callosum/http.so", "curl"))
  end)

  it("tells what to install where its resolver is missing", function()
    local dir = support.tmpdir()
    assert(uv.fs_mkdir(dir .. "/callosum", 448))
    for _, name in ipairs { "rover", "discover" } do
      local file = "/callosum/" .. name .. ".so"
      assert(uv.fs_copyfile(BUILD .. file, dir .. file))
    end
    local child = support.spawnLua([[
      package.cpath = ... .. "/?.so;" .. package.cpath
      local discover = require "callosum.discover"
      local source = discover.dns { name = "x", host = "a.test", port = 1 }
      source:on("error", function(err)
        print(err)
        os.exit(0)
      end)
      source:attach(require "callosum.rover".new {})
      require "luv".run()
    ]], { args = { dir } })
    child:wait()
    assert.matches("libexec/callosum/resolver%.so%).*libc%-ares2", child.output)
  end)
end)
