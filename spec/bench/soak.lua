-- What the soaks share: promises, and a host and echo servers as processes of
-- their own. A soak begins with soak.limit() and ends with soak.report().

local json = require "dkjson"
local uv = require "luv"

local soak = {}

-- Promises -------------------------------------------------------------------

local MANY = 20 -- faults in the log, to give up at

local promises, children = {}, {}
local control = os.tmpname() -- what the policy is to do

--- Makes a promise, which holds unless the function that this returns is
-- called, with a format and its values that tell why not.
function soak.promise(text)
  local promise = { text = text }
  promises[#promises + 1] = promise
  return function(...)
    promise[#promise + 1] = (...):format(select(2, ...))
  end
end

local quiet = soak.promise "nothing is logged as a warning or an error"
local orderly = soak.promise "the host ends in order"

local function clean()
  os.remove(control)
  for _, child in ipairs(children) do
    if not child.code then child.handle:kill "sigkill" end
  end
end

-- The sum of all soaks is made of such lines.
local function total(failed)
  print(("%d passed, %d failed"):format(#promises - failed, failed))
end

--- Gives up.
function soak.die(message)
  clean()
  io.stderr:write("soak: ", message, "\n")
  total(#promises)
  os.exit(1)
end

for _, name in ipairs { "sigint", "sigterm" } do
  uv.signal_start(uv.new_signal(), name, function() soak.die(name) end)
end

local limit = uv.new_timer()

--- Gives up after so many seconds.
function soak.limit(seconds)
  limit:start(seconds * 1000, 0, function()
    soak.die(("it took more than %d seconds"):format(seconds))
  end)
end

--- Tells which promises were broken, and ends with 1 if any was.
-- @param early whether that is before all could be looked at, so that those
--   count as broken too
function soak.report(early)
  clean()
  local failed = 0
  for _, promise in ipairs(promises) do
    if #promise > 0 then failed = failed + 1 end
    for i = 1, math.min(#promise, 5) do
      print(("BROKEN: %s: %s"):format(promise.text, promise[i]))
    end
    if #promise > 5 then print(("and %d times more"):format(#promise - 5)) end
  end
  total(early and #promises or failed)
  os.exit(failed == 0 and 0 or 1)
end

-- Processes ------------------------------------------------------------------

--- Runs the loop until that is so.
function soak.wait(done) while not done() do uv.run "once" end end

--- Runs the loop until then.
-- @param time in ns, as uv.hrtime() tells it
function soak.sleepUntil(time)
  local timer, over = uv.new_timer(), false
  -- Again and again, for if it is due at once, the loop waits for another.
  timer:start(math.max(0, math.ceil((time - uv.hrtime()) / 1e6)), 10,
    function() over = true end)
  soak.wait(function() return over end)
  timer:close()
end

-- Starts a program, which ends with us. `line` is called with each line of its
-- output.
local function spawn(line, descriptors, ...)
  local child = { stdin = uv.new_pipe() }
  local out, rest = uv.new_pipe(), ""
  child.handle, child.pid = uv.spawn("sh", {
    args = { "-c", "ulimit -Sn " .. descriptors .. [[;
      tied=$(command -v setpriv >/dev/null && echo setpriv --pdeathsig KILL)
      exec $tied "$@" 2>&1]], "sh", ... },
    stdio = { child.stdin, out, 2 },
  }, function(code, signal) child.code, child.signal = code, signal end)
  if not child.handle then soak.die(child.pid) end
  out:read_start(function(_, chunk)
    if not chunk then return out:close() end
    chunk = rest .. chunk
    local at = 1
    for text, after in chunk:gmatch "([^\n]*)\n()" do
      line(text)
      at = after
    end
    rest = chunk:sub(at)
  end)
  children[#children + 1] = child
  return child
end

--- How many descriptors a process has.
function soak.descriptors(pid)
  local count, each = 0, assert(uv.fs_scandir("/proc/" .. pid .. "/fd"))
  while uv.fs_scandir_next(each) do count = count + 1 end
  return count
end

--- Starts `count` echo servers.
-- @param build the folder of the build, for their modules in C
-- @return a table: `ports`, `ask()`, which returns how many connections they
--   saw open and close and how many bytes come, and `descriptors()`
function soak.serve(build, count)
  local self, servers = { ports = {} }, {}

  -- What each has said since.
  local function answers()
    for _, each in ipairs(servers) do
      soak.wait(function() return each.answer or each.child.code end)
      if each.child.code then soak.die "an echo server ended" end
    end
  end

  for i = 1, count do
    local each = {}
    servers[i] = each
    each.child = spawn(function(text) each.answer = text end,
      '"$(ulimit -Hn)"', "lua5.4", "spec/bench/soak_echo.lua", build)
  end
  answers()
  for i, each in ipairs(servers) do self.ports[i] = each.answer end

  function self.ask()
    local opened, closed, bytes = 0, 0, 0
    for _, each in ipairs(servers) do
      each.answer = nil
      each.child.stdin:write "?"
    end
    answers()
    for _, each in ipairs(servers) do
      local o, c, b = each.answer:match "(%d+)%s+(%d+)%s+(%d+)"
      opened, closed, bytes = opened + o, closed + c, bytes + b
    end
    return opened, closed, bytes
  end

  function self.descriptors()
    local sum = 0
    for _, each in ipairs(servers) do
      sum = sum + soak.descriptors(each.child.pid)
    end
    return sum
  end
  return self
end

--- Writes what the policy is to do, for its next generation to read.
function soak.set(mode)
  local file <close> = assert(io.open(control, "w"))
  file:write(mode)
end

-- A host, with `events`, the last line of each message, and `counts`, how many
-- there were; `heard(event)`, if there is one, is called with each.
local host = {}

--- Starts a host, with few descriptors, so that it asks for more.
-- @param build the folder of the built programs
-- @param policy the policy's path; its arguments are the file to which
--   soak.set() writes, and those given here
function soak.run(build, policy, ...)
  local self = setmetatable({ events = {}, counts = setmetatable({}, {
    __index = function() return 0 end }) }, { __index = host })
  self.child = spawn(function(text)
    local event = json.decode(text)
    if not event then soak.die(text) end
    self.events[event.message] = event
    self.counts[event.message] = self.counts[event.message] + 1
    if event.level == "error" or event.level == "warn" then
      quiet("%s", text)
      local faults = self.counts.faults + 1
      self.counts.faults = faults
      if faults == MANY or event.message:find "^reload failed" then
        soak.report(true)
      end
    end
    if self.heard then self.heard(event) end
  end, 64, build .. "/callosum-rover", "run", "--log-format", "json", policy,
    control, ...)
  return self
end

--- Waits for the nth line with that message (the first), and returns the last.
function host:wait(message, n)
  soak.wait(function()
    if self.child.code then
      orderly("it ended with %d, signal %d", self.child.code,
        self.child.signal)
      soak.report(true)
    end
    return self.counts[message] >= (n or 1)
  end)
  return self.events[message]
end

--- Reloads the policy, and returns the line that tells of it.
function host:reload()
  local n = self.counts["policy reloaded"] + 1
  self.child.handle:kill "sighup"
  return self:wait("policy reloaded", n)
end

--- Stops the host.
function host:finish()
  self.child.handle:kill "sigterm"
  soak.wait(function() return self.child.code end)
  if self.child.code ~= 0 then orderly("exit code %d", self.child.code) end
end

--- Its resident memory, in kB.
function host:memory()
  for line in io.lines("/proc/" .. self.child.pid .. "/status") do
    local kb = line:match "^VmRSS:%s*(%d+)"
    if kb then return tonumber(kb) end
  end
end

-- Figures --------------------------------------------------------------------

--- The value below which that part of a list is.
function soak.quantile(list, q)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(#sorted * q))]
end

--- Prints how long reloads took.
function soak.times(ms)
  print(("a reload took %.1f ms (median), %.1f ms (99%%), %.1f ms (longest)")
    :format(soak.quantile(ms, 0.5), soak.quantile(ms, 0.99),
      soak.quantile(ms, 1)))
end

--- Prints how memory grew from reload to reload, in medians over ten, for what
-- is under way differs.
-- @param rss kB after each reload
-- @param ... from which reloads on
-- @return the first of them, and the last
function soak.growth(rss, ...)
  local first, last
  print(("\n%8s %12s %12s"):format("reloads", "RSS, kB", "of the "
    .. (...) .. "th"))
  for _, i in ipairs { ... } do
    last = soak.quantile({ table.unpack(rss, i, i + 9) }, 0.5)
    first = first or last
    print(("%8s %12d %12.4f"):format(i .. "-" .. i + 9, last, last / first))
  end
  return first, last
end

return soak
