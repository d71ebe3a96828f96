-- Policies that do what they can to bring down the host, or to have it lose
-- count. Whatever they did, the next policy finds all as it should be.

local files = require "support.files"
local support = require "support"

local eventually, events, logged = support.eventually, support.events,
  support.logged

local MEMORY = 16 -- MiB that a policy may have

-- What the policies begin with, in one line. `r` is a rover of the server,
-- not started; `later` calls a function from the loop, `atAnyAllocation` one
-- from so many finalizers that make their like, wherever something allocates.
-- That is slow: `rounds` are fewer under a sanitizer.
local HEAD = ([[
  local host = require "callosum.host" local rover = require "callosum.rover"
  local log = host.log.info
  local server = { host = "127.0.0.1", port = tonumber(host.args[1]) }
  local r = rover.new { rovingInterval = 5, servers = { s = server } }
  local function later(fn, ms)
    local timer = require "luv".new_timer()
    timer:start(ms or 0, 0, function() timer:close() fn() end)
  end
  local function forever() while true do end end
  local function atAnyAllocation(count, fn)
    local mt = {}
    mt.__gc = function() setmetatable({}, mt) fn() end
    for _ = 1, count do setmetatable({}, mt) end
    collectgarbage("incremental", 0, 1000, 1)
  end
  local function rounds(n) return n // FEWER end
]]):gsub("\n%s*", " "):gsub("FEWER", support.WATCHED and "3" or "1")

-- Says `healthy`, with the counters, once it has closed what it was given, and
-- has a socket of its own that answers.
local HEALTHY = HEAD .. [[
  require "luv" -- its descriptors count in each
  local adopted, unexpected, mine = 0, 0, nil
  r:on("unreachable", function() unexpected = unexpected + 1 end)
  r:on("error", function() unexpected = unexpected + 1 end)
  r:on("connection", function(_, socket)
    if socket.adopted then
      adopted = adopted + 1
      return socket:close()
    end
    if mine then return socket:close() end -- of an attempt of one before
    mine = socket
    local function tell(chunk)
      local stats = r:stats()
      if stats.inFlight > 0 then return later(function() tell(chunk) end, 1) end
      stats.causes, stats.adopted, stats.data = nil, adopted, chunk
      stats.sockets, stats.unexpected = #r:sockets(), unexpected
      stats.generation = host.generation
      log("healthy", stats)
    end
    socket:on("data", tell)
    local function ask() -- what is closed has its memory for a turn yet
      if not socket:write "healthy?" then later(ask, 1) end
    end
    ask()
  end)
  r:connect()
]]

-- A server that sends back what is short, and answers `:ask`; at `:bye` it
-- closes, at `:end` it ends its side, at `deaf` it reads no more, and at `much`
-- it sends 40 MiB.
local function listen()
  local self = { open = 0, accepted = 0 }
  local s = assert(require "callosum.server".new { allowHalfOpen = true })
  self.port = select(2, s:address())
  require "support.loop".atEnd(function() s:close() end)
  s:on("connection", function(conn)
    self.accepted, self.open = self.accepted + 1, self.open + 1
    conn:on("data", function(chunk)
      local word = chunk:sub(-4) -- of what may have come together
      if word == ":bye" then conn:close()
      elseif word == ":end" then conn:shutdown()
      elseif word == ":ask" then conn:write "answer"
      elseif word == "much" then
        for _ = 1, 40 do conn:write(("x"):rep(1 << 20)) end
      elseif word == "deaf" then
        conn.handle:read_stop()
        self.open = self.open - 1
      elseif #chunk < 100 then conn:write(chunk) end
    end)
    conn:on("end", function() conn:close() end)
    conn:on("close", function() self.open = self.open - 1 end)
  end)
  return self
end

local function memory(child, what)
  local file = assert(io.open("/proc/" .. child.pid .. "/status"))
  local text = file:read "a"
  file:close()
  return tonumber(text:match(what .. ":%s*(%d+)")) / 1024 -- MiB
end

