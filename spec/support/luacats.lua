-- Reads LuaCATS annotations, as far as this project has need of them, and
-- refuses what it does not know. It needs nothing but Lua, so that a policy in
-- the host can use it too.
--
-- What it makes of some files is an API: `classes`, `aliases` and `modules` by
-- name. A class has `name`, `file`, `text`, perhaps `parent` (a name), and by
-- their names `fields` and `functions`. A module, which is what `require`
-- returns, has the same. A field has `type`, `text`, `optional`, and `scope`
-- ("public", "package", ...). For a function there is an array of signatures,
-- more than one if it is overloaded: `text`, `params` and `returns` (arrays of
-- tables with `name`, `type`, `text`, `optional`), and `method` if it is to be
-- called with the object. `types` lists every type that is named: its `name`,
-- and `where`.
--
-- A type is a table with a `kind`: "name" and "literal" have a `value`, "array"
-- has `of`, "table" has `key` and `of`, "union" is an array of types, and "fun"
-- is a signature. `T?` is the union of T and nil.

local luacats = {}

-- Types ----------------------------------------------------------------------

local NIL = { kind = "name", value = "nil" }

local function union(types)
  if #types == 1 then return types[1] end
  types.kind = "union"
  return types
end

-- A reader of types in a text, which calls `named(name)` for each it meets.
local function typeReader(text, named)
  local at = 1
  local reader = {}

  local function take(pattern)
    local from, to, found = text:find("^%s*(" .. pattern .. ")", at)
    if from then at = to + 1 end
    return found
  end

  local function expect(pattern)
    return take(pattern) or error(("%s expected at %q in %q")
      :format(pattern, text:sub(at), text), 0)
  end

  -- What may not have blanks before it, for behind a blank text begins.
  local function follows(pattern)
    local from, to = text:find("^" .. pattern, at)
    if from then at = to + 1 end
    return from
  end

  local function signature()
    local fun = { kind = "fun", params = {}, returns = {} }
    expect "%("
    while not take "%)" do
      local param = { name = take "%.%.%." or expect "[%a_][%w_]*" }
      param.optional = follows "%?" ~= nil
      expect ":"
      param.type = reader.type()
      table.insert(fun.params, param)
      if not text:find("^%s*%)", at) then expect "," end
    end
    if not follows ":" then return fun end
    repeat
      table.insert(fun.returns, { type = reader.type() })
    until not follows ","
    return fun
  end

  local function primary()
    if take "%(" then
      local inner = reader.type()
      expect "%)"
      return inner
    elseif take "fun%f[%W]" then
      return signature()
    end
    local literal = take '"[^"]*"'
    if literal then return { kind = "literal", value = literal:sub(2, -2) } end
    local name = expect "[%a_][%w_.]*"
    if name == "table" and follows "<" then
      local key = reader.type()
      expect ","
      local of = reader.type()
      expect ">"
      return { kind = "table", key = key, of = of }
    end
    named(name)
    return { kind = "name", value = name }
  end

  function reader.type()
    local types = {}
    repeat
      local one = primary()
      while follows "%[%]" do one = { kind = "array", of = one } end
      table.insert(types, one)
      if follows "%?" then table.insert(types, NIL) end
    until not follows "|"
    return union(types)
  end

  --- What is left of the text.
  function reader.rest()
    return text:sub(at):match "^%s*(.-)%s*$"
  end

  return reader
end

-- Tags -----------------------------------------------------------------------

-- Each takes what is behind its tag, and adds that to the block.
local tags = {}

local function split(text)
  local name, optional, rest = text:match "^([%a_][%w_.]*)(%??)%s+(.*)$"
  if not name then error("a name and a type expected: " .. text, 0) end
  return name, optional == "?", rest
end

function tags.meta(block, text)
  block.meta = text
end

function tags.class(block, text)
  local name, parent = text:match "^([%w.]+)%s*:?%s*([%w.]*)$"
  if not name then error("a class expected: " .. text, 0) end
  block.class = { name = name, parent = parent ~= "" and parent or nil,
    text = block:prose(), fields = {}, functions = {} }
end

function tags.alias(block, text)
  local name, _, rest = split(text)
  block:prose()
  block.aliases[name] = block:type(rest)
end

local scopes = { public = true, protected = true, private = true,
  package = true }

