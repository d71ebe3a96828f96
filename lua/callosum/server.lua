local isPolicy, policy = pcall(require, "callosum.host") -- else plain Lua
local options = require "callosum.options"
local slots = require "callosum.slots"
local uv = require "luv"

-- A Callosum server on luv: it gives each connection the lowest free slot,
-- sends it as a line, and frees it once the connection has ended, for whatever
-- reason.
--
-- An error in a handler is passed on to luv, which reports it, when the
-- server's own state is consistent again.
---@type callosum.ServerModule
local server = {}

-- When a client has left, libuv's writes raise SIGPIPE, which by default ends
-- the program. So unless the program ignores SIGPIPE, the first server of a Lua
-- state catches it, for as long as the state lives.
local sigpipe

local function surviveSigpipe()
  if sigpipe then return end
  local status = io.open("/proc/self/status")
  local ignored = status and status:read("a"):match("SigIgn:%s*(%x+)") or "0"
  if status then status:close() end
  if tonumber(ignored, 16) & 1 << uv.constants.SIGPIPE - 1 ~= 0 then return end
  sigpipe = uv.new_signal()
  uv.signal_start(sigpipe, "sigpipe", function() end)
  uv.unref(sigpipe)
end

-- Errors ---------------------------------------------------------------------

local failureMeta = {
  __name = "callosum.error",
  __tostring = function(err)
    return ("%s (%s)"):format(err.message, err.code)
  end,
}

local function failure(message, code)
  return setmetatable({ message = message, code = code }, failureMeta)
end

-- luv passes only the name of an error to callbacks, and has no strerror. These
-- are the errors of connections; for others the name must do.
local texts = setmetatable({
  ECANCELED = "operation canceled",
  ECONNABORTED = "software caused connection abort",
  ECONNRESET = "connection reset by peer",
  EMFILE = "too many open files",
  ENFILE = "file table overflow",
  ENOBUFS = "no buffer space available",
  ENOMEM = "not enough memory",
  ENOTCONN = "socket is not connected",
  EPIPE = "broken pipe",
  ETIMEDOUT = "connection timed out",
}, { __index = function(_, code) return code end })

-- After how many ms accepting is tried again.
local RETRY = 100

-- What to do about an error whose name does not tell.
local advice = {
  EACCES = "ports below 1024 are for the privileged; choose a higher one",
  EADDRINUSE = "stop what listens there, or choose another port"
    .. " (0 takes a free one)",
  EADDRNOTAVAIL = "no interface of this machine has that address",
  EMFILE = "raise this process's limit of open files (ulimit -n)",
}
if isPolicy and policy.generation > 1 then
  advice.EADDRINUSE = advice.EADDRINUSE .. "; if the running policy listens"
    .. " there, on another address, first reload it without that"
end

-- Runs `fn(err)` when the variable that it is assigned to goes out of scope,
-- also by an error, which then propagates with its traceback intact.
local deferred = { __close = function(self, err) self.fn(err) end }

local function defer(fn)
  return setmetatable({ fn = fn }, deferred)
end

-- Events ---------------------------------------------------------------------

local NONE = {}

