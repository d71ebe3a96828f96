-- A server of many servers, for discover.lua: Consul, etcd or Kubernetes. Its
-- arguments are which, and how many. It says at which port. A request for /step
-- has 1% of them replaced, and tells whoever watches.

local uv = require "luv"

local kind, count = arg[1], tonumber(arg[2])
local PER_SLICE = 100

local first, version = 0, 1
local watching = {}

local function address(i)
  return ("10.%d.%d.%d"):format(i >> 16, i >> 8 & 255, i & 255)
end

local function answer(peer, body, headers)
  peer:write { ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n")
    :format(#body, headers or ""), body }
end

local function watch(peer)
  peer:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
  watching[#watching + 1] = peer
end

local function tell(lines)
  local text = table.concat(lines, "\n") .. "\n"
  for _, peer in ipairs(watching) do
    peer:write(("%x\r\n%s\r\n"):format(#text, text))
  end
end

local kinds = {}

-- Consul: about what it says of an instance.
kinds.consul = {}

local function instance(i)
  return ([[{"Node":{"ID":"0b8f7d2c-%04x-4c3e-8a4e-6b1f00000000","Node":"n%d",
"Address":"%s","Datacenter":"dc1","Meta":{"consul-network-segment":""},
"CreateIndex":%d,"ModifyIndex":%d},"Service":{"ID":"web-%d","Service":"web",
"Tags":["v1","http"],"Address":"%s","Meta":{"version":"1.2.3"},"Port":4040,
"Weights":{"Passing":1,"Warning":1},"EnableTagOverride":false,
"CreateIndex":%d,"ModifyIndex":%d},"Checks":[{"Node":"n%d",
"CheckID":"serfHealth","Name":"Serf Health Status","Status":"passing",
"Output":"Agent alive and reachable","ServiceID":"","ServiceName":""}]}]])
    :format(i & 65535, i, address(i), i, i, i, address(i), i, i, i)
end

function kinds.consul.body()
  local list = {}
  for i = first, first + count - 1 do list[#list + 1] = instance(i) end
  return "[" .. table.concat(list, ",") .. "]"
end

function kinds.consul.respond(peer)
  answer(peer, kinds.consul.text, ("X-Consul-Index: %d\r\n"):format(version))
end

function kinds.consul.request(peer, path)
  kinds.consul.text = kinds.consul.text or kinds.consul.body()
  if path:find("index=" .. version, 1, true) then
    watching[#watching + 1] = peer
  else
    kinds.consul.respond(peer)
  end
end

function kinds.consul.step()
  kinds.consul.text = kinds.consul.body()
  for _, peer in ipairs(watching) do kinds.consul.respond(peer) end
  watching = {}
end

-- Kubernetes: slices of 100 endpoints.
kinds.kubernetes = {}

-- An endpoint's number becomes another one in its place.
local place = {}
for i = 1, count do place[i] = i - 1 end

local function slice(n)
  local endpoints = {}
  for i = n * PER_SLICE + 1, math.min((n + 1) * PER_SLICE, count) do
    endpoints[#endpoints + 1] = ([[{"addresses":["%s"],"conditions":{]]
      .. [["ready":true,"serving":true,"terminating":false},"nodeName":"n%d",]]
      .. [["targetRef":{"kind":"Pod","namespace":"default","name":"web-%d"},]]
      .. [["zone":"a"}]])
      :format(address(place[i]), i, place[i])
  end
  return ([[{"metadata":{"name":"web-%d","namespace":"default",]]
    .. [["resourceVersion":"%d","labels":{"kubernetes.io/service-name":]]
    .. [["web"}},"addressType":"IPv4","endpoints":[%s],]]
    .. [["ports":[{"name":"rover","protocol":"TCP","port":4040}]}]])
    :format(n, version, table.concat(endpoints, ","))
end

function kinds.kubernetes.request(peer, path)
  if path:find "watch=true" then return watch(peer) end
  local slices = {}
  for n = 0, (count - 1) // PER_SLICE do slices[#slices + 1] = slice(n) end
  answer(peer, ('{"metadata":{"resourceVersion":"%d"},"items":[%s]}')
    :format(version, table.concat(slices, ",")))
end

-- One of each slice.
function kinds.kubernetes.step()
  local lines = {}
  for n = 0, (count - 1) // PER_SLICE do
    place[n * PER_SLICE + 1 + version % PER_SLICE] = first + count - 1 - n
    lines[#lines + 1] = '{"type":"MODIFIED","object":' .. slice(n) .. "}"
  end
  tell(lines)
end

-- etcd: a key for each, with an address.
kinds.etcd = {}

local DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
  .. "0123456789+/"

local function base64(text)
  return (text:gsub("..?.?", function(bytes)
    local a, b, c = bytes:byte(1, 3)
    local bits, out = a << 16 | (b or 0) << 8 | (c or 0), ""
    for i = 0, #bytes do
      local at = (bits >> 18 - 6 * i & 63) + 1
      out = out .. DIGITS:sub(at, at)
    end
    return out .. ("="):rep(3 - #bytes)
  end))
end

local function key(i, isGone)
  local value = ('{"host": "%s", "port": 4040}'):format(address(i))
  return ('{"key":"%s","create_revision":"%d","mod_revision":"%d",'
    .. '"version":"1","value":"%s"}'):format(base64("/web/" .. i), i + 1, i + 1,
    isGone and "" or base64(value))
end

function kinds.etcd.request(peer, path)
  if path:find "watch" then return watch(peer) end
  local list = {}
  for i = first, first + count - 1 do list[#list + 1] = key(i) end
  answer(peer, ('{"header":{"revision":"%d"},"kvs":[%s],"count":"%d"}')
    :format(version, table.concat(list, ","), count))
end

function kinds.etcd.step()
  local events = {}
  for i = first - count // 100, first - 1 do
    events[#events + 1] = '{"type":"DELETE","kv":' .. key(i, true) .. "}"
    events[#events + 1] = '{"kv":' .. key(i + count) .. "}"
  end
  tell { '{"result":{"header":{},"events":['
    .. table.concat(events, ",") .. "]}}" }
end

local function take(peer, path)
  if path ~= "/step" then return kinds[kind].request(peer, path) end
  first, version = first + count // 100, version + 1
  kinds[kind].step()
  answer(peer, "")
end

local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(16, function()
  local peer, got = uv.new_tcp(), ""
  server:accept(peer)
  peer:read_start(function(_, bytes)
    if not bytes then return peer:close() end
    got = got .. bytes
    local head, last = got:match "^(.-\r\n\r\n)()"
    local length = tonumber(head and head:match "Length: (%d+)" or 0)
    if not head or #got < last - 1 + length then return end
    got = got:sub(last + length)
    take(peer, head:match "^%u+ (%S+)")
  end)
end)
print(server:getsockname().port)
io.stdout:flush()
uv.run()
