-- Measures all that is promised, beside the alternatives and the limit, and
-- prints one table. Run by `make bench`, in the source tree. Arguments: the
-- folder of the built programs, and the figures to run, if not all.

package.path = "./?.lua;" .. package.path

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local FIGURES = { "handshakes" }

harness.BUILD = arg[1] or harness.BUILD
local wanted = #arg > 1 and { table.unpack(arg, 2) } or FIGURES

report.head()
local failed = 0
for _, name in ipairs(wanted) do
  local ok, message = xpcall(harness.within, debug.traceback,
    require("spec.bench." .. name))
  if not ok then
    failed = failed + 1
    io.stderr:write(name, ": ", message, "\n")
  end
end
report.foot()
os.exit(failed == 0)
