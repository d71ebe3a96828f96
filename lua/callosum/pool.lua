require "callosum.metrics" -- which has the next one
local books = require "callosum.books"
local checkout = require "callosum.pool.checkout"
local counters = require "callosum.pool.counters"
local heap = require "callosum.pool.heap"
local idle = require "callosum.pool.idle"
local line = require "callosum.pool.line"
local known = require "callosum.pool.options"
local latency = require "callosum.pool.latency"
local options = require "callosum.options"
local pacing = require "callosum.pool.pacing"

-- A pool of kept connections, for protocols of requests and responses. Every
-- operation takes O(log n) or less, except stats and close, which visit each
-- connection.
---@type callosum.PoolModule
local pool = {}

local CLOSED = "the pool is closed"
local GONE = "the client is no longer waiting"
local OBSERVER = { observer = true }

-- Arguments of methods, as callosum.options describes them.
local FUNCTION = { type = "function" }
local ROVER = { type = "object", methods = { "roveIn" }, what = "rover" }
local SLOT = { name = "slot", type = "integer", min = 0, max = 0x7fffffff }
local SOCKET = { type = "object", methods = { "pass" }, what = "socket" }
local TIMEOUT = { name = "timeout", type = "integer", min = 0,
  max = 0x7fffffff }

-- The options of `returnConnection`.
local returning = {
  { name = "failed", type = "boolean", default = false, text = [[
Whether the server failed, as by an answer that says so. That counts against it
as long leases do: a server that answers quickly and wrongly is not fast]] },
}

-- What describes them is for the manual and the annotations.
for _, list in ipairs { known, returning } do
  for _, option in ipairs(list) do option.text = nil end
end

-- The pool of each attached rover and held socket, for all pools: with two
-- pools, a connection could be lent to two borrowers. Handlers keep the pool
-- alive for as long, so values may be weak too: with weak keys alone, the
-- collector would be slow, and the sandbox has no such tables.
local owners = setmetatable({}, { __mode = "kv" })

-- What is replaced first: connections of servers that are gone, then the
-- highest slots.
local function highest(a, b)
  if a.server.gone ~= b.server.gone then return a.server.gone end
  return checkout.lowest(b, a)
end

local methods = {}
local metatable = { __name = "callosum.pool", __index = methods }

-- Books ----------------------------------------------------------------------

-- An entry is idle, or it is lent out and has a `lease`; it is `held`, or it
-- is lent out and retiring. socket.state tells the policy that adopts it.

local function nextSerial(self)
  self.serial = self.serial + 1
  return self.serial
end

-- Records the object that stands for a connection.
local function know(self, entry, socket)
  entry.socket = socket
  self.entries[socket], owners[socket] = entry, self
end

local function forget(self, entry)
  self.entries[entry.socket], owners[entry.socket] = nil, nil
end

local function hold(self, entry, id)
  local server = self.servers[id]
  if not server then
    server = { id = id, held = heap.new(highest), latency = 0, measured = 0,
      slow = false, gone = false }
  end
  entry.server, entry.held = server, true
  self.servers[id] = server
  server.held:push(entry)
  self.held:push(entry)
end

local function letGo(self, entry)
  local server = entry.server
  entry.held = false
  self.held:remove(entry)
  server.held:remove(entry)
  if #server.held == 0 then self.servers[server.id] = nil end
end

-- Makes an entry that is lent out retire: it is not held any more, and closed
-- when it is returned.
local function retire(self, entry)
  letGo(self, entry)
  self.books:move(books.LEASED, books.RETIRING)
  self.retiring = self.retiring + 1
end

-- Removes an entry, and closes its connection. This is the only way in which a
-- connection leaves the pool, and `entries` makes sure it is taken only once.
local function drop(self, entry)
  forget(self, entry)
  if entry.lease then self.books:over(entry.began)
  else self.idle:remove(entry) end
  if not entry.held then self.retiring = self.retiring - 1 end
  self.books:move(not entry.lease and books.IDLE or entry.held and books.LEASED
    or books.RETIRING, books.GONE)
  if entry.held then letGo(self, entry) end
  entry.socket:close()
