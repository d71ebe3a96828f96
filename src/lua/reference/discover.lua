return {
  { module = "discover", class = "DiscoverModule", text = [[
Finds the servers of rovers. Handlers are called as those of `callosum.rover`
are.]],
    functions = {
      { "file(options: FileOptions): Source source", [[
Makes a source that reads a file, and reads it again when it, or what its path
leads through, has changed; by default, it also looks every 30 s. Nothing is
read before the source is attached to a rover.]] },
    },
  },

  { record = "SourceOptions", text = "The options of all sources:",
    fields = {
      { "name", "string", default = '"main"', range = "1 to 255 bytes", [[
The name of the source in messages, and in a reload: the source of the same name
in the new policy goes on with what it has learned. No two sources of a policy
may have the same name]] },
      { map = "ROVER_SOURCE_OPTIONS_MAP", of = "src/callosum/discover.h" },
      { "port?", "integer", range = "1 to 65535",
        "The port of servers that are listed without one" },
      { "family", '"auto"|"ipv4"|"ipv6"', default = '"auto"',
        "The family of the addresses that names are looked up for" },
      { "cache?", "string", range = "1 to 4096 bytes", [[
The path of a file in which the servers are kept: at its next start the source
begins with these, even if there is no network. The first answer after that is
believed without `maxDrop`]] },
    },
  },

  { record = "FileOptions", parent = "SourceOptions",
    text = "The options of a file, beside those of all sources:",
    fields = {
      { "path", "string", range = "1 to 4096 bytes", "The path of the file" },
    },
  },

  { record = "SourceStats", text = [[
Counters since the source was made, which a reload does not reset; those from
`servers` on are current.]],
    fields = {
      { map = "ROVER_SOURCE_STATS_MAP", of = "src/callosum/discover.h" },
    },
  },

  { class = "Source", var = "d", text = [[
A source of servers. It looks its list up again and again, and adds servers to
its rovers and drops them accordingly. A server's id is its address and port,
`10.0.0.7:4040` or `[::1]:4040`. A server is there as long as a source lists it,
or the policy has added it. `r:dropServer()` drops it all the same; it comes
back when the source lists it anew.

A source whose look-up fails changes nothing: the servers stay, however long
that lasts, and it tries again after 1 s, then 2 s and so on up to 60 s. The
same is true of an empty list, which is looked up at the usual interval, unless
`allowEmpty` is set; and if more than `maxDrop` of the servers are gone, that
must be so in `confirm` answers in succession. A server that is gone is dropped
after `removalDelay`, and not at all if it is back before; its sockets stay.
Servers that are listed as before are not touched.]],
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Source",
        "Registers a handler, as `r:on()` does." },
      { "once(event: string, fn: function, options?: HandlerOptions): Source",
        "Registers a handler that is removed when it is first called." },
      { "off(event: string, fn: function): Source",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "attach(rover: Rover): Source", [[
Gives the rover all servers that are found, until source or rover are closed. It
may be called for several rovers. The first call starts the source; in a policy
that is being loaded, that is once the whole script has run.]] },
      { "stats(): SourceStats", [[
Returns a new table of counters. In a policy that was replaced, they are those
of that moment.]] },
      { "close(): Source", [[
Stops looking, and takes the servers from its rovers. Any other method of a
closed source raises an error.]] },
    },
    events = {
      { "update(added: string[], dropped: string[])", [[
Servers were added and dropped; these are their ids, at most 1,000 in a call.]]
      },
      { "error(err: Error)", [[
A look-up failed, or its answer was not believed: the message says why, and what
becomes of the servers. `ENOENT` is an empty list, or a file that is not there,
`EPROTO` one that cannot be read, `ETIMEDOUT` a look-up that took longer than
`timeout`, and `EAGAIN` an answer that is not believed yet. If nothing listens,
the host logs an error, and luv prints it.]] },
    },
  },
}
