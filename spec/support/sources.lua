-- Sources of servers for tests, closed when the test ends.

local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"
local rovers = require "support.rovers"

local sources = {}

--- Replaces a file as a whole: nobody reads a part of it.
-- @param path where
-- @param text what is in it, or nil for no file
function sources.put(path, text)
  if not text then return assert(os.remove(path)) end
  files.write(path .. ".new", text)
  assert(os.rename(path .. ".new", path))
end

--- Makes a source, attached to a rover of its own. Unless the options say
-- otherwise, it looks every 10 ms, and drops servers at once.
-- @param text what is in its file, or nil for none
-- @param options nil, or more of them
-- @return a table: `source`, `rover`, `path`, `added` and `dropped` (arrays of
--   ids), `errors` (an array); `put(text)` changes the file
function sources.file(text, options)
  local path = files.tmpdir() .. "/servers"
  if text then sources.put(path, text) end
  return sources.attach(path, options)
end

--- The same, of a file that is there or not.
function sources.attach(path, options)
  local given = { path = path, interval = 10, removalDelay = 0 }
  for name, value in pairs(options or {}) do given[name] = value end
  local self = { path = path, rover = rovers.rover(), added = {},
    dropped = {}, errors = {} }
  function self.put(new) sources.put(path, new) end
  self.source = require("callosum.discover").file(given)
  loop.atEnd(function() self.source:close() end)
  self.source:on("update", loop.watched(function(added, dropped)
    table.move(added, 1, #added, #self.added + 1, self.added)
    table.move(dropped, 1, #dropped, #self.dropped + 1, self.dropped)
  end))
  self.source:on("error", loop.watched(function(err)
    self.errors[#self.errors + 1] = err
  end))
  self.source:attach(self.rover)
  return self
end

--- The ids of a rover's servers, sorted, as one string.
function sources.ids(rover)
  local ids = {}
  for id in pairs(rover:servers()) do ids[#ids + 1] = id end
  table.sort(ids)
  return table.concat(ids, " ")
end

--- Runs the loop until a rover has these servers.
function sources.has(rover, ids)
  loop.run(function() return sources.ids(rover) == ids end)
end

--- Runs the loop until a counter of a source has risen to that.
function sources.counted(source, name, least)
  loop.run(function() return source:stats()[name] >= least end)
end

-- What a script in virtual time begins with, in one line. `d` is a source as
-- `file` makes it, of the options given; `t()` is the time in ms; `at(ms, fn)`
-- has something done at a time, and `finish(ms)` ends the script then.
local HEAD = ([[
  local uv = require "luv" local rover = require "callosum.rover"
  local discover = require "callosum.discover"
  local _, path = ... local began, open = uv.hrtime(), {}
  local function t() return (uv.hrtime() - began) // 1000000 end
  local function at(ms, fn)
    local timer = uv.new_timer()
    timer:start(ms, 0, function() timer:close() fn() end)
  end
  local function put(text)
    if not text then return os.remove(path) end
    local file = assert(io.open(path, "w")) file:write(text) file:close()
  end
  local function ids(r)
    local list = {}
    for id in pairs(r:servers()) do list[#list + 1] = id end
    table.sort(list)
    return table.concat(list, " ")
  end
  local function closing(one) open[#open + 1] = one return one end
  local function finish(ms)
    at(ms, function() for _, one in ipairs(open) do one:close() end end)
    uv.run()
  end
  local function file(options, r)
    options.path = options.path or path
    local d = closing(discover.file(options))
    r = r or closing(rover.new { name = "of " .. tostring(d) })
    return d:attach(r), r
  end
]]):gsub("\n%s*", " ")

local VIRTUAL = command.EXECUTABLE:gsub("[^/]*$", "programs/virtual.so")

--- Runs a script on the virtual kernel of src/sim, in no time. What it prints
-- is compared with what it should.
-- @param script its text, behind HEAD
-- @param expected lines, as one string, or a function that is given the output
function sources.virtual(script, expected)
  local path = files.tmpdir() .. "/servers"
  -- A sanitizer's functions stay behind it.
  local preloaded = VIRTUAL .. " " .. (os.getenv "LD_PRELOAD" or "")
  local child = process.spawnLua(HEAD .. script, { args = { "4040", path },
    env = { LD_PRELOAD = preloaded,
      ASAN_OPTIONS = "verify_asan_link_order=0:detect_leaks=0" } })
  local code = child:wait()
  if code ~= 0 then error(child.output, 2) end
  if type(expected) == "function" then return expected(child.output) end
  local lines = {}
  for line in expected:gmatch "[^\n]+" do
    if line:find "%S" then lines[#lines + 1] = line:match "^%s*(.-)%s*$" end
  end
  require("luassert").equal(table.concat(lines, "\n"),
    (child.output:gsub("%s+$", "")))
end

return sources
