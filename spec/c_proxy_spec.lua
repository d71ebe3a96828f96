local programs = require "support.programs"

describe("In C,", function()
  for _, name in ipairs { "cidr", "proxy" } do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
