-- Holds values, calls and objects against the annotations that
-- support/luacats.lua has read. It too needs nothing but Lua.

local typed = {}

local NONE = {}

local function show(type)
  if type.kind == "name" then return type.value end
  if type.kind == "literal" then return ("%q"):format(type.value) end
  if type.kind == "array" then return show(type.of) .. "[]" end
  if type.kind == "fun" then return "fun" end
  if type.kind == "table" then
    return ("table<%s, %s>"):format(show(type.key), show(type.of))
  end
  local list = {}
  for i, one in ipairs(type) do list[i] = show(one) end
  return table.concat(list, "|")
end

--- Finds what a class has, with what it inherits.
-- @param api the API
-- @param class a class or a module of it
-- @return its fields and its functions, by name
function typed.members(api, class)
  local fields, functions = {}, {}
  while class do
    for name, field in pairs(class.fields) do
      fields[name] = fields[name] or field
    end
    for name, list in pairs(class.functions) do
      functions[name] = functions[name] or list
    end
    class = class.parent and assert(api.classes[class.parent], class.parent)
  end
  return fields, functions
end

-- Values ---------------------------------------------------------------------

local mismatch

local basic = {
  any = function() return true end,
  ["true"] = function(value) return value == true end,
  ["false"] = function(value) return value == false end,
  integer = function(value) return math.type(value) == "integer" end,
}
for _, name in ipairs { "nil", "boolean", "number", "string", "table",
    "function", "userdata", "thread" } do
  basic[name] = function(value) return type(value) == name end
end

--- Tells whether there is a type of that name.
function typed.isType(api, name)
  return (basic[name] or api.classes[name] or api.aliases[name]) ~= nil
end

-- A class without functions is a record, with nothing in it but its fields.
local function classMismatch(api, value, class, seen)
  if type(value) ~= "table" and type(value) ~= "userdata" then
    return "is no " .. class.name
  end
  if seen[value] then return nil end
  seen[value] = true
  local fields, functions = typed.members(api, class)
  for name, field in pairs(fields) do
    if value[name] ~= nil or not field.optional then
      local why = mismatch(api, value[name], field.type, seen)
      if why then return ("%s: field %s %s"):format(class.name, name, why) end
    end
  end
  for name in pairs(functions) do
    if type(value[name]) ~= "function" then
      return ("is no %s: it has no function %s"):format(class.name, name)
    end
  end
  if next(functions) then return nil end
  for key in pairs(value) do
    if not fields[key] then
      return ("%s: field %s is not annotated"):format(class.name, key)
    end
  end
end

--- Tells why a value is not of a type, or nil if it is.
-- @param api the API
-- @param value any value
-- @param type the type
-- @return a text, or nil
function mismatch(api, value, type, seen)
  seen = seen or {}
  local kind, ok = type.kind, false
  if kind == "union" then
    for _, one in ipairs(type) do
      ok = ok or not mismatch(api, value, one, seen)
      -- What was no instance of the one class may be one of the next.
      if not ok and value ~= nil then seen[value] = nil end
    end
  elseif kind == "literal" then
    ok = value == type.value
  elseif kind == "fun" then
    ok = basic["function"](value)
  elseif kind == "array" or kind == "table" then
    if not basic.table(value) then return "is no " .. show(type) end
    local length = 0
    for key, each in pairs(value) do
      length = length + 1
      local why = type.key and mismatch(api, key, type.key, seen)
        or not type.key and value[length] == nil and "is no array"
        or mismatch(api, each, type.of, seen)
      if why then return ("at [%s] %s"):format(key, why) end
    end
    return nil
  elseif api.classes[type.value] then
    return classMismatch(api, value, api.classes[type.value], seen)
  elseif api.aliases[type.value] then
    return mismatch(api, value, api.aliases[type.value], seen)
  else
    local is = basic[type.value] or error("what is " .. type.value .. "?")
    ok = is(value)
  end
  if ok then return nil end
  return ("is %s and not %s"):format(tostring(value), show(type))
end
typed.mismatch = mismatch

-- Calls ----------------------------------------------------------------------

