-- See contenders.lua.
require "contenders".run "peakEwma"
