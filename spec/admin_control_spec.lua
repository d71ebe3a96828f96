-- What can be asked of a running host by POST, but for what admin_spec.lua has.

local fronts = require "support.fronts"
local http = require "support.http"
local json = require "dkjson"
local sources = require "support.sources"
local support = require "support"

local ask, get, post = http.ask, http.get, http.post
local logged, stop = support.logged, support.stop

-- Keeps what it gets from the servers whose ports are its arguments.
local KEEP = [[
local r = require "callosum.rover".new { rovingInterval = 20 }
for _, port in ipairs(require "callosum.host".args) do
  r:addServer("s/" .. port, { host = "127.0.0.1", port = tonumber(port) })
end
r:on("connection", function() end)
r:on("error", function() end)
r:start()
]]

local function status(at, query)
  return json.decode((get(at, "/status" .. (query or ""))))
end

-- The state of a server, and its connections.
local function state(at, id)
  for _, server in ipairs(status(at).rovers[1].servers) do
    if server.id == id then return server.state, server.connections end
  end
end

local function becomes(at, id, wanted, connections)
  support.eventually(function()
    local is, count = state(at, id)
    return is == wanted and (not connections or connections(count))
  end)
end

local function some(count) return count > 0 end

local function kept() return support.serve { send = "0\r\n" } end

