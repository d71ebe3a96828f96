-- The threads that copy what joined connections of relays and fronts send, in
-- the command: see --threads.

local faults = require "support.faults"
local fronts = require "support.fronts"
local http = require "support.http"
local json = require "dkjson"
local support = require "support"
local uv = require "luv"

local eventually, logged = support.eventually, support.logged

-- A relay at the path that is the first argument, whose clients are joined with
-- connections to the server whose port is the second. `wait` blocks until a
-- line comes by the pipe that is the third.
local RELAY = ([[
  local host, rover = require "callosum.host", require "callosum.rover"
  local uv = require "luv"
  local r = rover.new { servers = { s = { host = "127.0.0.1",
    port = tonumber(host.args[2]) } } }
  local relay = require "callosum.relay".new { listen = {
    path = host.args[1] }, pick = function()
      r:connect()
      return r:sockets()[1]
    end }
  r:on("connection", function() relay:offer() end)
  relay:on("error", function(err)
    host.log.warn("relay error", { code = err.code, text = err.message })
  end)
  local function wait()
    local file <close> = io.open(host.args[3])
    file:read()
  end
  uv.new_signal():start("sigusr1", wait)
]]):gsub("\n%s*", " ")

-- Runs that policy, with more behind it. `connect` is a client of its relay,
-- `stats` the counters of workers, `status` what else the host says.
local function start(options)
  options = options or {}
  local folder = support.tmpdir()
  local path, pipe = folder .. "/relay", folder .. "/pipe"
  assert(os.execute("mkfifo " .. pipe))
  options.args = { path, tostring(support.echo "0\r\n"), pipe }
  local child, where = http.policy(RELAY, options)
  local own = { child = child, pipe = pipe }
  function own.connect() return support.connect(path) end
  function own.status() return json.decode((http.get(where, "/status"))) end
  function own.stats() return own.status().workers end
  return own
end

local function works(peer)
  peer:write "ping"
  peer:take "^ping"
end

-- Calls a function while the policy waits for its pipe. Returns once it goes
-- on: whoever opens the pipe while the last reader still has it writes to that.
local function blocked(host, fn)
  local c, fd = uv.constants, nil
  eventually(function()
    fd = uv.fs_open(host.pipe, c.O_WRONLY | c.O_NONBLOCK, 0)
    return fd -- somebody reads
  end)
  fn()
  uv.fs_write(fd, "go on\n")
  uv.fs_close(fd)
  host.status()
end

