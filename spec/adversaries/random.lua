-- A policy that makes random calls with random arguments, from its handlers and
-- from a timer, and reloads itself now and then. Its second argument is a seed.
return [[
  local uv, relay = require "luv", require "callosum.relay"
  math.randomseed(tonumber(host.args[2]) + host.generation)
  local random = math.random
  local rovers, sockets, timers = { r }, {}, {}
  local relays, clients = {}, {}
  local act

  local function any(list) return list[random(#list)] end
  local function handler()
    return random(8) == 1 and function() error {} end or function() act() end
  end
  local function a_server()
    return { host = server.host, port = server.port }
  end
  local values = {
    function() return nil end, function() return random(-2, 100) end,
    function() return random() * 1e10 end, function() return 1 << 62 end,
    function() return 0/0 end, function() return "" end,
    function() return ("x"):rep(random(200000)) end,
    function() return "\0\xff" end, function() return {} end,
    function() return { "a", "b", random(3) == 1 and 1 or "c" } end,
    function() return any(rovers) end, function() return any(sockets) end,
    function() return any(relays) end, function() return any(clients) end,
    function() return handler() end, function() return a_server() end,
    function() return any { "connection", "error", "unreachable", "data",
      "end", "close", "drain", "unload", ":bye", ":end" } end,
    function() return setmetatable({}, { __gc = handler() }) end,
    function() return coroutine.running() end,
    function() return true end, function() return io.stdout end,
    function() return { host = "127.0.0.1", port = random(-1, 65537) } end,
    function() return { name = "n" .. random(5), servers = { s = a_server() },
      rovingInterval = random(0, 5), maxAttempts = random(0, 9),
      allowHalfOpen = random(2) == 1, jitter = random() * 1.2 } end,
  }
  local function value() return any(values)() end
  local function arguments()
    local list = {}
    for i = 1, random(0, 4) do list[i] = value() end
    return table.unpack(list, 1, 4)
  end

  local of_rover = { "on", "off", "addServer", "dropServer", "setServers",
    "pauseServer", "start", "stop", "connect", "setRovingInterval", "servers",
    "sockets", "stats", "close" }
  local of_socket = { "write", "on", "off", "pause", "resume", "shutdown",
    "close", "peername", "sockname", "writeQueueSize" }
  local of_relay = { "on", "off", "offer", "clients", "address", "stats",
    "close" }
  local of_client = { "on", "off", "join", "refuse", "peername" }
  local events = { "data", "end", "close", "drain" }

  local function later_socket()
    local co = coroutine.running()
    later(function() coroutine.resume(co, any(sockets)) end, random(0, 3))
    return coroutine.yield()
  end
  local picks = {
    function() return any(sockets) end, function() return nil, "none" end,
    function(client) client:join(any(sockets)) end,
    function(client) client:refuse "no" end, later_socket,
    function() act() end, function() error {} end, function() return 1 end,
  }
  local function pick(client)
    clients[#clients % 20 + 1] = client
    client:on("close", handler())
    return any(picks)(client)
  end
  local function visit(host, port)
    local tcp = uv.new_tcp()
    tcp:connect(host, port, function(err)
      if err then return tcp:close() end
      tcp:write(any { ":bye", ":end", "x", ("x"):rep(200000) })
      later(function() tcp:close() end, random(0, 9))
    end)
  end

  local calls = {
    function()
      local x = any(rovers)
      return x[any(of_rover)](x, arguments())
    end,
    function()
      local x = any(sockets)
      return x[any(of_socket)](x, arguments())
    end,
    function()
      local x = any(relays)
      return x[any(of_relay)](x, arguments())
    end,
    function()
      local x = any(clients)
      return x[any(of_client)](x, arguments())
    end,
    function()
      relays[#relays % 4 + 1] = relay.new { name = "p" .. random(4),
        listen = { port = 0 }, pick = pick,
        returnSocket = random(2) == 1 and handler() or nil,
        waitTimeout = random(50), drainTimeout = random(20),
        halfCloseTimeout = random(20),
        maxClients = random(10) }
    end,
    function() visit(any(relays):address()) end,
    function() visit(any(relays):address()) end,
    function() any(clients):join(any(sockets)) end,
    function() any(sockets):on(any(events), handler()) end,
    function() any(sockets):write(("x"):rep(random(300000)), handler()) end,
    function() any(sockets):write(any { ":bye", ":end", "x" }) end,
    function() any(sockets):close() end,
    function() sockets[#sockets + 1] = any(sockets):pass() end,
    function() any(sockets).state = value() end,
    function() any(sockets).state[random(3)] = value() end,
    function()
      local fd = any(sockets):detach()
      if fd then
        local tcp = uv.new_tcp()
        tcp:open(fd)
        tcp:close()
      end
    end,
    function() host.carry = value() end,
    function() host.on("unload", handler()) end,
    function() host.log.debug(value(), value()) end,
    function()
      if #rovers < 8 then rovers[#rovers + 1] = rover.new(value()) end
    end,
    function() any(rovers):addServer("s" .. random(3), server):connect() end,
    function() any(rovers):start() end,
    function()
      any(rovers):setServers { s = server, ["s" .. random(3)] = a_server() }
    end,
    function() any(sockets):on("data", handler()):pause() end,
    function() any(sockets):resume() end,
    function()
      for _, client in ipairs(any(relays):clients()) do
        clients[#clients % 20 + 1] = client
      end
    end,
    function() collectgarbage(any { "collect", "step", "stop", "restart" }) end,
    function() coroutine.wrap(act)() end,
    function() local x <close> = any(sockets) end,
    function() local x <close> = any(rovers) act() end,
    function()
      if #timers > 20 then table.remove(timers, 1):close() end
      local timer = uv.new_timer()
      timers[#timers + 1] = timer
      timer:start(random(0, 3), 0, handler())
    end,
    function() if random(5) == 1 then host.reload() end end,
  }

  -- What cannot be carried would keep each policy after this one out. To
  -- assign it is an error.
  local function tidy()
    if not pcall(function() host.carry = host.carry end) then
      host.carry = nil
    end
    for _, x in ipairs(rovers) do
      for _, s in ipairs(pcall(x.sockets, x) and x:sockets() or {}) do
        if not pcall(function() s.state = s.state end) then s.state = {} end
      end
    end
  end

  -- Calls nest, as a handler's calls call handlers, but not for ever.
  local depth = 0
  function act()
    if depth > 5 then return end
    depth = depth + 1
    for _ = 1, random(3) do pcall(any(calls)) end
    depth = depth - 1
    if depth == 0 then tidy() end
    for _, x in ipairs(rovers) do
      local open, s = pcall(r.stats, x)
      if open and (s.connections ~= s.kept + s.closed or s.kept < #x:sockets()
          or s.attempts ~= s.connections + s.unreachable + s.errors
          + s.cancelled + s.inFlight) then log("INEXACT", s) end
    end
  end

  -- What closes the rover while the first policy is loaded ends the run.
  local loaded = host.generation > 1
  if random(2) == 1 then
    atAnyAllocation(200, function()
      if loaded and random(10) == 1 then pcall(any(calls)) end
    end)
  end

  local function listen(x)
    x:on("connection", function(_, s)
      if #x:sockets() > 10 then return s:close() end
      sockets[#sockets % 20 + 1] = s
      s:on(any(events), handler())
      act()
    end)
    x:on("unreachable", handler())
    x:on("error", handler())
  end
  local new = rover.new
  rover.new = function(...)
    local x = new(...)
    listen(x)
    return x
  end
  listen(r)
  local function tick()
    loaded = true
    later(tick, 5)
    pcall(function() -- since a finalizer may close it meanwhile
      if not pcall(r.stats, r) then
        r = rover.new { name = "main", servers = { s = server } }
      end
      rovers[1] = r
      r:addServer("s", server):start()
    end)
    act()
  end
  later(tick)
]]
