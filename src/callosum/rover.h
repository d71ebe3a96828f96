/* callosum/rover.h - the Callosum rover: self-balancing TCP connections.
 *
 * A rover connects to a random one of its servers every interval, reads the
 * slot number that the server sends as its first line (`13\r\n`: the lowest
 * slot that was free there, so a measure of that server's load), and hands
 * slot and socket to a callback. A socket that the callback does not close is
 * kept: the rover owns it and watches it until either side closes it.
 *
 * The rules that hold everywhere:
 *
 * Units      Times are milliseconds unless a name says seconds; sizes, bytes.
 * Strings    NUL-terminated, borrowed for the call and copied if kept.
 * Errors     Negative libuv codes (`UV_E*`), to be printed with uv_strerror().
 *            A call that fails has changed nothing and calls nothing back.
 *            UV_EINVAL is what each returns that is given NULL for a string, a
 *            buffer or the place of a result (but no server has the id NULL).
 *            Handles it takes at their word.
 * Threads    A rover belongs to the thread that runs its loop; so do its
 *            sockets. The library has no globals.
 * Callbacks  Run from the loop, never from within a call of this library. Any
 *            function here may be called from any callback; closing the rover
 *            or the socket that the callback is about is safe everywhere.
 * Structs    Start from `= {0}` (in C++, `{}`) and set what you need: zero or
 *            NULL means the default in every field. Structs that you allocate
 *            end in room for what later versions add, so that programs need not
 *            be compiled again. Leave it zero: a bit that is set there asks for
 *            what this version does not have, and the call returns UV_EINVAL.
 * Deadlines  If the program holds the loop up, they count once it has polled
 *            again: what came meanwhile is in time.
 * Memory     Where there is none, a call returns UV_ENOMEM and an attempt ends
 *            with it. Closing needs none. libuv ends the process if its loop's
 *            table of descriptors cannot grow.
 * Signals    Writing to a connection that the peer has reset raises SIGPIPE
 *            unless the program ignores it. Ignore it: a library must not.
 */
#ifndef CALLOSUM_ROVER_H
#define CALLOSUM_ROVER_H

#include <stddef.h>
#include <stdint.h>

/* Of POSIX it wants more than bare -std=c11 gives: define
 * _POSIX_C_SOURCE=200809L there, or use -std=gnu11. */
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define ROVER_EXTERN __attribute__((visibility("default")))
#else
#define ROVER_EXTERN
#endif

#define ROVER_VERSION_MAJOR 0
#define ROVER_VERSION_MINOR 1
#define ROVER_VERSION_PATCH 0
#define ROVER_VERSION_HEX                                                      \
  ((ROVER_VERSION_MAJOR << 16) | (ROVER_VERSION_MINOR << 8) |                  \
   ROVER_VERSION_PATCH)

#define ROVER_VERSION_STRING_(x) #x
#define ROVER_VERSION_TEXT_(x) ROVER_VERSION_STRING_(x)
#define ROVER_VERSION_STRING                                                   \
  ROVER_VERSION_TEXT_(ROVER_VERSION_MAJOR)                                     \
  "." ROVER_VERSION_TEXT_(ROVER_VERSION_MINOR) "." ROVER_VERSION_TEXT_(        \
      ROVER_VERSION_PATCH)

/* The version of the library that is linked, "0.1.0"; compare with the macros,
 * which tell the version of this header. */
ROVER_EXTERN const char *rover_version_string(void);

/* Limits that the calls below check. */
#define ROVER_ID_MAX 255        /* bytes of a server's id, at least 1 */
#define ROVER_HOST_MAX 255      /* bytes of a host, at least 1 */
#define ROVER_SLOT_MAX 2147483647 /* the highest slot number accepted */
#define ROVER_MS_MAX (UINT64_C(1) << 53) /* the longest interval or timeout */
#define ROVER_NEVER UINT64_MAX  /* as a timeout: there is no deadline */

