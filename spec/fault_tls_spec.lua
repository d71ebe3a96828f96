-- What becomes of an attempt when TLS goes wrong on the way: HAProxy has the
-- certificate, and somebody in between spoils what it says.

local certificates = require "support.certificates"
local proxies = require "support.proxies"
local support = require "support"
local uv = require "luv"

local attempt, record, rover = support.attempt, support.record, support.rover

local fleet = certificates.fleet()

-- HAProxy before a server that does as `script` says, by default gives slot 7.
local function secured(script, options)
  local behind = support.serve(script or {
    connection = function(peer) peer:write "7\r\n" end })
  local port = support.freePorts(1)
  proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d ssl crt %s %s
  server s 127.0.0.1:%d
]]):format(port, fleet.server.both, options or "", behind.port), port)
  return port, behind
end

-- Passes bytes on in both directions; those from the server as `down(conn,
-- chunk)` says, where `conn.near` is the rover's, and chunk nil its end.
local function between(to, down)
  local conns, listener = {}, uv.new_tcp()
  local function close(handle)
    if not handle:is_closing() then handle:close() end
  end
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(128, function()
    local conn = { near = uv.new_tcp(), far = uv.new_tcp(), passed = 0 }
    conns[#conns + 1] = conn
    assert(listener:accept(conn.near))
    conn.near:nodelay(true)
    conn.far:connect("127.0.0.1", to, function(err)
      if err then return close(conn.near) end
      conn.near:read_start(function(_, chunk)
        if conn.far:is_closing() then return end
        if chunk then conn.far:write(chunk) else conn.far:shutdown() end
      end)
      conn.far:read_start(function(_, chunk)
        if not conn.near:is_closing() then down(conn, chunk) end
      end)
    end)
  end))
  support.atEnd(function()
    listener:close()
    for _, conn in ipairs(conns) do
      close(conn.near)
      close(conn.far)
    end
  end)
  return listener:getsockname().port, conns
end

local function pass(conn, chunk)
  if not chunk then return conn.near:shutdown() end
  conn.passed = conn.passed + #chunk
  conn.near:write(chunk)
end

-- What one attempt ends in.
local function outcome(port, options)
  local own = { port = port, tls = { ca = fleet.ca.file } }
  for name, value in pairs(options or {}) do own[name] = value end
  local r = rover(own)
  local event = attempt(r, record(r))
  r:close()
  local err = event.err or {}
  return event.event, err.code, tostring(err), event
end

