-- A policy of plain handlers. Each rover has a number, and keeps some of its
-- connections, which talk.
-- luacheck: globals chaos

local host = require "callosum.host"
local rover = require "callosum.rover"
local uv = require "luv"

local names = host.args

chaos.maybeFail()

local function some()
  local servers = {}
  for _, name in ipairs(names) do
    if not chaos.oneIn(4) then servers[name] = { host = name, port = 4040 } end
  end
  return servers
end

local function read(socket)
  local id = socket.state.talker
  socket:on("data", function(chunk)
    chaos.hear(id, chunk)
    if chaos.oneIn(64) then socket:pause() chaos.listen(id, false) end
  end)
  chaos.listen(id, true)
end

local function write(socket)
  local id, left = socket.state.talker, 0
  local part = { chaos.say(id, chaos.log(1, 1 << 16)), chaos.say(id, 1) }
  local ok = socket:write(part, chaos.oneIn(2) and function(err)
    left = left + 1
    assert(left == 1, "called back twice")
    if err then chaos.broke(id) end
  end or nil)
  if not ok then chaos.broke(id) end
end

local function close(socket)
  local id = socket.state.talker
  if socket:writeQueueSize() > 0 then chaos.broke(id) end
  chaos.finish(id, true)
  socket:close()
end

local function shutdown(socket)
  local id = socket.state.talker
  if not socket.state.shut and socket:shutdown(function(err)
    if err then chaos.broke(id) end
  end) then
    socket.state.shut = true
    chaos.finish(id, true)
  end
end

local function use(socket)
  local what = chaos.draw(1, 16)
  if socket.closed then return end
  if what == 1 then close(socket)
  elseif what == 2 then shutdown(socket)
  elseif what == 3 then socket:pause() chaos.listen(socket.state.talker, false)
  elseif what == 4 then
    if socket.state.reads then
      socket:resume()
      chaos.listen(socket.state.talker, true)
    end
  elseif what == 5 then
    chaos.broke(socket.state.talker) -- in `connection` this closes the socket
    error "chaos: in a handler"
  elseif not socket.state.shut and not socket.state.ended then write(socket) end
end

local function hearAll(socket)
  if socket.state.ended then return close(socket) end
  if not socket.state.reads then
    socket.state.reads = true
    read(socket)
  end
  socket:resume()
  chaos.listen(socket.state.talker, true)
end

local function handle(number, slot, socket)
  local state = socket.state
  if not state.talker then state.talker = chaos.open(number) end
  local id = state.talker
  chaos.listen(id, false)
  socket:on("close", function(err)
    if err then chaos.broke(id) end
    chaos.finish(id, true)
    chaos.over(id)
  end)
  socket:on("end", function()
    state.ended = true
    if state.reads and not socket.state.paused then
      -- Paused ones have not heard all.
      socket:resume()
    end
    if chaos.calm() or chaos.oneIn(4) then close(socket) end
  end)
  if slot > 20 or chaos.oneIn(4) then return close(socket) end
  if chaos.oneIn(2) or state.reads then
    state.reads = true
    read(socket)
  end
  if chaos.oneIn(2) then use(socket) end
end

for number = 1, chaos.draw(1, 2) do
  local r = rover.new {
    name = "rover " .. number,
    rovingInterval = chaos.log(1, 1000),
    connectTimeout = chaos.odd(10, 5000),
    slotTimeout = chaos.odd(10, 5000),
    allowHalfOpen = chaos.oneIn(4),
    servers = some(),
  }
  chaos.declares(number)
  r:on("connection", function(slot, socket) handle(number, slot, socket) end)
  r:on("unreachable", function(id)
    if chaos.oneIn(8) then r:pauseServer(id, chaos.log(1, 3000)) end
  end)
  r:on("error", function() end)
  r:start()
  local timer = uv.new_timer()
  timer:start(chaos.log(1, 1000), chaos.log(1, 1000), function()
    local sockets = r:sockets()
    if chaos.calm() then
      timer:stop()
      -- Behind unread bytes an end would not be noticed, and that who has
      -- ended its side is gone, only by keepalive.
      for _, socket in ipairs(sockets) do hearAll(socket) end
      return
    end
    if #sockets > 0 then use(sockets[chaos.draw(1, #sockets)]) end
    if chaos.oneIn(8) then r:setServers(some()) end
    if chaos.oneIn(8) then r:connect() end
    if chaos.oneIn(32) then r:stop() end
    if chaos.oneIn(8) then r:start() end
    if chaos.oneIn(64) then chaos.reload() end
  end)
end

chaos.maybeFail()