typedef struct rover_s rover_t;
typedef struct rover_server_s rover_server_t;
typedef struct rover_socket_s rover_socket_t;
typedef struct rover_turn_s rover_turn_t;

/* -- Turns ---------------------------------------------------------------- */

/* However much is ready at once, and however long callbacks take, the loop comes
 * round: once those of one turn of it have taken 10 ms, the rest waits for the
 * next, and comes there before anything newer. So a turn takes that and the
 * longest callback. Deadlines do not count what has waited against a server. A
 * rover does so by itself; rovers that share a turn are one in this.
 *
 * They also look names up as one, which is more than the word "turn" says: they
 * share the look-ups under way, and once one has begun, none of them tries any
 * more whether threads can be had; see rover_server_add(). So the rovers of one
 * loop had best share a turn. */

typedef void (*rover_turn_close_cb)(void *data);

/* Makes a turn for rovers on `loop`. Ownership: free it with rover_turn_close(),
 * which needs the loop to run. Errors: UV_EINVAL, UV_ENOMEM. */
ROVER_EXTERN int rover_turn_new(rover_turn_t **turn, uv_loop_t *loop);

/* To be called once all rovers that share it have closed. `cb` may be NULL; the
 * turn's memory is freed right after it returns. */
ROVER_EXTERN void rover_turn_close(rover_turn_t *turn, rover_turn_close_cb cb,
                                   void *data);

/* -- Callbacks of a rover ------------------------------------------------- */

/* Each attempt ends in exactly one of the three callbacks below, or in silence
 * if its server was dropped or its rover stopped or closed meanwhile. */

/* A server sent a valid slot line. The socket is already among the rover's
 * sockets; call rover_socket_close() on it to refuse it. No byte after the
 * line's LF has been read: the rest of the stream is the socket's. Without this
 * callback every socket is closed. */
typedef void (*rover_connection_cb)(rover_t *rover, int slot,
                                    rover_socket_t *socket);

/* A server gave no slot line. `status` says why: UV_EAI_* (its name could not
 * be resolved), UV_ECONNREFUSED (or the kernel has connected the attempt to
 * itself, since nobody else has the port), UV_EHOSTUNREACH, UV_ECONNRESET, ...,
 * UV_EOF (it closed before a whole line), UV_ETIMEDOUT (connect or slot
 * deadline); rover_unreachable_message() tells it in words, and how far the
 * server was reached. `server` lives for the callback; see
 * rover_server_ref(). */
typedef void (*rover_unreachable_cb)(rover_t *rover,
                                     const rover_server_t *server, int status);

/* Something is wrong that trying another server will not mend.
 *   UV_EPROTO         the server sent something else than a slot line; the
 *                     message quotes its first bytes
 *   UV_EDESTADDRREQ   "No servers to contact" (`server` is NULL)
 *   UV_EMFILE, UV_ENFILE, UV_ENOMEM, UV_ENOBUFS, UV_ENOSPC   this machine is
 *                     out of descriptors or memory, or (the last) watches more
 *                     than /proc/sys/fs/epoll/max_user_watches allows; it is
 *                     not the server's fault
 *   UV_EADDRNOTAVAIL  the same of local ports to connect to that address from
 *   UV_EAGAIN         the same of threads to look names up in
 * `server` (or NULL) and `message` live for the callback. UV_ENOMEM and
 * UV_ENOSPC also come for a kept socket that nobody reads any more, if it cannot
 * be watched for the peer's closing. It is tried again with the next attempt.
 * That is no attempt's outcome, and not counted. */
typedef void (*rover_error_cb)(rover_t *rover, const rover_server_t *server,
                               int status, const char *message);

/* Within an unreachable callback: why, as "no connection within 5000 ms", or
 * "connected, but sent no slot line in 1000 ms; is it a Callosum server?". What
 * to do about it, if anything, comes behind a semicolon, as it does in the
 * messages of the error callback. Elsewhere NULL. */
