-- A test of the README's policy, as a plain Lua program. Where policy.lua is:
--
--   busted --lua=lua5.4 examples/policy_spec.lua

local server = require "callosum.server"
local uv = require "luv"

it("keeps slots 0 to 9", function()
  local s = assert(server.new()) -- on any free port
  local _, port = s:address()
  local r = assert(loadfile "policy.lua")(port)
  r:setRovingInterval(1)
  repeat uv.run "once" until r:stats().closed > 0 -- slot 10
  assert.equal(10, #r:sockets())
  r:close()
  s:close()
  uv.run() -- until nothing is open
end)
