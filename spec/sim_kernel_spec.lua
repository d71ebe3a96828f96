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

describe("On a virtual kernel,", function()
  for _, name in ipairs { "rover", "attempt", "socket", "socket_write", "relay",
      "front", "front_drain", "front_proxy", "proxy", "nested" } do
    for _, case in ipairs(programs.cases(name, true)) do
      if not EXCEPT[case.says] then it(case.says, case.run) end
    end
  end
end)