end

local function isFilling(self)
  local size = #self.held + self.unseen
  return size < self.options.target
    or #self.line > #self.idle and size < self.options.maxSlots
end

-- The keeper decides what it can without calling the pool: nothing, what it
-- would reject, or everything.
local NOTHING, REJECTIONS, EVERYTHING = 0, 1, 2

local function modeOf(self, top)
  if self.first or top and top.server.gone then return NOTHING end
  local own = self.options
  local decides = #self.line > 0 or own.maxPerServer < own.maxSlots
  return decides and REJECTIONS or EVERYTHING
end

-- Says what the pool has, as the keeper goes on from there. To be called
-- whenever that may have changed.
local function bound(self)
  if not self.pacing then return end
  local top = self.held:first()
  self.keeper:leave(modeOf(self, top), isFilling(self), #self.held,
    top and top.slot or -1, self.wasFull, self.pacing:state())
end

-- Finds out how attempts have ended meanwhile. To be called before the pool
-- looks at, or changes, that.
local function catchUp(self)
  if not self.pacing then return end
  local rejected, vain, moved, dropped
  self.unseen, rejected, vain, moved, self.wasFull, dropped =
    self.keeper:enter()
  if dropped and self.unseen == 0 then self.looked = 0 end
  self.pacing:resume(rejected, vain, moved)
  local newest = self.newest
  if moved and newest and not newest.socket.closed then self.newest = nil end
end

-- `broken`: the server has ended the connection.
local function lost(self, entry, broken)
  if not self.pacing then return end
  local filling = isFilling(self)
  if broken then
    self.pacing:broken(entry.socket.id, entry.trial, filling)
  else
    self.pacing:lost(filling)
  end
  bound(self)
end

-- Drops an entry that others have closed, or that is of no more use.
local function lose(self, entry, broken)
  local held = entry.held
  catchUp(self)
  if entry.lease and entry.socket.closed then
    self.latency:measure(entry, true)
  end
  drop(self, entry)
  if held then lost(self, entry, broken) end
end

-- A handler that was called after the pool's has closed the connection that the
-- pool had kept: it was a probe that brought nothing.
local function turnDown(self, entry)
  self.newest = nil
  drop(self, entry)
  self.books:kept(-1)
  self.books:rejected(1)
  if self.pacing then self.pacing:turnedDown(isFilling(self)) end
  bound(self)
end

-- The latest connection is kept for good, or was closed after all.
local function settle(self)
  local entry = self.newest
  self.newest = nil
  if entry and entry.socket.closed and self.entries[entry.socket] == entry then
    turnDown(self, entry)
  end
end

-- The connection is closed, or the peer has ended it.
local function ended(self, entry, broken)
  if self.entries[entry.socket] ~= entry then return end
  catchUp(self)
  if entry == self.newest and not broken then return turnDown(self, entry) end
  if entry.socket.closed or not entry.lease then
    return lose(self, entry, broken)
  end
  -- The borrower may still have a response to read.
  if entry.held then
    retire(self, entry)
    lost(self, entry, broken)
  end
end

-- As observers, which stay when a borrower removes all handlers.
local function listen(self, entry)
  local socket = entry.socket
  socket:on("end", function() ended(self, entry, true) end, OBSERVER)
  socket:on("close", function(err) ended(self, entry, err ~= nil) end, OBSERVER)
end

-- Closes an idle connection on which bytes arrive. Reading takes no memory for
-- each: all of the rover's sockets are read into one buffer.
local function watch(self, entry)
  if self.options.keepUnsolicited then return end
  entry.unsolicited = entry.unsolicited or function()
    if entry.lease or self.entries[entry.socket] ~= entry then return end
    self.books:unsolicited()
    lose(self, entry)
  end
  entry.socket:on("data", entry.unsolicited)
end

