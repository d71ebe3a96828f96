-- Follows a file of servers, one `id host port` a line. If it is empty, cut
-- off, wrong or being written, they stay as they are. Its argument is the file:
--
--   printf 'one localhost 4040\ntwo localhost 4041\n' > /tmp/servers
--   build/callosum-rover serve 4040 4041 -- \
--     build/callosum-rover run examples/servers_from_file.lua /tmp/servers

local host = require "callosum.host"
local rover = require "callosum.rover"
local uv = require "luv"

local path = assert(host.args[1], "which file? add its name to the command")
local r = rover.new { rovingInterval = 500 }

r:on("connection", function(slot, socket, id)
  host.log.info("connection", { id = id, slot = slot })
  if slot > 2 then socket:close() end
end)
r:on("unreachable", function(_, _, err) host.log.warn(tostring(err)) end)
r:on("error", function(err) host.log.warn(tostring(err)) end)

local function read()
  local file <close>, message = io.open(path)
  return file and file:read "a", message
end

local function parse(text)
  local servers = {}
  for line in text:gmatch "[^\n]*%S[^\n]*\n?" do
    local id, name, port = line:match "^(%S+)%s+(%S+)%s+(%d+)%s*\n$"
    if not id or servers[id] then
      error(("not 'id host port', or one more of that id: %q"):format(line), 0)
    end
    servers[id] = { host = name, port = tonumber(port) }
  end
  return next(servers) and servers or error("it lists no servers", 0)
end

local function follow(text, message)
  local set, added, dropped, changed = pcall(function()
    return r:setServers(parse(assert(text, message)))
  end)
  if not set then
    host.log.warn("servers stay as they are", { error = added })
  elseif added + dropped + changed > 0 then
    host.log.info("servers",
      { added = added, dropped = dropped, changed = changed })
  end
end

follow(read())
r:start()

local last, done = (read())
uv.new_timer():start(200, 200, function() -- believes what stays for 200 ms
  local text, message = read()
  if text == last and text ~= done then follow(text, message) done = text end
  last = text
end)
