local programs = require "support.programs"
local support = require "support"

local names = { "rover", "attempt", "attempt_batch", "socket", "socket_write",
  "socket_batch", "rover_close", "memory", "options", "relay", "server" }
-- valgrind does not know the ioctl by which a peer vanishes.
if not support.EXECUTABLE:find "/valgrind/" then names[#names + 1] = "ghost" end

describe("In C,", function()
  for _, name in ipairs(names) do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