-- Lending --------------------------------------------------------------------

-- The borrower has waited for so many ns.
local function lend(self, entry, waited, time)
  self.idle:remove(entry)
  entry.lease, entry.trial = nextSerial(self), nil
  if entry == self.newest then self.newest = nil end
  latency.begin(entry, time)
  self.books:lend(waited)
  entry.socket.state.pool = "leased"
  entry.socket.lent = true
  if entry.unsolicited then entry.socket:off("data", entry.unsolicited) end
  return entry
end

-- Notes which servers are gone from the rover's list, or back, and moves their
-- connections accordingly. Looks at most that often, unless the keeper says
-- that one has gone.
local LOOK = 100e6 -- ns

local function mark(self, server, gone)
  local list, resting = {}, {}
  for i = 1, #server.held do list[i] = server.held:item(i) end
  for i, entry in ipairs(list) do
    self.held:remove(entry)
    resting[i] = not entry.lease and self.idle:remove(entry)
  end
  server.gone = gone
  for i, entry in ipairs(list) do
    self.held:push(entry)
    if resting[i] then self.idle:push(entry) end
  end
end

local function look(self, time)
  if not self.rover or time - self.looked < LOOK then return end
  self.looked = time
  local changed = false
  for id, server in pairs(self.servers) do
    local open, listed = pcall(self.rover.hasServer, self.rover, id)
    if open and server.gone == listed then
      mark(self, server, not listed)
      changed = true
    end
  end
  self.keeper:looked()
  if not changed then return end
  catchUp(self)
  bound(self)
end

local function rest(self, entry)
  entry.since = nextSerial(self)
  self.idle:push(entry)
end

local function keep(self, slot, socket)
  local entry = { slot = slot, serial = nextSerial(self) }
  know(self, entry, socket)
  hold(self, entry, socket.id)
  listen(self, entry)
  if socket.adopted and socket.state.pool == "idle" then watch(self, entry) end
  rest(self, entry)
  return entry
end

-- There was no memory to hold what the keeper had kept.
local function giveUp(self, socket)
  local entry = self.entries[socket]
  if entry and entry.held then return drop(self, entry) end
  if entry then forget(self, entry) end
  self.books:move(books.IDLE, books.GONE)
  socket:close()
end

-- Takes what the keeper has kept; if that fails, closes what is left.
local function see(self)
  local unseen = self.fetch
  local list = unseen and unseen()
  if not list then return end
  local next = 1
  local _ <close> = setmetatable({}, { __close = function()
    if next > #list then return end
    for i = next, #list do giveUp(self, list[i][1]) end
    lost(self)
  end })
  catchUp(self)
  table.sort(list, function(a, b) return a[2] < b[2] end)
  while next <= #list do
    local socket, since, strikes, isFirst = table.unpack(list[next])
    local entry = keep(self, socket.slot, socket)
    entry.trial = { strikes = strikes, began = since }
    if isFirst then self.first = entry end
    next = next + 1
  end
  self.looked = 0
  bound(self)
end

-- Lends an idle connection, or none if all of them turn out to be closed or no
-- more than `reserved` are left.
local function take(self, reserved, waited)
  see(self)
  local time = options.now()
  look(self, time)
  while #self.idle > reserved do
    local entry = self.idle:next()
    if not entry.socket.closed then return lend(self, entry, waited, time) end
    lose(self, entry)
  end
end

-- Closes the connection if `fn` raises an error: what was written is unknown
-- then.
local function give(fn, entry)
  local lease = entry.lease
  local _ <close> = setmetatable({}, { __close = function(_, err)
    if err and entry.lease == lease then entry.socket:close() end
  end })
  fn(entry.socket)
end

-- The relay's client for which this coroutine waits, or nil.
local function clientOf()
  local relay = package.loaded["callosum.relay"]
  return relay and relay.client()
end