local function run(script, s, options)
  options = options or {}
  local flags = { "--memory", MEMORY .. "M", "--budget",
    tostring(options.budget or 20000) }
  for _, flag in ipairs(options.flags or {}) do flags[#flags + 1] = flag end
  return support.policy(HEAD .. script,
    { flags = flags, args = { tostring(s.port), options.seed },
      env = options.env and options.env() })
end

-- Has a healthy policy take over, and checks that all is as it should be.
-- Returns how many descriptors are open then. The old policy may reload, too,
-- and find the healthy one before we say so.
local function healthy(child, s)
  files.write(child.path, HEALTHY)
  child:kill "sighup"
  local is, reloaded = logged(child, "healthy")
  for _, event in ipairs(events(child, "policy reloaded")) do
    if event.generation == is.generation then reloaded = event end
  end
  if reloaded then
    assert.equal(reloaded.adopted, is.adopted)
    assert.equal(reloaded.adopted, reloaded.closed)
  else -- a flood of errors took that line along
    assert.not_same({}, events(child, "log lines lost"))
  end
  assert.equal("healthy?", is.data)
  assert.same({ 0, 1, 1, 0 },
    { is.inFlight, is.kept, is.sockets, is.unexpected })
  assert.equal(is.attempts, is.connections + is.rejected + is.unreachable
    + is.errors + is.cancelled)
  assert.equal(is.connections, is.kept + is.closed)
  eventually(function() return s.open == 1 end)
  return support.descriptors(child)
end

-- What is open while nothing was ever wrong.
local baseline
local function usual()
  if baseline then return baseline end
  local s = listen()
  local child = run("r:start()", s)
  logged(child, "policy loaded")
  baseline = healthy(child, s)
  support.stop(child)
  return baseline
end

-- Every error of the policy's is one that is expected, or of those that `may`
-- come in time.
local function checkErrors(child, case)
  local seen = {}
  for _, event in ipairs(events(child, "policy error")) do
    local known = case.may and event.error:find(case.may)
    for i, pattern in ipairs(case.errors or {}) do
      if event.error:find(pattern) then known, seen[i] = true, true end
    end
    if not known then error("unexpected: " .. event.error) end
  end
  for i, pattern in ipairs(case.errors or {}) do
    if not seen[i] then error("nobody raised " .. pattern) end
  end
  assert.same({}, events(child,
    "unprotected error: this is a bug, and the process ends"))
end

local function survive(case)
  local limit = support.descriptorLimits()
  if limit < (case.descriptors or 0) then
    return pending(("a limit of %d descriptors"):format(limit))
  end
  local open = usual()
  local s = listen()
  local child = run(case.script, s, case)
  if case.ends then
    assert.same({ case.ends, 0 }, { child:wait() })
    events(child)
    return checkErrors(child, case)
  end
  logged(child, "done")
  local got = healthy(child, s)
  if got ~= open then
    eventually(function() return support.descriptors(child) == open end)
  end
  if not support.WATCHED then
    assert.is_true(memory(child, "VmHWM") < (case.peak or 4 * MEMORY))
  end
  support.stop(child)
  checkErrors(child, case)
end

for _, kind in ipairs { "errors", "finalizers", "sockets", "reloads", "globals",
    "growth", "metatables", "time" } do
  describe("The host survives a policy that", function()
    for name, case in pairs(require("adversaries." .. kind)) do
      it(name, function() survive(case) end)
    end
  end)
end

-- A policy of random calls, from random handlers; see adversaries/random.lua.
-- ADVERSARY_SEED repeats a run, ADVERSARY_SECONDS has it go on for longer.
describe("The host survives a policy of random calls,", function()
  local seeds = { os.getenv "ADVERSARY_SEED" }
  for i = #seeds + 1, seeds[1] and 1 or 3 do
    seeds[i] = tostring((os.time() * 1000 + i) % 1000000007)
  end
  local seconds = tonumber(os.getenv "ADVERSARY_SECONDS") or 1

  for _, seed in ipairs(seeds) do
    it("of seed " .. seed, function()
      local open, s = usual(), listen()
      local child = run(require "adversaries.random", s,
        { seed = seed, budget = 1000 })
      local timer = require "luv".new_timer()
      local over
      timer:start(math.ceil(seconds * 1000), 0, function() over = true end)
      support.run(function() return over or child.code end, seconds + 10)
      timer:close()
      assert.is_nil(child.code, child.output:sub(-2000))
      healthy(child, s)
      eventually(function() return support.descriptors(child) <= open end)
      support.stop(child)
      assert.is_nil(child.output:find("unprotected", 1, true))
      assert.is_nil(child.output:find("INEXACT", 1, true),
        child.output:match "INEXACT[^\n]*")
    end)
  end
end)
