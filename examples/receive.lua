-- Receives the sockets that pass.c passes: listens for one sender at a Unix
-- socket, whose path is the argument, says hello on each connection, and prints
-- the answers. Ends when the sender and all connections have.

local uv = require "luv"

io.stdout:setvbuf "line"
local listener = uv.new_pipe(false)
assert(listener:bind(assert(arg[1], "where to listen? add a path")))

-- A descriptor has arrived, along with a line that is its slot.
local function received(channel, line)
  local slot = line:match "%d+"
  local stream = uv.new_tcp()
  assert(channel:accept(stream))
  stream:write "hello"
  stream:read_start(function(err, chunk)
    print(("slot %s: %s"):format(slot, chunk or err or "end"))
    if not chunk then stream:close() end
  end)
end

assert(listener:listen(1, function(failed)
  assert(not failed, failed)
  local channel = uv.new_pipe(true) -- for descriptors
  assert(listener:accept(channel))
  listener:close()
  channel:read_start(function(err, line)
    if line then received(channel, line) else channel:close() end
    assert(not err, err)
  end)
end))
uv.run()
