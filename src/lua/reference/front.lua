return {
  { module = "front", class = "FrontModule", text = [[
Gives slots on behalf of a server that knows nothing of Callosum. Handlers are
called as those of `callosum.rover` are.]],
    functions = {
      { "new(options: FrontOptions): Front front", [[
Makes a front, which listens at once. A policy that is being loaded only
declares it: the front listens once the whole script has run, and if it
cannot, loading fails. So it does if a file of `tls` is missing or broken.]],
        errors = {
          { "ECERT", "and errors of reading, if a file of `tls` is broken" },
          { "EADDRINUSE", "if the address is in use" },
          { "EACCES", "" }, { "ENOTSOCK", "if the path is not a socket's" },
          { "EADDRNOTAVAIL", "and other errors of listening" } } },
    },
  },

  { record = "FrontOptions", text = "The options of a front:",
    fields = {
      { "listen", "ListenTcp|ListenUnix|ListenPassed", [[
Where to listen, as for a relay. On an address that other machines can reach,
`allow`, `public` or a `tls` that requires certificates must say who may
connect: to the backend all connections come from this machine, which it may
trust, as Redis' protected mode and PostgreSQL's `trust` do]] },
      { "backend", "BackendTcp|BackendUnix", "Where the backend listens" },
      { "name", "string", default = '"main"', range = "1 to 255 bytes", [[
The name of the front in messages, and in a reload: the front of the same name
in the new policy takes over its connections. No two fronts of a policy may
have the same name]] },
      { "allow?", "string[]", [[
Who may connect: addresses and CIDRs such as `10.0.0.0/8`; IPv4 that is mapped
to IPv6 is IPv4. Others are closed without a slot line, but not whoever
connects to a Unix socket, whose permissions say who may. Without it, everyone
may]] },
      { "trusted?", "string[]", [[
With `acceptProxy`, the relays and proxies that may connect, as in `allow`, and
whose headers are accepted. Whoever connects to a Unix socket is trusted]] },
      { "tls?", "FrontTls", [[
How connections are secured: each begins with a TLS handshake, and slot line,
PROXY header and all bytes come inside. Without it they are in clear]],
        manual = [[
Until its handshake is done a connection has no slot, but counts towards
`maxPerAddress`. With those in their handshake there may be a quarter more
connections than `maxClients`, at least 16 more; then each new one takes the
place of the oldest in its handshake. With `maxPerAddress`, a single address
cannot displace everyone else. Whoever completes a handshake while all
`maxClients` slots are taken is closed.
Once handshakes have taken 2 ms of a turn of the loop, the others wait for the
next, so that however many there are, other connections go on. One that fails is
an `error` event of the front, at most ten times a second, and counts as
`refused`; clients that disconnect before their handshake is done, as health
checks do, are only counted.
The peers of `allow` and `trusted` are those of TCP: a certificate makes nobody
trusted to send a PROXY header. In a reload, connections that are there go on as
they are, and handshakes that have begun are completed with the old
certificates, CAs and revocation lists.]] },
      { "connectOn", '"data"|"kept"|"slot"', default = '"data"', [[
When a connection is joined with the backend: at its first byte; `keptAfter`
ms after its slot line if it is still there, or at its first byte before that,
for protocols in which the server speaks first; or before its slot line]],
        manual = [[
With `data`, a probe, which is closed at once or kept for later, costs the
backend nothing. With `kept`, it costs a connection if the rover keeps it,
with `slot` in any case. A relay that sends a PROXY header when it joins a
client sends a first byte by that, so that `data` serves protocols in which
the server speaks first, too.]] },
      { map = "ROVER_FRONT_OPTIONS_MAP", of = "src/callosum/front.h",
        notes = { weight = [[
A connection that is given the index `i`, the lowest that is free, from 0, is
told the slot ceil((i + 1) / weight) - 1: with weight 2 slots are 0, 0, 1, 1,
2, with weight 1/2 1, 3, 5. So in a fleet whose clients keep the lowest slots,
one of weight 2 has about twice as many connections as one of weight 1.
With short-lived connections, weights have less effect.]], acceptProxy = [[
A header can claim any address, so only those in `trusted` may connect: others
are reset before they have a slot. A connection whose header is missing, wrong
or later than `headerTimeout` is reset. Each is an `error` event of the front,
and counts as `rejected`. Once the header has arrived the connection is joined,
so `connectOn` must be `data`. The header itself is not forwarded: see
`sendProxy`. If it has no address (`UNKNOWN`, `LOCAL`), as for clients of a
relay's Unix socket, the client is whoever connected.]],
        sendProxy = [[
It has what the connection's own header had (in version 1 only the addresses),
or else the address of whoever connected and the one it connected to; for a Unix
socket it says that there is none (`UNKNOWN`, `LOCAL`), as it does for checks of
a backend that is down. In version 2, it has the TLS version of a connection
that the front has secured itself, and whether its certificate was verified,
with its common name.]] } },
    },
  },

  { record = "FrontTls", text = [[
How a front secures its connections. All files are PEM, and are read when the
policy is loaded: a reload reads them anew, and fails if one is broken.]],
    fields = {
      { "cert", "string", range = "1 to 4096 bytes", [[
The file of the front's certificate, followed by those that lead from it to a
CA]] },
      { "key?", "string", range = "1 to 4096 bytes",
        "The file of its key, without a passphrase; by default, `cert`" },
      { "ca?", "string", range = "1 to 4096 bytes", [[
A file of CAs, or a folder as of `openssl rehash`, whose certificates clients
may have]] },
      { "verify", '"require"|"optional"|"none"',
        default = '"require" if there is a ca, otherwise "none"', [[
Whether a client has to show a certificate that is valid; whether one that it
shows has to be; or whether none is asked for]] },
      { "names?", "string[]", [[
Of which a client has to have one among its certificate's alternative names: a
DNS name, where `*.fleet.example` stands for one label, an IP address, or a URI
such as a SPIFFE ID, where `*` at the end stands for any path. Without it, any
certificate of the CAs is accepted]] },
      { "crl?", "string", range = "1 to 4096 bytes",
        "A file of revocation lists of the CAs" },
      { "minVersion", '"1.2"|"1.3"', default = '"1.2"',
        "The lowest version of TLS that is spoken" },
      { "sessions", "integer", default = "20000", range = "0 to 4294967295", [[
How many sessions are kept in memory for clients to resume; 0: none]] },
      { "handshakeTimeout", "integer", default = "5000",
        range = "0 to 4294967295 ms", [[
How long a handshake may take, from when the connection was accepted. 0 means no
deadline]] },
    },
  },

  { record = "BackendTcp", text = "A TCP address to connect to:",
    fields = {
      { "host", "string", default = '"127.0.0.1"',
        "An IPv4 or IPv6 address, or `localhost`, which is 127.0.0.1" },
      { "port", "integer", range = "1 to 65535", "The port" },
    },
  },

  { record = "BackendUnix", text = "A Unix socket to connect to:",
    fields = {
      { "path", "string", range = "1 to 107 bytes", "The path" },
    },
  },

  { record = "FrontStats", text = [[
Counters since the front was made, which a reload does not reset; `securing`,
`open`, `unused`, `running`, `ending` and `held` are current. `accepted` is the
sum of `refused`, `failed`, `closed`, `open` and `securing`; `joined` is that of
`ended`, `reset`, `cut`, `drained` and `running`.]],
    fields = {
      { map = "ROVER_FRONT_STATS_MAP", of = "src/callosum/front.h" },
    },
  },

  { class = "Front", var = "f", text = [[
A front. It listens, gives each connection the lowest free slot, and joins it
with a backend on this machine: what either side sends is copied to the other,
until both have ended. The bytes do not pass through Lua.

While the backend is down, new connections are closed without a slot line, so
that rovers see the server as unreachable, and connections that have sent
nothing yet are ended. It counts as down when connecting to it fails: at once if
the connection is refused or the path does not exist, otherwise after three
failures in a row. From then on it is checked every `healthInterval`.

A front that listens or has connections is not collected as garbage, even if
nothing refers to it. A variable with the attribute `<close>` closes it at the
end of its block.]], manual = [[
To end a connection in order, a front stops reading from it, makes sure that
nothing is unread, and sends a FIN. What the client sends after that does not
reach the backend: it resets the connection, so that the client knows to repeat
it. A request and the FIN may cross on their way: behind a relay, the client
then sees an end, or a reset, and no answer.]],
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Front",
        "Registers a handler, as `r:on()` does." },
      { "once(event: string, fn: function, options?: HandlerOptions): Front", [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Front",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "setWeight(weight: number): Front", [[
Changes the weight, for slots given from now on. If it is lowered, the surplus
is ended over `drainTimeout`: of the connections that are open now, new / old
stay, rounded up. Connections that have sent nothing are ended first; those
that come later are not affected.]] },
      { "drain(ms?: integer): Front", [[
Gives no more slots, and ends all connections, spread evenly over `ms` (0 to
4294967295; if left out, `drainTimeout`): first those that have sent nothing,
then those that have been quiet for `quietTime` after the backend has sent
something. At the end the rest is reset. The front goes on listening, and closes
new connections.]] },
      { "resume(): Front",
        "Stops a drain: new connections are given slots again." },
      { "setDown(reason?: string): Front", [[
Makes the backend count as down, whatever checks find, until it is called again
without a reason. The reason becomes the message of the error that `backend`
handlers receive.]] },
      { "address(): string? host, integer? port", [[
Returns the address and port that the front listens on, or its path;
nil for an `fdName` that it does not listen on yet.]] },
      { "stats(): FrontStats", [[
Returns a new table of counters, also while connections last after `f:close()`.
In a policy that was replaced, they are those of that moment.]] },
      { "close(ms?: integer): Front", [[
Stops listening, and ends all connections as `f:drain()` does; 0 resets them
at once. Calling it again can only shorten the time. Any other method of a
closed front raises an error.]] },
    },
    events = {
      { "backend(up: boolean, err?: Error)", [[
The backend has gone down, and `err` says why (`ECANCELED` for `f:setDown()`),
or has come up again.]] },
      { "error(err: Error)", [[
A client was reset because of its PROXY header: it is wrong or missing
(`EPROTO`), late (`ETIMEDOUT`), or whoever sends it is not trusted (`EACCES`).
Or one was refused, since a certificate was (`ECERT`: its own, or the front's by
it), it speaks no TLS or none that both know (`EPROTO`), or its handshake took
too long (`ETIMEDOUT`). The message has the address of whoever connected. Or
this machine has run out of descriptors, memory or local ports (`EMFILE`,
`ENFILE`, `ENOBUFS`, `ENOMEM`, `EADDRNOTAVAIL`), so that the front cannot accept
connections or connect to the backend, which does not count as down for that. It
is reported once, until that succeeds again. If nothing listens, the host logs
an error, and luv prints
it.]] },
    },
  },
}
