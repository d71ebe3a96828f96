--- Options of the modules beside this one: what each must be, its default, and
--- one way of telling misuse.
---
---     local known = { max = { 100, options.integer(1, 1000) } }
---     local own = options.check(given, known, 2) -- blames the caller's caller
local options = {}

-- The Levenshtein distance of two names.
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(diagonal + (same and 0 or 1), row[j] + 1,
        row[j - 1] + 1)
      diagonal, row[j] = row[j], best
    end
  end
  return row[#b]
end

--- Finds the name that is most like another.
---@param name string
---@param names table<string, any> by name
---@return string
function options.nearest(name, names)
  local nearest, least
  name = name:sub(1, 32)
  for each in pairs(names) do
    local far = distance(name, each)
    if not least or far < least or far == least and each < nearest then
      nearest, least = each, far
    end
  end
  return nearest
end

--- What a value is, for messages.
---@param value any
---@return string
function options.shown(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- A kind of option: whole numbers of a range.
---@param low integer
---@param high integer
---@return table
function options.integer(low, high)
  return {
    what = ("an integer from %d to %d"):format(low, high),
    fits = function(value)
      return math.type(value) == "integer" and value >= low and value <= high
    end,
  }
end

--- A kind of option: numbers from 0 to 1.
options.fraction = {
  what = "a number from 0 to 1",
  fits = function(value)
    return type(value) == "number" and value >= 0 and value <= 1
  end,
}

--- A kind of option: true or false.
options.boolean = {
  what = "a boolean",
  fits = function(value) return type(value) == "boolean" end,
}

--- A kind of option that may also be false, for not at all.
---@param kind table
---@return table
function options.orFalse(kind)
  return {
    what = kind.what .. ", or false",
    fits = function(value) return value == false or kind.fits(value) end,
  }
end

--- A kind of option: one of these names.
---@param names table<string, any> by name
---@return table
function options.oneOf(names)
  local list = {}
  for name in pairs(names) do list[#list + 1] = ("%q"):format(name) end
  table.sort(list)
  return {
    what = "one of " .. table.concat(list, ", "),
    fits = function(value) return names[value] ~= nil end,
  }
end

--- Checks an argument that is to be an object.
---@param value any
---@param method string by which it is known
---@param what string
---@param level integer whom to blame, as `error` takes it from the caller
function options.object(value, method, what, level)
  -- Some objects raise an error for what they have not.
  local ok, fn = pcall(function() return value[method] end)
  if ok and type(fn) == "function" then return end
  local isObject = type(value) == "userdata" or type(value) == "table"
  error(("%s is expected, not %s"):format(what,
    isObject and type(value) or options.shown(value)), level + 1)
end

--- Checks options and fills in what is not given.
---@param given? table<string, any>
---@param known table<string, table> by name: { default, kind }
---@param level integer whom to blame, as `error` takes it from the caller
---@return table<string, any>
function options.check(given, known, level)
  if given ~= nil and type(given) ~= "table" then
    error(("options must be a table, not %s"):format(type(given)), level + 1)
  end
  local own = {}
  for name, value in pairs(given or {}) do
    local option = known[name]
    if not option then
      error(("unknown option '%s', nearest is '%s'"):format(name,
        options.nearest(tostring(name), known)), level + 1)
    end
    if not option[2].fits(value) then
      error(("option %s must be %s, not %s"):format(name, option[2].what,
        options.shown(value)), level + 1)
    end
    own[name] = value
  end
  for name, option in pairs(known) do
    if own[name] == nil then own[name] = option[1] end
  end
  return own
end

return options
