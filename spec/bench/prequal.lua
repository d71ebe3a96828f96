-- Prequal, from its paper (Wydrowski and others, Load is not what you should
-- balance: Introducing Prequal, NSDI 2024), as one of the contenders. Each
-- request sends probes to servers at random, which answer how many requests are
-- under way there and how long such ones took lately; nothing waits for these.
-- The answers are kept in a small pool, from which the next requests choose: of
-- servers with few requests under way, compared with what was heard lately,
-- the quickest, or else the one with the fewest. An answer is used only a few
-- times, and what is old or bad is removed, so that clients do not herd.

local now = require "callosum.options".now

local prequal = {}

-- As in the paper, but for the size of the pool: 16 of 20 servers would be
-- nearly all, whose answers could be used without end.
local SIZE = 8
local PER_REQUEST = 3
local REMOVED = 1 -- for each request
local HOT = 2 ^ -0.25 -- the quantile
local MORE = 1 -- answers gained in a full pool, for each request
local OLD = 1e9 -- ns
local FEWEST = 2 -- with fewer answers the choice is random
local HEARD = 128 -- counts of which the quantile is taken

local methods = {}
local metatable = { __index = methods }

-- How often an answer is used, at random so that the mean is right.
local function uses(self)
  local share = 1 - math.min(1, SIZE / #self.ids)
  local gained = share * PER_REQUEST - REMOVED
  local mean = gained > 0 and math.max(1, (1 + MORE) / gained) or math.huge
  if mean == math.huge then return mean end
  local whole = math.floor(mean)
  return whole + (math.random() < mean - whole and 1 or 0)
end

-- From how many requests under way on a server is hot: more than this.
local function limitOf(self)
  local sorted = table.move(self.heard, 1, #self.heard, 1, {})
  table.sort(sorted)
  return sorted[math.ceil(HOT * #sorted)] or math.huge
end

-- Whether to choose `a` rather than `b`; what is worst is removed by the same
-- order.
local function better(a, b, limit)
  local hotA, hotB = a.count > limit, b.count > limit
  if hotA ~= hotB then return hotB end
  if hotA then return a.count < b.count end
  return a.us < b.us
end

local function removeOld(self)
  local time = now()
  for i = #self.answers, 1, -1 do
    if time - self.answers[i].at > OLD then table.remove(self.answers, i) end
  end
end

-- The oldest and the worst take turns. Answers are in the order of their age.
local function removeOne(self, limit)
  local place = 1
  self.worst = not self.worst
  if self.worst then
    for i, answer in ipairs(self.answers) do
      if better(self.answers[place], answer, limit) then place = i end
    end
  end
  table.remove(self.answers, place)
end

local function receive(self, id, count, us)
  table.insert(self.heard, count)
  if #self.heard > HEARD then table.remove(self.heard, 1) end
  for i, answer in ipairs(self.answers) do
    if answer.id == id then
      table.remove(self.answers, i)
      break
    end
  end
  table.insert(self.answers, { id = id, count = count, us = us, at = now(),
    left = uses(self) })
  if #self.answers > SIZE then table.remove(self.answers, 1) end
end

-- Different servers each time.
local function probe(self)
  local ids = self.ids
  for i = 1, math.min(PER_REQUEST, #ids) do
    local other = math.random(i, #ids)
    ids[i], ids[other] = ids[other], ids[i]
    local socket = self.sockets[ids[i]]
    if socket then socket:write "load\n" end
  end
end

-- A connection to each server, for probes alone: the rover roves until there
-- are all, and when one is lost.
local function connect(self, rover)
  local missing = #self.ids
  rover:on("connection", function(_, socket, id)
    if self.sockets[id] then return socket:close() end
    self.sockets[id], missing = socket, missing - 1
    if missing == 0 then rover:stop() end
    local text = ""
    socket:on("data", function(chunk)
      text = (text .. chunk):gsub("load (%d+) (%d+)\n", function(count, us)
        receive(self, id, tonumber(count), tonumber(us))
        return ""
      end)
    end)
    socket:on("close", function()
      self.sockets[id] = nil
      if missing == 0 then rover:start() end
      missing = missing + 1
    end)
  end)
  rover:start()
end

--- Chooses a server for the next request.
---@param servers table[] those with an idle connection, by `id`
---@return table server
function methods:choose(servers)
  local byId = {}
  for _, server in ipairs(servers) do byId[server.id] = server end
  removeOld(self)
  local limit, best = limitOf(self), nil
  if #self.answers >= FEWEST then
    for _, answer in ipairs(self.answers) do
      if byId[answer.id] and (not best or better(answer, best, limit)) then
        best = answer
      end
    end
  end
  if best then
    -- The request is one more there.
    best.count, best.left = best.count + 1, best.left - 1
    for i, answer in ipairs(self.answers) do
      if answer == best and best.left <= 0 then
        table.remove(self.answers, i)
        break
      end
    end
  end
  for _ = 1, REMOVED do
    if #self.answers > 0 then removeOne(self, limit) end
  end
  probe(self)
  return best and byId[best.id] or servers[math.random(#servers)]
end

--- Makes one for servers with these ids, which has the rover for itself.
function prequal.new(rover, ids)
  local self = setmetatable({ ids = ids, sockets = {}, answers = {},
    heard = {}, worst = false }, metatable)
  connect(self, rover)
  return self
end

return prequal
