local reloads = require "support.reloads"
local support = require "support"

local start, reload, fails = reloads.start, reloads.reload, reloads.fails
local count, position, told = reloads.count, reloads.position, reloads.told
local events, logged, stop = support.events, support.logged, support.stop
local serve = support.serve

-- Plain data of all kinds, as text, and a check that it came through as it
-- was: values, their types, and the subtypes of numbers.
local DATA = [[
  local function data()
    local deep = { "bottom" }
    for i = 1, 90 do deep = { deep } end
    return {
      yes = true, no = false, [true] = "t", [false] = "f",
      one = 1, float = 1.0, half = 0.5, [2.5] = "k", [-7] = "n",
      min = math.mininteger, max = math.maxinteger, huge = math.huge,
      low = -math.huge, tiny = 5e-324, big = 2^53,
      empty = "", bytes = "a\0b\r\n\xff", [""] = "empty", ["a\0"] = "nul",
      long = ("x"):rep(100000),
      none = {}, list = { 1, 2.0, "3", { 4 } }, nest = { a = { b = { 1 } } },
      deep = deep, holes = { [1] = 1, [1000] = 2 },
    }
  end
  local function same(a, b, path)
    if math.type(a) ~= math.type(b) or type(a) ~= type(b) then
      error(path .. ": " .. tostring(a) .. " and " .. tostring(b))
    elseif type(a) ~= "table" then
      if a ~= b then error(path .. " differs") end
    else
      for k, v in pairs(a) do same(v, b[k], path .. "." .. tostring(k)) end
      for k in pairs(b) do
        if a[k] == nil then error(path .. "." .. tostring(k) .. " is new") end
      end
    end
  end
]]

-- A policy with a rover; the server is the first argument if there is one.
local IDLE = [[
  r = rover.new()
  if host.args[1] then r:addServer("s", at(1)) end
]]

-- What cannot be carried, and what is said of it. In each, VALUE is the name
-- of what it is assigned to.
local REFUSED = {
  ["a function"] = { "{ a = { b = { print } } }",
    "VALUE.a.b[1]: a function cannot be carried, only nil, booleans, "
    .. "numbers, strings and tables of these" },
  ["a userdata"] = { "{ [1.5] = io.stdout }",
    "VALUE[1.5]: a userdata cannot be carried, only nil, booleans, "
    .. "numbers, strings and tables of these" },
  ["a coroutine"] = { "{ { co = coroutine.create(print) } }",
    "VALUE[1].co: a thread cannot be carried, only nil, booleans, numbers, "
    .. "strings and tables of these" },
  ["a rover"] = { "{ r = r }",
    "VALUE.r: a userdata cannot be carried, only nil, booleans, numbers, "
    .. "strings and tables of these" },
  ["a key that is a function"] = { "{ x = { [print] = 1 } }",
    "^VALUE%.x%[.-%]: a function cannot be carried" },
  ["a metatable"] = { "{ m = setmetatable({}, {}) }",
    "VALUE.m: a table with a metatable cannot be carried" },
  ["a metatable on top"] = { "setmetatable({}, {})",
    "VALUE: a table with a metatable cannot be carried" },
  ["a cycle"] = { "(function() local t = {} t.t = { t } return t end)()",
    "^VALUE%.t%[1%]%.t.*: tables more than 100 deep, or one that holds itself, "
    .. "cannot be carried$" },
  ["tables too deep"] = {
    "(function() local t = {} for _ = 1, 200 do t = { t } end return t end)()",
    "^VALUE%[1%].*: tables more than 100 deep, or one that holds itself, "
    .. "cannot be carried$" },
  ["a string of more than 1 MiB"] = {
    "{ big = ('x'):rep(1048577) }",
    "VALUE.big: more than 1 MiB of data cannot be carried" },
  ["more than 1 MiB in pieces"] = {
    "(function() local t = {} for i = 1, 100 do t[i] = ('x'):rep(11000) end "
      .. "return t end)()",
    "^VALUE%[%d+%]: more than 1 MiB of data cannot be carried$" },
}

