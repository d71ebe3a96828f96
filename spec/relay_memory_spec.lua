local relays = require "support.relays"
local reloads = require "support.reloads"
local sockets = require "support.sockets"
local support = require "support"

local connect, eventually = support.connect, support.eventually
local logged = support.logged

-- A sanitizer keeps what is freed for a while.
local isExact = not support.WATCHED

describe("the memory of a host with a relay", function()
  local server, path

  -- Runs a policy with a relay at `path` that picks any of `n` kept sockets.
  local function start(n, options)
    server, path = support.serve { send = "0\r\n" }, relays.path()
    local child = reloads.start(([[
      local relay = require "callosum.relay"
      local kept = {}
      r = rover.new { servers = { s = at(1) }, maxAttempts = 1000 }
      r:on("connection", function(_, socket)
        kept[#kept + 1] = socket
        if #kept == %d then log "full" end
      end)
      local s = relay.new { listen = { path = host.args[2] }, %s,
        pick = function() return table.remove(kept) end }
      s:on("error", function() end)
      local stats = require "luv".new_timer()
      stats:start(10, 10, function() log("stats", s:stats()) end)
      connect(r, %d)
    ]]):format(n, options or "maxClients = 1000", n), server, path)
    if n > 0 then logged(child, "full") end
    return child
  end

  local function resident(child)
    for line in io.lines("/proc/" .. child.pid .. "/status") do
      local kb = line:match "^VmRSS:%s*(%d+)"
      if kb then return tonumber(kb) * 1024 end
    end
  end

  local function stats(child)
    local list = support.events(child, "stats")
    return list[#list] or {}
  end

  local function grows(child, from, most)
    local growth = resident(child) - from
    if isExact then
      assert.is_true(growth <= most, ("%d of %d bytes"):format(growth, most))
    end
  end

  local function finish(child, clients)
    for _, client in ipairs(clients) do client:close() end
    server:close()
    support.stop(child)
  end

  it("grows by no more than a buffer for a receiver that takes nothing",
      function()
    local COUNT, BUFFER = 40, 128 * 1024
    local child = start(COUNT)
    local from = resident(child)
    local clients, plenty = {}, ("x"):rep(sockets.PLENTY)
    for i = 1, COUNT do
      clients[i] = connect(path)
      clients[i].handle:write(plenty)
    end
    support.run(function() return #server.peers == COUNT end)
    for _, peer in ipairs(server.peers) do sockets.deaf(peer) end
    local last, same = nil, 0
    eventually(function() -- until the kernel's buffers are full
      local s = stats(child)
      same = s.running == COUNT and s.received == last and same + 1 or 0
      last = s.received
      return same > 40
    end)
    assert.is_true(last < COUNT * #plenty)
    grows(child, from, COUNT * BUFFER + 1024 * 1024)
    finish(child, clients)
  end)

  it("grows by less than a kilobyte for a pair", function()
    local COUNT = 500
    local child = start(COUNT)
    local clients = {}
    local from = resident(child)
    for i = 1, COUNT do clients[i] = connect(path):write("x") end
    eventually(function()
      local s = stats(child)
      return s.running == COUNT and s.received == COUNT
    end)
    -- The buffer that all share is in it.
    grows(child, from, COUNT * 1024 + 256 * 1024)
    finish(child, clients)
  end)

  it("does not grow with clients that are too many", function()
    local child = start(0, "maxClients = 10")
    local clients, n = {}, 0
    local function flood(count)
      for _ = 1, count do
        n = n + 1
        clients[n % 200] = connect(path):write("x")
      end
      eventually(function() return stats(child).accepted == n end)
      for i, client in pairs(clients) do
        client:close()
        clients[i] = nil
      end
      eventually(function() return stats(child).waiting == 0 end)
    end
    for _ = 1, 5 do flood(199) end
    local from = resident(child)
    for _ = 1, 10 do flood(199) end
    grows(child, from, 256 * 1024)
    assert.same({ 0, 0 }, { stats(child).joined, stats(child).expired })
    finish(child, clients)
  end)
end)
