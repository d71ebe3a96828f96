-- Attempts to one server, beside sources whose look-ups hang, or without them:
-- HOW PORT SECONDS, where HOW is "beside" or "alone". Prints their number.

local uv = require "luv"
local discover = require "callosum.discover"
local host = require "callosum.host"

local how, port, seconds = table.unpack(host.args)

local r = require "callosum.rover".new { rovingInterval = 2,
  servers = { one = { host = "127.0.0.1", port = math.tointeger(port) } } }
r:on("connection", function(_, socket) socket:close() end)

-- Nobody reads what comes to these, nor answers.
local mute, silent = uv.new_udp(), uv.new_tcp()
assert(mute:bind("127.0.0.1", 0))
assert(silent:bind("127.0.0.1", 0))
assert(silent:listen(128, function() end))

local dns = "127.0.0.1:" .. mute:getsockname().port
local url = "http://127.0.0.1:" .. silent:getsockname().port
local hanging = {
  dns = { host = "web.test", port = 80, servers = dns },
  srv = { service = "_web._tcp.test", servers = dns },
  http = { url = url }, consul = { service = "web", url = url },
  etcd = { prefix = "/web/", url = url },
}
if how == "beside" then
  for kind, options in pairs(hanging) do
    options.name, options.timeout = kind, 500
    local source = discover[kind](options)
    source:on("error", function() end)
    source:attach(r)
  end
end

r:start()
local timer = uv.new_timer()
timer:start(math.tointeger(seconds) * 1000, 0, function()
  print(r:stats().connections)
  host.stop()
end)
