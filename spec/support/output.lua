-- busted's own output for terminals and pipes, and after it one line that
-- scripts can rely on: `N passed, N failed`, with `, N skipped` if any were.
-- Whatever busted calls an error (a spec file with a syntax error, no spec at
-- all, a failing `setup`) has failed.

local busted = require "busted"
local term = require "term"

return function(options)
  local name = term.isatty(io.stdout) and "utfTerminal" or "plainTerminal"
  local handler = require("busted.outputHandlers." .. name)(options)
  local passed, failed, skipped = 0, 0, 0

  -- With --repeat, busted forgets its counts between one run and the next.
  busted.subscribe({ "suite", "end" }, function()
    passed = passed + handler.successesCount
    failed = failed + handler.failuresCount + handler.errorsCount
    skipped = skipped + handler.pendingsCount
    return nil, true
  end)

  busted.subscribe({ "exit" }, function()
    local line = ("\n%d passed, %d failed"):format(passed, failed)
    if skipped > 0 then line = line .. (", %d skipped"):format(skipped) end
    print(line)
    return nil, true
  end)

  return handler
end
