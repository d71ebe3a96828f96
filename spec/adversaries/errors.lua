-- Policies that raise.
return {
  ["raises in every handler"] = {
    script = [[
      local n = 0
      r:on("unreachable", function() error "in unreachable" end)
      r:on("error", function() error "in error" end)
      r:on("connection", function(_, socket)
        n = n + 1
        if n == 1 then error "in connection" end
        if n > 2 then return socket:close() end
        socket:on("data", function()
          socket:write ":end"
          error "in data"
        end)
        socket:on("end", function() error "in end" end)
        socket:on("drain", function() error "in drain" end)
        socket:on("close", function() later(function()
          log "done" error "in a timer" end) error "in close" end)
        local much = ("x"):rep(4e6)
        while socket:write(much) do end -- no more until 'drain' comes
        socket:write("x", function()
          socket:write("y", function()
            socket:write ":ask"
            error "in write's"
          end)
          error "in the first write's"
        end)
      end)
      host.on("unload", function() error "in unload" end)
      setmetatable({}, { __gc = function() error "in a finalizer" end })
      collectgarbage()
      r:start()
      local off = rover.new { name = "off", servers = { s = {
        host = "127.0.0.1", port = 1 } } }
      off:on("unreachable", function() error "in unreachable" end)
      off:connect()
      local none = rover.new { name = "none" }
      none:on("error", function() error "in error" end)
      none:connect()
    ]],
    errors = { "in connection", "in data", "in end", "in drain", "in close",
      "in write's", "in the first write's", "in a timer", "in unload",
      "in a finalizer", "in unreachable", "in error" },
  },

  ["raises what is no string"] = {
    script = [[
      local t = setmetatable({}, { __name = "N" })
      local values = { false, 1, 1 << 62, 0/0, {}, t, print, r,
        coroutine.create(print), io.stdout, "", "\xff\27[2J\n\0cut",
        ("long"):rep(1e4), "\nstack traceback:\n", "x\nstack traceback:\n\ty" }
      for _, v in ipairs(values) do later(function() error(v, 0) end) end
      later(function() error() end)
      later(function() error(nil, 2) end)
      later(function() local x = nil; x() end)
      later(function() log "done" end, 10)
    ]],
    errors = { "error object is a boolean value", "^1$", "^4611",
      "nan", "^\nstack traceback:\n", "table value", "function value",
      "rover 'main'", "thread value", "^file %(", "^$", "\27", "^longlong",
      "^x\nstack traceback:\n\ty", "nil value",
      "attempt to call a nil value" },
  },

  ["raises objects that cannot be shown"] = {
    budget = 100,
    script = [[
      local hostile = {
        { __tostring = error },
        { __tostring = function() return 1 end },
        { __tostring = function() return nil end },
        { __tostring = forever },
        { __tostring = coroutine.yield },
        { __tostring = function(e) error(e) end },
        { __tostring = function() return ("x"):rep(1e9) end },
        { __tostring = {} },
        { __name = {} }, { __name = ("n"):rep(1e5) },
        { __gc = function() error "in gc" end },
        { __metatable = false, __index = error },
      }
      for _, mt in ipairs(hostile) do
        later(function() error(setmetatable({}, mt)) end)
        later(function() coroutine.wrap(error)(setmetatable({}, mt)) end)
      end
      later(function() collectgarbage() log "done" end, 50)
    ]],
    errors = { "must return a string", "^1$", "attempt to yield", "time budget",
      "raised another", "table value", "in gc", "not enough memory" },
  },

  ["raises while errors are handled"] = {
    script = [[
      later(function()
        local a <close> = setmetatable({}, { __close = function()
          error "in close" end })
        error "first"
      end)
      later(function() xpcall(error, function(e) error(e) end, "x") end)
      later(function()
        local function f() return xpcall(f, f) end
        f()
        error "after"
      end)
      later(function()
        local co = coroutine.create(function()
          local a <close> = setmetatable({}, { __close = function()
            error "in coroutine" end })
          coroutine.yield()
        end)
        coroutine.resume(co)
        error(select(2, coroutine.close(co)))
      end)
      later(function() log "done" end, 10)
    ]],
    errors = { "in close", "after", "in coroutine" },
  },

  ["raises from the bottom of the stack"] = {
    script = [[
      local function deep() return 1 + deep() end
      later(deep)
      later(function() coroutine.wrap(deep)() end)
      local function wide(...) return (wide(1, ...)) end
      later(wide)
      later(function() string.gsub("x", "x", function() deep() end) end)
      local function c(s) return (s:gsub(".", c)) end
      later(function() c "x" end)
      later(function() log "done" end, 20)
    ]],
    flags = { "--memory", "64M" }, peak = 160,
    errors = { "stack overflow", "C stack overflow",
      "not enough memory" },
  },

  ["yields where nobody resumes"] = {
    script = [[
      local y = coroutine.yield
      r:on("connection", function(_, socket)
        socket:on("data", y)
        socket:on("close", y)
        socket:write("x", y)
        socket:on("data", function()
          later(function() y() end)
          later(function() socket:close() later(function() log "done" end, 10)
          end, 5)
        end)
      end)
      r:on("connection", function() if r:stats().connections > 1 then y() end
      end)
      host.on("unload", y)
      setmetatable({}, { __gc = y })
      r:connect() r:connect()
      later(collectgarbage)
    ]],
    errors = { "attempt to yield", "finalizer cannot yield" },
  },

  ["calls its rover in finalizers that run at any time"] = {
    script = [[
      collectgarbage("incremental", 0, 1000, 1)
      local function again()
        setmetatable({}, { __gc = function()
          pcall(r.dropServer, r, "x")
          again()
        end })
      end
      for _ = 1, 20 do again() end
      local n = 0
      r:on("connection", function(_, s)
        n = n + 1
        s:close()
        if n < 500 then return r:connect() end
        collectgarbage("incremental", 200, 100, 13)
        log "done"
      end)
      r:connect()
    ]],
  },

  ["resumes one coroutine from all handlers"] = {
    script = [[
      local n = 0
      local co co = coroutine.wrap(function(...)
        local _, socket = ...
        while true do
          n = n + 1
          if n == 40 then log "done" error "over" end
          local _, s = coroutine.yield()
          if type(s) == "userdata" then s:on("data", co) s:write "x" end
          if s and n % 7 == 0 then r:sockets()[1]:close() end
        end
      end)
      local function go(...) return co(...) end
      r:on("connection", function(slot, socket)
        go(slot, socket)
        socket:on("data", go) socket:on("close", go) socket:write("x", go)
      end)
      r:start()
    ]],
    errors = { "over" }, may = "cannot resume dead coroutine",
  },
}