-- Of the threads that copy, the files `status`.
local function threads(child)
  local list, path = {}, ("/proc/%d/task"):format(child.pid)
  for name in uv.fs_scandir_next, uv.fs_scandir(path) do
    local file <close> = io.open(("%s/%s/status"):format(path, name))
    local text = file and file:read "a" or ""
    if text:find "^Name:%s*callosum%-worker\n" then list[#list + 1] = text end
  end
  return list
end

-- A thread counts bytes once it has sent them.
local function counts(host, bytes)
  eventually(function()
    local stats = host.status().relays[1].stats
    return stats.received == bytes and stats.sent == bytes
  end)
end

local function pairsOf(workers)
  local list = {}
  for i, each in ipairs(workers) do list[i] = each.pairs end
  return list
end

describe("the threads of --threads", function()
  it("are one by default, started by the first pair, without signals",
    function()
      local host = start()
      assert.equal(0, #threads(host.child))
      assert.same({ { name = "0", started = false, pairs = 0, joined = 0,
        turns = 0, cpu = 0, failed = 0 } }, host.stats())
      local peer = host.connect()
      works(peer)
      local status = threads(host.child)
      assert.equal(1, #status)
      -- All but those that cannot be, and two of the C library's.
      assert.equal("fffffffe7ffbfeff", status[1]:match "SigBlk:%s*(%x+)")
      local worker = host.stats()[1]
      assert.is_true(worker.started)
      assert.same({ 1, 1, 0 }, { worker.pairs, worker.joined, worker.failed })
      assert.is_true(worker.turns > 0)
      counts(host, 4)
      peer:close()
      eventually(function() return host.stats()[1].pairs == 0 end)
      support.stop(host.child)
    end)

  it("are as many as asked for, with as many pairs each", function()
    local host = start { flags = { "--threads", "3" } }
    local peers = {}
    for i = 1, 6 do
      peers[i] = host.connect()
      works(peers[i])
      assert.equal(math.min(i, 3), #threads(host.child))
    end
    assert.same({ 2, 2, 2 }, pairsOf(host.stats()))
    for i = 1, 6, 3 do peers[i]:close() end
    eventually(function() return pairsOf(host.stats())[1] == 0 end)
    peers[1] = host.connect()
    works(peers[1])
    assert.same({ 1, 2, 2 }, pairsOf(host.stats()))
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(host.child)
  end)

  it("are none if so asked for", function()
    local host = start { flags = { "--threads", "0" } }
    local peer = host.connect()
    works(peer)
    assert.equal(0, #threads(host.child))
    assert.same({}, host.stats())
    peer:close()
    support.stop(host.child)
  end)

  it("go on while the policy is busy, and while it is replaced", function()
    local host = start { flags = { "--threads", "2" } }
    local peers = { host.connect(), host.connect() }
    for _, peer in ipairs(peers) do works(peer) end
    host.child:kill "sigusr1"
    blocked(host, function()
      for _ = 1, 3 do
        for _, peer in ipairs(peers) do works(peer) end
      end
    end)
    support.write(host.child.path, RELAY .. " wait()")
    host.child:kill "sighup"
    blocked(host, function()
      for _, peer in ipairs(peers) do works(peer) end
    end)
    logged(host.child, "policy reloaded")
    for _, peer in ipairs(peers) do works(peer) end
    assert.equal(2, #threads(host.child))
    local status = host.status()
    assert.same({ 1, 1 }, pairsOf(status.workers))
    assert.equal(2, status.workers[1].joined + status.workers[2].joined)
    counts(host, 48)
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(host.child)
  end)

  it("are a front's, too, in its own command", function()
    local server = support.serve()
    local child = support.command { "front", "--log-format", "json",
      "--threads", "2", "0", tostring(server.port) }
    local port = logged(child, "listening").port
    local clients = {}
    for i = 1, 3 do
      local client, backend = fronts.pair(port, server)
      backend:write "welcome"
      client:take "^welcome"
      assert.equal(math.min(i, 2), #threads(child))
      clients[i] = client
    end
    for i, client in ipairs(clients) do
      client:close()
      server.peers[i]:waitEnd()
      server.peers[i]:close()
    end
    support.stop(child)
  end)

  it("end with the host, whose relays are drained first", function()
    local host = start { flags = { "--threads", "2" } }
    local peers = { host.connect(), host.connect() }
    for _, peer in ipairs(peers) do works(peer) end
    host.child:kill "sigterm"
    logged(host.child, "stopping")
    for _, peer in ipairs(peers) do works(peer) end
    assert.is_nil(host.child.code)
    for _, peer in ipairs(peers) do peer:close() end
    assert.same({ 0, 0 }, { host.child:wait() })
  end)

  it("are left out if they cannot be started, which is told", function()
    local library = faults.compile "few_threads"
    local few = support.tmpdir() .. "/few"
    local host = start { flags = { "--threads", "2" }, env = {
      LD_PRELOAD = faults.preload(library), FEW_THREADS = few,
      FEW_THREADS_LEFT = "1" } }
    os.remove(library)
    support.write(few, "")
    local peers = { host.connect(), host.connect(), host.connect() }
    for _, peer in ipairs(peers) do works(peer) end
    local told = logged(host.child, "relay error")
    assert.equal("EAGAIN", told.code)
    assert.matches("cannot start a worker thread.*; raise the limit of ",
      told.text)
    assert.equal(1, #threads(host.child))
    local failed = host.stats()[2]
    assert.same({ false, 0 }, { failed.started, failed.pairs })
    assert.is_true(failed.failed > 0)
    for _, peer in ipairs(peers) do peer:close() end
    support.stop(host.child)
  end)

  for _, value in ipairs { "65", "-1", "many", "1.5", "" } do
    it(("are not to be '%s'"):format(value), function()
      local child = support.command { "run", "--threads", value, "none.lua" }
      assert.equal(2, (child:wait()))
      assert.matches(("--threads wants a number from 0 to 64, not '%s'\n")
        :format(value), child.stderr, 1, true)
    end)
  end
end)
