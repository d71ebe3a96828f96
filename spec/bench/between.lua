-- What stands between clients and servers, started for a benchmark: relay and
-- front, and what these are compared with.

local uv = require "luv"
local harness = require "spec.bench.harness"

local between = {}

local HAPROXY = [[
global
  maxconn 4000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen all
  bind 127.0.0.1:%d%s
]]

-- One thread, as the others.
local STUNNEL = [[
foreground = yes
pid =
syslog = no
debug = crit
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[all]
%s
accept = 127.0.0.1:%d
connect = 127.0.0.1:%s
cert = %s
key = %s
CAfile = %s
verifyChain = yes
requireCert = yes
]]

local NGINX = [[
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1;
daemon off;
pid %s.pid;
error_log stderr error;
events { worker_connections 8000; }
stream {
  server {
    listen 127.0.0.1:%d backlog=4096;
    proxy_pass 127.0.0.1:%s;
    proxy_timeout 1h;
  }
}
]]

--- Runs relay_peer.
-- @param cpus the processors to use, or nil: any
-- @param ... its arguments: a format, and what it formats
-- @return the program
function between.peer(cpus, ...)
  return harness.spawn(harness.BUILD .. "/bench/relay_peer "
    .. (...):format(select(2, ...)), cpus)
end

--- A port that nobody has.
function between.freePort()
  local tcp = uv.new_tcp()
  assert(tcp:bind("127.0.0.1", 0))
  local port = tcp:getsockname().port
  tcp:close()
  return port
end

-- Waits until a program listens, or has ended.
local function await(program, port)
  local there
  repeat
    local tcp, answer = uv.new_tcp(), nil
    tcp:connect("127.0.0.1", port, function(err) answer = err or "there" end)
    repeat uv.run "once" until answer
    tcp:close()
    there = answer == "there"
    if not there then uv.sleep(20) end
  until there or program.code
end

-- Runs a program that reads its configuration when it starts.
local function configured(command, port, text, cpus)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local program = harness.spawn(command:format(path), cpus)
  await(program, port)
  os.remove(path)
  return program
end

--- Each of these starts a program that listens on a port, and connects to the
-- servers' ports for its clients.
-- @param port the port to listen on
-- @param servers a text: ports with blanks between them
-- @param o options, or nil: `cpus`; `accepts` and `sends`: whether clients
--   send, and servers get, PROXY headers of version 2; of the relay `kept`, the
--   number of connections, `pace` and `busy`, as in relay_policy.lua, and
--   `threads`, those that copy;
--   `secures` and `unsecures`: certificates of support/certificates, with their
--   `ca`, for TLS to servers, and to clients
-- @return the program
function between.haproxy(port, servers, o)
  o = o or {}
  local accepts, sends = o.unsecures, o.secures
  local lines = { HAPROXY:format(port, (o.accepts and " accept-proxy" or "")
    .. (accepts and (" ssl crt %s ca-file %s verify required"):format(
      accepts.both, accepts.ca) or "")) }
  for each in servers:gmatch "%d+" do
    lines[#lines + 1] = ("  server s%s 127.0.0.1:%s%s\n"):format(each, each,
      (o.sends and " send-proxy-v2" or "")
      .. (sends and (" ssl crt %s ca-file %s verify required"):format(
        sends.both, sends.ca) or ""))
  end
  return configured("haproxy -q -f %s", port, table.concat(lines), o.cpus)
end

function between.nginx(port, servers, o)
  local path = os.tmpname()
  os.remove(path)
  return configured("nginx -e stderr -c %s", port, NGINX:format(path, port,
    servers:match "%d+"), o and o.cpus)
end

function between.stunnel(port, servers, o)
  local files = o.secures or o.unsecures
  return configured("stunnel %s", port, STUNNEL:format(
    o.secures and "client = yes" or "", port, servers:match "%d+", files.cert,
    files.key, files.ca), o.cpus)
end

