---@meta callosum.rover

-- What editors know of `require "callosum.rover"`, a module in C. No program
-- needs this file.

--- Keeps a client's TCP connections balanced over a fleet of servers.
---
--- Intervals and timeouts are milliseconds. Misuse raises an error at the
--- caller's line: an unknown option or event, a port out of range, a method of
--- a closed rover. What the world does wrong comes as an event, or back as
--- `nil, message, code`. Handlers and callbacks run from the loop, never from
--- within a call of these functions; an error that one of them raises is
--- reported, by the host's log or by luv, and ends that call only.
---@class callosum.RoverModule
--- The version of the engine: "0.1.0".
---@field _VERSION string
local rover = {}

--- Where a server is.
---@class callosum.Address
--- An IP address (a link-local one with its zone, "fe80::42%eth0"), a name for
--- the system's resolver, or "localhost", which is always ::1 and 127.0.0.1. 1
--- to 255 bytes. A name is one server; attempts are spread over its addresses.
---@field host string
--- 1 to 65535.
---@field port integer

--- What went wrong in the world; `tostring` makes a readable line of it.
---@class callosum.Error
--- libuv's name of it: "ECONNREFUSED", "ETIMEDOUT", "EOF", "EAI_NONAME", ...
---@field code string
--- What it means: "connection refused"; behind a semicolon, what to do.
---@field message string
--- The server, where there is one.
---@field id? string

---@class callosum.RoverOptions
--- The rover's name, of 1 to 255 bytes. A policy that is reloaded hands over
--- to the rover of the same name, so a policy may use a name but once. Default:
--- "main"
---@field name? string
--- From one attempt to the next; 1 to 4294967295 ms. Default: 1000
---@field rovingInterval? integer
--- By id, of 1 to 255 bytes. Default: {}
---@field servers? table<string, callosum.Address>
--- To resolve the name and connect; 0 to 4294967295 ms, 0: no deadline.
--- Default: 5000
---@field connectTimeout? integer
--- From connected to a whole slot line; 0 to 4294967295 ms, 0: no deadline.
--- Default: 5000
---@field slotTimeout? integer
--- How many attempts may be in flight, 1 to 4294967295; a tick beyond that is
--- skipped. Default: 16
---@field maxAttempts? integer
--- 0 to 1: each interval is drawn from `rovingInterval` times 1 - jitter to
--- 1 + jitter. Default: 0
---@field jitter? number
--- Makes the random picks of servers reproducible. Default: nil
---@field seed? integer
--- Seconds of silence, 0 to 32767, before a kept socket is probed; a peer that
--- answers nothing for 10 more is given up, one that answers and takes in
--- nothing is not. 0 is never. Default: 15
---@field keepalive? integer
--- Whether a socket outlives the peer's end; then it is up to you to close it.
--- Default: false
---@field allowHalfOpen? boolean

--- Counters since the rover was made, but for `inFlight` and `kept`, which
--- tell the present. `attempts` is the sum of `connections`, `unreachable`,
--- `errors`, `cancelled` and `inFlight`; `connections` that of `kept` and
--- `closed`.
---@class callosum.RoverStats
--- Attempts made.
---@field attempts integer
--- Those that ended with a slot and a socket.
---@field connections integer
--- Those that ended in an `unreachable` event.
---@field unreachable integer
--- `unreachable` by `code` of the error.
---@field causes table<string, integer>
--- Those that ended in an `error` event.
---@field errors integer
--- Those whose server was dropped, or whose rover was stopped or closed.
---@field cancelled integer
--- Attempts not made, because `maxAttempts` were in flight or every server was
--- paused.
---@field skipped integer
--- Sockets closed, those refused and detached included.
---@field closed integer
--- Attempts under way.
---@field inFlight integer
--- Sockets kept.
---@field kept integer

--- Makes a rover, which does nothing until `start` or `connect`. In a policy it
--- is declared by that, and comes to life once the script has run to its end.
---@param options? callosum.RoverOptions
---@return callosum.Rover
function rover.new(options) end

