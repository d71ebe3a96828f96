-- A pool of connections to the servers that have put their addresses into etcd,
-- under keys that begin with /web/. Changes take effect at once:
--
--   etcd --data-dir "$(mktemp -d)" 2>/dev/null &
--   put() {
--     key=$(printf "$1" | base64) value=$(printf "$2" | base64)
--     curl -s --retry 9 --retry-connrefused http://127.0.0.1:2379/v3/kv/put \
--       -d "{\"key\": \"$key\", \"value\": \"$value\"}"
--   }
--   put /web/one 127.0.0.1:4040
--   put /web/two 127.0.0.1:4041
--   build/callosum-rover serve 4040 4041 -- \
--     build/callosum-rover run examples/etcd.lua http://127.0.0.1:2379

local discover = require "callosum.discover"
local host = require "callosum.host"
local pool = require "callosum.pool"
local rover = require "callosum.rover"

local r = rover.new {}
pool.new { maxSlots = 4 }:attach(r)
local source = discover.etcd { url = host.args[1], prefix = "/web/",
  cache = os.getenv "CACHE" } -- a file: for a start without etcd

source:on("update", function(added, dropped)
  for _, id in ipairs(added) do host.log.info("added", { id = id }) end
  for _, id in ipairs(dropped) do host.log.info("dropped", { id = id }) end
end)
source:on("error", function(err) host.log.warn(tostring(err)) end)
r:on("unreachable", function(_, _, err) host.log.warn(tostring(err)) end)
r:on("error", function(err) host.log.warn(tostring(err)) end)

source:attach(r)
r:start()
