return {
  { module = "relay", class = "RelayModule", text = [[
Joins local programs that know nothing of Callosum with kept sockets. Handlers
are called as those of `callosum.rover` are.]],
    functions = {
      { "new(options: RelayOptions): Relay relay", [[
Makes a relay, which listens at once. A policy that is being loaded only
declares it: the relay listens once the whole script has run, and if it cannot,
loading fails.]], errors = {
          { "EADDRINUSE", "if the address is in use" },
          { "EACCES", "" }, { "ENOTSOCK", "if the path is not a socket's" },
          { "EADDRNOTAVAIL", "and other errors of listening" } } },
      { "client(): Client? client", [[
Returns the client for which the current `pick` runs, or nil elsewhere. It is
meant for functions that `pick` calls.]] },
    },
  },

  { record = "RelayOptions", text = "The options of a relay:",
    fields = {
      { "listen", "ListenTcp|ListenUnix|ListenPassed", "Where to listen" },
      { "pick", "Pick", "A function that picks a socket for a client" },
      { "name", "string", default = '"main"', range = "1 to 255 bytes", [[
The name of the relay in messages, and in a reload: the relay of the same name
in the new policy takes over its clients. No two relays of a policy may have the
same name]] },
      { "returnSocket?", "ReturnSocket", [[
A function that is called with a socket for which `pick` took so long that the
client has gone, or which cannot be joined now. Without it, such a socket is
closed]] },
      { map = "ROVER_RELAY_OPTIONS_MAP", of = "src/callosum/relay.h",
        notes = { idleTimeout = [[
It may take a sixteenth longer, at most 1 s. Bytes count when they are read, and
also as they leave this machine's kernel for a slow receiver. The latter is only
examined when the time is up, so while some are left it may take twice the time.
What waits in a buffer of the receiver's is not seen.]], acceptProxy = [[
A header can claim any address, so it is only accepted from those in `trusted`.
Those that are not, or whose header is missing, wrong or later than
`headerTimeout`, are reset, which is an `error` event of the relay and counts as
`rejected`. `pick` is not called before the header has arrived. If it has no
address, as for a proxy's health check, or a client of the proxy's Unix socket,
the client has that of whoever connected, and `pick` is called at its first
byte, or 20 ms after the header if it is still there, which checks are not.]],
        sendProxy = [[
It has what the client's own header had (in version 1 only the addresses), or
else the client's address and the one it connected to; for a client of a Unix
socket it says that there is none (`UNKNOWN`, `LOCAL`). Nothing is sent before a
client is joined, and nothing of the client's before the header.]] } },
      { "trusted?", "string[]", [[
The proxies whose headers are accepted: addresses and CIDRs such as
`10.0.0.0/8`; IPv4 that is mapped to IPv6 is IPv4. Whoever connects to a Unix
socket is trusted, since its permissions say who may. Elsewhere `acceptProxy`
needs some]] },
    },
  },

  { record = "ListenTcp", text = "A TCP address to listen on:",
    fields = {
      { "host", "string", default = '"127.0.0.1"', [[
An IPv4 or IPv6 address, or `localhost`, which is 127.0.0.1. The address `::`
accepts IPv4 as well]] },
      { "port", "integer", range = "0 to 65535",
        "The port; 0 is any free one" },
    },
  },

  { record = "ListenUnix", text = "A Unix socket to listen on:",
    fields = {
      { "path", "string", range = "1 to 107 bytes", [[
The path. A socket that nobody listens on is replaced, anything else that is
there is not. The socket is removed when the relay closes]] },
      { "mode", "string", default = '"0600"',
        "Its permissions, in octal, from the beginning" },
    },
  },

  { record = "ListenPassed", text = [[
A socket that is already listening and was passed to the host by whatever
started it, such as a systemd socket unit. The host neither opens nor removes
it, and connections made while the host is not running wait in its queue. A
`listen` with the address of such a socket refers to it, too. Passed sockets
that nothing uses once the policy is loaded are closed:]],
    fields = {
      { "fdName", "string", range = "1 to 255 bytes",
        "The `FileDescriptorName=` of the unit" },
    },
  },

  { alias = "Pick", type = "fun(client: Client): Socket?", text = [[
Picks a socket for a client. It is called once for each client, in a coroutine
of its own, so it may wait. If it waits in `p:awaitConnection()`, the coroutine
is closed when the client goes; a socket that it returns later, for a client
that has gone, is passed to `returnSocket`.

If it returns no socket the client waits. Whenever a rover has kept a socket,
`pick` is called again for the waiting clients, the oldest first, until it
returns none. If it raises an error, the client is closed. If the socket it
returns has ended, it is called again at once.]], manual = [[
The socket leaves its rover as by `socket:detach()`. What `pick` returns besides
nil, a message and a code as `p:getConnection()` does, becomes part of the error
of a client that waits in vain.]] },

  { alias = "ReturnSocket", type = "fun(socket: Socket)", text = [[
Takes back a socket that came too late.]] },

  { record = "RelayStats", text = [[
Counters since the relay was made, which a reload does not reset; `handshaking`,
`waiting` and `running` are of the present. `accepted` is the sum of `joined`,
`refused`, `expired`, `gone`, `rejected`, `handshaking` and `waiting`; `joined`
is that of `ended`, `reset`, `cut` and `running`.]],
    fields = {
      { map = "ROVER_RELAY_STATS_MAP", of = "src/callosum/relay.h" },
    },
  },

  { class = "Relay", var = "door", text = [[
A relay. It listens on an address of this machine and joins each client that
connects there with a kept socket: what either side sends is copied to the
other, until both have ended. The bytes do not pass through Lua.

A relay that listens or has clients is not collected as garbage, even if nothing
refers to it. A variable with the attribute `<close>` closes it at the end of
its block.]],
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Relay",
        "Registers a handler, as `r:on()` does." },
      { "once(event: string, fn: function, options?: HandlerOptions): Relay", [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Relay",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "offer(): Relay", [[
Has `pick` called in the next turn of the loop for the waiting clients, the
oldest first, until it returns no socket. Does nothing if `pick` calls it. Call
it when there are sockets again that no rover has just kept.]] },
      { "clients(): Client[]", [[
Returns a new array of the waiting clients, the one that has waited longest
first.]] },
      { "address(): string? host, integer? port", [[
Returns the address and port that the relay listens on, or its path;
nil for an `fdName` that it does not listen on yet.]] },
      { "stats(): RelayStats", [[
Returns a new table of counters, also while clients go on after `door:close()`.
In a policy that was replaced, they are those of that moment.]] },
      { "close(ms?: integer): Relay", [[
Stops listening, closes the waiting clients, and gives the joined ones `ms` (0
to 4294967295; if left out, `drainTimeout`) to go on before they are reset.
Calling it again can only shorten that. Any other method of a closed relay
raises an error.]] },
    },
    events = {
      { "error(err: Error)", [[
A client could not be joined: it waited too long (`ETIMEDOUT`), there were too
many (`ENOBUFS`), or it was refused for a reason (`ECANCELED`). Or its PROXY
header was not accepted: it is wrong or missing (`EPROTO`), late (`ETIMEDOUT`),
or whoever sends it is not trusted (`EACCES`). Or clients cannot be accepted,
for lack of descriptors or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`),
which is reported once and tried again every 100 ms; those for which there is no
descriptor within `waitTimeout` are closed, with an `EMFILE` for each. If
nothing listens, the host logs it, and luv prints it.]], manual = [[
A relay reserves a 32nd of the process's descriptors, at most 32, so that a pool
which uses all the others leaves some for the clients that it serves. It
reserves one if half of all are in use when it begins.]] },
    },
  },

  { class = "Client", var = "client", text = [[
A client that waits for a socket. Not a byte is read from it before it is
joined, but its disconnecting is noticed.]], manual = [[
A client that ends its side has gone, unless it has sent something and may be
waiting for a response.]],
    fields = {
      { "waiting", "boolean", [[
Whether it waits: it is neither joined nor closed]] },
      { "proxy?", "ClientProxy", [[
The contents of its PROXY header, while it waits; nil without `acceptProxy`]] },
    },
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Client",
        "Registers a handler, as `r:on()` does." },
      { "once(event: string, fn: function, options?: HandlerOptions): Client",
        [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Client",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "join(socket: Socket): Client", [[
Joins the client with a socket, which leaves its rover and is closed as by
`socket:detach()`; its connection goes on. If that fails, the socket is as it
was.]], errors = {
          { "ECANCELED", "if the client is no longer waiting" },
          { "ENOTCONN", "if the socket is closed or has ended" },
          { "EBUSY", "if the socket has queued writes" } } },
      { "refuse(reason?: string): Client", [[
Closes the client; does nothing if it does not wait. With a reason, there is an
`error` event of the relay.]] },
      { "peername(): string host, integer port",
        [[
Returns the address and port of the client: those in its PROXY header, if that
has any.]], errors = {
          { "ECANCELED", "if it is no longer waiting" },
          { "ENOTSUP", "if it has none, as on a Unix socket" } } },
    },
    events = {
      { "close(err?: Error)", [[
The client was closed without a socket. `err` says why, and is nil if it went
away or was refused without a reason.]] },
    },
  },

  { record = "ClientProxy", text = "The contents of a client's PROXY header:",
    fields = {
      { "version", "integer", "The version of the protocol, 1 or 2" },
      { "host?", "string", [[
The address that the client connected to, if the header has addresses]] },
      { "port?", "integer", "And the port" },
      { "uniqueId?", "string", "An id of the connection" },
      { "authority?", "string", "The host name that the client asked for" },
      { "tls?", "ClientTls", "There if the client uses TLS" },
    },
  },

  { record = "ClientTls", text = "What it says about the client's TLS:",
    fields = {
      { "version?", "string", 'Its version, such as `"TLSv1.3"`' },
      { "verified", "boolean", [[
Whether the client showed a certificate, and the proxy verified it]] },
      { "commonName?", "string", "The name in that, if it was verified" },
    },
  },
}
