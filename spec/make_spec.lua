local support = require "support"
local uv = require "luv"

local eventually = support.eventually

local make, MAKING = support.make, support.MAKING

-- Starts `make run` on free ports, and returns it and them, once servers and
-- demo run.
local function started()
  local ports = { support.freePorts(3) }
  local child = make { "run", "PORTS=" .. table.concat(ports, " ") }
  child:waitFor("policy loaded file=examples/demo.lua\n", MAKING)
  return child, ports
end

-- The process of the demo, or of the servers ("serve").
local function find(ports, command)
  for _, each in ipairs(support.processes(tostring(ports[1]))) do
    if each.args[2] == command then return each.pid end
  end
end

-- Nothing is left that has these ports among its arguments, nor on them.
local function isGone(ports)
  if #support.processes(tostring(ports[1])) > 0 then return false end
  for _, port in ipairs(ports) do
    if not support.isFree(port) then return false end
  end
  return true
end

-- Waits for that; in any case, ends what is left.
local function gone(ports)
  local ok = pcall(eventually, function() return isGone(ports) end, 8)
  local left = {}
  for _, each in ipairs(support.processes(tostring(ports[1]))) do
    left[#left + 1] = table.concat(each.args, " ")
    uv.kill(each.pid, "sigkill")
  end
  assert.same({}, left)
  assert.is_true(ok)
end

describe("make run", function()
  it("shows servers and a policy at work, and ends by itself", function()
    local ports = { support.freePorts(3) }
    local child = make { "run", "DURATION=2",
      "PORTS=" .. table.concat(ports, " ") }
    assert.same({ 0, 0 }, { child:wait(MAKING) }, child.output)
    assert.matches("\n%d%d:%d%d:%d%d  localhost:%d+ slot 0: kept\n",
      child.stdout)
    local rows = child.stdout:match "\n  server +kept  slots\n(.-)\n\n"
    assert.is_truthy(rows, child.stdout)
    for _, port in ipairs(ports) do
      local count, slots = rows:match("  localhost:" .. port
        .. " +(%d+)  ([%d ]*)")
      assert.is_truthy(count, rows)
      assert.equal(tonumber(count), select(2, slots:gsub("%d+", "")))
    end
    gone(ports)
  end)

  it("shows the table in a single second too", function()
    local ports = { support.freePorts(2) }
    local child = make { "run", "DURATION=1",
      "PORTS=" .. table.concat(ports, " ") }
    assert.same({ 0, 0 }, { child:wait(MAKING) }, child.output)
    assert.matches("\n  server +kept  slots\n", child.stdout)
    gone(ports)
  end)

  it("tells which port is taken, and runs nothing", function()
    local taken = support.serve().port
    local one, two = support.freePorts(2)
    local child = make { "run", ("PORTS=%d %d %d"):format(one, taken, two) }
    local code = child:wait(MAKING)
    assert.is_true(code ~= 0)
    assert.matches("cannot listen on 127.0.0.1:" .. taken
      .. ": address already in use", child.stderr)
    assert.is_falsy(child.output:find("demo.lua\n", 1, true), child.output)
    gone { one, two }
  end)

  it("refuses what is no port", function()
    local child = make { "run", "PORTS=abc" }
    assert.is_true(child:wait(MAKING) ~= 0)
    assert.matches("a PORT is a number from 0 to 65535, not 'abc'",
      child.stderr)
  end)

  it("ends in order on Ctrl-C", function()
    local child, ports = started()
    -- As a terminal does: to all of its processes.
    uv.kill(-child.pid, "sigint")
    child:wait()
    gone(ports)
    assert.matches("stopping signal=SIGINT", child.stderr)
    assert.is_falsy(child.output:find(" error ", 1, true), child.output)
  end)

  it("ends with its servers and demo on SIGTERM", function()
    local child, ports = started()
    child:kill "sigterm"
    child:wait()
    gone(ports)
  end)

  it("ends with its servers and demo when killed", function()
    local child, ports = started()
    child:kill "sigkill"
    gone(ports)
  end)

  it("ends with its servers when the demo is killed", function()
    local child, ports = started()
    uv.kill(assert(find(ports, "run")), "sigkill")
    local code = child:wait()
    assert.is_true(code ~= 0)
    gone(ports)
  end)

  it("ends with its demo when the servers are killed", function()
    local child, ports = started()
    uv.kill(assert(find(ports, "serve")), "sigkill")
    gone(ports)
    local code = child:wait()
    assert.is_true(code ~= 0)
  end)

  it("ends when nobody reads its output any more", function()
    local ports = { support.freePorts(2) }
    local child = support.spawn("sh", { "-c",
      "make run PORTS=\"$1\" 2>&1 | sed '/demo.lua$/q'", "sh",
      table.concat(ports, " ") },
      { cwd = support.ROOT, env = support.MAKE_ENV })
    child:waitFor("demo.lua\n", MAKING)
    gone(ports)
    child:wait()
  end)
end)

describe("on a machine that is not Debian", function()
  -- A folder with make and the few programs it wants, and not apt-get.
  local function path()
    local dir = support.tmpdir()
    for _, name in ipairs { "make", "sh", "id", "find", "env", "grep",
        "sed" } do
      local which = assert(io.popen("command -v " .. name))
      local from = which:read "l"
      which:close()
      assert(uv.fs_symlink(from, dir .. "/" .. name))
    end
    return dir
  end

  local WANTED = { run = { "gcc", "libc6-dev", "pkg-config", "libuv1-dev",
    "liblua5.4-dev", "lua-luv" }, test = { "lua5.4", "lua-busted", "libuv1-dev",
    "gcc" }, lint = { "lua-check", "clang" } }

  for goal, packages in pairs(WANTED) do
    it("make " .. goal .. " tells which packages are wanted, and stops",
        function()
      local child = make({ goal }, { PATH = path(), DEPS = false })
      assert.is_true(child:wait() ~= 0)
      for _, name in ipairs(packages) do
        assert.is_truthy((" " .. child.stderr:gsub("\n", " "))
          :find(" " .. name .. " ", 1, true), name)
      end
      assert.matches("DEPS=there", child.stderr)
      assert.equal("", child.stdout)
    end)
  end
end)

describe("make deps", function()
  -- What dpkg knows, by its own database in a folder of ours: each package that
  -- is wanted, for these architectures.
  local function database(architectures)
    local dir = support.tmpdir()
    local wanted = assert(io.open "Makefile"):read "a":gsub("\\\n", " ")
      :match "\nPACKAGES := ([^\n]+)\n"
    local text = {}
    for name in wanted:gmatch "%S+" do
      for _, architecture in ipairs(architectures) do
        text[#text + 1] = ("Package: %s\nStatus: install ok installed\n"
          .. "Architecture: %s\nMulti-Arch: same\nVersion: 1\n"
          .. "Maintainer: nobody\nDescription: x\n"):format(name, architecture)
      end
    end
    support.write(dir .. "/status", table.concat(text, "\n"))
    assert(uv.fs_mkdir(dir .. "/updates", 493))
    assert(uv.fs_mkdir(dir .. "/info", 493))
    return dir
  end

  -- An apt-get that installs nothing, and says so.
  local function deps(dir)
    for _, name in ipairs { "apt-get", "sudo" } do
      support.write(dir .. "/" .. name, "#!/bin/sh\necho no >&2\nexit 1\n")
      assert(uv.fs_chmod(dir .. "/" .. name, 493))
    end
    local child = make({ "-s", "deps" }, { DPKG_ADMINDIR = dir, DEPS = false,
      PATH = dir .. ":" .. os.getenv "PATH" })
    return child:wait(), child
  end

  local own = assert(io.popen "dpkg --print-architecture"):read "l"
  local foreign = own == "amd64" and "arm64" or "amd64"

  it("has nothing to do where all is there", function()
    local code, child = deps(database { own })
    assert.equal(0, code, child.output)
    assert.equal("", child.output)
  end)

  it("is not misled by what is there for another architecture too", function()
    local code, child = deps(database { own, foreign })
    assert.equal(0, code, child.output)
    assert.equal("", child.output)
  end)

  it("installs what is there for another architecture only", function()
    local code, child = deps(database { foreign })
    assert.is_true(code ~= 0)
    assert.matches("installing gcc ", child.stdout)
  end)
end)

describe("make", function()
  it("asks the pkg-config that it is given", function()
    local seen = support.tmpdir() .. "/seen"
    local script = support.tmpfile("#!/bin/sh\necho \"$@\" >>" .. seen
      .. "\nexec pkg-config \"$@\"\n", "other-pkg-config")
    assert(uv.fs_chmod(script, 493))
    local child = make { "-n", "all", "PKG_CONFIG=" .. script,
      "B=" .. support.tmpdir() .. "/build" }
    assert.equal(0, (child:wait(MAKING)))
    local asked = assert(io.open(seen)):read "a"
    assert.matches("%-%-cflags libuv lua5%.4", asked)
    assert.matches("%-%-libs lua5%.4", asked)
  end)

  it("installs for the Lua that LUA_PC names", function()
    local dir = support.tmpdir()
    support.write(dir .. "/lua-next.pc", "Name: Lua\nDescription: a Lua\n"
      .. "Version: 5.12.3\n")
    local child = make({ "-n", "install", "LUA_PC=lua-next", "PREFIX=/p" },
      { PKG_CONFIG_PATH = dir })
    assert.equal(0, (child:wait(MAKING)), child.output)
    for _, path in ipairs { "/p/share/lua/5.12/callosum/pool/heap.lua",
        "/p/lib/lua/5.12/callosum/rover.so" } do
      assert.is_truthy(child.stdout:find(path, 1, true), path)
    end
    assert.is_falsy(child.stdout:find("lua/5.4", 1, true))
  end)
end)

for goal, list in pairs { valgrind = "VALGRIND", asan = "WITHOUT_C" } do
  it("make " .. goal .. " names no spec that is not there", function()
    local file <close> = assert(io.open "Makefile")
    local count = 0
    local text = file:read "a":gsub("\\\n", "")
    for name in text:match("\n" .. list .. " := ([^\n]+)"):gmatch "[%w_]+" do
      assert.is_truthy(uv.fs_stat(("spec/%s_spec.lua"):format(name)), name)
      count = count + 1
    end
    assert.is_true(count > 0)
  end)
end

describe("continuous integration", function()
  -- Runs it with a make that does what the script says, whose $1 is the goal.
  local function run(script)
    local dir = support.tmpdir()
    support.write(dir .. "/make", "#!/bin/sh\n" .. script)
    assert(uv.fs_chmod(dir .. "/make", 493)) -- 0755
    local child = support.spawn(".ci/run", {},
      { env = { PATH = dir .. ":" .. os.getenv "PATH", LD_PRELOAD = false } })
    return child:wait(), child
  end

  it("tells what each step has said, in order, and counts it all once",
      function()
    local code, child = run [[
      test "$1" != test || echo '1 passed, 2 failed' # of a file in it
      case $1 in test | asan) printf '\n7 passed, 0 failed, 2 skipped\n';; esac
      echo "$1 begins"
      echo "$1 ends" >&2
    ]]
    assert.equal(0, code, child.output)
    assert.matches("\n14 passed, 0 failed\n$", child.stdout)
    local step, steps = nil, 0
    for line in child.stdout:gmatch "[^\n]+" do
      step = line:match "^== make (%S+)" or step
      local who, what = line:match "^(%S+) (%l+s)$"
      if step and who then assert.equal(step, who) end
      if step and what == "ends" then steps = steps + 1 end
    end
    assert.is_true(steps >= 7)
  end)

  for _, goal in ipairs { "deps-lint", "test", "lint", "fuzz" } do
    it("fails if make " .. goal .. " does, and goes on if that is a step",
        function()
      local code, child = run([[
        echo "$1 begins"
        case " $* " in *" ]] .. goal .. [[ "*) exit 1;; esac
        test "$1" != asan || printf '\n7 passed, 0 failed\n'
      ]])
      assert.is_true(code ~= 0)
      local isStep = not goal:find "deps"
      assert.equal(isStep,
        child.stdout:find "\n7 passed, 0 failed\n$" ~= nil)
    end)
  end
end)
