-- The plan of the house (src/README.md), held against the code. Includes are
-- read from the sources, calls from the symbols of the objects. A file and its
-- header are one noun, and `src/rover/socket` its name here.
--
-- A private header says in its first line which rooms may include it: "Private
-- to src/lua and src/host: ...". A child that calls its owner back says so in
-- the comment that opens its header: "Owner: rover.c.".

local support = require "support"
local uv = require "luv"

local BUILD = support.EXECUTABLE:gsub("/[^/]*$", "")

-- From the ground up: each may know those before it.
local ROOMS = {}
for _, room in ipairs { "net", "tls", "rover", "relay", "front", "discover",
    "lua", "host", "sim", "admin", "cli" } do
  if uv.fs_stat("src/" .. room) then ROOMS[#ROOMS + 1] = room end
end

local RANK = {}
for rank, room in ipairs(ROOMS) do RANK[room] = rank end

local function roomOf(noun) return noun:match "^src/(%w+)/" end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- All files of the rooms: { path =, noun =, header = is it one?, text = }.
local function sources()
  local list = {}
  for _, room in ipairs(ROOMS) do
    local folder = "src/" .. room
    for name in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
      local stem, kind = name:match "^(.+)%.([ch])$"
      if stem then
        local path = folder .. "/" .. name
        list[#list + 1] = { path = path, noun = folder .. "/" .. stem,
          header = kind == "h", text = read(path) }
      end
    end
  end
  table.sort(list, function(a, b) return a.path < b.path end)
  return list
end

local files = sources()

local headers = {} -- by path
for _, file in ipairs(files) do
  if file.header then
    headers[file.path] = file
    file.rooms, file.opening = {}, file.text:match "^/%*(.-)%*/" or ""
    local first = file.opening:match "^%s*Private to ([^:]*):" or ""
    for room in first:gmatch "src/(%w+)" do file.rooms[room] = true end
  end
end

-- The headers of ours, other than public ones, that a file includes.
local function includes(file)
  local list = {}
  for name in ("\n" .. file.text):gmatch '\n#include "([^"\n]+)"' do
    local path = file.path:gsub("[^/]*$", "") .. name
    path = path:gsub("/%w+/%.%./", "/")
    list[#list + 1] = assert(headers[path], file.path .. " includes " .. path)
  end
  return list
end

-- Edges { from =, to =, why = } between nouns: who includes or calls whom.
local function arrows()
  local list = {}
  local function add(from, to, why)
    if from ~= to then list[#list + 1] = { from = from, to = to, why = why } end
  end
  for _, file in ipairs(files) do
    for _, header in ipairs(includes(file)) do
      add(file.noun, header.noun, file.path .. " includes " .. header.path)
    end
  end

  local function symbols(flags, fn)
    local count = 0
    local pipe = assert(io.popen(("nm -A -P %s '%s'/obj/*/*.o"):format(flags,
      BUILD)))
    for line in pipe:lines() do
      local noun, name = line:match "/obj/(%w+/[^/]+)%.o: (%S+)"
      -- A build may hold objects of files that have moved since.
      if noun and uv.fs_stat("src/" .. noun .. ".c") then
        fn("src/" .. noun, name)
        count = count + 1
      end
    end
    assert(pipe:close() and count > 0)
  end
  local home = {}
  symbols("-g --defined-only", function(noun, name)
    -- Whoever calls a function of the C library means that one.
    local isOfLibc = noun:find "^src/sim/libc" and not name:find "^sim__"
    if not isOfLibc then home[name] = noun end
  end)
  symbols("-u", function(noun, name)
    if home[name] then add(noun, home[name], noun .. ".c calls " .. name) end
  end)
  return list
end

-- The owner of a noun, if its header names one.
local function ownerOf(noun)
  local header = headers[noun .. ".h"]
  local owner = header and header.opening:match "Owner: ([%w_]+)%.c"
  return owner and noun:gsub("[^/]*$", owner)
end

-- Nouns of a room that reach each other: { why, ... } for each, or none. Takes
-- away what leads nowhere, and what nothing leads to, until only circles are
-- left.
local function circles(list)
  local left = {}
  for _, arrow in ipairs(list) do
    if roomOf(arrow.from) == roomOf(arrow.to)
        and ownerOf(arrow.from) ~= arrow.to then
      left[#left + 1] = arrow
    end
  end
  repeat
    local before, leads, led = #left, {}, {}
    for _, arrow in ipairs(left) do
      leads[arrow.from], led[arrow.to] = true, true
    end
    local rest = {}
    for _, arrow in ipairs(left) do
      if led[arrow.from] and leads[arrow.to] then rest[#rest + 1] = arrow end
    end
    left = rest
  until #left == before
  local whys = {}
  for _, arrow in ipairs(left) do whys[#whys + 1] = arrow.why end
  return whys
end

local function none(list)
  table.sort(list)
  if #list > 0 then error(table.concat(list, "\n"), 0) end
end

describe("the house", function()
  local drawn = arrows()

  it("has a header for each file that others use, which says whose it is",
    function()
      local wrong, used = {}, {}
      for _, file in ipairs(files) do
        for _, header in ipairs(includes(file)) do
          local room = roomOf(file.noun)
          if not header.rooms[room] then
            wrong[#wrong + 1] = ("%s includes %s, which is not for src/%s")
              :format(file.path, header.path, room)
          end
          used[header.path] = used[header.path] or header.noun ~= file.noun
        end
      end
      for path, header in pairs(headers) do
        if not next(header.rooms) then
          wrong[#wrong + 1] = path .. " does not begin with 'Private to'"
        elseif not used[path] then
          wrong[#wrong + 1] = path .. " is included by nobody else"
        end
      end
      none(wrong)
    end)

  it("has no arrow up, from room to room", function()
    local wrong = {}
    for _, arrow in ipairs(drawn) do
      if RANK[roomOf(arrow.from)] < RANK[roomOf(arrow.to)] then
        wrong[#wrong + 1] = arrow.why
      end
    end
    none(wrong)
  end)

  for _, room in ipairs(ROOMS) do
    local what = "has no circle in src/" .. room .. " but of owner and child"
    it(what, function()
      local own = {}
      for _, arrow in ipairs(drawn) do
        if roomOf(arrow.from) == room then own[#own + 1] = arrow end
      end
      none(circles(own))
    end)
  end

  it("sees a circle, and through the owner's word", function()
    local function arrow(from, to)
      return { from = "src/net/" .. from, to = "src/net/" .. to,
        why = from .. to }
    end
    local list = { arrow("a", "b"), arrow("b", "c"), arrow("c", "a"),
      arrow("c", "d"), arrow("e", "a") }
    assert.same({ "ab", "bc", "ca" }, circles(list))
    table.remove(list, 3)
    assert.same({}, circles(list))
  end)
end)
