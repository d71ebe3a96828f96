local programs = require "support.programs"
local support = require "support"
local uv = require "luv"

local fleet = require("support.certificates").fleet()

local names = { "front", "front_drain", "front_proxy", "front_tls", "nested" }
-- valgrind does not know the ioctl by which a peer vanishes.
if not support.EXECUTABLE:find "/valgrind/" then
  names[#names + 1] = "front_ghost"
end

describe("In C,", function()
  setup(function()
    for _, kind in ipairs { "ca", "server", "client" } do
      assert(fleet[kind])
    end
    uv.os_setenv("CERTIFICATES", fleet.folder)
  end)

  teardown(function() uv.os_unsetenv "CERTIFICATES" end)

  for _, name in ipairs(names) do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
