-- Balances three Redis servers, which know nothing of Callosum, with a front
-- before each and a relay beside their clients:
--
--   build/callosum-rover run examples/redis.lua 4040 4041 4042 6380
--
-- The fronts listen on the first three ports, Redis on 5040 and so on, and the
-- relay on the last port (try redis-cli there). After five seconds the second
-- server is stopped, three later it is started again. `make run-redis` installs
-- Redis if it is missing.

local front = require "callosum.front"
local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local uv = require "luv"

local r = rover.new { rovingInterval = 200 }
local p = pool.new { maxSlots = 12, fillInterval = 10, maxInterval = 50,
  maxBackoff = 500 }:attach(r)
local door = relay.new { listen = { port = math.tointeger(host.args[4]) },
  pick = function() return p:awaitConnection() end }
local fronts, servers, answers, lost = {}, {}, 0, 0

local function start(i) -- setpriv has it end with this process
  servers[i] = assert(uv.spawn("setpriv", { stdio = { nil, nil, 2 }, args = {
    "--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--port",
    tostring(host.args[i] + 1000), "--save", "" } }, function() end))
end

for i = 1, 3 do
  local port = math.tointeger(host.args[i])
  start(i)
  fronts[i] = front.new { name = "redis " .. i, listen = { port = port },
    backend = { port = port + 1000 }, healthInterval = 100 }
  fronts[i]:on("backend", function(up, err)
    print(("redis %d: %s"):format(i, up and "is up again" or err.message))
  end)
  r:addServer("redis " .. i, { host = "localhost", port = port })
end
r:start()

-- Makes 50 requests, then starts over with a new connection.
local function client(timer)
  local tcp, left = uv.new_tcp(), 50
  local function ask() tcp:write "INCR requests\r\n" end
  tcp:connect("127.0.0.1", select(2, door:address()), ask)
  tcp:read_start(function(_, answer)
    if answer then answers, left = answers + 1, left - 1
    else lost, left = lost + 1, 0 end
    if left > 0 then return timer:start(20, 0, ask) end
    tcp:close()
    timer:start(20, 0, function() client(timer) end)
  end)
end
for i = 1, 60 do -- once Redis is there
  local timer = uv.new_timer()
  timer:start(500 + 20 * i, 0, function() client(timer) end)
end

uv.new_timer():start(5000, 0, function() servers[2]:kill "sigterm" end)
uv.new_timer():start(8000, 0, function() start(2) end)
uv.new_timer():start(1000, 1000, function()
  for i, each in ipairs(fronts) do
    local joined, unused = each:stats().running, each:stats().unused
    print(("redis %d  %s%s"):format(i, ("#"):rep(joined), ("."):rep(unused)))
  end
  print(("%d answers, %d connections lost\n"):format(answers, lost))
end)
