local support = require "support"

local installed = support.installed
local output, pkgConfig = installed.output, installed.pkgConfig

local COMPILERS = { "gcc", "clang", "g++", "clang++" }

local header = io.open "src/callosum/rover.h":read "a"
local MAJOR = header:match "VERSION_MAJOR (%d+)\n"

local function library(name)
  return installed.tree().lib .. "/libcallosum-" .. name
end

-- What the compiler and its sanitizers add begins with two underscores.
local function symbols(...)
  local found = {}
  for line in output("nm", { "--defined-only", ... }):gmatch "[^\n]+" do
    local name = line:match "^%x+ %a ([^_].*)" or line:match "^%x+ %a (_[^_].*)"
    if name then found[#found + 1] = name end
  end
  table.sort(found)
  return found
end

-- The headers of each library's functions. The host's library links the
-- rover's, so what the bindings need for a reload is shown as well.
local HEADERS = {
  rover = { "callosum/rover", "callosum/relay", "callosum/front",
    "callosum/workers",
    "rover/hold", "rover/keep", "rover/known", "rover/reload", "relay/reload",
    "front/reload" },
  host = { "callosum/host", "callosum/discover" },
}

-- The functions that the headers of a library declare.
local function declared(name)
  local found = {}
  for _, path in ipairs(HEADERS[name]) do
    local text = io.open("src/" .. path .. ".h"):read "a"
    for each in text:gmatch "\nROVER_EXTERN[^;]-(rover_[%l_]+)%(" do
      found[#found + 1] = each
    end
  end
  table.sort(found)
  return found
end

-- What a shared library says of itself: its name, and what it needs.
local function dynamic(path)
  local soname, needs = nil, {}
  for kind, name in output("readelf", { "-d", path })
      :gmatch "%((%u+)%)[^\n]-%[(.-)%]" do
    if kind == "SONAME" then soname = name end
    if kind == "NEEDED" then needs[#needs + 1] = name end
  end
  return soname, needs
end

local function has(names, pattern)
  for _, name in ipairs(names) do
    if name:find(pattern) then return true end
  end
  return false
end

describe("the shared library", function()
  for _, name in ipairs { "rover", "host" } do
    it("of the " .. name .. " has the soname of its version", function()
      assert.equal("libcallosum-" .. name .. ".so." .. MAJOR,
        (dynamic(library(name) .. ".so")))
    end)

    it("of the " .. name .. " shows what its headers declare, and nothing else",
        function()
      assert.same(declared(name), symbols("-D", library(name) .. ".so"))
    end)
  end

  it("of the rover needs libuv and no Lua", function()
    local _, needs = dynamic(library "rover" .. ".so")
    assert.is_true(has(needs, "^libuv%.so"))
    local all = output("ldd", { library "rover" .. ".so" })
    assert.is_falsy(all:find "[Ll]ua", all)
  end)

  it("of the host needs that of the rover, libuv and Lua", function()
    local _, needs = dynamic(library "host" .. ".so")
    assert.is_true(has(needs, "^libcallosum%-rover%.so%." .. MAJOR .. "$"))
    assert.is_true(has(needs, "^libuv%.so"))
    assert.is_true(has(needs, "^liblua5%.4%.so"))
  end)

  it("that is the Lua module shows its opener, and nothing else", function()
    assert.same({ "luaopen_callosum_rover" }, symbols("-D",
      installed.tree().prefix .. "/lib/lua/5.4/callosum/rover.so"))
  end)
end)

describe("the static library", function()
  for _, name in ipairs { "rover", "host" } do
    it("of the " .. name .. " has no name that may be another's", function()
      local names = symbols("-g", library(name) .. ".a")
      for _, each in ipairs(names) do
        assert.is_truthy(each:find "^rover_" or each:find "^host__"
          or each:find "^net__" or each:find "^relay__"
          or each:find "^front__" or each:find "^discover__", each)
      end
      for _, each in ipairs(declared(name)) do
        assert.is_true(has(names, "^" .. each .. "$"), each)
      end
    end)
  end
end)

describe("the header", function()
  local STANDARDS = {
    c = { "c99", "c11", "c17" }, ["c++"] = { "c++11", "c++17", "c++20" },
  }

  for _, cc in ipairs(COMPILERS) do
    it("is clean to " .. cc .. ", and enough by itself", function()
      local language = cc:find "++" and "c++" or "c"
      for _, name in ipairs { "rover", "tls", "relay", "front", "discover",
          "host" } do
        local isHost = name == "host" or name == "discover"
        local package = isHost and "host" or "rover"
        local source = support.tmpfile(("#include <callosum/%s.h>\n")
          :format(name):rep(2) .. "int main(void) { return 0; }\n", "main.c")
        for _, standard in ipairs(STANDARDS[language]) do
          output(cc, { "-Wall", "-Wextra", "-pedantic", "-Werror",
            "-D_POSIX_C_SOURCE=200809L", "-fsyntax-only", "-x", language,
            "-std=" .. standard, source,
            table.unpack(pkgConfig { "--cflags", "callosum-" .. package }) })
        end
      end
    end)
  end

  for _, cc in ipairs { "gcc", "clang" } do
    it("begins with an example that compiles by " .. cc, function()
      for _, name in ipairs { "rover", "relay", "front" } do
        local text = io.open(("src/callosum/%s.h"):format(name)):read "a"
        local callback, rest =
          text:match "(\n %*   static.-\n %*   }\n)(.-)\n %*\n %* %u"
        local source = ([[
#include <callosum/NAME.h>
extern uv_loop_t *loop;
extern rover_t *rover;
CALLBACK
int begin(void);
int begin(void) {
REST
return err;
}
]]):gsub("%u%u+", { NAME = name, CALLBACK = callback, REST = rest })
          :gsub("\n %*", "\n")
        output(cc, { "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter",
          "-std=gnu11", "-fsyntax-only", support.tmpfile(source, "main.c"),
          table.unpack(pkgConfig { "--cflags", "callosum-rover" }) })
      end
    end)
  end
end)

describe("pkg-config", function()
  local function answer(...) return table.concat(pkgConfig { ... }, " ") end

  it("knows both packages, by the version of the header", function()
    local version = {}
    for part in header:gmatch "#define ROVER_VERSION_%u+ (%d+)\n" do
      version[#version + 1] = part
    end
    for _, name in ipairs { "callosum-rover", "callosum-host" } do
      assert.equal(table.concat(version, "."), answer("--modversion", name))
    end
  end)

  it("gives the rover libuv, and no Lua", function()
    local flags = answer("--cflags", "--libs", "callosum-rover")
    for _, flag in ipairs { "-I" .. installed.tree().include,
        "-L" .. installed.tree().lib, "-lcallosum-rover", "-luv" } do
      assert.is_truthy((flags .. " "):find(flag .. " ", 1, true), flag)
    end
    assert.is_falsy(flags:find "lua")
  end)

  it("gives the host the rover of its own version, and Lua", function()
    assert.matches("^callosum%-rover = [%d.]+ lua5%.4$",
      answer("--print-requires", "callosum-host"))
    local flags = answer("--static", "--cflags", "--libs", "callosum-host")
    local order = 0
    for _, flag in ipairs { "-lcallosum-host", "-lcallosum-rover", "-luv" } do
      local at = flags:find(flag, 1, true)
      assert.is_true(at and at > order, flags)
      order = at
    end
    assert.is_truthy(flags:find("-llua5.4", 1, true), flags)
  end)

  it("finds what was moved, when told", function()
    local flags = answer("--define-variable=prefix=/moved", "--cflags",
      "--libs", "callosum-host")
    assert.is_truthy(flags:find("-I/moved/include", 1, true), flags)
    assert.is_truthy(flags:find("-L/moved/lib", 1, true), flags)
  end)
end)

describe("the command", function()
  local MODULE = [[
#include <lauxlib.h>
#include <uv.h>

int luaopen_%s(lua_State *L);

int luaopen_%s(lua_State *L) {
  luaL_checkversion(L);
  lua_pushfstring(L, "%%p %%p", (void *)lua_newstate, (void *)uv_loop_init);
  return 1;
}
]]

  -- Whether it has them within it or beside it.
  it("offers its Lua and libuv to modules in C, also to those linked with some",
      function()
    local dir = support.tmpdir()
    for name, flags in pairs { alone = "", linked = " -llua5.4 -luv" } do
      output("sh", { "-c", ("gcc -shared -fPIC -o %s/%s.so %s "
        .. "$(pkg-config --cflags lua5.4 libuv) -Wl,--no-as-needed%s"):format(
        dir, name, support.tmpfile(MODULE:format(name, name), name .. ".c"),
        flags) })
    end
    local _, needs = dynamic(dir .. "/linked.so")
    assert.is_true(has(needs, "^liblua5%.4%.so"))
    assert.is_true(has(needs, "^libuv%.so"))
    assert.equal("true\n", output(installed.tree().prefix
      .. "/bin/callosum-rover", { "check", "--quiet", support.tmpfile [[
        print(require "alone" == require "linked")
        require "callosum.rover".new {}
      ]] }, { LUA_CPATH_5_4 = dir .. "/?.so;;" }))
  end)
end)

describe("a program", function()
  -- Each is C and C++.
  local ROVER = [[
#include <callosum/rover.h>
#include <stdio.h>

static void on_closed(rover_t *rover) {
  (void)rover;
  puts("closed");
}

int main(void) {
  uv_loop_t loop;
  rover_t *rover;
  static rover_options_t options;
  uv_loop_init(&loop);
  if (rover_new(&rover, &loop, &options) < 0) return 1;
  if (rover_server_add(rover, "s", "127.0.0.1", 4040) < 0) return 1;
  printf("%s %d\n", rover_version_string(), (int)rover_server_count(rover));
  rover_close(rover, on_closed);
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) < 0;
}
]]
  local HOST = [[
#include <callosum/host.h>
#include <stdio.h>

static void on_rover(rover_host_t *host,
                     const rover_host_rover_t *rover, void *arg) {
  (void)host;
  (void)arg;
  printf("%s %d\n", rover->name, rover->starts);
}

static void on_log(rover_host_t *host, const rover_host_log_t *log) {
  (void)host;
  puts(log->message.bytes);
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  rover_host_t *host;
  static rover_host_options_t options;
  static rover_host_visitor_t visitor;
  options.log = on_log;
  visitor.rover = on_rover;
  uv_loop_init(&loop);
  if (rover_host_new(&host, &loop, &options) < 0) return 1;
  if (rover_host_check(host, argv[1], argc - 2, argv + 2, &visitor, NULL) < 0)
    return 1;
  rover_host_close(host, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  return uv_loop_close(&loop) < 0;
}
]]
  local POLICY = [[
    local host = require "callosum.host"
    local rover = require "callosum.rover"
    rover.new { name = "one" }:start()
    rover.new { name = "two" }
    host.log.info(host.args[1])
  ]]

  for _, cc in ipairs(COMPILERS) do
    for _, static in ipairs { false, true } do
      local how = (static and " static" or " shared") .. " by " .. cc

      it("gets the rover," .. how, function()
        local program = installed.compile(ROVER,
          { cc = cc, static = static })
        assert.matches("^[%d.]+ 1\nclosed\n$", installed.run(program))
        local needs = output("ldd", { program }, installed.tree().env)
        assert.equal(static, not needs:find "callosum")
        assert.is_falsy(needs:find "[Ll]ua")
      end)

      it("gets the host," .. how, function()
        local program = installed.compile(HOST,
          { cc = cc, static = static, packages = { "callosum-host" } })
        assert.equal("hello\none 1\ntwo 0\n",
          installed.run(program, { support.tmpfile(POLICY), "hello" }))
        local needs = output("ldd", { program }, installed.tree().env)
        assert.equal(static, not needs:find "callosum")
      end)
    end
  end

  -- Below a prefix that neither loader nor environment knows of.
  for name, source in pairs { rover = ROVER, host = HOST } do
    it("finds the " .. name .. "'s libraries by -Wl,-rpath alone", function()
      local program = installed.compile(source, { packages = {
        "callosum-" .. name },
        flags = { "-Wl,-rpath," .. installed.tree().lib } })
      local args = name == "host" and { support.tmpfile(POLICY), "hello" } or {}
      assert.matches(name == "host" and "hello\none 1" or "closed",
        installed.run(program, args, { env = { LD_LIBRARY_PATH = false } }))
    end)
  end

  it("of the README finds its libraries that way too", function()
    local count = 0
    for source in assert(io.open "README.md"):read "a"
        :gmatch "\n```c\n(.-)```\n" do
      local name = source:match "<callosum/(%w+)%.h>"
      local program = installed.compile(source, { packages = {
        "callosum-" .. name }, flags = { "-Wno-unused-parameter",
        "-Wl,-rpath," .. installed.tree().lib } })
      local needs = output("ldd", { program }, { LD_PRELOAD = false })
      assert.is_truthy(needs:find("libcallosum-rover.so.0 => "
        .. installed.tree().lib, 1, true), needs)
      assert.is_falsy(needs:find "not found", needs)
      count = count + 1
    end
    assert.equal(2, count)
  end)
end)
