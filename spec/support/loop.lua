-- Runs luv's loop for a test, and sees at the end of it that nothing went
-- wrong unnoticed.
--
-- luv ends the process when a callback raises an error, failed assertions
-- included. So from the moment this is loaded, every callback that Lua code
-- gives to luv is called protected, whoever gives it: the first error is kept,
-- the loop stops, and `run` raises the error in the test. The same place sees
-- every handle being made, so that leftovers can be named by the line they
-- come from. (`uv.walk` would find them too, but it takes every handle on the
-- loop for luv's, and reads through a wild pointer at those of the rover.)

local uv = require "luv"

local loop = {}

--- How long one run of the loop may take, in seconds: the environment
-- variable TEST_TIMEOUT, or 10.
loop.TIMEOUT = tonumber(os.getenv("TEST_TIMEOUT")) or 10

-- What belongs to the test that runs.
local raised = {}        -- errors out of callbacks, in order
local expectations = {}  -- what `expect` made
local cleanups = {}      -- what `atEnd` was given
local handles = {}       -- handle -> the line that made it

-- The line of the first caller outside this file and luv.
local function position(level)
  local here = debug.getinfo(1, "S").source
  local info
  repeat
    level = level + 1
    info = debug.getinfo(level, "Sl")
  until not info or info.what ~= "C" and info.source ~= here
  if not info then return "?" end
  return ("%s:%d"):format(info.short_src, info.currentline)
end

-- Adds where an error comes from, for it will be raised elsewhere. Failed
-- assertions are tables, by which busted knows them from errors.
local function traced(err)
  if type(err) ~= "string" then return err end
  -- The frames below are always the same, and many: busted's.
  return (debug.traceback(err, 2)
    :gsub("\n%s*%[C%]: in function 'xpcall'\n[^\n]*support/loop%.lua.*", ""))
end

-- luv ------------------------------------------------------------------------

local stop = uv.stop

local function protect(fn)
  return function(...)
    local ok, err = xpcall(fn, traced, ...)
    if ok then return end
    raised[#raised + 1] = { err = err }
    stop()
  end
end

-- These call back at once, or in another thread and Lua state.
local untouched = {
  walk = true, new_thread = true, new_work = true, queue_work = true,
}

local function watch(functions)
  for name, fn in pairs(functions) do
    if type(fn) == "function" and not untouched[name] then
      local makes = name == "spawn" or name:match("^new_")
      functions[name] = function(...)
        local args = table.pack(...)
        for i = 1, args.n do
          if type(args[i]) == "function" then args[i] = protect(args[i]) end
        end
        local results = table.pack(fn(table.unpack(args, 1, args.n)))
        if makes and results[1] then handles[results[1]] = position(1) end
        return table.unpack(results, 1, results.n)
      end
    end
  end
end

-- Two handles stay for good and belong to no test. SIGPIPE would end the
-- process; Lua cannot ignore it, only catch it.
local deadline = uv.new_timer()
local sigpipe = uv.new_signal()
sigpipe:start("sigpipe", function() end)
deadline:unref()
sigpipe:unref()

watch(uv)
for _, class in ipairs { "async", "check", "fs_event", "fs_poll", "idle",
    "pipe", "poll", "prepare", "process", "signal", "tcp", "timer", "tty",
    "udp" } do
  watch(debug.getregistry()["uv_" .. class].__index)
end

-- Running --------------------------------------------------------------------

local function raise()
  local first = table.remove(raised, 1)
  if first then error(first.err, 0) end
end

-- Handles that are still open, each with its type and the line it comes from.
-- Signals that keep no loop alive are how modules survive SIGPIPE.
local function leftovers()
  local list = {}
  for handle, line in pairs(handles) do
    local kind = uv.handle_get_type(handle)
    if not uv.is_closing(handle)
        and not (kind == "signal" and not uv.has_ref(handle)) then
      list[#list + 1] = { handle = handle, text = kind .. " from " .. line }
    end
  end
  table.sort(list, function(a, b) return a.text < b.text end)
  for i, left in ipairs(list) do list[i].text = "\n  " .. left.text end
  return list
end

local function texts(list)
  local strings = {}
  for i, left in ipairs(list) do strings[i] = left.text end
  return table.concat(strings)
end

-- Runs until `done()`, or until nothing is left to do; returns what was not
-- to be: nil, "timeout" or "nothing to do".
local function turn(done, seconds)
  uv.update_time()
  local due = uv.now() + math.ceil(seconds * 1000)
  -- A turn that begins with a due timer goes on to wait for what comes next,
  -- and that may be nothing; so none is long, nor that in which a callback has
  -- run the loop.
  local reason
  local within = deadline:is_active()
  while not (done and done()) do
    if not deadline:is_active() then
      deadline:start(100, 100, function() end)
    end
    local alive, err = uv.run "once"
    if err then error(err, 0) end -- else it would spin
    if not alive and not uv.loop_alive() then
      if done and not done() and #raised == 0 then reason = "nothing to do" end
      break
    end
    if #raised > 0 then break end
    if uv.now() >= due and not (done and done()) then
      reason = "timeout"
      break
    end
  end
  if not within then deadline:stop() end
  return reason
end

--- Whether the loop may be run within its callbacks: luv from 1.51, which has
-- semaphores, refuses.
loop.NESTS = uv.new_sem == nil

--- Runs the loop until `done()` is true; without it, until nothing is left to
-- do. Raises an error when that takes longer than allowed or cannot come any
-- more, and the first error that a callback raised.
-- @param done function returning true once the test has seen enough
-- @param seconds the most this may take (TIMEOUT)
function loop.run(done, seconds)
  raise()
  seconds = seconds or loop.TIMEOUT
  local reason = turn(done, seconds)
  raise()
  if reason == "timeout" then
    error(("waited for %g s in vain; open are:%s")
      :format(seconds, texts(leftovers())), 2)
  elseif reason then
    error("nothing is left to wait for", 2)
  end
end

--- Runs the loop until a condition holds that no event of the loop tells of.
-- @param done function returning true once it holds
-- @param seconds the most this may take (TIMEOUT)
function loop.eventually(done, seconds)
  local timer = uv.new_timer()
  timer:start(5, 5, function() end)
  local ok, err = pcall(loop.run, done, seconds)
  timer:close()
  if not ok then error(err, 2) end
end

--- Wraps a callback that must be called a number of times before the test
-- ends. One call too many is an error at once.
-- @param fn the callback, or nil
-- @param n how often (1)
-- @return the wrapped function
function loop.expect(fn, n)
  local expectation = { calls = 0, wanted = n or 1, line = position(1) }
  expectations[#expectations + 1] = expectation
  return function(...)
    expectation.calls = expectation.calls + 1
    if expectation.calls > expectation.wanted then
      error(("the callback expected at %s was called once too often (%d)")
        :format(expectation.line, expectation.calls), 0)
    end
    if fn then return fn(...) end
  end
end

--- Wraps a callback that something other than luv will call, so that an error
-- in it fails the test all the same. The error goes on to the caller.
-- @param fn the callback
-- @return the wrapped function
function loop.watched(fn)
  return function(...)
    local results = table.pack(xpcall(fn, traced, ...))
    if results[1] then return table.unpack(results, 2, results.n) end
    raised[#raised + 1] = { err = results[2] }
    stop()
    error(results[2], 0)
  end
end

--- Tells whether every callback of `expect` was called as often as it should.
-- Made for `run(met)`.
function loop.met()
  for _, expectation in ipairs(expectations) do
    if expectation.calls ~= expectation.wanted then return false end
  end
  return true
end

--- Takes the first error that a callback raised since, so that it does not
-- fail the test: for tests in which errors must reach luv.
-- @return the error, a string with its traceback if it was a string; or nil
function loop.uncaught()
  local first = table.remove(raised, 1)
  return first and first.err
end

--- Runs until a callback raises an error, and takes it.
-- @return the error, as `uncaught` does
function loop.runUntilUncaught()
  local reason = turn(function() return #raised > 0 end, loop.TIMEOUT)
  if reason then error("no callback raised an error: " .. reason, 2) end
  return loop.uncaught()
end

--- Has a function called when the test ends, passed or failed, before the
-- check for leftover handles. The last one given is called first.
-- @param fn the function
function loop.atEnd(fn)
  cleanups[#cleanups + 1] = fn
end

-- Ends a test: cleans up, closes what was left open so that the next test
-- starts fresh, and returns what was wrong as an array of errors.
local function verify()
  local wrong = {}
  while #cleanups > 0 do
    local ok, err = xpcall(table.remove(cleanups), traced)
    if not ok then wrong[#wrong + 1] = err end
  end
  local left = leftovers()
  for _, each in ipairs(left) do uv.close(each.handle) end
  -- An error stops the loop, which must run dry all the same.
  local reason
  repeat
    for _, each in ipairs(raised) do wrong[#wrong + 1] = each.err end
    raised = {}
    reason = turn(nil, loop.TIMEOUT / 4)
  until #raised == 0

  for _, expectation in ipairs(expectations) do
    if expectation.calls ~= expectation.wanted then
      wrong[#wrong + 1] = ("%s: the callback was called %d times, not %d")
        :format(expectation.line, expectation.calls, expectation.wanted)
    end
  end
  if #left > 0 then
    wrong[#wrong + 1] = "handles were left open:" .. texts(left)
  end
  if reason then
    -- luv's handles are closed: this is a rover. Collecting it may close it.
    collectgarbage()
    turn(nil, loop.TIMEOUT / 4)
    wrong[#wrong + 1] = "something that is not luv's was left open on the loop"
  end
  raised, expectations, handles = {}, {}, {}
  return wrong
end

--- Makes busted check each test at its end, once its `finally` is through. As
-- a bonus, `finally` may be called more than once; the last goes first.
-- @param busted the module
function loop.attach(busted)
  local failed

  busted.subscribe({ "test", "start" }, function(element)
    failed = false
    local register = element.env and element.env.finally
    if not register then return nil, true end -- a pending block
    register(function()
      local wrong = verify()
      -- One failure is enough: what follows from it would only distract.
      if #wrong > 0 and not failed then error(wrong[1], 0) end
    end)
    element.env.finally = loop.atEnd
    return nil, true
  end)

  local function fail()
    failed = true
    return nil, true
  end
  busted.subscribe({ "failure", "it" }, fail, { priority = 1 })
  busted.subscribe({ "error", "it" }, fail, { priority = 1 })
end

return loop
