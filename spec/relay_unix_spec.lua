local callosum = require "callosum.relay"
local faults = require "support.faults"
local relays = require "support.relays"
local support = require "support"
local uv = require "luv"

local relay, run = relays.relay, support.run

local IN_USE = "address already in use; stop what listens there, or choose "
  .. "another path"

describe("a Unix socket of callosum.relay", function()
  local function mode(path)
    return ("%04o"):format(assert(uv.fs_lstat(path)).mode & tonumber("7777", 8))
  end

  -- Runs `fn` under another umask; luv cannot set ours.
  local function withUmask(umask, script)
    local child = support.spawn("sh", { "-c", "umask " .. umask
      .. '; exec lua5.4 "$0" "$1"', support.tmpfile(script, "child.lua"),
      relays.path() },
      { env = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    return child.stdout
  end

  local function fails(path, message, code)
    assert.same({ nil, ("relay 'main': cannot listen on %s: %s")
      :format(path, message), code },
      { callosum.new { listen = { path = path }, pick = function() end } })
  end

  it("joins clients, and goes when the relay closes", function()
    local path = relays.path()
    local rover, server = relays.kept(1)
    local r = relay { listen = { path = path }, pick = relays.picking(rover) }
    assert.equal(path, r:address())
    assert.equal(1, select("#", r:address()))
    assert.equal(("relay 'main' (%s)"):format(path), tostring(r))
    local client = support.connect(path):write("x")
    server.peers[1]:take "x"
    server.peers[1]:write("y")
    client:take "y"
    r:close()
    assert.is_nil(uv.fs_lstat(path))
    client:write("z")
    server.peers[1]:take "z"
  end)

  it("is for its owner only, unless told otherwise", function()
    local path = relays.path()
    local r = relay { listen = { path = path } }
    assert.equal("0600", mode(path))
    r:close(0)
    r = relay { listen = { path = path, mode = "0660" } }
    assert.equal("0660", mode(path))
    r:close(0)
    relay { listen = { path = path, mode = "777" } }
    assert.equal("0777", mode(path))
  end)

  it("has its mode whatever the umask is", function()
    for _, umask in ipairs { "000", "022", "077", "777" } do
      assert.equal("600\n660\n", withUmask(umask, [[
        local uv, relay = require "luv", require "callosum.relay"
        for _, mode in ipairs { "0600", "0660" } do
          local r <close> = assert(relay.new { pick = function() end,
            listen = { path = arg[1], mode = mode } })
          print(("%o"):format(uv.fs_lstat(arg[1]).mode & 511))
        end
      ]]))
    end
  end)

  local held
  setup(function() held = faults.compile "held" end)
  teardown(function() os.remove(held) end)

  -- Runs a script that is stopped at a call of a function.
  local function stopped(call, path, script)
    local child = support.spawnLua(script, { args = { path },
      env = { LD_PRELOAD = faults.preload(held), HELD_AT = call } })
    child:waitStopped()
    return child
  end

  -- Runs a script under strace, which tells what it did, in order. Returns nil
  -- if that cannot be.
  local function traced(path, script, ...)
    if not os.execute "strace -qq true 2>/dev/null" then
      pending "strace is not installed, or may not trace"
      return
    end
    local words = { "-qq", ... }
    table.move({ "lua5.4", support.tmpfile(script, "child.lua"), path }, 1, 3,
      #words + 1, words)
    return support.spawn("strace", words, { env = { LD_PRELOAD = false,
      LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath } })
  end

  -- What there is in the folder of a path, by name.
  local function names(path)
    local list = {}
    local scan = assert(uv.fs_scandir(path:match "(.*)/"))
    for name in uv.fs_scandir_next, scan do list[#list + 1] = name end
    table.sort(list)
    return list
  end

  it("is never open to more than that", function()
    local path = relays.path()
    local child = traced(path, [[
      local r <close> = assert(require "callosum.relay".new {
        listen = { path = arg[1], mode = "0660" }, pick = function() end })
    ]], "-e", "trace=bind,listen,chmod,fchmod,fchmodat,?fchmodat2")
    if not child then return end
    assert.equal(0, (child:wait()))
    local calls = {}
    for call, given in child.stderr:gmatch "(%l+)%d?(%b())" do
      calls[#calls + 1] = call:gsub("at$", "")
        .. (call:find "chmod" and given:match " 0%d+" or "")
    end
    assert.equal("fchmod 0660", calls[1])
    assert.same({ "bind", "listen" }, { calls[2], calls[4] }, child.stderr)
    assert.matches("^f?chmod 0660$", calls[3])
  end)

  it("has its mode and nothing that a link leads to", function()
    local path = relays.path()
    local victim = support.tmpfile("", "victim")
    assert(uv.fs_chmod(victim, tonumber("640", 8)))
    local child = stopped("bind", path, [[
      print(require "callosum.relay".new {
        listen = { path = arg[1], mode = "0666" }, pick = function() end })
    ]])
    local own = path:match "(.*/)" .. names(path)[1]
    os.remove(own)
    assert(uv.fs_symlink(victim, own))
    assert.equal(0, (child:kill "sigcont":wait()))
    assert.equal("0640", mode(victim))
    assert.matches("the path is not a socket\tENOTSOCK", child.stdout)
    assert.same({}, names(path))
  end)

  -- Leaves a socket there that nobody listens on.
  local function leaveStale(path)
    local child = support.spawn("lua5.4", { "-e", [[
      assert(require "luv".new_pipe(false):bind(arg[1]))
      os.exit(0, false)]], "-", path }, { env = { LD_PRELOAD = false } })
    child:write()
    assert.equal(0, (child:wait()), child.output)
  end

  -- Another that begins is stopped before one of these calls: right before its
  -- socket gets its name, before it takes a stale one away, or after that.
  for _, at in ipairs { { "link" }, { "link", stale = true },
      { "rename", stale = true }, { "unlink", stale = true } } do
    it(("is not replaced by another that begins then (%s%s)")
        :format(at.stale and "stale, " or "", at[1]), function()
      local path = relays.path()
      if at.stale then leaveStale(path) end
      local child = stopped(at[1], path, [[
        print(require "callosum.relay".new {
          listen = { path = arg[1] }, pick = function() end })
      ]])
      local r = relay { listen = { path = path } }
      local inode = uv.fs_lstat(path).ino
      assert.equal(0, (child:kill "sigcont":wait()))
      assert.matches(IN_USE .. "\tEADDRINUSE", child.stdout)
      assert.equal(inode, uv.fs_lstat(path).ino)
      assert.same({ "relay.sock" }, names(path))
      support.connect(path)
      relays.reached(r, "waiting")
    end)
  end

  it("accepts from the moment that it is there", function()
    local path = relays.path()
    local child = stopped("listen", path, [[
      local r <close> = assert(require "callosum.relay".new {
        listen = { path = arg[1] }, pick = function() end })
      while r:stats().accepted == 0 do require "luv".run "once" end
    ]])
    assert.is_nil(uv.fs_lstat(path))
    child:kill "sigcont"
    support.eventually(function() return uv.fs_lstat(path) end)
    support.connect(path)
    assert.equal(0, (child:wait()))
  end)

  it("may have a path as long as there is room for", function()
    local folder = support.tmpdir()
    for length = #folder + 2, 107 do
      local path = folder .. "/" .. ("x"):rep(length - #folder - 1)
      local r = relay { listen = { path = path } }
      support.connect(path)
      relays.reached(r, "waiting")
      r:close(0)
    end
    local deep = folder .. "/" .. ("d"):rep(105 - #folder - 1)
    assert(uv.fs_mkdir(deep, 448))
    for _ = 1, 200 do -- with a temporary name of one letter
      relay { listen = { path = deep .. "/x" } }:close(0)
    end
    local r = relay { listen = { path = deep .. "/x" } }
    support.connect(deep .. "/x")
    relays.reached(r, "waiting")
  end)

  it("needs no folder that can be locked", function()
    local path = relays.path()
    local child = support.spawn("flock", { "--no-fork", path:match "(.*)/",
      "sh", "-c", "echo locked; exec sleep 9" })
    child:waitFor "locked"
    local r = relay { listen = { path = path } }
    support.connect(path)
    relays.reached(r, "waiting")
    child:kill "sigkill":wait()
  end)

  it("replaces one that nobody listens on", function()
    local path = relays.path()
    local stale = uv.new_pipe(false)
    assert(stale:bind(path))
    local before = uv.fs_lstat(path).ino
    local r = relay { listen = { path = path } }
    assert.is_true(uv.fs_lstat(path).ino ~= before)
    support.connect(path)
    relays.reached(r, "waiting")
    stale:close()
  end)

  it("replaces what a process left behind that was killed", function()
    local path = relays.path()
    local child = support.spawnLua([[
      local uv = require "luv"
      assert(require "callosum.relay".new {
        listen = { path = ... }, pick = function() end })
      print "listens"
      uv.run()
    ]], { args = { path } })
    child:waitFor "listens"
    fails(path, IN_USE, "EADDRINUSE")
    child:kill "sigkill":wait()
    assert.equal("socket", uv.fs_lstat(path).type)
    local r = relay { listen = { path = path } }
    support.connect(path)
    relays.reached(r, "waiting")
  end)

  it("replaces none that somebody listens on", function()
    local path = relays.path()
    local first = relay { listen = { path = path } }
    fails(path, IN_USE, "EADDRINUSE")
    support.connect(path)
    relays.reached(first, "waiting", 1) -- the probe was none
  end)

  it("replaces none whose listener is busy", function()
    local path = relays.path()
    local child = support.spawn("lua5.4", { support.tmpfile([[
      local uv = require "luv"
      local pipe = uv.new_pipe(false)
      assert(pipe:bind(arg[1]))
      assert(pipe:listen(0, function() end))
      local clients = {}
      for i = 1, 4 do
        clients[i] = uv.new_pipe(false)
        clients[i]:connect(arg[1], function() end)
      end
      print "full"
      io.read()
    ]], "child.lua"), path })
    child:waitFor "full"
    fails(path, IN_USE, "EADDRINUSE")
    child:write(nil)
    child:wait()
  end)

  it("replaces nothing that is no socket", function()
    local path = relays.path()
    for _, make in ipairs {
      function() support.write(path, "precious") end,
      function() assert(uv.fs_mkdir(path, 511)) end,
      function() assert(uv.fs_symlink("/nowhere", path)) end,
    } do
      make()
      fails(path, "the path is not a socket", "ENOTSOCK")
      local stat = assert(uv.fs_lstat(path))
      if stat.type == "directory" then uv.fs_rmdir(path)
      else uv.fs_unlink(path) end
    end
  end)

  it("cannot be where there is no folder, or no permission", function()
    fails("/nowhere/relay.sock", "no such file or directory", "ENOENT")
    fails("/proc/relay.sock", "no such file or directory", "ENOENT")
  end)

  it("has a path that fits", function()
    local folder = support.tmpdir()
    local path = folder .. "/" .. ("s"):rep(107 - #folder - 1)
    relay { listen = { path = path } }
    assert.equal("0600", mode(path))
  end)

  it("goes only if it is still the relay's", function()
    local path = relays.path()
    local r = relay { listen = { path = path } }
    assert(uv.fs_unlink(path))
    local other = relay { listen = { path = path } }
    r:close(0)
    assert.is_truthy(uv.fs_lstat(path))
    support.connect(path)
    relays.reached(other, "waiting")
    other:close(0)
    assert.is_nil(uv.fs_lstat(path))
  end)

  it("knows no names of its clients", function()
    local client
    local r = relay { listen = { path = relays.path() },
      pick = function(c) client = c end }
    relays.connect(r)
    relays.reached(r, "waiting")
    assert.same({ nil, "a Unix socket has no host and port", "ENOTSUP" },
      { client:peername() })
  end)

  it("notices a client that goes away while it waits", function()
    local r = relay { listen = { path = relays.path() } }
    relays.connect(r):close()
    relays.reached(r, "gone", 1)
    -- One that has said something may wait for an answer, but not when both
    -- its sides are over.
    local asking = relays.connect(r):write("question"):shutdown()
    relays.reached(r, "waiting")
    require "support.sockets".settle()
    assert.equal(1, r:stats().waiting)
    asking:close()
    relays.reached(r, "gone", 2)
  end)

  it("is used by other programs", function()
    if not os.execute "command -v nc >/dev/null" then
      return pending "nc is not installed"
    end
    local rover, server = relays.kept(1)
    local r = relay { listen = { path = relays.path() },
      pick = relays.picking(rover) }
    local child = support.spawn("sh", { "-c",
      'printf question | nc -N -U "$0"', (r:address()) })
    assert.equal("question", server.peers[1]:take "question")
    assert.is_nil(server.peers[1]:waitEnd())
    server.peers[1]:write("answer"):shutdown()
    child:wait()
    assert.equal("answer", child.stdout)
    run(function() return r:stats().ended == 1 end)
  end)
end)
