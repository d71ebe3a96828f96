local support = require "support"
local uv = require "luv"

local installed = support.installed
local output, run = installed.output, installed.run

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- The version that the header tells.
local HEADER = read "src/callosum/rover.h"
local function number(name)
  return HEADER:match("\n#define ROVER_VERSION_" .. name .. " (%d+)\n")
end
local MAJOR = number "MAJOR"
local VERSION = ("%s.%s.%s"):format(MAJOR, number "MINOR", number "PATCH")

-- What lies below a folder and is no folder: from path to kind.
local function list(folder, below, into)
  below, into = below or "", into or {}
  local scan = assert(uv.fs_scandir(folder .. below))
  for name, kind in uv.fs_scandir_next, scan do
    local path = below .. "/" .. name
    if kind == "directory" then list(folder, path, into)
    else into[path] = kind end
  end
  return into
end

-- What `make install` is to make below the prefix.
local function expected(lib)
  local all = {
    ["/bin/callosum-rover"] = "file",
    ["/lib/lua/5.4/callosum/discover.so"] = "file",
    ["/lib/lua/5.4/callosum/front.so"] = "file",
    ["/lib/lua/5.4/callosum/options.so"] = "file",
    ["/lib/lua/5.4/callosum/metrics.so"] = "file",
    ["/lib/lua/5.4/callosum/relay.so"] = "file",
    ["/lib/lua/5.4/callosum/rover.so"] = "file",
    ["/lib/systemd/system/callosum-rover@.service"] = "file",
    ["/lib/systemd/system/callosum-rover@.socket"] = "file",
    ["/share/bash-completion/completions/callosum-rover"] = "file",
    ["/libexec/callosum/http.so"] = "file",
    ["/libexec/callosum/resolver.so"] = "file",
    ["/libexec/callosum/simulate"] = "file",
    ["/share/man/man1/callosum-rover.1"] = "file",
    ["/share/man/man1/callosum-simulate.1"] = "file",
    ["/share/man/man5/callosum-policy.5"] = "file",
    ["/share/man/man5/callosum-status.5"] = "file",
    ["/share/man/man7/callosum-neighbours.7"] = "file",
  }
  for _, name in ipairs { "rover", "tls", "workers", "relay", "front",
      "discover", "host" } do
    all["/include/callosum/" .. name .. ".h"] = "file"
  end
  for _, name in ipairs { "rover", "tls", "host" } do
    all[lib .. "/pkgconfig/callosum-" .. name .. ".pc"] = "file"
    local library = lib .. "/libcallosum-" .. name
    all[library .. ".a"] = "file"
    all[library .. ".so." .. VERSION] = "file"
    all[library .. ".so." .. MAJOR] = "link"
    all[library .. ".so"] = "link"
  end
  for path in pairs(list("lua", "/callosum")) do
    all["/share/lua/5.4" .. path] = "file"
  end
  return all
end

describe("make install", function()
  for _, case in ipairs {
    { "puts it all below PREFIX", prefix = true },
    { "puts it all below DESTDIR", PREFIX = "/usr" },
    { "puts the libraries into LIBDIR", PREFIX = "/usr",
      LIBDIR = "/usr/lib/x86_64-linux-gnu", lib = "/lib/x86_64-linux-gnu" },
    { "takes a DESTDIR with blanks", PREFIX = "/opt/rover", folder = "/a b" },
    { "takes a build in a folder of any name", build = "/build-1.so.0" },
  } do
    it(case[1], function()
      local folder = support.tmpdir()
      local variables = { PREFIX = case.PREFIX or folder, LIBDIR = case.LIBDIR }
      local root = folder
      if case.PREFIX then
        variables.DESTDIR = folder .. (case.folder or "")
        root = variables.DESTDIR .. case.PREFIX
      end
      if case.build then
        variables.B = support.tmpdir() .. case.build
        assert(uv.fs_symlink(uv.cwd() .. "/" .. (os.getenv "BUILD" or "build"),
          variables.B))
      end
      installed.make("install", variables)
      assert.same(expected(case.lib or "/lib"), list(root))

      installed.make("uninstall", variables)
      assert.same({}, list(folder))
      for _, ours in ipairs { "/include/callosum", "/lib/lua/5.4/callosum",
          "/libexec/callosum", "/share/lua/5.4/callosum" } do
        assert.is_nil(uv.fs_stat(root .. ours), ours)
      end
    end)
  end

  it("replaces what was installed before, even while that runs", function()
    local prefix = support.tmpdir()
    installed.make("install", { PREFIX = prefix })
    local child = installed.spawn(prefix .. "/bin/callosum-rover",
      { "serve", "0" })
    child:waitFor "listening"
    installed.make("install", { PREFIX = prefix })
    assert.same(expected "/lib", list(prefix))
    child:kill()
    assert.same({ 0, 0 }, { child:wait() }, child.output)
  end)

  it("has the library files linked by their versions", function()
    local lib = installed.tree().lib
    for _, name in ipairs { "rover", "host" } do
      local file = "libcallosum-" .. name .. ".so"
      for _, link in ipairs { file, file .. "." .. MAJOR } do
        assert.equal(file .. "." .. VERSION, uv.fs_readlink(lib .. "/" .. link))
      end
    end
  end)

  it("can be read by all, whatever the umask", function()
    local prefix = support.tmpdir() .. "/below"
    local child = support.spawn("sh", { "-c",
      'umask 077; exec make -s install B="$1" PREFIX="$2"', "sh",
      os.getenv "BUILD" or "build", prefix }, { env = support.MAKE_ENV })
    assert.equal(0, child:wait(support.MAKING), child.output)
    for path, kind in pairs(list(prefix)) do
      local mode = uv.fs_stat(prefix .. path).mode & 0x1ff
      local isProgram = path == "/bin/callosum-rover"
        or path == "/libexec/callosum/simulate"
      local wanted = isProgram and 0x1ed or 0x1a4
      if kind == "file" then assert.equal(wanted, mode, path) end
    end
    for _, folder in ipairs { "", "/bin", "/share/lua/5.4/callosum" } do
      assert.equal(0x1ed, uv.fs_stat(prefix .. folder).mode & 0x1ff)
    end
  end)

  for _, variable in ipairs { "PREFIX", "LIBDIR" } do
    for _, path in ipairs { "here", "~/x", "/a b" } do
      it("refuses the " .. variable .. " " .. path, function()
        for _, goal in ipairs { "install", "uninstall" } do
          local child = support.make { "-s", goal, variable .. "=" .. path,
            "DESTDIR=" .. support.tmpdir() }
          assert.is_true(child:wait(support.MAKING) ~= 0)
          assert.matches("are absolute paths without blanks", child.stderr)
        end
      end)
    end
  end
end)

