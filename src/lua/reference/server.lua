return {
  { module = "server", class = "ServerModule", text = [[
A Callosum server on luv: it gives each connection the lowest free slot, sends
it as a line, `<slot>\r\n`, before anything else, and frees the slot once the
connection is closed.

    local server = require "callosum.server"
    local s = assert(server.new { port = 4040 })
    s:on("connection", function(conn, slot)
      conn:on("data", function(chunk) conn:write(chunk) end)
    end)
    require("luv").run()

In a policy that is reloaded, the server of the new policy takes over the
listening socket of the old one if its address is the same; the connections of
the old one are closed. An error in a handler ends that event: handlers
registered later are not called. It is then luv's to report.]],
    functions = {
      { "new(options?: ServerOptions): Server server",
        "Makes a server, which listens at once.", errors = {
          { "EINVAL", "if the host is not an address" },
          { "EADDRINUSE", "if the address is in use" }, { "EACCES", "" },
          { "EADDRNOTAVAIL", "and other errors of listening" } } },
    },
  },

  { record = "ServerOptions", text = "The options of a server, all optional:",
    fields = {
      { of = "lua/callosum/server.lua", map = "known" },
    },
  },

  { class = "SlotSource", var = "source", text = [[
What hands out slots: one of `callosum.slots`, or any object with these
methods.]],
    functions = {
      { "get(): integer", "Takes a free slot.",
        errors = { { "EAGAIN", "if there is none" } } },
      { "put(slot: integer): any", "Frees a slot." },
    },
  },

  { class = "Server", var = "s", text = "A server, which listens until closed.",
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions): Server",
        "Registers a handler, which is called after those registered before." },
      { "once(event: string, fn: function, options?: HandlerOptions)"
        .. ": Server", [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Server",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "address(): string host, integer port",
        "Returns the address and the port that the server listens on." },
      { "connections(): Connection[]",
        "Returns a new array of the open connections, by ascending slot." },
      { "close(fn?: fun()): Server", [[
Closes the server and all of its connections. `fn` is called once all are
closed; at once, if they are already.]] },
    },
    events = {
      { "connection(conn: Connection, slot: integer)", [[
A client was given this slot. An error in a handler closes the connection.]] },
      { "error(err: Error)", [[
A connection could not be accepted or got no slot; the server goes on. For want
of descriptors (`EMFILE`, `ENFILE`) clients wait until there are some, which is
reported once. If nothing listens, the error is raised in luv's callback.]] },
    },
  },

  { class = "Connection", var = "conn", text = "The connection of a client.",
    fields = {
      { "slot", "integer", "Its slot" },
      { "handle", "userdata", "The TCP handle of luv" },
      { "closed", "boolean", "Whether it is closed, or about to be" },
    },
    functions = {
      { "on(event: string, fn: function, options?: HandlerOptions)"
        .. ": Connection",
        "Registers a handler, which is called after those registered before." },
      { "once(event: string, fn: function, options?: HandlerOptions)"
        .. ": Connection", [[
Registers a handler that is removed when it is first called.]] },
      { "off(event: string, fn: function): Connection",
        [[
Removes a handler. Removing one that is not registered does nothing.]] },
      { "pause(): Connection", [[
Stops reading: what the client sends is buffered by the system, which then makes
the client wait. Until reading is resumed, the end of the client is only noticed
by a write that fails. Pausing again does nothing.]] },
      { "resume(): Connection",
        "Resumes reading after `conn:pause()`; otherwise does nothing." },
      { "write(data: string|string[], fn?: fun(err?: Error)): Connection", [[
Sends a string, or an array of strings. If the data is accepted, `fn` is called
once: when all of it has been handed to the kernel, or with an error, which also
closes the connection. Otherwise `fn` is not called.]],
        errors = { { "EPIPE", "if the connection is closed" } } },
      { "shutdown(fn?: fun(err?: Error)): Connection", [[
Ends this side once everything written has been sent. The connection closes when
the client has ended its side as well. `fn` is called as that of `conn:write()`
is.]], errors = { { "EPIPE", "if the connection is closed" } } },
      { "close(): Connection", [[
Closes the connection at once. Writes that are still queued are dropped, and
their callbacks called with `ECANCELED`. Closing it again does nothing.]] },
      { "peername(): string host, integer port",
        "Returns the address and port of the client.",
        errors = { { "EBADF", "if the connection is closed" } } },
      { "sockname(): string host, integer port",
        "Returns the address and port of this end.",
        errors = { { "EBADF", "if the connection is closed" } } },
    },
    events = {
      { "data(chunk: string)",
        [[
Bytes from the client. What comes while nothing listens is discarded.]] },
      { "end()", [[
The client has ended its side, or has reset the connection right after bytes,
which libuv reports as an end. Unless the server was made with `allowHalfOpen`,
the connection closes once everything written has been sent, including what
handlers of this event write.]] },
      { "close(err?: Error)", [[
The connection is closed and its slot is free. `err` says what broke the
connection, and is nil if nothing did. It is the last event, and comes exactly
once.]] },
    },
  },
}
