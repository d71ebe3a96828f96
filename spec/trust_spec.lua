local reloads = require "support.reloads"
local support = require "support"
local uv = require "luv"

local WARNING = "others can change what the policy runs"
local POLICY = [[require "callosum.rover".new {}]]
local OTHERS = 12345 -- a user and a group that we are not

-- Checks a policy whose files `prepare(dir)` has changed, and returns the
-- warnings: an array of the file and the reason, with the folder left out.
local function warnings(prepare, code)
  local dir = support.tmpdir()
  assert(uv.fs_mkdir(dir .. "/etc", 493)) -- 0755
  local path = support.write(dir .. "/etc/policy.lua", code or POLICY)
  path = prepare(dir .. "/etc", path) or path
  local child = support.command { "check", "--log-format", "json", path }
  assert.equal(0, (child:wait()), child.output)
  local list = {}
  for i, event in ipairs(support.events(child, WARNING)) do
    assert.equal("warn", event.level)
    list[i] = { event.file:sub(#dir + 2), (event.reason:gsub(
      dir:gsub("%p", "%%%0") .. "/", "")) }
  end
  return list
end

local function chmod(mode)
  return function(_, path) assert(uv.fs_chmod(path, tonumber(mode, 8))) end
end

local function chown(user, group, mode)
  return function(_, path)
    assert(uv.fs_chown(path, user, group))
    assert(uv.fs_chmod(path, tonumber(mode, 8)))
  end
end

describe("A policy that others can write", function()
  it("is none if its user alone can, or all of its group", function()
    assert.same({}, warnings(chmod "0600"))
    assert.same({}, warnings(chmod "0644"))
    assert.same({}, warnings(chmod "0664"))
  end)

  it("is warned of if everybody can", function()
    assert.same({ { "etc/policy.lua",
      "everybody can write etc/policy.lua: chmod o-w" } },
      warnings(chmod "0666"))
  end)

  it("is warned of if everybody can write its folder", function()
    assert.same({ { "etc/policy.lua", "everybody can write etc: chmod o-w" } },
      warnings(function(dir) chmod "0777" (nil, dir) end))
  end)

  it("is none in a folder in which one replaces only one's own", function()
    assert.same({}, warnings(function(dir) chmod "1777" (nil, dir) end))
  end)

  it("is warned of where a symlink leads", function()
    local function link(mode, folder)
      return function(dir, path)
        local real = dir .. "/real"
        assert(uv.fs_mkdir(real, 493))
        assert(uv.fs_rename(path, real .. "/policy.lua"))
        assert(uv.fs_symlink("real/policy.lua", path))
        chmod(mode)(nil, real .. (folder and "" or "/policy.lua"))
      end
    end
    assert.same({}, warnings(link "0644"))
    assert.same({ { "etc/policy.lua",
      "everybody can write etc/policy.lua: chmod o-w" } },
      warnings(link "0646"))
    assert.same({ { "etc/policy.lua",
      "everybody can write etc/real: chmod o-w" } },
      warnings(link("0777", true)))
  end)

  it("is warned of if it is a module", function()
    assert.same({ { "etc/part.lua",
      "everybody can write etc/part.lua: chmod o-w" } },
      warnings(function(dir)
        support.write(dir .. "/part.lua", "")
        chmod "0666" (nil, dir .. "/part.lua")
      end, POLICY .. " require 'part' require 'callosum.slots'"))
  end)

  it("is warned of if it is another user's, or another group's to write",
      function()
    if uv.getuid() ~= 0 then return end -- only root gives files away
    assert.same({ { "etc/policy.lua",
      "etc/policy.lua belongs to user 12345: chown it" } },
      warnings(chown(OTHERS, 0, "0644")))
    assert.same({ { "etc/policy.lua",
      "group 12345 can write etc/policy.lua: chmod g-w" } },
      warnings(chown(0, OTHERS, "0664")))
    assert.same({}, warnings(chown(0, OTHERS, "0644")))
  end)

  it("runs, and is warned of at each load", function()
    local child = reloads.start [[rover.new {}]]
    assert.equal(0, #support.events(child, WARNING))
    assert(uv.fs_chmod(child.path, 438)) -- 0666
    reloads.reload(child)
    assert.equal(1, #support.events(child, WARNING))
    reloads.fails(child, "error 'broken'")
    reloads.reload(child, "rover.new {}")
    assert.equal(3, #support.events(child, WARNING))
    support.stop(child)
  end)
end)

describe("A process that a policy starts", function()
  it("gets no descriptor of the host's", function()
    -- What we were started with, all get.
    local ours = support.spawn("/bin/ls", { "/proc/self/fd" })
    ours:wait()
    local s = support.serve { send = "0\r\nunread" }
    local child = reloads.start([[
      local uv = require "luv"
      local r = rover.new { servers = { s = at(1) } }
      r:on("connection", function(_, socket)
        local timer = uv.new_timer()
        timer:start(20, 0, function() -- bytes have come: two descriptors
          local out = uv.new_pipe()
          local seen = ""
          uv.spawn("/bin/ls", { args = { "/proc/self/fd" },
            stdio = { nil, out, nil } }, function() end)
          out:read_start(function(_, chunk)
            if chunk then seen = seen .. chunk return end
            log("seen", { fds = seen:gsub("\n", " "), kept = #r:sockets() })
          end)
        end)
        socket:write "?"
      end)
      connect(r, 1)
    ]], s)
    local event = support.logged(child, "seen")
    assert.equal((ours.stdout:gsub("\n", " ")), event.fds)
    assert.equal(1, event.kept)
    support.stop(child)
  end)
end)
