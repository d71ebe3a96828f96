-- Threads, by the headers. `make tsan` runs these, too.

local fleet = require("support.certificates").fleet()
local programs = require "support.programs"
local support = require "support"
local uv = require "luv"

-- What relays and fronts promise holds wherever their pairs run. The first few
-- are those that are least like what the loop does.
local names = { "front_drain", "front_tls", "relay_tls" }
if not support.WATCHED then
  names[#names + 1] = "front"
  names[#names + 1] = "front_ghost"
end

describe("Over workers,", function()
  setup(function()
    for _, kind in ipairs { "ca", "server", "client", "uriClient" } do
      assert(fleet[kind])
    end
    uv.os_setenv("CERTIFICATES", fleet.folder)
  end)

  teardown(function() uv.os_unsetenv "CERTIFICATES" end)

  for _, case in ipairs(programs.cases "tls_threads") do
    it(case.says, case.run)
  end

  for _, name in ipairs(names) do
    for _, case in ipairs(programs.cases(name, false, 2)) do
      it(case.says, case.run)
    end
  end
end)
