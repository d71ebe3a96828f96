-- A source of many servers, in a plain Lua program, whose loop is measured by
-- itself: what is not waiting is work. For discover.lua; its arguments are a
-- file, how many servers, and what to do: "write" the file; "have" them by a
-- source, or to compare memory with, "set" them; or "measure" what it takes. Or
-- they are the port of discover_server.lua, how many, "measure", and which kind
-- of source.

local uv = require "luv"
local discover = require "callosum.discover"
local rover = require "callosum.rover"

local path, count, mode, kind = arg[1], tonumber(arg[2]), arg[3], arg[4]
local POLLS, TIMES = 200, 5

local function address(i)
  return ("10.%d.%d.%d"):format(i >> 16, i >> 8 & 255, i & 255)
end

-- As JSON, in groups of 10; `from` is the first.
local function put(from)
  local groups = {}
  for i = from, from + count - 1, 10 do
    local targets = {}
    for j = i, i + 9 do
      targets[#targets + 1] = ('"%s:4040"'):format(address(j))
    end
    groups[#groups + 1] = ('{"targets":[%s],"labels":{"env":"prod"}}')
      :format(table.concat(targets, ","))
  end
  local file <close> = assert(io.open(path .. ".new", "w"))
  file:write("[", table.concat(groups, ",\n"), "]\n")
  file:close()
  assert(os.rename(path .. ".new", path))
end

local function say(...)
  print(...)
  io.stdout:flush()
end

local r = rover.new()
local d

local function untilSo(fn)
  while not fn() do uv.run "once" end
end

local function declare(interval)
  if not kind then
    return discover.file { path = path, interval = interval, removalDelay = 0 }
  end
  local options = { url = "http://127.0.0.1:" .. path, interval = interval,
    removalDelay = 0 }
  options[kind == "etcd" and "prefix" or "service"] = "web"
  return discover[kind](options)
end

local function attach(interval)
  d = declare(interval)
  d:on("error", function(err) io.stderr:write(tostring(err), "\n") end)
  d:attach(r)
  untilSo(function() return d:stats().servers == count end)
end

local modes = {}

function modes.write()
  put(0)
end

function modes.have()
  attach(3600000)
  collectgarbage()
  say "ready"
  io.read()
end

function modes.set()
  local servers = {}
  for i = 0, count - 1 do
    servers[address(i) .. ":4040"] = { host = address(i), port = 4040 }
  end
  r:setServers(servers)
  servers = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  say "ready"
  io.read()
end

-- The work of each turn of the loop, in ms.
local total, longest, last, idle

local function begin()
  total, longest, last, idle = 0, 0, uv.hrtime(), uv.metrics_idle_time()
end

local function cpu()
  local usage = uv.getrusage()
  return (usage.utime.sec + usage.stime.sec) * 1e3
    + (usage.utime.usec + usage.stime.usec) / 1e3
end

-- The server changes as the file does.
local function step(i)
  if not kind then return put(i * count // 100) end
  local peer = uv.new_tcp()
  peer:connect("127.0.0.1", tonumber(path), function()
    peer:write "POST /step HTTP/1.1\r\n\r\n"
    peer:read_start(function() peer:close() end)
  end)
end

function modes.measure()
  uv.loop_configure "metrics_idle_time"
  if not kind then put(0) end
  attach(3600000)
  local pause = uv.new_timer() -- a watch has begun
  pause:start(300, 0, function() pause:close() end)
  untilSo(function() return pause:is_closing() end)
  local prepare = uv.new_prepare()
  begin()
  prepare:start(function()
    local now, waited = uv.hrtime(), uv.metrics_idle_time()
    local worked = (now - last - (waited - idle)) / 1e6
    total, longest = total + worked, math.max(longest, worked)
    last, idle = now, waited
  end)
  -- Whatever else the machine does counts as work: the least is closest.
  local leastTotal, leastLongest = math.huge, math.huge
  for i = 1, TIMES do
    if not kind then step(i) end
    begin()
    if kind then step(i) end
    untilSo(function()
      local s = d:stats()
      return s.dropped == i * count // 100 and s.servers == count
    end)
    leastTotal = math.min(leastTotal, total)
    leastLongest = math.min(leastLongest, longest)
  end
  say(("change %f %f"):format(leastTotal, leastLongest))
  if kind then return end
  prepare:stop()
  d:close()
  untilSo(function() return next(r:servers()) == nil end)
  attach(10)
  local added, polls = d:stats().added, d:stats().unchanged
  local before = cpu()
  untilSo(function() return d:stats().unchanged >= polls + POLLS end)
  say(("same %f %d"):format((cpu() - before) / POLLS, d:stats().added - added))
end

modes[mode]()
