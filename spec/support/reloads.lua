-- Policies that are edited and reloaded while they run.

local server = require "callosum.server"
local command = require "support.command"
local files = require "support.files"
local loop = require "support.loop"
local tcp = require "support.tcp"

local reloads = {}

-- What the policies begin with, in one line. `at(i)` is the server whose port
-- is the i-th argument; `connect(r, n)` makes attempts, in the first
-- generation only.
local HEAD = ([[
  host = require "callosum.host" rover = require "callosum.rover"
  log = host.log.info
  function at(i)
    return { host = "127.0.0.1", port = tonumber(host.args[i]) }
  end
  function connect(r, n)
    for _ = 1, host.generation == 1 and n or 0 do r:connect() end
  end
]]):gsub("\n%s*", " ")

--- Runs a policy, as `policy` does, once it is loaded.
-- @param flags nil, or those of run
-- @param script its text, behind HEAD
-- @param ... servers or ports, its arguments
-- @return the child
function reloads.startWith(flags, script, ...)
  local args = {}
  for i, each in ipairs { ... } do
    args[i] = tostring(type(each) == "table" and each.port or each)
  end
  local child = command.policy(HEAD .. script, { args = args, flags = flags })
  command.logged(child, "policy loaded")
  return child
end

--- The same, without flags.
function reloads.start(script, ...)
  return reloads.startWith(nil, script, ...)
end

--- Writes another script where a child's policy is.
function reloads.edit(child, script)
  files.write(child.path, HEAD .. script)
end

local function triggered(child, script, outcome)
  local n = #command.events(child, outcome) + 1
  if script then reloads.edit(child, script) end
  child:kill "sighup"
  return command.logged(child, outcome, n)
end

--- Reloads by SIGHUP, and waits until it is done.
-- @param child the child
-- @param script nil, or what its policy is to be first
-- @return the log line that tells of it
function reloads.reload(child, script)
  return triggered(child, script, "policy reloaded")
end

--- Reloads by SIGHUP a policy that cannot be.
-- @return the log line that says so
function reloads.fails(child, script)
  return triggered(child, script, "reload failed, the old policy goes on")
end

--- Takes one field of all lines with a message.
-- @param child the child
-- @param message the message
-- @param field its name
-- @return an array
function reloads.told(child, message, field)
  local list = {}
  for i, event in ipairs(command.events(child, message)) do
    list[i] = event[field]
  end
  return list
end

--- Tells where in a child's log a message is.
-- @param child the child
-- @param message the message
-- @param n which of them (1)
-- @return its line's number, or nil
function reloads.position(child, message, n)
  n = n or 1
  for i, event in ipairs(command.events(child)) do
    if event.message == message then
      n = n - 1
      if n == 0 then return i end
    end
  end
end

--- Counts the lines with a message behind a line.
-- @param child the child
-- @param message the message
-- @param line the line's number (0)
function reloads.count(child, message, line)
  local count = 0
  for i, event in ipairs(command.events(child)) do
    if i > (line or 0) and event.message == message then count = count + 1 end
  end
  return count
end

--- Makes a Callosum server that closes when the test ends.
-- @return a table: `port`, `conns` (by slot), `opened` and `closed` (the slots
--   in that order)
function reloads.listen()
  local s = assert(server.new())
  loop.atEnd(function() s:close() end)
  local self = { port = select(2, s:address()), conns = {}, opened = {},
    closed = {} }
  s:on("connection", function(conn, slot)
    self.conns[slot] = conn
    self.opened[#self.opened + 1] = slot
    conn:on("close", function()
      self.conns[slot] = nil
      self.closed[#self.closed + 1] = slot
    end)
  end)
  return self
end

--- Runs the loop until a server has seen so many connections.
function reloads.opened(self, n)
  loop.run(function() return #self.opened >= n end)
end

--- Runs the loop until a server has seen connections close.
-- @return their slots, ascending
function reloads.closed(self, n)
  loop.run(function() return #self.closed >= n end)
  local slots = { table.unpack(self.closed) }
  table.sort(slots)
  return slots
end

--- A policy that answers what comes with a name, its generation, and how often
-- it was asked.
-- @param name the name
-- @param more nil, or a script to go behind it
function reloads.answering(name, more)
  return ([[
    r = rover.new { servers = { s = at(1) } }
    local asked = 0
    r:on("connection", function(_, socket)
      socket:on("data", function()
        asked = asked + 1
        socket:write(("%s %%d %%d\r\n"):format(host.generation, asked))
      end)
      log "got"
    end)
    connect(r, 1)
  ]]):format(name) .. (more or "")
end

--- To go behind a script: `ticks` is said by a timer of luv, from its 20th tick
-- on.
reloads.TICKS = [[
  local ticks, ticker = 0, require "luv".new_timer()
  ticker:start(1, 1, function()
    ticks = ticks + 1
    if ticks > 20 then log("ticks", { now = host.generation }) end
  end)
]]

--- Runs a policy that says `got` once it keeps a socket.
-- @return the child, and the peer of that socket
function reloads.kept(script)
  local s = tcp.serve { send = "0\r\n" }
  local child = reloads.start(script, s)
  command.logged(child, "got")
  return child, s.peers[1]
end

return reloads
