-- HTTP for tests: asks a host at one of its addresses of --admin, in requests
-- written out here, and reads what comes back.

local json = require "dkjson"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local tcp = require "support.tcp"

local http = {}

--- Connects to an address of --admin.
-- @param address a path, "127.0.0.1:9090" or "[::1]:9090"
-- @return the peer
function http.connect(address)
  local host, port = address:match "^%[?([%x:.]-)%]?:(%d+)$"
  if not host then return tcp.connect(address) end
  return tcp.connect(tonumber(port), host)
end

--- Writes out a request.
-- @param method "GET"
-- @param path "/metrics"
-- @param headers nil, or a table of header lines; by default Host is localhost;
--   false leaves one out
-- @param body nil or a string
function http.request(method, path, headers, body)
  local all = { Host = "localhost" }
  if body then all["Content-Length"] = #body end
  for name, value in pairs(headers or {}) do all[name] = value end
  local lines = { ("%s %s HTTP/1.1"):format(method, path) }
  for name, value in pairs(all) do
    if value then lines[#lines + 1] = ("%s: %s"):format(name, value) end
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local function chunks(peer)
  local body = {}
  repeat
    local length = tonumber(peer:line(), 16)
    loop.run(function()
      return #peer.received >= length + 2 or peer.ended or peer.closed
    end)
    assert(peer.received:sub(length + 1, length + 2) == "\r\n",
      "a chunk is cut short")
    body[#body + 1] = peer.received:sub(1, length)
    peer.received = peer.received:sub(length + 3)
  until length == 0
  return table.concat(body)
end

--- Reads an answer.
-- @param peer the peer
-- @param head_only whether it is one to HEAD
-- @return a table: `status`, `headers` (by names in lower case), `body`
function http.answer(peer, head_only)
  local answer = { headers = {} }
  local line = peer:line()
  answer.status = tonumber(line:match "^HTTP/1%.1 (%d%d%d) %u")
  assert(answer.status, line)
  for each in peer.line, peer do
    if each == "" then break end
    local name, value = each:match "^([%w-]+): (.+)$"
    assert(name and not answer.headers[name:lower()], each)
    answer.headers[name:lower()] = value
  end
  local length = answer.headers["content-length"]
  if head_only then return answer end
  if length then
    loop.run(function()
      return #peer.received >= tonumber(length) or peer.ended or peer.closed
    end)
    answer.body = peer.received:sub(1, tonumber(length))
    assert(#answer.body == tonumber(length), "the body is cut short")
    peer.received = peer.received:sub(length + 1)
  elseif answer.headers["transfer-encoding"] == "chunked" then
    answer.body = chunks(peer)
  else
    peer:waitEnd()
    answer.body, peer.received = peer.received, ""
  end
  return answer
end

--- Asks, on a connection of its own or on that of a peer.
-- @param at an address, or a peer
-- @return the answer, and the peer
function http.ask(at, method, path, headers, body)
  local peer = type(at) == "string" and http.connect(at) or at
  peer:write(http.request(method, path, headers, body))
  return http.answer(peer, method == "HEAD"), peer
end

--- Asks by GET, and fails unless the status is 200.
-- @return the body, and the headers
function http.get(at, path, headers)
  local answer, peer = http.ask(at, "GET", path, headers)
  if type(at) == "string" then peer:close() end
  if answer.status ~= 200 then
    error(("%s: status %d: %s"):format(path, answer.status, answer.body), 2)
  end
  return answer.body, answer.headers
end

--- Asks for a change by POST.
-- @param body nil or a table
-- @return the status, and what the answer's JSON means
function http.post(at, path, body, headers)
  local all = { ["Callosum-Control"] = "1" }
  for name, value in pairs(headers or {}) do all[name] = value end
  local answer, peer = http.ask(at, "POST", path, all,
    body and json.encode(body))
  if type(at) == "string" then peer:close() end
  local meant = json.decode(answer.body, 1, json.null)
  assert(meant or not answer.headers["content-type"]:find "json", answer.body)
  return answer.status, meant or answer.body
end

-- A policy that does nothing.
http.IDLE = [[
local r = require "callosum.rover".new()
r:on("error", function() end)
r:start()
]]

--- Runs a policy with a Unix socket, and a free port, for its admin.
-- @param script nil or its text
-- @param options as of support.policy
-- @return the child, the path and the port's address
function http.policy(script, options)
  local own = { flags = {} }
  for name, value in pairs(options or {}) do own[name] = value end
  local path = files.tmpdir() .. "/admin.sock"
  own.flags = { "--admin", path, "--admin", "0",
    table.unpack(own.flags) }
  local child = command.policy(script or http.IDLE, own)
  command.logged(child, "policy loaded")
  local address = command.events(child, "admin listens")[2].address
  return child, path, address
end

return http
