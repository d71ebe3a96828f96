-- Work to time, as a policy: prints the CPU seconds that it took. With a port
-- as its second argument it answers COUNT lines of the server there.

local host = require "callosum.host"
local rover = require "callosum.rover"

local what, port = host.args[1], tonumber(host.args[2])
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

if work[what] then
  local from = os.clock()
  work[what]()
  print(os.clock() - from)
  return
end

-- A handler as policies have them: takes apart what came, counts, answers.
r:addServer("one", { host = "127.0.0.1", port = port })
r:on("connection", function(_, socket)
  local count, words, from = 0, {}, os.clock()
  socket:on("data", function(chunk)
    count = count + 1
    for word in chunk:gmatch "%w+" do words[word] = (words[word] or 0) + 1 end
    socket:write(("%d %d\r\n"):format(count, words.slot or 0))
  end)
  socket:on("end", function()
    print(os.clock() - from)
    host.stop()
  end)
end)
r:start()
