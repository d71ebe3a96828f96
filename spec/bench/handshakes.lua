-- Handshakes a second, flat out with 64 in flight, against the same servers:
-- bare epoll in C (the limit), a policy, and a luv script. They alternate, so
-- that what else the machine does hits all of them; medians are compared.
-- Run by `make bench`. Its argument is the folder of the built programs.

local uv = require "luv"

local build = arg[1] or "build"
local ROUNDS, COUNT = 7, 50000

local stdout = uv.new_pipe()
local server = assert(uv.spawn(build .. "/bench/slot_server", {
  args = { "16" }, stdio = { nil, stdout, 2 },
}, function() end))
local ports
stdout:read_start(function(_, chunk)
  ports = chunk:gsub("\n", "")
  uv.stop()
end)
uv.run()

local contenders = {
  { "bare epoll", build .. "/bench/handshakes_epoll" },
  { "policy", build .. "/callosum-rover run --log-level error "
    .. "spec/bench/handshakes_policy.lua" },
  { "luv script", "lua5.4 spec/bench/handshakes_luv.lua" },
}

for round = 1, ROUNDS do
  for _, contender in ipairs(contenders) do
    local command = ("%s %d %s"):format(contender[2], COUNT, ports)
    local out = assert(io.popen(command))
    contender[2 + round] = assert(out:read "n", contender[1] .. " failed")
    out:close()
    uv.sleep(1000) -- local ports come back after a second
  end
end
server:kill "sigterm"

local function median(contender)
  local rates = { table.unpack(contender, 3) }
  table.sort(rates)
  return rates[(#rates + 1) // 2], rates[1], rates[#rates]
end

local limit = median(contenders[1])
print(("%-12s %12s %19s %12s"):format("", "handshakes/s", "min-max",
  "of the limit"))
for _, contender in ipairs(contenders) do
  local mid, min, max = median(contender)
  print(("%-12s %12.0f %9.0f-%9.0f %12.2f"):format(contender[1], mid, min, max,
    mid / limit))
end
