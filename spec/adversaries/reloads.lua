-- Policies that are replaced while they are at it.
return {
  ["reloads itself as it is loaded, adopts, unloads and collects"] = {
    script = [[
      host.reload() -- ignored, as it is being loaded
      host.on("unload", host.reload)
      host.on("unload", function() host.stop() end)
      setmetatable({}, { __gc = function() host.reload() end })
      r:on("connection", function(_, s)
        host.reload()
        s.state.n = (s.state.n or 0) + 1
        if s.state.n == 20 then log "done" end
      end)
      if host.generation == 1 then r:connect() end
      later(host.reload)
    ]],
  },

  ["does all it can while it ends"] = {
    script = [[
      local socket
      local function act(where)
        return function()
          pcall(rover.new, { name = where, servers = { s = server } })
          pcall(function() rover.new { name = where .. 2 }:start() end)
          for _, name in ipairs { "start", "connect", "stop", "close",
              "sockets", "stats", "servers" } do pcall(r[name], r) end
          pcall(function() socket:write "x" socket:close() end)
          pcall(function() host.carry = { where } end)
          pcall(host.on, "unload", act(where .. "+"))
          pcall(host.reload) pcall(host.stop)
          pcall(function() later(act(where .. "*")) end)
          pcall(function() require "luv".new_tcp():bind("127.0.0.1", 0) end)
          pcall(function() require("x" .. where) end)
          pcall(function() return setmetatable({}, { __gc = act "again" }) end)
          collectgarbage()
        end
      end
      host.on("unload", act "unload")
      kept = setmetatable({}, { __gc = act "late gc" })
      local tbc = coroutine.wrap(function()
        local x <close> = setmetatable({}, { __close = act "close" })
        coroutine.yield()
      end)
      tbc()
      r:on("connection", function(_, s)
        socket = s
        s:on("close", act "closed")
        s:write("x", function() log "done" end)
      end)
      r:connect()
    ]],
  },

  ["has timers that fire, and requests that end, as it goes"] = {
    script = [[
      local uv = require "luv"
      for i = 1, 50 do
        local t = uv.new_timer()
        t:start(0, 1, function()
          uv.fs_stat("/", function() host.carry = i end)
          uv.getaddrinfo("127.0.0.1", nil, nil, function() end)
          if i == 50 then
            for _ = 1, 3 do host.reload() end
          end
        end)
      end
      local l = uv.new_tcp()
      l:bind("127.0.0.1", 0)
      l:listen(10, function() error "a listener of an ended policy" end)
      local c = uv.new_tcp()
      c:connect("127.0.0.1", l:getsockname().port, host.reload)
      r:on("connection", function() end)
      r:start()
      if host.generation == 10 then log "done" end
    ]],
    may = "a listener",
  },

  ["cannot be carried over, and mends that"] = {
    script = [[
      local n = 0
      host.carry = {}
      r:on("connection", function(_, s)
        if s.adopted then
          assert(host.carry.fine and s.state.fine)
          return s:close()
        end
        local cyclic = { fine = true }
        for _, bad in ipairs { print, coroutine.create(print), r, s,
            setmetatable({}, {}), ("x"):rep(1 << 20), { { [print] = 1 } } } do
          assert(not pcall(function() host.carry = bad end))
          assert(not pcall(function() s.state = { bad } end))
        end
        cyclic.cyclic = cyclic
        assert(not pcall(function() host.carry = cyclic end))
        assert(not pcall(function() s.state = cyclic end))
        cyclic.cyclic = nil
        host.carry = cyclic
        s.state = cyclic
        cyclic.cyclic = cyclic
        host.reload()
        later(function() -- that has failed
          host.carry = { fine = true }
          host.reload()
          later(function() -- the socket's
            cyclic.cyclic = nil
            log "done"
          end, 20)
        end, 20)
      end)
      if host.generation == 1 then r:connect() end
    ]],
  },

  ["asks for the servers of its sockets as it ends"] = {
    script = [[
      local function ask(o)
        for s in pairs(o.asked) do
          assert(s.server.host == "127.0.0.1" and s.server.port == server.port)
          assert(s.id == "s" and s.closed)
        end
        log "asked"
      end
      asks = setmetatable({ asked = {} }, { __gc = ask })
      r:on("connection", function(slot, s)
        asks.asked[s] = true
        if slot < 2 then return end
        r:stop()
        for other in pairs(asks.asked) do other:close() end
        log "done"
      end)
      r:start()
    ]],
  },

  ["adopts badly"] = {
    script = [[
      local n = 0
      r:on("connection", function(_, s)
        n = n + 1
        if not s.adopted then
          if n == 6 then r:stop() later(host.reload) end
          return
        end
        local all = r:sockets()
        if n == 1 then error "refused" end
        if n == 2 then all[#all]:pass():close() s:pass() end
        if n == 3 then
          local tcp = require "luv".new_tcp()
          tcp:open(s:detach())
          tcp:close()
        end
        if n == 4 then
          r:close()
          log "done"
        end
      end)
      if host.generation == 1 then r:start() end
    ]],
    errors = { "refused" },
  },
}
