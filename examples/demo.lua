-- The policy that `make run` runs: keeps the sockets with the lowest slots, and
-- prints a line for each event and, every second, a table of what it keeps. Its
-- arguments are ports on this machine. Change LIMIT while it runs, and save.

local host = require "callosum.host"
local rover = require "callosum.rover"
local uv = require "luv"

local LIMIT = 9 -- sockets to keep, over all servers

-- With this seed it picks alike each time. Leave it out for random picks.
local r = rover.new { rovingInterval = 250, seed = 12 }
for _, arg in ipairs(host.args) do
  local port = tonumber(arg)
  r:addServer("localhost:" .. arg, { host = "localhost", port = port })
end

local function say(format, ...)
  print(os.date "%H:%M:%S  " .. format:format(...))
end

r:on("connection", function(slot, socket, id)
  local sockets = r:sockets() -- lowest slot first, the new one among them
  for i = #sockets, LIMIT + 1, -1 do
    say("%s slot %d: closed, the %d lowest are kept", sockets[i].id,
      sockets[i].slot, LIMIT)
    sockets[i]:close()
  end
  if socket.closed then return end
  -- After a reload, the new policy decides about each kept socket again.
  say("%s slot %d: %s", id, slot, socket.adopted and "stays" or "kept")

  socket:on("close", function(err)
    if err then say("%s slot %d: lost, %s", id, slot, err.message) end
  end)
  socket:on("end", function()
    say("%s slot %d: the server closed it", id, slot)
  end)
end)
r:on("unreachable", function(_, _, err) say("%s", err) end)
r:on("error", function(err) say("%s", err) end)
r:start()

local function show()
  local slots = {}
  for id in pairs(r:servers()) do slots[id] = {} end
  for _, socket in ipairs(r:sockets()) do
    table.insert(slots[socket.id], socket.slot)
  end
  local ids = {}
  for id in pairs(slots) do ids[#ids + 1] = id end
  table.sort(ids)
  print(("\n  %-20s %4s  %s"):format("server", "kept", "slots"))
  for _, id in ipairs(ids) do
    local list = table.concat(slots[id], " ")
    print(("  %-20s %4d  %s"):format(id, #slots[id], list))
  end
  io.write "\n"
  if not io.stdout:flush() then host.stop() end -- the reader has gone
end
uv.new_timer():start(1000, 1000, show)
host.on("unload", function()
  if #r:sockets() > 0 then show() end -- none, once a new policy has them
end)
