local assert = require "luassert"
local support = require "support"
local faults = require "support.faults"
local uv = require "luv"

local events, logged = support.events, support.logged

-- More than the pipe and the queue hold.
local LINES = 3000

local READER = faults.READER

-- Prints so many lines, which know their number, and then logs.
local PRINTS = ([[
  local host, uv = require "callosum.host", require "luv"
  local r = require "callosum.rover".new()
  local n = host.carry or 0
  host.log.info("there", { pid = uv.os_getpid() })
  local timer = uv.new_timer()
  timer:start(0, 1, function()
    for _ = 1, 100 do
      n = n + 1
      print(n, ("x"):rep(1000))
    end
    if n %% %d > 0 then return end
    host.carry = n
    timer:close()
    host.log.info("printed")
    assert(io.open(debug.getinfo(1, "S").source:sub(2) .. ".done", "w")):close()
  end)
]]):format(LINES)

-- Where standard output goes to.
local rows = {
  { "is closed", shell = [[exec "$@" >&-]], lost = 2 * LINES },
  { "is on a full disk", shell = [[exec "$@" >/dev/full]], lost = 2 * LINES },
  { "is a pipe whose reader is gone", shell = [["$@" | true]] },
  { "is a pipe that nobody reads", shell = [["$@"]] .. READER, reads = true },
  { "is a terminal that nobody reads", reads = true,
    shell = [[script -qec "$* 2>&3" /dev/null 3>&2]] .. READER },
  { "is a socket that nobody reads", socket = true, reads = true },
  { "is a pipe that nobody reads and cannot be opened anew",
    shell = [[$UNSHARE sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$@"]]
      .. READER, reads = true, unshare = true },
}

-- Starts a policy with its standard output, and perhaps error, so. Returns the
-- child, and what has READER read.
local function start(shell, script, unshare)
  local path = support.tmpfile(script)
  local env, letRead = faults.gate()
  env.LD_PRELOAD, env.UNSHARE = false, unshare
  local child = support.spawn("sh", { "-c", shell or [[exec "$@"]], "sh",
    support.EXECUTABLE, "run", "--log-format", "json", "--budget", "20000",
    "--load-budget", "30000", path }, { env = env })
  child.path = path
  return child, letRead
end

-- Checks that lines are whole and in order, and returns their count.
local function whole(text)
  local count, last = 0, 0
  for line in text:gmatch "([^\r\n]*)\r?\n" do
    local n, rest = line:match "^(%d+)\t(x+)$"
    n = assert(tonumber(n), line)
    assert.equal(1000, #rest)
    assert.is_true(n > last)
    last, count = n, count + 1
  end
  return count
end

local function lost(child)
  local count = 0
  for _, event in ipairs(events(child, "output lines lost")) do
    count = count + event.count
  end
  return count
end

-- How often a process has begun to wait, from now on for so long.
local function waits(pid, ms)
  local function count()
    local file <close> = assert(io.open(("/proc/%d/status"):format(pid)))
    return tonumber(file:read "a":match "\nvoluntary_ctxt_switches:%s*(%d+)")
  end
  local before, timer, over = count(), uv.new_timer(), false
  timer:start(ms, 0, function() timer:close() over = true end)
  support.run(function() return over end)
  return count() - before
end

describe("a policy that prints where standard output", function()
  for _, row in ipairs(rows) do
    it(row[1] .. " goes on, and what is lost is told", function()
      local unshare = faults.unshare "-m"
      if row.unshare and (not unshare or support.WATCHED) then
        return pending "no mount namespace allowed, or a sanitizer wants /proc"
      end
      local child, letRead = start(row.shell, PRINTS, unshare)
      if row.socket then child.prints:read_stop() end
      local pid = logged(child, "there").pid
      logged(child, "printed")
      logged(child, "output lines lost")
      if row.socket then
        child.prints:read_start(function(_, chunk)
          child.stdout = child.stdout .. (chunk or "")
          if not chunk then child.pipes = child.pipes - 1 end
        end)
      end
      -- It reloads, and prints as much again.
      uv.kill(pid, "sighup")
      logged(child, "printed", 2)
      local began = uv.hrtime()
      uv.kill(pid, "sigterm")
      letRead()
      support.run(function() return child.code and child.pipes == 0 end)
      assert.is_true(uv.hrtime() - began < 3e9)
      if row.lost then assert.equal(row.lost, lost(child)) end
      if not row.reads then return end
      local read = whole(child.stdout)
      assert.is_true(read > 0)
      assert.equal(2 * LINES, read + lost(child))
    end)
  end

  it("is the log's own goes on, and no line is torn", function()
    local child, letRead = start([["$@" 2>&1]] .. READER, (PRINTS:gsub(
      'print%(n, %("x"%):rep%(1000%)%)', [[
        print(n, ("x"):rep(1000))
        host.log.info("line", { n = n })
        io.stderr:write(n .. "\t" .. ("y"):rep(10) .. "\n")
      ]])))
    -- That it has printed all, its log may have lost.
    local pid
    support.eventually(function()
      for _, each in ipairs(support.processes(child.path)) do
        if each.args[1] == support.EXECUTABLE then pid = each.pid end
      end
      return pid and uv.fs_stat(child.path .. ".done")
    end)
    local at, seen, missing = 1, 0, 0
    local function take(line)
      local text = line:match "^%d+\t(%a+)$"
      if text then
        assert.equal(text:sub(1, 1) == "x" and 1000 or 10, #text)
      else
        assert.matches('^{"time":.*}$', line)
      end
      local count = line:match '"log lines lost","count":(%d+)'
      if count then missing = missing + count
      else seen = seen + 1 end
    end
    letRead()
    support.run(function()
      for line, next in child.stdout:gmatch("([^\n]*)\n()", at) do
        take(line)
        at = next
      end
      return seen + missing >= 3 * LINES
    end)
    uv.kill(pid, "sigterm")
    assert.same({ 0, 0 }, { child:wait() })
    -- Some more are of the command's own.
    assert.is_true(missing > 0 and seen + missing < 3 * LINES + 10)
  end)

  it("is not read keeps a queue, and no more, of one long text", function()
    local child = start(nil, [[
      local host, uv = require "callosum.host", require "luv"
      r = require "callosum.rover".new()
      local before = uv.resident_set_memory()
      print(("x"):rep(50e6))
      collectgarbage()
      host.log.info("there", { more = uv.resident_set_memory() - before })
    ]])
    child.prints:read_stop()
    local more = logged(child, "there").more
    if not support.WATCHED then assert.is_true(more < 10e6, more) end
    assert.equal(1, logged(child, "output lines lost").count)
    child:kill()
    support.run(function() return child.code end)
    assert.same({ 0, 0 }, { child.code, child.signal })
  end)

  it("is broken, is told so by io.write", function()
    for shell, code in pairs { [ [[exec "$@" >/dev/full]] ] = 28,
        [ [[exec "$@" >&-]] ] = 9 } do
      local child = start(shell, [[
        r = require "callosum.rover".new()
        io.write "some"
        require "callosum.host".stop(select(3, io.stdout:flush()))
      ]])
      assert.same({ code, 0 }, { child:wait() })
    end
  end)

  it("is a file has all of it there, from threads too", function()
    local path = support.tmpdir() .. "/out"
    local child = start(([[exec "$@" >%s]]):format(path), [[
      local host, uv = require "callosum.host", require "luv"
      local r = require "callosum.rover".new()
      io.write "some"
      uv.new_thread(function() print " text" end):join()
      io.stdout:setvbuf "no"
      io.write "more"
      host.stop(4)
    ]])
    assert.same({ 4, 0 }, { child:wait() })
    local file <close> = assert(io.open(path))
    assert.equal("some text\nmore", file:read "a")
  end)
end)

it("a log whose reader has stopped, and then left, wakes nobody", function()
  local child = start(nil, [[
    local host, uv = require "callosum.host", require "luv"
    local r = require "callosum.rover".new()
    uv.new_signal():start("sigusr1", function()
      for _ = 1, 2000 do host.log.info(("x"):rep(1000)) end
      print "logged"
    end)
    host.log.info("there", { pid = uv.os_getpid() })
  ]])
  local pid = logged(child, "there").pid
  child.errors:read_stop()
  child:kill "sigusr1"
  child:waitFor "logged"
  assert.is_true(waits(pid, 300) < 9)
  child.errors:close()
  assert.is_true(waits(pid, 300) < 9)
  child:kill()
  support.run(function() return child.code end)
  assert.same({ 0, 0 }, { child.code, child.signal })
end)