-- Tells why arguments are not those of a signature, or nil. There may be more
-- of them only behind a `...`.
local function argsMismatch(api, signature, args)
  for i = 1, math.max(args.n, #signature.params) do
    local param = signature.params[i]
    if not param then return "too many arguments" end
    if args[i] ~= nil or not param.optional then
      local why = mismatch(api, args[i], param.type)
      if why then return ("%s %s"):format(param.name, why) end
    end
  end
end

local function returnsMismatch(api, signature, results)
  for i = 1, math.max(results.n, #signature.returns) do
    local one = signature.returns[i]
    local why = not one and "is one too many"
      or mismatch(api, results[i], one.type)
    if why then return ("return value %d %s"):format(i, why) end
  end
end

-- The function among the alternatives of a type.
local function functionOf(type)
  for _, one in ipairs(type.kind == "union" and type or { type }) do
    if one.kind == "fun" then return one end
  end
end

--- Makes a checker of calls. What it has wrapped looks like the original, but
-- raises an error where a field, an argument or a value returned is not what
-- the annotations say. What handlers are called with is checked too; as they
-- must not raise errors, that is noted in `faults`, an array of texts.
-- @param api the API
-- @return the checker
function typed.checker(api)
  local checker = { faults = {} }
  local raw = setmetatable({}, { __mode = "k" })      -- of what we wrapped
  local wrapped = setmetatable({}, { __mode = "kv" }) -- the other way round
  local called = {} -- set of signatures, those of handlers among them

  -- Wraps what is of an annotated class, or an array of these.
  local function wrapTyped(value, type)
    if value == nil then return nil end
    for _, one in ipairs(type.kind == "union" and type or { type }) do
      local class = one.kind == "name" and api.classes[one.value]
      if class and next(class.functions) then
        return checker.wrap(value, class)
      elseif one.kind == "array" and type == one then
        local list = {}
        for i, each in ipairs(value) do list[i] = wrapTyped(each, one.of) end
        return list
      end
    end
    return value
  end

  local function wrapHandler(signature, fn, name)
    if wrapped[fn] then return wrapped[fn] end
    wrapped[fn] = function(...)
      local args = table.pack(...)
      called[signature] = true
      local why = argsMismatch(api, signature, args)
      if why then table.insert(checker.faults, name .. ": " .. why) end
      for i, param in ipairs(signature.params) do
        args[i] = wrapTyped(args[i], param.type)
      end
      return fn(table.unpack(args, 1, args.n))
    end
    return wrapped[fn]
  end

  local function call(name, signatures, fn, ...)
    local args = table.pack(...)
    for i = 1, args.n do args[i] = raw[args[i]] or args[i] end
    local self
    if signatures[1].method then
      self = table.remove(args, 1)
      args.n = args.n - 1
    end
    local signature, why
    for _, each in ipairs(signatures) do
      local not_ = argsMismatch(api, each, args)
      signature, why = signature or not not_ and each, not_
    end
    if not signature then error(("%s: %s"):format(name, why), 3) end
    called[signature] = true
    for i, param in ipairs(signature.params) do
      local handler = functionOf(param.type)
      if handler and args[i] then
        args[i] = wrapHandler(handler, args[i], name)
      elseif type(args[i]) == "function" then
        args[i] = wrapped[args[i]] or args[i]
      end
    end
    if self then
      table.insert(args, 1, self)
      args.n = args.n + 1
    end
    local results = table.pack(fn(table.unpack(args, 1, args.n)))
    why = returnsMismatch(api, signature, results)
    if why then error(("%s: %s"):format(name, why), 3) end
    for i, one in ipairs(signature.returns) do
      results[i] = wrapTyped(results[i], one.type)
    end
    return table.unpack(results, 1, results.n)
  end

  --- Wraps an object or a module.
  -- @param value what to wrap
  -- @param class what it is: a class or a module of the API
  -- @return the wrapped one
  function checker.wrap(value, class)
    if wrapped[value] then return wrapped[value] end
    local fields, functions = typed.members(api, class)
    local function check(key, new)
      local field = fields[key]
        or error(("%s has no field %s"):format(class.name, key), 3)
      if new == nil and field.optional then return new end
      local why = mismatch(api, new, field.type)
      if why then error(("%s.%s %s"):format(class.name, key, why), 3) end
      return wrapTyped(new, field.type)
    end
    local self = setmetatable({}, {
      __index = function(_, key)
        if not functions[key] then return check(key, value[key]) end
        local name = class.name .. "." .. key
        return function(...)
          return call(name, functions[key], value[key], ...)
        end
      end,
      __newindex = function(_, key, new)
        check(key, new)
        value[key] = raw[new] or new
      end,
      __tostring = function() return tostring(value) end,
    })
    raw[self], wrapped[value] = value, self
    return self
  end

  --- Lists what was never called, of the functions and handlers annotated in a
  -- file.
  -- @param file its path; nil: of all files
  -- @return an array of texts
  function checker.uncalled(file)
    local list = {}
    for class in pairs(typed.owners(api, file)) do
      for name, signatures in pairs(class.functions) do
        for i, signature in ipairs(signatures) do
          local text = ("%s.%s (%d)"):format(class.name, name, i)
          if not called[signature] then list[#list + 1] = text end
          for _, param in ipairs(signature.params) do
            local handler = functionOf(param.type)
            if handler and not called[handler] then
              list[#list + 1] = text .. ": its " .. param.name
            end
          end
        end
      end
    end
    table.sort(list)
    return list
  end

  return checker
end

--- Finds the classes and modules that are annotated in a file.
-- @param api the API
-- @param file its path; nil: in any file
-- @return a set of them
function typed.owners(api, file)
  local set = {}
  for _, list in ipairs { api.modules, api.classes } do
    for _, class in pairs(list) do
      if not file or class.file == file then set[class] = true end
    end
  end
  return set
end

-- What there really is -------------------------------------------------------

--- Collects the words in a file: the names in a script, and in a binary those
-- that it knows. Whatever a C function compares a name with is among them, as
-- a string or, where the linker has folded two into one, as the end of one.
-- @param path the file
-- @return a set of strings
function typed.words(path)
  local words = {}
  local file = assert(io.open(path, "rb"))
  for word in file:read("a"):gmatch "[%a_][%w_]+" do
    for at = 1, #word <= 40 and not words[word] and #word or 0 do
      words[word:sub(at)] = true
    end
  end
  file:close()
  return words
end

-- The table in which an object's methods are found.
local function methodsOf(object)
  local metatable = debug.getmetatable(object)
  local index = metatable and metatable.__index
  for i = 1, type(index) == "function" and 9 or 0 do
    local _, value = debug.getupvalue(index, i)
    if type(value) == "table" then return value end
  end
  return type(index) == "table" and index or NONE
end

--- Tells how an object and its annotation differ, in either direction.
-- @param api the API
-- @param object an object or a module
-- @param class what it is said to be
-- @param words set of what its fields may be called, for a userdata
-- @return an array of texts
function typed.differences(api, object, class, words)
  local fields, functions = typed.members(api, class)
  local list, real = {}, {}
  local function differs(name, what)
    table.insert(list, ("%s.%s %s"):format(class.name, name, what))
  end
  local function found(name, value)
    real[name] = value
    if not fields[name] and not functions[name] then
      differs(name, "is not annotated")
    end
  end
  for name, value in pairs(methodsOf(object)) do found(name, value) end
  if type(object) == "table" then
    for name, value in pairs(object) do found(name, value) end
  end
  for word in pairs(words or NONE) do
    if real[word] == nil and object[word] ~= nil then
      found(word, object[word])
    end
  end
  for name, signatures in pairs(functions) do
    local fn, info = real[name], nil
    if type(fn) ~= "function" then
      differs(name, "is no function")
    else
      info = debug.getinfo(fn, "Su")
    end
    for _, each in ipairs(info and info.what ~= "C" and signatures or NONE) do
      if info.nparams ~= #each.params + (each.method and 1 or 0) then
        differs(name, ("has %d parameters"):format(info.nparams))
      end
    end
  end
  for name, field in pairs(fields) do
    local value = object[name]
    local why = (value ~= nil or not field.optional)
      and mismatch(api, value, field.type)
    if why then differs(name, why) end
  end
  table.sort(list)
  return list
end

return typed
