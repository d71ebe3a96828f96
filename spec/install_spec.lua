local installed = require "support.installed"

local PROGRAM = [[
#include <callosum/rover.h>
#include <stdio.h>
int main(void) {
  puts(rover_version_string());
  return 0;
}
]]

describe("make install", function()
  for _, cc in ipairs { "gcc", "clang", "g++", "clang++" } do
    for _, static in ipairs { false, true } do
      it("gives a library to " .. cc .. (static and ", static" or ", shared"),
          function()
        local program = installed.compile(PROGRAM, { cc = cc, static = static })
        local child = installed.spawn(program)
        assert.same({ 0, 0 }, { child:wait() }, child.output)
        assert.equal("0.1.0\n", child.output)
      end)
    end
  end

  it("gives lua5.4 a module", function()
    local child = installed.spawn("lua5.4", { "-e",
      "print(require 'callosum.rover'._VERSION)" })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)
end)
