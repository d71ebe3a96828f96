-- An admin under many connections, slow ones and large answers.

local http = require "support.http"
local support = require "support"
local uv = require "luv"

local ask, get = http.ask, http.get
local run, stop = support.run, support.stop

local MOST = 32 -- connections that it has at a time

-- Resident memory, in bytes.
local function memory(child)
  local file <close> = assert(io.open("/proc/" .. child.pid .. "/statm"))
  return select(2, file:read("n", "n")) * 4096
end

local function count(peers, field)
  local n = 0
  for _, peer in ipairs(peers) do n = n + (peer[field] and 1 or 0) end
  return n
end

local function isOver(peer) return peer.ended or peer.closed end

describe("an admin", function()
  it("answers who asks, among 10,000 who only connect", function()
    local child, path, address = http.policy()
    local batch, batches = 250, support.WATCHED and 4 or 40
    local held, before = {}, nil
    local descriptors
    for i = 1, batches do
      local at = i % 2 == 0 and path or address
      for _ = 1, batch do held[#held + 1] = http.connect(at) end
      run(function()
        local left = {}
        for _, peer in ipairs(held) do
          if isOver(peer) then peer:close() else left[#left + 1] = peer end
        end
        held = left
        return #held <= MOST
      end)
      for _, each in ipairs { path, address } do get(each, "/") end
      before = before or memory(child)
      descriptors = descriptors or support.descriptors(child)
    end
    assert.is_true(support.WATCHED or memory(child) - before < 1024 * 1024)
    assert.is_true(support.descriptors(child) <= descriptors + 2 * MOST)
    stop(child)
  end)

  it("closes the connection that has been idle for longest", function()
    local child, path = http.policy()
    local peers = {}
    for i = 1, MOST do
      peers[i] = http.connect(path)
      get(peers[i], "/metrics")
    end
    get(peers[1], "/metrics") -- now it is the second one
    local other = http.connect(path)
    get(other, "/metrics")
    run(function() return count(peers, "ended") > 0 end)
    assert.is_true(peers[2].ended)
    assert.equal(1, count(peers, "ended"))
    get(peers[1], "/metrics")
    stop(child)
  end)

  it("closes who has not asked before who has", function()
    local child, path = http.policy()
    local asked, half = {}, {}
    for i = 1, MOST / 2 do
      asked[i] = http.connect(path):write(http.request("GET", "/nothing")
        .. "GET / HTTP/1.1\r\n")
      assert.equal(404, http.answer(asked[i]).status)
      half[i] = http.connect(path)
    end
    get(path, "/metrics")
    run(function() return count(half, "ended") >= 1 end)
    for i = 1, MOST / 2 do
      asked[i]:write "Host: localhost\r\n\r\n"
      assert.equal(200, http.answer(asked[i]).status)
    end
    stop(child)
  end)

  it("takes little memory for who does not read", function()
    local child, path = http.policy()
    get(path, "/")
    local before = memory(child)
    local peers = {}
    local times = support.WATCHED and 8 or 20
    local asked = http.request("GET", "/"):rep(times)
    for i = 1, MOST do
      peers[i] = http.connect(path)
      run(function() return peers[i].connected end)
      peers[i].handle:read_stop()
      peers[i].handle:write(asked)
    end
    -- One of them has to make room, as somebody reads what he asks for.
    for _ = 1, 20 do get(path, "/") end
    assert.is_true(support.WATCHED or memory(child) - before < 8 * 1024 * 1024)
    local taken = 0
    for _, peer in ipairs(peers) do
      peer:read()
      local ok = pcall(function()
        for _ = 1, times do
          assert(#http.answer(peer).body > 10000)
        end
      end)
      taken = taken + (ok and 1 or 0)
      peer:close()
    end
    assert.is_true(taken >= MOST - 2, taken)
    stop(child)
  end)

  it("makes reports of all servers for a few at a time", function()
    local child, path = http.policy [[
      local servers = {}
      for i = 1, 1000 do
        servers["server" .. i] = { host = "127.0.0.1", port = 1 }
      end
      require "callosum.rover".new { servers = servers }
    ]]
    local all, peers = http.request("GET", "/metrics?servers=all"), {}
    for i = 1, 8 do
      peers[i] = http.connect(path)
      run(function() return peers[i].connected end)
      peers[i].handle:read_stop()
      peers[i].handle:write(all)
    end
    local function refused()
      local answer, peer = ask(path, "GET", "/metrics?servers=all")
      peer:close()
      return answer.status == 503 and answer
    end
    local answer
    support.eventually(function()
      answer = refused()
      return answer
    end)
    assert.equal("1", answer.headers["retry-after"])
    assert.matches("^too many ", answer.body)
    for _, other in ipairs { "/metrics", "/status", "/history",
        "/metrics?servers=none" } do
      get(path, other)
    end
    peers[1]:read()
    assert.matches('server="server1000"', http.answer(peers[1]).body)
    peers[2]:close()
    support.eventually(function() return not refused() end)
    stop(child)
  end)

  it("compresses large answers for who accepts that", function()
    local child, path = http.policy()
    local plain = get(path, "/")
    local function gunzip(bytes)
      local file = support.tmpfile(bytes, "answer.gz")
      local pipe <close> = assert(io.popen("gzip -dc " .. file))
      return pipe:read "a"
    end
    for accepted, wanted in pairs { gzip = true, ["deflate, GZIP;q=0.5"] = true,
        ["gzip;q=0"] = false, ["gzip; q=0.000, br"] = false, br = false,
        gzipped = false, [""] = false } do
      local body, headers = get(path, "/", { ["Accept-Encoding"] = accepted })
      assert.equal(wanted and "gzip" or nil, headers["content-encoding"])
      assert.equal(plain, wanted and gunzip(body) or body)
      assert.is_true(not wanted or #body < #plain / 2)
      -- HEAD says the same.
      local answer = ask(path, "HEAD", "/", { ["Accept-Encoding"] = accepted })
      for _, name in ipairs { "content-encoding", "content-length",
          "content-type", "transfer-encoding" } do
        assert.equal(headers[name], answer.headers[name])
      end
    end
    local _, headers = get(path, "/metrics", { ["Accept-Encoding"] = "gzip" })
    assert.equal("gzip", headers["content-encoding"])
    assert.is_nil(ask(path, "GET", "/nothing", { ["Accept-Encoding"] = "gzip" })
      .headers["content-encoding"])
    stop(child)
  end)

  it("speaks HTTP/1.0, too", function()
    local child, path = http.policy()
    local peer = http.connect(path):write "GET / HTTP/1.0\r\n\r\n"
    assert.equal("close", http.answer(peer).headers.connection)
    assert.is_nil(peer:waitEnd())
    peer = http.connect(path)
      :write(("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"):rep(2))
    for _ = 1, 2 do
      assert.equal("keep-alive", http.answer(peer).headers.connection)
    end
    stop(child)
  end)

  -- By a clock that the test sets.
  it("has deadlines for all that others have to do", function()
    local find = assert(io.popen "ls /usr/lib/*/faketime/libfaketimeMT.so.1")
    local faketime = find:read "l"
    find:close()
    if not faketime then return pending "no libfaketime" end
    local clock = support.tmpfile("+0", "clock")
    local child, path = http.policy(nil, { env = {
      LD_PRELOAD = faketime .. " " .. (os.getenv "LD_PRELOAD" or ""),
      ASAN_OPTIONS = "verify_asan_link_order=0",
      FAKETIME_TIMESTAMP_FILE = clock, FAKETIME_NO_CACHE = "1",
      FAKETIME_DONT_FAKE_MONOTONIC = "0" } })
    local function passed(seconds)
      -- Never a file that is empty.
      assert(os.rename(support.write(clock .. ".new", "+" .. seconds), clock))
      for _ = 1, 2 do get(path, "/metrics") end -- the loop turns
    end
    local function connect(bytes)
      local peer = http.connect(path)
      run(function() return peer.connected end)
      if bytes then peer:write(bytes) end
      return peer
    end
    local idle = connect()
    get(idle, "/metrics")
    local descriptors = support.descriptors(child)
    local silent = connect()
    local slow = connect "GET / HTTP/1.1\r\nHost: "
    local behind = connect(http.request("GET", "/nothing") .. "GET / ")
    assert.equal(404, http.answer(behind).status)
    local blank = connect(http.request("GET", "/nothing") .. "\r\n")
    assert.equal(404, http.answer(blank).status)
    blank:write "\r\n\r"
    local body = connect "POST /log HTTP/1.1\r\nContent-Length: 5\r\n\r\n123"
    local deaf = connect()
    deaf.handle:read_stop()
    deaf:write(http.request("GET", "/"):rep(100))
    get(path, "/metrics") -- by now it has accepted them
    passed(4)
    for _, peer in ipairs { silent, slow, behind, body } do
      assert.is_false(isOver(peer))
    end
    passed(6)
    assert.is_nil(silent:waitEnd())
    assert.equal("", silent.received)
    for _, peer in ipairs { slow, behind, body } do
      local answer = http.answer(peer)
      assert.equal(408, answer.status)
      assert.equal("close", answer.headers.connection)
      assert.is_nil(peer:waitEnd())
    end
    blank:write "\n\r\n" -- empty lines begin no request
    get(blank, "/metrics")
    blank:close()
    get(idle, "/metrics")
    passed(29)
    support.eventually(function()
      return support.descriptors(child) == descriptors + 1
    end)
    passed(32)
    support.eventually(function()
      return support.descriptors(child) == descriptors
    end)
    get(idle, "/metrics")
    passed(32 + 89)
    assert.is_false(isOver(idle))
    passed(32 + 91)
    assert.is_nil(idle:waitEnd())
    uv.kill(child.pid, "sigterm")
    assert.same({ 0, 0 }, { child:wait() })
  end)
end)
