-- Gives slots at one port for a server at another that knows nothing of
-- Callosum, so that rovers can balance its connections:
--
--   build/callosum-rover run --watch examples/front.lua 4040 5432 /tmp/drain
--
-- The front alone is what `callosum-rover front 4040 5432` runs. While the file
-- /tmp/drain exists, the server is drained, and no request is lost; while this
-- machine is busy, its weight is halved.

local front = require "callosum.front"
local host = require "callosum.host"
local uv = require "luv"

local port, backend, file = table.unpack(host.args)

local f = front.new {
  listen = { port = tonumber(port) },
  backend = { port = tonumber(backend) },
  drainTimeout = 10000,
}
f:on("error", function(err) host.log.error(err.message) end)
f:on("backend", function(up, err)
  if up then host.log.info "the server is back"
  else host.log.warn("the server is down", { error = err.message }) end
end)

-- Calls `fn` with true or false whenever `check()` begins or ceases to hold.
local function whenever(check, fn)
  local was = false
  local function look()
    local is = check()
    if is ~= was then fn(is) end
    was = is
  end
  uv.new_timer():start(0, 500, look)
end

whenever(function() return file and uv.fs_stat(file) ~= nil end,
  function(drains)
    host.log.info(drains and "draining" or "in use", f:stats())
    if drains then f:drain() else f:resume() end
  end)

whenever(function() return uv.loadavg() > #uv.cpu_info() end, function(busy)
  f:setWeight(busy and 0.5 or 1)
end)

host.on("unload", function()
  local stats = f:stats()
  print(("%d connections, %d of them used")
    :format(stats.accepted, stats.joined))
end)
