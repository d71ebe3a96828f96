-- What a stranger can do to an admin: a page in a browser of the same machine,
-- somebody who can connect, and who sends what he wants.

local http = require "support.http"
local support = require "support"
local uv = require "luv"

local ask, get, post = http.ask, http.get, http.post
local events, logged, stop = support.events, support.logged, support.stop

local CONTROL = { ["Callosum-Control"] = "1" }

-- The status of an answer to a request with these header lines.
local function status(at, headers, method, path)
  local answer, peer = ask(at, method or "GET", path or "/metrics", headers)
  peer:close()
  return answer.status
end

-- Runs the command, which has to refuse these options.
local function refused(flags, message)
  local args = { "run" }
  for _, flag in ipairs(flags) do args[#args + 1] = flag end
  args[#args + 1] = support.tmpfile(http.IDLE)
  local child = support.command(args)
  assert.same({ 2, 0 }, { child:wait() }, child.output)
  assert.is_truthy(child.stderr:find(message, 1, true), child.stderr)
end

-- How many policies have been loaded.
local function generation(at)
  return tonumber(get(at, "/metrics"):match
    "\ncallosum_policy_generation (%d+)\n")
end

describe("a page in a browser", function()
  it("cannot give its own name to our address", function()
    local child, path, address = http.policy(nil, { flags = {
      "--admin-host", "ops.example", "--admin-host", "Desk" } })
    local port = address:match "%d+$"
    for _, host in ipairs { "127.0.0.1", "127.0.0.1:" .. port, "localhost",
        "localhost:" .. port, "LOCALHOST:8080", "ops.example",
        "ops.example:443", "desk" } do
      assert.equal(200, status(address, { Host = host }), host)
    end
    for _, host in ipairs { "evil.example", "evil.example:" .. port,
        "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.2",
        "xlocalhost", "ops.example.evil.example", "[::1]:" .. port, "[]", ":",
        "", "127.0.0.1:80:80@evil.example", "0x7f.1", "2130706433",
        "evil.example#localhost", "127.1", "::1" } do
      local found = status(address, { Host = host })
      local is_ours = host:find "^127%.0%.0%.1:"
      assert.equal(is_ours and 200 or 421, found, host)
    end
    assert.equal(400, status(address, { Host = false }))
    -- Nobody's browser connects to a Unix socket.
    assert.equal(200, status(path, { Host = "evil.example" }))
    assert.equal(200, status(path, { Host = false }))
    stop(child)
  end)

  it("cannot read or ask for anything from another origin", function()
    local child, path, address = http.policy(nil, { flags = {
      "--admin-control", "--admin-host", "ops.example" } })
    local own = "http://" .. address
    for _, at in ipairs { address, path } do
      local function asked(origin, host, method, to)
        return status(at, { Origin = origin, Host = host or address,
          ["Callosum-Control"] = "1" }, method, to)
      end
      assert.equal(200, asked(own))
      assert.equal(200, asked(own, nil, "POST", "/reload"))
      assert.equal(200, asked("https://ops.example", "ops.example"))
      assert.equal(200, asked("http://LocalHost:81", "localhost:81"))
      for _, origin in ipairs { "http://evil.example", "null", "", "file://",
          "http://localhost", "http://localhost:1", own .. ".evil.example",
          own .. "0", "ftp://" .. address, address } do
        assert.equal(403, asked(origin), origin)
        assert.equal(403, asked(origin, nil, "POST", "/reload"), origin)
      end
    end
    assert.equal(3, generation(path))
    stop(child)
  end)

  it("cannot ask where its browser says that it is another site's", function()
    local child, path, address = http.policy(nil,
      { flags = { "--admin-control" } })
    for _, at in ipairs { address, path } do
      local function asked(site, mode, dest, method, to)
        return status(at, { ["Sec-Fetch-Site"] = site, Host = address,
          ["Sec-Fetch-Mode"] = mode or false,
          ["Sec-Fetch-Dest"] = dest or false,
          ["Callosum-Control"] = "1" }, method, to)
      end
      assert.equal(200, asked "same-origin")
      assert.equal(200, asked "none")
      assert.equal(200, asked("same-origin", "cors", "empty", "POST",
        "/reload"))
      for _, site in ipairs { "cross-site", "same-site", "new-word" } do
        -- An image, a script, a frame, a form.
        assert.equal(403, asked(site))
        assert.equal(403, asked(site, "no-cors", "image"))
        assert.equal(403, asked(site, "navigate", "iframe", "GET", "/"))
        assert.equal(403, asked(site, "navigate", "document", "POST",
          "/reload"))
        -- A link that somebody follows.
        assert.equal(200, asked(site, "navigate", "document", "GET", "/"))
      end
    end
    assert.equal(3, generation(path))
    stop(child)
  end)

  it("cannot change anything by a form, or after asking whether it may",
    function()
      local child, path, address = http.policy(nil,
        { flags = { "--admin-control" } })
      for _, at in ipairs { address, path } do
        for _, kind in ipairs { "text/plain",
            "application/x-www-form-urlencoded", "multipart/form-data" } do
          local answer = ask(at, "POST", "/reload", { ["Content-Type"] = kind })
          assert.equal(403, answer.status)
          assert.matches('"error":"send the header Callosum%-Control: 1"',
            answer.body)
        end
        for _, value in ipairs { "0", "true", "11", "" } do
          assert.equal(403, status(at, { ["Callosum-Control"] = value },
            "POST", "/reload"))
        end
        local answer = ask(at, "OPTIONS", "/reload", { Host = address,
          ["Access-Control-Request-Method"] = "POST",
          ["Access-Control-Request-Headers"] = "callosum-control" })
        assert.equal(405, answer.status)
        for name in pairs(answer.headers) do
          assert.is_nil(name:find "^access%-control")
        end
      end
      assert.equal(1, generation(path))
      stop(child)
    end)

  it("is told to keep answers from other pages, and from frames", function()
    local child, _, address = http.policy()
    for _, path in ipairs { "/", "/metrics", "/nothing" } do
      local headers = ask(address, "GET", path).headers
      assert.equal("nosniff", headers["x-content-type-options"])
      assert.equal("DENY", headers["x-frame-options"])
      assert.equal("same-origin", headers["cross-origin-resource-policy"])
      assert.equal("no-store", headers["cache-control"])
    end
    local policy = ask(address, "GET", "/").headers["content-security-policy"]
    assert.matches("default%-src 'none'", policy)
    assert.is_falsy(policy:find "unsafe")
    stop(child)
  end)
end)

describe("GET", function()
  it("never changes anything", function()
    local child, path = http.policy()
    for _, method in ipairs { "GET", "HEAD" } do
      for _, each in ipairs { "/reload", "/log", "/drain", "/resume",
          "/servers", "/servers/a/drop" } do
        local answer = ask(path, method, each, CONTROL)
        assert.equal(405, answer.status)
        assert.equal("POST", answer.headers.allow)
      end
    end
    assert.equal(405, status(path, CONTROL, "POST", "/metrics"))
    assert.equal(405, status(path, CONTROL, "PUT", "/reload"))
    assert.equal(405, status(path, CONTROL, "DELETE", "/"))
    assert.equal(1, generation(path))
    stop(child)
  end)
end)

describe("an address of --admin", function()
  it("is read-only if it is a port, unless told otherwise", function()
    local child, path, address = http.policy()
    local code, answer = post(address, "/reload")
    assert.equal(403, code)
    assert.matches("%-%-admin%-control", answer.error)
    assert.equal(200, (post(path, "/reload")))
    assert.equal(2, generation(address))
    stop(child)
  end)

  it("is of this machine alone, unless that is meant, and then read-only",
    function()
      local expose = "unless --admin-expose is given"
      refused({ "--admin", "0.0.0.0:0" }, expose)
      refused({ "--admin", "[::]:0" }, expose)
      refused({ "--admin", "192.0.2.1:0" }, expose)
      refused({ "--admin", "[::ffff:0.0.0.0]:0" }, expose)
      refused({ "--admin", "0.0.0.0:0", "--admin-expose", "--admin-control" },
        "others never control")
      local child, _, address = http.policy(nil, { flags = { "--admin",
        "0.0.0.0:0", "--admin-expose", "--admin-control" } })
      local exposed = events(child, "admin listens")[3].address
      exposed = exposed:gsub("0.0.0.0", "127.0.0.1")
      assert.equal(200, status(exposed, { Host = exposed }))
      assert.equal(421, status(exposed, { Host = "0.0.0.0" }))
      assert.equal(403, (post(exposed, "/reload")))
      assert.equal(200, (post(address, "/reload")))
      stop(child)
    end)

  it("is told when it makes no sense", function()
    for text, message in pairs { ["evil.example:80"] = "an IP address",
        ["::1:80"] = "in brackets", ["127.0.0.1:65536"] = "HOST:PORT",
        [":80"] = "HOST:PORT", nothing = "HOST:PORT" } do
      refused({ "--admin", text }, message)
    end
    refused({ "--admin", "/" .. ("x"):rep(200) }, "a shorter path")
    refused({ "--admin-control" }, "want --admin beside them")
    refused({ "--admin", "/tmp/x", "--admin-mode", "0888" }, "octal")
    for _, name in ipairs { "ops.example:80", "http://ops.example", "[::1]" } do
      refused({ "--admin", "0", "--admin-host", name }, "without a port")
    end
    local child = support.command { "run", "--admin",
      support.tmpdir() .. "/none/admin.sock", support.tmpfile(http.IDLE) }
    assert.same({ 1, 0 }, { child:wait() })
    assert.matches("there is no such folder", child.stderr)
  end)

  it("has its permissions from the beginning", function()
    for mode, flags in pairs { ["0600"] = {},
        ["0660"] = { "--admin-mode", "0660" } } do
      local path = support.tmpdir() .. "/admin.sock"
      local seen = {}
      local watch = uv.new_fs_event()
      watch:start(path:match "^(.*)/", {}, function()
        local there = uv.fs_lstat(path)
        if there then
          seen[("%04o"):format(there.mode & tonumber("7777", 8))] = true
        end
      end)
      local child = support.spawn("sh", { "-c", 'umask 0; exec "$@"', "sh",
        support.EXECUTABLE, "run", "--log-format", "json", "--admin", path,
        flags[1] or "--watch", flags[2] or "--watch",
        support.tmpfile(http.IDLE) }, { env = { LD_PRELOAD = false } })
      logged(child, "policy loaded")
      watch:close()
      assert.same({ [mode] = true }, seen)
      assert.equal("socket", uv.fs_lstat(path).type)
      stop(child)
    end
  end)

  it("is not taken from who listens there", function()
    local child, path, address = http.policy()
    for _, at in ipairs { path, address } do
      local other = support.command { "run", "--admin", at,
        support.tmpfile(http.IDLE) }
      assert.same({ 1, 0 }, { other:wait() })
      assert.matches("address already in use", other.stderr)
      get(at, "/metrics")
    end
    stop(child)
  end)
end)

describe("a request", function()
  local child, path

  local function begin()
    if not child or child.code then child, path = http.policy() end
  end

  -- Sends bytes, and returns the status of the one answer, after which the
  -- connection ends.
  local function refusedBy(bytes)
    local peer = http.connect(path):write(bytes)
    local answer = http.answer(peer)
    assert.equal("close", answer.headers.connection)
    assert.is_nil(peer:waitEnd())
    assert.equal("", peer.received)
    peer:close()
    return answer.status
  end

  it("may come in any pieces", function()
    begin()
    local bytes = http.request("GET", "/nothing", { Accept = "a, b;q=0" })
      .. http.request("POST", "/log", CONTROL, '{"level":"debug"}')
    for cut = 1, #bytes - 1 do
      local peer = http.connect(path)
      peer:write { bytes:sub(1, cut), bytes:sub(cut + 1) }
      assert.equal(404, http.answer(peer).status)
      assert.equal(200, http.answer(peer).status)
      peer:close()
    end
    local peer, all = http.connect(path), {}
    for i = 1, #bytes do all[i] = bytes:sub(i, i) end
    peer:write(all)
    assert.equal(404, http.answer(peer).status)
    assert.equal(200, http.answer(peer).status)
    stop(child)
  end)

  it("has at most 8 KiB of header, and as much of a body", function()
    begin()
    local function header(length)
      local bytes = "GET /nothing HTTP/1.1\r\nX: "
      return bytes .. ("x"):rep(length - #bytes - 4) .. "\r\n\r\n"
    end
    local peer = http.connect(path):write(header(8192) .. header(8192))
    assert.equal(404, http.answer(peer).status)
    assert.equal(404, http.answer(peer).status)
    peer:close()
    assert.equal(431, refusedBy(header(8193)))
    assert.equal(431, refusedBy(header(1000000)))
    assert.equal(431, refusedBy("GET / HTTP/1.1\r\n" .. ("X: y\r\n"):rep(5000)))
    assert.equal(414, refusedBy("GET /" .. ("x"):rep(20000)))
    assert.equal(414, refusedBy(("\r\n"):rep(20000)))
    local body = '{"level":"info"' .. (" "):rep(8192 - 16) .. "}"
    assert.equal(200, ask(path, "POST", "/log", CONTROL, body).status)
    for _, length in ipairs { "8193", "99999999999999999999" } do
      assert.equal(413, refusedBy("POST /log HTTP/1.1\r\nContent-Length: "
        .. length .. "\r\n\r\n" .. body))
    end
    assert.equal(417, refusedBy("POST /log HTTP/1.1\r\nContent-Length: 5\r\n"
      .. "Expect: 100-continue\r\n\r\n"))
    stop(child)
  end)

  it("cannot hide another one", function()
    begin()
    local hidden = http.request("POST", "/reload", CONTROL)
    local length = #hidden
    for _, bytes in ipairs {
      "POST /log HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked"
        .. "\r\n\r\n0\r\n\r\n",
      "POST /log HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n"
        .. "Content-Length: 3\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: " .. length
        .. "\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: 0, 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: +0\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length:\r\n\r\n",
      "POST /log HTTP/1.1\r\nContent-Length : 5\r\n\r\n",
      "POST /log HTTP/1.1\r\n Content-Length: 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nX: y\r\n Content-Length: 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nX: y\rContent-Length: 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nX: y\nContent-Length: 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nX: y\0Content-Length: 5\r\n\r\n",
      "POST /log HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET /metrics HTTP/1.1\r\nContent-Length: " .. length .. "\r\n\r\n",
      "HEAD /metrics HTTP/1.1\r\nContent-Length: " .. length .. "\r\n\r\n",
      "GET /metrics HTTP/1.1 \r\n\r\n", "GET  /metrics HTTP/1.1\r\n\r\n",
      "GET /metrics\r\n\r\n", "GET /metrics HTTP/1.1\n\n",
      "GET /metrics HTTP/11\r\n\r\n", "GET\t/metrics HTTP/1.1\r\n\r\n",
      "GET http://evil.example/metrics HTTP/1.1\r\n\r\n",
      "G\0ET /metrics HTTP/1.1\r\n\r\n", "\22\3\1\2\0\1\0\1\252\3\3\r\n\r\n",
      "GET /met\127rics HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    } do
      local found = refusedBy(bytes .. hidden)
      assert.is_true(found == 400 or found == 501 or found == 505, bytes)
    end
    assert.equal(400, refusedBy("POST /log HTTP/1.1\r\nTransfer-Encoding: "
      .. "chunked\r\nContent-Length: 5\r\n\r\n" .. hidden))
    assert.equal(501, refusedBy("POST /log HTTP/1.1\r\nTransfer-Encoding: "
      .. "chunked\r\n\r\n0\r\n\r\n" .. hidden))
    -- What is in a body is not asked.
    local answer, peer = ask(path, "POST", "/log", CONTROL, hidden)
    assert.equal(400, answer.status)
    assert.equal(1, generation(peer))
    -- Nor is anything that follows a refusal or a last request.
    peer:write(http.request("GET", "/nothing", { Connection = "close" })
      .. hidden)
    assert.equal(404, http.answer(peer).status)
    assert.is_nil(peer:waitEnd())
    assert.equal(1, generation(path))
    stop(child)
  end)

  it("ends with the other side", function()
    begin()
    local peer = http.connect(path)
    peer:write(http.request("GET", "/nothing") .. "GET / HTTP/1.1\r\n")
    support.run(function() return peer.connected end)
    peer:shutdown()
    assert.equal(404, http.answer(peer).status)
    assert.is_nil(peer:waitEnd())
    assert.equal("", peer.received)
    stop(child)
  end)
end)