ROVER_EXTERN const char *rover_unreachable_message(const rover_t *rover);

/* Any of them may be NULL. */
typedef struct rover_events_s {
  rover_connection_cb connection;
  rover_unreachable_cb unreachable;
  rover_error_cb error;
  void (*reserved[5])(void);
} rover_events_t;

/* The rover and all of its sockets are closed; its memory is freed right after
 * this returns. */
typedef void (*rover_close_cb)(rover_t *rover);

/* -- A rover -------------------------------------------------------------- */

/* Options and counters stand in tables, and the structs are made from these.
 * Each option is
 *
 *   XX(TYPE, NAME, KIND, LEAST, MOST, DEFAULT, "nameInLua",
 *      "What it is.")
 *
 * where adjacent strings are one, and KIND is
 *
 *   MS        milliseconds
 *   TIMEOUT   milliseconds; ROVER_NEVER, in Lua 0: no deadline
 *   SECONDS   negative, in Lua 0: off
 *   COUNT     how many
 *   FRACTION
 *   SEED      any number
 *   FLAG      zero: no; anything else: yes
 *
 * Zero means the default. New ones come last, and take eight bytes of the
 * struct's room. */
#define ROVER_OPTIONS_MAP(XX)                                                  \
  XX(uint64_t, roving_interval, MS, 1, ROVER_MS_MAX, 1000, "rovingInterval",   \
     "The time from one attempt to the next.")                                 \
  XX(uint64_t, connect_timeout, TIMEOUT, 1, ROVER_MS_MAX, 5000,                \
     "connectTimeout",                                                         \
     "How long resolving a name and connecting may take together.")            \
  XX(uint64_t, slot_timeout, TIMEOUT, 1, ROVER_MS_MAX, 5000, "slotTimeout",    \
     "How long a server may take, once connected, to send its slot line.")     \
  XX(unsigned, max_attempts, COUNT, 1, UINT32_MAX, 16, "maxAttempts",          \
     "How many attempts may be in flight at once; one more is skipped.")       \
  XX(double, jitter, FRACTION, 0, 1, 0, "jitter",                              \
     "How far intervals are spread: each is drawn uniformly from "             \
     "roving_interval times 1 - jitter to 1 + jitter.")                        \
  XX(uint64_t, seed, SEED, 0, UINT64_MAX, 0, "seed",                           \
     "Makes the random choice of servers reproducible.")                       \
  XX(int, keepalive, SECONDS, 1, 32767, 15, "keepalive",                       \
     "How long a kept socket may be silent before its peer is probed. A peer " \
     "that answers nothing for 10 more seconds is given up, also while there " \
     "are bytes to be sent to it; one that answers but reads nothing is "      \
     "waited for.")                                                 \
  XX(int, allow_half_open, FLAG, 0, 1, 0, "allowHalfOpen",                     \
     "Whether a socket stays open when its peer has ended its side.")

typedef struct rover_options_s {
  rover_events_t events;
  void *data;         /* yours; see rover_data() */
  size_t *memory;     /* NULL, or what the rover adds the bytes to that it
                         allocates (itself, servers, attempts, what its sockets
                         have yet to send), and takes them from as it frees
                         them. Several rovers may share it. Must live until the
                         close callback has come. */
  rover_turn_t *turn; /* shared with other rovers of the loop; must live until
                         the close callback has come. NULL: one of its own */
#define XX(type, name, kind, least, most, initial, lua, text) type name;
  ROVER_OPTIONS_MAP(XX)
#undef XX
  uint64_t reserved[8];
} rover_options_t;

/* Makes a rover on `loop`; it does nothing until it is started. `options` is
 * copied; NULL means defaults.
 * Ownership: free it with rover_close(), which needs the loop to run.
 * Errors: UV_EINVAL (a field out of its range; `rover` or `loop` is NULL),
 * UV_EMFILE and UV_ENFILE (it takes a descriptor), UV_ENOMEM, and what
 * uv_random() fails with. */
