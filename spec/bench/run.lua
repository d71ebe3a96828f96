-- Measures all that is promised, beside the alternatives and the limit, and
-- prints one table, in Markdown. Run by `make bench`, in the source tree.
-- Arguments: the folder of the built programs, the folder for plots, and the
-- figures to run, if not all.

package.path = "./?.lua;" .. package.path

local harness = require "spec.bench.harness"
local report = require "spec.bench.report"

local FIGURES = { "handshakes", "memory", "servers", "start", "requests",
  "relay", "workers", "front", "tls", "reload", "idle", "limits", "discover",
  "simulate", "admin" }

harness.BUILD = arg[1] or harness.BUILD
report.PLOTS = arg[2] or report.PLOTS
local wanted = #arg > 2 and { table.unpack(arg, 3) } or FIGURES

print(report.machine() .. "\n")
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
