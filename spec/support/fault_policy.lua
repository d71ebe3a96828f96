-- The policy of the specs on faults. One rover is for servers with faults, the
-- other for healthy ones. It keeps its first connection, and does what the
-- lines that come over it say; each is answered by a line of JSON.

local host = require "callosum.host"
local json = require "dkjson"
local rover = require "callosum.rover"

local options = json.decode(host.args[2])
options.name = "bad"
local bad = rover.new(options)
local well = rover.new { name = "well", maxAttempts = 50, servers = {
  control = { host = "127.0.0.1", port = math.tointeger(host.args[1]) },
} }
local control
local counts, open = {}, 0  -- of a round of attempts
local todo                  -- attempts that a round has yet to make, by rover
local said                  -- the last error in words
local reached = {}          -- connections by the address that they were made to
local greets = false

local function answer(value)
  control:write(json.encode(value) .. "\n")
end

-- Counts what happened by the kind of server: "bad" for bad1, bad2, ...
local function count(id, what, err)
  local key = (id or "none"):match "^%a+" .. " " .. what
    .. (err and " " .. err.code or "")
  counts[key] = (counts[key] or 0) + 1
end

local function results()
  return { counts = counts, bad = bad:stats(), well = well:stats() }
end

-- Makes attempts, as many at once as may be, and answers once all are over.
local function go()
  if not todo then return end
  local left = open
  for r, attempts in pairs(todo) do
    while attempts > 0 and r:connect() do attempts = attempts - 1 end
    todo[r] = attempts
    left = left + attempts + r:stats().inFlight
  end
  if left > 0 then return end
  todo = nil
  answer(results())
end

local function of(id) return id:match "^well" and well or bad end

local orders = {}

function orders.add(id, address, port)
  of(id):addServer(id, { host = address, port = math.tointeger(port) })
end

function orders.drop(id) of(id):dropServer(id) end
function orders.greet() greets = true end
function orders.start() bad:start() end

local function strings(most)
  local all = {}
  for n = 1, most do all[n] = "string " .. n end
  return #all
end

-- Lua's table of strings grows for all that are there at some time, and shrinks
-- only while three quarters of it are empty. So it is made large first: then
-- what is counted depends on nothing but what is alive.
function orders.collect()
  strings(2048)
  collectgarbage()
  collectgarbage()
  return { bytes = collectgarbage "count" * 1024 }
end

function orders.results() return results() end
function orders.said() return { text = said } end
function orders.reached() return reached end

function orders.rove(atBad, atWell)
  counts, todo = {}, {}
  if atBad ~= "0" then todo[bad] = math.tointeger(atBad) end
  if atWell ~= "0" then todo[well] = math.tointeger(atWell) end
  go()
  return false
end

-- Attempts that go on while other orders are given.
function orders.begin(attempts)
  counts = {}
  for _ = 1, math.tointeger(attempts) do assert(bad:connect()) end
end

function orders.log(from, to)
  for n = math.tointeger(from), math.tointeger(to) do
    host.log.info("line", { n = n, text = ("x"):rep(1000) })
  end
end

local function obey(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  local result = orders[table.remove(words, 1)](table.unpack(words))
  if result ~= false then answer(result or {}) end
end

local function listen(socket)
  local rest = ""
  control = socket
  socket:on("data", function(chunk)
    rest = rest .. chunk
    for line, after in rest:gmatch "([^\n]*)\n()" do
      rest = rest:sub(after)
      obey(line)
    end
  end)
end

local function onConnection(_, socket, id)
  if not control then
    well:dropServer "control"
    return listen(socket)
  end
  count(id, "connection")
  local address = socket:peername()
  reached[address] = (reached[address] or 0) + 1
  if id:match "^well" then
    socket:close()
  else
    open = open + 1
    if greets then socket:write "hello" end
    socket:on("close", function(err)
      open = open - 1
      count(id, "close", err)
      go()
    end)
  end
  go()
end

local function watch(r)
  r:on("connection", onConnection)
  r:on("unreachable", function(id, _, err)
    said = tostring(err)
    count(id, "unreachable", err)
    go()
  end)
  r:on("error", function(err)
    said = tostring(err)
    count(err.id, "error", err)
    go()
  end)
end

local more = {} -- rovers

-- Each has a server of its own, and makes an attempt.
function orders.more(rovers, address, port)
  counts = {}
  for n = 1, math.tointeger(rovers) do
    more[n] = rover.new { name = "more" .. n, servers = { ["bad" .. n] =
      { host = address, port = math.tointeger(port) } },
      connectTimeout = options.connectTimeout }
    watch(more[n])
    more[n]:connect()
  end
end

function orders.close(n) more[math.tointeger(n)]:close() end

watch(bad)
watch(well)
well:connect()
