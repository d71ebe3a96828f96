-- Writes what is generated from the reference: the annotations for editors
-- (lua/callosum/meta) and the API's parts of callosum-policy(5), between its
-- markers. `make docs` runs it at the top of the source tree.
--
-- A file NAME.lua beside this one tells of the module callosum.NAME. It returns
-- an array of items, of which the first is the module. An item has a name
-- (`module`, `class`, `record` or `alias`) and a text; `manual` is text that
-- only the manual has. What it lists are tables whose first value is
--
--   in `functions`  a signature, "close(ms?: integer): Relay". Those of a class
--                   are methods; its objects are called `var`
--   in `events`     the same, as handlers of it are called
--   in `fields`     a name and, second, a type; `?` behind the name: optional
--
-- and whose last value is a text. A function with `errors`, pairs of a code and
-- when it comes, may return nil, a message and a code instead. A field may have
-- `default` (as Lua writes it), `range` and `unit`. Options and counters of a
-- table in a C header are not listed again: an entry names that table (`map`),
-- the header (`of`), and may have, by name, text for the manual (`notes`).
--
-- Texts are paragraphs with blank lines between them. In backquotes stand code,
-- error codes and functions (`r:start()`); [RELOADING] is a section of the
-- manual; a paragraph that is indented is an example.

local FOLDER = "src/lua/reference/"
local NAMES = { "rover", "relay", "pool", "server", "slots", "host" }
local MANUAL = "src/host/callosum-policy.5"
local WIDTH = 80

local reference = {}

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- Reading --------------------------------------------------------------------

