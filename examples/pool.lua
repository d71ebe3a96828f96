-- Requests and responses over pooled connections, with servers of its own:
--
--   build/callosum-rover run examples/pool.lua
--
-- Six workers share four connections. Each waits for one, writes a line, reads
-- a line, and returns it.

local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"
local server = require "callosum.server"
local uv = require "luv"

local r = rover.new { rovingInterval = 1000 }
local p = pool.new { maxSlots = 4, checkout = "leastRecent" }:attach(r)
r:on("unreachable", function(_, _, err) print(err) end)

-- Two servers that answer in capitals, after 100 ms.
for i = 1, 2 do
  local s = assert(server.new { host = "127.0.0.1", port = 0 })
  s:on("connection", function(conn)
    conn:on("data", function(chunk)
      local timer = uv.new_timer()
      timer:start(100, 0, function()
        timer:close()
        conn:write(chunk:upper())
      end)
    end)
  end)
  local address, port = s:address()
  r:addServer("server " .. i, { host = address, port = port })
end
r:start()

-- Asks one question, in a coroutine. If the connection is lost there is no
-- answer, and returning the socket does nothing.
local function ask(question)
  local socket, message = p:awaitConnection(5000)
  if not socket then return nil, message end
  local this, answer = coroutine.running(), ""
  local function goOn(...) assert(coroutine.resume(this, ...)) end
  socket:on("data", function(chunk)
    answer = answer .. chunk
    if answer:find "\n$" then goOn(answer:sub(1, -2)) end
  end)
  socket:on("close", function() goOn(nil, socket.id .. " is lost") end)
  socket:write(question .. "\n")
  answer, message = coroutine.yield()
  p:returnConnection(socket) -- and with it our handlers
  return answer, message or socket.id
end

local working = 6
local function work(name)
  for i = 1, 3 do
    local answer, from = ask(("worker %s asks %d"):format(name, i))
    print(answer and from .. ": " .. answer or from)
  end
  working = working - 1
  if working > 0 then return end
  local stats = p:stats()
  print(("%d connections, %d idle"):format(stats.size, stats.idle))
  host.stop()
end
for i = 1, working do coroutine.wrap(work)(i) end
