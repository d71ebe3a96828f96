-- Raw TCP for tests: clients, servers that follow a script, and ports on which
-- nothing good happens. All of it is closed when the test ends.

local uv = require "luv"
local loop = require "support.loop"

local tcp = {}

local function closedAtEnd(handle)
  loop.atEnd(function()
    if not handle:is_closing() then handle:close() end
  end)
  return handle
end

local function socket()
  return closedAtEnd(uv.new_tcp())
end

local function pipe()
  return closedAtEnd(uv.new_pipe(false))
end

-- Calls `fn` in a moment, when the other side has read what was written.
local function pause(fn)
  local timer = closedAtEnd(uv.new_timer())
  timer:start(1, 0, function()
    timer:close()
    fn()
  end)
end

local function bind(host, port)
  local handle = socket()
  assert(handle:bind(host or "127.0.0.1", port or 0))
  return handle, handle:getsockname().port
end

-- Peers ----------------------------------------------------------------------

--- One end of a connection. Its fields tell what has happened so far:
-- `connected`, `received` (bytes that nobody took yet), `ended` (the other
-- side ended), `closed`, `err` (the name of the error that ended it), and
-- `handle`, luv's tcp.
local peer = {}
local peerMeta = { __name = "support.peer", __index = peer }

local function newPeer(handle)
  return setmetatable({
    handle = handle, received = "",
    connected = false, ended = false, closed = false,
  }, peerMeta)
end

local function fail(self, err)
  self.err = self.err or err
  self:close()
end

local function opened(self)
  self.connected = true
  if self.handle.nodelay then self.handle:nodelay(true) end
end

--- Begins to read into `received`.
function peer:read()
  self.handle:read_start(function(err, chunk)
    if err then fail(self, err)
    elseif chunk then self.received = self.received .. chunk
    else self.ended = true end
  end)
  return self
end

--- Writes data; an array is written piece by piece, each in a segment of its
-- own and a moment after the one before.
-- @param data a string or an array of strings
-- @param fn called once all is written, unless that fails
function peer:write(data, fn)
  local pieces = type(data) == "table" and data or { data }
  local function step(i)
    if self.closed then return end
    if not pieces[i] then return fn and fn() end
    self.handle:write(pieces[i], function(err)
      if err then return fail(self, err) end
      if i == #pieces then return step(i + 1) end
      pause(function() step(i + 1) end)
    end)
  end
  step(1)
  return self
end

--- Ends our side.
function peer:shutdown()
  self.handle:shutdown()
  return self
end

--- Closes the connection in order.
function peer:close()
  self.closed = true
  if not self.handle:is_closing() then self.handle:close() end
  return self
end

--- Closes the connection by a reset.
function peer:reset()
  self.closed = true
  if not self.handle:is_closing() then self.handle:close_reset() end
  return self
end

--- Runs the loop until what was received matches, takes it away up to the end
-- of the match, and returns what the match captured.
-- @param pattern a Lua pattern
function peer:take(pattern)
  local first, last
  loop.run(function()
    first, last = self.received:find(pattern)
    return first or self.ended or self.closed
  end)
  if not first then
    error(("received %q and %s instead of %q"):format(self.received,
      self.err or "the end", pattern), 2)
  end
  local match = self.received:sub(first, last)
  self.received = self.received:sub(last + 1)
  return match:match(pattern)
end

--- Runs the loop until a line has come, and takes it.
-- @return the line without its CR LF
function peer:line()
  return self:take("^(.-)\r\n")
end

--- Runs the loop until the other side has ended the connection.
-- @return nil if it did so in order, or the name of the error ("ECONNRESET")
function peer:waitEnd()
  loop.run(function() return self.ended or self.closed end)
  return self.err
end

--- Connects. What is written meanwhile is sent once connected.
-- @param port the port, or the path of a Unix socket
-- @param host the address (127.0.0.1)
-- @return the peer; it reads at once
function tcp.connect(port, host)
  local isPath = type(port) == "string"
  local self = newPeer(isPath and pipe() or socket())
  local function onConnect(err)
    if self.closed then return end
    if err then return fail(self, err) end
    opened(self)
    self:read()
  end
  if isPath then self.handle:connect(port, onConnect)
  else self.handle:connect(host or "127.0.0.1", port, onConnect) end
  return self
end

local server = {}
local serverMeta = { __name = "support.server", __index = server }

--- Closes a server of `serve` and its connections.
function server:close()
  if not self.handle:is_closing() then self.handle:close() end
  for _, each in ipairs(self.peers) do each:close() end
end

--- Makes a server that treats each connection alike.
-- @param script nil or a table, all of it optional:
--   `host`: the address (127.0.0.1), say "::1"; or `path`, of a Unix socket;
--   `send`: a string, or an array of pieces that are sent one by one;
--   `finish`: what comes then: "stay" (the default), "close", "shutdown", or
--   "reset";
--   `connection`: a function called first with the peer
-- @return a table: `host`, `port`, `peers` (an array), and `close()`
function tcp.serve(script)
  script = script or {}
  local finish = script.finish or "stay"
  assert(finish == "stay" or peer[finish], "unknown finish")
  local handle, port
  if script.path then
    handle = pipe()
    assert(handle:bind(script.path))
  else
    handle, port = bind(script.host)
  end
  local self = setmetatable({
    host = script.host or "127.0.0.1", port = port, peers = {},
    handle = handle,
  }, serverMeta)

  assert(handle:listen(511, function(err)
    assert(not err, err)
    local each = newPeer(script.path and pipe() or socket())
    assert(handle:accept(each.handle))
    opened(each)
    each:read()
    table.insert(self.peers, each)
    if script.connection then script.connection(each) end
    each:write(script.send or {}, function()
      if finish == "stay" or each.closed then return end
      -- libuv tells a reset that it sees along with data as an end.
      if finish == "reset" then pause(function() each:reset() end)
      else each[finish](each) end
    end)
  end))
  return self
end

--- Makes a server that sends back what comes, and ends when its client does.
-- @param greeting nil, or what it sends first
-- @return its port
function tcp.echo(greeting)
  local handle, port = bind()
  assert(handle:listen(511, function(err)
    assert(not err, err)
    local each = socket()
    local function close()
      if not each:is_closing() then each:close() end
    end
    assert(handle:accept(each))
    each:nodelay(true)
    if greeting then each:write(greeting) end
    each:read_start(function(broken, chunk)
      if chunk then each:write(chunk)
      elseif broken then close()
      else each:shutdown(close) end
    end)
  end))
  return port
end

--- Finds a port where connections are refused. It stays reserved until the
-- test ends.
-- @param host the address (127.0.0.1)
-- @return the port
function tcp.closedPort(host)
  return select(2, bind(host))
end

--- Finds a port where connections are neither accepted nor refused: a
-- listener whose queue is full. A connect there waits for its deadline.
-- @return the port
function tcp.blackHole()
  local handle, port = bind()
  local accepting = false
  assert(handle:listen(0, function() accepting = true end))
  -- libuv takes one connection that we never accept, the kernel queues one.
  local first = tcp.connect(port)
  loop.run(function() return first.connected and accepting end)
  local second = tcp.connect(port)
  loop.run(function() return second.connected end)
  return port
end

return tcp
