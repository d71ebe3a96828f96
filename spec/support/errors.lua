-- Checks of errors.

local errors = {}

--- Checks that a function raises this error, and blames one of its own lines:
-- that is how misuse is reported.
-- @param fn a function with the misuse in its body
-- @param message the error without its position, all of it
function errors.misuse(fn, message)
  local ok, err = pcall(fn)
  if ok then error("no error was raised", 2) end
  local info = debug.getinfo(fn, "S")
  local source, line, text = tostring(err):match("^(.-):(%d+): (.*)$")
  if text ~= message then
    error(("the error is\n  %s\nand not\n  %s"):format(err, message), 2)
  end
  line = tonumber(line)
  if source ~= info.short_src or line < info.linedefined
      or line > info.lastlinedefined then
    error(("the error blames %s:%d and not its caller"):format(source, line), 2)
  end
end

return errors
