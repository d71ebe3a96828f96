-- What all objects with handlers have in common: on, once and off.

local relays = require "support.relays"
local sockets = require "support.sockets"
local support = require "support"

local expect, misuse, run = support.expect, support.misuse, support.run

-- Each gives an object that nothing treats specially, one of its events, and a
-- function that makes it happen.
local KINDS = {
  rover = function()
    local r = require("callosum.rover").new()
    finally(function() r:close() end)
    return r, "error", function() r:connect() end
  end,
  socket = function()
    local socket, peer = sockets.plain()
    return socket, "data", function() peer:write("x") end
  end,
  relay = function()
    local r = assert(require("callosum.relay").new {
      listen = { port = 0 },
      pick = function(client) client:refuse("no") end,
    })
    finally(function() r:close(0) end)
    return r, "error", function() relays.connect(r) end
  end,
  client = function()
    local client
    local r = assert(require("callosum.relay").new {
      listen = { port = 0 },
      pick = function(each) client = each end,
    })
    finally(function() r:close(0) end)
    relays.connect(r)
    run(function() return client end)
    return client, "close", function() client:refuse() end
  end,
  server = function()
    local s = assert(require("callosum.server").new())
    finally(function() s:close() end)
    local _, port = s:address()
    return s, "connection", function() support.connect(port) end
  end,
  connection = function()
    local s = assert(require("callosum.server").new())
    finally(function() s:close() end)
    local conn
    s:on("connection", function(each) conn = each end)
    local client = support.connect((select(2, s:address())))
    run(function() return conn end)
    return conn, "data", function() client:write("x") end
  end,
}