describe("make uninstall", function()
  it("leaves what is not ours, and what it is in", function()
    local prefix = support.tmpdir()
    installed.make("install", { PREFIX = prefix })
    local theirs = {}
    for _, path in ipairs { "/bin/other", "/include/callosum/other.h",
        "/lib/libother.so", "/share/lua/5.4/callosum/other.lua" } do
      support.write(prefix .. path, "")
      theirs[path] = "file"
    end
    installed.make("uninstall", { PREFIX = prefix })
    assert.same(theirs, list(prefix))
  end)

  it("does nothing where nothing is installed", function()
    local prefix = support.tmpdir()
    installed.make("uninstall", { PREFIX = prefix })
    assert.same({}, list(prefix))
  end)
end)

describe("an installed callosum-rover", function()
  local POLICY = [[
    local slots = require "callosum.slots"
    local host = require "callosum.host"
    require "callosum.rover".new()
    host.log.info("slot", { slot = slots.new():get() })
    host.stop()
  ]]

  local function works(executable)
    local policy = support.tmpfile(POLICY)
    for _, flag in ipairs { "--", "--sandbox" } do
      local child = installed.spawn(executable,
        { "run", flag, policy })
      assert.same({ 0, 0 }, { child:wait() }, child.output)
      assert.matches("slot slot=0\n", child.stderr)
    end
    local server = installed.spawn(executable, { "serve", "0" })
    server:waitFor "listening"
    server:kill()
    assert.same({ 0, 0 }, { server:wait() }, server.output)
  end

  it("finds its modules where it was installed", function()
    works(installed.tree().bin .. "/callosum-rover")
  end)

  it("finds them where all of it was moved", function()
    local folder = support.tmpdir()
    installed.make("install", { PREFIX = folder .. "/before" })
    assert(uv.fs_rename(folder .. "/before", folder .. "/after it"))
    works(folder .. "/after it/bin/callosum-rover")
  end)

  it("finds them when called by a link", function()
    local folder = support.tmpdir()
    assert(uv.fs_symlink(installed.tree().bin .. "/callosum-rover",
      folder .. "/rove"))
    works(folder .. "/rove")
  end)

  it("finds them in DESTDIR, where it is packed", function()
    local folder = support.tmpdir()
    installed.make("install", { DESTDIR = folder, PREFIX = "/usr" })
    works(folder .. "/usr/bin/callosum-rover")
  end)

  it("tells when they are not there", function()
    local folder = support.tmpdir()
    assert(uv.fs_copyfile(installed.tree().bin .. "/callosum-rover",
      folder .. "/callosum-rover"))
    local child = installed.spawn(folder .. "/callosum-rover",
      { "serve", "0" }, { cwd = folder })
    assert.same({ 1, 0 }, { child:wait() })
    assert.matches("^callosum%-rover: cannot serve: its Lua modules are not in "
      .. "[^\n]+\n$", child.stderr)
  end)

  it("has the version of the header", function()
    assert.equal("callosum-rover " .. VERSION .. "\n",
      run(installed.tree().bin .. "/callosum-rover", { "--version" }))
  end)

  it("needs no library of ours", function()
    local needs = output("ldd", { installed.tree().bin .. "/callosum-rover" })
    assert.is_falsy(needs:find "callosum%-[rh]")
  end)
end)

describe("in other programs, lua5.4", function()
  it("finds the installed modules", function()
    local printed = run("lua5.4", { "-e", [[
      local uv = require "luv"
      local rover = require "callosum.rover"
      local server = assert(require "callosum.server".new())
      local _, port = server:address()
      local r = rover.new { servers = { s = { host = "::1", port = port } } }
      r:addServer("s", { host = "127.0.0.1", port = port })
      r:on("connection", function(slot)
        print(rover._VERSION, slot)
        r:close()
        server:close()
      end)
      r:start()
      uv.run()
    ]] })
    assert.equal(VERSION .. "\t0\n", printed)
  end)
end)