ROVER_EXTERN int rover_new(rover_t **rover, uv_loop_t *loop,
                           const rover_options_t *options);

/* Attempts at once (in the next turn of the loop) and then every interval.
 * On a rover that is started, restarts the clock. Errors: UV_EINVAL when it is
 * closing. */
ROVER_EXTERN int rover_start(rover_t *rover);

/* Stops the clock and cancels the attempts in flight. Kept sockets stay. */
ROVER_EXTERN void rover_stop(rover_t *rover);

/* Makes one attempt now, started or not. Errors: UV_EAGAIN when max_attempts
 * are in flight or every server is paused (counted as skipped), UV_ENOMEM,
 * UV_EINVAL when closing. */
ROVER_EXTERN int rover_connect(rover_t *rover);

/* Stops, closes every socket, and calls back when all is gone. `cb` may be
 * NULL. A look-up that the system's resolver is working on cannot be broken
 * off; closing waits for each that this rover has begun, whoever else waits for
 * its answer. Errors: UV_EALREADY when it is closing already (harmless; `cb` is
 * then not called). */
ROVER_EXTERN int rover_close(rover_t *rover, rover_close_cb cb);

/* Changes the interval; a running clock keeps its last tick. Errors: UV_EINVAL
 * (0, above ROVER_MS_MAX, or the rover is closing). */
ROVER_EXTERN int rover_set_roving_interval(rover_t *rover, uint64_t ms);

/* Has the next attempt of a running clock come in `ms`, sooner or later than
 * the interval says, once: those after it follow at the interval. One that is
 * due already is made first. Returns 1, or 0 if the clock does not run.
 * Errors: UV_EINVAL (above ROVER_MS_MAX, or the rover is closing). */
ROVER_EXTERN int rover_rove_in(rover_t *rover, uint64_t ms);

/* Tells in how many ms the next attempt of a running clock is due. Returns 1,
 * or 0 if the clock does not run. */
ROVER_EXTERN int rover_due_in(const rover_t *rover, uint64_t *ms);

/* Replaces callbacks and user pointer; `events` is copied, NULL means none.
 * Errors: UV_EINVAL (a bit is set in its room). */
ROVER_EXTERN int rover_set_events(rover_t *rover, const rover_events_t *events,
                                  void *data);

/* The options with defaults filled in. They live as long as the rover. */
ROVER_EXTERN const rover_options_t *rover_options(const rover_t *rover);

ROVER_EXTERN void *rover_data(const rover_t *rover);
ROVER_EXTERN uv_loop_t *rover_loop(const rover_t *rover);
ROVER_EXTERN uint64_t rover_roving_interval(const rover_t *rover);
ROVER_EXTERN int rover_is_started(const rover_t *rover);

/* -- Servers -------------------------------------------------------------- */

/* Adds a server, or replaces the one of that id (which cancels the attempts in
 * flight to it if its address changes). `host` is an IP literal (a link-local one
 * has its zone behind a %, the interface's name or index; others have none), a
 * name for the system's resolver, or "localhost", which is always ::1 and
 * 127.0.0.1 (RFC 6761, 6.3). O(1). Errors: UV_EINVAL (id or host empty or too
 * long, port not 1 to 65535, rover closing), UV_ENOMEM.
 *
 * Names are looked up anew for each attempt, but never twice at a time: the
 * attempts of all rovers that share a turn share the look-up under way, which
 * may be one that others have waited for in vain. A name stands for one server:
 * where it has several addresses, each attempt tries them in an order of its
 * own, families in turn (the one that the resolver has put first begins), and
 * by chance within each, until one connects. So they share the attempts evenly,
 * but have one id and one pause; servers that are to be told apart are added one
 * by one.
 *
 * A look-up takes one of half of the threads of libuv's pool, 2 of 4; so many
 * names whose DNS server is silent hold up all others while the resolver waits
 * for them (resolv.conf(5): 10 s and more). UV_THREADPOOL_SIZE in the
 * environment, before the pool is first used, gives it more. libuv ends the
 * process if it cannot make all of them: therefore the first look-up of those
 * that share a turn, if that many cannot be made, is UV_EAGAIN; where that can
 * be, use the pool for nothing else before. */
