local programs = require "support.programs"
local support = require "support"

local names = { "rover", "attempt", "socket", "socket_write", "socket_batch",
  "rover_close", "memory", "options", "relay", "server" }
-- Under valgrind a turn of the loop is over before its batch, and it does not
-- know the ioctl by which a peer vanishes.
if not support.EXECUTABLE:find "/valgrind/" then
  table.insert(names, "attempt_batch")
  table.insert(names, "ghost")
end

describe("In C,", function()
  for _, name in ipairs(names) do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