-- Splits at commas that are in no brackets.
local function split(list)
  local parts, from, depth = {}, 1, 0
  for at, char in (list .. ","):gmatch "()([][(){}<>,])" do
    if char:find "[[({<]" then depth = depth + 1
    elseif char ~= "," then depth = depth - 1
    elseif depth == 0 then
      parts[#parts + 1] = list:sub(from, at - 1):match "^%s*(.-)%s*$"
      from = at + 1
    end
  end
  return list:find "%S" and parts or {}
end

-- Types of ours begin with a capital.
local function typeOf(text)
  return (text:gsub("[%w_.]+", function(word)
    return word:find "^%u" and "callosum." .. word
  end))
end

-- Makes of "name(a: type, b?: type): type name" what it consists of.
local function parse(each)
  local name, params, returns = each[1]:match "^([%w_]+)(%b())%s*:?%s*(.*)$"
  assert(name, each[1])
  each.name, each.params, each.returns = name, {}, {}
  for i, param in ipairs(split(params:sub(2, -2))) do
    local key, optional, type = param:match "^([%w_]+)(%??):%s*(.+)$"
    each.params[i] = { name = assert(key, each[1]), type = typeOf(type),
      optional = optional == "?" }
  end
  for i, one in ipairs(split(returns)) do
    local type, key = one:match "^(.+) ([%w_]+)$"
    each.returns[i] = { type = typeOf(type or one), name = key or "" }
  end
  each.text = each[#each]
end

-- The entries of a C macro's table, XX(a, b, "text"): arrays of texts.
local function entriesOf(path, name)
  local strings, entries = {}, {}
  local body = read(path):match("#define " .. name .. "%(XX%)(.-[^\\])\n")
  body = assert(body, name):gsub("\\\n", ""):gsub('"%s+"', "")
    :gsub('"([^"]*)"', function(text)
      strings[#strings + 1] = text
      return "$" .. #strings
    end)
  for entry in body:gmatch "XX(%b())" do
    local values = split(entry:sub(2, -2))
    for i, value in ipairs(values) do
      values[i] = value:gsub("^%$(%d+)$", function(number)
        return strings[tonumber(number)]
      end)
    end
    entries[#entries + 1] = values
  end
  return entries
end

-- What C calls max_attempts is maxAttempts here.
local function toLua(text)
  return (text:gsub("%f[%w_]%l+_[%l_]+", function(name)
    return "`" .. name:gsub("_(%l)", string.upper) .. "`"
  end))
end

-- By the kind of an option in a table: its type, its unit, and what its 0 says.
local KINDS = {
  MS = { "integer", "ms" },
  TIMEOUT = { "integer", "ms", "no deadline" },
  SECONDS = { "integer", "s", "never" },
  COUNT = { "integer" },
  FRACTION = { "number" },
  SEED = { "integer" },
  FLAG = { "boolean" },
}
local MOST = 0xffffffff -- of what Lua takes

-- Adds the options or counters of a table to an array.
local function addFields(list, map)
  for _, entry in ipairs(entriesOf(map.of, map.map)) do
    local field, default, kind
    if #entry == 4 then
      field = { entry[3], "integer", toLua(entry[4]) }
    else
      kind, default = KINDS[entry[3]], entry[6]
      field = { entry[7], kind[1], toLua(entry[8]), unit = kind[2] }
      if kind[3] then
        field[3] = ("%s 0 means %s."):format(field[3], kind[3])
      end
      if entry[3] == "FLAG" then
        field.default = default == "0" and "false" or "true"
      elseif entry[3] == "SEED" then
        field[1] = field[1] .. "?"
      else
        field.default = default == "ROVER_NEVER" and "0" or default
        field.range = ("%s to %d"):format(kind[3] and "0" or entry[4],
          math.min(math.tointeger(entry[5]) or MOST, MOST))
      end
    end
    field.manual = map.notes and map.notes[entry[7] or entry[3]]
    list[#list + 1] = field
  end
end

local function parseFields(given)
  local list = {}
  for _, field in ipairs(given) do
    if field.map then addFields(list, field) else list[#list + 1] = field end
  end
  for _, field in ipairs(list) do
    local name, optional = field[1]:match "^([%w_]+)(%??)$"
    field.name, field.type, field.text = name, typeOf(field[2]), field[#field]
    field.optional = optional == "?" or field.default ~= nil
  end
  return list
end

local function parseItem(item)
  item.name = item.class or item.record or item.alias or item.module
  local events = {}
  for i, each in ipairs(item.events or {}) do
    parse(each)
    events[i] = ("%q"):format(each.name)
  end
  for _, each in ipairs(item.functions or {}) do
    parse(each)
    local param = each.params[1]
    if item.events and param and param.name == "event" then
      param.type = table.concat(events, "|")
    end
  end
  item.fields = item.fields and parseFields(item.fields)
end

--- Reads the reference.
-- @return an array of modules, each an array of items
function reference.read()
  local modules = {}
  for i, name in ipairs(NAMES) do
    modules[i] = dofile(FOLDER .. name .. ".lua")
    for _, item in ipairs(modules[i]) do parseItem(item) end
  end
  return modules
end

-- Texts ----------------------------------------------------------------------

-- Calls fn(paragraph, isExample) for each paragraph.
local function paragraphs(text, fn)
  text = text:gsub("^\n+", ""):gsub("%s+$", "")
  for part in (text .. "\n\n"):gmatch "(.-)\n\n+" do
    local isExample = part:find "^    "
    fn(isExample and part or part:gsub("%s+", " "), isExample)
  end
end

local function sentence(text)
  return text:find "[.:]$" and text or text .. "."
end

local function isOptions(item)
  return item.record and item.record:find "Options$" ~= nil
end

-- What is told of a field besides its text: "1 to 9 ms".
local function limits(field)
  local words = { field.range, field.unit }
  return field.range and table.concat(words, " ")
    or field.unit and "in " .. field.unit
end

-- What a function that may fail says of that.
local function failures(errors)
  local list = {}
  for i, error in ipairs(errors) do
    list[i] = ("`%s` %s"):format(error[1], error[2] or ""):gsub(" $", "")
  end
  if #list > 1 then list[#list] = "or " .. list[#list] end
  return "Fails with " .. table.concat(list, ", ") .. "."
end

local function textOf(each)
  local text = each.text
  if each.errors then text = text .. "\n\n" .. failures(each.errors) end
  return text
end

-- Annotations ----------------------------------------------------------------

local function annotations(module, name)
  local out = {}
  local function put(format, ...) out[#out + 1] = format:format(...) end

  local function comment(text)
    local first = true
    paragraphs(text, function(part, isExample)
      if not first then put "---" end
      first = false
      if isExample then
        put("--- %s", (part:gsub("\n", "\n--- ")))
        return
      end
      part = part:gsub("%[(%u[%u ]+)%]", "%1 in callosum-policy(5)")
      local line = "---"
      for word in part:gmatch "%S+" do
        if #line + #word + 1 > WIDTH then
          put("%s", line)
          line = "---"
        end
        line = line .. " " .. word
      end
      put("%s", line)
    end)
  end

  local function field(each)
    local text, told = sentence(each.text), limits(each)
    if told then text = text .. " " .. told:gsub("^%l", string.upper) .. "." end
    if each.default then text = text .. " Default: " .. each.default end
    comment(text)
    put("---@field %s%s %s", each.name, each.optional and "?" or "", each.type)
  end

  local function params(list)
    local texts = {}
    for i, param in ipairs(list) do
      texts[i] = ("%s%s: %s"):format(param.name, param.optional and "?" or "",
        param.type)
    end
    return table.concat(texts, ", ")
  end

  -- A method that is called in several ways has a field for each of them.
  local function overload(item, method, text, arguments)
    local returns = {}
    for i, one in ipairs(method.returns) do returns[i] = one.type end
    comment(text)
    put("---@field %s fun(%s): %s", method.name, params {
      { name = "self", type = "callosum." .. item.name },
      table.unpack(arguments) }, table.concat(returns, ", "))
  end

  -- Puts a method of which there are several, and tells whether it is one.
  local function overloads(item, method)
    local event, fn, options = table.unpack(method.params)
    local count = 0
    for _, each in ipairs(item.functions) do
      count = count + (each.name == method.name and 1 or 0)
    end
    if item.events and (method.name == "on" or method.name == "once") then
      for _, each in ipairs(item.events) do
        overload(item, method, each.text, {
          { name = event.name, type = ("%q"):format(each.name) },
          { name = fn.name, type = ("fun(%s)"):format(params(each.params)) },
          options })
      end
    elseif count > 1 then
      overload(item, method, textOf(method), method.params)
    else
      return false
    end
    return true
  end

  local function func(owner, mark, each)
    comment(textOf(each))
    local names = {}
    for i, param in ipairs(each.params) do
      put("---@param %s%s %s", param.name, param.optional and "?" or "",
        param.type)
      names[i] = param.name
    end
    for i, one in ipairs(each.returns) do
      local type, text = one.type, one.name
      if each.errors and i == 1 then
        if type:find "^fun" then type = "(" .. type .. ")" end
        type = type:gsub("%??$", "?")
      elseif each.errors then
        type, text = type .. "|string", one.name .. " or the message"
      end
      put("---@return %s", (type .. " " .. text):gsub(" $", ""))
    end
    if each.errors then
      if #each.returns < 2 then put "---@return string? message" end
      put "---@return string? code"
    end
    put("function %s%s%s(%s) end\n", owner, mark, each.name,
      table.concat(names, ", "))
  end

  local function item(each)
    comment(each.text)
    if each.alias then
      return put("---@alias callosum.%s %s\n", each.alias, typeOf(each.type))
    end
    put("---@class callosum.%s%s", each.class or each.record or each.type,
      each.parent and ": callosum." .. each.parent or "")
    for _, one in ipairs(each.fields or {}) do field(one) end
    local simple = {}
    for _, one in ipairs(each.functions or {}) do
      if each.module or not overloads(each, one) then
        simple[#simple + 1] = one
      end
    end
    if not each.functions then return put "" end
    put("local %s = {}\n", each.name)
    if each.module then return end
    for _, one in ipairs(simple) do
      func(each.name, each.static and "." or ":", one)
    end
  end

  put("---@meta callosum.%s\n", name)
  put("-- Generated by `make docs` from %s%s.lua. Editors\n"
    .. "-- read it; no program does.\n", FOLDER, name)
  for _, each in ipairs(module) do item(each) end
  for _, each in ipairs(module[1].functions) do func(name, ".", each) end
  put("return %s", name)
  return table.concat(out, "\n") .. "\n"
end

-- The manual -----------------------------------------------------------------

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub('"', "\\(dq"))
end

-- An argument of a macro.
local function argument(text)
  text = escaped(text)
  if text:find "^[.']" or text:find "^%u%l%l?$" then text = "\\&" .. text end
  return text:find "%s" and '"' .. text .. '"' or text
end

-- What stands in backquotes and the like, as a macro.
local function macro(span, own)
  local code = span:match "^`(.*)`$"
  if not code then
    local page, number = span:match "^([%w-]+)%((%d)%)$"
    return page and ("Xr %s %s"):format(page, number)
      or "Sx " .. argument(span:sub(2, -2))
  end
  local fn = code:match "^([%w_.:]+)%(%)$"
  return fn and "Fn " .. fn
    or code:find "^E%u[%u%d_]+$" and "Er " .. code
    or own[code] and "Fa " .. code
    or "Li " .. argument(code)
end

-- Puts a paragraph, a line for each sentence and each macro. `own` is a set of
-- parameters.
local function prose(put, text, own)
  local line = ""
  local function flush()
    if line ~= "" then put(line:find "^[.']" and "\\&" .. line or line) end
    line = ""
  end
  local function word(each)
    if #line + #each + 1 > WIDTH then flush() end
    line = line == "" and each or line .. " " .. each
    if each:find "[.:?]%)?$" then flush() end
  end
  -- Spans have no blanks within while words are looked for.
  local spans = {}
  local function hide(span)
    spans[#spans + 1] = span
    return "\1" .. #spans .. "\2"
  end
  text = text:gsub("`[^`]+`", hide):gsub("%f[%w][%l-]+%(%d%)", hide)
    :gsub("%[%u[%u ]+%]", hide)
  for each in text:gmatch "%S+" do
    local before, number, after = each:match "^(.-)\1(%d+)\2(.*)$"
    if not number then
      word(escaped(each))
    else
      assert(before == "" or before == "(", each)
      flush()
      local closing, rest = after:match "^([.,:;)?!]*)(.*)$"
      assert(not rest:find "\1", each)
      put("." .. macro(spans[tonumber(number)], own):gsub(" ",
        before == "" and " " or " ( ", 1) .. closing:gsub(".", " %0")
        .. (rest == "" and "" or " Ns No " .. rest))
    end
  end
  flush()
end

-- `told` is a set of names that have a marker of their own.
local function manualOf(modules, told)
  local records, aliases = {}, {}
  for _, module in ipairs(modules) do
    for _, item in ipairs(module) do
      if item.record then records[item.record] = item end
      if item.alias then aliases[item.alias] = item.type end
    end
  end

  -- A type, as the manual shows it.
  local function shown(type)
    return (type:gsub("callosum%.(%w+)", function(name)
      return (aliases[name] or ""):find "^fun" and "function" or name
    end))
  end

  local out = {}
  local function put(line) out[#out + 1] = line end

  local function text(shared, more, own)
    local isFirst = true
    paragraphs(shared .. "\n\n" .. (more or ""), function(part, isExample)
      if isExample then
        put ".Bd -literal -offset indent"
        for line in part:gmatch "    ([^\n]*)" do
          put((escaped(line):gsub("^%f[.']", "\\&")))
        end
        put ".Ed"
      else
        if not isFirst then put ".Pp" end
        prose(put, part, own or {})
      end
      isFirst = false
    end)
  end

  local fields

  -- The records in a type that were not told of before.
  local function nested(type)
    for name in type:gmatch "callosum%.(%w+)" do
      local record = records[name]
      if record and not told[name] then
        told[name] = true
        put ".Pp"
        text(record.text)
        fields(record)
      end
    end
  end

  function fields(item)
    put ".Bl -tag -width Ds"
    for _, field in ipairs(item.fields) do
      local words = { limits(field) or shown(field.type) }
      if field.range and field.type:find "|false" then
        words[1] = words[1] .. ", or false"
      end
      if field.default then words[2] = "default " .. field.default
      elseif isOptions(item) then
        words[2] = not field.optional and "required" or nil
      elseif field.optional then words[1] = words[1] .. " or nil" end
      put((".It Li %s%s No (%s)"):format(item.module and item.module .. "."
        or "", field.name, escaped(table.concat(words, "; "))))
      text(sentence(field.text), field.manual)
      nested(field.type)
    end
    put ".El"
  end

  local function functions(list, prefix)
    put ".Bl -tag -width Ds"
    for _, one in ipairs(list) do
      local names, own = {}, {}
      for i, param in ipairs(one.params) do
        own[param.name] = true
        names[i] = param.optional and " [" .. param.name .. "]"
          or " " .. argument(param.name)
      end
      put(".It Fn " .. prefix .. one.name .. table.concat(names))
      text(textOf(one), one.manual, own)
      for _, each in ipairs { one.params, one.returns } do
        for _, value in ipairs(each) do nested(value.type) end
      end
    end
    put ".El"
  end

  local function item(each)
    text(each.text, each.manual)
    local isLong = each.events or each.fields and not each.record
    local function heading(title)
      if isLong then put ".Pp" put(title) end
    end
    if each.fields then
      heading "Fields:"
      fields(each)
    end
    if each.functions then
      heading(each.module and "Functions:" or "Methods:")
      functions(each.functions, each.module and each.module .. "."
        or each.static and each.var .. "." or each.var .. ":")
    end
    if each.events then
      heading "Events:"
      functions(each.events, "")
    end
  end

  -- What stands at the marker of that name.
  return function(name)
    out = {}
    for _, module in ipairs(modules) do
      for _, each in ipairs(module) do
        if each.name == name then item(each) end
      end
    end
    assert(#out > 0, "the reference has no " .. name)
    return table.concat(out, "\n")
  end
end

--- Makes the files.
-- @return a table of their texts by path
function reference.generate()
  local modules = reference.read()
  local files = {}
  for i, name in ipairs(NAMES) do
    files["lua/callosum/meta/" .. name .. ".lua"] =
      annotations(modules[i], name)
  end
  local page, marked = read(MANUAL), {}
  for name in page:gmatch '\n%.\\" make docs: (%w+)' do marked[name] = true end
  local at = manualOf(modules, marked)
  files[MANUAL] = page:gsub('(%.\\" make docs: (%w+)\n).-(%.\\" end\n)',
    function(head, name, tail) return head .. at(name) .. "\n" .. tail end)
  return files
end

if arg and arg[0] and arg[0]:find "generate%.lua$" then
  for path, text in pairs(reference.generate()) do
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(text))
  end
end

return reference
