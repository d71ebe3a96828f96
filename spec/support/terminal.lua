-- A terminal for specs: a command runs in a pseudoterminal of script(1), and
-- what it draws is seen as a user sees it. Only the sequences that ours uses
-- are known, any other is an error, and so is what leaves the screen.

local loop = require "support.loop"
local process = require "support.process"
local uv = require "luv"

local terminal = {}

local methods = {}
local meta = { __name = "support.terminal", __index = methods }

--- Runs a command.
-- @param args array: the program and its arguments
-- @param env nil, or changes of the environment
-- @param rows, columns nil, or the size (24, 80)
-- @return the terminal; `child` is script(1), `pid` the command's process
function terminal.start(args, env, rows, columns)
  local own = { TERM = "xterm", LD_PRELOAD = false, LC_ALL = "C.UTF-8",
    SHELL = "/bin/sh" }
  for name, value in pairs(env or {}) do own[name] = value end
  local quoted = {}
  for i, arg in ipairs(args) do
    quoted[i] = "'" .. arg:gsub("'", "'\\''") .. "'"
  end
  local self = setmetatable({ rows = rows or 24, columns = columns or 80,
    lines = {}, row = 1, column = 1, modes = {}, limit = -1,
    frame = "" }, meta)
  -- What ends the command by a key is not to end its shell as well.
  local line = ([[trap : INT QUIT; stty rows %d cols %d; tty
    sh -c 'echo "pid $$"; exec "$@"' sh %s
    echo "status $?"; stty -a; echo end]])
    :format(self.rows, self.columns, table.concat(quoted, " "))
  self.child = process.spawn("script", { "-qec", line, "/dev/null" },
    { env = own })
  self.path = self.child:waitFor "(/dev/pts/%d+)\r\n"
  self.pid = tonumber((self.child:waitFor "pid (%d+)\r\n"))
  self.at = self.child.seen
  return self
end

--- Changes the size of the window, as a user does. What was drawn just before
-- may leave it.
function methods:resize(rows, columns)
  self.resized = true
  self.rows, self.columns = rows, columns
  local stty = process.spawn("stty", { "-F", self.path, "rows",
    tostring(rows), "cols", tostring(columns) })
  assert(stty:wait() == 0, stty.output)
end

--- Presses keys.
function methods:press(keys) self.child:write(keys) end

--- Runs the loop until the command has been stopped.
function methods:waitStopped()
  loop.eventually(function()
    local file <close> = assert(io.open("/proc/" .. self.pid .. "/stat"))
    return file:read "a":match "%) (%a)" == "T"
  end)
end

--- Sends a signal to the command.
function methods:kill(signal) uv.kill(self.pid, signal) end

local function put(self, text)
  local line = self.lines[self.row] or ""
  local from = utf8.len(line)
  line = line .. (" "):rep(self.column - 1 - from)
  local head = line:sub(1, utf8.offset(line, self.column) - 1)
  local tail = utf8.offset(line, self.column + 1)
  self.lines[self.row] = head .. text .. (tail and line:sub(tail) or "")
  self.column = self.column + 1
end

-- On its other screen, since that of the shell is not looked at.
local function character(self, text)
  if not self.modes["?1049"] then return end
  if text == "\r" then self.column = 1
  elseif text == "\n" then
    self.row = self.row + 1
    self.lines[self.row] = self.lines[self.row] or ""
  else
    assert(not text:find "%c", "a control character")
    local fits = self.row <= self.rows and self.column <= self.columns
    assert(fits or self.resized, "outside of the window")
    if fits then put(self, text) else self.spoilt = true end
  end
end

local function sequence(self, parameters, what)
  if what == "H" then
    assert(parameters == "")
    self.row, self.column = 1, 1
  elseif what == "K" then
    local line = self.lines[self.row] or ""
    local keep = utf8.offset(line, self.column)
    self.lines[self.row] = line:sub(1, (keep or #line + 1) - 1)
  elseif what == "J" then
    sequence(self, "", "K")
    for i = #self.lines, self.row + 1, -1 do self.lines[i] = nil end
    if not self.spoilt then
      self.frame, self.resized = table.concat(self.lines, "\n"), false
    end
    self.spoilt = false
  elseif what == "h" or what == "l" then
    local rest = parameters == "?1049" and "l" or "h"
    self.modes[parameters] = what ~= rest or nil
    if parameters == "?1049" then
      self.lines, self.row, self.column, self.frame = {}, 1, 1, ""
    end
  else
    assert(what == "m", "an unknown sequence: " .. what)
  end
end

--- What is on the screen, once it has been drawn to its end: a string of lines.
function methods:screen()
  local text = self.child.stdout:sub(1, self.limit)
  while self.at <= #text do
    local first = text:sub(self.at, self.at)
    local parameters, what, last = text:match("^\27%[([%d?]*)(%a)()", self.at)
    if parameters then
      sequence(self, parameters, what)
    else
      if first == "\27" then break end -- the rest is to come
      last = self.at + #(text:match("^" .. utf8.charpattern, self.at))
      character(self, text:sub(self.at, last - 1))
    end
    self.at = last
  end
  return self.frame
end

--- Runs the loop until the screen matches.
-- @param pattern a Lua pattern
-- @return what it captured
function methods:shows(pattern)
  local found
  local ok, err = pcall(loop.run, function()
    found = table.pack(self:screen():match(pattern))
    return found[1] or self.child.code
  end)
  if not found or not found[1] then
    error(("%s\nwhich is not %q %s"):format(self:screen(), pattern,
      ok and "" or err), 2)
  end
  return table.unpack(found)
end

--- Runs the loop until the command has ended.
-- @return its exit status, and whether the terminal is as it was before
function methods:ends()
  local status = tonumber((self.child:waitFor "status (%d+)\r\n"))
  self.limit = self.child.stdout:find "status %d+\r\n" - 1
  local settings = self.child:waitFor "(.-)\r\nend\r\n"
  self.child:wait()
  self:screen()
  local function has(name) return (" " .. settings):find("[ ;]" .. name) end
  return status, next(self.modes) == nil and not has "%-icanon%f[%W]"
    and not has "%-echo%f[%W]" and true or false
end

return terminal
