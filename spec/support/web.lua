-- HTTP servers and certificates for tests: `require "support.web"`.

local files = require "support.files"
local loop = require "support.loop"
local process = require "support.process"
local tcp = require "support.tcp"

local web = {}

local REASONS = { [200] = "OK", [302] = "Found", [304] = "Not Modified" }

--- What a handler answers with: `request.method`, `.path`, `.headers` (by name
-- in lower case), `.body`, and the `peer`.
local request = {}
local requestMeta = { __index = request }

local function head(code, headers)
  local lines = { ("HTTP/1.1 %d %s"):format(code, REASONS[code] or "Whatever") }
  for name, value in pairs(headers) do
    lines[#lines + 1] = name .. ": " .. value
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

--- Answers.
-- @param code a number
-- @param body a string
-- @param headers nil or a table
function request:answer(code, body, headers)
  local all = { ["Content-Length"] = #body }
  for name, value in pairs(headers or {}) do all[name] = value end
  self.peer:write(head(code, all) .. body)
end

--- Begins an answer of code 200 without an end, to which `send` adds.
function request:stream()
  self.peer:write(head(200, { ["Transfer-Encoding"] = "chunked" }))
end

--- Adds to a stream.
function request:send(bytes)
  self.peer:write(("%x\r\n%s\r\n"):format(#bytes, bytes))
end

--- Ends a stream in order.
function request:finish() self.peer:write "0\r\n\r\n" end

local function take(peer, handler)
  while true do
    local first, last = peer.received:find("\r\n\r\n", 1, true)
    if not first then return end
    local lines = peer.received:sub(1, first + 1)
    local headers = {}
    for name, value in lines:gmatch "\n([^:\r\n]+): *([^\r\n]*)" do
      headers[name:lower()] = value
    end
    local length = math.tointeger(headers["content-length"] or 0)
    if #peer.received < last + length then return end
    local each = setmetatable({ peer = peer, headers = headers,
      body = peer.received:sub(last + 1, last + length) }, requestMeta)
    each.method, each.path = lines:match "^(%S+) (%S+)"
    peer.received = peer.received:sub(last + length + 1)
    handler(each)
  end
end

local function read(peer, handler)
  peer.handle:read_stop()
  peer.handle:read_start(function(err, chunk)
    if err or not chunk then return peer:close() end
    peer.received = peer.received .. chunk
    take(peer, handler)
  end)
end

--- Starts a server on luv's loop.
-- @param handler called with each request
-- @param path nil, or where to listen
-- @return a table: `port`, `url`, `close()`
function web.serve(handler, path)
  local server = tcp.serve { path = path,
    connection = function(peer) read(peer, handler) end }
  if path then return server end
  server.url = "http://127.0.0.1:" .. server.port
  return server
end

--- Runs a program to its end, which must be a good one.
local function run(...)
  local child = process.spawn("sh", { "-c", 'exec "$@"', "sh", ... },
    { env = { LD_PRELOAD = false } })
  if child:wait() ~= 0 then error(child.command .. "\n" .. child.output, 2) end
end

--- Makes a CA, and certificates of it for a server, `localhost`, and a client.
-- @return a table of paths: `ca`, `cert`, `key`, `clientCert`, `clientKey`
function web.certificates()
  local dir = files.tmpdir()
  local function path(name) return dir .. "/" .. name end
  run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
    "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=a CA",
    "-addext", "keyUsage=keyCertSign", "-keyout", path "ca.key",
    "-out", path "ca.pem")
  for name, subject in pairs { server = "localhost", client = "client" } do
    run("openssl", "req", "-newkey", "ec", "-pkeyopt",
      "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" .. subject,
      "-keyout", path(name .. ".key"), "-out", path(name .. ".csr"))
    files.write(path(name .. ".ext"), "subjectAltName=DNS:" .. subject .. "\n")
    run("openssl", "x509", "-req", "-in", path(name .. ".csr"), "-CA",
      path "ca.pem", "-CAkey", path "ca.key", "-CAcreateserial", "-days", "2",
      "-extfile", path(name .. ".ext"), "-out", path(name .. ".pem"))
  end
  return { ca = path "ca.pem", cert = path "server.pem",
    key = path "server.key", clientCert = path "client.pem",
    clientKey = path "client.key" }
end

-- Runs the loop until somebody listens there, or the child has ended.
function web.listens(child, port)
  loop.eventually(function()
    if child.code then return true end
    local peer = tcp.connect(port)
    loop.run(function() return peer.connected or peer.closed end)
    peer:close()
    return peer.connected
  end)
  if child.code then error(child.output, 2) end
  return child
end

--- Starts nginx with TLS, which wants certificates of the CA, and answers with
-- a text.
-- @param port one that is free
-- @param paths of `certificates`
-- @param text what it answers to any request; without ' or \
function web.nginx(port, paths, text)
  local dir = files.tmpdir()
  local path = files.write(dir .. "/nginx.conf", (([[
daemon off;
master_process off;
pid DIR/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path DIR/body;
  proxy_temp_path DIR/proxy;
  fastcgi_temp_path DIR/fastcgi;
  uwsgi_temp_path DIR/uwsgi;
  scgi_temp_path DIR/scgi;
  server {
    listen 127.0.0.1:PORT ssl;
    ssl_certificate CERT;
    ssl_certificate_key KEY;
    ssl_client_certificate CA;
    ssl_verify_client on;
    location / { return 200 'TEXT'; }
  }
}
]]):gsub("%u+", { DIR = dir, PORT = tostring(port), CERT = paths.cert,
    KEY = paths.key, CA = paths.ca, TEXT = text })))
  return web.listens(process.spawn("nginx", { "-e", "stderr", "-c", path },
    { env = { LD_PRELOAD = false } }), port)
end

--- A JSON text: tables with [1], or empty ones of `web.EMPTY`, are arrays.
web.EMPTY = {}
function web.json(value)
  if type(value) ~= "table" then
    return type(value) == "string" and '"' .. value:gsub('[%c"\\]',
      function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
      or tostring(value)
  end
  local words = {}
  if value[1] ~= nil or value == web.EMPTY then
    for i, each in ipairs(value) do words[i] = web.json(each) end
    return "[" .. table.concat(words, ",") .. "]"
  end
  for key, each in pairs(value) do
    words[#words + 1] = web.json(key) .. ":" .. web.json(each)
  end
  table.sort(words)
  return "{" .. table.concat(words, ",") .. "}"
end

return web
