local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local start, reload, fails = reloads.start, reloads.reload, reloads.fails
local count, told = reloads.count, reloads.told
local logged, stop = support.logged, support.stop
local run, serve = support.run, support.serve

-- A policy that keeps one socket, and runs `more` for it.
local function keeping(more, options)
  return ([[
    r = rover.new { servers = { s = at(1) }, %s }
    r:on("connection", function(_, socket)
      %s
      log "got"
    end)
    connect(r, 1)
  ]]):format(options or "", more)
end

-- What a handler does that sends back what comes, with the generation of who
-- read it in front.
local ECHO = [[
  socket:on("data", function(chunk)
    for byte in chunk:gmatch "." do
      socket:write(byte)
    end
  end)
]]

-- Says how each connection ends.
local ENDS = [[
  socket:on("end", function() log("end", { now = host.generation }) end)
  socket:on("close", function(err)
    log("close", { now = host.generation, ordered = err == nil })
  end)
]]

-- Lines that are told apart by their numbers.
local function numbered(from, to)
  local lines = {}
  for i = from, to do lines[#lines + 1] = ("%07d\n"):format(i) end
  return table.concat(lines)
end

-- Behind a data handler that gets such lines in any pieces: checks that each
-- comes once and in order, whoever read the one before. `TOTAL` is the last.
local CHECK = [[
  local state = socket.state
  state.rest, state.seen = state.rest or "", state.seen or 0
  function check(chunk)
    local rest = state.rest .. chunk
    for line in rest:gmatch "(%d+)\n" do
      if tonumber(line) ~= state.seen + 1 then
        log("wrong", { line = line, wanted = state.seen + 1 })
      end
      state.seen = state.seen + 1
    end
    state.rest = rest:match "[^\n]*$"
    if state.seen >= TOTAL then log("all", { seen = state.seen }) end
  end
]]

describe("A reload loses no byte:", function()
  local function kept(script, send, connection)
    local s = serve { send = send or "0\r\n", connection = connection }
    local child = start(script, s)
    logged(child, "got")
    return child, s.peers[1]
  end

  it("what came with the slot line and nobody read", function()
    local child, peer = kept(keeping "", "0\r\nhello")
    reload(child, keeping(ECHO))
    assert.equal("hello", peer:take "^hello")
    assert.equal("world", peer:write("world"):take "^world$")
    stop(child)
  end)

  it("what came before it and in between, through several reloads", function()
    local child, peer = kept(keeping "", "0\r\none\r\n")
    reload(child)
    peer:write "two\r\n"
    reload(child)
    peer:write "three\r\n"
    child:kill "sighup"
    peer:write "four\r\n"
    reload(child, keeping(ECHO))
    for _, line in ipairs { "one", "two", "three", "four" } do
      assert.equal(line, peer:line())
    end
    assert.equal("", peer.received)
    stop(child)
  end)

  it("what the new policy reads only later", function()
    local child, peer = kept(keeping "", "0\r\none\r\n")
    reload(child, keeping("require 'luv'.new_timer():start(20, 0, function() "
      .. ECHO .. " end)"))
    assert.equal("one", peer:line())
    assert.equal("two", peer:write("two\r\n"):line())
    stop(child)
  end)

  it("what the old policy stopped to read", function()
    local child, peer = kept(keeping [[
      local function first(chunk)
        socket:write(chunk)
        socket:off("data", first)
        log "stopped"
      end
      socket:on("data", first)
    ]])
    assert.equal("one", peer:write("one\r\n"):line())
    logged(child, "stopped")
    peer:write "two\r\n"
    reload(child, keeping(ECHO))
    assert.equal("two", peer:line())
    assert.equal("three", peer:write("three\r\n"):line())
    stop(child)
  end)

  it("what the old policy paused, which the new one reads at once", function()
    local child, peer = kept(keeping [[
      socket:on("data", function(chunk) socket:write(chunk):pause() end)
    ]])
    assert.equal("one", peer:write("one\r\n"):line())
    peer:write "two\r\n"
    reload(child, keeping(ECHO))
    assert.equal("two", peer:line())
    stop(child)
  end)

  it("what the new policy has paused since it was given the socket", function()
    local child, peer = kept(keeping(ECHO))
    reload(child, keeping("socket:pause()" .. ECHO
      .. "require 'luv'.new_timer():start(20, 0, function() "
      .. "log 'resumes' socket:resume() end)"))
    peer:write "one\r\n"
    assert.equal("one", peer:line())
    assert.equal(1, count(child, "resumes"))
    stop(child)
  end)

  it("what the new policy does not read, and the next one does", function()
    local child, peer = kept(keeping(ECHO))
    assert.equal("one", peer:write("one\r\n"):line())
    reload(child, keeping "")
    peer:write "two\r\n"
    reload(child, keeping(ECHO))
    assert.equal("two", peer:line())
    stop(child)
  end)

  it("what filled all buffers while nobody read", function()
    local total = 800000
    local child, peer = kept(keeping "")
    local written = false
    peer:write(numbered(1, total), function() written = true end)
    reload(child)
    assert.is_false(written)
    reload(child, keeping("TOTAL = " .. total .. CHECK
      .. "socket:on('data', check)"))
    assert.equal(total, logged(child, "all").seen)
    assert.equal(0, count(child, "wrong"))
    stop(child)
  end)

  it("what streams in while policies that read replace each other", function()
    local child, peer = kept(keeping("TOTAL = 1 << 40 " .. CHECK
      .. "socket:on('data', check)"))
    local sent, timer = 0, uv.new_timer()
    timer:start(0, 1, function()
      if peer.handle:write_queue_size() > 1 << 20 then return end
      peer:write(numbered(sent + 1, sent + 5000))
      sent = sent + 5000
    end)
    for _ = 1, 20 do reload(child) end
    timer:close()
    reload(child, keeping("TOTAL = " .. sent .. CHECK
      .. "socket:on('data', check) if socket.state.seen >= TOTAL then "
      .. "log('all', { seen = socket.state.seen }) end"))
    assert.equal(sent, logged(child, "all").seen)
    assert.equal(0, count(child, "wrong"))
    stop(child)
  end)

  it("what a policy that fails to load would have read", function()
    local child, peer = kept(keeping "", "0\r\none\r\n")
    fails(child, keeping(ECHO) .. "error 'no'")
    fails(child, keeping(ECHO, "rovingInterval = 0"))
    reload(child, keeping(ECHO))
    assert.equal("one", peer:line())
    stop(child)
  end)

  it("what a policy reads goes on when the next one fails", function()
    local child, peer = kept(keeping(ECHO))
    fails(child, keeping "" .. "error 'no'")
    assert.equal("one", peer:write("one\r\n"):line())
    stop(child)
  end)

  describe("what came before the end of a peer that has gone,", function()
    -- A policy that reads what is left once it hears of the end, and asks for
    -- a reload before it comes.
    local LATE = [[
      socket:on("end", function()
        log("end", { now = host.generation })
        if host.generation == 1 then
          socket:on("data", function() log "old" end)
          host.reload()
        end
      end)
      if host.generation > 1 then
        socket:on("data", function(chunk) log("data", { chunk = chunk }) end)
      end
      socket:on("close", function() log("close", { now = host.generation }) end)
    ]]

    for _, options in ipairs { "", "allowHalfOpen = true" } do
      it("with the options { " .. options .. " }", function()
        local child, peer = kept(keeping(LATE, options), "0\r\nhello")
        peer:shutdown()
        logged(child, "policy reloaded")
        assert.equal("hello", logged(child, "data").chunk)
        assert.equal(0, count(child, "old"))
        if options == "" then
          assert.equal(2, logged(child, "close").now)
          assert.is_nil(peer:waitEnd())
        end
        stop(child)
      end)
    end

    it("on a half open socket that nobody read", function()
      local half = "allowHalfOpen = true"
      local child, peer = kept(keeping(ENDS, half), "0\r\nhello")
      peer:shutdown()
      logged(child, "end")
      reload(child, keeping(ECHO .. ENDS, half))
      assert.equal("hello", peer:take "^hello$")
      assert.equal(0, count(child, "close"))
      stop(child)
    end)
  end)

  it("and the new policy hears of the end of a half open socket too",
      function()
    local half = "allowHalfOpen = true"
    local child, peer = kept(keeping(ENDS, half))
    peer:shutdown()
    logged(child, "end")
    reload(child, keeping(ENDS .. "socket:on('end', function() "
      .. "socket:write 'bye\\r\\n' socket:shutdown() end)", half))
    assert.equal(2, logged(child, "end", 2).now)
    assert.equal("bye", peer:line())
    assert.is_nil(peer:waitEnd())
    logged(child, "close")
    assert.same({ 1, 2 }, told(child, "end", "now"))
    stop(child)
  end)

  it("and it hears of the end that comes while nobody reads", function()
    local child, peer = kept(keeping "", "0\r\nhello")
    reload(child, keeping(ENDS))
    peer:shutdown()
    assert.equal(2, logged(child, "end").now)
    assert.is_true(logged(child, "close").ordered)
    stop(child)
  end)

  it("and of a reset", function()
    local child, peer = kept(keeping "")
    reload(child, keeping(ENDS))
    peer:reset()
    assert.is_false(logged(child, "close").ordered)
    stop(child)
  end)
end)

describe("A reload sends what was written before it:", function()
  local PLENTY = 8 * 1024 * 1024

  -- Writes all of it, as lines of 64 bytes.
  local WRITE = ([[
    if not socket.adopted then
      local lines = {}
      for i = 1, %d do lines[i] = ("%%063d\n"):format(i) end
      socket:write(lines, function() log("written", { now = host.generation })
      end)
      socket:on("drain", function() log("drain", { now = host.generation })
      end)
      log("queued", { bytes = socket:writeQueueSize() })
    else
      socket:on("drain", function() log("drain", { now = host.generation })
      end)
    end
  ]]):format(PLENTY // 64)

  -- A policy that has written that to a peer that does not read.
  local function written(more)
    local s = serve { connection = function(peer)
      peer.handle:read_stop()
      peer:write "0\r\n"
    end }
    local child = start(keeping(WRITE .. (more or "")), s)
    logged(child, "got")
    assert.is_true(logged(child, "queued").bytes > PLENTY // 4)
    return child, s.peers[1]
  end

  local function complete(peer, more)
    local length = PLENTY + #more
    run(function() return #peer.received >= length or peer.ended end)
    assert.equal(length, #peer.received)
    local lines = {}
    for i = 1, PLENTY // 64 do lines[i] = ("%063d\n"):format(i) end
    assert.is_true(peer.received == table.concat(lines) .. more)
  end

  it("8 MiB to a peer that reads only then", function()
    local child, peer = written()
    reload(child)
    reload(child)
    peer:read()
    complete(peer, "")
    -- The callbacks of the old policy are dead; the new one hears of `drain`.
    assert.equal(3, logged(child, "drain").now)
    assert.equal(0, count(child, "written"))
    assert.equal(1, count(child, "drain"))
    stop(child)
  end)

  it("before what the new policy writes", function()
    local child, peer = written()
    reload(child, keeping "socket:write 'and this' socket:write { '.', '\\n' }")
    peer:read()
    complete(peer, "and this.\n")
    stop(child)
  end)

  it("before the end, where the old policy asked for that", function()
    local child, peer = written [[
      socket:shutdown(function() log("shut", { now = host.generation }) end)
    ]]
    reload(child, keeping [[
      local ok, message, code = socket:write "too late"
      log("write", { ok = ok ~= nil, message = message, code = code })
    ]])
    assert.equal("EPIPE", logged(child, "write").code)
    peer:read()
    complete(peer, "")
    assert.is_nil(peer:waitEnd())
    assert.equal(0, count(child, "shut"))
    stop(child)
  end)

  it("and not what a closed socket has left", function()
    local child, peer = written()
    local line = reload(child, keeping "socket:close()")
    assert.same({ 1, 1 }, { line.adopted, line.closed })
    peer:read()
    peer:waitEnd()
    assert.is_true(#peer.received < PLENTY)
    assert.equal(0, count(child, "written"))
    stop(child)
  end)
end)
