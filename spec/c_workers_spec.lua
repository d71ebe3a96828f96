-- Threads, by the headers. `make tsan` runs these, too.

local fleet = require("support.certificates").fleet()
local programs = require "support.programs"
local support = require "support"
local uv = require "luv"

-- What fronts promise holds wherever their pairs run. The first are what is
-- least like it is on the loop; what takes long is run where it shows most.
local names = { "front_drain", "front_tls", "front_proxy", "nested" }
local is_tsan = support.EXECUTABLE:find "/tsan/"
if is_tsan or not support.WATCHED then names[#names + 1] = "front" end
if is_tsan then names[#names + 1] = "relay_tls"
elseif not support.WATCHED then names[#names + 1] = "front_ghost" end

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
