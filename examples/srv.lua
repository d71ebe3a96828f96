-- A pool of connections to the servers of a service in DNS: those of its SRV
-- records with the lowest priority. If DNS fails, or has no records, the
-- servers stay as they are. Its arguments are the service, and the DNS server,
-- if not that of /etc/resolv.conf:
--
--   dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts \
--     --listen-address 127.0.0.1 --bind-interfaces --port 5353 \
--     --srv-host=_web._tcp.test,one.test,4040,0,10 \
--     --srv-host=_web._tcp.test,one.test,4041,0,20 \
--     --host-record=one.test,127.0.0.1 &
--   build/callosum-rover serve 4040 4041 -- \
--     build/callosum-rover run examples/srv.lua _web._tcp.test 127.0.0.1:5353

local discover = require "callosum.discover"
local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"

local service = assert(host.args[1], "which service? add its name")
local r = rover.new {}
pool.new { maxSlots = 4 }:attach(r)
local source = discover.srv { service = service, servers = host.args[2] }

source:on("update", function(added, dropped)
  for _, id in ipairs(added) do
    host.log.info("added", { id = id, weight = r:servers()[id].weight })
  end
  for _, id in ipairs(dropped) do host.log.info("dropped", { id = id }) end
end)
source:on("error", function(err) host.log.warn(tostring(err)) end)
r:on("unreachable", function(_, _, err) host.log.warn(tostring(err)) end)
r:on("error", function(err) host.log.warn(tostring(err)) end)

source:attach(r)
r:start()
