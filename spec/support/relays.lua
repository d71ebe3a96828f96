-- Relays for tests: `require "support.relays"`. They are closed when the test
-- ends, after a check that their counters add up.

local uv = require "luv"
local files = require "support.files"
local loop = require "support.loop"
local rovers = require "support.rovers"
local sockets = require "support.sockets"
local tcp = require "support.tcp"

local relays = {}

--- Checks that a relay's counters add up.
-- @param relay the relay
-- @return its stats
function relays.checkStats(relay)
  local s = relay:stats()
  local accepted = s.joined + s.refused + s.expired + s.gone + s.rejected
    + s.handshaking + s.waiting
  local joined = s.ended + s.reset + s.cut + s.running
  if s.accepted == accepted and s.joined == joined then return s end
  local list = {}
  for name, count in pairs(s) do list[#list + 1] = name .. " " .. count end
  table.sort(list)
  error("the stats do not add up: " .. table.concat(list, ", "), 2)
end

--- Makes a relay. An error that its functions raise fails the test.
-- @param options as for `relay.new`; by default it listens on any free port of
--   127.0.0.1, and picks nothing
-- @return the relay, and the array of its errors
function relays.relay(options)
  local own = { listen = { port = 0 }, pick = function() end }
  for name, value in pairs(options or {}) do
    own[name] = type(value) == "function" and loop.watched(value) or value
  end
  local relay = assert(require("callosum.relay").new(own))
  local errors = {}
  relay:on("error", function(err) errors[#errors + 1] = err end)
  loop.atEnd(function()
    local open, s = pcall(relay.stats, relay)
    if not open then return end
    local ok, err = pcall(relays.checkStats, relay)
    relay:close(0)
    if not ok and s then error(err, 0) end
  end)
  return relay, errors
end

--- Connects to a relay.
-- @return the peer
function relays.connect(relay)
  local host, port = relay:address()
  if not port then return tcp.connect(host) end
  return tcp.connect(port, host == "::" and "::1" or host)
end

--- Makes a rover with sockets to a server, and nobody else who wants them.
-- @param count how many (1)
-- @param options nil, or options of the rover
-- @param script nil, or a script as for `serve`
-- @return the rover, the server; its `peers` are the other ends
function relays.kept(count, options, script)
  local server = tcp.serve(script or { send = "0\r\n" })
  local own = { port = server.port }
  for name, value in pairs(options or {}) do own[name] = value end
  local rover = rovers.rover(own)
  rovers.record(rover)
  for _ = 1, count or 1 do rover:connect() end
  loop.run(function() return rover:stats().kept == (count or 1) end)
  return rover, server
end

--- A `pick` that takes the kept sockets of a rover.
function relays.picking(rover)
  return function() return rover:sockets()[1] end
end

--- Runs the loop until one of a relay's counters has a value.
-- @param relay the relay
-- @param name the counter's
-- @param count its value (1)
function relays.reached(relay, name, count)
  local ok, err = pcall(loop.run, function()
    return relay:stats()[name] == (count or 1)
  end)
  if not ok then
    error(("%s is %d and not %d (%s)"):format(name, relay:stats()[name],
      count or 1, err), 2)
  end
end

--- Joins a client with a server.
-- @param options nil, or options of the relay; `rover`: those of the rover
-- @return the client's peer, the server's, the relay, its errors
function relays.pair(options)
  local own = {}
  for name, value in pairs(options or {}) do own[name] = value end
  local rover, server = relays.kept(1, own.rover)
  own.rover = nil
  own.pick = relays.picking(rover)
  local relay, errors = relays.relay(own)
  local client = relays.connect(relay)
  relays.reached(relay, "running")
  return client, server.peers[1], relay, errors
end

--- A path for a Unix socket, in a folder of its own.
function relays.path()
  return files.tmpdir() .. "/relay.sock"
end

--- Has a peer read a piece at a time, with a pause after each.
-- @param peer the peer
-- @param ms the pause (1)
-- @return as `gather` of support.sockets
function relays.sip(peer, ms)
  local pieces, got = {}, { length = 0, over = false }
  function got.text() return table.concat(pieces) end
  local timer = uv.new_timer()
  loop.atEnd(function() timer:close() end)
  local function read()
    if peer.handle:is_closing() then return end
    peer.handle:read_start(function(err, chunk)
      if not chunk then
        got.over = err or true
        return
      end
      pieces[#pieces + 1] = chunk
      got.length = got.length + #chunk
      peer.handle:read_stop()
      timer:start(ms or 1, 0, read)
    end)
  end
  peer.handle:read_stop()
  read()
  return got
end

--- Writes bytes in pieces of odd sizes, all at once.
function relays.chop(peer, bytes)
  local sizes = { 1, 2, 3, 1447, 4095, 4097, 65535, 65537, 131071, 300001 }
  local at, i = 1, 0
  while at <= #bytes do
    local size = sizes[i % #sizes + 1]
    peer.handle:write(bytes:sub(at, at + size - 1))
    at, i = at + size, i + 1
  end
end

relays.bytes, relays.same = sockets.bytes, sockets.same
relays.gather, relays.deaf = sockets.gather, sockets.deaf

return relays
