-- Writes the API's part of callosum-policy(5), in mdoc(7): below each line
-- `.\" make docs: NAME`, the item of that name.

local WIDTH = 80

-- What is written; the records that have yet to be described, which is done
-- where they are first named; and what aliases stand for.
local out, records, aliases

local function put(...) out[#out + 1] = table.concat { ... } end

-- Text -----------------------------------------------------------------------

local function escaped(text)
  return (text:gsub("\\", "\\e"):gsub('"', "\\(dq"):gsub("^%f[.']", "\\&"))
end

-- An argument of a macro.
local function argument(text)
  text = escaped(text)
  if text:find "^%u%l%l?$" then text = "\\&" .. text end
  return text:find "%s" and '"' .. text .. '"' or text
end

-- The macro for code, a section, or another page. `params` is a set of names.
local function macro(span, params)
  local code = span:match "^`(.*)`$"
  local fn = code and code:match "^([%w_.:]+)%(%)$"
  if fn then return "Fn", fn end
  if not code then
    local page, section = span:match "^([%w-]+)%((%d)%)$"
    if page then return "Xr", page .. " " .. section end
    return "Sx", argument(span:sub(2, -2))
  end
  return code:find "^E%u[%u%d_]+$" and "Er" or params[code] and "Fa" or "Li",
    argument(code)
end

-- A line for each sentence, and for each macro.
local function prose(text, params)
  local line, spans = "", {}
  local function flush()
    if line ~= "" then put(line) end
    line = ""
  end
  local function hide(span) -- so that it is one word
    spans[#spans + 1] = span
    return "\1" .. #spans .. "\2"
  end
  text = text:gsub("`[^`]+`", hide):gsub("%f[%w][%l-]+%(%d%)", hide)
    :gsub("%[%u[%u ]+%]", hide)
  for word in text:gmatch "%S+" do
    local open, span, close, rest =
      word:match "^(%(?)\1(%d+)\2([.,:;)?!]*)(.*)$"
    if span then
      assert(not rest:find "\1", text)
      flush()
      local name, arguments = macro(spans[tonumber(span)], params)
      put(".", name, open == "" and " " or " ( ", arguments,
        close:gsub(".", " %0"), rest ~= "" and " Ns No " or "", rest)
    else
      assert(not word:find "\1", text)
      if #line + #word + 1 > WIDTH then flush() end
      line = line == "" and escaped(word) or line .. " " .. escaped(word)
      if word:find "[.:?]%)?$" then flush() end
    end
  end
  flush()
end

local function example(lines)
  put ".Bd -literal -offset indent"
  for _, line in ipairs(lines) do put(escaped(line)) end
  put ".Ed"
end

-- All paragraphs of what has a text, and perhaps more for the manual.
local function describe(each, params)
  local isFirst = true
  for _, text in ipairs { each.text, each.manual } do
    for _, part in ipairs(text) do
      if type(part) == "table" then
        example(part)
      else
        if not isFirst then put ".Pp" end
        prose(part, params or {})
      end
      isFirst = false
    end
  end
end

-- Lists ----------------------------------------------------------------------

local fields

local function nested(kind)
  for name in kind:gmatch "callosum%.(%w+)" do
    local record = records[name]
    records[name] = nil
    if record then
      put ".Pp"
      describe(record)
      fields(record)
    end
  end
end

-- What stands in parentheses behind the name of a field.
local function summary(item, field)
  local kind = field.limits or field.type:gsub("callosum%.(%w+)",
    function(name)
      return (aliases[name] or ""):find "^fun" and "function" or name
    end)
  if field.limits and field.type:find "|false" then
    kind = kind .. ", or false"
  end
  if field.default then return kind .. "; default " .. field.default end
  local isOption = item.name:find "Options$"
  return kind .. (isOption and not field.optional and "; required"
    or not isOption and field.optional and " or nil" or "")
end

function fields(item)
  put ".Bl -tag -width Ds"
  for _, field in ipairs(item.fields) do
    put(".It Li ", item.module and item.module .. "." or "", field.name,
      " No (", escaped(summary(item, field)), ")")
    describe(field)
    nested(field.type)
  end
  put ".El"
end

local function functions(list, prefix)
  put ".Bl -tag -width Ds"
  for _, each in ipairs(list) do
    local names, params = {}, {}
    for i, param in ipairs(each.params) do
      params[param.name] = true
      names[i] = " " .. (param.optional and "[" .. param.name .. "]"
        or argument(param.name))
    end
    put(".It Fn ", prefix, each.name, table.concat(names))
    describe(each, params)
    for _, values in ipairs { each.params, each.returns } do
      for _, value in ipairs(values) do nested(value.type) end
    end
  end
  put ".El"
end

local function write(item)
  local isLong = item.events or item.fields and item.functions
  local function heading(title)
    if isLong then put(".Pp\n", title) end
  end
  describe(item)
  if item.fields then
    heading "Fields:"
    fields(item)
  end
  if item.functions then
    heading(item.module and "Functions:" or "Methods:")
    functions(item.functions, item.module and item.module .. "."
      or item.var .. (item.static and "." or ":"))
  end
  if item.events then
    heading "Events:"
    functions(item.events, "")
  end
end

--- Writes it.
-- @param modules an array of modules
-- @param page the page as it is
-- @return the page
return function(modules, page)
  local items = {}
  records, aliases = {}, {}
  for _, module in ipairs(modules) do
    for _, item in ipairs(module) do
      items[item.name] = item
      if item.record then records[item.name] = item end
      if item.alias then aliases[item.name] = item.type end
    end
  end
  for name in page:gmatch '\n%.\\" make docs: (%w+)' do records[name] = nil end
  return (page:gsub('(%.\\" make docs: (%w+)\n).-(%.\\" end\n)',
    function(head, name, tail)
      out = {}
      write(assert(items[name], name))
      return head .. table.concat(out, "\n") .. "\n" .. tail
    end))
end
