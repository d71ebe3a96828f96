-- The C programs of spec/programs, which check what the headers promise:
-- `require "support.programs"`. Each is a table of cases, and lists it when
-- called without arguments.

local server = require "callosum.server"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"

local programs = {}

-- The Makefile builds them; busted alone does not.
local FOLDER = command.EXECUTABLE:gsub("[^/]*$", "programs/")

-- A Callosum server that echoes, for the test; returns its port.
local function echoing()
  local s = assert(server.new { host = "127.0.0.1", port = 0 })
  s:on("connection", function(conn)
    conn:on("data", function(chunk) conn:write(chunk) end)
  end)
  loop.atEnd(function() s:close() end)
  return select(2, s:address())
end

-- What runs them on a virtual kernel instead, with a server of its own. A
-- sanitizer's functions stay behind it.
local VIRTUAL = { LD_PRELOAD = FOLDER .. "virtual.so",
  ASAN_OPTIONS = "verify_asan_link_order=0" }
local VIRTUAL_PORT = 4040

-- Runs cases. They say nothing unless something is wrong. What a sanitizer
-- wants preloaded is for busted.
local function run(path, numbers, virtual, workers)
  local port = virtual and VIRTUAL_PORT or echoing()
  local env = virtual and VIRTUAL
    or { LD_PRELOAD = false, WORKERS = workers and tostring(workers) }
  local child = process.spawn(path, { table.concat(numbers, " "),
    tostring(port), files.tmpdir() }, { env = env })
  local code, signal = child:wait(loop.TIMEOUT * math.min(#numbers, 10))
  if code ~= 0 or signal ~= 0 or child.output ~= "" then
    error(("%s\n%s ended with code %d and signal %d"):format(child.output,
      child.command, code, signal), 0)
  end
end

--- Lists the cases of a program.
-- @param name of spec/programs/NAME.c
-- @param virtual whether to run them on the virtual kernel of src/sim
-- @param workers how many their relays and fronts have, if they have some
-- @return an array of tables: `says` (what is so, a sentence) and `run`, which
--   raises an error if it is not; under valgrind, which takes a second to start
--   a program, a single one for them all
function programs.cases(name, virtual, workers)
  local path, list, together = FOLDER .. name, {}, {}
  local pipe = assert(io.popen("LD_PRELOAD= exec " .. path))
  for line in pipe:lines() do
    local number = #list + 1
    list[number] = { says = line, run = function()
      run(path, { number }, virtual, workers)
    end }
    -- valgrind accepts what a lowered limit forbids, and closes it then.
    if not line:find "while there are no descriptors" then
      together[#together + 1] = number
    end
  end
  if not pipe:close() or #list == 0 then
    error(("%s lists no cases: build it with make programs"):format(path), 2)
  end
  if FOLDER:find "/valgrind/" then
    return { { says = "all that " .. name .. " checks is so",
      run = function() run(path, together, virtual, workers) end } }
  end
  return list
end

return programs
