-- What one would write without a rover: COUNT handshakes, 64 in flight, in
-- plain Lua on luv. Prints handshakes a second.

local uv = require "luv"

local count, ports = tonumber(arg[1]), { table.unpack(arg, 2) }
local begun, done = 0, 0
local from = uv.hrtime()
local begin

local function finished(tcp, slot)
  assert(slot, "no slot line")
  tcp:close()
  done = done + 1
  if begun < count then begin() end
  if done == count then
    print(("%.0f"):format(done / ((uv.hrtime() - from) / 1e9)))
  end
end

function begin()
  begun = begun + 1
  local tcp = uv.new_tcp()
  local line = ""
  tcp:connect("127.0.0.1", tonumber(ports[math.random(#ports)]), function(err)
    assert(not err, err)
    tcp:read_start(function(readErr, chunk)
      assert(not readErr, readErr)
      line = line .. (chunk or "")
      local slot = line:match "^(%d+)\r\n"
      if slot or not chunk then finished(tcp, tonumber(slot)) end
    end)
  end)
end

for _ = 1, 64 do begin() end
uv.run()
