-- Policies whose finalizers call what is being called: they run wherever
-- something allocates.

local function beset(script)
  return { script = [[
    local over
    local function untilDone(fn)
      atAnyAllocation(1000, function() if not over then fn() end end)
    end
    local function done(facts)
      over = true
      log("done", facts)
    end
    ]] .. script }
end

-- `make(name)` makes what may be there once only.
local function once(make)
  return beset([[
    local round, made = 1, {}
    local function make(name) ]] .. make .. [[ end
    local function try()
      local is, x = pcall(make, "n" .. round)
      if is then made[#made + 1] = x end
    end
    later(function()
      untilDone(function() if math.random(9) == 1 then try() end end)
      for i = 1, rounds(100) do
        try()
        local this = made
        round, made = i + 1, {}
        for _, x in ipairs(this) do x:close() end
        assert(#this == 1, #this)
      end
      done()
    end)
  ]])
end

return {
  ["asks for a socket that is being told of"] = beset [[
    local objects, count = {}, 0
    r:on("connection", function(_, s)
      count, objects[s] = count + 1, true
      if count < rounds(100) then s:close() r:connect() return end
      local distinct = 0
      for _ in pairs(objects) do distinct = distinct + 1 end
      assert(distinct <= count, distinct)
      done { kept = #r:sockets() }
    end)
    untilDone(function()
      for _, s in ipairs(r:sockets()) do objects[s] = true end
    end)
    r:connect()]],
  ["sets servers that are being set"] = beset [[
    local function fleet(n)
      local servers = { s = server }
      for i = 1, n do servers["s" .. math.random(100)] = { host = "h" .. i,
        port = i } end
      return servers
    end
    local list = fleet(50)
    untilDone(function()
      local dice = math.random(9)
      if dice == 1 then r:setServers(fleet(dice))
      elseif dice == 2 then r:dropServer("s" .. math.random(100))
      elseif dice == 3 then list["s" .. math.random(100)] = nil
      elseif dice == 4 then list["s" .. math.random(100)] = server end
    end)
    later(function()
      for i = 1, rounds(30) do
        list = fleet(50)
        local set, err = pcall(r.setServers, r, list)
        assert(set or err:find "changed while", err)
      end
      over = true
      r:setServers(list)
      for id, one in pairs(r:servers()) do
        assert(list[id].port == one.port and list[id].host == one.host, id)
      end
      r:setServers { s = server }
      done()
    end)]],
  ["drops servers that are being listed"] = beset [[
    for i = 1, 20 do r:addServer("s" .. i, server) end
    untilDone(function()
      local id = "s" .. math.random(20)
      if not r:dropServer(id) then r:addServer(id, server) end
    end)
    for _ = 1, rounds(100) do
      for id, s in pairs(r:servers()) do
        assert(id:find "^s%d*$" and s.host == server.host
          and s.port == server.port)
      end
    end
    done()]],
  ["closes what it opened while luv was ended"] = beset [[
    local uv, timers = require "luv", {}
    untilDone(function()
      if #timers > 20 then
        local timer = table.remove(timers)
        return pcall(timer.close, timer)
      end
      local is, timer = pcall(uv.new_timer)
      if is then timers[#timers + 1] = timer end
    end)
    log "done"]],
  ["closes a process that ended long before"] = beset [[
    local process
    process = require "luv".spawn("true", {}, function() log "done" end)
    setmetatable({}, { __gc = function() pcall(process.close, process) end })
    host.on("unload", function() process = process end)]],
  ["makes rovers of a name that is being given"] = once [[
    return rover.new { name = name, servers = { s = server } }]],
  ["makes relays of a name that is being given"] = once [[
    return require "callosum.relay".new { name = name, listen = { port = 0 },
      pick = function() end }]],
}
