-- A policy whose pool lends connections to requests, each of which has to get
-- back as many bytes as it has sent.
-- luacheck: globals chaos

local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"
local uv = require "luv"

chaos.maybeFail()

local checkouts = { "lowest", "random", "leastRecent", "ewma" }
local r = rover.new { rovingInterval = chaos.log(1, 1000) }
chaos.declares(1)
for _, name in ipairs(host.args) do
  if chaos.echoes(name) then r:addServer(name, { host = name, port = 4040 }) end
end
local p = pool.new {
  maxSlots = chaos.log(1, 32),
  maxPerServer = chaos.odd(1, 8),
  checkout = checkouts[chaos.draw(1, 4)],
  fillInterval = chaos.log(1, 500),
  maxInterval = chaos.log(1, 10000),
  backoff = not chaos.oneIn(4) and chaos.log(1, 5000) or false,
  maxWaiting = chaos.log(0, 32),
}
r:on("error", function() end)

-- At rest a connection may be closed by the pool at any time, and in order.
local function rest(socket, rests)
  socket.state.rests = rests
  chaos.finish(socket.state.talker, rests)
end

local function watch(socket)
  local id = socket.state.talker
  socket:on("close", function(err)
    if err then chaos.broke(id) end
    chaos.finish(id, true)
    chaos.over(id)
  end, { observer = true })
end

-- Those that are lent out at a reload are closed.
r:on("connection", function(_, socket)
  local state = socket.state
  if not state.talker then return end
  if not state.rests then chaos.broke(state.talker) end
  watch(socket)
end)
p:attach(r)
r:start()

local function begin(socket)
  local state = socket.state
  if not state.talker then
    state.talker = chaos.open(1)
    watch(socket)
  end
  rest(socket, false)
  return state.talker
end

local function request(socket)
  local id = begin(socket)
  local timer, done = uv.new_timer(), false
  local function finish()
    if done then return end
    done = true
    timer:close()
    chaos.listen(id, false)
    if socket.closed then return p:returnConnection(socket) end
    local said, heard = chaos.counts(id)
    if said == heard then
      socket:off()
      rest(socket, true)
      return p:returnConnection(socket)
    end
    chaos.broke(id)
    socket:close()
    p:returnConnection(socket)
  end
  timer:start(chaos.log(100, 10000), 0, finish)
  socket:on("data", function(chunk)
    if done then return end
    chaos.hear(id, chunk)
    local said, heard = chaos.counts(id)
    if heard == said then finish() end
  end)
  socket:on("end", finish)
  socket:on("close", finish)
  chaos.listen(id, true)
  if not socket:write(chaos.say(id, math.max(8, chaos.log(1, 1 << 16)))) then
    chaos.broke(id)
  end
end

local timer = uv.new_timer()
timer:start(chaos.log(1, 500), chaos.log(1, 500), function()
  if chaos.calm() then return timer:stop() end
  if chaos.oneIn(2) then
    local socket = p:getConnection()
    if socket then request(socket) end
  else
    p:requestConnection(function(socket)
      if socket then request(socket) end
    end, chaos.log(1, 5000))
  end
  local stats = p:stats()
  assert(stats.size >= stats.idle)
  if chaos.oneIn(128) then chaos.reload() end
end)

chaos.maybeFail()
