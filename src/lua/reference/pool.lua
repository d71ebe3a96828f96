return {
  { module = "pool", class = "PoolModule", text = [[
A pool of kept connections, for protocols of requests and responses: it keeps
the connections with the lowest slots, lends them out one at a time, and tells
the rover when to look for more.

    local pool = require "callosum.pool"
    local p = pool.new { maxSlots = 10 }:attach(rover)

    local socket = p:getConnection() -- an idle one, or nil
    if socket then
      socket:write "..."             -- and read the response
      p:returnConnection(socket)     -- or close it, if that went wrong
    end

Each operation takes O(log n) or less, except `p:stats()` and `p:close()`, which
visit each connection.]],
    functions = {
      { "new(options?: PoolOptions): Pool", "Makes a pool." },
    },
  },

  { record = "PoolOptions", text = "The options of a pool, all optional:",
    fields = {
      { of = "lua/callosum/pool/options.lua" },
    },
  },

  { record = "ReturnOptions", text = "How a connection is returned:",
    fields = {
      { of = "lua/callosum/pool.lua", map = "returning" },
    },
  },

  { record = "PoolStats", text = "Counters of a pool, since it was made:",
    fields = {
      { map = "ROVER__POOL_STATS_MAP", of = "src/lua/bind_books.h" },
      { of = "lua/callosum/pool/counters.lua" },
    },
  },

  { class = "Pool", var = "p", text = [[
A pool of kept connections.]], manual = [[
The pool marks its sockets in `socket.state.pool`: assign to fields of `state`,
not to `state` itself.]],
    functions = {
      { "attach(rover: Rover): Pool", [[
Makes the pool the policy of a rover, which can have one pool at a time, and no
`maxKept`: the pool is offered all new connections, including those adopted in a
reload, paces the rover's attempts (`fillInterval`, `maxInterval`) and pauses
unreachable servers (`backoff`). A server that was unreachable or has ended
connections is asked by name after 1, 4 and 13 s, and then every 60 s until it
answers; a new one is asked once. A pool that was full fills up again with the
better of each two connections. As long as no other handler of `connection` is
registered, the rover keeps, replaces and rejects connections for the pool by
itself, without calling the policy. Connections that the rover already keeps are
left alone; offer them by `p:newConnection()`. A connection that was lent out at
a reload is closed, since the state of its protocol is unknown. What a handler
registered earlier has closed is left alone; what a later one closes counts as
rejected.]] },
      { "detach(): Pool", [[
Ends that: the pool keeps what it holds, and the rover goes on at its own
interval. Does nothing if no rover is attached.]] },
      { "newConnection(slot: integer, socket: Socket): boolean kept", [[
Offers a connection, which the pool keeps or closes, and returns whether it was
kept. If the pool is full, the connection replaces the one with the highest slot
if its own is lower; the other is closed, or if it is lent out, is closed when
returned. This is all that the handler registered by `p:attach()` does.]] },
      { "getConnection(): Socket socket", [[
Lends out an idle connection. The borrower writes and reads as it likes, and
then returns the socket, or closes it if the state of its protocol is
unknown.]], errors = {
          { "EAGAIN", "if none is idle, except for requests in the queue" },
          { "ECANCELED", "if the pool is closed" } } },
      { "awaitConnection(ms?: integer): Socket socket", [[
Lends out a connection to a coroutine, which waits in the queue for up to `ms`
(0 to 2147483647; if left out, `waitTimeout`). In the `pick` of a relay it waits
no longer than its client does: when the client has gone or is refused or
joined, the coroutine is closed and leaves the queue.]], errors = {
          { "ETIMEDOUT", "if that time is over" },
          { "ENOBUFS", "at once if `maxWaiting` requests are queued" },
          { "ECANCELED",
            "if the pool is closed or the relay's client has gone" },
          { "ENOTSUP", "if luv is not available" } } },
      { "requestConnection(fn: fun(socket?: Socket, message?: string,"
        .. " code?: string), ms?: integer): fun(): boolean cancel", [[
Queues a request for a connection. `fn` is called once, from the loop: with a
socket, or with nil, a message and a code, which is `ETIMEDOUT`, or `ECANCELED`
if the pool is closed. If `fn` raises an error, the connection is closed.
Returns a function that cancels the request: it returns true if `fn` will not be
called, or false if it was called before. If the request cannot be queued, `fn`
is not called.]], errors = {
          { "ENOBUFS", "if `maxWaiting` requests are queued" },
          { "ECANCELED", "if the pool is closed" },
          { "ENOTSUP", "if luv is not available" } } },
      { "returnConnection(socket: Socket, options?: ReturnOptions):"
        .. " boolean kept", [[
Takes a socket back, and returns whether its connection is kept. To the borrower
the socket is closed from then on, as by `socket:pass()`: the connection is lent
out again by another object. The connection is closed if its place is taken, its
server has ended it, its borrower has shut it down, or the pool is closed. A
closed socket may be returned; returning one twice is an error.]] },
      { "stats(): PoolStats", "Returns a new table of counters." },
      { "close(): Pool", [[
Detaches the pool, closes idle connections, and ends queued requests with
`ECANCELED`. Connections that are lent out are closed when returned, and those
that are offered at once. The rover is neither stopped nor closed. Closing the
pool again does nothing.]] },
    },
  },
}