describe("a server, by hand,", function()
  it("is paused, dropped and resumed, whatever a policy does", function()
    local server = kept()
    local child, path = http.policy(KEEP, { args = { tostring(server.port) } })
    local id = "s/" .. server.port
    local at = "/servers/s%2F" .. server.port
    becomes(path, id, "up", some)
    for verb, is in pairs { pause = "paused", drop = "dropped" } do
      assert.same({ 200, { id = id, state = is } },
        { post(path, at .. "/" .. verb) })
      becomes(path, id, is, some)
      assert.equal(200, (post(path, "/reload")))
      becomes(path, id, is, some)
      assert.same({ 200, { id = id, state = "resumed" } },
        { post(path, at .. "/resume") })
      becomes(path, id, "up", some)
    end
    stop(child)
  end)

  it("is drained: its sockets are closed", function()
    local server = kept()
    local child, path = http.policy(KEEP, { args = { tostring(server.port) } })
    local id = "s/" .. server.port
    becomes(path, id, "up", some)
    assert.same({ 200, { id = id, state = "draining" } },
      { post(path, "/servers/s%2f" .. server.port .. "/drain", { ms = 50 }) })
    support.eventually(function()
      return select(2, state(path, id)) == 0 or not state(path, id)
    end)
    stop(child)
  end)

  it("is added, and stays over a reload", function()
    local server = kept()
    local child, path = http.policy(KEEP)
    local id = "127.0.0.1:" .. server.port
    assert.same({ 200, { id = id } }, { post(path, "/servers",
      { host = "127.0.0.1", port = server.port }) })
    assert.same({ 200, { id = "other" } }, { post(path, "/servers",
      { rover = "main", id = "other", host = "localhost", port = 1 }) })
    becomes(path, id, "up", some)
    assert.equal(200, (post(path, "/reload")))
    becomes(path, id, "up", some)
    becomes(path, "other", "unreachable")
    local code, answer = post(path, "/servers",
      { id = "other", host = "127.0.0.1", port = 2 })
    assert.equal(409, code)
    assert.matches("at another address", answer.error)
    stop(child)
  end)

  it("stays dropped though a source lists it anew, and over a reload",
    function()
      local list = support.tmpfile("127.0.0.1:1\n127.0.0.1:2\n", "servers")
      local child, path = http.policy([[
        local r = require "callosum.rover".new()
        local d = require "callosum.discover".file {
          path = require "callosum.host".args[1], removalDelay = 0,
          interval = 20 }:attach(r)
        local function seen()
          local ids = {}
          for id in pairs(r:servers()) do ids[#ids + 1] = id end
          table.sort(ids)
          require "callosum.host".log.info("has", {
            ids = table.concat(ids, " ") })
        end
        d:on("update", seen)
      ]], { args = { list } })
      local function has(ids, count)
        support.run(function()
          local n = 0
          for _, event in ipairs(support.events(child, "has")) do
            if event.ids == ids then n = n + 1 end
          end
          return n == count
        end)
      end
      local one, two = "127.0.0.1:1", "127.0.0.1:2"
      has(one .. " " .. two, 1)
      assert.equal(200, (post(path, "/servers/" .. one .. "/drop")))
      sources.put(list, two .. "\n")
      has(two, 1)
      sources.put(list, one .. "\n" .. two .. "\n")
      has(two, 2)
      assert.equal(200, (post(path, "/reload")))
      sources.put(list, one .. "\n" .. two .. "\n127.0.0.1:3\n")
      has(two .. " 127.0.0.1:3", 1)
      assert.equal("dropped", (state(path, one)))
      assert.equal(200, (post(path, "/servers/" .. one .. "/resume")))
      sources.put(list, one .. "\n" .. two .. "\n")
      has(one .. " " .. two, 2)
      stop(child)
    end)

  it("is found by rover and id, or it is said what is missing", function()
    local child, path = http.policy [[
      for _, name in ipairs { "main", "other" } do
        local r = require "callosum.rover".new { name = name }
        r:addServer("a", { host = "127.0.0.1", port = 1 })
        r:on("error", function() end)
      end
    ]]
    for at, wanted in pairs {
      ["/servers/a/pause"] = { 409, "several rovers" },
      ["/servers/a/pause?rover=none"] = { 404, "no rover of that name" },
      ["/servers/b/pause?rover=main"] = { 404, "no server of that id" },
      ["/servers/a/stop"] = { 404, "drop, pause, drain or resume" },
      ["/servers/a"] = { 404, "/servers/ID/" },
      ["/servers/"] = { 404, "/servers/ID/" },
      ["/servers//drop"] = { 404, "/servers/ID/" },
      ["/servers/%00/drop"] = { 404, "/servers/ID/" },
      ["/servers/" .. ("x"):rep(256) .. "/drop"] = { 404, "/servers/ID/" },
      ["/servers/a/drop?rovr=main"] = { 400, "valid are rover" },
    } do
      local code, answer = post(path, at)
      assert.equal(wanted[1], code, at)
      assert.is_truthy(answer.error:find(wanted[2], 1, true), answer.error)
    end
    assert.equal(200, (post(path, "/servers/a/pause?rover=other")))
    assert.equal(200, (post(path, "/servers/a/pause", { rover = "main" })))
    assert.equal(400, (post(path, "/servers/a/pause?rover=main",
      { rover = "main" })))
    assert.equal(400, (post(path, "/servers/a/pause", { rover = 1 })))
    assert.equal(400, (post(path, "/servers/a/pause?rover=main", { ms = 1 })))
    stop(child)
  end)

  it("is added only if it can be one", function()
    local child, path = http.policy(KEEP)
    for _, body in ipairs { {}, { host = "" , port = 1 }, { host = "h" },
        { host = "h", port = 0 }, { host = "h", port = 65536 },
        { host = "h", port = "1" }, { host = 1, port = 1 },
        { host = "h", port = 1, id = 1 }, { host = "h", port = 1, id = "" },
        { host = "h", port = 1, id = ("x"):rep(256) },
        { host = "h", port = 1, weigth = 1 },
        { host = "h", port = 1, rover = 1 } } do
      assert.equal(400, (post(path, "/servers", body)), json.encode(body))
    end
    for _, body in ipairs { "[]", "1", "nonsense", '{"host":', '{"host":"h",}',
        '{"host":"h","host":"h","port":1}', '{"host":"\255","port":1}',
        '{"host":"a\\u0000b","port":1}', ("["):rep(8000) } do
      local answer = ask(path, "POST", "/servers",
        { ["Callosum-Control"] = "1" }, body)
      assert.equal(400, answer.status, body)
      assert.is_truthy(json.decode(answer.body).error, answer.body)
    end
    assert.same({}, status(path).rovers[1].servers)
    stop(child)
  end)
end)

describe("a host", function()
  it("is drained and resumed", function()
    local path = support.tmpdir() .. "/admin.sock"
    local server = support.serve()
    local child = support.command { "front", "--log-format", "json", "--admin",
      path, "--drain-timeout", "1", "0", tostring(server.port) }
    local port = logged(child, "listening").port
    assert.equal(0, (fronts.slot(port)))
    assert.same({ 409, { error = "the host does not drain" } },
      { post(path, "/resume") })
    assert.same({ 200, { state = "draining" } },
      { post(path, "/drain", { ms = 10 }) })
    assert.equal("draining", status(path).state)
    local peer = support.connect(port)
    peer:waitEnd()
    assert.equal("", peer.received)
    assert.same({ 200, { state = "running" } }, { post(path, "/resume") })
    assert.is_number((fronts.slot(port)))
    for _, ms in ipairs { -1, 0.5, "1", 1e18 } do
      assert.equal(400, (post(path, "/drain", { ms = ms })))
    end
    child:kill "sigterm"
    assert.same({ 0, 0 }, { child:wait() })
  end)

  it("without a front is not drained", function()
    local child, path = http.policy(KEEP)
    assert.same({ 409, { error = "the policy has no front" } },
      { post(path, "/drain") })
    assert.equal("running", status(path).state)
    assert.equal(409, (post(path, "/resume")))
    stop(child)
  end)

  it("has a history, of each rover", function()
    local child, path = http.policy(KEEP)
    local history = json.decode((get(path, "/history")))
    assert.equal("main", history.rover)
    assert.equal(2, history.interval)
    assert.equal(404, ask(path, "GET", "/history?rover=none").status)
    assert.equal(400, ask(path, "GET", "/history?limit=1").status)
    stop(child)
  end)
end)