--- A rover: every interval it connects to a random one of its servers, reads
--- the slot number that the server sends as its first line, and hands slot and
--- socket to its `connection` handlers.
---
--- A rover that is started, has an attempt in flight or keeps a socket is not
--- collected, even if nothing refers to it. `local r <close>` closes it at the
--- end of the block.
---
--- A handler that is registered with a third argument, true, is a bystander: it
--- sees an event before the others do, and does not count as one of them.
---@class callosum.Rover
--- A server sent its slot line. The socket is among `sockets()` already, and
--- stays there unless a handler closes it or raises an error. Without a handler
--- every socket is closed. When a new policy takes over, it is called for each
--- kept socket, lowest slot first, with `socket.adopted` true.
---@field on fun(self: callosum.Rover, event: "connection", fn: fun(slot: integer, socket: callosum.Socket, id: string, server: callosum.Address), bystander?: boolean): callosum.Rover
--- A server gave no slot line: its name was not resolved, it refused, reset or
--- closed the connection (EOF), or a deadline passed (ETIMEDOUT).
---@field on fun(self: callosum.Rover, event: "unreachable", fn: fun(id: string, server: callosum.Address, err: callosum.Error), bystander?: boolean): callosum.Rover
--- What trying another server will not mend: one sent something else than a
--- slot line (EPROTO; the message quotes it), there are no servers
--- (EDESTADDRREQ), this machine is out of descriptors or memory (EMFILE,
--- ENFILE, ENOBUFS, ENOMEM, ENOSPC), of local ports (EADDRNOTAVAIL), or of
--- threads to look names up in (EAGAIN). With no handler the host logs it, and
--- luv prints it.
---@field on fun(self: callosum.Rover, event: "error", fn: fun(err: callosum.Error), bystander?: boolean): callosum.Rover
local Rover = {}

--- Removes a handler; one that is not registered is no error.
---@param event "connection"|"unreachable"|"error"
---@param fn function
---@return callosum.Rover
function Rover:off(event, fn) end

--- Adds a server, or replaces the one of that id, which cancels the attempts in
--- flight to it if its address changes.
---@param id string of 1 to 255 bytes
---@param server callosum.Address is copied
---@return callosum.Rover
function Rover:addServer(id, server) end

--- Drops a server and cancels the attempts in flight to it. Its kept sockets
--- stay.
---@param id string
---@return boolean dropped false if there is none of that id
function Rover:dropServer(id) end

--- Makes an attempt at once and then one every interval. Called again, it
--- restarts the clock. With no servers and nobody listening to `error`, it
--- raises an error, but for a policy that is being loaded.
---@return callosum.Rover
function Rover:start() end

--- Stops the clock and cancels the attempts in flight. Kept sockets stay.
---@return callosum.Rover
function Rover:stop() end

--- Makes one attempt now, started or not. Raises what `start` raises.
---@return callosum.Rover? self nil if it cannot be made
---@return string? message
---@return string? code "EAGAIN" if it would be skipped, "ENOMEM"
function Rover:connect() end

--- Changes the interval. A running clock keeps its last tick.
---@param ms integer 1 to 4294967295
---@return callosum.Rover
function Rover:setRovingInterval(ms) end

--- Tells the interval, in ms.
---@return integer
function Rover:rovingInterval() end

--- Has the next attempt come in so many ms, sooner or later than the interval
--- says, once: those after it follow at the interval. One that is due already
--- is made first. Where nothing is started it is false, and nothing happens.
---@param ms integer 0 to 4294967295
---@return boolean
function Rover:roveIn(ms) end

--- Tells in how many ms the next attempt is due.
---@return integer? ms nil where nothing is started
function Rover:dueIn() end

--- Lets a server be for so many ms: it is not attempted, and attempts in
--- flight to it are cancelled; its sockets stay. 0 ends a pause, and so does
--- adding the server again, and a reload. While all are paused the clock skips
--- its attempt, and makes it up when the first is awake. False if there is no
--- such server.
---@param id string
---@param ms integer 0 to 4294967295
---@return boolean
function Rover:pauseServer(id, ms) end

--- Tells the servers, by id. The table is yours.
---@return table<string, callosum.Address>
function Rover:servers() end

--- Tells the kept sockets, the lowest slot first and the older first of equal
--- ones. The array is yours.
---@return callosum.Socket[]
function Rover:sockets() end

--- Tells the counters. The table is yours.
---@return callosum.RoverStats
function Rover:stats() end

--- Stops the rover and closes all its sockets, whose `close` events still come.
--- Twice is harmless; any other method of a closed rover raises an error.
---@return callosum.Rover
function Rover:close() end

