-- callosum-rover status, servers, reload, drain and resume: a host is asked.

local fleets = require "support.fleets"
local http = require "support.http"
local json = require "dkjson"
local support = require "support"
local uv = require "luv"

local logged = support.logged

-- Runs the command, and returns its child once it has ended with that status.
local function ends(status, args, address)
  local child = support.command(args, { env = {
    CALLOSUM_ADMIN = address or false } })
  local code = child:wait()
  assert.equal(status, code, child.command .. ":\n" .. child.output)
  return child
end

-- What is no host: says the same to whoever asks, a string or an array of
-- pieces, and closes the connection, unless it `stays`. Returns its address,
-- and an array of what it was asked.
local function stranger(said, stays)
  local requests = {}
  local function respond(peer)
    for _, piece in ipairs(type(said) == "table" and said or { said }) do
      peer.handle:write(piece)
    end
    if not stays then peer.handle:shutdown() end
  end
  local server = support.serve { connection = function(peer)
    local request = ""
    peer.handle:read_stop()
    peer.handle:read_start(function(_, chunk)
      if not chunk then return peer:close() end
      request = request .. chunk
      local body = request:match "\r\n\r\n(.*)$"
      local length = tonumber(request:match "Content%-Length: (%d+)") or 0
      if not body or #body < length then return end
      requests[#requests + 1] = request
      respond(peer)
    end)
  end }
  return "127.0.0.1:" .. server.port, requests
end

local function answer(body, headers, status)
  return ("HTTP/1.1 %s\r\n%s\r\n%s"):format(status or "200 OK",
    headers or ("Content-Length: %d\r\n"):format(#body), body)
end

local function chunked(text, size)
  local pieces = {}
  for at = 1, #text, size do
    local piece = text:sub(at, at + size - 1)
    pieces[#pieces + 1] = ("%x;a=b\r\n%s\r\n"):format(#piece, piece)
  end
  return table.concat(pieces) .. "0\r\nTrailer: none\r\n\r\n"
end

local RELOADED = '{"generation":7,"adopted":3,"closed":1,"ms":2.25}'
local LINE = "policy reloaded generation=7 adopted=3 closed=1 ms=2.2\n"

describe("what asks a host", function()
  it("reads answers of a length, in chunks and up to the end", function()
    for _, text in ipairs {
      answer(RELOADED),
      answer(RELOADED, ("content-length:%d\r\n"):format(#RELOADED)),
      answer(RELOADED .. "and more", ("Content-Length: %d\r\n")
        :format(#RELOADED)),
      answer(chunked(RELOADED, 1000), "Transfer-Encoding: chunked\r\n"),
      answer(chunked(RELOADED, 3), "Transfer-Encoding: Chunked\r\n"),
      answer(RELOADED, "", "200"),
      "HTTP/1.1 100 Continue\r\n\r\n" .. answer(RELOADED),
      (answer(RELOADED):gsub("\r\n", "\n")),
    } do
      assert.equal(LINE, ends(0, { "reload" }, stranger(text)).stdout, text)
    end
  end)

  it("reads them in whatever pieces they come", function()
    local text = answer(chunked(RELOADED, 20), "Transfer-Encoding: chunked\r\n")
    local pieces = {}
    for at = 1, #text do pieces[at] = text:sub(at, at) end
    assert.equal(LINE, ends(0, { "reload" }, stranger(pieces)).stdout)
  end)

  it("does not take a part for the whole", function()
    for _, text in ipairs {
      answer(RELOADED):sub(1, -2),
      answer(chunked(RELOADED, 1000), "Transfer-Encoding: chunked\r\n")
        :sub(1, -3),
      "HTTP/1.1 200 OK\r\nContent-Le",
      "HT",
    } do
      local child = ends(3, { "reload" }, stranger(text))
      assert.matches("is no callosum%-rover: its answer is not complete",
        child.stderr)
    end
    assert.matches("has closed the connection without an answer",
      ends(3, { "reload" }, stranger("")).stderr)
  end)

  it("knows what is no host", function()
    for text, why in pairs {
      ["SSH-2.0-OpenSSH_9.2\r\n"] = "does not speak HTTP/1.1",
      ["HTTP/2 200\r\n\r\n"] = "does not speak HTTP/1.1",
      [answer(RELOADED, "Content-Length: 1x\r\n")] = "its length is no number",
      [answer(RELOADED, "Content-Length: 99999999999999999999\r\n")] =
        "its length is no number, or too high",
      [answer(RELOADED, "Transfer-Encoding: gzip\r\n")] = "a transfer coding",
      [answer("zz\r\n", "Transfer-Encoding: chunked\r\n")] = "has no size",
      [answer("ffffffffffff\r\n", "Transfer-Encoding: chunked\r\n")] =
        "too high a one",
      [answer("1\r\nabc\r\n", "Transfer-Encoding: chunked\r\n")] = "has no end",
      [("x"):rep(70000)] = "too long a line",
      ["HTTP/1.1 200 OK\r\n" .. ("A: b\r\n"):rep(20000) .. "\r\n"] =
        "too many headers",
    } do
      local child = ends(3, { "reload" }, stranger(text))
      assert.is_truthy(child.stderr:find(why, 1, true), child.stderr)
      assert.equal("", child.stdout)
    end
    assert.matches("its answer is no JSON",
      ends(1, { "reload" }, stranger(answer "<html>")).stderr)
  end)

  it("says that nobody is there, where, and what to do", function()
    local path = support.tmpdir() .. "/admin.sock"
    local child = ends(3, { "status" }, path)
    assert.equal("callosum-rover: nobody answers at " .. path
      .. ": No such file or directory; is the host running, with --admin and "
      .. "this path?\n", child.stderr)
    for _, command in ipairs { "status", "top", "servers", "reload", "drain",
        "resume" } do
      local port = support.closedPort()
      child = ends(3, { command, "--admin", tostring(port) })
      assert.matches("nobody answers at " .. port .. ": Connection refused; ",
        child.stderr)
    end
  end)

  it("is refused where it may not connect", function()
    local _, path = http.policy()
    local isRoot = uv.getuid() == 0
    if not isRoot then uv.fs_chmod(path, 0) end
    local started, child = pcall(support.command, { "status", "--admin", path },
      { uid = isRoot and 65534 or nil })
    if not started then return pending "others cannot run the command" end
    assert.same({ 1, 0 }, { child:wait() })
    assert.matches("^callosum%-rover: cannot connect to .*: Permission denied; "
      .. "run this as the host's user or root", child.stderr)
  end)

  it("waits no longer than it was told", function()
    local child = ends(3, { "status", "--timeout", "0.2" },
      stranger("HTTP/1.1 200 OK\r\n", true))
    assert.matches("no answer from .* within 0.2 s", child.stderr)
  end)

  it("shows nothing that a terminal would take for a command", function()
    local body = json.encode { error = "\27]0;x\7 \226\128\174 ok \194\155" }
    for _, command in ipairs { "status", "servers", "reload", "drain",
        "top" } do
      local child = ends(1, { command },
        stranger(answer(body, nil, "409 Conflict")))
      assert.equal("callosum-rover: \\x1b]0;x\\x07 \\u202e ok \\u009b\n",
        child.stderr)
    end
  end)

  it("wants an address, and is told by whom", function()
    assert.matches("which host%? %-%-admin ADDRESS, or CALLOSUM_ADMIN",
      ends(2, { "status" }).stderr)
    for _, address in ipairs { "admin.sock", "host:", "host:0", "host:70000",
        "", ("/x"):rep(100) } do
      assert.matches("^callosum%-rover: [^\n]+\n",
        ends(2, { "status", "--admin=" .. address }).stderr)
    end
  end)

  for _, case in ipairs {
    { "no such command: 'stats', nearest is 'status'", "stats" },
    { "no such action: 'dorp', nearest is 'drop'", "servers", "dorp", "a" },
    { "servers drop wants one ID", "servers", "drop" },
    { "servers drop wants one ID", "servers", "drop", "a", "b" },
    { "servers drop wants one ID", "servers", "drop", "" },
    { "servers list wants nothing behind it", "servers", "list", "a" },
    { "servers add wants ID and HOST:PORT", "servers", "add", "a" },
    { "servers add wants ID and HOST:PORT, not 'b'", "servers", "add", "a",
      "b" },
    { "servers add wants ID and HOST:PORT, not 'b:0'", "servers", "add", "a",
      "b:0" },
    { "has no operands, but behind it is 'now'", "reload", "now" },
    { "nearest is '--sort'", "top", "--srot=id" },
    { "--sort wants connections, id, share, slot or unreachable, not 'age'",
      "status", "--sort", "age" },
    { "option '--count' requires an argument", "top", "-n" },
    { "--count wants a number, not 'x'", "top", "-nx" },
  } do
    local args = { table.unpack(case, 2) }
    it("refuses '" .. table.concat(args, " ") .. "'", function()
      local child = ends(2, args, "/nowhere")
      assert.is_truthy(child.stderr:match "^[^\n]*":find(case[1], 1, true),
        child.stderr)
    end)
  end
end)

describe("callosum-rover reload", function()
  it("says what the log says, and fails when the reload did", function()
    local child, path = http.policy()
    local said = ends(0, { "reload", "--admin", path }).stdout
    local event = logged(child, "policy reloaded")
    assert.equal("admin", event.trigger)
    assert.equal(("policy reloaded generation=2 adopted=0 closed=0 ms=%.1f\n")
      :format(event.ms), said)

    support.write(child.path, "local x\nerror('\27[2Jno')")
    local failed = ends(1, { "reload" }, path)
    event = logged(child, "reload failed, the old policy goes on")
    assert.equal("", failed.stdout)
    assert.equal(("callosum-rover: reload failed, the old policy goes on: "
      .. "%s:2: \\x1b[2Jno\nstack traceback:\n  [C]: in function 'error'\n"
      .. "  %s:2: in main chunk\n  [C]: in ?\n"):format(child.path, child.path),
      failed.stderr)

    failed = ends(1, { "reload", "--json" }, path)
    assert.equal(event.error, json.decode(failed.stdout).error)
    assert.equal(event.traceback, json.decode(failed.stdout).traceback)
    support.stop(child)
  end)
end)

local SERVERS = { { "alpha", 5, 7 }, { "beta", 1, 9 }, { "gamma", 2, 8 },
  { "omega", 2, false } }

describe("callosum-rover status", function()
  it("says first whether it is balanced, and then the rest", function()
    local folder = support.tmpdir()
    local child, path = fleets.start(SERVERS, { script = ([[
      require "callosum.relay".new { name = "redis",
        listen = { path = %q }, pick = function() end }
      require "callosum.front".new { name = "db", listen = { path = %q },
        backend = { port = 1 } }
      host.log.warn("careful\27[2J")
    ]]):format(folder .. "/relay", folder .. "/front") })
    local text = ends(0, { "status" }, path).stdout
    assert.matches("^uneven: peak to mean 2.50, 8 connections to 4 servers, "
      .. "0 to 5 each\n\nSERVER ", text)
    assert.matches("\nalpha +up +5 +62.5%% +5 +0 +0 +7 +0\n"
      .. "gamma +up +2 +25.0%% +2 +0 +0 +8 +0\n"
      .. "beta +up +1 +12.5%% +1 +0 +0 +9 +0\n"
      .. "omega +unreachable +0 +0.0%% +0 +0 +0 +%- +2\n", text)
    for _, line in ipairs {
      "relay redis at " .. folder .. "/relay: 0 joined, 0 waiting",
      "front db at " .. folder .. "/front: 0 connections, backend ",
      "running: generation 1, up ",
      "policy " .. child.path .. ": loaded ",
    } do
      assert.is_truthy(text:find("\n" .. line, 1, true), line .. text)
    end
    assert.matches("\nlast warnings and errors:\n", text)
    assert.matches("\n%d+:%d+:%d+ warn +careful\\x1b%[2J\n", text)
    assert.is_nil(text:find "\27")
    support.stop(child)
  end)

  it("tells of a reload that has failed", function()
    local child, path = fleets.start { { "alpha", 1, 0 } }
    support.write(child.path, "error 'no'")
    ends(1, { "reload" }, path)
    assert.matches("\nreloads: 0 succeeded, 1 failed; the last that failed, at "
      .. "%d+:%d+:%d+: [^\n]+:1: no\n", ends(0, { "status" }, path).stdout)
    support.stop(child)
  end)

  it("shows several rovers, or one of them", function()
    local child, path = fleets.start({ { "alpha", 1, 0 } },
      { script = 'rover.new { name = "other" }' })
    local text = ends(0, { "status" }, path).stdout
    assert.matches("^main: balanced: peak to mean 1.00, 1 connection to 1 "
      .. "server, 1 each\n"
      .. "other: idle: 0 connections to 0 servers, and the rover is not "
      .. "started\n\n", text)
    text = ends(0, { "status", "--rover", "other" }, path).stdout
    assert.matches("^idle: 0 connections to 0 servers", text)
    local failed = ends(1, { "status", "--rover", "otter" }, path)
    assert.equal("callosum-rover: there is no rover of that name\n",
      failed.stderr)
    support.stop(child)
  end)

  it("shows the first servers, in the order that is asked for", function()
    local child, path = fleets.start(SERVERS)
    local text = ends(0, { "status", "--sort", "slot", "--limit=2" },
      path).stdout
    assert.matches("\nbeta [^\n]+\ngamma [^\n]+\nand 2 more, which ", text)
    assert.is_nil(text:find "\nalpha ")
    support.stop(child)
  end)

  it("passes the host's JSON on", function()
    local child, path = fleets.start(SERVERS)
    local status = json.decode(ends(0, { "status", "--json" }, path).stdout)
    assert.equal(8, status.rovers[1].balance.connections)
    support.stop(child)
  end)
end)

describe("callosum-rover servers", function()
  it("lists all of them, however many", function()
    local child, path = fleets.start({}, { script = [[
      local map = {}
      for i = 1, 2500 do
        map[("s%04d"):format(i)] = { host = "127.0.0.1", port = 1 }
      end
      r:setServers(map)
    ]] })
    for _, args in ipairs { { "servers", "--sort", "id" },
        { "servers", "--sort=id", "list" } } do
      local text = ends(0, args, path).stdout
      local count = 0
      for id in text:gmatch "\n(s%d+) +up " do
        count = count + 1
        assert.equal(("s%04d"):format(count), id)
      end
      assert.equal(2500, count)
      assert.equal(2501, select(2, text:gsub("\n", "")))
    end
    local _, lines = ends(0, { "servers", "--limit", "1200" }, path).stdout
      :gsub("\n", "")
    assert.equal(1201, lines)
    support.stop(child)
  end)

  it("wants to know of which rover", function()
    local child, path = fleets.start({ { "alpha", 1, 0 } },
      { script = 'rover.new { name = "other" }' })
    assert.equal("callosum-rover: the policy has several rovers; choose by "
      .. "--rover: main, other\n", ends(1, { "servers" }, path).stderr)
    assert.matches("\nalpha ",
      ends(0, { "servers", "--rover=main" }, path).stdout)
    support.stop(child)
  end)
end)

-- What `status` says of a server.
local function server(path, id)
  for _, rover in ipairs(fleets.status(path).rovers) do
    for _, each in ipairs(rover.servers) do
      if each.id == id then return each end
    end
  end
end

describe("steering by hand", function()
  it("drops, pauses, drains and resumes a server", function()
    local child, path = fleets.start(SERVERS)
    for _, case in ipairs {
      { "drop", "dropped", "dropped, until it is resumed or added by hand" },
      { "resume", "up", "resumed" },
      { "pause", "paused", "paused, until it is resumed" },
      { "resume", "up", "resumed" },
      { "drain", "draining",
        "draining: paused, and its connections are being ended" },
    } do
      local action, state, said = table.unpack(case)
      assert.equal("alpha: " .. said .. "\n",
        ends(0, { "servers", action, "alpha" }, path).stdout)
      local now = server(path, "alpha")
      assert.equal(state, now.state)
      assert.equal(state ~= "up", now.byHand)
      assert.is_truthy(ends(0, { "servers" }, path).stdout:find("\nalpha +"
        .. state .. (state ~= "up" and "%*" or "") .. " "))
    end
    support.stop(child)
  end)

  it("keeps a server dropped, whatever a policy says, and adds it", function()
    local child, path = fleets.start(SERVERS)
    ends(0, { "servers", "drop", "beta" }, path)
    ends(0, { "reload" }, path)
    assert.equal("dropped", server(path, "beta").state)
    ends(0, { "servers", "resume", "beta" }, path)
    assert.equal("up", server(path, "beta").state)

    local id = "[::1]:1/a b?c%"
    assert.equal(id .. ": added\n",
      ends(0, { "servers", "add", id, "[::1]:4040" }, path).stdout)
    local added = server(path, id)
    assert.same({ "::1", 4040 }, { added.host, added.port })
    ends(0, { "servers", "drop", id }, path)
    assert.equal("dropped", server(path, id).state)
    ends(0, { "servers", "resume", id }, path)
    assert.is_false(server(path, id).byHand)
    assert.equal("::1", server(path, id).host)
    support.stop(child)
  end)

  it("does not resume a server that the policy has dropped since", function()
    local child, path = fleets.start(SERVERS)
    ends(0, { "servers", "pause", "beta" }, path)
    support.write(child.path, [[
      local r = require "callosum.rover".new()
      r:on("error", function() end)
      r:dropServer "beta"
    ]])
    ends(0, { "reload" }, path)
    local failed = ends(1, { "servers", "resume", "beta" }, path)
    assert.equal("", failed.stdout)
    assert.matches("no longer listed", failed.stderr)
    assert.matches("no server of that id",
      ends(1, { "servers", "resume", "beta" }, path).stderr)
    support.stop(child)
  end)

  it("ends connections over the time that it is told", function()
    local child, path = fleets.start(SERVERS)
    ends(0, { "servers", "--over", "0.05", "drain", "alpha" }, path)
    support.eventually(function()
      return server(path, "alpha").connections == 0
    end)
    support.stop(child)
  end)

  it("refuses what there is not, and says so", function()
    local child, path = fleets.start(SERVERS,
      { script = 'rover.new { name = "other" }' })
    for _, args in ipairs { { "servers", "--rover=main", "drop", "delta" },
        { "servers", "--rover=otter", "drop", "alpha" },
        { "servers", "drop", "alpha" },
        { "servers", "--rover=main", "add", "alpha", "127.0.0.1:9" } } do
      local child_ = ends(1, args, path)
      assert.equal("", child_.stdout)
      assert.matches("^callosum%-rover: [^\n]+\n$", child_.stderr)
    end
    ends(0, { "servers", "--rover=main", "drop", "alpha" }, path)
    support.stop(child)
  end)

  it("changes nothing at an address that is read-only", function()
    local child, _, address = http.policy()
    for _, args in ipairs { { "reload" }, { "drain" }, { "resume" },
        { "servers", "drop", "a" }, { "servers", "add", "a", "b:1" } } do
      assert.matches("this address is read%-only",
        ends(1, args, address).stderr)
    end
    ends(0, { "status" }, address)
    support.stop(child)
  end)

  it("drains no host without a front", function()
    local child, admin = fleets.start {}
    assert.equal("callosum-rover: the policy has no front\n",
      ends(1, { "drain" }, admin).stderr)
    support.stop(child)
  end)

  it("drains the fronts of a host, and has them give slots again", function()
    local path = support.tmpdir() .. "/front"
    local child, admin = fleets.start({}, { script = ([[
      require "callosum.front".new { listen = { path = %q },
        backend = { port = 1 } }
    ]]):format(path) })
    assert.matches("^draining: ", ends(0, { "drain", "--over=1" },
      admin).stdout)
    assert.equal("draining", fleets.status(admin).state)
    assert.matches("\nfront main at [^\n]+, draining\n",
      ends(0, { "status" }, admin).stdout)
    assert.matches("^resumed: ", ends(0, { "resume" }, admin).stdout)
    assert.equal("running", fleets.status(admin).state)
    support.stop(child)
  end)
end)
