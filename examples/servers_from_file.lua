-- Follows a file of servers, one `id host port` a line: what is added to it is
-- roved to, what is taken out is dropped. Its argument is the file:
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
r:on("unreachable", function(_, _, err)
  host.log.warn("unreachable", { error = tostring(err) })
end)

r:on("error", function(err)
  host.log.warn("error", { error = tostring(err) })
end)
r:start()

local function follow()
  local file, message = io.open(path)
  if not file then
    return host.log.error("cannot read servers", { error = message })
  end
  local listed = {}
  for line in file:lines() do
    local id, name, port = line:match "^(%S+)%s+(%S+)%s+(%d+)%s*$"
    if id then
      listed[id] = { host = name, port = tonumber(port) }
    elseif line:find "%S" then
      host.log.warn("not 'id host port'", { file = path, line = line })
    end
  end
  file:close()

  for id in pairs(r:servers()) do
    if not listed[id] then
      r:dropServer(id)
      host.log.info("dropped", { id = id })
    end
  end
  for id, server in pairs(listed) do
    if not r:servers()[id] then host.log.info("added", { id = id }) end
    local ok, err = pcall(r.addServer, r, id, server) -- a wrong port, say
    if not ok then host.log.warn("wrong server", { error = err }) end
  end
end

-- Looking at the file five times a second sees it however it was replaced.
-- What it looked like is noted before it is read, so no change is missed.
local seen
local function look()
  local stat = uv.fs_stat(path)
  local now = stat and table.concat({ stat.ino, stat.size, stat.mtime.sec,
    stat.mtime.nsec }, " ") or "no file"
  if now == seen then return end
  seen = now
  follow()
end
look()
uv.new_timer():start(200, 200, look)