--- A connection to a server, with the slot it gave. It is the rover's until
--- either side closes it. While nobody listens to `data`, not one byte is taken
--- from it, yet the peer's end is noticed. `local s <close>` closes it at the
--- end of the block.
---
--- Here, too, a handler may be a bystander: it does not have the socket read,
--- and `off` leaves it if it removes all handlers.
---@class callosum.Socket
--- The slot that the server gave to this connection: the lower, the less loaded
--- the server was.
---@field slot integer
--- The server's id.
---@field id string
--- Where it is; it may have been dropped since.
---@field server callosum.Address
--- Whether an earlier policy kept the socket, and this one took it over.
---@field adopted boolean
--- Whether it is closed, about to be, or was passed on.
---@field closed boolean
--- A table of yours that outlives the policy. It holds booleans, numbers,
--- strings and tables of these, at most 1 MiB: anything else raises an error
--- where it is assigned, and fails a reload where it was put in later.
---@field state table
--- Bytes from the peer, in order. Reading begins with the first handler and
--- ends when the last is removed. It may fail for want of memory ("ENOMEM").
---@field on fun(self: callosum.Socket, event: "data", fn: fun(chunk: string), bystander?: boolean): callosum.Socket?, string?, string?
--- The peer has ended its side. Unless the rover was made with `allowHalfOpen`,
--- the socket then sends what was written and closes. If bytes wait that nobody
--- read, listen to `data` now to have them first.
---@field on fun(self: callosum.Socket, event: "end", fn: fun(), bystander?: boolean): callosum.Socket
--- The socket is closed: the last event, and it comes exactly once. `err` says
--- what broke the connection, and is nil if nothing did.
---@field on fun(self: callosum.Socket, event: "close", fn: fun(err?: callosum.Error), bystander?: boolean): callosum.Socket
--- All that was written is handed to the kernel, after a write that had to be
--- queued.
---@field on fun(self: callosum.Socket, event: "drain", fn: fun(), bystander?: boolean): callosum.Socket
--- Removes a handler; one that is not registered is no error.
---@field off fun(self: callosum.Socket, event: "data"|"end"|"close"|"drain", fn: function): callosum.Socket
--- Removes all handlers of all events, but no bystander.
---@field off fun(self: callosum.Socket): callosum.Socket
local Socket = {}

--- Writes to the server. What the kernel does not take at once is copied and
--- queued: see `writeQueueSize` and the `drain` event. In the host, all that
--- sockets have queued is at most as much as the policy's Lua state may have;
--- a write beyond that is not accepted (ENOBUFS). If the data is accepted,
--- `fn` is called once: when all of it is handed to the kernel, or with an
--- error (ECANCELED if the socket was closed before). If not, never.
---@param data string|string[]
---@param fn? fun(err?: callosum.Error)
---@return callosum.Socket? self nil if the data is not accepted
---@return string? message
---@return string? code "ENOTCONN" if closed, "EPIPE" after `shutdown`, ...
function Socket:write(data, fn) end

--- Ends our side once all that was written is sent. The peer may still send.
--- `fn` is called as that of `write` is.
---@param fn? fun(err?: callosum.Error)
---@return callosum.Socket? self nil if it cannot be done
---@return string? message
---@return string? code "ENOTCONN" if closed or shut down before, "ENOMEM"
function Socket:shutdown(fn) end

--- Closes the socket at once; what is queued is not sent. Twice is harmless.
---@return callosum.Socket
function Socket:close() end

--- Gives the connection away, as a descriptor from which no byte was taken that
--- no `data` handler had, with the system's own options: keepalive and no-delay
--- are off. The socket is closed by that, the connection is not.
--- It cannot be had while writes are queued or a shutdown is under way (EBUSY).
---@return integer? fd non-blocking, yours to close; nil if it cannot be had
---@return string? message
---@return string? code "EBUSY", "ENOTCONN" if the socket is closed, "EMFILE"
function Socket:detach() end

--- Passes the connection on: returns another object for it. Whoever has this
--- one can do it no harm any more, since to them it is closed. State and
--- bystanders go along, other handlers are removed. Writes go on, and call
--- back.
---@return callosum.Socket? socket nil if it is closed
---@return string? message
---@return string? code "ENOTCONN", or "EALREADY" if it was passed on before
function Socket:pass() end

--- Tells the server's address and port.
---@return string? host nil if it cannot be told
---@return integer|string port or the message
---@return string? code "ENOTCONN" if the socket is closed
function Socket:peername() end

--- Tells the address and port at this end.
---@return string? host nil if it cannot be told
---@return integer|string port or the message
---@return string? code "ENOTCONN" if the socket is closed
function Socket:sockname() end

--- Tells how many bytes were accepted and not yet handed to the kernel.
---@return integer bytes 0 if the socket is closed
function Socket:writeQueueSize() end

return rover
