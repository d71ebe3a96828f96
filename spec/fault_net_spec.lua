local assert = require "luassert"
local faults = require "support.faults"
local support = require "support"

local PORTS = "/proc/sys/net/ipv4/ip_local_port_range"

-- In a program that `inNetwork` runs: `rover(host, port)` makes a rover with
-- the server "s", `attempt(r)` makes one attempt and prints what came of it,
-- `listen(host, port)` serves slot 7 there, and `ports(from, to)` has the
-- kernel choose local ports among these.
local PRELUDE = [[
  local uv = require "luv"
  local callosum = require "callosum.rover"

  local function write(path, text)
    local file = assert(io.open(path, "w"))
    assert(file:write(text))
    assert(file:close())
  end

  local function ports(from, to)
    write("]] .. PORTS .. [[", from .. " " .. to)
  end

  local function listen(host, port)
    local listener = uv.new_tcp()
    assert(listener:bind(host, port))
    assert(listener:listen(128, function()
      local peer = uv.new_tcp()
      assert(listener:accept(peer))
      peer:write "7\r\n"
      peer:read_start(function(err, chunk)
        if err or not chunk then peer:close() end
      end)
    end))
    return listener
  end

  local outcome
  local function rover(host, port)
    local r = callosum.new { connectTimeout = 2000, slotTimeout = 2000,
      servers = { s = { host = host, port = port } } }
    r:on("connection", function(slot) outcome = "slot " .. slot end)
    r:on("unreachable", function(_, _, err)
      outcome = "unreachable " .. tostring(err)
    end)
    r:on("error", function(err) outcome = "error " .. tostring(err) end)
    return r
  end

  local function attempt(r)
    outcome = nil
    assert(r:connect())
    repeat uv.run "once" until outcome
    print(outcome)
  end
]]

