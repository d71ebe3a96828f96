-- The reference in src/lua/reference is held against the modules themselves,
-- and against the files that are generated from it.

local reference = dofile "src/lua/reference/generate.lua"
local support = require "support"
local uv = require "luv"

local BUILD = support.EXECUTABLE:match "^(.*)/"

-- Not for others to require: the scripts of `callosum-rover serve` and `front`,
-- and what our modules in Lua check options by and count with.
local PRIVATE = { serve = true, stand = true, options = true, simulate = true,
  books = true, keeper = true }

local modules, items = {}, {}
for _, module in ipairs(reference.read()) do
  modules[module[1].name] = module
  for _, item in ipairs(module) do
    item.of = module[1]
    items[item.module and "module " .. item.name or item.name] = item
  end
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function set(...)
  local found = {}
  for _, list in ipairs { ... } do
    for _, each in ipairs(list) do found[each.name] = true end
  end
  return found
end

local function keys(...)
  local found = {}
  for _, table in ipairs { ... } do
    for name in pairs(table) do found[name] = true end
  end
  return found
end

-- The words in what has the modules in C. Whatever a function compares a name
-- with is among them, as a string or, where the linker has folded two into one,
-- as the end of one.
local function words()
  local found = {}
  for word in read(BUILD .. "/callosum/rover.so"):gmatch "[%a_][%w_]+" do
    for at = 1, #word <= 40 and not found[word] and #word or 0 do
      found[word:sub(at)] = true
    end
  end
  return found
end

-- The table in which the methods of an object are found.
local function methodsOf(object)
  local metatable = debug.getmetatable(object)
  local index = metatable and metatable.__index
  if type(index) == "table" then return index end
  for i = 1, index and 9 or 0 do
    local _, value = debug.getupvalue(index, i)
    if type(value) == "table" then return value end
  end
  return {}
end

-- The modules and an object of each class.
local function objects()
  local rover = require "callosum.rover"
  local found = { Slots = require("callosum.slots").new() }
  found.SlotSource = found.Slots
  found.Pool = require("callosum.pool").new():close()
  local metrics = require "callosum.metrics"
  found.Counter = metrics.counter { name = "a" }
  found.Gauge = metrics.gauge { name = "b" }
  found.Histogram = metrics.histogram { name = "c" }
  for name in pairs(modules) do
    if name ~= "host" then
      found["module " .. name] = require("callosum." .. name)
    end
  end

  local s = assert(require("callosum.server").new())
  finally(function() s:close() end)
  s:once("connection", function(conn) found.Connection = conn end)
  found.Server = s

  local host, port = s:address()
  local r = rover.new { servers = { s = { host = host, port = port } } }
  finally(function() r:close() end)
  r:once("connection", function(_, socket) found.Socket = socket end)
  r:connect()
  support.run(function() return found.Socket and found.Connection end)
  r:on("connection", function(_, socket) found.closed = socket:close() end)
  r:connect()
  support.run(function() return found.closed end)
  found.Rover = r

  local door = assert(require("callosum.relay").new {
    listen = { port = 0 }, acceptProxy = true, trusted = { "127.0.0.1" },
    pick = function(client) found.Client = client end,
  })
  finally(function() door:close(0) end)
  support.connect((select(2, door:address()))):write "PROXY UNKNOWN\r\n"
  support.run(function() return found.Client end)
  found.Relay = door
  local front = assert(require("callosum.front").new {
    listen = { port = 0 }, backend = { port = port },
  })
  finally(function() front:close(0) end)
  found.Front = front
  found.Source = require("callosum.discover").file { path = "/nowhere" }
  finally(function() found.Source:close() end)
  return found
end

-- The names that a function accepts, of which it tells when it is given none of
-- them.
local function namesOf(fn, ...)
  local ok, message = pcall(fn, ...)
  assert.is_false(ok)
  local found = {}
  for name in message:match "valid are (.*)":gmatch "%a+" do
    found[name] = true
  end
  return found
