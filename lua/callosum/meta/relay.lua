---@meta callosum.relay

-- What editors know of `require "callosum.relay"`, a module in C. No program
-- needs this file.

--- Joins programs of this machine that know nothing of Callosum with kept
--- sockets.
---
--- Timeouts are milliseconds. Misuse raises an error at the caller's line. What
--- the world does wrong comes as an event, or back as `nil, message, code`.
--- Handlers and functions are called from the loop, never from within a call of
--- these functions, but for what `offer` calls.
---@class callosum.RelayModule
local relay = {}

--- A TCP address to listen on.
---@class callosum.ListenTcp
--- An IP address, or "localhost", which is 127.0.0.1; "::" takes IPv4 as well.
--- Default: "127.0.0.1"
---@field host? string
--- 0 to 65535; 0 is any free one.
---@field port integer

--- A Unix socket to listen on.
---@class callosum.ListenUnix
--- At most 107 bytes. A socket that is there is replaced if nobody listens on
--- it, and nothing else is. It goes when the relay closes.
---@field path string
--- Its permissions in octal, from the beginning. Default: "0600"
---@field mode? string

--- Picks a socket for a client. It is called once for each, in a coroutine of
--- its own, so that it may wait for a socket. While it waits by a pool's
--- `awaitConnection`, that is closed if the client goes; whoever else resumes
--- it later may still give it a socket, which it returns to `giveBack`.
---
--- If it gives none, the client waits, and it is called again for those who
--- wait, the oldest first, whenever a rover has kept a socket, until it gives
--- none. If it raises an error, the client is closed. If the socket it gives
--- has ended, it is called again at once.
---@alias callosum.Pick fun(client: callosum.Client): callosum.Socket?

--- Takes back a socket that came too late.
---@alias callosum.GiveBack fun(socket: callosum.Socket)

---@class callosum.RelayOptions
--- The relay's name, of 1 to 255 bytes. A policy that is reloaded hands over to
--- the relay of the same name, so a policy may use a name but once. Default:
--- "main"
---@field name? string
--- Where to listen.
---@field listen callosum.ListenTcp|callosum.ListenUnix
--- Picks a socket for a client.
---@field pick callosum.Pick
--- Takes back a socket whose client had gone when `pick` gave it, or that
--- cannot be joined now. Without it, such a socket is closed. Default: nil
---@field giveBack? callosum.GiveBack
--- For how long a client waits for a socket; 1 to 4294967295 ms. Default: 5000
---@field waitTimeout? integer
--- After how long without a byte either way both sides are reset; 0 to
--- 4294967295 ms, 0 is never. Bytes count as they are taken in, and also as
--- they leave this machine's kernel for a slow receiver; this is only looked at
--- when the time is up, so where some are left, it may be twice the time. What
--- waits in a buffer of the receiver's is not seen. Default: 0
---@field idleTimeout? integer
--- The same once one side has ended; and for how long joined clients may go on
--- when the relay closes. 1 to 4294967295 ms. Default: 30000
---@field drainTimeout? integer
--- How many clients there may be, waiting or joined, 1 to 4294967295. One more,
--- and the one that has waited longest is closed; if none waits, the new one.
--- Default: 1000
---@field maxClients? integer

--- Counters since the relay was made, but for `waiting` and `running`, which
--- tell the present. `accepted` is the sum of `joined`, `refused`, `expired`,
--- `gone` and `waiting`; `joined` that of `ended`, `reset`, `cut` and
--- `running`.
---@class callosum.RelayStats
--- Clients that came.
---@field accepted integer
--- Those that got a socket.
---@field joined integer
--- Those that were closed by `refuse`, an error in `pick`, `maxClients` or
--- `close`.
---@field refused integer
--- Those that waited for `waitTimeout` in vain.
---@field expired integer
--- Those that went away while they waited.
---@field gone integer
--- Joined ones that are over, as both sides have ended.
---@field ended integer
--- Joined ones that are over, as one side was reset or broke.
---@field reset integer
--- Joined ones that a deadline has ended.
---@field cut integer
--- Bytes from clients.
---@field received integer
--- Bytes to clients.
---@field sent integer
--- Clients that wait.
---@field waiting integer
--- Clients that are joined.
---@field running integer

