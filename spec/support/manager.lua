-- A service manager for specs: a socket on which processes notify it, as
-- sd_notify(3) says.

local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"

local manager = {}

local methods = {}
local meta = { __name = "support.manager", __index = methods }

--- Starts one.
-- @return it; `path` is for NOTIFY_SOCKET
function manager.start()
  local dir = files.tmpdir()
  local program = dir .. "/notified"
  assert(os.execute("LD_PRELOAD= gcc -Wall -Wextra -Werror -o " .. program
    .. " spec/support/notified.c"))
  local self = setmetatable({ path = dir .. "/notify", list = {}, seen = 0 },
    meta)
  self.child = process.spawn(program, { self.path })
  self.child:waitFor "bound\n"
  self.read = self.child.seen
  return self
end

--- What it has been told so far: an array of { pid =, text = }.
function methods:all()
  for pid, text, last in
      self.child.stdout:gmatch("(%d+) ([^\n]*)\n()", self.read) do
    self.list[#self.list + 1] = { pid = math.tointeger(pid), text = text }
    self.read = last
  end
  return self.list
end

--- Runs the loop until it is told something, after what it was told last.
-- @param pattern a Lua pattern for the whole text
-- @return what the pattern captured, and then who told it
function methods:told(pattern)
  local found
  local ok = pcall(loop.run, function()
    local list = self:all()
    while not found and self.seen < #list do
      self.seen = self.seen + 1
      local text = list[self.seen].text
      found = text:find("^" .. pattern .. "$") and list[self.seen]
    end
    return found
  end)
  if not ok then
    local texts = {}
    for i, each in ipairs(self.list) do texts[i] = each.text end
    error(("not told %q, but:\n%s"):format(pattern,
      table.concat(texts, "\n")), 2)
  end
  local captures = { select(3, found.text:find("^" .. pattern .. "$")) }
  captures[#captures + 1] = found.pid
  return table.unpack(captures)
end

return manager
