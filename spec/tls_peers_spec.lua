-- Rovers and fronts over TLS, with programs that others have written.

local certificates = require "support.certificates"
local process = require "support.process"
local proxies = require "support.proxies"
local support = require "support"

local attempt, record, rover = support.attempt, support.record, support.rover

local fleet = certificates.fleet()

-- A rover of that port.
local function secured(port, options)
  local own = { port = port, tls = { ca = fleet.ca.file } }
  for name, value in pairs(options or {}) do own[name] = value end
  local r = rover(own)
  return r, record(r)
end

-- What one attempt there ends in: "connection" or a code, and the words.
local function outcome(port, options)
  local r, events = secured(port, options)
  local event = attempt(r, events)
  local err = event.err or {}
  r:close()
  return err.code or event.event, tostring(err), event.event
end

local function shown(certificate)
  return { ca = fleet.ca.file, cert = certificate.cert, key = certificate.key }
end

-- HAProxy in the place of a front, with a listener for each of the lines;
-- returns their ports.
local function haproxy(lines)
  local ports, text = { support.freePorts(#lines) }, {}
  local behind = support.echo "7\r\n"
  for i, line in ipairs(lines) do
    text[i] = ("listen l%d\n  bind 127.0.0.1:%d ssl %s\n"
      .. "  server s 127.0.0.1:%d\n"):format(i, ports[i], line, behind)
  end
  proxies.haproxy(table.concat(text), ports[#ports])
  return ports
end

describe("a rover that finds HAProxy in a front's place", function()
  it("takes a server for what its certificate says", function()
    local cases = {
      { "server", "connection" }, { "rsaServer", "connection" },
      { "chained", "connection" }, { "soon", "connection" },
      { "wrongName", "ECERT", "127.0.0.1" },
      { "commonNameOnly", "ECERT", "127.0.0.1" },
      { "expired", "ECERT", "expired on " },
      { "notYet", "ECERT", "not valid before " },
      { "strange", "ECERT", "neither in " .. fleet.ca.file },
      { "wrongPurpose", "ECERT", "not for servers" },
    }
    local lines = {}
    for i, case in ipairs(cases) do lines[i] = "crt " .. fleet[case[1]].both end
    local ports = haproxy(lines)
    for i, case in ipairs(cases) do
      local code, words, event = outcome(ports[i])
      assert.same({ case[1], case[2] }, { case[1], code }, words)
      assert.equal(code == "connection" and code or "error", event)
      assert.matches(case[3] or "", words, 1, true)
    end
  end)

  it("is refused for its own certificate, and says so", function()
    local common = ("crt %s ca-file %s crl-file %s verify required "):format(
      fleet.server.both, fleet.ca.file, fleet.crl)
    for _, version in ipairs { "TLSv1.2", "TLSv1.3" } do
      local port = haproxy { common .. ("ssl-min-ver %s ssl-max-ver %s")
        :format(version, version) }[1]
      for name, expected in pairs { client = "connection",
          rsaClient = "connection", chainedClient = "ECERT",
          expiredClient = "ECERT", strangeClient = "ECERT",
          revokedClient = "ECERT", serverAsClient = "ECERT" } do
        -- The list says nothing about those of the intermediate CA.
        local code, words = outcome(port, { tls = shown(fleet[name]) })
        assert.same({ name, expected }, { name, code }, version .. words)
      end
      assert.equal("ECERT", (outcome(port)), version)
    end
  end)

  it("reads and writes, and sees the end", function()
    local port = haproxy { "crt " .. fleet.server.both }[1]
    local r, events = secured(port)
    local event = attempt(r, events)
    assert.equal(7, event.slot)
    local received, ended = {}, false
    event.socket:on("data", function(chunk)
      received[#received + 1] = chunk
    end)
    event.socket:on("end", function() ended = true end)
    local text = ("0123456789abcdef"):rep(64 * 1024)
    event.socket:write(text)
    support.run(function() return #table.concat(received) == #text end)
    assert.is_true(table.concat(received) == text)
    event.socket:shutdown()
    support.run(function() return ended end)
    r:close()
  end)
end)

it("a rover takes its slot line from nginx", function()
  local port = support.freePorts(1)
  proxies.secured(port, support.echo "7\r\n", ([[
    ssl_certificate %s;
    ssl_certificate_key %s;
    ssl_client_certificate %s;
    ssl_verify_client on;
  ]]):format(fleet.server.cert, fleet.server.key, fleet.ca.file))
  assert.equal("connection",
    (outcome(port, { tls = shown(fleet.client) })))
  -- nginx closes without an alert.
  local _, _, event = outcome(port, { tls = shown(fleet.strangeClient) })
  assert.is_true(event ~= "connection")
end)

describe("a rover that finds s_server of OpenSSL", function()
  local function serve(...)
    local port = support.freePorts(1)
    local child = process.spawn("openssl", { "s_server", "-accept",
      "127.0.0.1:" .. port, "-cert", fleet.server.cert, "-key",
      fleet.server.key, ... }, { env = { LD_PRELOAD = false } })
    support.eventually(function()
      local peer = support.connect(port)
      support.run(function() return peer.connected or peer.closed end)
      local is = peer.connected
      peer:close()
      return is
    end)
    return port, child
  end

  it("keeps the connection, and says so when there is no common version",
    function()
      local port, child = serve("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
      local code, words, event = outcome(port)
      assert.same({ "EPROTO", "error" }, { code, event }, words)
      child:kill()

      port, child = serve "-tls1_3"
      local r, events = secured(port)
      r:connect()
      child:waitFor "CIPHER is "
      child:write "12\r\n"
      support.run(function() return events[1] end)
      assert.equal(12, events[1].slot, tostring(events[1].err))
      events[1].socket:write "hello\n"
      child:waitFor "hello\n"
      child:kill()
      support.run(function() return events[1].socket.closed end)
      r:close()
    end)
end)

describe("a front that s_client of OpenSSL asks", function()
  local fronts = require "support.fronts"

  local function front(options)
    local tls = { cert = fleet.server.cert, key = fleet.server.key,
      ca = fleet.ca.file }
    for name, value in pairs(options or {}) do tls[name] = value end
    local f = fronts.front({ tls = tls, backend = { port = support.echo() } },
      {})
    local _, port = f:address()
    return f, port
  end

  local function client(port, certificate, ...)
    local args = { "s_client", "-connect", "127.0.0.1:" .. port, "-CAfile",
      fleet.ca.file, "-verify_return_error", "-verify_ip", "127.0.0.1", ... }
    if certificate then
      table.move({ "-cert", certificate.cert, "-key", certificate.key,
        "-cert_chain", certificate.cert }, 1, 6, #args + 1, args)
    end
    return process.spawn("openssl", args, { env = { LD_PRELOAD = false } })
  end

  it("gives it a slot, and joins it, in both versions", function()
    local f, port = front()
    for slot, version in ipairs { "-tls1_2", "-tls1_3" } do
      local child = client(port, fleet.client, "-quiet", version)
      child:waitFor(("%%f[%%d]%d\r\n"):format(slot - 1))
      child:write "hello\n"
      child:waitFor "hello\n"
    end
    assert.equal(2, f:stats().handshakes)
  end)

  it("resumes its session", function()
    local f, port = front()
    for i, version in ipairs { "-tls1_2", "-tls1_3" } do
      local file = support.tmpdir() .. "/session"
      local child = client(port, fleet.client, version, "-sess_out", file)
      child:waitFor "%f[%d]0\r\n"
      child:write "Q\n"
      child:wait()
      child = client(port, fleet.client, version, "-sess_in", file)
      child:waitFor "Reused, "
      child:waitFor "%f[%d]0\r\n"
      child:write "Q\n"
      child:wait()
      assert.equal(i, f:stats().handshakesResumed)
    end
  end)

  it("refuses whose certificate is not right, by an alert", function()
    local f, port = front { crl = fleet.crl, names = { "client.fleet.example",
      "spiffe://fleet.example/*" } }
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      for name, expected in pairs { client = "%f[%d]0\r\n",
          uriClient = "%f[%d]0\r\n", wrongClient = "alert",
          namelessClient = "alert", expiredClient = "alert certificate expired",
          strangeClient = "alert unknown ca",
          revokedClient = "alert certificate revoked",
          serverAsClient = "alert" } do
        local child = client(port, fleet[name], "-quiet", version)
        child:waitFor(expected)
        child:kill()
        child:wait()
      end
      local child = client(port, nil, "-quiet", version)
      child:waitFor(version == "-tls1_3" and "alert certificate required"
        or "alert handshake failure")
      child:kill()
      child:wait()
    end
    fronts.reached(f, "open", 0)
  end)
end)