function tags.field(block, text)
  local class = block.class or error("a field of no class: " .. text, 0)
  local scope = text:match "^(%a+)%s+[%a_][%w_]*%??%s"
  if scopes[scope] then text = text:sub(#scope + 1):match "^%s*(.*)" end
  local name, optional, rest = split(text)
  local type, behind = block:type(rest)
  local prose = (block:prose() .. " " .. behind):match "^%s*(.-)%s*$"
  if type.kind == "fun" then
    local self = type.params[1]
    type.method = self and self.name == "self"
    if type.method then table.remove(type.params, 1) end
    type.text = prose
    class.functions[name] = class.functions[name] or {}
    table.insert(class.functions[name], type)
  elseif class.fields[name] then
    error("a second field " .. name, 0)
  else
    class.fields[name] = { type = type, text = prose, optional = optional,
      scope = scopes[scope] and scope or "public" }
  end
end

function tags.param(block, text)
  local name, optional, rest = split(text)
  local type, behind = block:type(rest)
  table.insert(block.params, { name = name, type = type, text = behind,
    optional = optional })
end

tags["return"] = function(block, text)
  local type, behind = block:type(text)
  local name, prose = behind:match "^([%a_][%w_]*)%s*(.*)$"
  table.insert(block.returns, { name = name, type = type, text = prose or "" })
end

-- Files ----------------------------------------------------------------------

-- The code below a block tells what it is about.
local function bind(api, file, block, line)
  local class = block.class
  if class then
    if api.classes[class.name] then error("a second " .. class.name, 0) end
    api.classes[class.name] = class
    class.file = file.path
  end
  for name, type in pairs(block.aliases) do api.aliases[name] = type end
  if block.meta then file.meta = block.meta end

  local variable = line:match "^local ([%a_][%w_]*) ="
  if variable then
    file.tables[variable] = class
      or { fields = {}, functions = {}, text = block:prose() }
  end
  local owner, mark, name, params =
    line:match "^function ([%a_][%w_]*)([.:])([%a_][%w_]*)%((.-)%)"
  if not owner then
    if #block.params + #block.returns > 0 then
      error("no function below the parameters", 0)
    end
    return
  end
  local names = {}
  for _, param in ipairs(block.params) do names[#names + 1] = param.name end
  if table.concat(names, ", ") ~= params then
    error(("function %s has the parameters (%s), annotated are (%s)")
      :format(name, params, table.concat(names, ", ")), 0)
  end
  local of = file.tables[owner] or error("what is " .. owner .. "?", 0)
  if of.functions[name] then error("a second " .. name, 0) end
  of.functions[name] = { { kind = "fun", text = block:prose(),
    params = block.params, returns = block.returns, method = mark == ":" } }
end

local block = {}
block.__index = block

local function newBlock(api, where)
  return setmetatable({ api = api, where = where, lines = {}, aliases = {},
    params = {}, returns = {} }, block)
end

--- Takes the prose read so far.
function block:prose()
  local text = table.concat(self.lines, " ")
  self.lines = {}
  return text
end

--- Reads a type, and returns what is behind it too.
function block:type(text)
  local reader = typeReader(text, function(name)
    table.insert(self.api.types, { name = name, where = self.where })
  end)
  return reader.type(), reader.rest()
end

function block:add(text)
  local tag, rest = text:match "^@(%a+)%s*(.*)$"
  if not tag then
    table.insert(self.lines, (text:gsub("^ ", "")))
  elseif not tags[tag] then
    error("an unknown tag @" .. tag, 0)
  else
    tags[tag](self, rest)
  end
end

local function readFile(api, path, name)
  local file = { path = path, tables = {} }
  local number, current, returned = 0, nil, nil
  local function step(line)
    local text = line:match "^%-%-%-(.*)$"
    if text and not text:find "^%-%-" then
      current = current or newBlock(api, path .. ":" .. number)
      return current:add(text)
    end
    bind(api, file, current or newBlock(api, path), line)
    current = nil
    returned = line:match "^return ([%a_][%w_]*)$" or returned
  end
  for line in io.lines(path) do
    number = number + 1
    local ok, err = pcall(step, line)
    if not ok then error(("%s:%d: %s"):format(path, number, err), 0) end
  end
  local module = file.tables[returned]
  if not module then error(path .. " returns no annotated module", 0) end
  api.modules[file.meta or name] = module
  module.name = module.name or name
  module.file = path
end

--- Reads annotated modules.
-- @param files array of tables: `path`, and `name` if the file is what
--   `require` of that name finds
-- @return the API
function luacats.read(files)
  local api = { classes = {}, aliases = {}, modules = {}, types = {} }
  for _, file in ipairs(files) do readFile(api, file.path, file.name) end
  return api
end

return luacats
