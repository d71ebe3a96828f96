local support = require "support"
local uv = require "luv"

local BUILD = support.EXECUTABLE:gsub("/[^/]*$", "")

-- What `nm` tells of a static library, each line split at its bars.
local function symbols(library, flags)
  local list = {}
  local path = ("%s/libcallosum-%s.a"):format(BUILD, library)
  local pipe = assert(io.popen(("nm -f sysv %s '%s'"):format(flags, path)))
  for line in pipe:lines() do
    local name, kind, section =
      line:match "^(%S+)%s*|[^|]*|[^|]*|%s*([^|]-)|[^|]*|[^|]*|(.*)$"
    list[#list + 1] = name and { name = name, kind = kind, section = section }
  end
  assert(pipe:close() and #list > 0)
  return list
end

-- What a library may not do, as patterns of what would do it.
local FORBIDDEN = {
  ["print"] = { "printf$", "printf_chk$", "^puts$", "putc", "putchar",
    "^fwrite$", "^write$", "perror", "^stdout$", "^stderr$", "syslog" },
  ["end the process"] = { "exit$", "^_Exit$", "^abort$", "^__assert_fail$",
    "^raise$", "^kill$" },
  ["touch signals"] = { "^signal$", "sigaction", "sigmask", "^sigprocmask$",
    "^uv_signal_" },
  ["choose or run a loop"] = { "^uv_default_loop$", "^uv_run$", "^uv_stop$",
    "^uv_loop_" },
}
local ALLOWED = { snprintf = true, __snprintf_chk = true, vsnprintf = true,
  __vsnprintf_chk = true,
  pthread_sigmask = true } -- so that workers take none

for _, library in ipairs { "rover", "tls", "host" } do
  describe("libcallosum-" .. library, function()
    for what, patterns in pairs(FORBIDDEN) do
      it("has nothing to " .. what .. " with", function()
        for _, symbol in ipairs(symbols(library, "-u")) do
          for _, pattern in ipairs(patterns) do
            if symbol.name:find(pattern) and not ALLOWED[symbol.name] then
              error(symbol.name .. " is referred to", 0)
            end
          end
        end
      end)
    end

    it("has no variables", function()
      for _, symbol in ipairs(symbols(library, "--defined-only")) do
        local section = symbol.section
        if symbol.kind == "OBJECT" and not section:find "^%.rodata"
            and not symbol.name:find "^__odr_asan" -- of the sanitizer
            and not section:find "^%.data%.rel%.ro" then
          error(("%s is in %s"):format(symbol.name, section), 0)
        end
      end
    end)
  end)
end

describe("libcallosum-rover", function()
  it("has nothing of Lua, and nothing of OpenSSL", function()
    for _, symbol in ipairs(symbols("rover", "-u")) do
      assert.is_nil(symbol.name:find "^lua")
      assert.is_nil(symbol.name:find "^SSL_")
    end
  end)
end)

describe("libcallosum-tls", function()
  it("needs nothing of the rover's library, and no loop", function()
    for _, symbol in ipairs(symbols("tls", "-u")) do
      assert.is_nil(symbol.name:find "^net__")
      assert.is_nil(symbol.name:find "^rover_[^t]")
      assert.is_true(not symbol.name:find "^uv_"
        or symbol.name == "uv_strerror" or symbol.name == "uv_os_getenv")
    end
  end)
end)

-- So that a thread with an epoll and a clock can run pairs.
describe("what copies between two connections", function()
  local function include(name, kind, into)
    local path = ("src/net/%s.%s"):format(name, kind)
    local file = not into[path] and io.open(path)
    if not file then return into end
    into[path] = file:read "a"
    file:close()
    for each in into[path]:gmatch '#include "(%w+)%.h"' do
      include(each, "h", into)
    end
    return into
  end

  for _, name in ipairs { "descriptor", "epoll", "flow", "pair", "worker" } do
    it("knows nothing of libuv, in " .. name, function()
      for path, text in pairs(include(name, "c", {})) do
        assert.is_nil(text:find "#include <uv", path)
      end
    end)
  end
end)

-- Of our own headers, each part includes its own and these.
local PARTS = {
  net = { ["callosum/workers.h"] = true },
  tls = { ["callosum/rover.h"] = true, ["callosum/tls.h"] = true,
    ["../net/tls.h"] = true },
  rover = { ["callosum/rover.h"] = true, net = true },
  relay = { ["callosum/relay.h"] = true, net = true,
    ["../rover/handoff.h"] = true, ["../rover/joined.h"] = true },
  front = { ["callosum/front.h"] = true, net = true },
  discover = { ["callosum/rover.h"] = true, ["callosum/discover.h"] = true,
    ["../net/hash.h"] = true, ["../rover/hold.h"] = true,
    ["../tls/functions.h"] = true },
  lua = { ["callosum/rover.h"] = true, ["callosum/discover.h"] = true,
    ["../rover/hold.h"] = true, discover = true, ["callosum/relay.h"] = true,
    ["callosum/front.h"] = true, ["callosum/workers.h"] = true,
    ["../rover/reload.h"] = true, ["../rover/keep.h"] = true,
    ["../relay/reload.h"] = true, ["../front/reload.h"] = true,
    ["../tls/functions.h"] = true },
  host = { ["callosum/host.h"] = true, lua = true, discover = true,
    ["../net/options.h"] = true, ["../net/reserve.h"] = true,
    ["../tls/functions.h"] = true,
    ["../rover/known.h"] = true },
  admin = { ["callosum/host.h"] = true, ["../net/place.h"] = true },
  cli = { ["callosum/host.h"] = true, admin = true },
}

describe("each part of the source", function()
  for part, others in pairs(PARTS) do
    it("includes nothing of ours but what it may know, in " .. part, function()
      local files = 0
      for name in uv.fs_scandir_next, assert(uv.fs_scandir("src/" .. part)) do
        if name:find "%.[ch]$" then
          files = files + 1
          for line in io.lines(("src/%s/%s"):format(part, name)) do
            local header = line:match '^#include "(.*)"'
              or line:match "^#include <(callosum/.*)>"
            local known = not header or others[header]
              or others[header:match "^%.%./(%w+)/"]
              or uv.fs_stat(("src/%s/%s"):format(part, header))
                and not header:find "/"
            assert.is_truthy(known, name .. " includes " .. (header or ""))
          end
        end
      end
      assert.is_true(files > 0)
    end)
  end
end)
