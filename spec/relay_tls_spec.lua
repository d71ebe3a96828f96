-- Relays and fronts with TLS between them: spec/programs/relay_tls.c.

local uv = require "luv"

local fleet = require("support.certificates").fleet()
local programs = require "support.programs"

-- Those that the program uses, in a folder that it is told.
local KINDS = { "ca", "server", "client" }

describe("between a client and a backend,", function()
  setup(function()
    for _, kind in ipairs(KINDS) do assert(fleet[kind]) end
    uv.os_setenv("CERTIFICATES", fleet.folder)
  end)

  teardown(function() uv.os_unsetenv "CERTIFICATES" end)

  for _, case in ipairs(programs.cases "relay_tls") do
    it(case.says, case.run)
  end
end)