end

-- Calls fn(object, item) for each module and class.
local function eachObject(fn)
  local found = objects()
  for name, item in pairs(items) do
    if (item.class or item.module) and item.of.name ~= "host" then
      fn(assert(found[name], "no object of " .. name), item)
    end
  end
end

-- Calls fn(new, options) for each module whose first function has options.
local function eachOptions(fn)
  local count = 0
  for name, item in pairs(items) do
    if name:find "Options$" and item.of.name ~= "host" then
      for i, each in ipairs(item.of.functions) do
        local param = each.params[1]
        if i > 1 and item.of.name ~= "discover" then break end
        if param and param.type == "callosum." .. name then
          fn(require("callosum." .. item.of.name)[each.name], item)
          count = count + 1
        end
      end
    end
  end
  assert.is_true(count >= 5)
end

-- Options that are not optional.
local REQUIRED = {
  metrics = { name = "x" },
  relay = { listen = { port = 0 }, pick = print },
  front = { listen = { port = 0 }, backend = { port = 1 } },
  FileOptions = { path = "/nowhere" },
  DnsOptions = { host = "x", port = 1 },
  SrvOptions = { service = "x" },
  HttpOptions = { url = "http://x" },
  ConsulOptions = { service = "x" },
  EtcdOptions = { prefix = "x" },
  KubernetesOptions = { service = "x" },
}

-- Options that others need.
local NEEDED = { relay = { trusted = { "127.0.0.1" } },
  front = { trusted = { "127.0.0.1" } } }

-- Whether an option may be of that value.
local function accepts(new, options, name, value)
  local given = { [name] = value }
  for _, needs in ipairs { REQUIRED, NEEDED } do
    for key, one in pairs(needs[options.name] or needs[options.of.name]
        or {}) do
      if given[key] == nil then given[key] = one end
    end
  end
  local ok, made, message = pcall(new, given)
  if ok and made and made.close then made:close() end
  return ok, not ok and made or message
end

local function nothing() end

-- What no parameter and no option accepts.
local NOTHING = coroutine.create(print)

local BASIC = {
  string = "x", integer = 1, number = 0.5, boolean = true, table = {},
  ["function"] = nothing, userdata = io.stdout,
}

-- Whether an empty table is a record of that type.
local function maybeEmpty(kind)
  local record = items[kind:match "^callosum%.(%w+)$"]
  if not record or not record.fields then return false end
  for _, field in ipairs(record.fields) do
    if not field.optional then return false end
  end
  return true
end

-- Whether a value is of a type, as far as it is a basic one.
local function isOf(value, kind)
  local alias = items[kind:match "^callosum%.(%w+)$"]
  kind = alias and alias.type or kind
  for one in kind:gmatch "[^|]+" do
    if one == type(value) or one == math.type(value)
        or one == tostring(value) or value == BASIC.table
          and (one:find "^table<" or one:find "%[%]$" or maybeEmpty(one))
        or one:find "^fun%(" and value == BASIC["function"] then
      return true
    end
  end
  return false
end

