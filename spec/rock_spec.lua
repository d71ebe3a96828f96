local support = require "support"
local uv = require "luv"

local ROCKSPEC = "lua/callosum-rover-scm-1.rockspec"

-- Neither the user's rocks nor what the make that runs us, or a sanitizer, has
-- put into the environment.
local function luarocks(tree, ...)
  local child = support.spawn("luarocks", { "--lua-version", "5.4", "--tree",
    tree, ... }, { cwd = support.ROOT, env = { HOME = tree, MAKEFLAGS = false,
    MFLAGS = false, MAKELEVEL = false, B = false, LD_PRELOAD = false } })
  assert.same({ 0, 0 }, { child:wait(4 * support.TIMEOUT) }, child.output)
  return child
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "a"
  file:close()
  return bytes
end

-- The files below a folder: what `of(path)` makes of each, by its name there.
local function files(folder, of, found, under)
  found, under = found or {}, under or ""
  local scan = assert(uv.fs_scandir(folder))
  for name, kind in uv.fs_scandir_next, scan do
    local path = folder .. "/" .. name
    if kind == "directory" then
      files(path, of, found, under .. name .. "/")
    else
      found[under .. name] = of(path)
    end
  end
  return found
end

describe("the rock", function()
  local function run(tree, script)
    local child = support.spawn("lua5.4", { support.tmpfile(script) },
      { cwd = tree, env = { LD_PRELOAD = false,
        LUA_PATH_5_4 = tree .. "/share/lua/5.4/?.lua;;",
        LUA_CPATH_5_4 = tree .. "/lib/lua/5.4/?.so;;" } })
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    return child.output
  end

  it("is built from the tree, has all its modules, and finds what sources load "
    .. "when they need it", function()
    local tree = support.tmpdir()
    local made = luarocks(tree, "make", "--deps-mode", "none", ROCKSPEC)
    assert.matches("luv >= %d", made.output) -- here, it is no rock

    local function there() return true end
    assert.same(files("lua/callosum", read),
      files(tree .. "/share/lua/5.4/callosum", read))
    local build = support.EXECUTABLE:match "^(.*)/"
    assert.same(files(build .. "/callosum", there),
      files(tree .. "/lib/lua/5.4/callosum", there))
    local loaded = files(build .. "/libexec/callosum", there)
    loaded.simulate = nil -- a command
    assert.same(loaded, files(tree .. "/lib/lua/5.4/libexec/callosum", there))

    local path = tree .. "/lib/lua/5.4/callosum/rover.so"
    assert.equal(("0\ts\t%s\n"):format(path), run(tree, [[
      local rover, server = require "callosum.rover", require "callosum.server"
      local uv = require "luv"
      local s = assert(server.new())
      local host, port = s:address()
      local r = rover.new { servers = { s = { host = host, port = port } } }
      r:on("connection", function(slot, socket, id)
        print(slot, id, package.searchpath("callosum.rover", package.cpath))
        r:close()
        s:close()
      end)
      r:connect()
      uv.run()
    ]]))

    local output = run(tree, [[
      local discover = require "callosum.discover"
      local r = require "callosum.rover".new {}
      local open = 0
      local function ask(d)
        open = open + 1
        d:on("error", function(err)
          print(d, err.code)
          d:close()
          open = open - 1
          if open == 0 then r:close() end
        end)
        d:attach(r)
      end
      ask(discover.http { name = "h", url = "http://127.0.0.1:1/" })
      ask(discover.dns { name = "d", host = "a.test", servers = "127.0.0.1:1",
        port = 1 })
      require "luv".run()
    ]])
    assert.matches("source 'h' %(http http://127.0.0.1:1/%)\tECONNREFUSED",
      output)
    assert.matches("source 'd' %(dns a.test%)\tEAI_FAIL", output)

    output = run(tree, [[
      local front = require "callosum.front"
      local _, message, code = front.new {
        listen = { host = "127.0.0.1", port = 0 },
        backend = { host = "127.0.0.1", port = 9 },
        tls = { cert = "/nowhere" } }
      print(code, message)
    ]])
    assert.matches("^ENOENT\tcannot read /nowhere, the certificate", output)
  end)

  it("is described as luarocks would have it", function()
    luarocks(support.tmpdir(), "lint", ROCKSPEC)
  end)
end)
