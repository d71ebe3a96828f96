-- A reload of a policy that has sockets with TLS.

local certificates = require "support.certificates"
local proxies = require "support.proxies"
local support = require "support"

local logged = support.logged
local fleet = certificates.fleet()

local POLICY = [[
local host = require "callosum.host"
local port, path = table.unpack(host.args)
local r = require "callosum.rover".new { tls = { ca = "%s" },
  servers = { s = { host = "localhost", port = math.tointeger(port) } } }
r:on("error", function(err) host.log.error(tostring(err)) end)
r:on("connection", function(slot, socket)
  if not socket.adopted then
    socket.state = { greeting = "written by the first" }
    socket:write(("w"):rep(1 << 20))
    return host.log.info("kept", { slot = slot })
  end
  local text, length = {}, 0
  socket:on("data", function(chunk)
    text[#text + 1] = chunk
    length = length + #chunk
    if length < LENGTH then return end
    local file = assert(io.open(path, "w"))
    file:write(table.concat(text))
    file:close()
    socket:write "thanks"
    host.log.info("read", { bytes = length, state = socket.state.greeting,
      slot = slot })
  end)
  socket:on("end", function() host.log.info "ended" end)
  socket:on("close", function(err)
    host.log.info("closed", { code = err and err.code })
  end)
end)
if host.generation == 0 or host.generation == 1 then r:connect() end
]]

-- What is behind HAProxy, which has the certificate.
local function serve(script)
  local behind = support.serve(script)
  local port = support.freePorts(1)
  proxies.haproxy(([[
listen l
  bind 127.0.0.1:%d ssl crt %s
  server s 127.0.0.1:%d
]]):format(port, fleet.server.both, behind.port), port)
  return behind, port
end

describe("a reload with sockets over TLS", function()
  -- What comes behind the slot line: in its record, and in others.
  for _, length in ipairs { 7, 16000, 200000 } do
    it(("loses none of %d bytes that nobody has read"):format(length),
      function()
        local bytes = {}
        for i = 1, length do bytes[i] = string.char(i * i % 251) end
        local text = table.concat(bytes)
        local behind, port = serve { connection = function(peer)
          peer:write("3\r\n" .. text)
        end }
        local path = support.tmpdir() .. "/read"
        local script = POLICY:format(fleet.ca.file)
          :gsub("LENGTH", tostring(length))
        local child = support.policy(script,
          { args = { tostring(port), path } })
        logged(child, "kept")
        child:kill "sighup"
        assert.equal(1, logged(child, "policy reloaded").adopted)
        local told = logged(child, "read")
        assert.same({ length, "written by the first", 3 },
          { told.bytes, told.state, told.slot })
        local file <close> = assert(io.open(path))
        assert.is_true(file:read "a" == text)
        -- What the first had written comes first, and whole.
        local peer = behind.peers[1]
        support.run(function() return #peer.received >= (1 << 20) + 6 end)
        assert.is_true(peer.received == ("w"):rep(1 << 20) .. "thanks")
        peer:close()
        logged(child, "ended")
        assert.is_nil(logged(child, "closed").code)
        support.stop(child)
      end)
  end
end)
