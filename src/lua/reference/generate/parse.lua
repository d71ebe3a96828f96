-- Makes of an item of the reference, as it is written, what the annotations and
-- the manual are made of: functions and events get `name`, `params` and
-- `returns` (arrays of tables with `name`, `type` and `optional`), fields get
-- `name`, `type`, `optional` and `limits` ("1 to 9 ms"), and texts become
-- arrays of paragraphs, in which examples are tables of their lines.

local function paragraphs(text)
  local list = {}
  for part in (text:gsub("%s+$", "") .. "\n\n"):gmatch "\n*(.-)\n\n+" do
    local example = {}
    for line in part:gmatch "%f[^\n\0]    ([^\n]*)" do
      example[#example + 1] = line
    end
    part = part:gsub("%s+", " ")
    if part ~= "" then list[#list + 1] = example[1] and example or part end
  end
  return list
end

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

-- Functions ------------------------------------------------------------------

local function failures(errors)
  local list = {}
  for i, error in ipairs(errors) do
    list[i] = ("`%s` %s"):format(error[1], error[2]):gsub(" $", "")
  end
  if #list > 1 then list[#list] = "or " .. list[#list] end
  return "Fails with " .. table.concat(list, ", ") .. "."
end

local function parseFunction(each)
  local name, params, returns = each[1]:match "^([%w_]+)(%b())%s*:?%s*(.*)$"
  each.name, each.params, each.returns = assert(name, each[1]), {}, {}
  for i, param in ipairs(split(params:sub(2, -2))) do
    local key, optional, type = param:match "^([%w_.]+)(%??):%s*(.+)$"
    each.params[i] = { name = assert(key, each[1]), type = typeOf(type),
      optional = optional == "?" }
  end
  for i, one in ipairs(split(returns)) do
    local type, key = one:match "^(.+) ([%w_]+)$"
    each.returns[i] = { type = typeOf(type or one), name = key or "" }
  end
  each.text = paragraphs(each[#each])
  if each.errors then table.insert(each.text, failures(each.errors)) end
end

-- Fields ---------------------------------------------------------------------

-- The entries of a table in a C header, XX(a, b, "text"): arrays of texts.
local function entriesOf(path, name)
  local header <close> = assert(io.open(path))
  local body = header:read("a")
    :match("#define " .. name .. "%(XX%)(.-[^\\])\n")
  local strings, entries = {}, {}
  body = assert(body, name):gsub("\\\n", ""):gsub('"%s+"', "")
    :gsub('"([^"]*)"', function(text)
      strings[#strings + 1] = text
      return "$" .. #strings
    end)
  for entry in body:gmatch "XX(%b())" do
    local values = split(entry:sub(2, -2))
    for i, value in ipairs(values) do
      values[i] = strings[tonumber(value:match "^%$(%d+)$")] or value
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

-- By the kind of an option in a C header: its type, its unit, and what 0 means,
-- which C says in another way.
local KINDS = {
  MS = { "integer", "ms" },
  TIMEOUT = { "integer", "ms", "no deadline" },
  SECONDS = { "integer", "s", "never" },
  COUNT = { "integer" },
  FRACTION = { "number" },
  FACTOR = { "number" },
  SEED = { "integer" },
  FLAG = { "boolean" },
  PROXY = { '"v1"|"v2"|false' },
}
local MOST = 0xffffffff -- of what Lua takes

local function counter(_, kind, name, text)
  return { name, kind == "FLAG" and "boolean" or "integer", toLua(text) }
end

local function option(_, _, kind, least, most, default, name, text)
  local type, unit, zero = table.unpack(KINDS[kind])
  if name:find "Interval$" then zero = zero and "never" end
  if zero then text = ("%s 0 means %s."):format(text, zero) end
  local field = { name, type, toLua(text), unit = unit }
  if kind == "FLAG" or kind == "PROXY" then
    field.default = default == "0" and "false" or "true"
  elseif kind == "SEED" then
    field[1] = name .. "?"
  else
    local isOther = default == "0" and kind == "MS" -- than one for all
    if isOther or default == "UINT32_MAX" or default == most then
      field[1] = name .. "?"
    else field.default = default == "ROVER_NEVER" and "0" or default end
    field.range = ("%s to %d"):format(zero and 0 or least:gsub("%. / ", "/"),
      math.min(math.tointeger(most) or MOST, MOST))
  end
  return field
end

-- The least value of an option, 1/256 for 0.00390625.
local function leastOf(one)
  local isFraction = one.min > 0 and one.min < 1
  return isFraction and ("1/%d"):format(1 // one.min) or one.min
end

-- Of an option as callosum.options takes it.
local function luaOption(one)
  local kind, default = one.type, one.default
  if one.oneOf then
    kind = ('"%s"'):format(table.concat(one.oneOf, '"|"'))
  end
  if one.orFalse then kind = kind .. "|false" end
  if type(default) == "string" then default = ("%q"):format(default) end
  return {
    default == nil and one.name .. "?" or one.name, one.class or kind, one.text,
    default = default ~= nil and tostring(default) or nil,
    range = one.min and ("%s to %s"):format(leastOf(one), one.max),
    unit = one.unit,
  }
end

-- A table of constants in a module, which is not run: it may need what is not
-- built.
local function tableOf(path, name)
  local module <close> = assert(io.open(path))
  local source, constants = module:read "a", {}
  for key, value in source:gmatch "\nlocal (%u+) = ([%d<x ]+)\n" do
    constants[key] = load("return " .. value)()
  end
  local text = source:match("\nlocal " .. name .. " = (%b{})\n")
  return assert(load("return " .. assert(text, name), path, "t", constants))()
end

-- Where fields are of a file, these take their place.
local function expanded(given)
  local list = {}
  for _, field in ipairs(given) do
    local isC = field.map and field.of:find "%.h$"
    local entries = isC and entriesOf(field.of, field.map)
      or field.map and tableOf(field.of, field.map)
      or field.of and dofile(field.of) or { field }
    for _, entry in ipairs(entries) do
      if isC then
        entry = (#entry == 4 and counter or option)(table.unpack(entry))
        entry.manual = field.notes and field.notes[entry[1]]
      elseif entry.name then
        entry = luaOption(entry)
      end
      list[#list + 1] = entry
    end
  end
  return list
end

local function parseField(field)
  local name, optional = field[1]:match "^([%w_]+)(%??)$"
  local text = field[3]
  field.name, field.type = name, typeOf(field[2])
  field.optional = optional == "?" or field.default ~= nil
  field.text = paragraphs(text:find "[.:]$" and text or text .. ".")
  field.limits = field.range and table.concat({ field.range, field.unit }, " ")
end

-- Items ----------------------------------------------------------------------

--- Parses an item, in place.
return function(item)
  local events = {}
  item.name = item.module or item.class or item.record or item.alias
  item.text, item.type = paragraphs(item.text), item.type and typeOf(item.type)
  for i, each in ipairs(item.events or {}) do
    parseFunction(each)
    events[i] = ("%q"):format(each.name)
  end
  for _, each in ipairs(item.functions or {}) do
    parseFunction(each)
    local param = each.params[1]
    if item.events and param and param.name == "event" then
      param.type = table.concat(events, "|")
    end
  end
  item.fields = item.fields and expanded(item.fields)
  for _, field in ipairs(item.fields or {}) do parseField(field) end
  for _, list in ipairs { { item }, item.functions or {}, item.events or {},
      item.fields or {} } do
    for _, each in ipairs(list) do
      each.manual = paragraphs(each.manual or "")
    end
  end
end
