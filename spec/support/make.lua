-- make, as people run it.

local command = require "support.command"
local process = require "support.process"

local make = {}

--- How long it may take, as building may be part of it.
make.MAKING = 4 * require("support.loop").TIMEOUT

--- The variables for it. What a make that runs us tells its children is not for
-- the make we run, and a sanitizer's build is not what people run.
make.MAKE_ENV = { MAKEFLAGS = false, MFLAGS = false, MAKELEVEL = false,
  MAKEOVERRIDES = false, BUILD = false, B = false, SPEC = false,
  CFLAGS = false, LD_PRELOAD = false, PORTS = false, DURATION = false,
  PREFIX = false, LIBDIR = false, DESTDIR = false }

--- Starts make in the source tree.
-- @param args array of its arguments
-- @param env nil, or variables to set; false removes one
-- @return the child
function make.make(args, env)
  local own = {}
  for name, value in pairs(make.MAKE_ENV) do own[name] = value end
  for name, value in pairs(env or {}) do own[name] = value end
  return process.spawn("make", args, { cwd = command.ROOT, env = own })
end

return make
