-- Policies that do to sockets and rovers what nobody expects, from where nobody
-- expects it.

-- All handlers there are, and what has one of them called, within the handler
-- of a connection or soon.
local HANDLERS = [[
  local handlers = { "connection", "data", "end", "close", "drain", "done",
    "timer", "shutdown", "coroutine", "finalizer", "unreachable", "error" }
  local nobody = require "luv".new_tcp()
  nobody:bind("127.0.0.1", 0) -- but nobody listens
  local function once(event, go, r)
    local function first()
      r:off(event, first)
      r:addServer("s", server):dropServer "none"
      go()
    end
    r:on(event, first):dropServer "s"
  end
  local hooks = {
    connection = function(go) go() end,
    data = function(go, s) s:on("data", go) s:write "x" end,
    ["end"] = function(go, s) s:on("end", go) s:write ":end" end,
    close = function(go, s) s:on("close", go) s:write ":bye" end,
    drain = function(go, s)
      s:on("drain", go)
      local much = ("x"):rep(1e6)
      s:write { much, much, much, much, much, much, much, much }
      if s:writeQueueSize() == 0 then go() end
    end,
    done = function(go, s) s:write("x", go) end,
    timer = function(go) later(go) end,
    shutdown = function(go, s) s:shutdown(go) end,
    coroutine = function(go) coroutine.wrap(go)() end,
    finalizer = function(go)
      setmetatable({}, { __gc = go })
      collectgarbage()
    end,
    unreachable = function(go, _, r)
      once("unreachable", go, r)
      r:addServer("none", { host = "127.0.0.1",
        port = nobody:getsockname().port }):connect()
    end,
    error = function(go, _, r)
      once("error", go, r)
      r:connect()
    end,
  }
]]

