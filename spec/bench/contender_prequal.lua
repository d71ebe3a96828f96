-- See prequal.lua.
require "contenders".run "prequal"