ROVER_EXTERN int rover_server_add(rover_t *rover, const char *id,
                                  const char *host, int port);

/* Removes a server and cancels the attempts in flight to it; kept sockets
 * stay. O(1). Returns 1, or 0 if there is no such server. */
ROVER_EXTERN int rover_server_drop(rover_t *rover, const char *id);

/* A server to be set. */
typedef struct rover_server_entry_s {
  const char *id, *host;
  int port;
  uint64_t reserved[4]; /* for later versions: 0 */
} rover_server_entry_t;

/* What rover_server_set() did. */
typedef struct rover_server_changes_s {
  size_t added, dropped;
  size_t changed; /* address */
  size_t wrong; /* if it failed: the index of the entry that was at fault, or
                   `count` if none was; nothing else is written then */
  uint64_t reserved[4]; /* for later versions: set to 0 */
} rover_server_changes_t;

/* Makes the `count` entries the whole list of servers. One that
 * is listed already with that host and port is not touched: its pause and the
 * attempts in flight to it go on. One whose address differs is replaced as by
 * rover_server_add(), one that is not listed any more is dropped as by
 * rover_server_drop(), the others are added. All of this happens or none of it,
 * and the order of the entries has no effect on the picks of a seeded rover.
 * `changes` may be NULL, and so may `servers` if `count` is 0. O(n), in the
 * servers before and after. Errors: UV_EINVAL (as for rover_server_add(); an id
 * comes twice; `reserved` is not 0), UV_ENOMEM. */
ROVER_EXTERN int rover_server_set(rover_t *rover,
                                  const rover_server_entry_t servers[],
                                  size_t count,
                                  rover_server_changes_t *changes);

/* Lets a server be for `ms`: picks pass it over, the attempts in flight to it
 * are cancelled, kept sockets stay. 0 ends a pause, and so does adding the
 * server again. O(1): a pick that meets a paused server draws again, up to 64
 * times, so if nearly all are paused it may find none, and the attempt is
 * skipped; if the clock made it, the next comes when the first of those it met
 * is awake, or after the interval if that is sooner. Returns 1, or 0 if there is
 * no such server. Errors: UV_EINVAL (above ROVER_MS_MAX, or the rover is
 * closing). */
ROVER_EXTERN int rover_server_pause(rover_t *rover, const char *id,
                                    uint64_t ms);

/* The servers, in an order that any add or drop may change: `index` runs from
 * 0 to count - 1, and beyond it there is NULL. A server lives until it is
 * dropped or replaced and nobody holds it. */
ROVER_EXTERN size_t rover_server_count(const rover_t *rover);
ROVER_EXTERN const rover_server_t *rover_server_at(const rover_t *rover,
                                                   size_t index);
/* The server of that id, or NULL. */
ROVER_EXTERN const rover_server_t *rover_server_get(const rover_t *rover,
                                                    const char *id);

ROVER_EXTERN const char *rover_server_id(const rover_server_t *server);
ROVER_EXTERN const char *rover_server_host(const rover_server_t *server);
ROVER_EXTERN int rover_server_port(const rover_server_t *server);

/* Hold a server beyond the callback or the socket that named it; each ref
 * wants one unref. Neither fails, and both may outlive the rover. */
ROVER_EXTERN const rover_server_t *rover_server_ref(const rover_server_t *s);
ROVER_EXTERN void rover_server_unref(const rover_server_t *server);

/* -- Kept sockets --------------------------------------------------------- */

