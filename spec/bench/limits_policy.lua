-- Work to time, as a policy or as a plain Lua program: prints the CPU seconds
-- that it took. Arguments: what to do, the server's port.

local isPolicy, host = pcall(require, "callosum.host")
local rover = require "callosum.rover"

local LINES = 50000

local args = isPolicy and host.args or arg
local what, port = args[1], tonumber(args[2])
local r = rover.new { rovingInterval = 3600000 }

local work = {}

function work.loop()
  local n = 0
  for i = 1, 1e8 do n = n + i end
end

function work.calls()
  local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
  fib(34)
end

function work.tables()
  for _ = 1, 8 do
    local t = {}
    for i = 1, 1e5 do t[i] = { i } end
    table.sort(t, function(a, b) return a[1] > b[1] end)
  end
end

function work.coroutines()
  local co = coroutine.wrap(function()
    while true do coroutine.yield() end
  end)
  for _ = 1, 1e7 do co() end
end

local function done(from)
  print(os.clock() - from)
  io.stdout:flush()
end

if work[what] then
  local from = os.clock()
  work[what]()
  return done(from)
end

-- A handler as policies have them: takes apart what came, counts, answers. The
-- server sends each answer back.
r:addServer("one", { host = "127.0.0.1", port = port })
r:on("connection", function(_, socket)
  local count, words, from = 0, {}, os.clock()
  local function answer()
    socket:write(("the slot of this server is %d, the next slot %d\r\n")
      :format(words.slot or 0, count))
  end
  socket:on("data", function(chunk)
    count = count + 1
    for word in chunk:gmatch "%w+" do words[word] = (words[word] or 0) + 1 end
    if count == LINES then return done(from) end
    answer()
  end)
  answer()
end)
r:start()
if not isPolicy then require "luv".run() end
