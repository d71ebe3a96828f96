-- Pools for tests: `require "support.pools"`.

local loop = require "support.loop"
local rovers = require "support.rovers"
local tcp = require "support.tcp"
local uv = require "luv"

local pools = {}

--- Makes a pool, closed when the test ends.
-- @param options those of `pool.new`
-- @return the pool
function pools.pool(options)
  local p = require("callosum.pool").new(options)
  loop.atEnd(function() p:close() end)
  return p
end

--- Makes a server that gives connections these slots in turn.
-- @param slots an array; when it is used up, the last one again and again
-- @return the server
function pools.giving(slots)
  local n = 0
  return tcp.serve { connection = function(peer)
    n = n + 1
    peer:write((slots[n] or slots[#slots]) .. "\r\n")
  end }
end

--- Makes a pool attached to a rover that never ticks by itself, and offers it
-- connections with these slots.
-- @param options those of the pool
-- @param ... the slots
-- @return a table: `pool`, `rover`, `server`, `sockets` (by slot), `peers` (the
--   other ends, by slot), and `offer(slot)`, which offers one more and returns
--   its socket
function pools.filled(options, ...)
  local at = 0
  local self = { sockets = {}, peers = {} }
  self.server = tcp.serve { connection = function(peer)
    self.peers[at] = peer
    peer:write(at .. "\r\n")
  end }
  self.rover = rovers.rover { port = self.server.port }
  self.pool = pools.pool(options):attach(self.rover)
  local events = rovers.record(self.rover)
  function self.offer(slot)
    at = slot
    local event = rovers.attempt(self.rover, events)
    self.sockets[slot] = event.socket
    return event.socket
  end
  for _, slot in ipairs { ... } do self.offer(slot) end
  return self
end

--- Milliseconds until the loop has something to do, which is the next attempt
-- if nothing else is on it.
function pools.due()
  for _ = 1, 1000 do
    if uv.backend_timeout() ~= 0 then break end
    uv.run "nowait" -- something else is to be done first
  end
  return uv.backend_timeout()
end

--- Runs the loop until a condition on a pool's figures holds.
-- @param p the pool
-- @param wanted a table: what they must be
function pools.reach(p, wanted)
  loop.run(function()
    local stats = p:stats()
    for name, value in pairs(wanted) do
      if stats[name] ~= value then return false end
    end
    return true
  end)
end

return pools
