-- libcallosum-tls, by its headers: spec/programs/tls.c, what it refuses, and
-- what it does without memory.

local uv = require "luv"

local fleet = require("support.certificates").fleet()
local programs = require "support.programs"
local support = require "support"

-- Those that the programs use, in a folder that they are told.
local KINDS = { "ca", "server", "rsaServer", "chained", "expired", "notYet",
  "wrongName", "commonNameOnly", "strange", "wrongPurpose", "soon", "client",
  "expiredClient", "strangeClient", "serverAsClient", "wrongClient",
  "namelessClient", "uriClient", "addressClient", "revokedClient",
  "chainedClient", "crl", "expiredCrl", "intermediateCrl" }

-- A key with a passphrase.
local function lock()
  assert(os.execute(("LD_PRELOAD= openssl pkey -in '%s' -out '%s/locked.key' "
    .. "-aes128 -passout pass:secret"):format(fleet.server.key, fleet.folder)))
end

describe("libcallosum-tls", function()
  setup(function()
    for _, kind in ipairs(KINDS) do assert(fleet[kind]) end
    lock()
    uv.os_setenv("CERTIFICATES", fleet.folder)
    if support.WATCHED then uv.os_setenv("STEP", "1501") end
  end)

  teardown(function()
    uv.os_unsetenv "CERTIFICATES"
    uv.os_unsetenv "STEP"
  end)

  for _, name in ipairs { "tls", "tls_refused", "tls_memory" } do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
