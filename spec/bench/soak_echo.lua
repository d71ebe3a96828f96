-- The echo server of the soaks: says its port, and for each line that it is
-- sent, what it has seen: connections opened, closed, bytes. Ends with its
-- standard input. Its argument is the folder of the build.

package.path = "lua/?.lua;" .. package.path
package.cpath = arg[1] .. "/?.so;" .. package.cpath
local uv = require "luv"

local server = require "callosum.server".new { backlog = 4096 }
local opened, closed, bytes = 0, 0, 0

local function say(...)
  print(...)
  io.stdout:flush()
end

server:on("connection", function(conn)
  opened = opened + 1
  conn:on("data", function(chunk)
    bytes = bytes + #chunk
    conn:write(chunk)
  end)
  conn:on("close", function() closed = closed + 1 end)
end)

local stdin = uv.new_pipe()
stdin:open(0)
stdin:read_start(function(_, chunk)
  if not chunk then os.exit(0) end
  say(opened, closed, bytes)
end)
say((select(2, server:address())))
uv.run()
