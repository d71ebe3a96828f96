-- A host of `make balance BALANCE=fronts`: a relay whose clients get the
-- connections of a pool. Says on which port it listens. Its arguments: the
-- ports of the fronts.

local host = require "callosum.host"
local pool = require "callosum.pool"
local relay = require "callosum.relay"
local rover = require "callosum.rover"
local uv = require "luv"

local r = rover.new()
for _, port in ipairs(host.args) do
  r:addServer(port, { host = "127.0.0.1", port = math.tointeger(port) })
end
local p = pool.new { maxSlots = 10 }:attach(r)
r:start()

local door = relay.new {
  listen = { port = 0 }, pick = function() return p:awaitConnection() end,
}
-- It listens once this has run.
uv.new_timer():start(0, 0, function()
  print(select(2, door:address()))
  io.stdout:flush()
end)
