local callosum = require "callosum.relay"
local relays = require "support.relays"
local support = require "support"
local uv = require "luv"

local relay, run = relays.relay, support.run

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

  it("is never open to more than that", function()
    -- strace tells what the process did, in order.
    if not os.execute "command -v strace >/dev/null" then
      return pending "strace is not installed"
    end
    local path = relays.path()
    local script = support.tmpfile([[
      local r <close> = assert(require "callosum.relay".new {
        listen = { path = arg[1], mode = "0660" }, pick = function() end })
    ]], "child.lua")
    local child = support.spawn("strace", { "-qq", "-e",
      "trace=bind,listen,chmod,fchmod", "lua5.4", script, path },
      { env = { LUA_PATH_5_4 = package.path, LUA_CPATH_5_4 = package.cpath,
        LD_PRELOAD = false } })
    if child:wait() ~= 0 then return pending "strace may not trace" end
    local calls = {}
    for call, last in child.stderr:gmatch "(%l+)%([^\n]-,? ?(0?%d*)%)" do
      calls[#calls + 1] = call .. (call:find "chmod" and " " .. last or "")
    end
    assert.same({ "fchmod 0660", "bind", "chmod 0660", "listen" }, calls,
      child.stderr)
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
    fails(path, "somebody listens there", "EADDRINUSE")
    child:kill "sigkill":wait()
    assert.equal("socket", uv.fs_lstat(path).type)
    local r = relay { listen = { path = path } }
    support.connect(path)
    relays.reached(r, "waiting")
  end)

  it("replaces none that somebody listens on", function()
    local path = relays.path()
    local first = relay { listen = { path = path } }
    fails(path, "somebody listens there", "EADDRINUSE")
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
    fails(path, "somebody listens there", "EADDRINUSE")
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
      fails(path, "there is something else than a socket", "ENOTSOCK")
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