function between.socat(port, servers, o)
  local program = harness.spawn(("socat TCP-LISTEN:%d,bind=127.0.0.1,fork,"
    .. "backlog=512,nodelay TCP:127.0.0.1:%s,nodelay 2>/dev/null"):format(port,
    servers:match "%d+"), o and o.cpus)
  await(program, port)
  return program
end

function between.relay(port, servers, o)
  local program = harness.spawn(("%s/callosum-rover run --log-level error %s"
    .. "spec/bench/relay_policy.lua %d %s %s %d %d %s%s"):format(harness.BUILD,
    o.threads and ("--threads %d "):format(o.threads) or "", o.kept, o.pace,
    o.sends and "v2" or "none", o.busy or 0, port, servers,
    o.secures and (" %s %s %s"):format(o.secures.cert, o.secures.key,
      o.secures.ca) or ""), o.cpus)
  program:line "^full"
  return program
end

function between.front(port, servers, o)
  o = o or {}
  local program = harness.spawn(("%s/callosum-rover front --log-level error "
    .. "--max-clients 20000 %s%s%s 127.0.0.1:%d 127.0.0.1:%s"):format(
    harness.BUILD, o.accepts and " --accept-proxy --trusted 127.0.0.1" or "",
    o.sends and " --send-proxy v2" or "",
    o.unsecures and (" --tls-cert %s --tls-key %s --tls-ca %s"):format(
      o.unsecures.cert, o.unsecures.key, o.unsecures.ca) or "",
    port, servers:match "%d+"), o.cpus)
  await(program, port)
  return program
end

--- On bare epoll: what the kernel allows. With `slots` it is a front, and with
-- `kept` a relay.
function between.epoll(port, servers, o)
  local program = harness.spawn(("%s/bench/bare_front %d %s%s"):format(
    harness.BUILD, port, servers:match "%d+", o.slots and " slots"
      or o.kept and " " .. o.kept or ""),
    o.cpus)
  await(program, port)
  return program
end

--- Seconds of processor time that programs have taken.
function between.cpu(programs)
  local sum = 0
  for _, each in ipairs(programs) do
    local user, system = each:cpu()
    sum = sum + user + system
  end
  return sum
end

--- Calls a function, and measures the processor time of a contender meanwhile.
-- @param contender a table with `programs`
-- @return what it returns, the seconds, and what else it returns
function between.timed(contender, fn)
  local before = between.cpu(contender.programs)
  local value, more = fn()
  uv.sleep(200)
  return value, between.cpu(contender.programs) - before, more
end

--- Has a client ask a contender, again whenever an answer has come.
-- @param contender a table with `programs` and `port`; `slots`: it is nil or ""
--   if no slot lines come
-- @param cpus the client's processors, or nil: any
-- @param count how many connections; on each, one question is under way
-- @param size the bytes of a question, and of its answer
-- @param ms for how long, once all have connected
-- @param meanwhile nil, or called when that begins
-- @return a table: `value`, answers a second; `p99`, in how many µs 99% of them
--   came; `cpu`, the µs that the contender took for each
function between.answers(contender, cpus, count, size, ms, meanwhile)
  local lines = (contender.slots or "") ~= ""
  local program = harness.spawn(("%s/bench/client_epoll %s %d %d %d %d"):format(
    harness.BUILD, lines and "ask" or "ask-bare", count, size, ms,
    contender.port), cpus)
  program:line "^begin"
  local before = between.cpu(contender.programs)
  if meanwhile then meanwhile() end
  local rate, p99 = program:line "^(%S+) (%S+)$"
  local cpu = between.cpu(contender.programs) - before
  program:wait()
  rate = tonumber(rate)
  return { value = rate, p99 = tonumber(p99),
    cpu = cpu / (rate * ms / 1e3) * 1e6 }
end

--- Resident bytes of programs.
function between.memory(programs)
  local sum = 0
  for _, each in ipairs(programs) do sum = sum + each:sharedMemory() end
  return sum
end

return between
