-- Policies that grow for ever, or until they are stopped.
local NOT_ENOUGH = "not enough memory"

-- In a handler, with the memory that a policy has and no budget to speak of.
local function grows(code, errors, descriptors, may)
  return { errors = errors, may = may, descriptors = descriptors, script = [[
    r:on("connection", function(_, s)
      if s.slot > 0 then return s:close() end
      later(function() log "done" end, 20)
      ]] .. code .. [[
    end)
    r:on("error", function() end)
    r:on("unreachable", function() end)
    r:connect()
  ]] }
end

-- The same with little above what the memory may take in the process.
local function keeps(code, errors)
  local case = grows(code, errors)
  case.peak = 34 -- MiB: 1.5 times the cap, and what the host has
  return case
end

local function returns(code, descriptors)
  return grows(code, { NOT_ENOUGH }, descriptors)
end

return {
  ["grows by strings"] = returns [[
    local list = {}
    while true do list[#list + 1] = ("x"):rep(1e4) .. #list end]],
  ["grows by tables"] = returns "local t = {} while true do t = { t } end",
  ["grows by handlers of a rover"] = returns [[
    while true do for _ = 1, 1000 do r:on("error", print) end
      local t = ("x"):rep(2e6) kept = { kept, t } end]],
  ["grows by handlers of unload"] = returns [[
    while true do host.on("unload", os.time) end]],
  ["grows by rovers"] = returns([[
    local i = 0
    while true do i = i + 1 rover.new { name = "r" .. i } i = i + 1
      if i % 100 == 0 then kept = { kept, ("x"):rep(1e5) } end
    end]], 20000),
  ["makes 10,000 rovers"] = grows([[
    local ok, err
    for i = 1, 10000 do
      ok, err = pcall(rover.new, { name = "r" .. i, servers = { s = server } })
      if not ok then error(err, 0) end
    end]], nil, 20000, NOT_ENOUGH), -- with some libuvs they need more
  ["grows by servers"] = returns [[
    local id, i = ("x"):rep(200), 0
    local many = rover.new { name = "many" }
    while true do i = i + 1 many:addServer(id .. i, server) end]],
  ["grows by servers as it is loaded, and connects without memory"] = {
    script = [[
      local id, i = ("x"):rep(200), 0
      local many = rover.new { name = "many" }
      repeat i = i + 1 until not pcall(many.addServer, many, id .. i, server)
      many:connect() many:connect()
      if host.generation == 1 then later(function() log "done" end, 5) end
    ]], errors = { "unhandled 'error' event of rover 'many': .*memory" },
  },
  ["grows by servers of rovers that are closed"] = returns [[
    local servers = {}
    for i = 1, 5000 do servers["s" .. i] = server end
    for i = 1, math.huge do
      rover.new { name = "r" .. i, servers = servers }:close()
    end]],
  ["grows by attempts"] = returns [[
    local many = rover.new { name = "many", maxAttempts = 4294967295,
      servers = { s = { host = ("x"):rep(64) .. ".invalid", port = 1 } } }
    many:on("unreachable", function() end)
    while true do
      local ok, err, code = many:connect()
      if not ok then many:stop() error(err .. code) end
    end]],
  -- They are gone at once, but for the one look-up of their name.
  ["does not grow by attempts that it stops"] = grows [[
    local many = rover.new { name = "many", maxAttempts = 4294967295,
      servers = { s = { host = ("x"):rep(64) .. ".invalid", port = 1 } } }
    for _ = 1, 200 do
      for _ = 1, 1000 do
        local ok, err, code = many:connect()
        if not ok then error(err .. code) end
      end
      many:stop()
    end]],
  ["grows by what a peer does not read"] = grows([[
    local chunk = ("x"):rep(1e5)
    s:write "deaf"
    later(function()
      local ok, message, code
      for i = 1, 1e6 do
        ok, message, code = s:write(chunk)
        if not ok then break end
      end
      assert(not ok and code == "ENOBUFS" and message:find "drain", code)
      assert(s:writeQueueSize() <= 16 << 20, s:writeQueueSize())
      assert(s:writeQueueSize() > 14 << 20, s:writeQueueSize())
      assert(not s.closed)
    end, 5)]]),
  -- What a fast peer takes meanwhile is in memory until the next turn.
  ["grows by what a peer reads, and goes on when 'drain' comes"] = { script = [[
    r:on("connection", function(_, s)
      if s.slot > 0 then return s:close() end
      local chunk, rounds = ("x"):rep(4e6), 0
      local function fill()
        if rounds == 10 then return log "done" end
        rounds = rounds + 1
        while s:write(chunk) do end
      end
      s:on("drain", fill)
      fill()
    end)
    r:connect()
  ]] },
  ["grows by small writes that a peer does not read"] = grows([[
    local chunk = ("x"):rep(1e5)
    s:write "deaf"
    later(function()
      while s:writeQueueSize() == 0 do s:write(chunk) end
      local ok, _, code
      repeat ok, _, code = s:write "x" until not ok
      assert(code == "ENOBUFS")
    end, 5)]]),
  ["grows by callbacks of empty writes"] = grows([[
    local ok, message, code
    repeat ok, message, code = s:write("", print) until not ok
    assert(code == "ENOBUFS")]]),
  ["grows by one write of much"] = grows([[
    local chunk, list = ("x"):rep(1e6), {}
    for i = 1, 1e5 do list[i] = chunk end
    local ok, _, code = s:write(list)
    assert(not ok and code == "ENOBUFS")]]),
  ["grows by what it carries"] = grows([[
    local t = {}
    for i = 1, 1e4 do t[i] = ("x"):rep(70) .. i end
    host.carry = t
    s.state = t
    for i = 1, 1e4 do t[-i] = ("y"):rep(90) .. i end
    assert(not pcall(function() host.carry = t end))
    for i = 1, 1e4 do t[-i] = nil end
  ]]),
  ["grows by handles of luv"] = grows([[
    local uv = require "luv"
    for _ = 1, 5000 do
      uv.new_timer():start(1000000, 0, print) uv.new_tcp() uv.new_async(print)
    end]]),
  ["grows by handles of luv that it cannot have"] = returns [[
    local uv = require "luv"
    while true do
      uv.new_timer():start(1000000, 0, print) uv.new_idle() uv.new_tcp()
    end]],
  ["grows by blocks of one size after the other"] = keeps [[
    local up, down, mixed = {}, {}, {}
    for i = 1, 18 do
      local size = 2 ^ i // 1 | 0
      up[i], down[19 - i], mixed[i * 7 % 19] = size, size, size
    end
    local n, few = 0, {}
    for _, order in ipairs { up, down, mixed } do
      for round, size in ipairs(order) do
        pcall(function()
          local kept = {}
          repeat
            n = n + 1
            kept[#kept + 1] = n % 2 == 0 and ("x"):rep(size) .. n
              or table.pack(("x"):rep(size // 16 + 1):byte(1, -1))
            if n % 100 == 0 then few[#few + 1] = kept[#kept] end
          until #kept == 2000
        end)
        if round % 4 == 0 then few = {} end
      end
    end]],
  ["grows by what it receives"] = keeps([[
    local kept = {}
    for i = 1, 1 << 16 do kept[i] = false end
    local n = 0
    s:on("data", function(chunk) n = n + 1 kept[n] = chunk end)
    s:on("close", function(err)
      kept = nil
      assert(err.code == "ENOMEM")
    end)
    s:write "much"]], { NOT_ENOUGH }),
  ["grows by coroutines"] = returns [[
    local list = {}
    while true do
      list[#list + 1] = coroutine.wrap(function() coroutine.yield() end)
      list[#list]()
    end]],
  ["grows by finalizers"] = returns [[
    local list = {}
    while true do
      list[#list + 1] = setmetatable({}, { __gc = function() end })
    end]],
  -- At the cap, Lua collects all the same.
  ["stops the collector and leaves much garbage"] = grows([[
    local much = ("x"):rep(1e5)
    collectgarbage "stop"
    for i = 1, 1e3 do local _ = much .. i end
    for _ = 1, 1e6 do local _ = { {} } end
    assert(not collectgarbage "isrunning")
    assert(collectgarbage "count" <= 16 << 10)]]),
  -- But not for the buffers of its libraries, which ask the allocator directly.
  ["stops the collector and wants a buffer where garbage is"] = returns [[
    local much = ("x"):rep(1e5)
    collectgarbage "stop"
    while collectgarbage "count" < 15 << 10 do local _ = much .. 1 end
    much:rep(20)]],
  -- Nor does it call finalizers then, and it keeps what they are to be given.
  ["stops the collector and grows by garbage with finalizers"] = returns [[
    collectgarbage "stop"
    while true do
      setmetatable({ ("x"):rep(1e4) }, { __gc = function() end })
    end]],
  ["returns megabytes"] = grows([[
    package.preload.much = function() return ("x"):rep(2e6) end
    assert(#require "much" == 2000000)
    local mt = { __tostring = function() return ("x"):rep(2e6) end }
    assert(#tostring(setmetatable({}, mt)) == 2e6)
    log(("x"):rep(1e5))
    return ("x"):rep(2e6), table.unpack({}, 1, 2e5)]]),
  ["asks for more than there is"] = returns [[
    pcall(string.rep, "x", 1 << 40)
    pcall(table.concat, setmetatable({}, { __index = function() return "xxxx"
      end, __len = function() return 1 << 30 end }))
    return ("x"):rep(1 << 30)]],
}
