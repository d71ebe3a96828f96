--- JSON (RFC 8259) of tables, as `--json` prints it. A table is an array if it
--- says so; objects have their fields in order of the alphabet.

local json = {}

local IS_ARRAY = {}

local ESCAPED = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b",
  ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

-- Bytes that are no UTF-8 are replaced.
local function text(value)
  local parts, from = {}, 1
  while from <= #value do
    local _, bad = utf8.len(value, from)
    parts[#parts + 1] = value:sub(from, (bad or #value + 1) - 1)
    if bad then parts[#parts + 1] = "\u{FFFD}" end
    from = (bad or #value) + 1
  end
  return '"' .. table.concat(parts):gsub('[%c"\\\127]', function(byte)
    return ESCAPED[byte] or ("\\u%04x"):format(byte:byte())
  end) .. '"'
end

-- s2 before s10.
local function orderly(name)
  return (name:gsub("%d+", function(digits) return ("%20s"):format(digits) end))
end

local function write(value, indent)
  local kind = math.type(value) or type(value)
  if kind == "string" then return text(value) end
  if kind == "integer" or kind == "boolean" then return tostring(value) end
  if kind == "float" then
    if value ~= value or value == math.huge or value == -math.huge then
      return "null"
    end
    return (("%.6g"):format(value):gsub(",", "."))
  end
  if kind ~= "table" or value == json.null then return "null" end

  local inner, parts = indent .. "  ", {}
  if getmetatable(value) == IS_ARRAY then
    for i, each in ipairs(value) do parts[i] = write(each, inner) end
  else
    local names = {}
    for name in pairs(value) do names[#names + 1] = name end
    table.sort(names, function(a, b) return orderly(a) < orderly(b) end)
    for i, name in ipairs(names) do
      parts[i] = text(name) .. ": " .. write(value[name], inner)
    end
  end
  local open, close = "{", "}"
  if getmetatable(value) == IS_ARRAY then open, close = "[", "]" end
  if #parts == 0 then return open .. close end
  return ("%s\n%s%s\n%s%s"):format(open, inner,
    table.concat(parts, ",\n" .. inner), indent, close)
end

--- Stands for null in a table.
json.null = setmetatable({}, { __name = "null" })

--- Marks a table as an array.
---@param list table
---@return table list
function json.array(list)
  return setmetatable(list, IS_ARRAY)
end

--- Makes a text of a value.
---@param value any
---@return string
function json.write(value)
  return write(value, "") .. "\n"
end

return json
