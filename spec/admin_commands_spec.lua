-- callosum-rover reload: a host is asked.

local http = require "support.http"
local json = require "dkjson"
local support = require "support"

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
    local child = ends(3, { "reload" }, path)
    assert.equal("callosum-rover: nobody answers at " .. path
      .. ": No such file or directory; is the host running, with --admin and "
      .. "this path?\n", child.stderr)
    for _, command in ipairs { "reload" } do
      local port = support.closedPort()
      child = ends(3, { command, "--admin", tostring(port) })
      assert.matches("nobody answers at " .. port .. ": Connection refused; ",
        child.stderr)
    end
  end)

  it("waits no longer than it was told", function()
    local child = ends(3, { "reload", "--timeout", "0.2" },
      stranger("HTTP/1.1 200 OK\r\n", true))
    assert.matches("no answer from .* within 0.2 s", child.stderr)
  end)

  it("shows nothing that a terminal would take for a command", function()
    local body = json.encode { error = "\27]0;x\7 \226\128\174 ok \194\155" }
    for _, command in ipairs { "reload" } do
      local child = ends(1, { command },
        stranger(answer(body, nil, "409 Conflict")))
      assert.equal("callosum-rover: \\x1b]0;x\\x07 \\u202e ok \\u009b\n",
        child.stderr)
    end
  end)

  it("wants an address, and is told by whom", function()
    assert.matches("which host%? %-%-admin ADDRESS, or CALLOSUM_ADMIN",
      ends(2, { "reload" }).stderr)
    for _, address in ipairs { "admin.sock", "host:", "host:0", "host:70000",
        "", ("/x"):rep(100) } do
      assert.matches("^callosum%-rover: [^\n]+\n",
        ends(2, { "reload", "--admin=" .. address }).stderr)
    end
  end)

  for _, case in ipairs {
    { "no such command: 'relaod', nearest is 'reload'", "relaod" },
    { "has no operands, but behind it is 'now'", "reload", "now" },
    { "nearest is '--json'", "reload", "--jsno" },
    { "--timeout wants a number of seconds above 0, not '0'", "reload",
      "--timeout=0" },
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

  it("is refused at an address that is read-only", function()
    local child, _, address = http.policy()
    assert.matches("this address is read%-only",
      ends(1, { "reload" }, address).stderr)
    support.stop(child)
  end)
end)
