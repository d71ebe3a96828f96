-- What a time budget costs: CPU seconds of the same work, with the budget kept
-- by the command's alarm and by a count hook, as in programs that give no
-- alarms. They alternate; medians are compared. Arguments: the folder of the
-- built programs, and that of a build without budgets to compare with, if any.

local uv = require "luv"

local ROUNDS, LINES = 5, 50000
local build, without = arg[1] or "build", arg[2]

local RUN = "%s/callosum-rover run --log-level error --budget 60000 "
  .. "--load-budget 60000 spec/bench/limits_policy.lua"
local ways = {
  { "alarm", RUN:format(build) },
  { "count hook", "prlimit --sigpending=0 " .. RUN:format(build) },
}
if without then
  local command = RUN:format(without):gsub("%-%-[%a-]*budget %d+ ", "")
  table.insert(ways, 1, { "none", command })
end

-- A server that asks, and asks again when it is answered.
local server = uv.new_tcp()
assert(server:bind("127.0.0.1", 0))
local port = server:getsockname().port
assert(server:listen(16, function()
  local client, left = uv.new_tcp(), LINES
  assert(server:accept(client))
  client:nodelay(true)
  client:write("0\r\n")
  local function ask()
    left = left - 1
    client:write("the slot of this server is seven, the next slot eight\r\n")
  end
  client:read_start(function(_, chunk)
    if not chunk then return client:close() end
    if left > 0 then ask() else client:shutdown() end
  end)
  ask()
end))

local function seconds(command)
  local stdout, out, ended = uv.new_pipe(), "", false
  uv.spawn("/bin/sh", {
    args = { "-c", command }, stdio = { nil, stdout, 2 },
  }, function() end)
  stdout:read_start(function(_, chunk)
    if chunk then
      out = out .. chunk
    else
      stdout:close()
      ended = true
    end
  end)
  repeat uv.run "once" until ended
  return assert(tonumber((out:match "%S+")), command)
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

io.write(("%-12s"):format "CPU seconds")
for _, way in ipairs(ways) do io.write(("%12s"):format(way[1])) end
print(("%12s"):format "ratios")
for _, what in ipairs { "loop", "calls", "tables", "coroutines", "handler" } do
  local times = {}
  for round = 1, ROUNDS do
    for i, way in ipairs(ways) do
      -- No work leaves a policy to run on: check ends where run would not.
      local command = what == "handler" and way[2]
        or way[2]:gsub(" run ", " check ")
      times[i] = times[i] or {}
      times[i][round] = seconds(("%s %s %d"):format(command, what, port))
    end
  end
  io.write(("%-12s"):format(what))
  local first
  for i in ipairs(ways) do
    times[i] = median(times[i])
    first = first or times[i]
    io.write(("%12.3f"):format(times[i]))
  end
  for i = 2, #ways do io.write(("%8.2f"):format(times[i] / first)) end
  print()
end
server:close()
os.exit(true)