/* While nobody reads a socket, not one byte is taken from it, yet the peer's
 * closing is noticed at once (unless more waits unread than the kernel takes
 * in: the end then still waits behind it at the peer). */

/* Bytes from the peer, while reading; `bytes` lives for the callback. */
typedef void (*rover_data_cb)(rover_socket_t *socket, const char *bytes,
                              size_t length);
/* The peer has ended its side. Unless half-open connections are allowed, the
 * socket then sends what was written and closes. If bytes are waiting that
 * nobody read, start reading in this callback to have them first. */
typedef void (*rover_end_cb)(rover_socket_t *socket);
/* Everything written has been handed to the kernel, after a write that had to
 * be queued. */
typedef void (*rover_drain_cb)(rover_socket_t *socket);
/* The socket is closed; its memory is freed right after this returns. `status`
 * is 0, or says what broke the connection (UV_ECONNRESET, UV_ETIMEDOUT, ...).
 * Callbacks of writes and shutdown have come before. */
typedef void (*rover_socket_close_cb)(rover_socket_t *socket, int status);

/* Any of them may be NULL. */
typedef struct rover_socket_events_s {
  rover_data_cb data;
  rover_end_cb end;
  rover_drain_cb drain;
  rover_socket_close_cb close;
  void (*reserved[4])(void);
} rover_socket_events_t;

/* A write or shutdown is done (0), failed, or the socket was closed before
 * (UV_ECANCELED). */
typedef void (*rover_done_cb)(rover_socket_t *socket, int status, void *arg);

/* Replaces callbacks and user pointer; `events` is copied, NULL means none. (The
 * sockets of a rover share one copy of equal callbacks.) Callbacks of writes and
 * shutdowns accepted before are dropped, since they belong to whoever listened
 * then; the bytes are still sent. If the peer has ended its side, the end
 * callback comes again. Errors: UV_EINVAL (a bit is set in the room of `events`);
 * UV_ENOMEM, which cannot be while all sockets of a rover have the same
 * callbacks. */
ROVER_EXTERN int rover_socket_set_events(rover_socket_t *socket,
                                         const rover_socket_events_t *events,
                                         void *data);

ROVER_EXTERN void *rover_socket_data(const rover_socket_t *socket);

/* Sets the user pointer alone. */
ROVER_EXTERN void rover_socket_set_data(rover_socket_t *socket, void *data);
ROVER_EXTERN rover_t *rover_socket_rover(const rover_socket_t *socket);
ROVER_EXTERN int rover_socket_slot(const rover_socket_t *socket);
/* The server it came from, which may have been dropped since. It lives until
 * the socket closes; see rover_server_ref(). */
ROVER_EXTERN const rover_server_t *
rover_socket_server(const rover_socket_t *socket);

/* The kept sockets in ascending order of their slots, the older first of equal
 * ones. Each returns NULL at the end. Sorts if a socket came since the last
 * call, else O(1). Closing sockets are not among them, but next goes on from
 * one that was closed within the same callback. */
ROVER_EXTERN rover_socket_t *rover_socket_first(rover_t *rover);
ROVER_EXTERN rover_socket_t *rover_socket_next(const rover_socket_t *socket);

/* Starts and stops the data callback. Both harmless when repeated. Errors of
 * start: UV_ENOMEM, UV_EINVAL when closing. */
ROVER_EXTERN int rover_socket_read_start(rover_socket_t *socket);
ROVER_EXTERN void rover_socket_read_stop(rover_socket_t *socket);

/* Sends the buffers in order; what the kernel does not take at once is copied
 * and queued without bound (see rover_socket_write_queue_size() and the drain
 * callback). `cb` may be NULL, and so may `buffers` if `count` is 0, and the
 * base of an empty one. Errors: UV_EINVAL when closing, UV_EPIPE once this side
 * is ended, by rover_socket_shutdown() or since the peer has ended its own; and
 * UV_ENOMEM or the kernel's (UV_ECONNRESET, ...), after which the socket closes
 * with that status if part of the bytes has gone, or none can go any more. */
