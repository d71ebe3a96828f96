-- luacheck: globals report listen send
local rover = require "callosum.rover"

local one = { host = "127.0.0.1", port = tonumber((...)) }
local r = rover.new { servers = { one = one } }
local kept

r:on("connection", function(_, socket)
  kept = socket
  socket:on("data", function() report "done" end)
  socket:on("close", function(err)
    report(err and err.code == "ENOMEM" and "lost" or "closed")
  end)
  report "done"
end)

function listen() r:connect() end
-- So much that it becomes a string that Lua does not have yet.
function send() kept:write(("p"):rep(100)) end

listen()
