-- What the program behind `callosum-rover simulate` runs: reads the command
-- line and prints what there is to say about that.

local options = require "callosum.simulate.options"
local simulate = require "callosum.simulate"

--- @param words the command line
-- @param stage the functions of src/sim/stage.c
-- @return the exit status
return function(words, stage)
  local given, message = options.parse(words)
  if not given then
    io.stderr:write("callosum-rover simulate: ", message, "\n", options.USAGE)
    return 2
  end
  if given.help then
    io.stdout:write(options.help(simulate.help()))
    return 0
  end
  return simulate.main(given, stage)
end
