-- The annotations of our Lua modules, held against the modules themselves: what
-- is there is annotated, and what is annotated is there and is so. A module of
-- which this does not know an object, or a call, fails.

local luacats = require "support.luacats"
local support = require "support"
local typed = require "support.typed"
local uv = require "luv"

local MODULES = "lua/callosum"

-- What is not for others to require: the script of `callosum-rover serve`.
local PRIVATE = { serve = true }

local function names(folder, suffix)
  local list = {}
  local scan = assert(uv.fs_scandir(folder))
  for name in uv.fs_scandir_next, scan do
    name = name:match("^(.*)%." .. suffix .. "$")
    if name and not PRIVATE[name] then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

-- The files with annotations: the modules in Lua, and what stands for those in
-- C.
local function annotated()
  local files = {}
  for _, name in ipairs(names(MODULES, "lua")) do
    files[#files + 1] = { path = MODULES .. "/" .. name .. ".lua",
      name = "callosum." .. name }
  end
  for _, name in ipairs(names(MODULES .. "/meta", "lua")) do
    files[#files + 1] = { path = MODULES .. "/meta/" .. name .. ".lua" }
  end
  return files
end

local BUILD = support.EXECUTABLE:match "^(.*)/"
local api = luacats.read(annotated())

-- A policy which has the API and the checkers of it, and reports what it finds
-- to be wrong: each call of `wrong(text)` is a line of its output, which must
-- be empty.
local HEAD = ([[
  package.path = "ROOT/spec/?.lua;" .. package.path
  luacats, typed = require "support.luacats", require "support.typed"
  host = require "callosum.host"
  api = luacats.read { { path = "ROOT/lua/callosum/meta/host.lua" } }
  require("callosum.rover").new()
  function wrong(list) for _, text in ipairs(list) do print(text) end end
]]):gsub("ROOT", support.ROOT)

local function inHost(script)
  local child = support.policy(HEAD .. script)
  assert.same({ 0, 0 }, { child:wait() }, child.output)
  assert.equal("", child.stdout, child.output)
  return child
end

-- Where the names are that a module knows.
local function artifact(module)
  local lua = module.file:match "^lua/callosum/%w+%.lua$"
  return lua or BUILD .. "/callosum/rover.so" -- which has all that are in C
end

-- Objects of the annotated classes, by name: each has all that its class has.
local function objects()
  local rover = require "callosum.rover"
  local server = require "callosum.server"
  local slots = require "callosum.slots"
  local found = { ["callosum.Slots"] = slots.new() }
  -- Closed, so that nobody waits.
  found["callosum.Pool"] = require("callosum.pool").new():close()
  found["callosum.SlotSource"] = {
    get = function(_) return found["callosum.Slots"]:get() end,
    put = function(_, slot) found["callosum.Slots"]:put(slot) end,
  }

  local s = assert(server.new())
  finally(function() s:close() end)
  s:on("connection", function(conn) found["callosum.Connection"] = conn end)
  found["callosum.Server"] = s

  local host, port = s:address()
  local r = rover.new { servers = { s = { host = host, port = port } } }
  finally(function() r:close() end)
  r:on("connection", function(_, socket) found["callosum.Socket"] = socket end)
  r:connect()
  support.run(function() return found["callosum.Socket"] end)
  found["callosum.Rover"] = r

  local own = assert(require("callosum.relay").new {
    listen = { port = 0 },
    pick = function(client) found["callosum.Client"] = client end,
  })
  finally(function() own:close(0) end)
  support.connect((select(2, own:address())))
  support.run(function() return found["callosum.Client"] end)
  found["callosum.Relay"] = own
  return found
end

-- The modules that any Lua program can have.
local function requirable()
  local list = {}
  for name, module in pairs(api.modules) do
    if name ~= "callosum.host" then list[name] = module end
  end
  return list
end

-- Calls `fn(object, class, module)` for each class that is more than a record.
local function eachObject(fn)
  local found = objects()
  for name, module in pairs(requirable()) do
    fn(require(name), module, module)
    for class in pairs(typed.owners(api, module.file)) do
      if class ~= module and next(class.functions) then
        fn(assert(found[class.name], "no object of " .. class.name), class,
          module)
      end
    end
  end
end

local function optionsOf(signature)
  local param = signature.params[1]
  for _, one in ipairs(param and param.type.kind == "union" and param.type
      or { param and param.type }) do
    if (one.value or ""):find "Options$" then return api.classes[one.value] end
  end
end

-- Calls `fn(make, options, module)` for each function that takes options.
local function eachOptions(fn)
  local count = 0
  for name, module in pairs(requirable()) do
    for key, signatures in pairs(module.functions) do
      local options = optionsOf(signatures[1])
      if options then
        count = count + 1
        fn(require(name)[key], options, module)
      end
    end
  end
  assert.is_true(count >= 3)
end

-- Options that are not optional.
local REQUIRED = {
  ["callosum.RelayOptions"] = { listen = { port = 0 }, pick = print },
}

-- What no parameter and no option takes.
local NOTHING = coroutine.create(print)

-- A value of a type, as simple as can be.
local function sample(type)
  if type.kind == "union" then return sample(type[1]) end
  if type.kind == "literal" then return type.value end
  if type.kind == "fun" then return function() end end
  if type.kind == "name" and api.classes[type.value] then
    local value = {}
    for name, field in pairs(api.classes[type.value].fields) do
      if not field.optional then value[name] = sample(field.type) end
    end
    return value
  end
  return ({ integer = 1, string = "x", ["function"] = print })[type.value] or {}
end

-- A handler, and a function that runs until that was called and returns what
-- with.
local function heard()
  local args
  return function(...) args = args or table.pack(...) end, function()
    support.run(function() return args end)
    return table.unpack(args, 1, args.n)
  end
end

-- Calls everything there is in a module, with handlers that are called, each
-- thing at least once, on what `wrap(value, class)` makes of it: the module
-- itself, or an object of that class.
local calls = {}

calls["callosum.slots"] = function(wrap)
  local slots = wrap(require "callosum.slots").new { max = 1 }
  local slot = slots:get()
  local _, message, code = slots:get()
  assert.same({ 0, "all 1 slots are out", "EAGAIN" },
    { slot, message, code })
  assert.equal(0, slots:put(slot):count())
end

calls["callosum.server"] = function(wrap)
  local server = wrap(require "callosum.server")
  local source = require("callosum.slots").new { max = 1 }
  local s = assert(server.new { slots = source })
  local host, port = s:address()
  assert.is_nil((server.new { host = host, port = port }))

  local onConnection, connected = heard()
  local onError, failed = heard()
  s:on("connection", onConnection):on("error", onError)
  local client = support.connect(port)
  local conn, slot = connected()
  assert.same({ conn }, s:connections())
  assert.same({ 0, false, uv.tcp_getsockname(conn.handle).port },
    { slot, conn.closed, port })
  support.connect(port)
  failed() -- for the only slot is out
  s:off("error", onError)

  local onData, received = heard()
  local onEnd, ended = heard()
  local onClose, closed = heard()
  local onWritten, written = heard()
  local onShutdown, halted = heard()
  conn:on("data", onData):on("end", onEnd):on("close", onClose)
  client:write "x"
  assert.equal("x", received())
  conn:off("data", onData)
  assert.is_truthy(conn:peername() and conn:sockname())
  assert.equal(conn, conn:pause():resume())
  conn:write({ "y", "z" }, onWritten)
  written()
  conn:shutdown(onShutdown)
  halted()
  client:close()
  ended()
  closed()
  assert.is_nil((conn:close():write "x"))
  assert.is_nil((conn:peername()))

  local onServerClose, over = heard()
  s:close(onServerClose)
  over()
  local same = wrap(source, "callosum.SlotSource")
  same:put(same:get())
end

calls["callosum.rover"] = function(wrap)
  local server = assert(require("callosum.server").new())
  finally(function() server:close() end)
  local accepted = {}
  server:on("connection", function(c) table.insert(accepted, c) end)
  local address = { host = "127.0.0.1", port = select(2, server:address()) }

  local r = wrap(require "callosum.rover").new { maxAttempts = 1 }
  finally(function() r:close() end)
  local onConnection, connected = heard()
  local onUnreachable, unreachable = heard()
  local onError, failed = heard()
  r:on("connection", onConnection):on("error", onError)
  r:on("unreachable", onUnreachable)
  r:connect()
  failed() -- for there are no servers
  r:off("error", onError)
  r:addServer("s", { host = "127.0.0.1", port = support.closedPort() })
  r:connect()
  assert.equal("EAGAIN", (select(3, r:connect())))
  assert.equal("s", (unreachable()))
  r:addServer("s", address):setRovingInterval(60000):start():stop():start()
  local slot, socket = connected()
  assert.is_true(r:roveIn(r:rovingInterval()))
  assert.is_true(r:dueIn() > 0)
  assert.is_nil(r:stop():dueIn())
  assert.is_true(r:pauseServer("s", 0))
  assert.same({ s = address }, r:servers())
  assert.same({ socket }, r:sockets())
  assert.same({ 0, 1, 1 }, { slot, r:stats().kept,
    r:stats().causes.ECONNREFUSED })
  assert.same({ true, false }, { r:dropServer "s", r:dropServer "s" })

  assert.same({ "s", address, false, false, {} }, { socket.id,
    socket.server, socket.adopted, socket.closed, socket.state })
  socket.state = { n = 1 }
  assert.equal(address.port, (select(2, socket:peername())))
  assert.is_truthy(socket:sockname())
  local onData, received = heard()
  local onDrain, drained = heard()
  local onWritten, written = heard()
  local onShutdown, halted = heard()
  local onEnd, ended = heard()
  local onClose, closed = heard()
  socket:on("drain", error):off()
  socket:on("data", onData):on("drain", onDrain)
  socket:on("end", onEnd):on("close", onClose)
  accepted[1]:write "x"
  assert.equal("x", received())
  socket:off("data", onData)
  socket:write(("x"):rep(1 << 24)):write({ "y", "z" }, onWritten)
  assert.is_true(socket:writeQueueSize() > 0)
  assert.equal("EBUSY", (select(3, socket:detach())))
  drained()
  written()
  socket:shutdown(onShutdown)
  halted()
  ended()
  closed()
  assert.is_nil((socket:close():write "x"))
  assert.is_nil((socket:peername()))

  r:addServer("s", address):connect()
  support.run(function() return r:sockets()[1] end)
  assert(uv.fs_close((r:sockets()[1]:pass():detach())))
  r:close()
end

calls["callosum.pool"] = function(wrap)
  local server = assert(require("callosum.server").new())
  finally(function() server:close() end)
  local host, port = server:address()
  local r = require("callosum.rover").new {
    servers = { s = { host = host, port = port } },
  }
  finally(function() r:close() end)
  local p = wrap(require "callosum.pool").new { maxWaiting = 1 }
  finally(function() p:close() end)

  assert.equal("EAGAIN", select(3, p:getConnection()))
  local onTimeout, late = heard()
  assert(p:waitConnection(onTimeout, 1))
  assert.equal("ENOBUFS", select(3, p:waitConnection(print)))
  assert.equal("ETIMEDOUT", select(3, late()))
  local cancel = p:waitConnection(print)
  assert.is_true(cancel())

  p:attach(r)
  r:connect()
  local onSocket, served = heard()
  p:waitConnection(onSocket)
  local socket = served()
  assert.is_true(p:returnConnection(socket))
  assert.same({ 1, 1, { s = 1 } }, { p:stats().size, p:stats().idle,
    p:stats().servers })
  p:detach()
  assert.is_true(p:newConnection(0, r:sockets()[1]))
  coroutine.wrap(function()
    socket = p:awaitConnection()
    p:close()
    assert.equal("ECANCELED", select(3, p:awaitConnection()))
  end)()
  assert.is_false(p:returnConnection(socket))
end

calls["callosum.relay"] = function(wrap)
  local server = support.serve { send = "0\r\n" }
  local r = require("callosum.rover").new {
    servers = { s = { host = "127.0.0.1", port = server.port } },
  }
  finally(function() r:close() end)
  r:on("connection", function() end)
  local relay = wrap(require "callosum.relay")
  local onClient, came = heard()
  local s = assert(relay.new { listen = { port = 0 }, pick = function(client)
    assert.is_true(relay.client().waiting)
    onClient(client)
    return r:sockets()[1]
  end })
  assert.is_nil(relay.client())
  finally(function() s:close(0) end)
  local _, port = s:address()
  assert.is_nil((relay.new { listen = { port = port }, pick = print }))

  local onError, failed = heard()
  local onClose, closed = heard()
  s:on("error", onError)
  support.connect(port)
  local client = wrap(came(), "callosum.Client")
  assert.is_true(client.waiting)
  assert.is_truthy(client:peername())
  client:on("close", onClose):off("close", print):refuse "no reason"
  assert.equal("ECANCELED", failed().code)
  assert.equal("no reason", closed().message)
  assert.is_nil((client:peername()))
  s:off("error", onError)

  support.connect(port)
  support.run(function() return s:stats().waiting == 1 end)
  r:connect()
  support.run(function() return s:stats().running == 1 end)
  r:connect()
  support.run(function() return r:sockets()[1] end)
  assert.is_nil((client:join(r:sockets()[1])))
  assert.equal(s, s:offer())
  s:close()
end

calls["callosum.host"] = function()
  inHost [[
    local checker = typed.checker(api)
    local module = api.modules["callosum.host"]
    local h = checker.wrap(host, module)
    for _, level in ipairs { "debug", "info", "warn", "error" } do
      h.log[level]("said", { level = level, n = 1, yes = true })
    end
    h.log.info "and no more"
    assert(h.generation == 1 and #h.args == 0 and h.carry == nil)
    h.carry = { 1, "2", { true } }
    assert(not h.inherit(require "luv".new_tcp(), "127.0.0.1", 1))
    h.on("unload", function() end)
    host.on("unload", function()
      wrong(checker.faults)
      wrong(checker.uncalled(module.file))
    end)
    h.reload()
    h.stop(0)
  ]]
end

describe("the annotations", function()
  it("are there for every module, and for nothing else", function()
    local wanted = {}
    for _, name in ipairs(names(MODULES, "lua")) do
      wanted["callosum." .. name] = true
    end
    for _, name in ipairs(names(BUILD .. "/callosum", "so")) do
      wanted["callosum." .. name] = true
    end
    local child = support.policy [[
      require("callosum.rover").new()
      for name in pairs(package.preload) do print(name) end
      require("callosum.host").stop()
    ]]
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    for name in child.stdout:gmatch "callosum%.%w+" do wanted[name] = true end

    local there = {}
    for name in pairs(api.modules) do there[name] = true end
    assert.is_true(wanted["callosum.host"])
    assert.same(wanted, there)
  end)

  it("name only types that there are", function()
    for _, each in ipairs(api.types) do
      assert.is_true(typed.isType(api, each.name),
        ("%s: what is %s?"):format(each.where, each.name))
    end
  end)

  it("tell of each function and field what it is", function()
    for class in pairs(typed.owners(api)) do
      for name, signatures in pairs(class.functions) do
        for _, each in ipairs(signatures) do
          assert.matches("%u.*%.$", each.text, class.name .. "." .. name)
        end
      end
      for name, field in pairs(class.fields) do
        assert.is_true(field.scope == "package" or field.text ~= "",
          class.name .. "." .. name)
      end
    end
  end)

  it("are lines of 80 columns, but for the types of handlers", function()
    for _, file in ipairs(annotated()) do
      for line in io.lines(file.path) do
        assert.is_true(utf8.len(line) <= 80
          or line:find "^%-%-%-@field o[nf]+ fun%(" ~= nil, line)
      end
    end
  end)

  it("are of what the modules and their objects have", function()
    eachObject(function(object, class, module)
      local words = type(object) == "userdata" and typed.words(artifact(module))
      assert.same({}, typed.differences(api, object, class, words))
    end)
  end)

  it("list the events", function()
    eachObject(function(object, class, module)
      local there, annotated_ = {}, {}
      local function on(event)
        return pcall(object.on, object, event, function() end)
      end
      for _, signature in ipairs(class.functions.on or {}) do
        annotated_[signature.params[1].type.value] = true
      end
      if next(annotated_) == nil then return end
      for word in pairs(typed.words(artifact(module))) do
        if on(word) then there[word] = true end
      end
      assert.same(annotated_, there)
    end)
  end)

  it("list the options", function()
    eachOptions(function(make, options, module)
      local there, annotated_ = {}, {}
      for name in pairs(options.fields) do annotated_[name] = true end
      for word in pairs(typed.words(artifact(module))) do
        local ok, err = pcall(make, { [word] = NOTHING })
        assert.is_false(ok, word)
        if not err:find "unknown option" then there[word] = true end
      end
      assert.same(annotated_, there)
    end)
  end)

  it("tell the options and defaults that the README tells", function()
    for class, pattern in pairs {
      RoverOptions = "rover%.new (%b{})\n\nr:on%(event",
      PoolOptions = "pool%.new (%b{}):attach",
    } do
      local there, told = {}, {}
      local block = read "README.md":match(pattern)
      for name, default in block:gmatch "\n  (%a+) = (.-),%s" do
        there[name] = default
      end
      for name, field in pairs(api.classes["callosum." .. class].fields) do
        told[name] = field.text:match "Default: (.*)$"
      end
      assert.same(there, told)
    end
  end)

  it("have every name that examples and README use", function()
    local CLASSES = { r = "Rover", clientRover = "Rover", socket = "Socket",
      s = "Server", conn = "Connection", host = "Host", p = "Pool" }
    local texts = { (read "README.md":gsub("/[%w.]+", "")) }
    for _, name in ipairs(names("examples", "lua")) do
      texts[#texts + 1] = read("examples/" .. name .. ".lua")
    end
    local count = 0
    for variable, name in table.concat(texts):gmatch
        "%f[%w_](%a+)[.:](%a%w+)" do
      local class = api.classes["callosum." .. (CLASSES[variable] or "")]
      if class then
        count = count + 1
        assert.is_truthy(class.fields[name] or class.functions[name],
          ("%s in %s.%s"):format(name, variable, name))
      end
    end
    assert.is_true(count > 80, count)
  end)

  it("have the options' types", function()
    local values = { true, 1, 0.5, "127.0.0.1", {}, print }
    eachOptions(function(make, options)
      local required = REQUIRED[options.name] or {}
      for name, field in pairs(options.fields) do
        assert.equal(required[name] == nil, field.optional, name)
        local text = field.text:match "Default: (.*)$" or "nil"
        local default = load("return " .. text)
        if default and default() ~= nil then
          assert.is_nil(typed.mismatch(api, default(), field.type), name)
        end
        for _, value in ipairs(values) do
          local given = { [name] = value }
          for key, one in pairs(required) do given[key] = given[key] or one end
          local ok, made = pcall(make, given)
          assert.equal(typed.mismatch(api, value, field.type) == nil, ok,
            ("%s = %s"):format(name, value))
          if ok and made and made.close then made:close() end
        end
      end
    end)
  end)

  it("have parameters which are all checked", function()
    -- Tells whether a function takes a value as its i-th argument.
    local function takes(object, name, signature, i, value)
      local args = { n = i, [i] = value }
      for j = 1, i - 1 do args[j] = sample(signature.params[j].type) end
      if signature.method then
        table.move(args, 1, i, 2)
        args[1], args.n = object, i + 1
      end
      -- Some functions are for coroutines only.
      local ok, made = coroutine.wrap(pcall)(object[name],
        table.unpack(args, 1, args.n))
      local new = ok and made ~= object and made
      if new and new.close then new:close() end
      return ok
    end
    eachObject(function(object, class)
      for name, signatures in pairs(class.functions) do
        for _, signature in ipairs(signatures) do
          for i, param in ipairs(signature.params) do
            local text = ("%s.%s: %s"):format(class.name, name, param.name)
            assert.equal(param.optional,
              takes(object, name, signature, i, nil), text)
            assert.equal(not typed.mismatch(api, NOTHING, param.type),
              takes(object, name, signature, i, NOTHING), text)
          end
        end
      end
    end)
  end)

  for name, module in pairs(api.modules) do
    it("have the types of what goes in and comes out of " .. name, function()
      assert(calls[name], "calls nothing of " .. name)
      local checker = typed.checker(api)
      calls[name](function(value, class)
        return checker.wrap(value, class and api.classes[class] or module)
      end)
      if name == "callosum.host" then return end -- it did all this itself
      assert.same({}, checker.faults)
      assert.same({}, checker.uncalled(module.file))
    end)
  end

  it("are of what callosum.host has", function()
    inHost [[
      local words = typed.words "/proc/self/exe"
      local module = api.modules["callosum.host"]
      host.carry = 1
      wrong(typed.differences(api, host, module, words))
      wrong(typed.differences(api, host.log, api.classes["callosum.Log"]))
      for word in pairs(words) do
        if pcall(host.on, word, function() end) ~= (word == "unload") then
          wrong { "the event " .. word }
        end
        if rawget(host, word) == nil
            and pcall(function() host[word] = 1 end) ~= (word == "carry") then
          wrong { "the field " .. word }
        end
      end
      -- no parameter takes a coroutine, but for the text of a log line's field
      local nothing = coroutine.create(wrong)
      for _, args in ipairs { { host.on, nothing, print },
          { host.on, "unload", nothing }, { host.stop, nothing },
          { host.log.info, nothing }, { host.log.info, "x", nothing } } do
        if pcall(table.unpack(args)) then wrong { "a wrong argument" } end
      end
      host.stop()
    ]]
  end)
end)