ROVER_EXTERN int rover_socket_write(rover_socket_t *socket,
                                    const uv_buf_t buffers[], unsigned count,
                                    rover_done_cb cb, void *arg);

/* Ends this side once everything written is sent; the peer may still send.
 * `cb` may be NULL. Errors: UV_EINVAL when closing, UV_ENOTCONN when done
 * before, UV_ENOMEM. */
ROVER_EXTERN int rover_socket_shutdown(rover_socket_t *socket,
                                       rover_done_cb cb, void *arg);

/* Bytes accepted and not yet handed to the kernel. */
ROVER_EXTERN size_t rover_socket_write_queue_size(const rover_socket_t *socket);

/* Closes at once; what is queued is not sent. Twice is harmless. */
ROVER_EXTERN void rover_socket_close(rover_socket_t *socket);
ROVER_EXTERN int rover_socket_is_closing(const rover_socket_t *socket);

/* Gives the connection away: returns a descriptor (non-blocking,
 * close-on-exec; yours to close) from which no byte has been taken that was
 * not delivered, and closes the socket without ending the connection. Its
 * options are the system's own: keepalive and no-delay are off. Errors,
 * as negative results: UV_EINVAL when closing, UV_EBUSY while writes are
 * queued or a shutdown is under way, UV_EMFILE or UV_ENFILE if it was ever read,
 * written or made a stream; the socket then stays as it is. */
ROVER_EXTERN int rover_socket_detach(rover_socket_t *socket);

/* The libuv stream, for libuv's own calls that ask or set something (names,
 * options); NULL when closing, or if there is no memory for it. Reading, writing
 * and closing belong to the functions above, its `data` to the rover. A socket
 * that is not read, not written and not asked for this costs less. */
ROVER_EXTERN uv_stream_t *rover_socket_stream(rover_socket_t *socket);

/* -- Counters ------------------------------------------------------------- */

/* Each counter is
 *
 *   XX(NAME, KIND, "nameInLua", "What it counts.")
 *
 * where KIND is COUNTER, since rover_new(), or GAUGE, what is so now. New ones
 * come last.
 *
 * attempts == connections + unreachable + errors + cancelled + in_flight, and
 * connections == kept + closed. */
#define ROVER_STATS_MAP(XX)                                                    \
  XX(attempts, COUNTER, "attempts", "Attempts made.")                          \
  XX(connections, COUNTER, "connections",                                      \
     "Attempts that ended with a slot and a socket.")                          \
  XX(unreachable, COUNTER, "unreachable",                                      \
     "Attempts that ended without a slot line.")                               \
  XX(errors, COUNTER, "errors", "Attempts that ended in an error.")            \
  XX(cancelled, COUNTER, "cancelled",                                          \
     "Attempts whose server was dropped or paused, or whose rover was "        \
     "stopped or closed.")                                                     \
  XX(skipped, COUNTER, "skipped",                                              \
     "Attempts not made because max_attempts were in flight or every server "  \
     "was paused.")                                                            \
  XX(closed, COUNTER, "closed",                                                \
     "Sockets closed, including those refused or detached.")                   \
  XX(in_flight, GAUGE, "inFlight", "Attempts in flight.")                      \
  XX(kept, GAUGE, "kept", "Sockets kept.")

typedef struct rover_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[32 ROVER_STATS_MAP(XX)]; /* zero */
#undef XX
} rover_stats_t;

ROVER_EXTERN void rover_stats_get(const rover_t *rover, rover_stats_t *stats);

/* How many attempts ended as unreachable with `status`, a UV_E* code. */
ROVER_EXTERN uint64_t rover_unreachable_count(const rover_t *rover, int status);

#ifdef __cplusplus
}
#endif
#endif
