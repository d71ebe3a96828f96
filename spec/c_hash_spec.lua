local programs = require "support.programs"

describe("In C,", function()
  for _, case in ipairs(programs.cases "hash") do it(case.says, case.run) end
end)
