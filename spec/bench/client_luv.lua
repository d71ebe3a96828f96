-- What one would write without a rover: the client of the benchmarks in plain
-- Lua on luv. It does what client_policy.lua says, but for the servers, and
-- does not rove.

local uv = require "luv"

local IN_FLIGHT = 64

local function say(...)
  print(...)
  io.stdout:flush()
end

-- Connects to a random one of the ports; calls back with the slot.
local function connect(ports, fn)
  local tcp, line = uv.new_tcp(), ""
  local port = tonumber(ports[math.random(#ports)])
  tcp:connect("127.0.0.1", port, function(err)
    assert(not err, err)
    tcp:read_start(function(readErr, chunk)
      assert(chunk, readErr or "no slot line")
      line = line .. chunk
      local slot = line:match "^(%d+)\r\n"
      if slot then fn(tonumber(slot), tcp) end
    end)
  end)
end

local does = {}

function does.handshakes(total, inFlight, ...)
  local count, begun, done = tonumber(total), tonumber(inFlight), 0
  local ports = { ... }
  local function finish(_, tcp)
    tcp:close()
    done = done + 1
    if begun < count then
      begun = begun + 1
      connect(ports, finish)
    end
    if done == count then say "done" end
  end
  say "begin"
  for _ = 1, begun do connect(ports, finish) end
end

function does.keep(total, _, ...)
  local count, begun, kept = tonumber(total), 0, {}
  local ports = { ... }
  local function next()
    begun = begun + 1
    connect(ports, function(slot, tcp)
      kept[#kept + 1] = { slot = slot, tcp = tcp }
      tcp:read_stop()
      tcp:read_start(function() error "a socket was closed" end)
      if begun < count then
        next()
      elseif #kept == count then
        collectgarbage()
        collectgarbage()
        say "kept"
      end
    end)
  end
  while begun < count and begun < IN_FLIGHT do next() end
end

function does.first(...)
  connect({ ... }, function()
    say(("connection %.3f"):format(os.clock() * 1000))
    os.exit()
  end)
end

function does.idle()
  uv.new_timer():start(3600000, 0, function() end)
  say "idle"
end

function does.ask(sockets, size, ms, ...)
  local count, bytes = tonumber(sockets), tonumber(size)
  local question, kept = ("x"):rep(bytes), {}
  -- How many took so many microseconds: a list of all would be the largest
  -- thing that the collector has to look at.
  local answers, took = 0, {}
  local ports, from, to = { ... }, nil, nil

  local function finish(now)
    local list, slower = {}, answers * 0.01
    for us in pairs(took) do list[#list + 1] = us end
    table.sort(list)
    while slower >= took[list[#list]] do
      slower = slower - took[table.remove(list)]
    end
    say(("%.0f %d"):format(answers / ((now - from) / 1e9), list[#list]))
    os.exit()
  end

  local function begin(tcp)
    local left, asked = bytes, uv.hrtime()
    tcp:read_start(function(err, chunk)
      left = left - #assert(chunk, err or "a socket was closed")
      if left > 0 then return end
      local now = uv.hrtime()
      if now >= from then
        if answers == 0 then say "begin" end
        local us = (now - asked) // 1000
        answers = answers + 1
        took[us] = (took[us] or 0) + 1
      end
      if now >= to then return finish(now) end
      left, asked = bytes, now
      tcp:write(question)
    end)
    tcp:write(question)
  end

  local function next()
    connect(ports, function(_, tcp)
      tcp:read_stop()
      tcp:nodelay(true)
      kept[#kept + 1] = tcp
      if #kept < count then return next() end
      from = uv.hrtime() + 2e8 -- what comes before does not count
      to = from + tonumber(ms) * 1e6
      for _, each in ipairs(kept) do begin(each) end
    end)
  end
  next()
end

does[arg[1]](table.unpack(arg, 2))
uv.run()