-- All handlers of an event except this one.
local function without(self, event, handler)
  local list = {}
  for _, each in ipairs(self.handlers[event] or NONE) do
    if each ~= handler then list[#list + 1] = each end
  end
  return list
end

local FUNCTION = { type = "function" }
local OPTIONS = {
  { name = "observer", type = "boolean", default = false },
}

-- Calls the handlers of an event, in the array `handlers[event]`, where
-- observers come first. Arrays are not changed but replaced, so that handlers
-- may be added and removed meanwhile.
local function emit(self, event, ...)
  for _, each in ipairs(self.handlers[event] or NONE) do
    if each.once then self.handlers[event] = without(self, event, each) end
    each.fn(...)
  end
end

-- Whether there are handlers other than observers.
local function isHandled(self, event)
  local list = self.handlers[event] or NONE
  return #list > 0 and not list[#list].observer
end

-- Gives a class the methods `on`, `once` and `off` for these events.
local function emits(methods, events)
  local function add(self, event, fn, given, once)
    options.event(2, event, events, 1)
    options.argument(3, fn, FUNCTION, 1)
    local observer = options.check(4, given, OPTIONS, nil, 1).observer
    local list = { table.unpack(self.handlers[event] or NONE) }
    local at = #list + 1
    while observer and at > 1 and not list[at - 1].observer do at = at - 1 end
    table.insert(list, at, { fn = fn, observer = observer, once = once })
    self.handlers[event] = list
    return self
  end

  function methods:on(event, fn, given)
    return (add(self, event, fn, given, false))
  end

  function methods:once(event, fn, given)
    return (add(self, event, fn, given, true))
  end

  function methods:off(event, fn)
    options.event(2, event, events)
    options.argument(3, fn, FUNCTION)
    local list = self.handlers[event] or NONE
    for i = #list, 1, -1 do
      if list[i].fn == fn then
        self.handlers[event] = without(self, event, list[i])
        break
      end
    end
    return self
  end
end

-- Checks an optional function, on behalf of the caller of the method that calls
-- this.
local function checkFunction(arg, fn)
  if fn ~= nil then options.argument(arg, fn, FUNCTION, 1) end
end

-- Returns luv's table of an address as `host, port`.
local function hostAndPort(name, message, code)
  if not name then return nil, message, code end
  return name.ip, name.port
end

-- Connections ----------------------------------------------------------------

local connection = {}
local connectionMeta = { __name = "callosum.connection", __index = connection }

emits(connection, { "data", "end", "close" })

-- One of the server's handles is closed. The listener is one of them, so the
-- last is closed only after `close`.
local function release(self)
  self.handles = self.handles - 1
  if self.handles > 0 then return end
  for _, fn in ipairs(self.whenClosed) do fn() end
end

-- Closes a handle of the server, then calls `fn`.
local function closeHandle(self, handle, fn)
  uv.close(handle, function()
    local _ <close> = defer(function() release(self) end)
    if fn then fn() end
  end)
end

-- This is the only way in which a connection ends, and `closed` makes sure it
-- is taken only once, so that the slot is freed exactly once.
local function close(conn, err)
  if conn.closed then return end
  conn.closed = true
  local self = conn.server
  closeHandle(self, conn.handle, function()
    self.open[conn] = nil
    self.slots:put(conn.slot)
    emit(conn, "close", err)
  end)
end

local function write(conn, data, fn)
  return uv.write(conn.handle, data, function(code)
    local err = code and failure(texts[code], code)
    if err then close(conn, err) end
    if fn then fn(err) end
  end)
end

-- A connection is over when both sides have ended it.
local function closeIfOver(conn)
  if conn.ended and conn.finished then close(conn) end
end

local function shutdown(conn, fn)
  return uv.shutdown(conn.handle, function(code)
    local err = code and failure(texts[code], code)
    conn.finished = not err
    if err then close(conn, err) end
    closeIfOver(conn)
    if fn then fn(err) end
  end)
end

-- The client has ended its side. Unless half-open connections are allowed, ends
-- ours once everything has been written.
local function finish(conn)
  closeIfOver(conn)
  if conn.closed or conn.finishing or conn.server.allowHalfOpen then return end
  if not conn:shutdown() then close(conn) end
end

local function received(conn, code, chunk)
  if code then
    close(conn, failure(texts[code], code))
  elseif chunk then
    emit(conn, "data", chunk)
  else
    conn.ended = true
    local _ <close> = defer(function() finish(conn) end)
    emit(conn, "end")
  end
end

-- Reads even if nothing listens, since that is how the end is noticed.
local function read(conn)
  if conn.closed or conn.ended or conn.paused then return end
  uv.read_start(conn.handle, function(code, chunk)
    received(conn, code, chunk)
  end)
end

function connection:pause()
  self.paused = true
  if not self.closed then uv.read_stop(self.handle) end
  return self
end

function connection:resume()
  if self.paused then
    self.paused = false
    read(self)
  end
  return self
end

function connection:write(data, fn)
  local expected = "string or array of strings expected, got %s"
  if type(data) == "table" then
    for i, piece in ipairs(data) do
      if type(piece) ~= "string" then
        options.fail(2, (expected .. " at index %d"):format(type(piece), i))
      end
    end
    if #data == 0 then data = "" end -- libuv asserts that there is a buffer
  elseif type(data) ~= "string" then
    options.fail(2, expected:format(type(data)))
  end
  checkFunction(3, fn)
  if self.closed then return nil, "the connection is closed", "EPIPE" end
  local request, message, code = write(self, data, fn)
  if not request then return nil, message, code end
  return self
end

function connection:shutdown(fn)
  checkFunction(2, fn)
  if self.closed then return nil, "the connection is closed", "EPIPE" end
  local request, message, code = shutdown(self, fn)
  if not request then return nil, message, code end
  self.finishing = true
  return self
end

function connection:close()
  close(self)
  return self
end

function connection:peername()
  return hostAndPort(uv.tcp_getpeername(self.handle))
end

function connection:sockname()
  return hostAndPort(uv.tcp_getsockname(self.handle))
end

-- Servers --------------------------------------------------------------------

local methods = {}
local metatable = { __name = "callosum.server", __index = methods }

emits(methods, { "connection", "error" })

local function where(host, port)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

-- Reports a connection that could not be accepted. If nothing listens, the
-- error is raised as a string, since luv prints other values as `(null)`.
local function report(self, message, code)
  local err = failure(("cannot accept a connection on %s: %s")
    :format(where(self.host, self.port), message), code)
  if not isHandled(self, "error") then error(tostring(err), 0) end
  emit(self, "error", err)
end

-- Makes a connection of an accepted client and its slot.
local function admit(self, handle, slot)
  local conn = setmetatable({
    slot = slot,
    handle = handle,
    closed = false,
    server = self,
    handlers = {},
    ended = false,
    finishing = false,
    finished = false,
  }, connectionMeta)
  self.open[conn] = true
  uv.tcp_nodelay(handle, true)
  if self.keepalive > 0 then uv.tcp_keepalive(handle, true, self.keepalive) end
  write(conn, slot .. "\r\n")
  do
    local _ <close> = defer(function(err)
      if err == nil then return end
      close(conn, failure("a connection handler raised an error: "
        .. tostring(err), "ECONNABORTED"))
    end)
    emit(self, "connection", conn, slot)
  end
  read(conn)
end

-- Accepts the client that is waiting.
local function take(self)
  local handle = uv.new_tcp()
  self.handles = self.handles + 1
  local accepted, _, code = uv.accept(self.handle, handle)
  if not accepted then
    closeHandle(self, handle)
    return report(self, texts[code], code)
  end
  local called, slot, message
  called, slot, message, code = pcall(self.slots.get, self.slots)
  if called and slot then return admit(self, handle, slot) end
  closeHandle(self, handle)
  if not called then error(slot, 0) end
  report(self, message or "no slot is free", code or "EAGAIN")
end

-- Returns the error if no descriptor is available.
local function shortage()
  local spare, _, code = uv.fs_open("/dev/null", "r", 0)
  if spare then uv.fs_close(spare) end
  return (code == "EMFILE" or code == "ENFILE") and code
end

local function endShortage(self)
  if self.retry then closeHandle(self, self.retry) end
  self.retry = nil
end

-- Once a client is accepted, libuv accepts the next by itself, and if there is
-- no descriptor for it, closes it and all that wait behind it. So none is
-- accepted while there is no descriptor to spare, and clients wait.
local function accept(self)
  local code = shortage()
  if not code then
    endShortage(self)
    return take(self)
  end
  if self.retry then return end
  self.retry = uv.new_timer()
  self.handles = self.handles + 1
  uv.timer_start(self.retry, RETRY, RETRY, function() accept(self) end)
  report(self, texts[code] .. ", so clients wait", code)
end

function methods:address()
  return self.host, self.port
end

function methods:connections()
  local list = {}
  for conn in pairs(self.open) do
    if not conn.closed then list[#list + 1] = conn end
  end
  table.sort(list, function(a, b) return a.slot < b.slot end)
  return list
end

function methods:close(fn)
  checkFunction(2, fn)
  if not self.closed then
    self.closed = true
    closeHandle(self, self.handle)
    endShortage(self)
    for _, conn in ipairs(self:connections()) do close(conn) end
  end
  if fn and self.handles == 0 then
    fn()
  elseif fn then
    table.insert(self.whenClosed, fn)
  end
  return self
end

local known = {
  { name = "host", type = "string", max = 255, default = "127.0.0.1",
    text = "An IPv4 or IPv6 address, or `localhost`, which is 127.0.0.1" },
  { name = "port", type = "integer", min = 0, max = 65535, default = 0,
    text = "The port; 0 is any free one" },
  { name = "slots", type = "object", methods = { "get", "put" },
    what = "slots: object with the methods get and put",
    class = "SlotSource", text = [[
What hands out the slots; several servers may share it. By default it is a
`callosum.slots` of the server's own]] },
  { name = "weight", type = "number", min = 1 / 256, max = 256, text = [[
The `weight` of those slots; if `slots` is given, they have their own]] },
  { name = "keepalive", type = "integer", min = 0, max = 32767, unit = "s",
    default = 15, text = [[
How long a client may be silent before it is probed; 0 disables it]] },
  { name = "backlog", type = "integer", min = 1, max = 65535, default = 511,
    text = "How many connections may wait to be accepted" },
  { name = "allowHalfOpen", type = "boolean", default = false, text = [[
Whether a connection stays open when the client has ended its side. It is then
up to the caller to close it; until then its slot is taken]] },
}

-- In a reload, the old policy still listens on the address.
local function inherit(handle, host, port)
  return isPolicy and policy.inherit(handle, host, port)
end

-- Binds and listens. libuv may report EADDRINUSE only when it is told to
-- listen, so the two belong together.
local function listen(handle, host, port, backlog, fn)
  local isAddress, bound, message, code = true, inherit(handle, host, port)
  if not bound then
    isAddress, bound, message, code = pcall(uv.tcp_bind, handle, host, port)
  end
  if not isAddress then
    return nil, "the host is not an IP address", "EINVAL"
  end
  if not bound then return nil, message:match(": (.*)"), code end
  local listening
  listening, message, code = uv.listen(handle, backlog, fn)
  if not listening then return nil, message:match(": (.*)"), code end
  return uv.tcp_getsockname(handle)
end

function server.new(given)
  local own = options.check(1, given, known, "server")
  if own.slots and own.weight then
    options.fail(1, ("weight: it is for the slots to have, as in slots.new "
      .. "{ weight = %g }"):format(own.weight))
  end
  local host, port = own.host, own.port
  if host == "localhost" then host = "127.0.0.1" end
  local self = setmetatable({
    slots = own.slots or slots.new { weight = own.weight },
    keepalive = own.keepalive,
    allowHalfOpen = own.allowHalfOpen,
    closed = false,
    handle = uv.new_tcp(),
    handles = 1, -- luv's handles that are not closed yet
    open = {}, -- set of the connections whose slots are taken
    handlers = {},
    whenClosed = {},
  }, metatable)

  local name, message, code = listen(self.handle, host, port,
    own.backlog, function(status)
      if status then return report(self, texts[status], status) end
      accept(self)
    end)
  if not name then
    uv.close(self.handle)
    message = ("cannot listen on %s: %s (%s)")
      :format(where(host, port), message, code)
    if advice[code] then message = message .. "; " .. advice[code] end
    return nil, message, code
  end
  surviveSigpipe()
  self.host, self.port = name.ip, port > 0 and port or name.port
  return self
end

return server