-- What a Lua program prints that is root of a network of its own, which has the
-- addresses 127.0.0.1, ::1, 10.9.0.1 and fe80::42. Nil if that is not allowed
-- here.
local function inNetwork(script)
  local unshare = faults.unshare "-n"
  if not (unshare and os.execute(unshare .. " test -w " .. PORTS)) then
    pending "no network namespace allowed"
    return
  end
  -- What a sanitizer wants preloaded is not for ip.
  local child = support.spawnLua(PRELUDE .. script .. " os.exit(true)", {
    by = unshare .. [[ sh -c '
      ip() { env LD_PRELOAD= ip "$@"; }
      ip link set lo up && ip addr add 10.9.0.1/24 dev lo &&
      ip addr add fe80::42/64 dev lo && exec "$@"' sh]] })
  assert.same({ 0, "" }, { (child:wait()), child.stderr }, child.output)
  return child.stdout
end

describe("an attempt to a server that is not there", function()
  local REFUSED = "unreachable s: connection refused (ECONNREFUSED)\n"

  for _, host in ipairs { "127.0.0.1", "::1", "10.9.0.1", "localhost" } do
    it("is refused if the kernel has connected it to itself, at " .. host,
      function()
        local printed = inNetwork(([[
          local host, bound = %q, %q
          -- Of one there is no choice.
          ports(40001, 40001)
          local r = rover(host, 40001)
          for _ = 1, 10 do attempt(r) end
          -- Nothing is left that holds the port.
          ports(40002, 40099)
          for line in io.lines(bound:find ":" and "/proc/net/tcp6"
              or "/proc/net/tcp") do
            if line:find ":9C41 " then print(line) end
          end
          listen(bound, 40001)
          attempt(r)
        ]]):format(host, host == "localhost" and "127.0.0.1" or host))
        if printed then assert.equal(REFUSED:rep(10) .. "slot 7\n", printed) end
      end)
  end

  it("leaves its port at once if it is cancelled then", function()
    local printed = inNetwork [[
      ports(40001, 40001)
      local r = rover("127.0.0.1", 40001)
      r:connect()
      r:dropServer "s"
      for line in io.lines "/proc/net/tcp" do
        if line:find ":9C41 " then print(line) end
      end
    ]]
    if printed then assert.equal("", printed) end
  end)
end)

describe("local ports", function()
  it("that have run out are no server's fault", function()
    local printed = inNetwork [[
      ports(40000, 40003)
      listen("127.0.0.1", 4040)
      local r = rover("127.0.0.1", 4040)
      for _ = 1, 5 do attempt(r) end
      -- At its other address nobody listens.
      attempt(rover("localhost", 4040))
      -- There are some for others.
      attempt(rover("127.0.0.1", 4041))
      listen("::1", 4040)
      attempt(rover("localhost", 4040))
      r:sockets()[1]:close()
      repeat uv.run "nowait" until #r:sockets() == 3
      ports(40000, 40005)
      attempt(r)
    ]]
    local none = "error s: this machine has no local ports left to connect "
      .. "from (EADDRNOTAVAIL)\n"
    if printed then
      assert.equal(("slot 7\n"):rep(4) .. none .. none
        .. "unreachable s: connection refused (ECONNREFUSED)\n"
        .. ("slot 7\n"):rep(2), printed)
    end
  end)

  it("that have run out have no pool pause a server", function()
    local printed = inNetwork [[
      ports(40000, 40003)
      listen("127.0.0.1", 4040)
      local r = rover("localhost", 4040)
      require "callosum.pool".new { maxSlots = 10 }:attach(r)
      for _ = 1, 8 do attempt(r) end
      print(r:stats().errors, r:stats().unreachable)
    ]]
    if printed then assert.equal("4\t0\n", printed:match "[^\n]*\n$") end
  end)

  it("are not what is missing where there is no IPv6", function()
    local printed = inNetwork [[
      write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
      attempt(rover("::1", 4040))
      attempt(rover("localhost", 4040))
      listen("127.0.0.1", 4040)
      attempt(rover("localhost", 4040))
    ]]
    if printed then
      assert.equal("unreachable s: network is unreachable (ENETUNREACH)\n"
        .. "unreachable s: connection refused (ECONNREFUSED)\nslot 7\n",
        printed)
    end
  end)
end)

describe("a zone of IPv6", function()
  it("is an interface's name or index", function()
    local printed = inNetwork [[
      listen("::", 4040)
      attempt(rover("fe80::42%lo", 4040))
      attempt(rover("fe80::42%1", 4040)) -- that of lo
      attempt(rover("fe80::42%lo", 4041))
      attempt(rover("fe80::42%9999", 4040))
      attempt(rover("fe80::42%nosuch", 4040))
      attempt(rover("::1", 4040))
      attempt(rover("::1%lo", 4040))
      -- Relays listen there, too.
      for _, host in ipairs { "fe80::42%lo", "fe80::42%1", "::1%lo",
          "fe80::42%nosuch" } do
        local ok, door = pcall(require "callosum.relay".new, {
          pick = function() end, listen = { host = host, port = 0 } })
        print(ok and (door:address()) or tostring(door):match "host: (.-)%)?$")
        if ok then door:close() end
      end
    ]]
    if not printed then return end
    local lines = {}
    for line in printed:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.matches("^unreachable s: .*%(E%u+%)$", table.remove(lines, 4))
    assert.same({
      "slot 7",
      "slot 7",
      "unreachable s: connection refused (ECONNREFUSED)",
      "unreachable s: name 'fe80::42%nosuch' not resolved: "
        .. "unknown node or service (EAI_NONAME)",
      "slot 7",
      "unreachable s: name '::1%lo' not resolved: "
        .. "unknown node or service (EAI_NONAME)",
      "fe80::42%lo",
      "fe80::42%1",
      "an IP address or 'localhost' expected, got '::1%lo'",
      "an IP address or 'localhost' expected, got 'fe80::42%nosuch'",
    }, lines)
  end)
end)
