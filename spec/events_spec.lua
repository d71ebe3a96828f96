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
