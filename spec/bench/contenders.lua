-- Other balancers' ways to choose, beside ours in `callosum-rover simulate`:
-- see README.md. Two of them draw two servers, and take the one that costs
-- less (Mitzenmacher, The Power of Two Choices in Randomized Load Balancing);
-- the third is in prequal.lua.

local host = require "callosum.host"
local pool = require "callosum.pool"
local ways = require "callosum.pool.checkout".ways
local now = require "callosum.options".now
local prequal = require "prequal"
local rover = require "callosum.rover"

local contenders = {}

-- A pool with so many connections to each server; what is not idle of these is
-- under way.
local PER_SERVER = 4

-- In nanoseconds: peaks wear off by 1/e in this time.
local TAU = 10e9

-- Idle connections by server.
local methods = {}
local metatable = { __index = methods, __len = function(self)
  return self.count
end }

function methods:push(entry)
  local server = entry.server
  if not server.idle then
    server.idle, server.peak, server.stamp = {}, 0, now()
  end
  if #server.idle == 0 then
    self.servers[#self.servers + 1] = server
    server.place = #self.servers
  end
  table.insert(server.idle, entry)
  self.count = self.count + 1
end

function methods:remove(entry)
  local server = entry.server
  for i, each in ipairs(server.idle or {}) do
    if each == entry then
      table.remove(server.idle, i)
      self.count = self.count - 1
      if #server.idle == 0 then
        local last = table.remove(self.servers)
        if last ~= server then
          self.servers[server.place], last.place = last, server.place
        end
      end
      return true
    end
  end
  return false
end

local function underWay(server)
  return #server.held - #server.idle
end

-- As Finagle does: a peak counts at once.
local function observe(server, ns)
  local time = now()
  local weight = math.exp((server.stamp - time) / TAU)
  server.stamp = time
  if ns > server.peak then server.peak = ns
  else server.peak = ns * (1 - weight) + server.peak * weight end
end

local costs = {}

-- Envoy's least request.
function costs.leastRequest(server) return underWay(server) end

-- One of which nothing is known gets a single request.
function costs.peakEwma(server)
  observe(server, 0)
  if server.peak == 0 and underWay(server) > 0 then return math.huge end
  return server.peak * (underWay(server) + 1)
end

local function ofTwo(cost)
  return function(servers)
    local one = servers[math.random(#servers)]
    local other = servers[math.random(#servers)]
    return cost(other) < cost(one) and other or one
  end
end

local function roverOf(name)
  local r = rover.new { name = name, jitter = 0.2, maxAttempts = 64 }
  for _, port in ipairs(host.args) do
    r:addServer(port, { host = "localhost", port = math.tointeger(port) })
  end
  return r
end

local function chooserOf(name)
  if costs[name] then return ofTwo(costs[name]) end
  local r = roverOf "probes"
  r:setRovingInterval(20)
  local own = prequal.new(r, table.move(host.args, 1, #host.args, 1, {}))
  return function(servers) return own:choose(servers) end
end

--- Runs a policy that chooses as this contender does.
function contenders.run(name)
  local choose = chooserOf(name)
  ways.random = {
    new = function() return setmetatable({ servers = {}, count = 0 },
      metatable) end,
    next = function(idle) return choose(idle.servers).idle[1] end,
  }
  local r = roverOf "main"
  local p = pool.new { maxSlots = PER_SERVER * #host.args,
    maxPerServer = PER_SERVER, checkout = "random", fillInterval = 5 }
  function p.latency.measure(_, entry)
    observe(entry.server, now() - entry.began)
  end
  p:attach(r)
  r:start()
end

return contenders
