-- The files in examples, for specs: with ports and paths of their own.

local assert = require "luassert"
local command = require "support.command"
local files = require "support.files"

local examples = {}

--- Replaces every occurrence of a text in another by a third, at least one.
function examples.replace(text, what, by)
  local count
  text, count = text:gsub(what:gsub("%p", "%%%0"), (by:gsub("%%", "%%%%")))
  assert.is_true(count > 0, what)
  return text
end

--- The text of an example.
-- @param name the name of its file
-- @param changes nil, or a table: texts in it, and what takes their place
function examples.read(name, changes)
  local file <close> = assert(io.open(command.ROOT .. "/examples/" .. name))
  local text = file:read "a"
  for what, by in pairs(changes or {}) do
    text = examples.replace(text, what, tostring(by))
  end
  return text
end

--- Writes an example with changes.
-- @return the path
function examples.edited(name, changes)
  return files.tmpfile(examples.read(name, changes), name)
end

--- The commands in the comment that an example in Lua begins with, as a shell
--- script.
function examples.commands(name)
  local lines = {}
  for line in examples.read(name):gmatch "([^\n]*)\n" do
    if not line:find "^%-%-" then break end
    lines[#lines + 1] = line:match "^%-%-   +(.*)"
  end
  return table.concat(lines, "\n") .. "\n"
end

return examples
