-- Sources of servers across reloads: they are matched by name, as rovers are.

local sources = require "support.sources"
local support = require "support"
local reloads = require "support.reloads"
local web = require "support.web"

local fails, reload = reloads.fails, reloads.reload
local logged, put, run, told = support.logged, sources.put, support.run,
  reloads.told

-- What the policies have: `source` makes a source of the file that is the n-th
-- argument; `show` says which servers the rover has and what the source knows.
local HEAD = [[
  discover = require "callosum.discover"
  function ids(r)
    local list = {}
    for id in pairs(r:servers()) do list[#list + 1] = id end
    table.sort(list)
    return table.concat(list, " ")
  end
  function source(n, options)
    options = options or {}
    options.path = host.args[n]
    options.interval = options.interval or 20
    options.removalDelay = options.removalDelay or 0
    local d = discover.file(options)
    d:on("update", function(added, dropped)
      log("update", { generation = host.generation,
        added = table.concat(added, " "),
        dropped = table.concat(dropped, " ") })
    end)
    d:on("error", function(err) log("failed", { err = tostring(err) }) end)
    return d
  end
  function show(r, d)
    local uv = require "luv"
    local last
    uv.new_timer():start(1, 1, function()
      local now = ids(r)
      if now == last then return end
      last = now
      local s = d and d:stats() or {}
      log("has", { ids = now, generation = host.generation,
        lookups = s.lookups, added = s.added })
    end)
  end
]]

-- Runs a policy; the files with these texts are its arguments.
local function start(script, ...)
  local paths, args = {}, {}
  for i, text in ipairs { ... } do
    paths[i] = support.tmpdir() .. "/servers"
    put(paths[i], text)
    args[i] = paths[i]
  end
  local child = support.policy(HEAD:gsub("^", [[
    host = require "callosum.host" rover = require "callosum.rover"
    log = host.log.info
  ]], 1) .. script, { args = args })
  logged(child, "policy loaded")
  return child, paths
end

local function again(child, script)
  support.write(child.path, HEAD:gsub("^", [[
    host = require "callosum.host" rover = require "callosum.rover"
    log = host.log.info
  ]], 1) .. script)
end

local function reloaded(child, script)
  again(child, script)
  return reload(child)
end

-- Waits until the policy of a generation has shown these servers.
local function shown(child, ids, generation)
  run(function()
    for _, event in ipairs(support.events(child, "has")) do
      if event.ids == ids and event.generation == generation then
        return true
      end
    end
  end)
end

local ONE = [[
  r = rover.new()
  d = source(1):attach(r)
  show(r, d)
]]

describe("A source in a reload", function()
  it("goes on as the one of its name, and touches no server", function()
    local child, paths = start(ONE, "a:1\nb:1")
    shown(child, "a:1 b:1", 1)
    reloaded(child, ONE)
    shown(child, "a:1 b:1", 2)
    put(paths[1], "a:1\nb:1\nc:1")
    shown(child, "a:1 b:1 c:1", 2)
    assert.same({ "a:1 b:1", "c:1" }, told(child, "update", "added"))
    assert.same({ 1, 2 }, told(child, "update", "generation"))
    assert.same({ "", "" }, told(child, "update", "dropped"))
    local last = support.events(child, "has")
    assert.equal(3, last[#last].added)
    for _, event in ipairs(last) do assert.not_equal("", event.ids .. (
      event.generation == 1 and "-" or "")) end
  end)

  it("is closed if the new policy does not declare it, and its servers go",
    function()
      local child = start(ONE .. [[
        r:addServer("z", { host = "z", port = 1 })
      ]], "a:1\nb:1")
      shown(child, "a:1 b:1 z", 1)
      reloaded(child, [[ r = rover.new() show(r) ]])
      shown(child, "", 2)
      reloaded(child, ONE)
      shown(child, "a:1 b:1", 3)
      reloaded(child, [[
        r = rover.new()
        d = source(1, { name = "other" }):attach(r)
        show(r, d)
      ]])
      shown(child, "a:1 b:1", 4)
    end)

  it("does without what the policy has dropped, until it adds that", function()
    local child, paths = start(ONE .. [[
      d:on("update", function() r:dropServer "b:1" end)
    ]], "a:1\nb:1")
    shown(child, "a:1", 1)
    reloaded(child, ONE)
    put(paths[1], "a:1\nb:1\nc:1")
    shown(child, "a:1 c:1", 2)
    reloaded(child, ONE .. 'r:addServer("b:1", { host = "b", port = 1 })')
    shown(child, "a:1 b:1 c:1", 3)
  end)

  it("writes its cache to where it now is", function()
    local cache = support.tmpdir() .. "/cache"
    local child = start(ONE, "a:1\nb:1")
    shown(child, "a:1 b:1", 1)
    for n = 1, 2 do
      reloaded(child, ONE:gsub("source%(1", ("source(1, { interval = 3600000, "
        .. "cache = %q }"):format(cache .. n)))
      support.eventually(function()
        local file = io.open(cache .. n)
        return file and file:read "a":find "\na:1\nb:1\n$"
      end)
    end
  end)

  it("is as if nothing had been tried if the new policy fails", function()
    local child, paths = start(ONE, "a:1\nb:1", "x:1")
    shown(child, "a:1 b:1", 1)
    again(child, [[
      r = rover.new()
      source(2):attach(r)
      source(2, { name = "other" }):attach(r)
      error "no"
    ]])
    fails(child)
    put(paths[1], "a:1\nb:1\nc:1")
    shown(child, "a:1 b:1 c:1", 1)
    assert.same({ "a:1 b:1", "c:1" }, told(child, "update", "added"))
  end)

  it("keeps its servers until it has an answer of what it now asks", function()
    local child, paths = start(ONE, "a:1\nb:1", "what is this")
    shown(child, "a:1 b:1", 1)
    reloaded(child, ONE:gsub("source%(1", "source(2"))
    logged(child, "failed")
    shown(child, "a:1 b:1", 2)
    put(paths[2], "b:1\nc:1")
    shown(child, "b:1 c:1", 2)
  end)

  it("believes what it now asks, though all that it knew is gone", function()
    local script = [[
      r = rover.new()
      d = source(host.generation, { interval = 3600000 }):attach(r)
      show(r, d)
    ]]
    local child = start(script, "a:1\nb:1\nc:1", "d:1")
    shown(child, "a:1 b:1 c:1", 1)
    reloaded(child, script)
    shown(child, "d:1", 2)
    assert.same({}, support.events(child, "failed"))
  end)

  it("doubts a loss still, though it now asks with other headers", function()
    local lines, requests = {}, {}
    for i = 1, 4 do lines[i] = "10.0.0." .. i .. ":80\n" end
    local server = web.serve(function(request)
      requests[#requests + 1] = request
      request:answer(200, table.concat(lines))
    end)
    local function script(header)
      return ([[
        r = rover.new()
        d = discover.http { url = %q, interval = 3600000, removalDelay = 0,
          headers = { ["X-Which"] = %q } }
        d:on("error", function(err) log("failed", { err = tostring(err) }) end)
        d:attach(r)
        show(r, d)
      ]]):format(server.url, header)
    end
    local child = start(script "one")
    shown(child, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80", 1)
    lines = { lines[1] }
    reloaded(child, script "two")
    assert.matches("3 of its 4 servers are gone at once",
      logged(child, "failed").err)
    assert.equal("two", requests[2].headers["x-which"])
    shown(child, "10.0.0.1:80 10.0.0.2:80 10.0.0.3:80 10.0.0.4:80", 2)
  end)

  it("gives its servers to other rovers, and takes them from the former",
    function()
      local child, paths = start(ONE, "a:1\nb:1")
      shown(child, "a:1 b:1", 1)
      reloaded(child, [[
        old = rover.new()
        r = rover.new { name = "other" }
        d = source(1):attach(r)
        show(r, d)
        show(old)
      ]])
      shown(child, "a:1 b:1", 2)
      shown(child, "", 2)
      put(paths[1], "c:1\nb:1")
      shown(child, "b:1 c:1", 2)
      reloaded(child, [[
        r = rover.new { name = "third" }
        d = source(1):attach(r)
        show(r, d)
      ]])
      shown(child, "b:1 c:1", 3)
    end)

  it("leaves what a policy has added, before and after", function()
    local added = [[
      r:addServer("a:1", { host = "a", port = 1 })
    ]]
    local child, paths = start(ONE .. added, "a:1\nb:1")
    shown(child, "a:1 b:1", 1)
    reloaded(child, ONE) -- now only the source lists it
    shown(child, "a:1 b:1", 2)
    put(paths[1], "b:1")
    shown(child, "b:1", 2)
    put(paths[1], "a:1\nb:1")
    shown(child, "a:1 b:1", 2)
    reloaded(child, ONE .. added) -- now both do
    shown(child, "a:1 b:1", 3)
    put(paths[1], "b:1\nc:1")
    shown(child, "a:1 b:1 c:1", 3)
  end)

  it("has new options at once", function()
    local slow = ONE:gsub("source%(1", "source(1, { removalDelay = 3600000 }")
    local child, paths = start(ONE, "a:1\nb:1\nc:1")
    shown(child, "a:1 b:1 c:1", 1)
    reloaded(child, slow .. [[
      d:on("update", function() log "new" end)
    ]])
    put(paths[1], "a:1\nb:1\nd:1")
    shown(child, "a:1 b:1 c:1 d:1", 2)
    logged(child, "new")
  end)

  it("drops at once what has been gone for as long as it now stays", function()
    local slow = ONE:gsub("source%(1", "source(1, { removalDelay = 3600000 }")
    local child, paths = start(slow, "a:1\nb:1\nc:1")
    shown(child, "a:1 b:1 c:1", 1)
    put(paths[1], "d:1\nb:1\nc:1")
    shown(child, "a:1 b:1 c:1 d:1", 1)
    reloaded(child, ONE)
    shown(child, "b:1 c:1 d:1", 2)
  end)

  it("keeps the sockets of its rover, whose servers it has", function()
    local s = reloads.listen()
    local script = ONE .. [[
      r:on("connection", function(_, socket, id)
        log("got", { id = id, adopted = socket.adopted })
      end)
      r:on("error", function() end)
      if host.generation == 1 then
        d:once("update", function() r:connect() end)
      end
    ]]
    local child = start(script, ("127.0.0.1:%d"):format(s.port))
    logged(child, "got")
    reloaded(child, script)
    local event = logged(child, "got", 2)
    assert.is_true(event.adopted)
    assert.equal(("127.0.0.1:%d"):format(s.port), event.id)
    reloaded(child, [[
      r = rover.new()
      r:on("connection", function(_, socket, id) log("got", { id = id }) end)
      show(r)
    ]])
    shown(child, "", 3)
    assert.equal(("127.0.0.1:%d"):format(s.port), logged(child, "got", 3).id)
    assert.equal(0, #s.closed)
  end)

  -- One thread, which opens a pipe that nobody writes to: the answer is read
  -- after the reload. A sanitizer sees what of the old settings is used then.
  it("while an answer of what it asked before is being read", function()
    local asked = {}
    local server = web.serve(function(request)
      asked[#asked + 1] = request
      request:answer(200, web.json { metadata = { resourceVersion = "1" },
        items = { { metadata = { name = "a" }, addressType = "IPv4",
          endpoints = { { addresses = { "10.0.0.1" } } },
          ports = { { name = "rover", protocol = "TCP", port = 4040 } } } } })
    end)
    local pipe = support.tmpdir() .. "/pipe"
    assert(os.execute("mkfifo " .. pipe))
    local script = [[
      host = require "callosum.host" rover = require "callosum.rover"
      require "callosum.discover".kubernetes { service = "SERVICE",
        url = host.args[1], portName = "rover" }:attach(rover.new())
      if host.generation == 1 then
        require "luv".fs_open(host.args[2], "r", 0, function() end)
      end
    ]]
    local child = support.policy((script:gsub("SERVICE", "one")),
      { args = { server.url, pipe },
        env = { UV_THREADPOOL_SIZE = "1" } })
    run(function() return #asked == 1 end)
    support.write(child.path, (script:gsub("SERVICE", "two")))
    reload(child)
    run(function() return #asked == 2 end)
    io.open(pipe, "w"):close()
    run(function() return #asked == 3 end) -- after the list, the watch
    assert.matches("watch=true", asked[3].path)
    assert.matches("two", asked[3].path)
    support.stop(child)
  end)

  it("has Consul wait for its new interval", function()
    local asked = {}
    local server = web.serve(function(request)
      asked[#asked + 1] = request
      if #asked == 1 or #asked == 3 then
        request:answer(200, "[]", { ["X-Consul-Index"] = tostring(#asked) })
      end
    end)
    local script = [[
      host = require "callosum.host" rover = require "callosum.rover"
      require "callosum.discover".consul { service = "web", name = "one",
        url = host.args[1], interval = 3600000 * host.generation }
        :attach(rover.new())
    ]]
    local child = support.policy(script, { args = { server.url } })
    run(function() return #asked == 2 end)
    assert.matches("&index=1&wait=3600000ms$", asked[2].path)
    reload(child)
    asked[2]:answer(200, "[]", { ["X-Consul-Index"] = "2" })
    run(function() return #asked == 3 end)
    assert.matches("&index=2&wait=7200000ms$", asked[3].path)
    support.stop(child)
  end)

  it("has a new timeout at once", function()
    local asked = 0
    local server = web.serve(function() asked = asked + 1 end)
    local script = [[
      host = require "callosum.host" rover = require "callosum.rover"
      d = require "callosum.discover".http { url = host.args[1],
        interval = 20, timeout = TIMEOUT }
      d:on("error", function(err)
        host.log.info("failed", { err = tostring(err) })
      end)
      d:attach(rover.new())
    ]]
    local child = support.policy((script:gsub("TIMEOUT", "50")),
      { args = { server.url } })
    logged(child, "failed")
    support.write(child.path, (script:gsub("TIMEOUT", "400")))
    reload(child)
    run(function()
      local events = support.events(child, "failed")
      local after = events[#events].err:match "after (%d+) milliseconds"
      return (tonumber(after) or 0) >= 360
    end)
    support.stop(child)
  end)

  it("is one of its name only", function()
    local child = start(ONE, "a:1")
    shown(child, "a:1", 1)
    again(child, ONE .. [[ source(1) ]])
    local event = fails(child)
    assert.matches("name: there is a source 'main' already", event.error)
  end)

  it("of which nobody hears errors has them logged", function()
    local child = start([[
      r = rover.new()
      discover.file { path = host.args[1] .. "/none" }:attach(r)
    ]], "a:1")
    run(function()
      return child.output:find "unhandled 'error' event of source"
    end)
    assert.matches("not a directory", child.output)
  end)

  it("survives many reloads, and the end", function()
    local child, paths = start(ONE, "a:1")
    shown(child, "a:1", 1)
    for i = 2, 12 do
      put(paths[1], ("a:1\nb:%d"):format(i))
      reloaded(child, i % 3 == 0 and [[ rover.new() ]] or ONE)
    end
    reloaded(child, ONE)
    shown(child, "a:1 b:12", 13)
    support.stop(child)
  end)
end)
