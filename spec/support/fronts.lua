-- Fronts for tests: `require "support.fronts"`. They are closed when the test
-- ends, after a check that their counters add up.

local loop = require "support.loop"
local tcp = require "support.tcp"

local fronts = {}

--- Checks that a front's counters add up.
-- @param s its stats
-- @return them
function fronts.checkStats(s)
  if s.accepted == s.refused + s.failed + s.closed + s.open + s.securing
      and s.joined == s.ended + s.reset + s.cut + s.drained + s.running then
    return s
  end
  local list = {}
  for name, count in pairs(s) do list[#list + 1] = name .. " " .. count end
  table.sort(list)
  error("the stats do not add up: " .. table.concat(list, ", "), 2)
end

--- Makes a front. An error of its own fails the test.
-- @param options as for `front.new`; by default it listens on any free port of
--   127.0.0.1, before a server that does nothing
-- @param errors nil, or an array to which its errors are added instead
-- @return the front, and that server
function fronts.front(options, errors)
  local own, server = { listen = { port = 0 } }, nil
  for name, value in pairs(options or {}) do own[name] = value end
  if not own.backend then
    server = tcp.serve()
    own.backend = { port = server.port }
  end
  local front = assert(require("callosum.front").new(own))
  front:on("error", loop.watched(function(err)
    if not errors then error(tostring(err)) end
    errors[#errors + 1] = err
  end))
  loop.atEnd(function()
    local open, s = pcall(front.stats, front)
    if not open then return end
    local ok, err = pcall(fronts.checkStats, s)
    front:close(0)
    if not ok then error(err, 0) end
  end)
  return front, server
end

--- Connects to a front.
-- @param front the front, or its port or path
-- @param ... as for `connect`
-- @return the peer
function fronts.connect(front, ...)
  if type(front) ~= "userdata" then return tcp.connect(front, ...) end
  local host, port = front:address()
  return tcp.connect(port or host, host:find "^[%d:]" and host or nil)
end

--- Connects to a front, and reads its slot line.
-- @return the slot, and the peer
function fronts.slot(front, ...)
  local peer = fronts.connect(front, ...)
  return tonumber(peer:line()), peer
end

--- Connects so many times.
-- @return the slots, and the peers, arrays
function fronts.slots(front, count)
  local slots, peers = {}, {}
  for i = 1, count do slots[i], peers[i] = fronts.slot(front) end
  return slots, peers
end

--- Runs the loop until one of a front's counters has a value.
-- @param front the front
-- @param name the counter's
-- @param count its value (1)
function fronts.reached(front, name, count)
  local ok, err = pcall(loop.run, function()
    return front:stats()[name] == (count or 1)
  end)
  if not ok then
    error(("%s is %d and not %d (%s)"):format(name, front:stats()[name],
      count or 1, err), 2)
  end
end

--- Connects to a front, and joins.
-- @param front the front
-- @param server its backend
-- @return the peer, and that of the backend
function fronts.pair(front, server)
  local count = #server.peers + 1
  local _, peer = fronts.slot(front)
  peer:write "hello"
  loop.run(function() return server.peers[count] end)
  server.peers[count]:take "^hello"
  return peer, server.peers[count]
end

return fronts
