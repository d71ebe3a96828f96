local faults = require "support.faults"
local support = require "support"
local uv = require "luv"

local spawn, tmpdir = support.spawn, support.tmpdir

local EXE = uv.fs_realpath((os.getenv "BUILD" or "build") .. "/callosum-rover")

local POLICY = 'rover = require "callosum.rover".new {}\n'

-- What each change makes of a file: longer every time, so that no clock is too
-- coarse to tell.
local function longer(content)
  return content .. "-- changed\n"
end

-- In place; what is there is never empty meanwhile, which a busy machine may
-- have the program read.
local function write(path, content)
  local file = assert(uv.fs_open(path, uv.constants.O_WRONLY
    | uv.constants.O_CREAT, tonumber("644", 8)))
  assert(uv.fs_write(file, content, 0))
  assert(uv.fs_ftruncate(file, #content))
  assert(uv.fs_close(file))
  return path
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function save(path, content)
  write(path .. "~", content)
  assert(uv.fs_rename(path .. "~", path))
end

local function remove(path) assert(uv.fs_unlink(path)) end
local function link(target, path) assert(uv.fs_symlink(target, path)) end
local function mkdir(path)
  assert(uv.fs_mkdir(path, tonumber("755", 8)))
  return path
end

-- Calls a function every few milliseconds, for so many of them. Returns the
-- longest time between two calls, in ms: a busy machine may make it longer.
local function during(ms, every, fn)
  local timer, done = uv.new_timer(), false
  local deadline, last, longest = uv.now() + ms, uv.hrtime(), 0
  timer:start(0, every, function()
    fn()
    local now = uv.hrtime()
    last, longest = now, math.max(longest, (now - last) / 1e6)
    if uv.now() < deadline then return end
    timer:close()
    done = true
  end)
  support.run(function() return done end)
  return longest
end

local function start(script, options)
  local child = spawn(EXE, { "run", "--watch", script }, options)
  child:waitFor "policy loaded"
  return child
end

-- Waits until it has been reloaded, well or not.
local function due(child)
  child:waitFor "trigger=watch[^\n]*\n"
end

-- How many reloads it has logged so far.
local function reloads(child)
  return select(2, child.stderr:gsub("trigger=watch", ""))
end

-- Stops the child, and checks how many reloads it has logged in all.
local function stop(child, count)
  child:kill()
  assert.same({ 0, 0 }, { child:wait() })
  assert.equal(count, reloads(child))
  assert.is_nil(child.stderr:find("cannot watch", 1, true))
end

describe("run --watch", function()
  local dir, script

  before_each(function()
    dir = tmpdir()
    script = write(dir .. "/policy.lua", POLICY)
  end)

  describe("sees the script", function()
    it("written in place", function()
      local child = start(script)
      write(script, longer(POLICY))
      due(child)
      stop(child, 1)
    end)

    it("saved by a rename over it", function()
      local child = start(script)
      save(script, longer(POLICY))
      due(child)
      save(script, POLICY)
      due(child)
      stop(child, 2)
    end)

    it("moved to a backup and written again, as vim does", function()
      local child = start(script)
      assert(uv.fs_rename(script, script .. "~"))
      write(script, longer(POLICY))
      remove(script .. "~")
      due(child)
      stop(child, 1)
    end)

    it("removed, and written again later", function()
      local child = start(script)
      remove(script)
      due(child)
      write(script, POLICY)
      due(child)
      stop(child, 2)
    end)

    it("written by another of its names", function()
      local other = tmpdir() .. "/other.lua"
      assert(uv.fs_link(script, other))
      local child = start(script)
      write(other, longer(POLICY))
      due(child)
      stop(child, 1)
    end)

    it("at a relative path", function()
      local child = start("policy.lua", { cwd = dir })
      write(script, longer(POLICY))
      due(child)
      save(script, POLICY)
      due(child)
      stop(child, 2)
    end)

    it("at a path with detours", function()
      mkdir(dir .. "/sub")
      local child = start("./sub/..//./policy.lua", { cwd = dir })
      save(script, longer(POLICY))
      due(child)
      stop(child, 1)
    end)
  end)

  describe("sees the way to the script change:", function()
    it("its folder replaced", function()
      local folder = mkdir(dir .. "/folder")
      script = write(folder .. "/policy.lua", POLICY)
      local child = start(script)
      assert(uv.fs_rename(folder, dir .. "/old"))
      write(mkdir(folder) .. "/policy.lua", longer(POLICY))
      due(child)
      -- It is the new folder that matters from now on.
      write(dir .. "/old/policy.lua", POLICY .. POLICY)
      write(script, POLICY)
      due(child)
      stop(child, 2)
    end)

    it("its folder removed, and made again", function()
      local folder = mkdir(dir .. "/folder")
      script = write(folder .. "/policy.lua", POLICY)
      local child = start(script)
      for content = 1, 3 do
        remove(script)
        assert(uv.fs_rmdir(folder))
        due(child)
        write(mkdir(folder) .. "/policy.lua", POLICY:rep(content))
        due(child)
      end
      stop(child, 6)
    end)

    it("a folder further up replaced", function()
      mkdir(dir .. "/a")
      mkdir(dir .. "/a/b")
      script = write(mkdir(dir .. "/a/b/c") .. "/policy.lua", POLICY)
      local child = start(script)
      assert(uv.fs_rename(dir .. "/a", dir .. "/old"))
      due(child)
      assert(uv.fs_rename(dir .. "/old", dir .. "/a"))
      due(child)
      stop(child, 2)
    end)

    it("the file that it is a symlink to", function()
      local target = write(tmpdir() .. "/target.lua", POLICY)
      link(target, dir .. "/link.lua")
      local child = start(dir .. "/link.lua")
      save(target, longer(POLICY))
      due(child)
      remove(dir .. "/link.lua")
      link("policy.lua", dir .. "/link.lua")
      due(child)
      write(target, POLICY .. POLICY)
      write(script, longer(POLICY))
      due(child)
      stop(child, 3)
    end)

    it("a symlink on the path, or one that this leads to", function()
      write(mkdir(dir .. "/one") .. "/policy.lua", POLICY)
      write(mkdir(dir .. "/two") .. "/policy.lua", longer(POLICY))
      link("one", dir .. "/second")
      link(dir .. "/second", dir .. "/first")
      local child = start(dir .. "/first/policy.lua")
      link("two", dir .. "/new")
      assert(uv.fs_rename(dir .. "/new", dir .. "/second"))
      due(child)
      link("one", dir .. "/new")
      assert(uv.fs_rename(dir .. "/new", dir .. "/first"))
      due(child)
      stop(child, 2)
    end)

    it("a ConfigMap updated, as Kubernetes does it", function()
      local function version(n, content)
        write(mkdir(dir .. "/..v" .. n) .. "/limits.lua", content)
        write(dir .. "/..v" .. n .. "/policy.lua", POLICY)
        link("..v" .. n, dir .. "/..data_tmp")
        assert(uv.fs_rename(dir .. "/..data_tmp", dir .. "/..data"))
      end
      remove(script)
      version(1, POLICY)
      link("..data/policy.lua", script)
      local child = start(script)
      for n = 2, 4 do
        version(n, longer(POLICY))
        local old = dir .. "/..v" .. n - 1
        remove(old .. "/limits.lua")
        remove(old .. "/policy.lua")
        assert(uv.fs_rmdir(old))
        due(child)
      end
      stop(child, 3)
    end)
  end)

  describe("sees a module from the script's folder", function()
    -- Starts a policy that requires `name`, broken or not.
    local function requiring(name)
      write(script, ("pcall(require, %q)\n"):format(name) .. POLICY)
      return start(script)
    end

    it("changed", function()
      local module = write(dir .. "/limits.lua", "return {}\n")
      local child = requiring "limits"
      save(module, longer "return {}\n")
      due(child)
      write(module, "return {}\n")
      due(child)
      stop(child, 2)
    end)

    it("changed, below it and required by another", function()
      mkdir(dir .. "/fleet")
      write(dir .. "/fleet/init.lua", 'return require "fleet.limits"')
      local module = write(dir .. "/fleet/limits.lua", "return 1\n")
      local child = requiring "fleet"
      write(module, "return 12\n")
      due(child)
      stop(child, 1)
    end)

    it("mended, when it has failed to load", function()
      local module = write(dir .. "/limits.lua", "return return")
      local child = requiring "limits"
      write(module, "return {}")
      due(child)
      stop(child, 1)
    end)

    it("made, when it was missing", function()
      local child = requiring "limits"
      write(dir .. "/limits.lua", "return {}")
      due(child)
      stop(child, 1)
    end)

    it("made, when another was found in its stead", function()
      write(mkdir(dir .. "/limits") .. "/init.lua", "return 1")
      local child = requiring "limits"
      write(dir .. "/limits.lua", "return 2")
      due(child)
      stop(child, 1)
    end)

    it("that is required at a relative path", function()
      local module = write(mkdir(dir .. "/lib") .. "/limits.lua", "return {}\n")
      write(script, POLICY .. 'package.path = "lib/?.lua" require "limits"')
      local child = start("./policy.lua", { cwd = dir })
      write(module, longer "return {}\n")
      due(child)
      stop(child, 1)
    end)

    it("that is required only later", function()
      local module = write(dir .. "/limits.lua", "return {}\n")
      write(script, POLICY .. [[
        require "luv".new_timer():start(1, 0, function()
          require "limits"
          require "callosum.host".log.info "required"
        end)]])
      local child = start(script)
      child:waitFor "required"
      write(module, longer "return {}\n")
      due(child)
      stop(child, 1)
    end)
  end)

  describe("takes as one", function()
    it("several writes at once", function()
      local child = start(script)
      for n = 1, 20 do write(script, POLICY:rep(n)) end
      remove(script)
      save(script, longer(POLICY))
      due(child)
      stop(child, 1)
    end)

    it("several writes, each soon after the one before", function()
      for _ = 1, 5 do
        local child = start(script)
        local gap = during(200, 20, function()
          write(script, longer(read(script)))
        end)
        due(child)
        if gap < 50 then return stop(child, 1) end
        child:kill()
        child:wait()
      end
    end)

    it("changes of several files", function()
      local one = write(dir .. "/one.lua", "return 1")
      local two = write(dir .. "/two.lua", "return 2")
      write(script, 'require "one" require "two" ' .. POLICY)
      local child = start(script)
      write(one, "return 11")
      write(two, "return 22")
      due(child)
      stop(child, 1)
    end)
  end)

  it("does not wait for ever when the script is written all the time",
    function()
      local child = start(script)
      during(2000, 20, function() write(script, longer(read(script))) end)
      assert.is_true(reloads(child) > 0)
    end)

  -- Each test leaves the time for what should not come, and ends with a change
  -- that shows that the watch was on.
  describe("does nothing when", function()
    local other

    before_each(function()
      other = write(dir .. "/other.lua", "return 0")
    end)

    local function only(fn)
      local child = start(script)
      fn()
      during(300, 100, function() assert.equal(0, reloads(child)) end)
      write(script, longer(read(script)))
      due(child)
      stop(child, 1)
    end

    it("another file in the folder is written, renamed or removed", function()
      only(function()
        save(other, "return 1")
        write(other, "return 12")
        write(dir .. "/new.lua", "return 2")
        remove(dir .. "/new.lua")
      end)
    end)

    it("the script is read", function()
      only(function() assert.equal(POLICY, read(script)) end)
    end)

    it("only the script's access time or mode changes", function()
      -- In whole seconds, which a number holds exactly.
      assert(uv.fs_utime(script, 1000000000, 1000000000))
      only(function()
        assert(uv.fs_utime(script, 1000000001, 1000000000))
        assert(uv.fs_chmod(script, tonumber("600", 8)))
      end)
    end)

    it("the script goes and is back within 100 ms", function()
      only(function()
        assert(uv.fs_rename(script, script .. "~"))
        assert(uv.fs_rename(script .. "~", script))
      end)
    end)

    it("a module from elsewhere changes", function()
      local elsewhere = tmpdir()
      local module = write(elsewhere .. "/limits.lua", "return 1")
      write(script, ("package.path = %q .. package.path\nrequire 'limits'\n")
        :format(elsewhere .. "/?.lua;") .. POLICY)
      only(function() write(module, "return 12") end)
    end)

    it("a file is made that require would not have come to", function()
      write(dir .. "/limits.lua", "return 1")
      write(script, "require 'limits'\n" .. POLICY)
      only(function() write(mkdir(dir .. "/limits") .. "/init.lua", "") end)
    end)
  end)

  it("costs next to nothing while others change in the folder of many modules",
      function()
    local count = 900
    for i = 1, count do write(("%s/m%d.lua"):format(dir, i), "return 0") end
    write(script, POLICY .. ([[
      for i = 1, %d do require("m" .. i) end
      local uv = require "luv"
      local function spent()
        local usage = uv.getrusage()
        local ms = 0
        for _, part in ipairs { usage.utime, usage.stime } do
          ms = ms + part.sec * 1e3 + part.usec / 1e3
        end
        return ms
      end
      local before
      local signal = uv.new_signal()
      signal:start("sigusr1", function()
        if before then print(("spent %%.1f ms"):format(spent() - before)) end
        if not before then print "measuring" end
        before = spent()
      end)
    ]]):format(count))
    local child = start(script)
    during(400, 100, function() end) -- the watches are set
    child:kill "sigusr1"
    child:waitFor "measuring"
    local ms
    for _ = 1, 20 do -- on a busy machine watches may still be set in the first
      during(500, 100, function() write(dir .. "/log.txt", "more") end)
      child:kill "sigusr1"
      ms = tonumber(child:waitFor "spent ([%d.]+) ms")
      if ms < 10 then break end
    end
    assert.is_true(ms < 10, ms)
    write(dir .. "/m7.lua", "return 12")
    due(child)
    stop(child, 1)
  end)

  it("keeps to a file that is mounted by itself", function()
    local unshare = faults.unshare "-m"
    if not unshare then return pending "no mount namespace allowed" end
    local own = dir .. "/mounted.lua"
    write(own, "")
    write(script, 'print "one" ' .. POLICY)
    local child = spawn("sh", { "-c", "exec " .. unshare .. [[ sh -c '
      LD_PRELOAD= mount --bind "$1" "$2" && exec "$0" run --watch "$2"
    ' "$0" "$@"]], EXE, script, own })
    child:waitFor "policy loaded"
    write(script, 'print "two" ' .. POLICY)
    due(child)
    save(script, 'print "three" ' .. POLICY) -- the mount has the old one
    child:kill "sighup"
    child:waitFor "trigger=SIGHUP"
    support.run(function() return #child.stdout >= #"one\ntwo\ntwo\n" end)
    assert.equal("one\ntwo\ntwo\n", child.stdout)
    stop(child, 1)
  end)

  it("is needed for a reload", function()
    local child = spawn(EXE, { "run", script })
    child:waitFor "policy loaded"
    write(script, longer(POLICY))
    during(300, 100, function() end)
    stop(child, 0)
  end)

  it("looks every second while it cannot watch, and says so", function()
    -- The policy takes all descriptors, and gives them back when asked to.
    write(script, POLICY .. [[
      local uv = require "luv"
      local signal = uv.new_signal()
      local files = {}
      signal:start("sigusr1", function()
        for _, file in ipairs(files) do file:close() end
      end)
      repeat files[#files + 1] = io.open "/dev/null" until not io.open "/"
    ]])
    local child = spawn("/bin/sh", { "-c",
      'ulimit -n 64; exec "$0" run --watch "$1"', EXE, script })
    child:waitFor "cannot watch for changes: polling every second file=/ "
    write(script, longer(read(script)))
    due(child)
    child:kill "sigusr1"
    child:waitFor "watching for changes again"
    write(script, longer(read(script)))
    due(child)
    child:kill()
    assert.same({ 0, 0 }, { child:wait() })
  end)
end)
