-- A pool of connections to the servers that a file lists, one a line, or as
-- Prometheus' file_sd does. The file is watched. If it is empty, cut off or
-- wrong, the servers stay as they are. Its argument is the file:
--
--   printf 'localhost:4040\nlocalhost:4041\n' > /tmp/servers
--   build/callosum-rover serve 4040 4041 -- \
--     build/callosum-rover run examples/file.lua /tmp/servers

local discover = require "callosum.discover"
local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"

local path = assert(host.args[1], "which file? add its name to the command")
local r = rover.new { rovingInterval = 500 }
pool.new { maxSlots = 4 }:attach(r)
local source = discover.file { path = path }

source:on("update", function(added, dropped)
  for _, id in ipairs(added) do host.log.info("added", { id = id }) end
  for _, id in ipairs(dropped) do host.log.info("dropped", { id = id }) end
end)
source:on("error", function(err) host.log.warn(tostring(err)) end)
r:on("connection", function(slot, _, id)
  host.log.info("connection", { id = id, slot = slot })
end)
r:on("unreachable", function(_, _, err) host.log.warn(tostring(err)) end)
r:on("error", function(err) host.log.warn(tostring(err)) end)

source:attach(r)
r:start()