-- Tells whether a message is the one wanted: a text, or a pattern from "^" on.
local function says(wanted, value, message)
  if wanted:sub(1, 1) == "^" then
    local pattern = value:gsub("%p", "%%%0"):gsub("%%", "%%%%")
    assert.matches((wanted:gsub("VALUE", pattern)), message)
  else
    assert.equal((wanted:gsub("VALUE", value)), message)
  end
end

describe("host.carry", function()
  it("is nil at first", function()
    local child = start(IDLE .. "log('carry', { type = type(host.carry) })")
    assert.equal("nil", logged(child, "carry").type)
    stop(child)
  end)

  it("hands plain data of every kind from policy to policy", function()
    local child = start(DATA .. IDLE .. [[
      if host.generation == 1 then
        host.carry = data()
      else
        same(data(), host.carry, "carry")
        same(host.carry, data(), "carry")
      end
    ]])
    for _ = 1, 3 do reload(child) end
    stop(child)
  end)

  for text, shown in pairs { ["42"] = "42", ["42.0"] = "42.0",
      ["true"] = "true", ["false"] = "false", ["'text'"] = "text",
      ["nil"] = "nil", ["-0.0"] = "-0.0" } do
    it("may be " .. text, function()
      local child = start(IDLE .. "host.carry = " .. text)
      reload(child, IDLE .. "log('carry', { v = tostring(host.carry) })")
      assert.equal(shown, logged(child, "carry").v)
      stop(child)
    end)
  end

  it("is as it was last, changed in place or assigned", function()
    local child = start(IDLE .. [[
      if host.generation == 1 then
        host.carry = { n = 1 }
        host.carry.list = { "a" }
        require "luv".new_timer():start(0, 0, function()
          host.carry.n = host.carry.n + 1
          host.reload()
          host.carry.list[2] = "b"
        end)
      else
        log("carry", { n = host.carry.n, list = table.concat(host.carry.list) })
      end
    ]])
    local carry = logged(child, "carry")
    assert.same({ 2, "ab" }, { carry.n, carry.list })
    stop(child)
  end)

  it("is a copy, that a policy which fails cannot change", function()
    local child = start(IDLE .. "host.carry = { n = 1 }")
    fails(child, "host.carry.n = 2 host.carry.x = 3 error 'no'")
    fails(child, "host.carry = nil error 'no'")
    reload(child, IDLE
      .. "log('carry', { n = host.carry.n, x = tostring(host.carry.x) })")
    assert.same({ 1, "nil" }, { logged(child, "carry").n,
      logged(child, "carry").x })
    stop(child)
  end)

  it("takes up to 1 MiB", function()
    local child = start(IDLE .. "host.carry = { ('x'):rep(1048576 - 64) }")
    reload(child, IDLE .. "log('carry', { n = #host.carry[1] })")
    assert.equal(1048576 - 64, logged(child, "carry").n)
    stop(child)
  end)

  for what, case in pairs(REFUSED) do
    it("refuses " .. what .. " where it is assigned, saying where in it",
        function()
      local child = start(IDLE .. "host.carry = 1")
      local line = fails(child, IDLE .. "\nhost.carry = " .. case[1])
      local at = child.path .. ":4: "
      assert.equal(at, line.error:sub(1, #at))
      says(case[2], "host.carry", line.error:sub(#at + 1))
      assert.matches("in main chunk", line.traceback)
      stop(child)
    end)

    it("refuses " .. what .. " that got into it later, when it is copied; "
        .. "the old policy goes on", function()
      local child = start(IDLE .. [[
        host.carry = { 1 }
        local n = 0
        require "luv".new_timer():start(1, 1, function() n = n + 1
          if n == 20 then log "goes on" end
        end)
        rawset(host.carry, "x", ]] .. case[1] .. ")")
      local line = fails(child)
      says(case[2], "host.carry.x", line.error)
      logged(child, "goes on")
      assert.equal(0, count(child, "policy reloaded"))
      stop(child)
    end)
  end

  it("refuses what is put in where that is assigned", function()
    local child = start(IDLE .. [[
      if host.generation == 1 then
        host.carry = { list = { {} }, { t = {} } }
      end
      local carry, keep = host.carry, {}
      keep.fields = {}
      carry.keep = keep
      for i, assign in ipairs { function() carry.f = print end,
          function() carry[print] = 1 end, function() carry.list.r = r end,
          function() carry.list[1][2] = { { r } } end,
          function() carry[1].t.x = setmetatable({}, {}) end,
          function() keep.fields.co = coroutine.create(print) end,
          function() carry.new = { late = {} } carry.new.late.f = print end,
          function() setmetatable(carry.list, {}) end,
          function() debug.getmetatable(carry).__newindex(1, 2, 3) end } do
        log("refused " .. i, { why = select(2, pcall(assign)) })
      end
      carry.list[1].n, carry.fine = 1, { 1, { 2 } }
      log("done", { fine = carry.fine, n = #carry.list })
      carry.list[2], carry.keep, carry.new = nil, nil, nil
    ]])
    reload(child)
    stop(child)
    local t = "(a table in host.carry)"
    local only = " cannot be carried, only nil, booleans, numbers, strings and "
      .. "tables of these"
    for generation = 1, 2 do
      local function why(i)
        local text = events(child, "refused " .. i)[generation].why
        return (text:gsub("^[^ ]*policy.lua:%d+: ", "at "))
      end
      assert.equal("at host.carry.f: a function" .. only, why(1))
      assert.equal("at host.carry[function]: a function" .. only, why(2))
      assert.equal("at " .. t .. ".r: a userdata" .. only, why(3))
      assert.equal("at " .. t .. "[2][1][1]: a userdata" .. only, why(4))
      assert.equal("at " .. t .. ".x: a table with a metatable cannot be "
        .. "carried", why(5))
      assert.equal("at " .. t .. ".co: a thread" .. only, why(6))
      assert.equal("at " .. t .. ".f: a function" .. only, why(7))
      assert.matches("protected metatable", why(8))
      assert.matches("table expected, got number", why(9))
    end
    assert.equal("{1, {2}}", events(child, "done")[1].fine)
  end)

  it("is the only field of callosum.host to set", function()
    local child = start(IDLE)
    assert.matches("policy.lua:3: callosum.host has no field 'cary' to set; "
      .. "put what is to outlive this policy into 'carry'",
      fails(child, IDLE .. "host.cary = 1").error)
    stop(child)
  end)

  it("is refused where it comes too late to be carried", function()
    local child = start(IDLE .. [[
      host.on("unload", function() host.carry = { late = true } end)
    ]])
    reload(child, IDLE)
    assert.equal(1, count(child, "policy error"))
    stop(child)
  end)
end)

describe("socket.state", function()
  -- A policy that keeps sockets, and runs `more` for each, with its `slot`.
  local function keeping(n, more)
    return ([[
      r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(slot, socket)
        %s
        log "got"
      end)
      connect(r, %d)
    ]]):format(more, n)
  end

  local function kept(n, more)
    local s = reloads.listen()
    local child = start(keeping(n, more), s)
    logged(child, "got", n)
    return child, s
  end

  it("is an empty table at first, and the same one each time", function()
    local child = kept(1, [[
      log("state", { empty = next(socket.state) == nil,
        same = socket.state == socket.state and socket.state
          == r:sockets()[1].state })
    ]])
    local state = logged(child, "state")
    assert.same({ true, true }, { state.empty, state.same })
    reload(child)
    state = logged(child, "state", 2)
    assert.same({ true, true }, { state.empty, state.same })
    stop(child)
  end)

  it("stays with its socket: plain data of every kind", function()
    local script = DATA .. keeping(3, [[
      if not socket.adopted then
        socket.state.mine = { slot = slot, float = slot + 0.0 }
        socket.state.data = data()
      end
      assert(socket.state.mine.slot == slot)
      assert(math.type(socket.state.mine.slot) == "integer")
      assert(math.type(socket.state.mine.float) == "float")
      same(data(), socket.state.data, "state")
      same(socket.state.data, data(), "state")
    ]])
    local s = reloads.listen()
    local child = start(script, s)
    logged(child, "got", 3)
    for _ = 1, 3 do
      local line = reload(child)
      assert.same({ 3, 0 }, { line.adopted, line.closed })
    end
    assert.equal(0, count(child, "policy error"))
    stop(child)
  end)

  it("comes along each time, assigned or changed in place", function()
    local child = kept(1, [[
      socket.state = { n = (socket.state.n or 0) + 1 }
      socket.state.again = (socket.state.again or 0) + 1
      log("state", { n = socket.state.n, again = socket.state.again })
    ]])
    for _ = 1, 4 do reload(child) end
    assert.same({ 1, 2, 3, 4, 5 }, told(child, "state", "n"))
    assert.same({ 1, 1, 1, 1, 1 }, told(child, "state", "again"))
    stop(child)
  end)

  for what, case in pairs(REFUSED) do
    it("refuses " .. what .. " where it is assigned", function()
      local child, s = kept(1, "socket.state.n = 1")
      reload(child, keeping(0, "socket.state = " .. case[1]))
      -- The handler raised: the socket is closed.
      local line = logged(child, "policy error")
      assert.matches("^.-policy.lua:3: ", line.error)
      says(case[2], "socket.state", line.error:match ":3: (.*)")
      assert.same({ 0 }, reloads.closed(s, 1))
      stop(child)
    end)

    it("refuses " .. what .. " that got into it later, when it is copied; "
        .. "the old policy goes on", function()
      local child, s = kept(2, [[
        socket:on("data", function(chunk) socket:write(chunk) end)
        if slot == 1 then
          rawset(socket.state, "x", { ]] .. case[1] .. [[ })
        end
      ]])
      local line = fails(child)
      says(case[2], "socket.state.x[1]", line.error)
      assert.same({}, s.closed)
      assert.equal(2, count(child, "got"))
      stop(child)
    end)
  end

  it("refuses what is put in where that is assigned", function()
    local child = kept(1, [[
      local function try(what, assign)
        log(what, { why = select(2, pcall(assign)) })
      end
      try("timer", function() socket.state.x = require "luv".new_timer() end)
      socket.state.t = socket.state.t or { 1, { 2 } }
      try("nested", function() socket.state.t[2].x = print end)
      socket.state.seen = (socket.state.seen or 0) + 1
      log("state", { seen = socket.state.seen, next = next(socket.state) })
      if not socket.adopted then socket.state = { t = socket.state.t } end
      try("assigned", function() socket.state.f = r end)
    ]])
    reload(child)
    stop(child)
    for generation = 1, 2 do
      local function why(what) return events(child, what)[generation].why end
      assert.matches("policy.lua:%d+: socket.state.x: a userdata cannot be",
        why "timer")
      assert.matches("%(a table in socket.state%).x: a function", why "nested")
      assert.matches("socket.state.f: a userdata cannot be", why "assigned")
      assert.equal(1, events(child, "state")[generation].seen)
    end
  end)

  it("refuses what is no table, and other fields", function()
    local child = kept(1, "log(select(2, pcall(function() socket.state = 1 "
      .. "end))) log(select(2, pcall(function() socket.mine = 1 end)))")
    stop(child)
    assert.matches("policy.lua:3: socket.state: table expected, got number",
      child.stderr)
    assert.matches("policy.lua:3: a socket's field 'mine' cannot be set; put "
      .. "what is yours into its table 'state'", child.stderr)
  end)

  it("that cannot be copied can be mended, and then be carried", function()
    local s = serve { send = "0\r\n" }
    local child = start(keeping(1, [[
      if not socket.adopted then rawset(socket.state, "f", print) end
      log("f", { type = type(socket.state.f) })
      socket:on("data", function() socket.state.f = "mended" log "mended" end)
    ]]), s)
    logged(child, "got")
    fails(child)
    s.peers[1]:write "mend"
    logged(child, "mended")
    reload(child)
    assert.same({ "function", "string" }, told(child, "f", "type"))
    assert.is_true(position(child, "mended")
      < position(child, "policy reloaded"))
    stop(child)
  end)
end)

