-- Policies for specs on status and steering, run by spec/programs/scrape.c.

local uv = require "luv"
local loop = require "support.loop"
local scrape = require "support.scrape"

local asking = {}

-- The servers "a", "b", ... are at the ports among the arguments. ask(r, "a",
-- "b") makes two attempts.
local PREFIX = [[
local rover, host = require "callosum.rover", require "callosum.host"
local servers = {}
for i, arg in ipairs(host.args) do
  local id, port = ("abcdefgh"):sub(i, i), tonumber(arg)
  servers[id] = port and { host = "127.0.0.1", port = port }
end
local options = { servers = servers }
local function ask(r, ...)
  for _, id in ipairs { ... } do r:connect(id) end
end
]]

--- Makes a server that gives slots.
-- @return the server, its port
function asking.server()
  local server = assert(require "callosum.server".new())
  loop.atEnd(function() server:close() end)
  return server, select(2, server:address())
end

--- Runs a policy.
-- @param script what follows the above
-- @param count nil, or how many servers there are (2)
-- @param options nil, or those of scrape.run
-- @return the host, and its servers
function asking.run(script, count, options)
  local servers, args = {}, {}
  for i = 1, count or 2 do
    local port
    servers[i], port = asking.server()
    args[i] = tostring(port)
  end
  options = options or {}
  options.args = args
  return scrape.run(PREFIX .. script, options), servers
end

--- The text of a policy, for host:reload().
function asking.script(script) return PREFIX .. script end

--- Asks for the status until it is as expected.
-- @param host the host
-- @param judge says whether it is, given the first rover, its servers by id,
--   and the whole status
-- @return that
function asking.await(host, judge)
  local from = uv.hrtime()
  while true do
    local status = host:status()
    local rover, servers = status.rovers[1], {}
    for _, each in ipairs(rover and rover.servers or {}) do
      servers[each.id] = each
    end
    if judge(rover, servers, status) then return rover, servers, status end
    if uv.hrtime() - from > loop.TIMEOUT * 1e9 then
      error("waited in vain; the last status: "
        .. require "dkjson".encode(status), 2)
    end
  end
end

return asking
