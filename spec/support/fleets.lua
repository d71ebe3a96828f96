-- A host with servers for specs of what is told of it: `require
-- "support.fleets"`.

local http = require "support.http"
local support = require "support"

local fleets = {}

-- What its policy is, before what a spec adds. Each server is asked by name, as
-- often as its argument says, and what it gives is kept.
local POLICY = [[
local host = require "callosum.host"
local rover = require "callosum.rover"
local r = rover.new()
local left = 0
r:on("unreachable", function() end)
r:on("error", function() end)
r:on("connection", function()
  left = left - 1
  if left == 0 then print "filled" end
end)
for _, arg in ipairs(host.args) do
  local id, port, count = arg:match "^(.-)=(%d+)*(%d+)$"
  r:addServer(id, { host = "127.0.0.1", port = tonumber(port) })
  if host.generation == 1 then
    for _ = 1, tonumber(count) do
      if tonumber(port) ~= 1 then left = left + 1 end
      r:connect(id)
    end
  end
end
io.stdout:setvbuf "no"
]]

--- Starts one, and waits until its connections are there.
-- @param servers array of { id, count, slot }: how many connections, all of
--   that slot; with slot false it is unreachable
-- @param options nil or a table: `script` (more of the policy), `flags` (of
--   run), `path` (of its admin)
-- @return the child, and the path of its admin
function fleets.start(servers, options)
  options = options or {}
  local args, filled = {}, false
  for i, each in ipairs(servers) do
    local id, count, slot = table.unpack(each)
    local port = 1
    if slot then
      port = support.serve { send = slot .. "\r\n" }.port
      filled = filled or count > 0
    end
    args[i] = ("%s=%d*%d"):format(id, port, count)
  end
  local flags = { "--admin", options.path or support.tmpdir() .. "/admin.sock",
    table.unpack(options.flags or {}) }
  local child = support.policy(POLICY .. (options.script or ""),
    { args = args, flags = flags })
  support.logged(child, "policy loaded")
  if filled then child:waitFor "filled\n" end
  return child, flags[2]
end

--- The status that it tells.
function fleets.status(path)
  return require "dkjson".decode((http.get(path, "/status")))
end

return fleets