for kind, make in pairs(KINDS) do
  describe("the events of a " .. kind, function()
    it("have names, of which the nearest is named", function()
      local object, event = make()
      local unknown = ("unknown event '%ss', nearest is '%s')")
        :format(event, event)
      misuse(function() object:on(event .. "s", print) end,
        "bad argument #1 to 'on' (" .. unknown)
      misuse(function() object:once(event .. "s", print) end,
        "bad argument #1 to 'once' (" .. unknown)
      misuse(function() object:off(event .. "s", print) end,
        "bad argument #1 to 'off' (" .. unknown)
      misuse(function() object:once(event, nil) end,
        "bad argument #2 to 'once' (function expected, got nil)")
    end)

    it("have handlers with one option", function()
      local object, event = make()
      misuse(function() object:on(event, print, true) end,
        "bad argument #3 to 'on' (table expected, got boolean)")
      misuse(function() object:once(event, print, true) end,
        "bad argument #3 to 'once' (table expected, got boolean)")
      misuse(function() object:on(event, print, { observers = true }) end,
        "bad argument #3 to 'on' (unknown option 'observers', nearest is "
        .. "'observer')")
      misuse(function() object:on(event, print, { observer = 1 }) end,
        "bad argument #3 to 'on' (observer: boolean expected, got 1)")
      assert.equal(object, object:on(event, print, {}))
      assert.equal(object, object:off(event, print))
    end)

    it("call an observer first", function()
      local object, event, happen = make()
      local seen = {}
      object:on(event, expect(function() seen[#seen + 1] = 2 end))
      object:on(event, expect(function() seen[#seen + 1] = 1 end),
        { observer = true })
      happen()
      run(function() return #seen == 2 end)
      assert.same({ 1, 2 }, seen)
    end)

    it("call a handler of once no more than once, and off removes it",
      function()
        local object, event, happen = make()
        local seen = {}
        local function note(name)
          return function() seen[#seen + 1] = name end
        end
        local observer, gone, all = note "observer", note "gone", note "all"
        object:once(event, observer, { observer = true }):once(event, gone)
        object:once(event, note "once"):on(event, all):off(event, gone)
        happen()
        run(function() return #seen >= 3 end)
        assert.same({ "observer", "once", "all" }, seen)
        if kind == "client" then return end -- it has but one event
        happen()
        run(function() return #seen >= 4 end)
        assert.same({ "observer", "once", "all", "all" }, seen)
      end)
  end)
end

-- A handler that is alone is kept in another way than several.
describe("the handlers of an event", function()
  local NAMES, STEPS = { "a", "b" }, { "on", "once", "observe", "off" }
  local socket, peer, seen, functions, model

  local function remove(name)
    for _, list in ipairs { model.handlers, model.observers } do
      for i = #list, 1, -1 do
        if list[i].name == name then return table.remove(list, i) end
      end
    end
  end

  local does = {
    on = function(name)
      socket:on("data", functions[name])
      table.insert(model.handlers, { name = name })
    end,
    once = function(name)
      socket:once("data", functions[name])
      table.insert(model.handlers, { name = name, once = true })
    end,
    observe = function(name)
      socket:on("data", functions[name], { observer = true })
      table.insert(model.observers, { name = name })
    end,
    off = function(name)
      socket:off("data", functions[name])
      remove(name)
    end,
  }

  -- What is called next, by the model.
  local function expected()
    local names, stay = {}, {}
    for _, each in ipairs(model.observers) do names[#names + 1] = each.name end
    for _, each in ipairs(model.handlers) do
      names[#names + 1] = each.name
      if not each.once then stay[#stay + 1] = each end
    end
    model.handlers = stay
    return table.concat(names)
  end

  local function check(what)
    if #model.handlers == 0 then return end -- nobody reads
    local names = expected()
    seen = {}
    peer:write("x")
    run(function() return #seen >= #names end)
    assert.equal(names, table.concat(seen), what)
  end

  before_each(function()
    socket, peer = sockets.plain()
    functions, model = {}, { handlers = {}, observers = {} }
    for _, name in ipairs(NAMES) do
      functions[name] = function() seen[#seen + 1] = name end
    end
  end)

  it("are those that were added and not removed, in any order", function()
    local count = #NAMES * #STEPS
    for number = 0, count ^ 3 - 1 do
      local what, rest = {}, number
      for _ = 1, 3 do
        local name = NAMES[rest % #NAMES + 1]
        local step = STEPS[rest // #NAMES % #STEPS + 1]
        rest = rest // count
        what[#what + 1] = step .. " " .. name
        does[step](name)
        check(table.concat(what, ", "))
      end
      check(table.concat(what, ", "))
      for _, name in ipairs(NAMES) do
        while remove(name) do socket:off("data", functions[name]) end
      end
    end
  end)

  it("may replace themselves, and are called from the next time on", function()
    local names = {}
    local function second() names[#names + 1] = "second" end
    local function first()
      names[#names + 1] = "first"
      socket:off("data", first):on("data", second)
      socket:on("data", second, { observer = true })
    end
    socket:on("data", first)
    for count = 1, 5, 2 do
      peer:write("x")
      run(function() return #names >= count end)
    end
    assert.same({ "first", "second", "second", "second", "second" }, names)
  end)
end)

describe("once", function()
  it("on a socket's data stops reading after it", function()
    local socket, peer = sockets.plain()
    local seen = {}
    socket:once("data", function(bytes) seen[#seen + 1] = bytes end)
    peer:write("1")
    run(function() return #seen == 1 end)
    peer:write("2")
    sockets.settle()
    assert.same({ "1" }, seen)
    socket:once("data", function(bytes)
      seen[#seen + 1] = bytes
      socket:on("data", function(more) seen[#seen + 1] = more end)
    end)
    run(function() return #seen == 2 end)
    peer:write("3")
    run(function() return #seen == 3 end)
    assert.same({ "1", "2", "3" }, seen)
  end)

  it("is over even if the handler raises an error", function()
    local child = support.policy [[
      local host, rover = require "callosum.host", require "callosum.rover"
      local r, seen = rover.new(), 0
      r:once("error", function() error "once" end)
      r:on("error", function()
        seen = seen + 1
        if seen == 2 then host.log.info("seen", { count = seen }) end
      end)
      r:connect()
      r:connect()
    ]]
    assert.matches("once", support.logged(child, "policy error").error)
    assert.equal(2, support.logged(child, "seen").count)
    support.stop(child)
  end)

  it("gives a connection its server, like on", function()
    local server = support.serve { send = "3\r\n" }
    local r = support.rover { port = server.port }
    local met
    r:once("connection", function(...) met = { ... } end)
    support.attempt(r, {})
    assert.equal(4, #met)
    assert.same({ host = "127.0.0.1", port = server.port }, met[4])
    assert.is_false(met[2].closed)
  end)
end)
