local programs = require "support.programs"

describe("In C,", function()
  for _, case in ipairs(programs.cases "workers") do it(case.says, case.run) end
end)

-- What a relay promises holds wherever its pairs run.
describe("Over workers,", function()
  for _, case in ipairs(programs.cases("relay", false, 2)) do
    -- With workers nothing waits for the loop.
    if not case.says:find "loop was held up" then it(case.says, case.run) end
  end
end)
