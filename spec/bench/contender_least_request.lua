-- See contenders.lua.
require "contenders".run "leastRequest"
