-- The client of the benchmarks as a policy. Its arguments, what it does:
--
--   handshakes COUNT IN_FLIGHT PORT...
--     connects, reads the slot line, closes; so often. Says "begin", "done".
--   keep COUNT INTERVAL PORT...
--     keeps so many sockets, says "kept", and roves on, keeping no more.
--   first PORT
--     says "connection" in the handler of the first one, with the milliseconds
--     of CPU time so far, and ends.
--   idle
--     says "idle", and does nothing.
--   ask SOCKETS BYTES MS PORT...
--     sends so many bytes over each socket, and again whenever they have come
--     back. Says "begin" when it begins to count, and at the end how many
--     answers came a second, and within how many microseconds 99% of them.
--   servers COUNT STEP
--     adds so many servers, whose ids count up by STEP in seven digits. Says
--     "added" and the seconds.

collectgarbage "generational" -- as the lua5.4 program does for the luv script

local host = require "callosum.host"
local rover = require "callosum.rover"

local IN_FLIGHT = 64

local function say(...)
  print(...)
  io.stdout:flush()
end

local function newRover(maxAttempts, ports)
  local r = rover.new { rovingInterval = 3600000, maxAttempts = maxAttempts }
  for _, port in ipairs(ports) do
    r:addServer(port, { host = "127.0.0.1", port = tonumber(port) })
  end
  r:on("unreachable", function(_, _, err) error(tostring(err)) end)
  return r
end

local does = {}

function does.handshakes(total, inFlight, ...)
  local count, begun, done = tonumber(total), tonumber(inFlight), 0
  local r = newRover(begun, { ... })
  r:on("connection", function(_, socket)
    socket:close()
    done = done + 1
    if begun < count then
      begun = begun + 1
      r:connect()
    end
    if done == count then
      say "done"
      host.stop()
    end
  end)
  say "begin"
  for _ = 1, begun do r:connect() end
end

function does.keep(total, interval, ...)
  local count, begun, kept = tonumber(total), 0, 0
  local r = newRover(IN_FLIGHT, { ... })
  r:on("connection", function(_, socket)
    if kept == count then return socket:close() end
    kept = kept + 1 -- the rover has them: see r:sockets()
    if begun < count then
      begun = begun + 1
      r:connect()
    elseif kept == count then
      r:setRovingInterval(tonumber(interval)):start()
      collectgarbage()
      collectgarbage()
      say "kept"
    end
  end)
  while begun < count and begun < IN_FLIGHT do
    begun = begun + 1
    r:connect()
  end
end

function does.first(...)
  local r = newRover(1, { ... })
  r:on("connection", function()
    say(("connection %.3f"):format(os.clock() * 1000))
    host.stop()
  end)
  r:start()
end

function does.idle()
  newRover(1, {})
  say "idle"
end

function does.ask(sockets, size, ms, ...)
  local uv = require "luv" -- for its clock
  local count, bytes = tonumber(sockets), tonumber(size)
  local question, kept = ("x"):rep(bytes), {}
  -- How many took so many microseconds: a list of all would be the largest
  -- thing that the collector has to look at.
  local answers, took = 0, {}
  local from, to
  local r = newRover(IN_FLIGHT, { ... })

  local function finish(now)
    local list, slower = {}, answers * 0.01
    for us in pairs(took) do list[#list + 1] = us end
    table.sort(list)
    while slower >= took[list[#list]] do
      slower = slower - took[table.remove(list)]
    end
    say(("%.0f %d"):format(answers / ((now - from) / 1e9), list[#list]))
    to = math.huge -- host.stop() is at the end of the turn
    host.stop()
  end

  local function begin(socket)
    local left, asked = bytes, uv.hrtime()
    socket:on("data", function(chunk)
      left = left - #chunk
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
      socket:write(question)
    end)
    socket:write(question)
  end

  r:on("connection", function(_, socket)
    kept[#kept + 1] = socket
    if #kept < count then return r:connect() end
    from = uv.hrtime() + 2e8 -- what comes before does not count
    to = from + tonumber(ms) * 1e6
    for _, each in ipairs(kept) do begin(each) end
  end)
  r:connect()
end

function does.servers(total, step)
  local BATCH, by = 1000, tonumber(step)
  local r, seconds = newRover(1, {}), 0
  for from = 0, tonumber(total) - 1, BATCH do
    local ids, servers = {}, {}
    for i = 1, BATCH do
      local number = from + i
      ids[i] = ("server-%07d"):format(number * by % 10000000)
      servers[i] = { port = 4040, host = ("10.%d.%d.%d"):format(
        number >> 16 & 255, number >> 8 & 255, number & 255) }
    end
    local begun = os.clock()
    for i = 1, BATCH do r:addServer(ids[i], servers[i]) end
    seconds = seconds + os.clock() - begun
  end
  collectgarbage()
  collectgarbage()
  say(("added %.6f"):format(seconds))
end

does[host.args[1]](table.unpack(host.args, 2))
