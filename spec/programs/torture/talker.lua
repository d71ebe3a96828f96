-- Makes one connection and goes through all that can be done with it. A module
-- of its own, so that require() has something to do.
-- luacheck: globals report talk hush

local rover = require "callosum.rover"

local talker = {}

function talker.new(servers)
  local r = rover.new { name = "talker", servers = servers }
  local bulk

  local function drained(socket)
    if socket.state.drained then return end
    socket.state.drained = true
    assert(socket:write("x", function(err)
      assert(not err, err)
      assert(socket:shutdown())
    end))
  end

  r:on("connection", function(_, socket)
    -- What fails has changed nothing, so it can be done again.
    local function on(event, fn)
      if socket:on(event, fn) then return end
      report "retried"
      assert(socket:on(event, fn))
    end
    on("data", function(chunk)
      assert(chunk == "p" and not socket.state.heard)
      socket.state.heard = true
      bulk = bulk or ("x"):rep(4 << 20)
      assert(socket:write { bulk, bulk })
      if socket:writeQueueSize() == 0 then drained(socket) end
    end)
    on("drain", function() drained(socket) end)
    on("close", function(err) report(err and err.code or "done") end)
    assert(socket:write "p")
  end)
  r:on("error", function(err) report(err.code) end)

  function talk()
    local ok, _, code = r:connect()
    if not ok then report(code) end
  end

  function hush()
    for _, socket in ipairs(r:sockets()) do socket:close() end
  end
end

return talker