describe("the reference", function()
  it("is what the annotations and the manual are generated from", function()
    for path, text in pairs(reference.generate()) do
      assert.equal(text, read(path), path .. " is not up to date: make docs")
    end
  end)

  it("has every module, and no other", function()
    local there = {}
    for folder, suffix in pairs { ["lua/callosum"] = "lua",
        [BUILD .. "/callosum"] = "so" } do
      for name in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
        name = name:match("^(.*)%." .. suffix .. "$")
        if name and not PRIVATE[name] then there[name] = true end
      end
    end
    local child = support.policy [[
      require("callosum.rover").new()
      for name in pairs(package.preload) do print(name) end
      require("callosum.host").stop()
    ]]
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    for name in child.stdout:gmatch "callosum%.(%w+)" do
      if not PRIVATE[name] then there[name] = true end
    end
    assert.same(there, keys(modules))
  end)

  it("names only types that there are", function()
    for path, text in pairs(reference.generate()) do
      for line in text:gmatch "%-%-%-@[^\n]+" do
        for name in path:find "meta" and line:gmatch "callosum%.(%u%w*)" do
          local item = items[name]
          assert.is_true(item ~= nil or line:find "^%-%-%-@class" ~= nil, line)
        end
      end
    end
  end)

  it("has examples that are Lua", function()
    local count = 0
    for _, item in pairs(items) do
      for _, part in ipairs(item.text) do
        if type(part) == "table" then
          assert(load(table.concat(part, "\n")))
          count = count + 1
        end
      end
    end
    assert.is_true(count >= 3)
  end)

  it("has the functions and fields of modules and objects", function()
    local known = words()
    eachObject(function(object, item)
      local there = {}
      for name in pairs(methodsOf(object)) do there[name] = true end
      if item.module then there = keys(object) end
      if item.name == "SlotSource" then there.count = nil end
      if type(object) == "userdata" then
        for word in pairs(known) do
          if object[word] ~= nil then there[word] = true end
        end
      end
      local told = set(item.functions or {}, item.fields or {})
      for name in pairs(type(object) == "table" and told or {}) do
        there[name] = object[name] ~= nil or nil
      end
      assert.same(there, told, item.name)
    end)
  end)

  it("has the types of fields", function()
    eachObject(function(object, item)
      for _, field in ipairs(item.fields or {}) do
        local value = object[field.name]
        assert.is_true(field.type:find "^callosum%." ~= nil
          or type(value) == field.type or math.type(value) == field.type,
          item.name .. "." .. field.name)
      end
    end)
  end)

  it("has the parameters of functions, and which are optional", function()
    local found
    local function sample(item, param)
      if param.name == "event" then return item.events[1].name end
      if param.name == "id" then return "s" end
      -- An open one that is not lent out cannot be returned.
      if param.name == "socket" and item.name == "Pool" then
        return found.closed
      end
      local name = param.type:match "^callosum%.(%w+)"
      if param.type:find "^fun" then return nothing end
      return found[name] or items[name] and { host = "127.0.0.1", port = 1 }
        or BASIC[param.type:match "^%w+"]
    end
    local function takes(object, item, each, i, value)
      local args = { [i] = value }
      for j = 1, i - 1 do args[j] = sample(item, each.params[j]) end
      if not item.module then table.insert(args, 1, object) end
      local count = i + (item.module and 0 or 1)
      if not item.module then args[count] = value end
      -- Some are for coroutines only.
      local ok, made = coroutine.wrap(pcall)(object[each.name],
        table.unpack(args, 1, count))
      local isNew = ok and made and made ~= object and item.module
      if isNew and made.close then made:close() end
      return ok
    end
    found = objects()
    for name, item in pairs(items) do
      local object = found[name]
      local isOurs = object and item.functions and name ~= "SlotSource"
      for _, each in ipairs(isOurs and item.functions or {}) do
        local fn = object[each.name]
        local info = debug.getinfo(fn, "Su")
        local where = name .. "." .. each.name
        if info.what == "Lua" then
          assert.equal(#each.params + (item.module and 0 or 1), info.nparams,
            where)
        end
        for i, param in ipairs(each.params) do
          assert.equal(param.optional, takes(object, item, each, i, nil),
            where .. ": " .. param.name)
          assert.is_false(takes(object, item, each, i, NOTHING),
            where .. ": " .. param.name)
        end
      end
    end
  end)

  it("has the events", function()
    local count = 0
    eachObject(function(object, item)
      if not object.on then return end
      for _, method in ipairs { "on", "once", "off" } do
        assert.same(set(item.events), object[method]
          and namesOf(object[method], object, "?", print) or set(item.events))
      end
      count = count + 1
    end)
    assert.equal(8, count)
  end)

  it("has the options", function()
    eachOptions(function(new, options)
      local parent = options.parent and items[options.parent].fields
      assert.same(namesOf(new, { ["?"] = true }),
        set(options.fields, parent or {}))
    end)
  end)

  it("has the types and ranges of options", function()
    eachOptions(function(new, options)
      for _, option in ipairs(options.fields) do
        local function check(expected, value)
          assert.equal(expected, (accepts(new, options, option.name, value)),
            ("%s.%s = %s"):format(options.name, option.name, value))
        end
        local low, high = (option.range or ""):match "^(%d+) to (%d+)"
        low, high = math.tointeger(low), math.tointeger(high)
        if option.type == "string" and low then
          for length, ok in pairs { [low] = true, [low - 1] = false,
              [high] = true, [high + 1] = false } do
            check(ok, ("x"):rep(length))
          end
        elseif low then
          check(true, low)
          check(true, high)
          check(false, low - 1)
          check(false, high + 1)
          check(option.type == "number", 0.5)
        end
        if option.type:find "|false" then check(true, false) end
        for kind, value in pairs(BASIC) do
          if kind ~= "string" and not low then
            check(isOf(value, option.type), value)
          end
        end
      end
    end)
  end)

  it("has defaults that are of the option's type", function()
    eachOptions(function(new, options)
      for _, option in ipairs(options.fields) do
        local required = REQUIRED[options.name] or REQUIRED[options.of.name]
          or {}
        assert.equal(required[option.name] == nil, option.optional)
        local value = assert(load("return " .. (option.default or "nil")))()
        assert.is_true((accepts(new, options, option.name, value)))
      end
    end)
  end)

  it("has the counters", function()
    local found = objects()
    for name, item in pairs(items) do
      local object = found[name:match "^(%u%l+)Stats$"]
      if object then
        local stats = object:stats()
        assert.same(keys(stats), set(item.fields))
        for _, field in ipairs(item.fields) do
          assert.is_true(field.type ~= "boolean"
            or type(stats[field.name]) == "boolean")
          assert.equal(field.type == "integer",
            math.type(stats[field.name]) == "integer", field.name)
        end
      end
    end
  end)

  it("has what callosum.host has", function()
    local host, log = modules.host[1], items.Log
    local function list(items_)
      local names = {}
      for name in pairs(items_) do names[#names + 1] = name end
      table.sort(names)
      return table.concat(names, " ")
    end
    local child = support.policy([[
      local host = require "callosum.host"
      require("callosum.rover").new()
      host.carry = 1
      local function list(table, more)
        local names = { more }
        for name in pairs(table) do names[#names + 1] = name end
        require("table").sort(names)
        print(require("table").concat(names, " "))
      end
      list(host, "carry") -- which pairs does not show
      list(host.log)
      print(select(2, pcall(host.on, "?", print)))
      host.stop()
    ]])
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    local names, levels, events = child.stdout:match "^(.-)\n(.-)\n(.-)\n$"
    assert.equal(list(set(host.fields, host.functions)), names)
    assert.equal(list(set(log.functions)), levels)
    assert.matches("valid are unload%f[^%w]", events)
  end)

  it("has every name that examples and README use", function()
    local CLASSES = { r = "Rover", clientRover = "Rover", socket = "Socket",
      s = "Server", conn = "Connection", host = "module host", p = "Pool",
      door = "Relay", f = "Front", d = "Source" }
    local function without(text) return (text:gsub("/[%w.]+", "")) end -- paths
    local texts, count = { without(read "README.md") }, 0
    for name in uv.fs_scandir_next, assert(uv.fs_scandir "examples") do
      if name:find "%.lua$" then
        texts[#texts + 1] = without(read("examples/" .. name))
      end
    end
    for variable, name in table.concat(texts):gmatch
        "%f[%w_](%a+)[.:](%a%w+)" do
      local item = items[CLASSES[variable] or ""]
      if item then
        count = count + 1
        assert.is_true(set(item.functions, item.fields or {})[name],
          ("%s in %s.%s"):format(name, variable, name))
      end
    end
    assert.is_true(count > 40, count)
  end)
end)
