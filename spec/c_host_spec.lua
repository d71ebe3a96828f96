local programs = require "support.programs"

describe("In C,", function()
  for _, name in ipairs { "host", "host_reload", "host_call", "host_close",
      "host_report" } do
    for _, case in ipairs(programs.cases(name)) do it(case.says, case.run) end
  end
end)
