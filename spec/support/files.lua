-- Temporary files for tests, removed when the test ends.

local uv = require "luv"
local loop = require "support.loop"

local files = {}

--- Removes a directory and all that is in it.
-- @param path its path
function files.remove(path)
  local scan = uv.fs_scandir(path)
  while scan do
    local name, kind = uv.fs_scandir_next(scan)
    if not name then break end
    name = path .. "/" .. name
    local unlink = kind == "directory" and files.remove or uv.fs_unlink
    assert(unlink(name))
  end
  return assert(uv.fs_rmdir(path))
end

--- Makes an empty directory.
-- @return its path, absolute
function files.tmpdir()
  local path = assert(uv.fs_mkdtemp(uv.os_tmpdir() .. "/callosum.XXXXXX"))
  loop.atEnd(function() files.remove(path) end)
  return path
end

--- Writes a file.
-- @param path where
-- @param content a string
-- @return the path
function files.write(path, content)
  local file = assert(io.open(path, "wb"))
  assert(file:write(content))
  assert(file:close())
  return path
end

--- Writes a temporary file.
-- @param content a string
-- @param name its name, without folder ("policy.lua")
-- @return its path, absolute
function files.tmpfile(content, name)
  return files.write(files.tmpdir() .. "/" .. (name or "policy.lua"), content)
end

--- Makes a locale, "comma", whose decimal point is one.
-- @return variables of the environment in which os.setlocale finds it, or nil
--   if none can be made
function files.commaLocale()
  local dir = files.tmpdir()
  local source = files.write(dir .. "/source", [[
LC_NUMERIC
decimal_point ","
thousands_sep ""
grouping -1
END LC_NUMERIC
]])
  -- It warns of what else a locale has.
  os.execute(("cd %s && localedef -c -i %s -f ANSI_X3.4-1968 ./comma "
    .. ">/dev/null 2>&1"):format(dir, source))
  if not uv.fs_stat(dir .. "/comma/LC_NUMERIC") then return end
  return { LOCPATH = dir }
end

return files
