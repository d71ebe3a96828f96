local faults = require "support.faults"
local support = require "support"
local uv = require "luv"

-- On a machine apart: three clients behind the first link, and one behind the
-- second that asks for much and does not read it.
local CLIENTS = [[
  local uv = require "luv"
  local left = 4
  local function call(link, words)
    local client, total = uv.new_tcp(), 0
    assert(client:bind(("10.9.%d.2"):format(link), 0))
    local function read(_, chunk)
      local first = total == 0
      total = total + #chunk
      if total == #"0\r\n$8000000\r\n" + 8000000 + 2 then print "got it all" end
      if not first then return end
      if link == 2 then client:read_stop() end
      if words then client:write(words) end
      left = left - 1
      if left == 0 then print "they are there" end
    end
    client:connect(("10.9.%d.1"):format(link), 4040, function(err)
      assert(not err, err)
      client:read_start(read)
    end)
    return function() client:read_start(read) end
  end
  call(1)                         -- unused
  call(1, "PING\r\n")             -- idle
  call(1, "SUBSCRIBE news\r\n")   -- and one that is sent something
  local readOn = call(2, "GET key\r\n")
  uv.new_signal():start("sigusr1", readOn)
  uv.run()
]]

-- Deadlines are the defaults.
local FRONT = [[
  local host = require "callosum.host"
  local f = require "callosum.front".new { backend = { port = 6379 },
    listen = { host = "0.0.0.0", port = 4040 }, allow = { "10.9.0.0/16" } }
  local open, running
  require "luv".new_timer():start(0, 20, function()
    local s = f:stats()
    if s.open == open and s.running == running then return end
    open, running = s.open, s.running
    host.log.info("stats", s)
  end)
]]

-- Each line of its input is a step.
local MACHINES = [[
  unshare -n sleep 600 & apart=$!
  while test "$(readlink /proc/$apart/ns/net)" = \
    "$(readlink /proc/self/ns/net)"; do :; done
  inside="nsenter -t $apart -n"
  ip link set lo up
  for i in 1 2; do
    ip link add v$i type veth peer name w$i netns $apart
    ip addr add 10.9.$i.1/24 dev v$i
    ip link set v$i up
    $inside ip addr add 10.9.$i.2/24 dev w$i
    $inside ip link set w$i up
  done
  redis-server --port 6379 --save "" >&2 & redis=$!
  until redis-cli ping >&2; do sleep 0.05; done
  redis-cli eval "redis.call('set', 'key', string.rep('x', 8000000))" 0 >&2
  "$0" run --log-format json "$1" & front=$!
  read step
  $inside lua5.4 "$2" & clients=$!
  read step
  $inside ip link set w1 down
  redis-cli publish news something >&2
  echo "the link is down"
  read step
  kill -USR1 $clients
  read step
  kill $clients
  kill $front
  wait $front
  code=$?
  kill $redis $apart
  exit $code
]]

describe("a client of Redis behind a front", function()
  it("is missed once its link is down, and not while it does not read",
    function()
      local unshare = faults.unshare "-n"
      if not unshare then return pending "no network namespace allowed" end
      local child = support.spawn("sh", { "-c", unshare
        .. ' sh -c "$0" "$@"', MACHINES, support.EXECUTABLE,
        support.tmpfile(FRONT), support.tmpfile(CLIENTS, "clients.lua") },
        { env = { LUA_PATH_5_4 = package.path, LD_PRELOAD = false,
          LUA_CPATH_5_4 = package.cpath } })

      local function latest()
        local list = {}
        for line in child.stderr:gmatch '[^\n]*"message":"stats"[^\n]*' do
          list[#list + 1] = line
        end
        local line = list[#list] or ""
        local function count(name)
          return math.tointeger(line:match('"' .. name .. '":(%d+)'))
        end
        return { open = count "open", running = count "running",
          reset = count "reset", sent = count "sent" }
      end
      local function becomes(open, running, seconds)
        local ok, err = pcall(support.run, function()
          local s = latest()
          return s.open == open and s.running == running
        end, seconds)
        if not ok then error(err .. "\n" .. child.output, 2) end
      end

      child:waitFor "policy loaded"
      child:write "\n"
      child:waitFor "they are there"
      becomes(4, 3)
      local silent = uv.hrtime()
      child:write "\n"
      child:waitFor "the link is down"
      becomes(1, 1, 32) -- after 25 s, and some for a loaded machine
      local function elapsed() return (uv.hrtime() - silent) / 1e9 end
      assert.is_true(elapsed() > 12, elapsed())
      support.eventually(function() return elapsed() > 61 end, 60)
      local s = latest()
      assert.same({ 1, 1 }, { s.open, s.running })
      assert.is_true(s.sent < 8000000, s.sent)
      child:write "\n"
      child:waitFor "got it all"
      child:write "\n"
      assert.same({ 0, 0 }, { child:wait() }, child.output)
    end)
end)