local function wait(self, fn, ms)
  if self.closed then return nil, CLOSED, "ECANCELED" end
  local ok, why = line.open()
  if not ok then return nil, why, "ENOTSUP" end
  if #self.line - #self.idle >= self.options.maxWaiting then
    local full = ("the queue is full: %d requests wait"):format(#self.line)
    return nil, full, "ENOBUFS"
  end
  see(self)
  local cancel = self.line:wait(fn, ms or self.options.waitTimeout)
  catchUp(self)
  bound(self)
  if #self.idle > 0 then self.line:wake() end
  if self.pacing and isFilling(self) then self.pacing:hurry(true) end
  return cancel
end

-- Keeping --------------------------------------------------------------------

-- The entry whose place a new connection to that server would take, or nil if
-- there is room for one more.
local function rivalOf(self, id)
  local server = self.servers[id]
  local list = server and #server.held >= self.options.maxPerServer
    and server.held or #self.held >= self.options.maxSlots and self.held
  local rival = list and list:first()
  if not (rival and rival.socket.closed) then return rival or nil end
  lose(self, rival)
  return rivalOf(self, id)
end

-- The number of retiring connections is limited, so that borrowers who never
-- return them cannot make the pool open connections without end.
local function makeRoom(self, slot, id)
  local rival = rivalOf(self, id)
  if not rival then return true end
  if slot >= rival.slot and not rival.server.gone then return false end
  if not rival.lease then
    drop(self, rival)
    return true
  end
  if self.retiring >= self.options.maxSlots then return false end
  retire(self, rival)
  return true
end

-- The protocol of one that the last policy had lent out is in an unknown state.
local function isUsable(socket)
  return not (socket.adopted and socket.state.pool == "leased")
end

local function offer(self, slot, socket)
  if self.entries[socket] then return true end
  if socket.closed or owners[socket] then return false end
  local usable = not self.closed and isUsable(socket)
  local kept = usable and makeRoom(self, slot, socket.id)
  if kept then
    self.books:move(books.GONE, books.IDLE)
    keep(self, slot, socket)
  else
    socket:close()
  end
  if usable and not socket.adopted then
    if kept then self.books:kept(1) else self.books:rejected(1) end
  end
  if kept and #self.line > 0 then self.line:wake() end
  return kept
end

-- A pool that was full before replaces what it has lost by the better of two
-- connections: the first is kept, and competes with the next, which follows at
-- once, unless its slot is lower than the highest.
local function rivalOfNext(self)
  local first = self.first
  local isThere = first and self.entries[first.socket] == first
  return isThere and first.held and not first.lease and first or nil
end

-- Returns whether the connection was kept, and whether it competed.
local function refill(self, slot, socket)
  local first = rivalOfNext(self)
  self.first = nil
  if not first or socket.closed or owners[socket] then
    local top = self.held:first()
    local isGood = top and slot < top.slot or #self.line > 0
    local kept = offer(self, slot, socket)
    if kept and self.wasFull and not isGood and self.rover:connect() then
      self.first = self.entries[socket]
    end
    return kept, false
  end
  if slot < first.slot then
    drop(self, first)
    return offer(self, slot, socket), true
  end
  socket:close()
  self.books:rejected(1)
  return false, true
end

-- The pool's handlers of a rover's events. They do nothing if an earlier
-- handler of the same event has detached the pool.
local function handlersFor(self, pace)
  local function guarded(fn, sees)
    return function(...)
      if self.pacing ~= pace then return end
      if sees then see(self) end
      catchUp(self)
      settle(self)
      look(self, options.now())
      fn(...)
      bound(self)
    end
  end
  local function adopt(slot, socket)
    offer(self, slot, socket)
    if isFilling(self) then pace:hurry(true) end
  end
  local function connection(slot, socket, id)
    if socket.adopted then return adopt(slot, socket) end
    local full = not isFilling(self)
    local kept, competed
    if #self.held == 0 then self.wasFull = false end
    if full and not rivalOfNext(self) then kept = offer(self, slot, socket)
    else kept, competed = refill(self, slot, socket) end
    if not isFilling(self) then self.wasFull = true end
    local strikes, asked = pace:reached(id, kept)
    if kept then
      self.newest = self.entries[socket]
      self.newest.trial = { strikes = strikes, began = options.now() / 1e6 }
    end
    local filling = isFilling(self) or rivalOfNext(self) ~= nil
    if competed then pace:competed(filling)
    elseif full and asked then return -- the clock goes on
    elseif kept then pace:kept(filling, full)
    else pace:rejected(filling) end
  end
  return {
    connection = guarded(connection, true),
    added = guarded(function(id) pace:added(id, isFilling(self)) end),
    unreachable = guarded(function(id)
      pace:unreachable(id, isFilling(self))
    end),
    error = guarded(function() pace:failed(isFilling(self)) end),
  }
end

-- Has a keeper decide for the pool as long as nothing else listens to the rover,
-- and say which servers have answered, or ended connections.
local function keeperFor(self, rover, pace)
  local function onAnswer(id, kept)
    local strikes, asked = pace:reached(id, kept)
    self.keeper:note(pace:overdue(), asked, kept and strikes or 0)
  end
  local function onEnd(id, began, strikes)
    pace:endedBy(id, began, strikes)
    self.keeper:note(pace:overdue())
  end
  return require "callosum.keeper".new(rover, self.books, pace:rules(),
    onAnswer, onEnd, function() see(self) end)
end

-- The interface --------------------------------------------------------------

function methods:attach(rover)
  if self.closed then error(CLOSED, 2) end
  if self.rover then error("the pool has a rover: detach it first", 2) end
  options.argument(2, rover, ROVER)
  if owners[rover] then error("the rover has a pool: detach that first", 2) end
  local open, most = pcall(rover.maxKept, rover)
  if open and most then
    error("the rover has maxKept: a pool has maxSlots instead", 2)
  end
  local pace = pacing.new(rover, self.options)
  self.handlers = handlersFor(self, pace)
  for event, fn in pairs(self.handlers) do
    -- Errors are not the pool's to handle.
    local ok, err = pcall(rover.on, rover, event, fn,
      (event == "error" or event == "added") and OBSERVER or nil)
    if not ok then
      error("cannot attach: " .. (err:match "%((.*)%)$" or err), 2)
    end
  end
  self.rover, self.pacing, owners[rover] = rover, pace, self
  self.keeper, self.fetch = keeperFor(self, rover, pace)
  if isFilling(self) then pace:hurry(true) end
  bound(self)
  return self
end

function methods:detach()
  local rover, pace = self.rover, self.pacing
  see(self)
  catchUp(self)
  self.rover, self.pacing = nil, nil
  if not pace then return self end
  self.keeper:stop()
  self.keeper, self.fetch, owners[rover] = nil, nil, nil
  pace:stop()
  -- A rover that is closed needs no handlers removed.
  for event, fn in pairs(self.handlers) do
    pcall(rover.off, rover, event, fn)
  end
  return self
end

function methods:newConnection(slot, socket)
  options.argument(2, slot, SLOT)
  options.argument(3, socket, SOCKET)
  if (owners[socket] or self) ~= self then
    error("the socket is held by another pool", 2)
  end
  see(self)
  catchUp(self)
  local kept = offer(self, slot, socket)
  bound(self)
  return kept
end

function methods:getConnection()
  if self.closed then return nil, CLOSED, "ECANCELED" end
  local entry = take(self, #self.line)
  if entry then return entry.socket end
  return nil, "no connection is idle", "EAGAIN"
end

function methods:requestConnection(fn, ms)
  options.argument(2, fn, FUNCTION)
  if ms ~= nil then options.argument(3, ms, TIMEOUT) end
  return wait(self, fn, ms)
end

-- In the `pick` of a relay, the coroutine is closed once the client has gone or
-- is refused or joined.
function methods:awaitConnection(ms)
  if not coroutine.isyieldable() then
    error("only a coroutine can wait like this; use requestConnection", 2)
  end
  if ms ~= nil then options.argument(2, ms, TIMEOUT) end
  local client = clientOf()
  if client and not client.waiting then return nil, GONE, "ECANCELED" end
  local entry = not self.closed and take(self, #self.line)
  if entry then return entry.socket end
  local this, done = coroutine.running(), nil
  local function stop()
    local ok, err = coroutine.close(this)
    if not ok then error(err, 0) end
  end
  local cancel, message, code = wait(self, function(socket, ...)
    if client and not client.waiting then
      if socket then self:returnConnection(socket) end
      return stop()
    end
    done = table.pack(socket, ...)
    local ok, err = coroutine.resume(this)
    if not ok then error(debug.traceback(this, tostring(err)), 0) end
  end, ms)
  if not cancel then return nil, message, code end
  if client then client:on("close", stop) end
  -- If the coroutine is closed meanwhile, the request is cancelled.
  local _ <close> = setmetatable({}, { __close = function()
    cancel()
    if client then client:off("close", stop) end
  end })
  repeat coroutine.yield() until done
  return table.unpack(done, 1, done.n)
end

-- Why this socket cannot be returned; nil if it is merely closed.
local function whyNot(self, socket)
  if not socket.closed then
    return self.entries[socket] and "the socket is not lent out"
      or "the socket is not one of this pool"
  end
  local _, _, code = socket:pass()
  return code == "EALREADY" and "the socket was returned before" or nil
end

function methods:returnConnection(socket, given)
  local failed = given ~= nil and options.check(3, given, returning).failed
  local entry = self.entries[socket]
  if not (entry and entry.lease) then
    options.argument(2, socket, SOCKET)
    local why = whyNot(self, socket)
    if why then error(why, 2) end
    return false
  end
  if not socket.closed then self.latency:measure(entry, failed) end
  -- Writing fails if the socket is closed or shut down.
  local usable = not self.closed and entry.held and socket:write ""
  -- The next borrower gets another object, so that the one of this lease can no
  -- longer be used, nor returned.
  local own = usable and socket:pass()
  if not own then
    lose(self, entry)
    return false
  end
  forget(self, entry)
  know(self, entry, own)
  self.books:over(entry.began)
  self.books:move(books.LEASED, books.IDLE)
  entry.lease = nil
  own.state.pool = "idle"
  own.lent = false
  watch(self, entry)
  rest(self, entry)
  if #self.line > 0 then self.line:wake() end
  return true
end

function methods:stats()
  see(self)
  local stats = self.books:stats()
  for _, counter in ipairs(counters) do
    stats[counter[1]] = counter[4](self)
  end
  return stats
end

function methods:close()
  self:detach()
  self.closed = true
  for _, entry in pairs(self.entries) do
    if not entry.lease then drop(self, entry) end
  end
  self.line:close(CLOSED, "ECANCELED")
  return self
end

function pool.new(given)
  local own = options.check(1, given, known, "pool")
  own.maxPerServer = own.maxPerServer or own.maxSlots
  own.target = math.min(own.target or own.maxSlots, own.maxSlots)
  local way = checkout.ways[own.checkout]
  local self = setmetatable({
    options = own,
    closed = false,
    entries = {}, -- by socket: all that are not closed
    books = books.new(own.name),
    held = heap.new(highest), -- all but those that retire
    unseen = 0, -- how many the keeper holds, which `fetch` returns
    wasFull = false,
    retiring = 0,
    servers = {}, -- by id
    serial = 0, -- of the latest entry or lease
    looked = 0, -- when the rover's list was looked at
    -- `newest` is the entry of the last attempt's connection, until it is lent
    -- out or the next attempt has ended.
  }, metatable)
  self.latency = latency.new(self.servers)
  -- Of those held, what is not lent out.
  self.idle = idle.new(way, self.latency, checkout.lowest)
  self.line = line.new("connection", function(waited)
    return take(self, 0, waited)
  end, give, self.books)
  return self
end

return pool
