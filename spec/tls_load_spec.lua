-- Where libcallosum-tls is looked for, when it is first needed.

local support = require "support"
local uv = require "luv"

local fleet = require("support.certificates").fleet()

local BUILD = support.EXECUTABLE:gsub("/[^/]*$", "")
local TLS -- by the name that has the major version in it
do
  local header <close> = assert(io.open "src/callosum/rover.h")
  TLS = "libcallosum-tls.so."
    .. header:read("a"):match "ROVER_VERSION_MAJOR (%d+)"
end

-- A folder with these files of the build: { from, to }.
local function installed(list)
  local dir = support.tmpdir()
  for _, each in ipairs(list) do
    local path = dir
    for folder in each[2]:gmatch "([^/]+)/" do
      path = path .. "/" .. folder
      uv.fs_mkdir(path, tonumber("700", 8))
    end
    local to = dir .. "/" .. each[2]
    assert(uv.fs_copyfile(BUILD .. "/" .. each[1], to))
    assert(uv.fs_chmod(to, tonumber("700", 8)))
  end
  return dir
end

local POLICY = ([[
  require("callosum.front").new { listen = { host = "127.0.0.1", port = 0 },
    backend = { host = "127.0.0.1", port = 9 },
    tls = { cert = %q } }
]])

describe("libcallosum-tls", function()
  local policy

  setup(function() policy = POLICY:format(fleet.server.both) end)

  local function check(dir, command)
    local child = support.spawn(dir .. "/" .. command,
      { "check", support.tmpfile(policy) })
    return child:wait(), child.output
  end

  it("is found beside the command, and in lib beside its bin", function()
    local dir = installed { { "callosum-rover", "callosum-rover" },
      { TLS, TLS } }
    assert.equal(0, check(dir, "callosum-rover"))
    dir = installed { { "callosum-rover", "bin/callosum-rover" },
      { TLS, "lib/" .. TLS } }
    assert.equal(0, check(dir, "bin/callosum-rover"))
  end)

  it("is found by Lua's module", function()
    local dir = installed {
      { "callosum/rover.so", "lib/lua/5.4/callosum/rover.so" },
      { "callosum/front.so", "lib/lua/5.4/callosum/front.so" },
      { TLS, "lib/" .. TLS } }
    local child = support.spawnLua(([[
      package.cpath = %q .. "/lib/lua/5.4/?.so;" .. package.cpath
      require "luv"
      %s:close()
      require("luv").run()
      print "done"
    ]]):format(dir, policy))
    assert.same({ 0, 0 }, { child:wait() }, child.output)
    assert.equal("done\n", child.output)
  end)

  it("is missed with a word on what to install", function()
    local dir = installed { { "callosum-rover", "callosum-rover" } }
    local code, output = check(dir, "callosum-rover")
    assert.equal(1, code)
    assert.matches("cannot load libcallosum%-tls: .*install callosum%-rover "
      .. "anew, with Debian's package libssl3", output)
  end)
end)
