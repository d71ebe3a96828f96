-- A policy whose servers come from files that are written in every way, torn,
-- emptied and removed. What its sources say came and went, its rovers have; no
-- list gets empty; and once all is calm, they have what the files say.
-- luacheck: globals chaos

local discover = require "callosum.discover"
local host = require "callosum.host"
local rover = require "callosum.rover"
local uv = require "luv"

local names = host.args

chaos.maybeFail()

-- Files ----------------------------------------------------------------------

local count = chaos.draw(1, 3)

local function some(most)
  local list = {}
  for _, name in ipairs(names) do
    if not chaos.oneIn(3) then list[#list + 1] = name .. ":4040" end
  end
  for i = 1, most do list[#list + 1] = ("none%d:%d"):format(i, most) end
  if #list == 0 then list[1] = names[1] .. ":4040" end
  return list
end

local function text(list)
  if chaos.draw(1, 2) == 1 then return table.concat(list, "\n") .. "\n" end
  return ('[{"targets": ["%s"]}]\n'):format(table.concat(list, '", "'))
end

local empty = { "# none\n", "[]", '[{"targets": []}]' }
local garbage = { "", "\n \n", "[{", "what is this", "\0\0\0",
  '{"targets": ["a:1"]}', "a:0", ("["):rep(100) }

-- Whoever looks at its time sees that it was written.
local function write(path, bytes)
  local where = path
  if chaos.draw(1, 2) == 1 then where = path .. ".new" end
  local file = assert(io.open(where, "w"))
  file:write(bytes)
  file:close()
  local time = chaos.serial()
  assert(uv.fs_utime(where, time, time))
  if where ~= path then assert(os.rename(where, path)) end
end

local function disturb(path)
  local what = chaos.draw(1, 8)
  if what <= 3 then return write(path, text(some(0))) end
  if what == 4 then return write(path, text(some(chaos.log(1, 300)))) end
  if what <= 6 then return write(path, empty[chaos.draw(1, #empty)]) end
  -- A failure has the source wait for a second.
  if chaos.draw(1, 4) > 1 then return end
  if chaos.draw(1, 4) == 1 then return os.remove(path) end
  if what == 7 then return write(path, garbage[chaos.draw(1, #garbage)]) end
  local whole = text(some(0))
  write(path, whole:sub(1, chaos.draw(0, #whole)))
end

-- Sources --------------------------------------------------------------------

local rovers, sources = {}, {}
-- With a reload, sources know what they knew before.
local isFirst = host.generation <= 1

for i = 1, chaos.draw(1, 2) do
  local r = rover.new { name = "rover " .. i,
    rovingInterval = chaos.log(100, 10000) }
  chaos.declares(i)
  r:on("connection", function(_, socket) socket:close() end)
  r:on("error", function() end)
  r:start()
  rovers[i] = r
end

local function declare(i)
  local d = discover.file {
    name = "source " .. i,
    path = chaos.path(i),
    interval = chaos.log(5, 200),
    removalDelay = chaos.log(1, 2000),
    maxDrop = chaos.draw(0, 10) / 10,
    confirm = chaos.draw(1, 4),
    cache = chaos.oneIn(2) and chaos.path(i) .. ".cache" or nil,
  }
  local known = {}
  d:on("error", function(err) chaos.note(tostring(err)) end)
  d:on("update", function(added, dropped)
    for _, id in ipairs(added) do
      assert(not isFirst or not known[id], "it has come twice")
      known[id] = true
    end
    for _, id in ipairs(dropped) do
      assert(not isFirst or known[id], "it has gone twice")
      known[id] = nil
    end
  end)
  for _, r in ipairs(rovers) do d:attach(r) end
  sources[i] = { source = d, known = known, most = 0 }
end

for i = 1, count do declare(i) end

local function check()
  local all, has = {}, 0
  for i, each in ipairs(sources) do
    local listed = each.source:stats().servers
    assert(listed > 0 or each.most == 0, "source " .. i .. " was emptied")
    each.most = math.max(each.most, listed)
    for id in pairs(each.known) do
      if not all[id] then has = has + 1 end
      all[id] = true
    end
  end
  if not isFirst then return end
  for _, r in ipairs(rovers) do
    local ids = 0
    for id in pairs(r:servers()) do
      assert(all[id], "no source has listed " .. id)
      ids = ids + 1
    end
    assert(ids == has, "a server is missing")
  end
end

local wanted = {}

local function checkCalm()
  for i, each in ipairs(sources) do
    local s = each.source:stats()
    assert(not s.stale and s.leaving == 0, ("source %d is behind: stale %s, "
      .. "%d leave, it asks in %d ms"):format(i, s.stale, s.leaving, s.next))
  end
  local left = {}
  for id in pairs(wanted) do left[id] = true end
  for _, r in ipairs(rovers) do
    for id in pairs(r:servers()) do
      assert(wanted[id], "this server is to be gone: " .. id)
    end
    for id in pairs(left) do
      assert(r:servers()[id], "this server is to be there: " .. id)
    end
  end
end

local timer = uv.new_timer()
timer:start(0, chaos.log(5, 500), function()
  if chaos.calm() then
    for i = 1, count do
      local list = some(0)
      for _, id in ipairs(list) do wanted[id] = true end
      write(chaos.path(i), text(list))
    end
    timer:start(150000, 0, function()
      timer:close()
      checkCalm()
    end)
    return
  end
  disturb(chaos.path(chaos.draw(1, count)))
  check()
  if chaos.oneIn(64) then chaos.reload() end
end)

chaos.maybeFail()
