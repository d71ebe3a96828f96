-- libcallosum-tls, by its headers: spec/programs/tls.c, what it refuses, what
-- it does without memory, and in rovers.

local uv = require "luv"

local faults = require "support.faults"
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
    -- It would last longer than what has signed it.
    fleet.ca:intermediate { name = "soonCa", ends = 5 }
      :issue { name = "soonChained" }
    lock()
    uv.os_setenv("CERTIFICATES", fleet.folder)
    if support.WATCHED then uv.os_setenv("STEP", "1501") end
  end)

  teardown(function()
    uv.os_unsetenv "CERTIFICATES"
    uv.os_unsetenv "STEP"
  end)

  -- But for new keys in the middle, which the kernel does not know to follow.
  describe("where the kernel does the records", function()
    local ktls

    setup(function() ktls = faults.compile "ktls" end)

    teardown(function() os.remove(ktls) end)

    local path = support.EXECUTABLE:gsub("[^/]*$", "programs/tls")
    local number = 0
    for _, case in ipairs(programs.cases "tls") do
      number = number + 1
      local own = tostring(number)
      if not support.WATCHED and (case.says:find "^a connection"
          or case.says:find "openssl") then
        it(case.says, function()
          local child = support.spawn(path, { own, "1", support.tmpdir() },
            { env = { LD_PRELOAD = ktls } })
          assert.same({ 0, 0 }, { child:wait() }, child.output)
          assert.matches("^ktls: %d+\n$", child.output)
        end)
      end
    end
  end)

  for _, name in ipairs { "tls", "tls_records", "tls_refused", "tls_memory",
    "rover_tls" } do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
