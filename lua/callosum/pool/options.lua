--- Options of the modules in Lua: what each must be, its default, and one way of
--- telling misuse.
---
---     local known = { max = { 100, options.integer(1, 1000) } }
---     local own = options.check(given, known, 2) -- blames the caller's caller
local options = {}

-- Case and `_` do not count: maxSlots is also MAX_SLOTS.
local function fold(name)
  return name:sub(1, 32):lower():gsub("_", "")
end

-- How many letters are to be added, dropped, changed, or swapped with the next.
local function distance(a, b)
  local before, row = {}, {}
  local last
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    last, before, row = before, row, { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      row[j] = math.min(before[j - 1] + (same and 0 or 1), before[j] + 1,
        row[j - 1] + 1)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1)
          and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], last[j - 2] + 1)
      end
    end
  end
  return row[#b]
end

-- Whether one is a part of the other: interval of rovingInterval.
local function holds(a, b)
  if #a < #b then a, b = b, a end
  return #b >= 3 and a:find(b, 1, true) ~= nil
end

-- The name that was meant, by all that one can tell: a third of its letters
-- may be wrong, or it is the only one that holds the other, or is held by it.
local function nearest(name, names)
  local near, least, part, parts = nil, nil, nil, 0
  name = fold(name)
  for _, each in ipairs(names) do
    local known = fold(each)
    local far = distance(name, known)
    if holds(name, known) then part, parts = each, parts + 1 end
    if far <= math.min(#name, #known) // 3 and (not least or far < least) then
      near, least = each, far
    end
  end
  return near or parts == 1 and part
end

--- Says that a name is not known, and the nearest one, or if none is like it,
--- which there are.
---@param what string is to be known
---@param name any
---@param known table<string, any> by name
---@return string
function options.unknown(what, name, known)
  local names = {}
  for each in pairs(known) do names[#names + 1] = each end
  table.sort(names)
  local near = nearest(tostring(name), names)
  return ("unknown %s '%s', %s"):format(what, name, near
    and ("nearest is '%s'"):format(near)
    or "valid are " .. table.concat(names, ", "))
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
      error(options.unknown("option", name, known), level + 1)
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
