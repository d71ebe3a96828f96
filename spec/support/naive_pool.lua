-- What a pool should do, as plainly as it can be said: lists that are searched
-- from end to end. `require "support.naive_pool"`.

local naive = {}

local methods = {}
local metatable = { __name = "support.naive_pool", __index = methods }

--- Makes a naive pool.
-- @param options those of `pool.new`: `maxSlots`, `maxPerServer`, `checkout`
-- @return the pool; `conns` is all there is, each a table: `socket`, `slot`,
--   `id`, `status` ("idle", "leased", "retiring")
function naive.new(options)
  return setmetatable({
    options = options, conns = {}, line = {}, used = 0, kept = 0, rejected = 0,
    lent = 0,
  }, metatable)
end

--- Lists its connections of a status, in the order they came.
function methods:all(status)
  local list = {}
  for _, conn in ipairs(self.conns) do
    if conn.status == status then list[#list + 1] = conn end
  end
  return list
end

local function use(self, conn)
  self.used = self.used + 1
  conn.used = self.used
end

--- A connection is gone.
function methods:remove(conn)
  for i, each in ipairs(self.conns) do
    if each == conn then
      table.remove(self.conns, i)
      conn.status = "gone"
    end
  end
end

--- Whose place a newcomer would take: the highest slot of those it competes
-- with, the latest of equals.
function methods:rival(id)
  local mine, all = {}, {}
  for _, conn in ipairs(self.conns) do
    if conn.status ~= "retiring" then
      all[#all + 1] = conn
      if conn.id == id then mine[#mine + 1] = conn end
    end
  end
  local list = #mine >= (self.options.maxPerServer or math.huge) and mine
    or #all >= self.options.maxSlots and all or {}
  local rival
  for _, conn in ipairs(list) do
    if not rival or conn.slot >= rival.slot then rival = conn end
  end
  return rival
end

--- Offers a connection.
-- @return whether it is kept
function methods:offer(socket, slot, id, adopted)
  local rival = self:rival(id)
  local kept = not rival or slot < rival.slot and (rival.status == "idle"
    or #self:all "retiring" < self.options.maxSlots)
  if not adopted then
    if kept then self.kept = self.kept + 1
    else self.rejected = self.rejected + 1 end
  end
  if not kept then return false end
  if rival and rival.status == "idle" then self:remove(rival)
  elseif rival then rival.status = "retiring" end
  local conn = { socket = socket, slot = slot, id = id, status = "idle" }
  table.insert(self.conns, conn)
  use(self, conn)
  conn.number = conn.used
  return true
end

--- Which idle connection is next, or nil if that is left to chance.
function methods:next()
  local by = ({ lowest = "slot", leastRecent = "used" })[self.options.checkout]
  local best
  for _, conn in ipairs(by and self:all "idle" or {}) do
    if not best or conn[by] < best[by] then best = conn end
  end
  return best
end

--- The connection of a socket.
function methods:find(socket)
  for _, conn in ipairs(self.conns) do
    if conn.socket == socket then return conn end
  end
end

--- Takes a connection back.
-- @return whether it is kept
function methods:giveBack(conn)
  if conn.status == "retiring" then
    self:remove(conn)
    return false
  end
  conn.status = "idle"
  use(self, conn)
  return true
end

--- The server has ended a connection.
function methods:peerEnded(conn)
  if conn.status == "idle" then self:remove(conn)
  else conn.status = "retiring" end
end

--- What the pool's `stats` should say.
function methods:stats()
  local servers, slots = {}, {}
  local counts = { idle = 0, leased = 0, retiring = 0 }
  for _, conn in ipairs(self.conns) do
    counts[conn.status] = counts[conn.status] + 1
    if conn.status ~= "retiring" then
      servers[conn.id] = (servers[conn.id] or 0) + 1
      slots[#slots + 1] = conn.slot
    end
  end
  table.sort(slots)
  return {
    size = #slots, idle = counts.idle, leased = counts.leased,
    retiring = counts.retiring, waiting = #self.line, servers = servers,
    slots = slots, kept = self.kept, rejected = self.rejected, unsolicited = 0,
    lent = self.lent, expired = 0,
  }
end

return naive
