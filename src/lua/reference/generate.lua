-- Writes what is generated from the reference: the annotations for editors
-- (lua/callosum/meta) and the API's part of callosum-policy(5), between its
-- markers. `make docs` runs it, at the top of the source tree.
--
-- NAME.lua beside this one describes the module callosum.NAME. It returns
-- an array of items, of which the first is the module. An item has a name
-- (`module`, `class`, `record` or `alias`) and a text; `manual` is text that
-- only the manual has. What it lists are tables whose first value is
--
--   in `functions`  a signature, "close(ms?: integer): Relay". Those of a class
--                   are methods; its objects are called `var`
--   in `events`     the same, as handlers of it are called
--   in `fields`     a name and, second, a type; `?` behind the name: optional
--
-- and then a text. A function with `errors`, pairs of a code and when it comes,
-- may return nil, a message and a code instead. A field may have `default` (as
-- Lua writes it), `range` and `unit`. What is listed elsewhere is not listed
-- again: an entry says `of` what file its fields are, and as `map` the name of
-- the table there; `notes` has by name text for the manual.
--
-- Texts are paragraphs with blank lines between them. In backquotes stand code,
-- error codes and functions (`r:start()`); [RELOADING] is a section of the
-- manual; a paragraph that is indented is an example.

local FOLDER = "src/lua/reference/"
local NAMES = { "rover", "relay", "front", "discover", "pool", "server",
  "slots", "metrics", "host" }
local MANUAL = "src/host/callosum-policy.5"

local parse = dofile(FOLDER .. "generate/parse.lua")
local annotations = dofile(FOLDER .. "generate/annotations.lua")
local manual = dofile(FOLDER .. "generate/manual.lua")

local reference = {}

--- Reads the reference.
-- @return an array of modules, each an array of items
function reference.read()
  local modules = {}
  for i, name in ipairs(NAMES) do
    modules[i] = dofile(FOLDER .. name .. ".lua")
    for _, item in ipairs(modules[i]) do parse(item) end
  end
  return modules
end

--- Makes the files.
-- @return a table of their texts by path
function reference.generate()
  local modules, files = reference.read(), {}
  for i, name in ipairs(NAMES) do
    files["lua/callosum/meta/" .. name .. ".lua"] =
      annotations(modules[i], FOLDER .. name .. ".lua")
  end
  local page <close> = assert(io.open(MANUAL))
  files[MANUAL] = manual(modules, page:read "a")
  return files
end

if arg and arg[0] and arg[0]:find "generate%.lua$" then
  for path, text in pairs(reference.generate()) do
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(text))
  end
end

return reference
