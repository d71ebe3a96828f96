-- luacheck: globals report
local rover = require "callosum.rover"
local uv = require "luv"

rover.new {}:on("error", print)
uv.new_timer():start(0, 0, function() report "done" end)