describe("an attempt over TLS", function()
  it("is unreachable where nobody listens, answers or stays", function()
    local event, code = outcome(support.closedPort())
    assert.same({ "unreachable", "ECONNREFUSED" }, { event, code })
    event, code = outcome(support.blackHole(), { connectTimeout = 50 })
    assert.same({ "unreachable", "ETIMEDOUT" }, { event, code })
    event, code = outcome(support.serve().port, { connectTimeout = 50 })
    assert.same({ "unreachable", "ETIMEDOUT" }, { event, code })
    event, code = outcome(support.serve { connection = function(peer)
      peer:reset()
    end }.port)
    assert.same({ "unreachable", "ECONNRESET" }, { event, code })
    event, code = outcome(support.serve { connection = function(peer)
      peer:close()
    end }.port)
    assert.equal("unreachable", event)
    assert.is_true(code == "EOF" or code == "ECONNRESET", code)
  end)

  it("says what a server without TLS sent instead", function()
    local event, code, words = outcome(support.serve {
      connection = function(peer) peer:write "7\r\n" end }.port)
    assert.same({ "error", "EPROTO" }, { event, code })
    assert.matches('"7\\r\\n"', words, 1, true)
    event, code, words = outcome(support.echo "HTTP/1.1 400 Bad Request\r\n")
    assert.same({ "error", "EPROTO" }, { event, code })
    assert.matches("HTTP/1.1 400", words, 1, true)
  end)

  for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
    local only = ("ssl-min-ver %s ssl-max-ver %s"):format(version, version)

    it("is unreachable wherever it is cut, by " .. version, function()
      local to = secured(nil, only)
      local port, conns = between(to, pass)
      assert.equal("connection", (outcome(port)))
      -- Signatures differ in length by a few bytes; the slot line's record has
      -- more than 26.
      local total = conns[1].passed - 8
      assert.is_true(total > 500)
      local cuts = {}
      for n = 0, 6, 2 do cuts[#cuts + 1] = n end
      for n = 50, total, 197 do cuts[#cuts + 1] = n end
      for n = total - 60, total, 12 do cuts[#cuts + 1] = n end
      for _, how in ipairs { "shutdown", "close_reset" } do
        for _, cut in ipairs(cuts) do
          port = between(to, function(conn, chunk)
            local left = cut - conn.passed
            chunk = (chunk or ""):sub(1, left)
            if #chunk > 0 then pass(conn, chunk) end
            if conn.passed < cut then return end
            conn.far:read_stop()
            -- What is written is sent before the end.
            conn.near:write("", function()
              if not conn.near:is_closing() then conn.near[how](conn.near) end
            end)
          end)
          local event, code, words = outcome(port)
          assert.same({ cut, "unreachable" }, { cut, event }, words)
          assert.is_true(code == "ECONNRESET"
            or how == "shutdown" and code == "EOF", words)
        end
      end
    end)

    it("works when it comes byte by byte, by " .. version, function()
      local to = secured(nil, only)
      local port = between(to, function(conn, chunk)
        for i = 1, #(chunk or "") do pass(conn, chunk:sub(i, i)) end
      end)
      local event, _, _, told = outcome(port)
      assert.same({ "connection", 7 }, { event, told.slot })
    end)

    it("is an error when bytes are changed on the way, by " .. version,
      function()
        local to = secured(nil, only)
        local port, conns = between(to, pass)
        assert.equal("connection", (outcome(port)))
        local total = conns[1].passed - 8 -- in the slot line's record
        for _, at in ipairs { 100, total // 2, total } do
          port = between(to, function(conn, chunk)
            local i = at - conn.passed
            if chunk and i >= 1 and i <= #chunk then
              chunk = chunk:sub(1, i - 1) .. string.char(chunk:byte(i) ~ 1)
                .. chunk:sub(i + 1)
            end
            pass(conn, chunk)
          end)
          local event, code, words = outcome(port)
          assert.equal("error", event, words)
          assert.is_true(code == "EPROTO" or code == "ECERT", words)
        end
      end)
  end

  it("has no more time than connectTimeout, however busy it is", function()
    local to = secured()
    local port = between(to, function(conn, chunk)
      conn.queue = (conn.queue or "") .. (chunk or "")
      if conn.timer then return end
      conn.timer = uv.new_timer()
      conn.timer:start(0, 5, function()
        if conn.near:is_closing() or conn.queue == "" then return end
        pass(conn, conn.queue:sub(1, 1))
        conn.queue = conn.queue:sub(2)
      end)
      support.atEnd(function() conn.timer:close() end)
    end)
    local from = uv.hrtime()
    local event, code = outcome(port, { connectTimeout = 300 })
    assert.same({ "unreachable", "ETIMEDOUT" }, { event, code })
    assert.is_true(uv.hrtime() - from >= 290e6)
  end)

  it("waits no longer for the slot line than slotTimeout", function()
    local port = secured {}
    local event, code = outcome(port, { slotTimeout = 50 })
    assert.same({ "unreachable", "ETIMEDOUT" }, { event, code })
  end)

  it("takes a slot line in pieces, and no other", function()
    local port = secured { connection = function(peer)
      peer:write { "1", "3", "\r", "\n" }
    end }
    local event, _, _, told = outcome(port)
    assert.same({ "connection", 13 }, { event, told.slot })
    for _, line in ipairs { "13\n", "+1\r\n", "\r\n", "12345678901\r\n",
        "2147483648\r\n", "1 \r\n" } do
      port = secured { connection = function(peer) peer:write(line) end }
      local code, words
      event, code, words = outcome(port)
      assert.same({ line, "error", "EPROTO" }, { line, event, code }, words)
    end
  end)

  it("tells an end that was announced from one that was not", function()
    local to = secured { connection = function(peer)
      peer:write "1"
      peer:shutdown()
    end }
    local event, code = outcome(to)
    assert.same({ "unreachable", "EOF" }, { event, code })
    -- The server's end inside TLS, 24 to 31 bytes, does not come.
    local port = between(to, function(conn, chunk)
      conn.chunks = (conn.chunks or "") .. (chunk or "")
      if chunk then return end
      pass(conn, conn.chunks:sub(1, -25))
      conn.near:shutdown()
    end)
    event, code = outcome(port, { connectTimeout = 1000 })
    assert.equal("unreachable", event)
    assert.is_true(code == "ECONNRESET" or code == "ETIMEDOUT", code)
  end)

  it("ends without an event when its server is dropped, or its rover closed",
    function()
      local silent = support.serve()
      for _, method in ipairs { "dropServer", "close" } do
        local r = rover { port = silent.port, tls = { ca = fleet.ca.file } }
        local events, before = record(r), #silent.peers
        r:connect()
        support.run(function()
          local peer = silent.peers[before + 1]
          return peer and #peer.received > 0
        end)
        r[method](r, "s")
        if method == "dropServer" then
          support.checkStats(r)
          assert.equal(1, r:stats().cancelled)
          r:close()
        end
        assert.same({}, events)
      end
    end)
end)

describe("a kept socket over TLS", function()
  it("holds what came behind the slot line until somebody reads", function()
    local port = secured { connection = function(peer)
      peer:write "7\r\nwelcome"
    end }
    local r = rover { port = port, tls = { ca = fleet.ca.file } }
    local events = record(r)
    local socket = attempt(r, events).socket
    -- Nothing is raised meanwhile, and nothing lost.
    for _ = 1, 20 do uv.run "nowait" end
    local text = ""
    socket:on("data", function(chunk) text = text .. chunk end)
    support.run(function() return text == "welcome" end)
    r:close()
  end)

  it("is closed when its peer closes, and reset when that was not announced",
    function()
      local to, behind = secured()
      local port, conns = between(to, pass)
      local r = rover { port = port, tls = { ca = fleet.ca.file } }
      local events = record(r)
      local closed = {}
      for i = 1, 2 do
        local socket = attempt(r, events).socket
        socket:on("close", function(err)
          closed[i] = err and err.code or "in order"
        end)
      end
      behind.peers[1]:close()
      support.run(function() return closed[1] end)
      conns[2].near:shutdown()
      support.run(function() return closed[2] end)
      assert.same({ "in order", "ECONNRESET" }, closed)
      r:close()
    end)
end)
