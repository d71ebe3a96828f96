-- DNS servers for tests: real ones, and one of ours that does what no real one
-- does on request. Each ends with the test.

local uv = require "luv"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"

local dns = {}

local NUMBERS = { A = 1, CNAME = 5, SOA = 6, AAAA = 28, SRV = 33, OPT = 41 }
local TYPES = {}
for name, number in pairs(NUMBERS) do TYPES[number] = name end

local function packName(name)
  local labels = {}
  for label in name:gmatch "[^.]+" do
    labels[#labels + 1] = ("s1"):pack(label)
  end
  return table.concat(labels) .. "\0"
end

local function query(name, kind)
  return (">I2I2I2I2I2I2"):pack(4711, 0x100, 1, 0, 0, 0)
    .. packName(name) .. (">I2I2"):pack(NUMBERS[kind], 1)
end

-- Runs the loop until the server answers, or the child has ended.
local function answers(child, port)
  local udp, heard = uv.new_udp(), false
  assert(udp:recv_start(function(_, bytes) heard = heard or bytes end))
  loop.eventually(function()
    if child.code then return true end
    udp:try_send(query("ready.test", "A"), "127.0.0.1", port)
    return heard
  end)
  udp:close()
  if child.code then error(child.output, 3) end
  return { port = port, at = "127.0.0.1:" .. port, child = child }
end

local function folders()
  return (os.getenv "PATH" or "") .. ":/usr/sbin:/usr/local/sbin"
end

local function spawn(name, args)
  return process.spawn("sh", { "-c", 'exec "$@"', "sh", name,
    table.unpack(args) }, { env = { PATH = folders(), LD_PRELOAD = false } })
end

-- Behind a name in an answer.
local function skipName(bytes, at)
  while true do
    local length = bytes:byte(at)
    if length >= 0xc0 then return at + 2 end
    at = at + 1 + length
    if length == 0 then return at end
  end
end

--- Asks a server of this machine, again until it answers.
-- @return the RCODE, a number, and an array of the records in the answer, each
--   "TTL TYPE", and behind that an IPv4 address
function dns.ask(port, name, kind)
  local udp, reply = uv.new_udp(), nil
  assert(udp:recv_start(function(_, bytes) reply = reply or bytes end))
  local last = 0
  loop.run(function()
    if uv.now() - last > 1000 then
      last = uv.now()
      udp:try_send(query(name, kind), "127.0.0.1", port)
    end
    return reply
  end)
  udp:close()
  local _, flags, _, count, at = (">I2I2I2I2"):unpack(reply)
  at = skipName(reply, at + 4) + 4
  local records = {}
  for i = 1, count do
    local type, _, ttl, data, next =
      (">I2I2I4s2"):unpack(reply, skipName(reply, at))
    local address = type == NUMBERS.A
      and (" %d.%d.%d.%d"):format(data:byte(1, 4)) or ""
    records[i] = ("%d %s%s"):format(ttl, TYPES[type] or type, address)
    at = next
  end
  return flags & 15, records
end

-- Real ones ------------------------------------------------------------------

--- Starts dnsmasq, which knows what its options say, and nothing else.
-- @param options an array, without the dashes
-- @return a table: `port`, `at` ("127.0.0.1:PORT"), `child`
function dns.dnsmasq(options)
  local port = command.freePorts(1)
  local args = { "--keep-in-foreground", "--no-resolv", "--no-hosts",
    "--conf-file=/dev/null", "--listen-address=127.0.0.1", "--bind-interfaces",
    "--user=", "--pid-file=", "--local=/test/", "--port=" .. port }
  for _, option in ipairs(options) do args[#args + 1] = "--" .. option end
  return answers(spawn("dnsmasq", args), port)
end

--- Starts unbound with the records of the zone "test".
-- @param records an array, as in a zone file; without any, it has no such zone
-- @param more nil, or more of its configuration
function dns.unbound(records, more)
  local port, dir = command.freePorts(1), files.tmpdir()
  local lines = { #records > 0 and '  local-zone: "test." static' or nil }
  for _, record in ipairs(records) do
    lines[#lines + 1] = ("  local-data: '%s'"):format(record)
  end
  local path = files.write(dir .. "/unbound.conf", ([[
server:
  interface: 127.0.0.1
  port: %d
  do-daemonize: no
  use-syslog: no
  chroot: ""
  username: ""
  directory: "%s"
  pidfile: ""
  num-threads: 1
  module-config: "iterator"
%s
remote-control:
  control-enable: no
%s]]):format(port, dir, table.concat(lines, "\n"), more or ""))
  return answers(spawn("unbound", { "-d", "-p", "-c", path }), port)
end

local function zone(dir, records, serial)
  return files.write(dir .. "/test.zone",
    ("test. 60 IN SOA ns.test. root.test. %d 60 60 60 60\n"):format(serial or 1)
    .. "test. 60 IN NS ns.test.\nns.test. 60 IN A 127.0.0.1\n"
    .. table.concat(records, "\n") .. "\n")
end

--- Starts Knot with the records of the zone "test".
-- @param records an array, as in a zone file
-- @return as dnsmasq does, and `change`, a function
function dns.knot(records)
  local port, dir, serial = command.freePorts(1), files.tmpdir(), 1
  zone(dir, records, serial)
  local path = files.write(dir .. "/knot.conf", ([[
server:
  listen: 127.0.0.1@%d
  rundir: %s
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
database:
  storage: %s
log:
  - target: stderr
    any: warning
template:
  - id: default
    storage: %s
    journal-content: none
zone:
  - domain: test
    file: test.zone
]]):format(port, dir, dir, dir))
  local server = answers(spawn("knotd", { "-c", path }), port)
  --- Replaces its records.
  function server.change(new)
    serial = serial + 1
    zone(dir, new, serial)
    server.child:kill "sighup"
  end
  return server
end

--- Starts BIND with the records of the zone "test".
-- @param records an array, as in a zone file
function dns.bind(records)
  local port, dir = command.freePorts(1), files.tmpdir()
  local path = files.write(dir .. "/named.conf", ([[
options {
  directory "%s";
  listen-on port %d { 127.0.0.1; };
  listen-on-v6 { none; };
  pid-file none;
  session-keyfile none;
  recursion no;
  max-records-per-type 0;
  dnssec-validation no;
  managed-keys-directory "%s";
};
controls { };
zone "test" { type primary; file "%s"; };
]]):format(dir, port, dir, zone(dir, records)))
  return answers(spawn("named", { "-g", "-n", "1", "-c", path }), port)
end

-- One of ours ----------------------------------------------------------------

local RCODES = { SERVFAIL = 2, NXDOMAIN = 3, REFUSED = 5 }

local function ipv6(text)
  local groups = {}
  local head, tail = text:match "^(.-)::(.*)$"
  local function add(part, list)
    for group in part:gmatch "%x+" do list[#list + 1] = tonumber(group, 16) end
    return list
  end
  add(head or text, groups)
  local behind = add(tail or "", {})
  while #groups + #behind < 8 do groups[#groups + 1] = 0 end
  table.move(behind, 1, #behind, #groups + 1, groups)
  return (">I2I2I2I2I2I2I2I2"):pack(table.unpack(groups))
end

-- "NAME TTL TYPE DATA"
local function pack(record)
  local name, ttl, kind, data = record:match "^(%S+) (%d+) (%S+) (.+)$"
  if kind == "A" then
    data = ("BBBB"):pack(data:match "(%d+)%.(%d+)%.(%d+)%.(%d+)")
  elseif kind == "AAAA" then
    data = ipv6(data)
  elseif kind == "CNAME" then
    data = packName(data)
  else
    local priority, weight, port, target = data:match "(%d+) (%d+) (%d+) (%S+)"
    data = (">I2I2I2"):pack(priority, weight, port) .. packName(target)
  end
  return packName(name) .. (">I2I2I4s2"):pack(NUMBERS[kind], 1, ttl, data)
end

local function answer(bytes, handler)
  local id, flags = (">I2I2"):unpack(bytes)
  local labels, at = {}, 13
  while bytes:byte(at) ~= 0 do
    labels[#labels + 1], at = ("s1"):unpack(bytes, at)
  end
  local name = table.concat(labels, "."):lower()
  local kind = TYPES[(">I2"):unpack(bytes, at + 1)]
  local records = handler(name, kind)
  if not records then return end
  local rcode = RCODES[records] or 0
  if rcode > 0 then records = {} end
  local out = { (">I2I2I2I2I2I2"):pack(id, 0x8480 | flags & 0x100 | rcode, 1,
    #records, 0, 0), bytes:sub(13, at + 4) }
  for _, record in ipairs(records) do out[#out + 1] = pack(record) end
  return table.concat(out)
end

-- Of a client that asks by TCP, any number of questions.
local function serveStream(client, handler)
  local bytes = ""
  loop.atEnd(function() client:close() end)
  client:read_start(function(_, part)
    bytes = bytes .. (part or "")
    while #bytes >= 2 and #bytes >= 2 + (">I2"):unpack(bytes) do
      local question, at = (">s2"):unpack(bytes)
      bytes = bytes:sub(at)
      local reply = answer(question, handler)
      if reply then client:write((">s2"):pack(reply)) end
    end
  end)
end

-- A socket for each, on one port.
local function bind(host, wanted, onStream)
  for _ = 1, 20 do
    local udp, tcp = uv.new_udp(), uv.new_tcp()
    assert(udp:bind(host, wanted))
    local port = udp:getsockname().port
    local function onClient()
      local client = uv.new_tcp()
      assert(tcp:accept(client))
      onStream(client)
    end
    if tcp:bind(host, port) and tcp:listen(128, onClient) then
      loop.atEnd(function() udp:close() tcp:close() end)
      return udp, port
    end
    udp:close()
    tcp:close()
  end
  error "no port is free for UDP and TCP"
end

local UDP_MAX = 1200

--- Starts a server of ours, on luv's loop, by UDP, and by TCP where that is too
-- much.
-- @param handler called with the name and the type of each question; returns an
--   array of records as "NAME TTL TYPE DATA", the name of an RCODE, or nil to
--   say nothing
-- @param host nil, or an address whose port 53 is free, where it is to be
-- @return a table: `port`, `at`
function dns.serve(handler, host)
  local udp, port = bind(host or "127.0.0.1", host and 53 or 0,
    function(client) serveStream(client, handler) end)
  assert(udp:recv_start(function(_, bytes, from)
    local reply = bytes and answer(bytes, handler)
    if reply and #reply > UDP_MAX then
      local id, flags = (">I2I2"):unpack(reply)
      reply = (">I2I2I2I2I2I2"):pack(id, flags | 0x200, 1, 0, 0, 0)
        .. bytes:sub(13, (bytes:find("\0", 13, true)) + 4)
    end
    if reply then udp:try_send(reply, from.ip, from.port) end
  end))
  return { port = port, at = (host or "127.0.0.1") .. ":" .. port }
end

return dns