--- Makes a relay, which listens at once. In a policy that is being loaded it is
--- declared by that, and listens once the script has run to its end; if it
--- cannot, the policy is not loaded.
---@param options callosum.RelayOptions
---@return callosum.Relay? relay nil if it cannot listen
---@return string? message
---@return string? code "EADDRINUSE", "EACCES", "ENOTSOCK", ...
function relay.new(options) end

--- Tells for which client a `pick` runs: for what that calls.
---@return callosum.Client? client nil but in the coroutine of a `pick`
function relay.client() end

--- A relay: it listens on an address of this machine, and joins each client
--- that connects there with a kept socket, copying both ways until both sides
--- have ended. The bytes do not pass through Lua.
---
--- A relay is not collected while it listens or has clients, even if nothing
--- refers to it. `local r <close>` closes it at the end of the block.
---@class callosum.Relay
--- A client could not be joined: it waited too long (ETIMEDOUT; the message has
--- what `pick` last said), there were too many (ENOBUFS), it was refused for a
--- reason (ECANCELED). Or clients cannot be accepted (EMFILE, ENFILE, ENOBUFS,
--- ENOMEM): told once, and tried again every 100 ms; those for whom there is no
--- descriptor in `waitTimeout` are closed, and it is told of each (EMFILE).
--- With no handler the host logs it, and luv prints it.
---@field on fun(self: callosum.Relay, event: "error", fn: fun(err: callosum.Error)): callosum.Relay
local Relay = {}

--- Removes a handler; one that is not registered is no error.
---@param event "error"
---@param fn function
---@return callosum.Relay
function Relay:off(event, fn) end

--- Calls `pick` for the clients that wait, the oldest first, until it gives no
--- socket: to be called when there are sockets again that no rover has just
--- kept.
---@return callosum.Relay
function Relay:offer() end

--- Tells where it listens. The port is the one that was taken.
---@return string host or the path
---@return integer? port nil if it is a path
function Relay:address() end

--- Tells the counters, also while clients go on after `close`; in a policy that
--- was replaced, what they were then. The table is yours.
---@return callosum.RelayStats
function Relay:stats() end

--- Stops listening, closes who waits, and gives the joined clients some time to
--- go on before they are reset. Again, it may only shorten that. Any other
--- method of a closed relay raises an error.
---@param ms? integer 0 to 4294967295; `drainTimeout` if nil
---@return callosum.Relay
function Relay:close(ms) end

--- A client that waits for a socket. Not a byte of it is read before it is
--- joined.
---@class callosum.Client
--- Whether it still waits: it is neither joined nor closed.
---@field waiting boolean
--- It was closed without a socket. `err` says why, and is nil if it went away
--- or was refused without a reason.
---@field on fun(self: callosum.Client, event: "close", fn: fun(err?: callosum.Error)): callosum.Client
local Client = {}

--- Removes a handler; one that is not registered is no error.
---@param event "close"
---@param fn function
---@return callosum.Client
function Client:off(event, fn) end

--- Joins the client with a socket, which leaves its rover and is closed, as by
--- `detach`; its connection goes on. It cannot be if the client waits no more
--- (ECANCELED), or the socket is closed or has ended (ENOTCONN), or has yet to
--- send something (EBUSY).
---@param socket callosum.Socket
---@return callosum.Client? self nil if it cannot be; the socket is as it was
---@return string? message
---@return string? code "ECANCELED" if the client waits no more, "ENOTCONN", ...
function Client:join(socket) end

--- Closes the client; harmless if it does not wait any more.
---@param reason? string for the `error` event, which there is none without
---@return callosum.Client
function Client:refuse(reason) end

--- Tells the address and port of the client.
---@return string? host nil if it cannot be told
---@return integer|string port or the message
---@return string? code "ECANCELED" if it waits no more, "ENOTSUP", ...
function Client:peername() end

return relay
