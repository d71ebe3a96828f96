-- Real servers for `make interop`, with a front before them and a relay beside
-- their clients, each a process of its own. What a spec starts, it ends.

local assert = require "luassert"
local uv = require "luv"
local support = require "support"

local real = {}

local isRoot = uv.getuid() == 0
local NOBODY = 65534 -- and its group

-- Where servers are that no user starts by hand.
local function folders()
  local list = { "/usr/sbin", "/usr/local/sbin" }
  local versions = uv.fs_scandir "/usr/lib/postgresql"
  while versions do
    local name = uv.fs_scandir_next(versions)
    if not name then break end
    table.insert(list, 1, "/usr/lib/postgresql/" .. name .. "/bin")
  end
  for path in (os.getenv "PATH" or ""):gmatch "[^:]+" do
    list[#list + 1] = path
  end
  return list
end

--- Finds a program.
-- @param name the program
-- @param package what Debian calls the package that it comes with
-- @return its path
function real.find(name, package)
  for _, folder in ipairs(folders()) do
    local path = folder .. "/" .. name
    if uv.fs_access(path, "X") then return path end
  end
  error(("%s is missing; it is part of Debian's %s"):format(name, package), 2)
end

--- Makes an empty directory that servers may write to.
function real.dir()
  local path = support.tmpdir()
  if isRoot then assert(uv.fs_chown(path, NOBODY, NOBODY)) end
  return path
end

-- Starts a program that ends with us, however we end.
-- @param user whose it is, by number; nil: ours
local function start(path, args, signal, user, options)
  local all = { "--pdeathsig", signal }
  if isRoot and user then
    table.move({ "--reuid", user, "--regid", user, "--clear-groups" }, 1, 5, 3,
      all)
  end
  all[#all + 1] = path
  table.move(args, 1, #args, #all + 1, all)
  for i, arg in ipairs(all) do all[i] = tostring(arg) end
  -- What a sanitizer wants preloaded is for busted.
  local env = { LD_PRELOAD = false }
  for name, value in pairs(options and options.env or {}) do
    env[name] = value
  end
  return support.spawn(real.find("setpriv", "util-linux"), all, { env = env })
end

--- Starts a program, which ends with us.
-- @param options nil or a table: `env`, as of `spawn`
-- @return the child
function real.starts(path, args, options)
  return start(path, args, "KILL", nil, options)
end

local function toEnd(child)
  local code, signal = child:wait(120)
  assert.same({ 0, 0 }, { code, signal }, child.command .. "\n" .. child.output)
  return child.stdout
end

--- Runs a program to its end, which must be a good one.
-- @param options as of `starts`
-- @return what it wrote to its standard output
function real.runs(path, args, options)
  return toEnd(real.starts(path, args, options))
end

--- As `runs`, by a user without rights.
function real.runsAsNobody(path, args)
  return toEnd(start(path, args, "KILL", NOBODY))
end

--- Starts a server, as a user without rights, since some refuse to be root, and
-- ends it in order when the test ends, at the latest.
-- @param path the program
-- @param args its arguments
-- @param signal what ends it in order ("TERM")
function real.serve(path, args, signal)
  local name = signal or "TERM"
  local child = start(path, args, name, NOBODY)
  support.atEnd(function()
    child:kill("sig" .. name:lower())
    pcall(child.wait, child, 10)
  end)
  return child
end

--- Waits until a connection to a port succeeds.
function real.reachable(child, port)
  support.eventually(function()
    assert(not child.code, child.output)
    local peer = support.connect(port)
    support.run(function() return peer.connected or peer.closed end)
    peer:close()
    return peer.connected
  end, 30)
end

-- Policies -------------------------------------------------------------------

-- A Lua expression.
local function literal(value)
  if type(value) ~= "table" then return ("%q"):format(value) end
  local words = {}
  for key, each in pairs(value) do
    words[#words + 1] = ("[%q] = %s"):format(key, literal(each))
  end
  return "{ " .. table.concat(words, ", ") .. " }"
end

-- Tells its port once it has one, and its counters whenever it is asked. Calls
-- those of its methods that come by standard input, with whose end it ends.
local REPORT = [[
local uv = require "luv"
local function report(object)
  local timer, input = uv.new_timer(), uv.new_pipe()
  timer:start(0, 5, function()
    local _, port = object:address()
    if port == 0 then return end
    print("listening " .. port)
    timer:close()
  end)
  assert(input:open(0))
  input:read_start(function(_, chunk)
    if not chunk then return require "callosum.host".stop() end
    for method, arg in chunk:gmatch "(%%w+) ?(%%w*)\n" do
      local words = {}
      local result = object[method](object, math.tointeger(arg)
        or arg ~= "" and arg or nil)
      if method == "stats" then
        for name, value in pairs(result) do
          words[#words + 1] = name .. "=" .. value
        end
        print("stats " .. table.concat(words, " "))
      end
    end
  end)
end
]]

local FRONT = REPORT .. [[
local f = require "callosum.front".new(%s)
f:on("backend", function(up, err)
  print(up and "backend up" or "backend down: " .. tostring(err))
end)
f:on("error", function(err) print("error: " .. tostring(err)) end)
report(f)
]]

local RELAY = REPORT .. [[
local rover = require "callosum.rover".new(%s)
local pool = require "callosum.pool".new(%s):attach(rover)
for i, port in ipairs(%s) do
  rover:addServer("server " .. i, { host = "127.0.0.1", port = port })
end
rover:start()
local options = %s
options.pick = function() return pool:awaitConnection(30000) end
local relay = require "callosum.relay".new(options)
relay:on("error", function(err) print("error: " .. tostring(err)) end)
report(relay)
]]

local function policy(...)
  local child = support.policy((...):format(select(2, ...)))
  child.port = math.tointeger(child:waitFor "listening (%d+)\n")
  return child
end

--- Starts a front before a backend.
-- @param backend its port, or the path of its socket
-- @param options nil or more options of the front
-- @return the child, with its `port`
function real.front(backend, options)
  local all = { listen = { port = 0 }, healthInterval = 50,
    backend = { [type(backend) == "string" and "path" or "port"] = backend } }
  for name, value in pairs(options or {}) do all[name] = value end
  return policy(FRONT, literal(all))
end

--- Starts a relay that picks from a pool of connections to fronts.
-- @param fronts their ports
-- @param pool nil or options of the pool
-- @param options nil or options of the relay
-- @param rover nil or options of the rover
-- @return the child, with its `port`
function real.relay(fronts, pool, options, rover)
  local ofPool = { maxSlots = 8, fillInterval = 5, maxInterval = 50,
    backoff = 50, maxBackoff = 100, waitTimeout = 30000 }
  for name, value in pairs(pool or {}) do ofPool[name] = value end
  local all = { listen = { port = 0 }, waitTimeout = 30000 }
  for name, value in pairs(options or {}) do all[name] = value end
  local ofRover = { rovingInterval = 200 }
  for name, value in pairs(rover or {}) do ofRover[name] = value end
  return policy(RELAY, literal(ofRover), literal(ofPool), literal(fronts),
    literal(all))
end

--- The counters of a front or relay.
function real.stats(child)
  local stats = {}
  local line = child:write("stats\n"):waitFor "stats ([^\n]*)\n"
  for name, value in line:gmatch "(%w+)=(%d+)" do
    stats[name] = math.tointeger(value)
  end
  return stats
end

--- Waits until its counters are as they should be.
-- @param holds called with them
-- @return them
function real.settles(child, holds)
  local stats
  local ok, err = pcall(support.eventually, function()
    stats = real.stats(child)
    return holds(stats)
  end)
  if ok then return stats end
  error(err .. "\n" .. child.output:sub(-2000), 2)
end

--- Checks that once everybody has left, all slots are free. Nobody is there
--- when it returns.
function real.endsAtZero(front)
  local function isEmpty(stats) return stats.open == 0 end
  real.settles(front, isEmpty)
  local peer = support.connect(front.port)
  assert.equal("0", peer:line())
  peer:close()
  real.settles(front, isEmpty)
end

-- Redis ----------------------------------------------------------------------

--- Starts Redis, which keeps nothing.
-- @param port where (a free one)
-- @param ... more of its arguments
-- @return the child, with its `port`
function real.redis(port, ...)
  port = port or support.freePorts(1)
  local child = real.serve(real.find("redis-server", "redis-server"), {
    "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
    "--dir", real.dir(), ... })
  child.port = port
  real.reachable(child, port)
  return child
end

--- Sends a command, and takes its answer.
-- @param peer of support.connect
-- @return a string, a number, an array of these, or nil
function real.ask(peer, ...)
  local words = { ("*%d\r\n"):format(select("#", ...)) }
  for _, word in ipairs { ... } do
    words[#words + 1] = ("$%d\r\n%s\r\n"):format(#tostring(word), word)
  end
  peer:write(table.concat(words))
  return real.answer(peer)
end

--- Takes an answer.
function real.answer(peer)
  local kind, text = peer:line():match "^([-+:$*])(.*)$"
  if kind == "-" then error(text, 2) end
  if kind == "+" then return text end
  local number = math.tointeger(text)
  if kind == ":" then return number end
  if number < 0 then return nil end
  if kind == "*" then
    local list = {}
    for i = 1, number do list[i] = real.answer(peer) end
    return list
  end
  support.run(function() return #peer.received >= number + 2 or peer.ended end)
  local value = peer.received:sub(1, number)
  peer.received = peer.received:sub(number + 3)
  return value
end

--- What Redis itself has counted.
function real.redisCounts(peer, name)
  return math.tointeger(real.ask(peer, "INFO"):match(name .. ":(%d+)"))
end

return real
