--- An installation for tests, and programs compiled against it:
-- `require "support".installed`.
--
-- Where the specs run under the sanitizers (`make asan`), what is installed is
-- that build, and what is compiled is checked as well.

local busted = require "busted"
local uv = require "luv"
local files = require "support.files"
local make = require "support.make"
local process = require "support.process"

local installed = {}

local build = os.getenv "BUILD" or "build"
local isSanitized = build:find "asan" ~= nil

-- What a sanitizer wants preloaded is for busted, and not for compilers.
local CLEAN = { LD_PRELOAD = false }

-- Waits for a child, which must end well.
-- @return its standard output
local function finished(child, level)
  local code, signal = child:wait(make.MAKING)
  if code ~= 0 or signal ~= 0 then
    error(("%s ended with code %d and signal %d:\n%s"):format(child.command,
      code, signal, child.output), level + 1)
  end
  return child.stdout
end

--- Runs a tool to its end, which must be a good one.
-- @param path the program
-- @param args array of its arguments
-- @param env nil, or variables to set; false removes one
-- @return its standard output
function installed.output(path, args, env)
  return finished(process.spawn(path, args, { env = env or CLEAN }), 2)
end

--- Runs make's goal `install` or `uninstall` for the build under test.
-- @param goal the goal
-- @param variables a table: `PREFIX`, `DESTDIR`, `LIBDIR`
-- @return its standard output
function installed.make(goal, variables)
  -- As it was built: make would build it anew without a sanitizer's flags.
  local args = { "-s", "-o", "all", goal, "B=" .. build }
  for name, value in pairs(variables) do
    args[#args + 1] = name .. "=" .. value
  end
  return finished(make.make(args), 2)
end

local tree

busted.subscribe({ "suite", "end" }, function()
  if tree then files.remove(tree.prefix) end
  tree = nil
  return nil, true
end)

--- The installation, made when first asked for, and removed when busted ends.
-- @return a table: `prefix`; `bin`, `lib` and `include`, folders in it; `env`,
--   the variables by which compilers, pkg-config, lua5.4 and what was linked
--   to the shared libraries find it
function installed.tree()
  if tree then return tree end
  local prefix = assert(uv.fs_mkdtemp(uv.os_tmpdir() .. "/callosum.XXXXXX"))
  tree = {
    prefix = prefix,
    bin = prefix .. "/bin",
    lib = prefix .. "/lib",
    include = prefix .. "/include",
    env = {
      LD_LIBRARY_PATH = prefix .. "/lib",
      PKG_CONFIG_PATH = prefix .. "/lib/pkgconfig",
      LUA_PATH_5_4 = prefix .. "/share/lua/5.4/?.lua;;",
      LUA_CPATH_5_4 = prefix .. "/lib/lua/5.4/?.so;;",
      LUA_INIT = false, LUA_INIT_5_4 = false, LD_PRELOAD = false,
    },
  }
  -- Two that run ldconfig at once get in each other's way.
  installed.make("install", { PREFIX = prefix, ldconfig = "" })
  return tree
end

local function words(text)
  local list = {}
  for word in text:gmatch "%S+" do list[#list + 1] = word end
  return list
end

--- Asks pkg-config about installed packages.
-- @param args array of its arguments
-- @return the words of its answer
function installed.pkgConfig(args)
  return words(installed.output("pkg-config", args, installed.tree().env))
end

-- What has to come before all libraries, for sanitized ones. clang has
-- runtimes of its own, which are not those of our libraries.
local function sanitizer(cc)
  if not isSanitized then return {} end
  if cc:find "^g" then return { "-fsanitize=address,undefined" } end
  local list = { "-Wl,--no-as-needed" }
  for _, name in ipairs { "libasan.so", "libubsan.so" } do
    list[#list + 1] = words(installed.output("gcc",
      { "-print-file-name=" .. name }))[1]
  end
  return list
end

--- Compiles a program against the installation, and links it. Warnings are
-- errors.
-- @param source the path of a .c or .cc file, or the text of one
-- @param options nil or a table, all of it optional:
--   `cc`: the compiler: gcc (the default), clang, g++ or clang++;
--   `packages`: an array of names for pkg-config ({ "callosum-rover" });
--   `static`: whether our libraries become part of the program;
--   `flags`: an array of flags for the compiler
-- @return the path of the program, which goes when the test ends
function installed.compile(source, options)
  options = options or {}
  local cc = options.cc or "gcc"
  if source:find "\n" then
    source = files.tmpfile(source, cc:find "++" and "main.cc" or "main.c")
  end
  local program = files.tmpdir() .. "/program"
  local args = { "-Wall", "-Wextra", "-Werror", "-g", "-o", program }
  local function add(list) table.move(list, 1, #list, #args + 1, args) end
  add(options.flags or {})
  add { source }
  add(sanitizer(cc))
  local asked = { "--cflags", "--libs",
    table.unpack(options.packages or { "callosum-rover" }) }
  if options.static then table.insert(asked, 1, "--static") end
  for _, word in ipairs(installed.pkgConfig(asked)) do
    add { options.static
      and word:gsub("^%-l(callosum%-.*)", "-l:lib%1.a") or word }
  end
  installed.output(cc, args)
  return program
end

--- What PATH is to be for commands as users type them: `cc` and `c++` compile
-- against the installation, and its programs are found.
function installed.path()
  local folder = files.tmpdir()
  for name, cc in pairs(isSanitized and { cc = "gcc", ["c++"] = "g++" } or {})
  do
    local path = files.write(folder .. "/" .. name, "#!/bin/sh\nexec " .. cc
      .. " -fsanitize=address,undefined \"$@\"\n")
    assert(uv.fs_chmod(path, 493)) -- 0755
  end
  return folder .. ":" .. installed.tree().bin .. ":" .. os.getenv "PATH"
end

--- Starts a program with the variables of the installation.
-- @param path the program: one of `compile`, one in `tree().bin`, or "lua5.4"
-- @param args array of its arguments
-- @param options nil or a table: those of `spawn`
-- @return the child
function installed.spawn(path, args, options)
  local env = {}
  for name, value in pairs(installed.tree().env) do env[name] = value end
  -- It is no program of ours, but is to load a module of ours.
  if path == "lua5.4" then env.LD_PRELOAD = nil end
  for name, value in pairs(options and options.env or {}) do
    env[name] = value
  end
  return process.spawn(path, args, { env = env, cwd = options and options.cwd })
end

--- Runs such a program to its end, which must be a good one.
-- @param path, args, options as for `spawn`
-- @return its standard output
function installed.run(path, args, options)
  return finished(installed.spawn(path, args, options), 2)
end

return installed
