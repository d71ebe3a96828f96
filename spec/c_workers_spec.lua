-- What is done in threads, by the headers; `make tsan` runs these, too.

local fleet = require("support.certificates").fleet()
local programs = require "support.programs"
local uv = require "luv"

describe("In C,", function()
  setup(function()
    for _, kind in ipairs { "ca", "server", "client", "uriClient" } do
      assert(fleet[kind])
    end
    uv.os_setenv("CERTIFICATES", fleet.folder)
  end)

  teardown(function() uv.os_unsetenv "CERTIFICATES" end)

  for _, name in ipairs { "tls_threads" } do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
