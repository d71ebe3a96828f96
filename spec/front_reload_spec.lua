local fronts = require "support.fronts"
local reloads = require "support.reloads"
local support = require "support"

local events, logged, run = support.events, support.logged, support.run
local fails, reload = reloads.fails, reloads.reload

describe("a front over a reload", function()
  local peers -- all that are open, and servers

  local function own(peer)
    peers[#peers + 1] = peer
    return peer
  end

  local function connect(path) return own(fronts.connect(path)) end

  local function slot(path)
    local peer = connect(path)
    return tonumber(peer:line()), peer
  end

  local function pair(path, server)
    local client, backend = fronts.pair(path, server)
    return own(client), own(backend)
  end

  -- What the policies here begin with: the backend's port and the front's path
  -- are their arguments.
  local HEAD = ([[
    front = require "callosum.front"
    function stands(options)
      options = options or {}
      options.listen = options.listen or { path = host.args[2] }
      options.backend = options.backend or at(1)
      local f = front.new(options)
      f:on("error", function(err) log("error", { err = err.code }) end)
      f:on("backend", function(up, err)
        log("backend", { up = up, err = err and err.message,
          of = host.generation })
      end)
      return f
    end
    function say(f) log("stats", f:stats()) end
  ]]):gsub("\n%s*", " ")

  local function start(script)
    local server, path = support.serve(), support.tmpdir() .. "/front.sock"
    peers = { server }
    local child = reloads.start(HEAD .. script, server, path)
    return child, path, server
  end

  local function again(child, script) return reload(child, HEAD .. script) end

  local function finish(child)
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(child)
    assert.equal(0, #events(child, "policy error"), child.output)
    assert.equal(0, #events(child, "error"), child.output)
  end

  local function works(client, backend)
    client:write "ping"
    backend:take "^ping"
    backend:write "pong"
    client:take "^pong"
  end

  it("needs no rover beside it", function()
    local child, path = start "stands()"
    assert.equal(0, (slot(path)))
    finish(child)
  end)

  it("keeps connections, their slots, and its counters", function()
    local child, path, server = start "stands()"
    local client, backend = pair(path, server)
    local _, unused = slot(path)
    for i = 2, 4 do
      reload(child)
      works(client, backend)
      assert.equal(i, (slot(path)))
    end
    again(child, "say(stands())") -- staged, so it is another's
    again(child, "f = stands() host.on('unload', function() say(f) end)")
    again(child, "local f = stands() require 'luv'.new_timer():start(1, 0, "
      .. "function() say(f) end)")
    local s = logged(child, "stats", 3)
    assert.same({ 5, 5, 4, 1, 0 },
      { s.accepted, s.open, s.unused, s.running, s.refused })
    unused:write "hello"
    run(function() return server.peers[2] end)
    works(client, backend)
    works(unused, server.peers[2], server.peers[2]:take "^hello")
    finish(child)
  end)

  it("refuses nobody", function()
    local child, path = start "stands()"
    local given = {}
    for i = 1, 20 do
      local client = connect(path)
      given[i] = client
      if i % 5 == 0 then reload(child) end
    end
    for i, client in ipairs(given) do
      assert.equal(i - 1, tonumber(client:line()))
    end
    finish(child)
  end)

  it("stays if the new policy fails", function()
    local child, path, server = start "stands()"
    local client, backend = pair(path, server)
    assert.matches("policy.lua:1: no luck",
      fails(child, HEAD .. "stands() error 'no luck'").error)
    assert.matches("declares no rover and no front",
      fails(child, HEAD .. "stands():close()").error)
    assert.matches("there is a front 'main' already",
      fails(child, HEAD .. "stands() stands()").error)
    assert.matches("front 'a': cannot listen on .*: ",
      fails(child, HEAD .. "stands() stands { name = 'a', listen = "
        .. "{ path = '/nowhere/sock' } }").error)
    works(client, backend)
    assert.equal(1, (slot(path)))
    finish(child)
  end)

  it("ends the surplus of a lowered weight", function()
    local child, path = start "stands()"
    for _ = 1, 4 do slot(path) end
    again(child, "stands { weight = 0.5, drainTimeout = 10 }")
    run(function()
      local ended = 0
      for _, peer in ipairs(peers) do
        ended = ended + (peer.ended and 1 or 0)
      end
      return ended == 2
    end)
    assert.equal(9, (slot(path))) -- of index 4: the others are not over yet
    finish(child)
  end)

  it("joins newcomers with the backend that is declared now", function()
    local child, path, server = start "stands()"
    local client, backend = pair(path, server)
    local _, unused = slot(path)
    local other = own(support.serve())
    again(child, ("stands { backend = { port = %d } }"):format(other.port))
    unused:write "hello"
    run(function() return other.peers[1] end)
    works(client, backend)
    finish(child)
  end)

  it("is down, and drains, until a policy says otherwise", function()
    local child, path = start "stands()"
    again(child, "stands():setDown 'maintenance'")
    assert.same("maintenance", logged(child, "backend").err)
    again(child, "stands()")
    connect(path):waitEnd()
    again(child, "stands():setDown()")
    assert.is_true(logged(child, "backend", 2).up)
    assert.same({ 2, 4 }, reloads.told(child, "backend", "of"))
    assert.equal(0, (slot(path)))
    again(child, "stands():drain(0)")
    again(child, "stands()")
    local refused = connect(path)
    refused:waitEnd()
    assert.equal("", refused.received)
    again(child, "stands():resume()")
    assert.equal(0, (slot(path)))
    finish(child)
  end)

  it("drains if the new policy does not declare it", function()
    local child, path, server = start "stands { drainTimeout = 10 }"
    local client = pair(path, server)
    local _, unused = slot(path)
    again(child, "stands { name = 'other', listen = { port = 0 } }")
    local event = logged(child, "front drains")
    assert.same({ "main", 2 }, { event.front, event.clients })
    unused:waitEnd()
    client:waitEnd()
    assert.is_truthy(connect(path):waitEnd())
    finish(child)
  end)

  it("gives its listener to one of another name, and drains", function()
    local child, path = start "stands { drainTimeout = 10 }"
    local _, old = slot(path)
    again(child, "stands { name = 'other' }")
    assert.equal(0, (slot(path)))
    old:waitEnd()
    finish(child)
  end)

  it("drains when the host stops, which waits for that", function()
    local child, path, server = start "stands { drainTimeout = 50 }"
    local client, backend = pair(path, server)
    backend:write "answer"
    client:take "^answer"
    child:kill "sigterm"
    logged(child, "front drains")
    client:waitEnd()
    assert.same({ 0, 0 }, { child:wait() })
    assert.equal(0, #events(child, "policy error"), child.output)
  end)
end)