return {
  -- Each connection takes the next of all pairs of a handler and an operation;
  -- host.carry counts them through the reloads that are among these.
  ["does everything from every handler"] = {
    script = HANDLERS .. [[
      local ops = {
        function(s) s:close() s:close() end,
        function(s) s:write ":bye" s:close() end,
        function(s) s:shutdown() s:write "x" s:shutdown() s:close() end,
        function(s) s:write "x" s:shutdown(function() s:close() end) end,
        function(s)
          local fd = s:detach()
          if fd then
            local tcp = require "luv".new_tcp()
            tcp:open(fd)
            tcp:close()
          end
          assert(not s:detach())
        end,
        function(s, r) r:stop() r:dropServer "s" r:close() s:write "x" end,
        function(s, r) r:close() r:close() s:close() end,
        function() host.reload() host.reload() end,
        function(s) host.reload() s:close() end,
        function(s, r) host.reload() r:close() end,
        function(s, r) r:start():start():stop():connect():stop() s:close() end,
        function(s, r)
          for _ = 1, 20 do r:connect() end
          r:stop()
          for _, each in ipairs(r:sockets()) do each:close() end
        end,
        function(s, r)
          r:addServer("s", server) r:addServer("t", server) r:connect()
          r:dropServer "t" s:close()
        end,
        function(s) s:on("data", print) s:off("data", print) s:close() end,
        function(s)
          local own = s:on("data", print):pass() or s
          s:on("data", print):close()
          own = own:on("data", print):pass() or own
          own:close()
        end,
        function(s) s:write ":end" end,
        function() collectgarbage() end,
        function() error "oh" end,
      }
      local next
      local function perform(i, s, r)
        if host.carry ~= i then return end -- done, and gone on
        host.carry = i + 1
        later(next, 0)
        ops[i % #ops + 1](s, r)
      end
      local function use(r)
        r:on("connection", function(_, s)
          local i = host.carry
          if s.adopted or i == #ops * #handlers then return s:close() end
          hooks[handlers[i // #ops + 1] ](function() perform(i, s, r) end, s, r)
        end)
        return r
      end
      use(r)
      function next()
        if host.carry == #ops * #handlers then return log "done" end
        if not pcall(r.stats, r) then
          r = use(rover.new { servers = { s = server } })
        end
        r:addServer("s", server)
        r:connect()
      end
      host.carry = host.carry or 0
      if host.generation == 1 then later(next) else later(next, 1) end
    ]],
    errors = { "oh" },
  },

  ["uses sockets that are gone"] = {
    script = [[
      local uv = require "luv"
      local function use(s)
        local calls = {
          function() return s:write "x" end,
          function() return s:write({ "x", "y" }, print) end,
          function() return s:on("data", print) end,
          function() return s:off("data", print) end,
          function() return s:shutdown(print) end,
          function() return s:close() end,
          function() return s:detach() end,
          function() return s:pass() end,
          function() return s:peername() end,
          function() return s:sockname() end,
          function() return s:writeQueueSize() end,
          function() return s.slot, s.id, s.server.port, s.adopted end,
          function() s.state.x = 1 s.state = { y = 2 } return s end,
          function() return tostring(s), s == s end,
          function() local x <close> = s end,
        }
        for _, call in ipairs(calls) do
          local ok, err = pcall(call)
          if not ok then error(err) end
        end
        assert(s.closed)
      end
      local kept = {}
      host.on("unload", function()
        for _, s in ipairs(kept) do use(s) end
        log "used in unload"
      end)
      setmetatable({}, { __gc = function() -- when the state closes
        for _, s in ipairs(kept) do pcall(use, s) tostring(s) end
        log "used in a finalizer"
      end, kept = kept })
      local guard = setmetatable({}, { __gc = function()
        for _, s in ipairs(kept) do pcall(s.write, s, "x") pcall(s.close, s) end
      end })
      r:on("connection", function(_, s)
        kept[#kept + 1] = s
        s:on("close", function()
          use(s)
          later(function()
            use(s)
            coroutine.wrap(use)(s)
            if #kept == 4 and s == kept[4] then log "done" end
          end)
        end)
        s:on("data", function() end)
        if #kept == 1 then s:close()
        elseif #kept == 2 then s:write ":bye"
        elseif #kept == 3 then
          local fd = assert(s:detach())
          assert(s.closed and not s:detach())
          local tcp = uv.new_tcp()
          assert(tcp:open(fd))
          tcp:write(":bye")
          tcp:close()
        elseif #kept == 4 then s:write(":end", function() s:close() end)
        else s:close() kept[#kept] = nil end
      end)
      r:start()
      kept.guard = guard
    ]],
  },

  -- All triples of a handler, an order, and the socket whose handler it is.
  ["closes all sockets in every order, from every handler"] = {
    script = HANDLERS .. [[
      local orders = {
        function(list) for i = 1, #list do list[i]:close() end end,
        function(list) for i = #list, 1, -1 do list[i]:close() end end,
        function(list)
          while #list > 0 do table.remove(list, math.random(#list)):close() end
        end,
        function() while r:sockets()[1] do r:sockets()[1]:close() end end,
        function(list) list[1]:close() list[1]:close() list[#list]:close() end,
      }
      local n, closes, opened = 0, 0, 0
      local function next()
        if closes ~= 5 * n then return later(next, 1) end
        if n == 25 * #handlers then return log "done" end
        r:connect()
      end
      r:on("connection", function(_, s)
        s:on("close", function() closes = closes + 1 end)
        opened = opened + 1
        if opened % 5 > 0 then return r:connect() end
        local list, i = r:sockets(), n
        assert(#list == 5)
        hooks[handlers[n // 25 + 1] ](function()
          if n > i then return end
          n = n + 1
          orders[n % 5 + 1](r:sockets())
          for _, each in ipairs(r:sockets()) do each:close() end
          for _, each in ipairs(list) do assert(each.closed) end
          later(next)
        end, list[n // 5 % 5 + 1], r)
      end)
      r:connect()
    ]],
  },

  ["changes its handlers while they are called"] = {
    script = [[
      local n, calls = 0, {}
      local function count(name)
        calls[name] = (calls[name] or 0) + 1
      end
      local first, second, third
      function first() count "first" r:off("connection", first)
        r:off("connection", second) r:on("connection", third) end
      function second() count "second" end
      function third(_, s)
        count "third"
        for _ = 1, 100 do r:on("connection", second) end
        for _ = 1, 100 do r:off("connection", second) end
        local function again() s:off("data", again) s:on("data", again)
          n = n + 1 s:write "x"
          if n == 10 then
            s:off("data", again) s:off("data", again) s:close()
            log("done", calls)
          end
        end
        s:on("data", again) s:on("data", function() s:off("data", again)
          s:on("data", again) end)
        s:write "x"
      end
      r:on("connection", first) r:on("connection", second)
      r:connect()
      later(function() r:connect() end, 5)
    ]],
  },

  ["calls stop from everywhere"] = {
    -- The run would end; the last that counts is that with a status.
    ends = 7,
    script = [[
      host.on("unload", function() host.stop(9) host.reload() r:start() end)
      r:on("connection", function(_, s)
        host.stop(1) host.reload() r:close() s:close() host.stop(7)
      end)
      r:start()
    ]],
    errors = { "the rover is closed" },
  },
}
