-- What callosum-neighbours(7) says of Debian's C modules for Lua.

local neighbours = require "support.neighbours"
local support = require "support"

local row, complete, seen = neighbours.section("LUA MODULES", it)

-- What uses a module as a policy may, and leaves all that it makes to the
-- collector, or to the end of the state.
local USES = {
  ["lua-cjson"] = [[
    assert(require "cjson".decode '{"a":[1,2]}'.a[2] == 2)
  ]],
  ["lua-cqueues"] = [[
    local cqueues = require "cqueues"
    local queue = cqueues.new()
    queue:wrap(function() cqueues.sleep(100) end)
    assert(queue:step(0))
    require "cqueues.socket".listen("127.0.0.1", 0)
  ]],
  ["lua-event"] = [[
    require "luaevent.core"
  ]],
  ["lua-expat"] = [[
    assert(require "lxp".new({ StartElement = print }):parse "<")
  ]],
  ["lua-filesystem"] = [[
    for _ in require "lfs".dir "/" do break end
  ]],
  ["lua-lpeg"] = [[
    local lpeg = require "lpeg"
    assert((lpeg.R "az" ^ 1 * -1):match "abc" == 4)
  ]],
  ["lua-luaossl"] = [[
    local key = require "openssl.pkey".new { type = "EC", curve = "prime256v1" }
    require "openssl.ssl.context".new("TLS", true):setPrivateKey(key)
  ]],
  ["lua-rex-pcre2"] = [[
    assert(require "rex_pcre2".match("port 4040", "\\d+") == "4040")
  ]],
  ["lua-sec"] = [[
    local ssl = require "ssl"
    local context = assert(ssl.newcontext { mode = "client", protocol = "any" })
    assert(ssl.wrap(require "socket".tcp(), context))
  ]],
  ["lua-socket"] = [[
    assert(require "socket".bind("127.0.0.1", 0))
  ]],
  ["lua-sql-sqlite3"] = [[
    local connection = require "luasql.sqlite3".sqlite3():connect ":memory:"
    assert(connection:execute "SELECT 1"):fetch()
  ]],
  ["lua-zlib"] = [[
    require "zlib".deflate() "half of a stream"
  ]],
}

-- Reloads as often as its argument says, and tells how many descriptors and KiB
-- the process had after the first tenth, and at the end.
local BEGIN = [[
  local host, uv = require "callosum.host", require "luv"
  local r = require "callosum.rover".new { rovingInterval = 60000 }
  r:start()
  host.carry = (host.carry or -1) + 1
  local most = math.tointeger(...)
  if host.carry == most // 10 or host.carry == most then
    local count, folder = 0, uv.fs_scandir "/proc/self/fd"
    while uv.fs_scandir_next(folder) do count = count + 1 end
    print(count, uv.resident_set_memory() // 1024)
  end
  local timer = uv.new_timer()
  timer:start(1, 0, function()
    timer:close()
    if host.carry < most then host.reload() else host.stop() end
  end)
  r:on("error", function() end)
]]

local function reloads(times, use)
  local child = support.policy(BEGIN .. use, { args = { times } })
  assert.equal(0, child:wait(60), child.output)
  local fds, kib, fdsLater, kibLater =
    child.stdout:match "^(%d+)\t(%d+)\n(%d+)\t(%d+)\n$"
  assert(fds, child.output)
  return fdsLater - fds, kibLater - kib
end

describe("C modules of Lua", function()
  seen(neighbours.output("dpkg-query", "-Wf", "${Version}", "lua-event")
    :match "^%d+%.%d+%.%d+")

  row("Most survive reloads", function()
    local most = {}
    for name, use in pairs(USES) do
      if name ~= "lua-event" then most[#most + 1] = "do " .. use .. "end " end
    end
    local fds, kib = reloads(200, table.concat(most))
    assert.equal(0, fds)
    assert.is_true(kib < 2048, kib)
    assert.equal(90 * 3, (reloads(100, USES["lua-event"])))
  end)

  row("Signals that they block stay blocked", function()
    local child = support.policy [[
      local host, signal = require "callosum.host", require "cqueues.signal"
      if host.generation == 1 then
        signal.block(signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1)
      end
      local r = require "callosum.rover".new { rovingInterval = 60000 }
      r:on("error", function() end)
    ]]
    support.logged(child, "policy loaded")
    child:kill "sighup"
    support.logged(child, "policy reloaded")
    local blocked
    for line in io.lines(("/proc/%d/status"):format(child.pid)) do
      blocked = blocked or line:match "^SigBlk:%s*(%x+)"
    end
    local USR1 = 10
    assert.equal(1 << USR1 - 1, tonumber(blocked, 16))
    support.stop(child, "sigterm")
  end)

  complete()
end)
