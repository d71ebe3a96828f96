-- The virtual kernel behind `simulate`. What programs of spec/programs check on
-- Linux is so on it, too: the same files, which do not know where they run.

local programs = require "support.programs"
local support = require "support"

-- What cannot be so in virtual time, or with descriptors that are virtual.
local EXCEPT = {
  ["a relay has nothing to do where nothing moves"] = "CPU time",
  ["a front has a descriptor for a backend while there are no descriptors"] =
    "a copy of a real descriptor",
  ["an attempt takes nothing of a cancelled one that a child process still "
    .. "holds"] = "processes",
}

-- valgrind knows no coroutines.
if support.EXECUTABLE:find "/valgrind/" then return end

describe("The virtual kernel:", function()
  for _, case in ipairs(programs.cases "kernel") do it(case.says, case.run) end
end)

describe("On Linux,", function()
  for _, case in ipairs(programs.cases "calls") do it(case.says, case.run) end
end)

-- Under a sanitizer, those that reach most of the kernel.
local all = { "calls", "relay", "front", "socket", "socket_write", "rover",
  "attempt", "front_drain", "front_proxy", "proxy", "nested" }

describe("On a virtual kernel,", function()
  for i, name in ipairs(all) do
    if i > 3 and support.WATCHED then break end
    for _, case in ipairs(programs.cases(name, true)) do
      if not EXCEPT[case.says] then it(case.says, case.run) end
    end
  end
end)
