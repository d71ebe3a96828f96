-- A rover in a plain Lua program, on luv's loop: keeps the sockets with the
-- lowest slots, says hello on each, and prints the answers. Its arguments are
-- ports on this machine. Ctrl-C ends it.
--
--   callosum-rover serve 4040 4041 -- lua5.4 examples/plain.lua 4040 4041

local rover = require "callosum.rover"
local uv = require "luv"

local LIMIT = 4 -- sockets to keep, over all servers

io.stdout:setvbuf "line"

local r = rover.new { rovingInterval = 100 }
for _, port in ipairs(arg) do
  r:addServer(port, { host = "localhost", port = tonumber(port) })
end

r:on("connection", function(slot, socket, id)
  local function say(what) print(("%s slot %d: %s"):format(id, slot, what)) end
  socket:on("data", say)
  socket:on("close", function(err) say(err and err.message or "closed") end)

  local sockets = r:sockets() -- lowest slot first, the new one among them
  for i = #sockets, LIMIT + 1, -1 do sockets[i]:close() end
  if socket.closed then return end
  socket:write("hello, " .. (socket:peername() or "whoever you are"))
end)

local function warn(err) io.stderr:write(tostring(err), "\n") end
r:on("unreachable", function(_, _, err) warn(err) end)
r:on("error", warn)
r:start()

-- Otherwise SIGPIPE, from writing to a lost connection, would end the process.
local sigpipe = uv.new_signal()
sigpipe:start("sigpipe", function() end)
sigpipe:unref()

local interrupt = uv.new_signal()
interrupt:start("sigint", function()
  interrupt:close()
  r:close()
end)
uv.run()
