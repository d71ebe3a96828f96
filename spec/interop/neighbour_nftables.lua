-- What callosum-neighbours(7) says of nftables, in networks of their own, where
-- the machines of a fleet have the addresses of the page.

local command = require "support.command"
local faults = require "support.faults"
local files = require "support.files"
local neighbours = require "support.neighbours"
local real = require "support.real"
local support = require "support"

local row, complete, seen = neighbours.section("NFTABLES", it)

-- Begins a script that runs in a network of its own, with $nft and $rover.
-- `machine NAME` makes another network, whose process is $NAME.
local BEGIN = [[
  set -eu
  machine() {
    setpriv --pdeathsig KILL unshare -n sleep 120 &
    eval "$1=$!"
    until ! test /proc/$!/ns/net -ef /proc/self/ns/net; do sleep 0.01; done
  }
  at() { who=$1; shift; nsenter -t "$who" -n "$@"; }
  wire() { # MACHINE ITS-ADDRESS OURS
    ip link add "link$1" type veth peer name eth0 netns "$1"
    ip addr add "$3/24" dev "link$1"
    ip link set "link$1" up
    at "$1" ip addr add "$2/24" dev eth0
    at "$1" ip link set eth0 up
    at "$1" ip route add default via "$3"
  }
  serve() { # HOW... ends with us, and is there when it returns
    setpriv --pdeathsig KILL "$@" "$rover" serve --host 192.0.2.11 4040 \
      2>"$dir/log" &
    until grep -q listening "$dir/log"; do sleep 0.01; done
  }
]]

-- Runs a script that BEGIN begins.
-- @param rules the text of nftables.conf, the file $conf
-- @param policy the text of the policy, the file $policy
-- @return the child, or nil where that is not permitted
local function run(script, rules, policy)
  local unshare = faults.unshare "-n"
  if not unshare then return end
  local dir = support.tmpdir()
  return support.spawn("sh", { "-c",
    "exec " .. unshare .. ' sh -c "$0"', BEGIN .. script }, { env = {
      LD_PRELOAD = false, dir = dir, nft = real.find("nft", "nftables"),
      rover = command.EXECUTABLE,
      conf = files.write(dir .. "/nftables.conf", rules),
      policy = files.write(dir .. "/policy.lua", policy) } })
end

local function finished(child)
  assert.equal(0, child:wait(60), child.output)
  return child.stdout
end

local function count(text, pattern)
  return select(2, text:gsub(pattern, ""))
end

-- Keeps its first connection, on which it writes all the time, and has the
-- rules loaded once it has that.
local KEEPER = [[
  local uv = require "luv"
  local r = require "callosum.rover".new { rovingInterval = 50,
    connectTimeout = 500, maxAttempts = 100 }
  r:addServer("a", { host = "192.0.2.11", port = 4040 })
  local kept
  r:on("connection", function(_, socket)
    if kept then return socket:close() end
    kept = socket
    socket:on("close", function(err) print("closed " .. tostring(err)) end)
    assert(os.execute('nsenter -t "$wall" -n "$nft" -f "$conf"'))
    local timer = uv.new_timer()
    timer:start(50, 50, function()
      if not socket:write "x" then timer:close() end
    end)
  end)
  r:on("unreachable", function(_, _, err) print(err) end)
  r:start()
]]

describe("nftables", function()
  seen(neighbours.output(real.find("nft", "nftables"), "-v")
    :match "v(%d+%.%d+%.%d+)")

  row("It rejects in silence", function(example)
    local conf = example("nftables.conf", {})
    local function start(rules, seconds)
      return run(([[
        machine client
        wire $client 192.0.2.3 192.0.2.11
        serve
        export wall=$$
        at $client "$rover" run --for %s --log-level error "$policy"
      ]]):format(seconds), rules, KEEPER)
    end
    local child = start(conf, 5)
    if not child then return pending "no namespaces allowed" end
    local plain = start(conf:gsub(" with tcp reset", ""), 2.5)
    local text = finished(child)
    assert.is_true(count(text, "%(ECONNREFUSED%)") >= 20, text)
    assert.equal(1, count(text, "closed .-%(ECONNRESET%)"), text)
    assert.equal(0, count(text, "%(ETIMEDOUT%)"), text)
    text = finished(plain)
    assert.is_true(count(text, "%(ECONNREFUSED%)") <= 10, text)
    assert.is_true(count(text, "%(ETIMEDOUT%)") >= 5, text)
    assert.equal(0, count(text, "closed"), text)
  end)

  row("It remembers each probe for two minutes", function(example)
    local tracks = [[
      table inet stateful {
        chain input {
          type filter hook input priority filter
          ct state invalid drop
        }
      }
    ]]
    local function start(rules)
      return run([[
        machine client
        wire $client 192.0.2.1 192.0.2.11
        "$nft" -f "$conf"
        serve
        at $client "$rover" run --for 20 --log-level error "$policy"
        cat /proc/sys/net/netfilter/nf_conntrack_count
      ]], rules, [[
        local r = require "callosum.rover".new { rovingInterval = 10 }
        r:addServer("a", { host = "192.0.2.11", port = 4040 })
        local left = 40
        r:on("connection", function(_, socket)
          socket:close()
          left = left - 1
          if left == 0 then require "callosum.host".stop() end
        end)
        r:start()
      ]])
    end
    local child = start(tracks .. example("nftables.conf", {}))
    if not child then return pending "no namespaces allowed" end
    local tracked = start(tracks)
    assert.equal("0\n", finished(child))
    assert.is_true(tonumber(finished(tracked)) >= 39)
  end)

  row("With timestamp, synproxy is late", function(example)
    local function start(rules)
      return run([[
        machine client
        machine server
        wire $client 198.51.100.2 198.51.100.1
        wire $server 192.0.2.11 192.0.2.1
        echo 1 >/proc/sys/net/ipv4/ip_forward
        "$nft" -f "$conf"
        echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose
        serve nsenter -t $server -n
        at $client "$rover" run --for 20 --log-level error "$policy"
      ]], rules, [[
        local uv = require "luv"
        local r = require "callosum.rover".new { rovingInterval = 10000 }
        r:addServer("a", { host = "192.0.2.11", port = 4040 })
        local began
        r:on("connection", function()
          print((uv.hrtime() - began) // 1000000)
          require "callosum.host".stop()
        end)
        uv.new_timer():start(0, 0, function()
          began = uv.hrtime()
          r:start()
        end)
      ]])
    end
    local conf = example("nftables.conf", {})
    local child = start(conf)
    if not child then return pending "no namespaces allowed" end
    local late = start((conf:gsub("sack%-perm", "%0 timestamp")))
    local ms = tonumber(finished(child))
    assert.is_true(ms < 900, ms)
    ms = tonumber(finished(late))
    -- Only newer kernels check what the acknowledgement of a SYN echoes.
    for line in io.lines "/proc/net/netstat" do
      if line:find "TSEcrRejected" then assert.is_true(ms >= 900, ms) end
    end
  end)

  complete()
end)
