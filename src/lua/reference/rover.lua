return {
  { module = "rover", class = "RoverModule", text = [[
Keeps the TCP connections of a client balanced over a fleet of servers.

Handlers and callbacks are called from the loop, never from within a call of one
of these functions. An error that one of them raises is reported, by the host's
log or by luv, and ends only that call. A program other than the host should
handle SIGPIPE, which writing to a lost connection raises, and avoid
`uv.walk()`, which also finds handles of the library.]],
    fields = {
      { "_VERSION", "string", "The version of the library, such as `0.1.0`." },
    },
    functions = {
      { "new(options?: RoverOptions): Rover", [[
Makes a rover, which does nothing until `r:start()` or `r:connect()` is called.
In a policy, nothing happens before the whole script has run, and loading fails
if a file of `tls` is missing or broken.]], errors = {
          { "ECERT", "and errors of reading, if a file of `tls` is broken" } }
      },
    },
  },

  { record = "RoverOptions", text = "The options of a rover, all optional:",
    fields = {
      { "name", "string", default = '"main"', range = "1 to 255 bytes",
        [[
The name of the rover in messages, and in a reload: the rover of the same name
in the new policy takes over from it. No two rovers of a policy may have the
same name.]] },
      { "servers", "table<string, Address>", default = "{}",
        "The servers by id, a string of 1 to 255 bytes" },
      { "tls?", "RoverTls|boolean", [[
How connections are secured: each begins with a TLS handshake, and the slot line
and all that follows come inside. true is the same as `{}`. Without it, or with
false, they are in clear]], manual = [[
The server's certificate is always verified: it has to lead to one of the CAs,
be valid today, and have the server's `host` among its alternative names (DNS
names or IP addresses; its common name does not count). A server that speaks
other protocols (ALPN) but not `callosum` is refused; one that names none is
accepted. TLS is 1.2 or 1.3. The handshake is part of `connectTimeout`, and one
session of each server is resumed, also after a reload that trusts and shows the
same. A reload that trusts or shows something else, such as a renewed
certificate, cancels the attempts whose handshake has begun; connections stay.

While nobody reads a socket, at most one record is taken from the kernel, and
kept for whoever reads. A connection that ends without TLS saying so, which
others could have brought about, is `ECONNRESET`.]] },
      { map = "ROVER_OPTIONS_MAP", of = "src/callosum/rover.h",
        notes = { keepalive = [[
Thousands of connections within one machine that were made at once are probed at
once, too: Linux drops packets over `net.core.netdev_max_backlog`, by default
1,000 at a time, and with them probes and answers. If connections are given up
for that, raise it, or this]] } },
    },
  },

  { record = "RoverTls", text = [[
How a rover, or one server of it, is secured, all optional. Files are PEM, and
are read when the policy is loaded: a reload reads them anew, and fails if one
is broken. Equal ones are read once.]],
    fields = {
      { "ca?", "string", range = "1 to 4096 bytes", [[
A file of CAs, or a folder as of `openssl rehash`, by which servers are
verified; by default the system's]] },
      { "cert?", "string", range = "1 to 4096 bytes", [[
The file of the certificate that is shown to servers that ask for one, followed
by those that lead from it to a CA]] },
      { "key?", "string", range = "1 to 4096 bytes",
        "The file of its key, without a passphrase; by default, `cert`" },
      { "serverName?", "string", range = "1 to 255 bytes", [[
The name that is asked for, and that certificates have to have, instead of each
server's `host`]] },
    },
  },

  { record = "Address", text = "The address of a server:",
    fields = {
      { "host", "string", [[
An IPv4 or IPv6 address; a name of 1 to 255 bytes for the system's resolver; or
`localhost`, which is always ::1 and 127.0.0.1. A link-local address is followed
by its zone, the name or index of the interface: `fe80::42%eth0`.]],
        manual = [[
A name stands for one server. If it has several addresses, each attempt tries
them in an order of its own until one connects: address families take turns,
beginning with the one that the resolver puts first, and within a family the
order is random. The addresses therefore share the attempts, but they have one
id, one pause, and one place in whatever counts by server. To tell them apart,
add each as a server of its own.

A name is looked up for each attempt, but never twice at a time: all rovers of a
policy share the lookup in progress. A lookup occupies one of the threads that
libuv allows for that, half of its pool: 8 of 16 in callosum-rover(1). If that
many names have DNS servers that do not answer, all other lookups are delayed;
set `UV_THREADPOOL_SIZE` in the environment to start more threads. If the
threads cannot be started, the attempt ends in an `error` event; if a policy
makes luv use them first, libuv ends the process.]] },
      { "port", "integer", range = "1 to 65535", "The TCP port" },
      { "weight?", "integer", range = "0 to 4294967295", [[
What the server can bear in comparison with others, for the policy to read. The
rover does not use it: slots balance by themselves]] },
      { "tls?", "RoverTls|boolean", [[
How its connections are secured, instead of the rover's `tls`; with false, not
at all]] },
    },
  },

  { record = "RoverStats", text = [[
Counters since the rover was made, which a reload does not reset; `inFlight` and
`kept` are of the present. `attempts` is the sum of `connections`, `rejected`,
`unreachable`, `errors`, `cancelled` and `inFlight`; `connections` is that of
`kept` and `closed`.]],
    fields = {
      { map = "ROVER_STATS_MAP", of = "src/callosum/rover.h" },
      { "causes", "table<string, integer>",
        "How many attempts were `unreachable`, by the `code` of the error" },
    },
  },

  { record = "Rejection", text = [[
What a rover rejects for its handler of `connection`, and when it makes its next
attempt after that; all are optional. `callosum.pool` sets this.]],
    fields = {
      { "slotLimit", "integer", range = "1 to 2147483648", [[
As that of the rover, of which the lower one counts, but not for servers that
are exempt: see `r:exemptServer()`]] },
      { "interval", "integer", unit = "ms", range = "1 to 4294967295", [[
The time from the end of a rejected attempt to the next; if left out, rejecting
does not change when that is]] },
      { "patience", "integer", default = "0", range = "0 to 4294967295",
        "How many attempts are rejected before the interval grows" },
      { "growth", "number", default = "1", range = "1 to 256",
        "The factor by which it grows with each one rejected then" },
      { "maxInterval", "integer", unit = "ms", range = "1 to 4294967295",
        "Up to which it grows; without limit if left out" },
      { "jitter", "number", default = "0", range = "0 to 1",
        "How far these intervals are spread" },
    },
  },

  { record = "HandlerOptions", text = [[
The options of a handler, of anything that has `on` and `once`:]],
    fields = {
      { "observer", "boolean", default = "false", [[
Whether the handler only observes: it is called before all handlers that are not
observers, and does not count as one. An observer alone keeps no connection and
handles no error]] },
    },
  },

  { record = "Error", text = [[
An error that was not the caller's; `tostring` makes a line of it, in which the
code stands before the advice, if there is any.]],
    fields = {
      { "code", "string", [[
The name that libuv has for the error: `ECONNREFUSED`, `ETIMEDOUT`, `EOF`,
`EAI_NONAME`, and so on; or `ECERT`, if a certificate was refused]] },
      { "message", "string",
        "What happened; behind a semicolon, what to do about it" },
      { "id?", "string", "The id of the server, if there is one" },
    },
  },

  { class = "Rover", var = "r", text = [[
A rover. Every interval it connects to a random one of its servers, reads the
slot number that the server sends as its first line, and passes slot and socket
to the handlers of `connection`.

A rover that is started, has an attempt in flight or keeps a socket is not
collected as garbage, even if nothing refers to it. A variable with the
attribute `<close>` closes it at the end of its block.]],
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Rover", [[
Registers a handler, which is called after those registered before.]] },
      { "once(event: string, fn: function, options?: HandlerOptions): Rover", [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Rover", [[
Removes a handler; if it is registered more than once, the last registration.
Removing one that is not registered does nothing.]] },
      { "start(): Rover", [[
Makes an attempt at once and then one every interval; if the rover was started
already, restarts the interval. It is an error if there are no servers and
nothing listens to `error`, unless the policy is still being loaded.]] },
      { "stop(): Rover",
        "Stops attempting and cancels the attempts in flight. Sockets stay." },
      { "connect(id?: string): Rover", [[
Makes one attempt now, whether the rover is started or not: at the server with
that id, even if it is paused, or at a random one that is not. Returns false if
there is no server with that id; without an id, raises the same error as
`r:start()`.]], errors = {
          { "EAGAIN", "if `maxAttempts` are in flight, or without an id every "
            .. "server is paused" },
          { "ENOMEM", "if there is no memory for it" } } },
      { "connectIn(id?: string, ms?: integer): boolean", [[
Makes one attempt at the server with that id in `ms` (0 to 4294967295; 0 if left
out), paused or not, beside those of the interval. There is one at a time: it
takes the place of what was asked for before and is still to come, which
`r:stop()` cancels, and so does this without an id. Returns false, and changes
nothing, if the rover is not started or there is no server with that id.]] },
      { "addServer(id: string, server: Address): Rover", [[
Adds a server, or replaces the one with that id; if the address or `tls`
changes, the attempts in flight to the old one are cancelled.]], errors = {
          { "ECERT", "and errors of reading, if a file of `tls` is broken" } }
      },
      { "setServers(servers: table<string, Address>):"
        .. " integer added, integer dropped, integer changed", [[
Makes these, by id, all the servers that the rover has, and returns how many
were added, dropped, and changed in address or `tls`. A server whose address and
`tls` are the same as before is not affected: its pause and the attempts in
flight to it continue. If one of the servers is not valid, the error names it,
and nothing changes.]], errors = {
          { "ECERT", "and errors of reading, if a file of `tls` is broken" } },
        manual = [[
Setting the same servers again changes nothing, and takes about a second for a
million, so it may be called as often as their list is read. The tables are read
without metamethods.]] },
      { "dropServer(id: string): boolean", [[
Removes a server and cancels the attempts in flight to it; its sockets stay.
Returns whether there was one.]] },
      { "hasServer(id: string): boolean", [[
Returns whether there is a server with that id.]] },
      { "pauseServer(id: string, ms: integer): boolean", [[
Pauses a server for `ms` (0 to 4294967295): it is not picked, and attempts in
flight to it are cancelled; its sockets stay. 0 ends a pause, as do adding the
server again and a reload. While all servers are paused the interval's attempt
is skipped, and made when the first pause ends. Returns whether there is such a
server.]] },
      { "setRovingInterval(ms: integer): Rover", [[
Changes the interval, 1 to 4294967295 ms; the next attempt is so long after the
last.]] },
      { "rovingInterval(): integer ms", "Returns the interval." },
      { "roveIn(ms: integer): boolean", [[
Schedules the next attempt in `ms` (0 to 4294967295), sooner or later than the
interval would, once; the attempts after it follow at the interval. An attempt
that is already due is made first. Returns false, and does nothing, if the rover
is not started.]] },
      { "setSlotLimit(limit?: integer): Rover", [[
Changes the option `slotLimit` (1 to 2147483648; none if left out), for attempts
that are given a slot from now on. Rejecting a slot calls nothing in the policy,
so it costs less than a handler that closes the socket.]] },
      { "slotLimit(): integer? limit",
        "Returns it, or nil if there is none." },
      { "setMaxKept(count?: integer): Rover", [[
Changes the option `maxKept` (1 to 4294967295; no limit if left out), and closes
the sockets with the highest slots until no more are left.]], manual = [[
A policy that only keeps the best ten sockets, for a relay or for whoever calls
`r:sockets()`, needs no handlers, and takes no time:

    local r = require "callosum.rover".new { maxKept = 10 }
    r:addServer("a", { host = "localhost", port = 4040 })
    r:start()

A handler of `connection` is then called for those that are kept. The one with
the highest slot, whose place a new one takes, is closed after that.]] },
      { "maxKept(): integer? count",
        "Returns it, or nil if there is no limit." },
      { "setRejection(rejection?: Rejection): boolean", [[
Sets what the rover rejects for the one handler of `connection` that it has, in
place of what was set before; nothing if left out. Returns whether there is a
limit now: there is none, and this ends, once there are several handlers or
observers, since what one would reject another may want.]] },
      { "rejections(): integer count",
        "Returns how many attempts were rejected since `r:setRejection()`." },
      { "exemptServer(id: string, exempt: boolean): boolean", [[
Sets whether the limit of `r:setRejection()` does not concern a server, as its
next answer matters whatever the slot. That ends when its address changes.
Returns whether there is such a server.]] },
      { "dueIn(): integer? ms", [[
Returns in how many milliseconds the next attempt is due, or nil if the rover is
not started.]] },
      { "servers(): table<string, Address>",
        "Returns a new table of the servers by id." },
      { "sockets(): Socket[]", [[
Returns a new array of the kept sockets, by ascending slot, and by age where
slots are equal.]] },
      { "stats(): RoverStats", "Returns a new table of counters." },
      { "close(): Rover", [[
Closes the rover with all of its sockets, whose `close` events still come.
Closing it again does nothing; any other method of a closed rover raises an
error.]] },
    },
    events = {
      { "connection(slot: integer, socket: Socket, id: string,"
        .. " server: Address)", [[
A server has sent its slot line, with a slot below the rover's `slotLimit`. The
socket is kept unless a handler closes it or raises an error; without a handler
it is closed, unless the rover has `maxKept`. When a new policy takes over, this
is called for each kept socket, by ascending slot, with `socket.adopted` true;
what is beyond its `slotLimit` or `maxKept` is closed.]], manual = [[
A slot line is 1 to 10 digits, at most 2147483647, followed by CR and LF, in
however many pieces it arrives.]] },
      { "unreachable(id: string, server: Address, err: Error)", [[
A server gave no slot: its name could not be resolved, nothing connected, or did
its TLS handshake, in time, or it closed, reset or left silent (`ETIMEDOUT`) the
connection before a whole line had arrived. If nothing listens it is not logged,
only counted.]] },
      { "added(id: string, server: Address)", [[
While the rover was started, a server was added, or its address changed, by the
policy or by anything else. This comes in a later turn of the loop, and not for
a server that is gone by then.]] },
      { "error(err: Error)", [[
Something went wrong that another server would not mend. If nothing listens, the
host logs it, and luv prints it. The code is `EPROTO` if the server sent
something other than a slot line, which the message quotes, or speaks no TLS, or
none that suits both; `ECERT` if a certificate was refused, the server's or
ours, where the message says which and why; `EDESTADDRREQ` if
there are no servers; `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` or `ENOSPC` if
this machine is out of descriptors or memory, `EADDRNOTAVAIL` if it is out of
local ports, and `EAGAIN` if it is out of threads for resolving
names.]], manual = [[
For want of descriptors or memory there also is an `error` for a kept socket
that cannot be watched for its peer's closing.]] },
    },
  },

  { class = "Socket", var = "socket", text = [[
A connection to a server, with the slot that it was given. It belongs to the
rover until either side closes it. While nothing listens to `data`, not one byte
after the slot line is taken from the kernel, yet the peer's closing is noticed.
A variable with the attribute `<close>` closes the socket at the end of its
block.]], manual = [[
The peer's closing is not noticed while it is behind more unread bytes than the
kernel accepts.

The methods of a closed socket fail with `ENOTCONN`, unless said otherwise. An
error in a handler of its events does not close the socket.]],
    fields = {
      { "slot", "integer", [[
The slot number that the server gave to the connection: the lower it is, the
less loaded the server was]] },
      { "id", "string", "The id of the server" },
      { "server", "Address",
        "The address of the server, which may have been dropped since" },
      { "adopted", "boolean",
        "Whether the socket was taken over from an earlier policy" },
      { "closed", "boolean", [[
Whether the socket is closed, is about to be, or was passed on]] },
      { "lent", "boolean", [[
Whether the policy has lent it to somebody, which is shown in the host's status,
and keeps it from being ended while its server is drained by hand. A pool sets
it; it may be assigned to. It is false again after a reload]] },
      { "state", "table", [[
Data of the policy's that stays with the socket through reloads: see
[RELOADING]. It may be assigned to; no field but this and `lent` may]] },
    },
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Socket", [[
Registers a handler, as `r:on()` does. Reading begins with the first handler of
`data` that is no observer.]] },
      { "once(event: string, fn: function, options?: HandlerOptions): Socket",
        [[
Registers a handler that is removed when it is first called. If it was the last
one of `data`, reading stops before the call.]] },
      { "off(event: string, fn: function): Socket", [[
Removes a handler. When the last handler of `data` is removed, reading
stops.]] },
      { "off(): Socket", [[
Removes all handlers of all events, but no observers, and ends a pause.]] },
      { "pause(): Socket", [[
Pauses reading: what the peer sends stays in the kernel, which then makes the
peer wait. Handlers stay registered. On a socket that is paused, that is closed
or whose peer has ended its side, it does nothing.]], manual = [[
A paused socket is like one that nothing reads: when the peer ends its side,
`end` is raised and the socket closes, and what is still unread is lost, unless
a handler of `end` resumes reading or the rover was made with `allowHalfOpen`.
A pause does not outlive the policy: handlers that the next one registers are
called at once.

Whatever is copied to something slower is to be paused until that has caught up:

    from:on("data", function(chunk)
      to:write(chunk)
      if to:writeQueueSize() > 65536 then from:pause() end
    end)
    to:on("drain", function() from:resume() end)
    from:on("end", function() from:resume() end) -- the unread rest comes now
    from:on("close", function() to:shutdown() end)]] },
      { "resume(): Socket", [[
Resumes reading after `socket:pause()`, if there is a handler of `data` that is
no observer. On a socket that is not paused or is closed, it does nothing.]],
        errors = { { "ENOMEM", "" } } },
      { "write(data: string|string[], fn?: fun(err?: Error)): Socket", [[
Sends a string, or an array of up to 1048576 strings, in order. Whatever the
kernel does not accept at once is copied and queued. If the data is accepted,
`fn` is called once: when all of it has been handed to the kernel, or with an
error, which is `ECANCELED` if the socket was closed before. Otherwise `fn` is
not called.

Without `fn`, up to 2048 bytes that a handler writes may be sent together with
what the handlers of other sockets write that are ready: once these handlers
have run, or as many as a few ms allow, so one that takes long delays them. An
error of the connection then only closes the socket. Outside of a host,
`os.exit()` in a handler loses what has not been sent yet; `os.exit(true, true)`
sends it.]],
        errors = {
          { "ENOTCONN", "if the socket is closed" },
          { "EPIPE", "after `socket:shutdown()`" },
          { "ENOBUFS",
            "if the host's limit on queued bytes is reached" },
          { "ENOMEM", "" },
          { "ECONNRESET",
            "or any other error of the connection, which closes the socket" },
        } },
      { "shutdown(fn?: fun(err?: Error)): Socket", [[
Ends this side once everything written has been sent; the peer may still send.
`fn` is called as that of `socket:write()` is.]], errors = {
          { "ENOTCONN", "if the socket is closed or was shut down before" },
          { "ENOMEM", "" } } },
      { "close(): Socket", [[
Closes the socket at once, without sending what is queued. Closing it again does
nothing.]] },
      { "detach(): integer fd", [[
Gives the connection away: closes the socket but not the connection, and returns
a non-blocking descriptor of it, which is the caller's to close. No byte has
been taken from it that was not delivered, and its options are the system's own,
without keepalive and no-delay.]], errors = {
          { "ENOTSUP", "if there is TLS, whose keys stay here" },
          { "EBUSY",
            "while writes are queued or a shutdown is in progress" },
          { "ENOTCONN", "if the socket is closed" } } },
      { "pass(): Socket socket", [[
Passes the connection on: returns a new object for it. The old object is that of
a closed socket from then on. `state` and observers are passed on with
the connection, other handlers are removed, and writes go on and call back.]],
        errors = {
          { "ENOTCONN", "if the socket is closed" },
          { "EALREADY", "if it was passed on before" } } },
      { "peername(): string host, integer port",
        "Returns the address and port of the server.",
        errors = { { "ENOTCONN", "if the socket is closed" } } },
      { "sockname(): string host, integer port",
        "Returns the address and port of this end.",
        errors = { { "ENOTCONN", "if the socket is closed" } } },
      { "writeQueueSize(): integer bytes", [[
Returns how many bytes were accepted and not yet handed to the kernel; 0 if the
socket is closed.]] },
    },
    events = {
      { "data(chunk: string)", [[
Bytes from the peer, in order. Registering a handler may fail with
`ENOMEM`.]] },
      { "end()", [[
The peer has ended its side. Unless the rover was made with `allowHalfOpen`, the
socket then sends what was written, and closes. If there are unread bytes,
listening to `data` in this handler delivers them first.]] },
      { "drain()", [[
Everything written has been handed to the kernel, after a write that had to be
queued.]] },
      { "close(err?: Error)", [[
The socket is closed. `err` says what broke the connection, and is nil if
nothing did. It is the last event, and comes exactly once.]] },
    },
  },
}
