local assert = require "luassert"
local json = require "dkjson"
local support = require "support"
local faults = require "support.faults"
local uv = require "luv"

-- More than the pipe and the queue hold, and how many of it there are at once.
local LINES, CHUNK = 3000, 100

local READER = faults.READER

-- Where standard error goes to.
local rows = {
  { "is closed", shell = [[exec "$@" 2>&-]] },
  { "is on a full disk", shell = [[exec "$@" 2>/dev/full]] },
  { "is a pipe whose reader is gone", shell = [["$@" 2>&1 | true]] },
  { "is a pipe that nobody reads", shell = [["$@" 2>&1]] .. READER,
    reads = true },
  { "is a terminal that nobody reads",
    shell = [[script -qec "$*" /dev/null]] .. READER, reads = true },
  { "is a socket that nobody reads", socket = true, reads = true },
  { "is a pipe that nobody reads and cannot be opened anew",
    shell = [[$UNSHARE sh -c 'mount -t tmpfs none /proc && exec "$@"' sh "$@" \
      2>&1]] .. READER, reads = true, unshare = true },
}

-- Checks that a log has its lines in order, and tells how many are missing
-- where they are. Returns how many are missing in all.
local function complete(text)
  local n, missing = 0, 0
  for line in text:gmatch "([^\r\n]*)\r?\n" do
    local event, _, err = json.decode(line)
    assert.is_table(event, err or line)
    if event.message == "log lines lost" then
      n = n + event.count
      missing = missing + event.count
    elseif event.message == "line" then
      n = n + 1
      assert.equal(n, event.n)
      assert.equal(1000, #event.text)
    end
  end
  return missing, n
end

local function isBlocking(pid, fd)
  local file = assert(io.open(("/proc/%d/fdinfo/%d"):format(pid, fd)))
  local flags = tonumber(file:read("a"):match "flags:%s*(%d+)", 8)
  file:close()
  return flags & tonumber("4000", 8) == 0
end

-- Has the host log so many lines, and be well after each few.
local function flood(h)
  for from = 1, LINES, CHUNK do
    h:ask("log", from, from + CHUNK - 1)
    h:check()
  end
end

describe("a host whose standard error", function()
  for _, row in ipairs(rows) do
    it(row[1] .. " goes on", function()
      local unshare = faults.unshare "-m"
      if row.unshare and (not unshare or support.WATCHED) then
        return pending "no mount namespace allowed, or a sanitizer wants /proc"
      end
      local env, letRead = faults.gate()
      env.UNSHARE = unshare
      local h = faults.host(nil, { shell = row.shell, env = env })
      if row.socket then h.child.errors:read_stop() end
      h:check()
      local descriptors, memory = h:descriptors(), h:memory()
      flood(h)
      assert.equal(descriptors, h:descriptors())
      if not support.WATCHED then
        assert.is_true(h:memory() - memory < 3 * 1024 * 1024)
      end
      assert.is_true(isBlocking(h.pid, 2))
      if not row.reads then return end

      -- The reader is back: so is the log, with a word on what it lacks.
      local child = h.child
      local stream = row.socket and "stderr" or "stdout"
      if row.socket then
        child.errors:read_start(function(_, chunk)
          child.stderr = child.stderr .. (chunk or "")
        end)
      else
        letRead()
      end
      support.run(function() return child[stream]:find "log lines lost" end)
      h:ask("log", LINES + 1, LINES + 1)
      support.run(function()
        return child[stream]:find('"n":' .. LINES + 1, 1, true)
          and child[stream]:match "\n$"
      end)
      local missing, last = complete(child[stream])
      assert.equal(LINES + 1, last)
      assert.is_true(missing > 0)
      -- What came back is small again.
      h:check()
      assert.equal(descriptors, h:descriptors())
    end)
  end

  it("is slow to be read loses nothing", function()
    local env, letRead = faults.gate()
    local h = faults.host(nil, { shell = [["$@" 2>&1]] .. READER, env = env })
    h:ask("log", 1, 500)
    letRead()
    support.run(function()
      return h.child.stdout:find '"n":500.*\n$'
    end)
    assert.same({ 0, 500 }, { complete(h.child.stdout) })
  end)

  it("nobody reads ends all the same, and soon", function()
    local h = faults.host()
    h.child.errors:read_stop()
    flood(h)
    local began = uv.hrtime()
    h.child:kill()
    support.run(function() return h.child.code end)
    assert.same({ 0, 0 }, { h.child.code, h.child.signal })
    assert.is_true(uv.hrtime() - began < 3e9)
  end)

  it("is on a disk that is full for a while tells what it lacks", function()
    local unshare = faults.unshare "-m"
    if not unshare then return pending "no mount namespace allowed" end
    local folder = support.tmpdir()
    local h = faults.host(nil, {
      env = { FOLDER = folder },
      shell = unshare .. [[ sh -c '
        mount -t tmpfs -o size=64k none "$FOLDER" &&
        exec "$@" 2>>"$FOLDER/log"' sh "$@"]],
    })
    local path = ("/proc/%d/root%s/log"):format(h.pid, folder)
    h:ask("log", 1, 200)
    h:check()
    local file = assert(io.open(path))
    local text = file:read "a"
    file:close()
    -- The disk has room again.
    assert(io.open(path, "w")):close()
    h:ask("log", 201, 210)
    file = assert(io.open(path))
    text = text .. file:read "a"
    file:close()
    -- The line that was cut is one of those it lacks.
    local missing, last = complete((text:gsub("[^\n]*[^}\n]\n", "")))
    assert.equal(210, last)
    assert.is_true(missing > 100)
  end)
end)
