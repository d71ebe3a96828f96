local programs = require "support.programs"

describe("In C,", function()
  for _, case in ipairs(programs.cases "hosts") do it(case.says, case.run) end
end)
