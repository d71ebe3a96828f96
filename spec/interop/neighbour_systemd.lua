-- What callosum-neighbours(7) says of systemd, whose programs do here what its
-- first process does with units.

local manager = require "support.manager"
local neighbours = require "support.neighbours"
local support = require "support"
local uv = require "luv"

local row, complete, seen = neighbours.section("SYSTEMD", it)

local version = neighbours.output("systemd-socket-activate", "--version")
  :match "^systemd (%d+)"
local PROXY = "/usr/lib/systemd/systemd-socket-proxyd"
local ACCEPTS = "A socket unit accepts for a service that is not there"

-- Listens as a socket unit says, and starts a program at the first connection.
-- @param unit its text
-- @param flags more arguments
local function activate(unit, flags, ...)
  local args, names = {}, {}
  local name = unit:match "\nFileDescriptorName=(%S+)"
  for address in unit:gmatch "\nListenStream=(%S+)" do
    table.move({ "-l", address }, 1, 2, #args + 1, args)
    names[#names + 1] = name
  end
  args[#args + 1] = name and "--fdname=" .. table.concat(names, ":")
  for _, list in ipairs { flags, { ... } } do
    table.move(list, 1, #list, #args + 1, args)
  end
  local child = support.spawn("systemd-socket-activate", args,
    { env = { LD_PRELOAD = false } })
  child:waitFor "Listening on"
  for _ = 2, #names do child:waitFor "Listening on" end
  return child
end

-- A unit for one port.
local function unit(port)
  return "[Socket]\nListenStream=127.0.0.1:" .. port .. "\n"
end

local function policy(example, ...)
  local text = example("policy.lua", { ['"192.0.2.11", port = 4040'] =
    '"127.0.0.1", port = ' .. support.echo "0\r\n" }, ACCEPTS)
  for _, more in ipairs { ... } do
    text = text:gsub('require "callosum.relay".*', "") .. more
  end
  return support.tmpfile(text)
end

local function ask(port)
  local peer = support.connect(port)
  peer:write("hello"):take "^hello$"
  peer:close()
end

describe("systemd", function()
  seen(version)

  row("A socket unit accepts for a service that is not there",
    function(example)
      local port = support.freePorts(1)
      activate(example("db.socket", { ["192.0.2.2:5432"] = "127.0.0.1:" .. port
        }), {}, support.EXECUTABLE, "run", policy(example))
      -- It starts by the first, which is served, as the others are.
      for _ = 1, 3 do ask(port) end

      local silent = support.freePorts(1)
      activate(unit(silent), {}, "sleep", "600")
      local rover = support.policy(([[
local rover = require "callosum.rover".new { rovingInterval = 50,
  connectTimeout = 300, slotTimeout = 300, servers = {
    unit = { host = "127.0.0.1", port = %d },
    itself = { host = "127.0.0.1", port = %d } } }
rover:on("unreachable", function(id, _, err) print(id .. " " .. err.code) end)
rover:start()
]]):format(silent, support.closedPort()))
      local both = {}
      support.run(function()
        for id, code in rover.stdout:gmatch "(%l+) (%u+)\n" do
          both[id] = both[id] or code
        end
        return both.unit and both.itself
      end)
      assert.same({ unit = "ETIMEDOUT", itself = "ECONNREFUSED" }, both)
      support.stop(rover)
    end)

  row("Two addresses of a unit are two sockets of one name", function(example)
    local path = support.tmpdir() .. "/db.sock"
    for count, relays in ipairs { policy(example), policy(example,
        example("policy.lua")) } do
      local port = support.freePorts(1)
      local child = activate(example("db.socket", {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. port,
        ["/run/callosum/db.sock"] = path }), {}, support.EXECUTABLE, "run",
        relays)
      ask(port)
      if count == 1 then
        child:waitFor "closed a socket that was passed: nothing is to listen"
        local peer = support.connect(path)
        peer:waitEnd()
        assert.equal("ECONNREFUSED", peer.err)
      else
        ask(path)
      end
      child:kill()
      child:wait()
      os.remove(path)
    end
  end)

  row("With Accept=yes, a service gets connections and no socket to listen on",
    function(example)
      local port = support.freePorts(1)
      local child = activate(example("db.socket", {
        ["192.0.2.2:5432"] = "127.0.0.1:" .. port }, ACCEPTS), { "-a" },
        support.EXECUTABLE, "run", policy(example))
      local peer = support.connect(port)
      peer:waitEnd()
      child:waitFor "it does not listen: say Accept=no in its unit"
      child:kill()
      child:wait()
    end)

  row("systemd-socket-proxyd has room for 256 connections", function(example)
    -- Answers once its client has ended.
    local server = support.serve { connection = function(peer)
      peer.handle:read_stop()
      peer.handle:read_start(function(_, chunk)
        if peer.handle:is_closing() then return end
        if chunk then return peer.handle:write(chunk) end
        local timer = uv.new_timer()
        finally(function() timer:close() end)
        timer:start(100, 0, function()
          if peer.handle:is_closing() then return end
          peer.handle:write "answer"
          peer.handle:shutdown()
        end)
      end)
    end }
    local command = example("proxy.service",
      { ["127.0.0.1:5432"] = "127.0.0.1:" .. server.port })
      :match "ExecStart=([^\n]+)"
    local most, to = command:match(PROXY:gsub("%-", "%%-") .. " (%S+) (%S+)$")
    for _, options in ipairs { {}, { most } } do
      local port = support.freePorts(1)
      options[#options + 1] = to
      activate(unit(port), {}, PROXY, table.unpack(options))
      local peers = {}
      for i = 1, 257 do
        peers[i] = support.connect(port):write "x"
        if i % 32 == 0 then
          support.run(function() return peers[i].received == "x" end)
        end
      end
      local peer = support.connect(port):write "x"
      support.run(function() return peer.received == "x" or peer.ended
        or peer.closed end)
      assert.equal(#options == 2, peer.received == "x")
      for _, each in ipairs(peers) do each:close() end
      peer:close()
      -- Half-closed.
      support.eventually(function()
        peer = support.connect(port):write "y"
        support.run(function() return peer.received == "y" or peer.ended
          or peer.closed end)
        return peer.received == "y"
      end)
      peer:shutdown():waitEnd()
      assert.equal(tonumber(version) >= 262 and "yanswer" or "y",
        peer.received)
      peer:close()
    end

    local port = support.freePorts(1)
    activate(unit(port), {}, PROXY, "127.0.0.1:" .. support.closedPort())
    local peer = support.connect(port)
    support.run(function() return peer.connected end)
    peer:waitEnd()
    assert.equal("", peer.received)
  end)

  row("Type=notify-reload is not known to 252", function()
    local dir = support.tmpdir()
    local path = support.write(dir .. "/db.service",
      "[Service]\nType=notify-reload\nExecStart=/bin/true\n")
    local said = neighbours.output("systemd-analyze", "verify", path)
    assert.equal(tonumber(version) < 253, said:find(
      "Failed to parse service type, ignoring: notify-reload", 1, true) ~= nil,
      said)

    local systemd = manager.start()
    local file = policy(function()
      return "require 'callosum.rover'.new {}"
    end)
    local host = support.command({ "run", file },
      { env = { NOTIFY_SOCKET = systemd.path } })
    systemd:told "READY=1"
    for _, text in ipairs { "require 'callosum.rover'.new {}", "error 'no'" } do
      support.write(file, text)
      host:kill "sighup"
      systemd:told "RELOADING=1 MONOTONIC_USEC=%d+"
      systemd:told "READY=1"
    end
    host:kill()
    host:wait()
  end)

  complete()
end)
