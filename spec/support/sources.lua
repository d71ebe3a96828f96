-- Sources of servers for tests, closed when the test ends.

local files = require "support.files"
local loop = require "support.loop"
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

return sources
