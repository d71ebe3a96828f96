/* callosum/rover.h - the Callosum rover: self-balancing TCP connections.
 *
 * A Callosum server gives each connection that it accepts the lowest slot that
 * is free, and sends its number as the first line (`13\r\n`). A slot thus
 * measures how loaded that server is. A rover connects to a random one of its
 * servers every so often, reads the slot line, and passes slot and socket to a
 * callback, which keeps low slots and closes high ones:
 *
 *   static void on_connection(rover_t *rover, int slot,
 *                             rover_socket_t *socket) {
 *     if (slot > 9) rover_socket_close(socket);
 *   }
 *
 *   rover_options_t options = {.events = {.connection = on_connection}};
 *   rover_t *rover;
 *   int err = rover_new(&rover, loop, &options);
 *   if (err == 0) err = rover_server_add(rover, "a", "10.0.0.7", 4040);
 *   if (err == 0) err = rover_server_add(rover, "b", "10.0.0.8", 4040);
 *   if (err == 0) err = rover_start(rover);
 *
 * The words used here:
 *
 * server      An id, a host and a port.
 * slot        The number of a connection at its server, counted from 0.
 * slot line   The line that says it: decimal digits, CR, LF.
 * attempt     One try at one server: resolve its name, connect, read the slot
 *             line. It is in flight until it has an outcome.
 * probe       An attempt whose socket was refused for its slot.
 * rejected    Refused by the rover itself, without a connection callback.
 * kept        A socket that the connection callback did not close is kept: the
 *             rover owns it and watches it until either side closes it.
 * client      A local connection to a relay, see <callosum/relay.h>.
 * drain       To let what is there finish, but take on nothing new. A socket's
 *             queue of bytes to be written drains, too.
 * generation  One policy of a host, from its loading until the next one takes
 *             over, see <callosum/host.h>.
 * adopted     Kept by one generation, and passed to the next.
 *
 * The rules that hold everywhere:
 *
 * Units      Times are in milliseconds unless a name says seconds, sizes in
 *            bytes.
 * Strings    NUL-terminated, borrowed for the call and copied if kept.
 * Errors     Negative libuv codes (`UV_E*`), to be printed with uv_strerror().
 *            A call that fails has changed nothing and calls nothing back.
 *            NULL for a string, a buffer or the place of a result is UV_EINVAL
 *            (but looking for a server of the id NULL just finds none). Handles
 *            are not checked.
 * Threads    A rover and its sockets belong to the thread that runs their loop.
 *            The library has no globals.
 * Callbacks  Are called from the loop, never from within a call of this
 *            library. Any function here may be called from any callback; the
 *            rover or socket that a callback is about may be closed in it. A
 *            callback must not run the loop: uv_run() is not reentrant.
 * Structs    Start from `= {0}` (in C++, `{}`) and set what you need: zero or
 *            NULL means the default in every field. `reserved` is room for what
 *            later versions add, so that programs need not be compiled again.
 *            Leave it zero: anything else asks for something that this version
 *            does not have, and is UV_EINVAL. In structs that are filled in for
 *            you it is set to zero.
 * Deadlines  ROVER_NEVER as a timeout is no deadline. If the program blocks the
 *            loop, deadlines count once the loop has polled again: what arrived
 *            meanwhile is in time.
 * Memory     If there is none, calls return UV_ENOMEM and attempts end in it.
 *            Closing needs none. libuv ends the process if its loop's table of
 *            descriptors cannot grow.
 * Signals    Writing to a connection that the peer has reset raises SIGPIPE
 *            unless the program ignores it. Ignore it: a library must not.
 */
#ifndef CALLOSUM_ROVER_H
#define CALLOSUM_ROVER_H

#include <stddef.h>
#include <stdint.h>

/* Needs more of POSIX than bare -std=c11 offers: define
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

/* The version of the library that is linked, "0.1.0". The macros give the
 * version of this header. */
ROVER_EXTERN const char *rover_version_string(void);

/* Limits that are checked by the calls below. */
#define ROVER_ID_MAX 255          /* bytes of a server's id, at least 1 */
#define ROVER_HOST_MAX 255        /* bytes of a host, at least 1 */
#define ROVER_SLOT_MAX 2147483647 /* the highest slot number accepted */
#define ROVER_SLOT_LIMIT_MAX 2147483648 /* a limit that no slot reaches */
#define ROVER_MS_MAX (UINT64_C(1) << 53) /* the longest interval or timeout, */
#define ROVER_NEVER UINT64_MAX           /* but for this: no deadline */

typedef struct rover_s rover_t;
typedef struct rover_server_s rover_server_t;
typedef struct rover_socket_s rover_socket_t;
typedef struct rover_turn_s rover_turn_t;
typedef struct rover_tls_s rover_tls_t; /* see <callosum/tls.h> */

/* TLS: a certificate was refused, the peer's by us or ours by the peer. It is
 * no code of libuv's, so it comes with a message. */
#define ROVER_ECERT (-5001)

/* Where a relay or a front listens: at `path` if that is not NULL, else at host
 * and port. A Unix socket has the permissions `mode` from the start, replaces
 * one that nobody listens on, and is removed when the listener closes. It is
 * bound to a temporary name in the same folder, and given its own once it
 * listens: whoever sees it can connect, and of several that start at once, one
 * listens. */
typedef struct rover_address_s {
  const char *host; /* an IP literal (a link-local one with its zone), or
                       "localhost", which is 127.0.0.1; NULL: that too. "::"
                       takes IPv4 as well */
  int port;         /* 0: any free one; rover_relay_options(), or
                       rover_front_options(), then has it */
  const char *path; /* of a Unix socket */
  int mode;         /* of a Unix socket, 1 to 0777; 0: 0600 */
  /* Instead of the others: the name by which whoever started this process hands
   * it a socket that listens already, as systemd does (sd_listen_fds(3)). To be
   * found by you: see rover_relay_listen_fd() and rover_front_listen_fd(),
   * after which the options have its address. */
  const char *fd_name;
  uint64_t reserved[3];
} rover_address_t;

/* -- Callbacks of a rover ------------------------------------------------- */

/* Each attempt ends in exactly one of the first three callbacks or the last, or
 * silently if meanwhile its server was dropped or paused, or its rover stopped
 * or closed. */

/* A server sent a valid slot line. The socket is already one of the rover's
 * kept sockets; call rover_socket_close() to refuse it. No byte behind the slot
 * line has been read: the rest of the stream is for whoever uses the socket.
 * Without this callback every socket is closed, unless max_kept is set. */
typedef void (*rover_connection_cb)(rover_t *rover, int slot,
                                    rover_socket_t *socket);

/* A server sent no slot line. `status` says why: UV_EAI_* (its name could not
 * be resolved), UV_ECONNREFUSED (also if the kernel connected the attempt to
 * itself, since nobody else has the port), UV_EHOSTUNREACH, UV_ECONNRESET, ...,
 * UV_EOF (closed before the end of the line), UV_ETIMEDOUT (connect_timeout,
 * which a TLS handshake is part of, or slot_timeout).
 * rover_unreachable_message() puts it in words. `server` lives until the
 * callback returns; see rover_server_ref(). */
typedef void (*rover_unreachable_cb)(rover_t *rover, rover_server_t *server,
                                     int status);

/* An error that trying another server will not fix.
 *   UV_EPROTO         the server sent something other than a slot line, whose
 *                     first bytes the message quotes; or it speaks no TLS, or
 *                     none that suits both
 *   ROVER_ECERT       one side has refused the certificate of the other; the
 *                     message says which, and why
 *   UV_EDESTADDRREQ   "No servers to contact" (`server` is NULL)
 *   UV_EMFILE, UV_ENFILE, UV_ENOMEM, UV_ENOBUFS   this machine is out of
 *                     descriptors or memory; it is not the server's fault
 *   UV_ENOSPC         out of /proc/sys/fs/epoll/max_user_watches
 *   UV_EADDRNOTAVAIL  out of local ports to connect to that address from
 *   UV_EAGAIN         out of threads to resolve names in
 * `server` (or NULL) and `message` live until the callback returns.
 *
 * UV_ENOMEM and UV_ENOSPC may also be about a kept socket that cannot be
 * watched once nobody reads it any more: that its peer closes goes unnoticed
 * until a later attempt, before which watching is tried again. This is the
 * outcome of no attempt, and not counted. */
typedef void (*rover_error_cb)(rover_t *rover, rover_server_t *server,
                               int status, const char *message);

/* Within an unreachable callback: the reason in words, and how far the attempt
 * got, as "no connection within 5000 ms", or "connected, but sent no slot line
 * in 1000 ms; is it a Callosum server?". Advice, if any, follows a semicolon,
 * as it does in the messages of the error callback. Elsewhere NULL. */
ROVER_EXTERN const char *rover_unreachable_message(const rover_t *rover);

/* While the rover was started, a server was added, or its address changed:
 * whoever did that, this comes in a later turn of the loop, once, and not for a
 * server that is gone by then. `server` lives until the callback returns. */
typedef void (*rover_added_cb)(rover_t *rover, rover_server_t *server);

/* An attempt was rejected: its slot was not below slot_limit, that of
 * rover_set_rejection(), or the highest of max_kept sockets. The connection is
 * closed. `server` lives until the callback returns. */
typedef void (*rover_rejected_cb)(rover_t *rover, int slot,
                                  rover_server_t *server);

/* Any of them may be NULL. */
typedef struct rover_events_s {
  rover_connection_cb connection;
  rover_unreachable_cb unreachable;
  rover_error_cb error;
  rover_added_cb added;
  rover_rejected_cb rejected;
  void (*reserved[3])(void);
} rover_events_t;

/* The rover and all of its sockets are closed. Its memory is freed as soon as
 * this returns. */
typedef void (*rover_close_cb)(rover_t *rover);

/* -- A rover -------------------------------------------------------------- */

/* Options and counters are listed in macros, from which the structs are made.
 * Each option is
 *
 *   XX(TYPE, NAME, KIND, LEAST, MOST, DEFAULT, "nameInLua",
 *      "What it is.")
 *
 * where adjacent strings are one, and KIND is
 *
 *   MS        milliseconds
 *   TIMEOUT   milliseconds, or ROVER_NEVER (in Lua 0) for no deadline
 *   SECONDS   negative (in Lua 0) for off
 *   COUNT     how many
 *   FRACTION
 *   FACTOR    of which 1 is neutral
 *   SEED      any number
 *   FLAG      zero for no, anything else for yes
 *   PROXY     a version of the PROXY protocol, 1 or 2 (in Lua "v1" or "v2"), or
 *             zero for none
 *
 * Zero means DEFAULT. New options come last, and take eight bytes of the
 * struct's room. */
#define ROVER_OPTIONS_MAP(XX)                                                  \
  XX(uint64_t, roving_interval, MS, 1, ROVER_MS_MAX, 1000, "rovingInterval",   \
     "The time from one attempt to the next.")                                 \
  XX(uint64_t, connect_timeout, TIMEOUT, 1, ROVER_MS_MAX, 5000,                \
     "connectTimeout",                                                         \
     "How long resolving a name and connecting may take together, with the "   \
     "TLS handshake, if there is one.")                                        \
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
     "waited for.")                                                            \
  XX(int, allow_half_open, FLAG, 0, 1, 0, "allowHalfOpen",                     \
     "Whether a socket stays open when its peer has ended its side.")          \
  XX(unsigned, slot_limit, COUNT, 1, 2147483648, 2147483648, "slotLimit",      \
     "Only slots below this become connections: an attempt that is given it "  \
     "or a higher one is closed at once, and counted as rejected. By default " \
     "none is.")                                                               \
  XX(unsigned, max_kept, COUNT, 1, UINT32_MAX, UINT32_MAX, "maxKept",          \
     "How many sockets are kept at most, those with the lowest slots: an "     \
     "attempt whose slot is not lower than the highest of so many is "         \
     "rejected, and otherwise takes its place. With this, sockets are kept "   \
     "even if there is nothing that decides about connections.")

typedef struct rover_options_s {
  rover_events_t events;
  void *data;         /* yours; see rover_data() */
  size_t *memory;     /* NULL, or where the rover adds the bytes that it
                         allocates (itself, servers, attempts, what its sockets
                         have yet to write) and subtracts those that it frees.
                         Rovers may share it. Must live until the close
                         callback */
  rover_turn_t *turn; /* NULL, or one that it shares with other rovers of the
                         loop; must live until the close callback */
#define XX(type, name, kind, least, most, initial, lua, text) type name;
  ROVER_OPTIONS_MAP(XX)
#undef XX
  uint64_t reserved[6];
  rover_tls_t *tls; /* NULL, or a client's context, by which connections are
                       secured, but those to servers that say otherwise. The
                       rover takes a reference */
} rover_options_t;

/* Makes a rover on `loop`; it does nothing until it is started. `options` is
 * copied; NULL means defaults.
 * Ownership: free it with rover_close(), which needs the loop to run.
 * Errors: UV_EINVAL (an option out of its range, a server's `tls`), UV_EMFILE
 * and UV_ENFILE (it takes a descriptor), UV_ENOMEM, and those of
 * uv_random(). */
ROVER_EXTERN int rover_new(rover_t **rover, uv_loop_t *loop,
                           const rover_options_t *options);

/* Makes an attempt in the next turn of the loop, and then one every interval.
 * If the rover is started, this restarts its clock. Errors: UV_EINVAL when
 * closing. */
ROVER_EXTERN int rover_start(rover_t *rover);

/* Stops the clock and cancels the attempts in flight. Kept sockets stay. */
ROVER_EXTERN void rover_stop(rover_t *rover);

/* Makes one attempt now, started or not. Errors: UV_EAGAIN if max_attempts are
 * in flight or every server is paused (counted as skipped), UV_ENOMEM,
 * UV_EINVAL when closing. */
ROVER_EXTERN int rover_connect(rover_t *rover);

/* The same at one server, even if that is paused; it stays so. Returns 1, or 0
 * if there is no such server. Errors: UV_EAGAIN if max_attempts are in flight
 * (counted as skipped), UV_ENOMEM, UV_EINVAL when closing. */
ROVER_EXTERN int rover_connect_to(rover_t *rover, const char *id);

/* The same in `ms`, beside the attempts of the clock, which must be running;
 * rover_stop() cancels it. There is one at a time: it takes the place of what
 * was asked for before and is still to come; with `id` NULL, nothing is.
 * Nothing is attempted if the server is gone by then, or its address has
 * changed. Returns 1, or 0 if the clock is not running or there is no such
 * server; what is still to come then stays. Errors: UV_EINVAL (above
 * ROVER_MS_MAX; when closing). */
ROVER_EXTERN int rover_connect_in(rover_t *rover, const char *id, uint64_t ms);

/* Stops, closes all sockets, and calls back when all is gone. `cb` may be NULL.
 * A look-up that the system's resolver has begun cannot be cancelled: closing
 * waits for those that this rover began, even if other rovers wait for them as
 * well. Errors: UV_EALREADY if it is closing already (harmless; `cb` is then
 * not called). */
ROVER_EXTERN int rover_close(rover_t *rover, rover_close_cb cb);

/* Changes the interval: the next attempt follows the last one by it. Errors:
 * UV_EINVAL (0 or above ROVER_MS_MAX; when closing). */
ROVER_EXTERN int rover_set_roving_interval(rover_t *rover, uint64_t ms);

/* Makes the next attempt of a running clock in `ms`, be that sooner or later
 * than at the interval; those after it follow at the interval. An attempt that
 * is due already is made first. Returns 1, or 0 if the clock is not running.
 * Errors: UV_EINVAL (above ROVER_MS_MAX; when closing). */
ROVER_EXTERN int rover_rove_in(rover_t *rover, uint64_t ms);

/* Sets *ms to the time until the next attempt of a running clock. Returns 1, or
 * 0 if the clock is not running. */
ROVER_EXTERN int rover_due_in(const rover_t *rover, uint64_t *ms);

/* Replaces callbacks and user pointer. `events` is copied; NULL means none.
 * Errors: UV_EINVAL (`reserved` is not zero). */
ROVER_EXTERN int rover_set_events(rover_t *rover, const rover_events_t *events,
                                  void *data);

/* The options with defaults filled in. They live as long as the rover. */
ROVER_EXTERN const rover_options_t *rover_options(const rover_t *rover);

ROVER_EXTERN void *rover_data(const rover_t *rover);
ROVER_EXTERN uv_loop_t *rover_loop(const rover_t *rover);
ROVER_EXTERN uint64_t rover_roving_interval(const rover_t *rover);
ROVER_EXTERN int rover_is_started(const rover_t *rover);

/* -- Rejecting slots ------------------------------------------------------ */

/* What a connection callback would close for its slot, the rover can reject by
 * itself: no socket is made and nothing but the rejected callback is called. */

/* Changes the option slot_limit, for attempts that get their slot from now on;
 * 0 is the default. Kept sockets stay. Errors: UV_EINVAL (above
 * ROVER_SLOT_LIMIT_MAX; when closing). */
ROVER_EXTERN int rover_set_slot_limit(rover_t *rover, unsigned limit);

/* Changes the option max_kept; 0 is the default. The sockets with the highest
 * slots are closed until no more are left. Errors: UV_EINVAL when closing. */
ROVER_EXTERN int rover_set_max_kept(rover_t *rover, unsigned count);

/* For a connection callback whose limit and pace change with what it keeps, as
 * those of callosum.pool do. */
typedef struct rover_rejection_s {
  unsigned slot_limit;   /* beside the option; 0: none */
  unsigned patience;     /* so many are rejected before the interval grows */
  uint64_t interval;     /* from the end of a rejected attempt to the clock's
                            next; 0: rejecting does not change the clock */
  uint64_t max_interval; /* up to which that grows; 0: without limit */
  double growth;         /* its factor, at least 1, for each one rejected; 0: 1 */
  double jitter;         /* 0 to 1: how far each is spread */
  uint64_t reserved[4];
} rover_rejection_t;

/* Replaces what was set before, and begins to count anew; NULL: none. The
 * interval concerns all rejected attempts, also those above the option's limit.
 * `rejection` is copied. Errors: UV_EINVAL (a field out of its range; when
 * closing). */
ROVER_EXTERN int rover_set_rejection(rover_t *rover,
                                     const rover_rejection_t *rejection);

/* How many attempts were rejected since then. */
ROVER_EXTERN uint64_t rover_rejections(const rover_t *rover);

/* Whether a server is exempt from the limit of rover_set_rejection(), since its
 * next answer matters whatever the slot. It ends when its address changes.
 * O(1). Returns 1, or 0 if there is no such server. */
ROVER_EXTERN int rover_server_exempt(rover_t *rover, const char *id,
                                     int exempt);

/* -- Servers -------------------------------------------------------------- */

/* Adds a server, or replaces the one with that id; if its address changes, the
 * attempts in flight to it are cancelled. `host` is an IP literal (a link-local
 * one with its zone, the name or index of an interface, behind a %), a name for
 * the system's resolver, or "localhost", which always means ::1 and 127.0.0.1
 * (RFC 6761, 6.3). O(1). Errors: UV_EINVAL (id or host empty or too long, port
 * not 1 to 65535; when closing), UV_ENOMEM.
 *
 * A name is resolved anew for each attempt, but only once at a time: the
 * attempts of all rovers that share a turn share a look-up under way, even if
 * it takes longer than some of them wait. A name stands for one server. If it
 * has several addresses, an attempt tries one after another until one connects,
 * in a random order in which families alternate, beginning with the family that
 * the resolver put first. So connections are spread evenly over the addresses,
 * but these have one id and one pause. To tell them apart, add them one by one.
 *
 * Look-ups use half of the threads of libuv's pool, 2 of 4. So two names whose
 * DNS server is silent hold up all others until the resolver gives up on them
 * (resolv.conf(5): 10 s and more). UV_THREADPOOL_SIZE, set in the environment
 * before the pool is first used, allows for more. libuv ends the process if it
 * cannot start its threads; therefore the first look-up tries whether they can
 * be had, and if not, ends in UV_EAGAIN. Where that matters, use the pool for
 * nothing else before. */
ROVER_EXTERN int rover_server_add(rover_t *rover, const char *id,
                                  const char *host, int port);

/* Removes a server and cancels the attempts in flight to it. Kept sockets stay.
 * If sources list it, it is back once it is added, or listed anew after no
 * source listed it. O(1). Returns 1, or 0 if there is no such server. */
ROVER_EXTERN int rover_server_drop(rover_t *rover, const char *id);

/* A server to be set. */
typedef struct rover_server_entry_s {
  const char *id, *host;
  int port;
  uint64_t weight; /* 0: none is given; at most UINT32_MAX */
  rover_tls_t *tls; /* NULL: as of its rover; or a client's context of its own,
                       to which it takes a reference */
  uint64_t plain; /* not 0: without TLS, whatever its rover has; then `tls` is
                     NULL */
  uint64_t reserved[1]; /* for later versions: 0 */
} rover_server_entry_t;

/* As rover_server_add(), with all that an entry says; a weight of 0 leaves the
 * one that it has. A server whose `tls` or `plain` changes is replaced, as one
 * whose address does. Errors: UV_EINVAL (as for rover_server_add(); `reserved`
 * is not 0, `tls` a server's context), UV_ENOMEM. */
ROVER_EXTERN int rover_server_add_entry(rover_t *rover,
                                        const rover_server_entry_t *entry);

/* What rover_server_set() did. */
typedef struct rover_server_changes_s {
  size_t added, dropped;
  size_t changed; /* address, or how they are secured */
  size_t wrong; /* if it failed: the index of the entry that was at fault, or
                   `count` if none was; nothing else is written then */
  uint64_t reserved[4]; /* for later versions: set to 0 */
} rover_server_changes_t;

/* Makes the `count` entries the whole list of servers. One that
 * is listed already with that host, port and TLS is not touched: its pause and
 * the attempts in flight to it go on; only its weight follows. One whose
 * address differs is replaced as by rover_server_add(), one that is not listed
 * any more is dropped as by rover_server_drop() unless a source lists it, the
 * others are added. All of this happens or none of it, and the order of the
 * entries has no effect on the picks of a seeded rover. `changes` may be NULL,
 * and so may `servers` if `count` is 0. O(n), in the servers before and after.
 * Errors: UV_EINVAL (as for rover_server_add(); an id comes twice; `reserved`
 * is not 0), UV_ENOMEM. */
ROVER_EXTERN int rover_server_set(rover_t *rover,
                                  const rover_server_entry_t servers[],
                                  size_t count,
                                  rover_server_changes_t *changes);

/* Pauses a server for `ms`: it is not picked, and attempts in flight to it are
 * cancelled. Kept sockets stay. 0 ends a pause, and so does adding the server
 * again. O(1): a pick that meets a paused server draws again, up to 64 times.
 * So if nearly all are paused it may find none, and the attempt is skipped; the
 * clock's next attempt then comes when the first of those it met is no longer
 * paused, or after the interval if that is sooner. Returns 1, or 0 if there is
 * no such server. Errors: UV_EINVAL (above ROVER_MS_MAX; when closing). */
ROVER_EXTERN int rover_server_pause(rover_t *rover, const char *id,
                                    uint64_t ms);

/* The servers, with `index` from 0 to count - 1, in an order that any add or
 * drop may change. Beyond the last it is NULL. A server lives until it is
 * dropped or replaced and nobody holds a reference. */
ROVER_EXTERN size_t rover_server_count(const rover_t *rover);
ROVER_EXTERN rover_server_t *rover_server_at(const rover_t *rover,
                                             size_t index);
/* The server with that id, or NULL. */
ROVER_EXTERN rover_server_t *rover_server_get(const rover_t *rover,
                                              const char *id);

ROVER_EXTERN const char *rover_server_id(const rover_server_t *server);
ROVER_EXTERN const char *rover_server_host(const rover_server_t *server);
ROVER_EXTERN int rover_server_port(const rover_server_t *server);
/* What a source or the program has said that it can bear in comparison, or 0.
 * The rover does not use it: slots balance by themselves. */
ROVER_EXTERN unsigned rover_server_weight(const rover_server_t *server);
/* Its own TLS, or NULL; and whether it is to be without. */
ROVER_EXTERN rover_tls_t *rover_server_tls(const rover_server_t *server);
ROVER_EXTERN int rover_server_is_plain(const rover_server_t *server);

/* What somebody decides about a server by hand, against whatever the program
 * that has the rover does with it. */
typedef enum {
  ROVER_STEER_NONE,  /* nothing (any more) */
  ROVER_STEER_PAUSE, /* it is not asked */
  ROVER_STEER_DRAIN, /* nor that, and its kept sockets are ended */
  ROVER_STEER_DROP   /* it is not asked, and not one of the servers */
} rover_steer_t;

/* Steers a server. It holds until it is steered in another way: adding, setting
 * or dropping the server does not end it, nor does rover_server_pause(), nor
 * the reload of a policy. From now on no attempt is made at the server, by
 * whatever call; those in flight are cancelled, and rover_connect_to() returns
 * 0. One that is dropped is no longer counted or found by the calls below,
 * though the program can still add and drop it, which then shows once it is
 * steered no more. Kept sockets stay, unless it is drained: then they are
 * closed, evenly spread over `ms`, the highest slots first, but those that are
 * lent (see rover_socket_set_lent()) when they are back. With ROVER_STEER_NONE
 * the server, if the program has it, is asked again, and the added callback
 * comes for it. Returns 1, or 0 if the rover does not know the id. Errors:
 * UV_EINVAL (`ms` above ROVER_MS_MAX, unknown `how`; when closing), UV_ENOMEM,
 * UV_ESRCH (with ROVER_STEER_NONE: it is steered no more, but the program has
 * dropped it meanwhile). */
ROVER_EXTERN int rover_server_steer(rover_t *rover, const char *id,
                                    rover_steer_t how, uint64_t ms);
ROVER_EXTERN rover_steer_t rover_server_steered(const rover_server_t *server);

/* Hold a server beyond the callback or the socket that it came with. Each ref
 * needs one unref. Neither fails, and both may be called after the rover is
 * gone. */
ROVER_EXTERN rover_server_t *rover_server_ref(rover_server_t *s);
ROVER_EXTERN void rover_server_unref(rover_server_t *server);

/* -- Kept sockets --------------------------------------------------------- */

/* While nobody reads a socket, not one byte is taken from it, yet the peer's
 * closing is noticed at once (unless more is unread than the kernel's buffer
 * holds: the end is then still on its way). Under TLS, what is no data is
 * taken, and at most one record, which is held for whoever reads; and if the
 * peer's connection ends without it having said so (close_notify), which others
 * could have done, that is UV_ECONNRESET. */

/* Bytes from the peer, while reading. `bytes` lives until this returns. */
typedef void (*rover_data_cb)(rover_socket_t *socket, const char *bytes,
                              size_t length);
/* The peer has ended its side. Unless half-open connections are allowed, the
 * socket then sends what was written and closes. To have bytes that are still
 * unread first, start reading in this callback. */
typedef void (*rover_end_cb)(rover_socket_t *socket);
/* Everything written has been handed to the kernel, after a write that had to
 * be queued. */
typedef void (*rover_drain_cb)(rover_socket_t *socket);
/* The socket is closed. Its memory is freed as soon as this returns. `status`
 * is 0, or why the connection broke (UV_ECONNRESET, UV_ETIMEDOUT, ...). The
 * callbacks of writes and shutdown have come before. */
typedef void (*rover_socket_close_cb)(rover_socket_t *socket, int status);

/* Any of them may be NULL. */
typedef struct rover_socket_events_s {
  rover_data_cb data;
  rover_end_cb end;
  rover_drain_cb drain;
  rover_socket_close_cb close;
  void (*reserved[4])(void);
} rover_socket_events_t;

/* A write or shutdown is done (0), has failed, or was overtaken by the socket's
 * closing (UV_ECANCELED). */
typedef void (*rover_done_cb)(rover_socket_t *socket, int status, void *arg);

/* Replaces callbacks and user pointer. `events` is copied; NULL means none.
 * (The sockets of a rover share one copy of equal callbacks.) Callbacks of
 * earlier writes and shutdowns are dropped, since they belong to the previous
 * user of the socket; the bytes are still sent. If the peer has ended its side,
 * the end callback comes again. Errors: UV_EINVAL (`reserved` is not zero),
 * UV_ENOMEM (never, while all sockets of the rover have the same callbacks, or
 * none). */
ROVER_EXTERN int rover_socket_set_events(rover_socket_t *socket,
                                         const rover_socket_events_t *events,
                                         void *data);

ROVER_EXTERN void *rover_socket_data(const rover_socket_t *socket);

/* Sets the user pointer alone. */
ROVER_EXTERN void rover_socket_set_data(rover_socket_t *socket, void *data);
ROVER_EXTERN rover_t *rover_socket_rover(const rover_socket_t *socket);
ROVER_EXTERN int rover_socket_slot(const rover_socket_t *socket);
/* The server that it is connected to, which may have been dropped since. It
 * lives until the socket closes; see rover_server_ref(). */
ROVER_EXTERN rover_server_t *rover_socket_server(const rover_socket_t *socket);

/* The kept sockets in ascending order of slots, the older first if these are
 * equal. Each returns NULL at the end. Sorts if a socket has come since the
 * last call, otherwise O(1). Closing sockets are skipped, but next may be
 * called with one that was closed in the same callback. */
ROVER_EXTERN rover_socket_t *rover_socket_first(rover_t *rover);
ROVER_EXTERN rover_socket_t *rover_socket_next(const rover_socket_t *socket);

/* Marks a kept socket as lent: somebody uses it, and will give it back. The
 * rover only counts it, and does not end it when its server is drained. Nothing
 * changes if the socket is closing. */
ROVER_EXTERN void rover_socket_set_lent(rover_socket_t *socket, int lent);
ROVER_EXTERN int rover_socket_is_lent(const rover_socket_t *socket);

/* Start and stop the data callback. Repeating either is harmless. Errors of
 * start: UV_ENOMEM, UV_EINVAL when closing. */
ROVER_EXTERN int rover_socket_read_start(rover_socket_t *socket);
ROVER_EXTERN void rover_socket_read_stop(rover_socket_t *socket);

/* Sends the buffers in order. What the kernel does not take at once is copied
 * and queued without limit; see rover_socket_write_queue_size() and the drain
 * callback. `cb` may be NULL, and so may `buffers` if `count` is 0, and the
 * base of an empty buffer. Errors: UV_EINVAL when closing; UV_EPIPE after
 * rover_socket_shutdown(), or once the socket is about to close as the peer has
 * ended its side; UV_ENOMEM and the kernel's (UV_ECONNRESET, ...), after which
 * the socket closes with that status if some of the bytes were sent or none can
 * be any more.
 *
 * Writes of up to 2048 bytes without `cb`, in a callback of the rover or of a
 * socket, may be sent together with those of other sockets that are ready: once
 * their callbacks have run, or as many as a few ms allow, so one that takes
 * long delays them. Errors of the kernel then only close the socket. exit() in
 * a callback loses what has not been sent yet; closing the socket, or the
 * rover, sends it. */
ROVER_EXTERN int rover_socket_write(rover_socket_t *socket,
                                    const uv_buf_t buffers[], unsigned count,
                                    rover_done_cb cb, void *arg);

/* Ends this side once everything written is sent; the peer may go on sending.
 * `cb` may be NULL. Errors: UV_EINVAL when closing, UV_ENOTCONN if called
 * before, UV_ENOMEM; the kernel's (UV_ECONNRESET, ...), if it refuses a small
 * write that was yet to be sent, which closes the socket. */
ROVER_EXTERN int rover_socket_shutdown(rover_socket_t *socket,
                                       rover_done_cb cb, void *arg);

/* Bytes written and not yet handed to the kernel. */
ROVER_EXTERN size_t rover_socket_write_queue_size(const rover_socket_t *socket);

/* Closes at once; what is queued is not sent. Repeating it is harmless. */
ROVER_EXTERN void rover_socket_close(rover_socket_t *socket);
ROVER_EXTERN int rover_socket_is_closing(const rover_socket_t *socket);

/* Gives the connection away: returns its descriptor (non-blocking,
 * close-on-exec, yours to close), from which no byte has been taken that was
 * not delivered, and closes the socket without ending the connection. Keepalive
 * and no-delay are off again. Errors, as negative results, which leave the
 * socket as it is: UV_EINVAL when closing, UV_EBUSY while writes are queued or
 * a shutdown is under way, UV_ENOTSUP under TLS, whose keys stay here,
 * UV_EMFILE or UV_ENFILE if its libuv stream was ever asked for. */
ROVER_EXTERN int rover_socket_detach(rover_socket_t *socket);

/* The addresses of both ends. Errors: UV_EINVAL when closing, and those of
 * getpeername(2), such as UV_ENOTCONN once it has broken. */
ROVER_EXTERN int rover_socket_peername(const rover_socket_t *socket,
                                       struct sockaddr_storage *name);
ROVER_EXTERN int rover_socket_sockname(const rover_socket_t *socket,
                                       struct sockaddr_storage *name);

/* A libuv stream of its descriptor, for libuv's calls that query or set
 * something (options). NULL when closing, under TLS, or without memory for it.
 * Read, write and close with the functions above only, which do not use it, and
 * leave its `data` alone. A socket that is never read, written or asked for its
 * stream takes less memory. */
ROVER_EXTERN uv_stream_t *rover_socket_stream(rover_socket_t *socket);

/* -- Counters ------------------------------------------------------------- */

/* Each counter is
 *
 *   XX(NAME, KIND, "nameInLua", "What it counts.")
 *
 * where KIND is COUNTER (since rover_new()), BYTES (the same, of bytes) or
 * GAUGE (what is so now). New ones come last.
 *
 * attempts == connections + rejected + unreachable + errors + cancelled +
 * in_flight, and connections == kept + closed. */
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
     "Attempts not made because max_attempts were in flight, every server "    \
     "was paused, or a source has yet to find the first one.")                 \
  XX(closed, COUNTER, "closed",                                                \
     "Sockets closed, including those refused or detached.")                   \
  XX(in_flight, GAUGE, "inFlight", "Attempts in flight.")                      \
  XX(kept, GAUGE, "kept", "Sockets kept.")                                     \
  XX(rejected, COUNTER, "rejected",                                            \
     "Attempts that ended with a slot that was too high.")                     \
  XX(handshakes, COUNTER, "handshakes",                                        \
     "TLS handshakes that were completed, whatever came of the attempt.")      \
  XX(handshakes_resumed, COUNTER, "handshakesResumed",                         \
     "Of these: resumed a session.")

typedef struct rover_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[32 ROVER_STATS_MAP(XX)]; /* 32 less those above */
#undef XX
} rover_stats_t;

ROVER_EXTERN void rover_stats_get(const rover_t *rover, rover_stats_t *stats);

/* How many attempts ended as unreachable with `status`, a UV_E* code. */
ROVER_EXTERN uint64_t rover_unreachable_count(const rover_t *rover, int status);

/* Of one server, as ROVER_STATS_MAP. They are those of its id: they stay if it
 * is dropped and added again, or moves, as long as there are connections to
 * it. */
#define ROVER_SERVER_STATS_MAP(XX)                                             \
  XX(attempts, COUNTER, "attempts", "Attempts made at it.")                    \
  XX(connections, COUNTER, "connected",                                        \
     "Of these: ended with a slot and a socket.")                              \
  XX(rejected, COUNTER, "rejected", "Of these: were rejected for their slot.") \
  XX(unreachable, COUNTER, "unreachable",                                      \
     "Of these: ended without a slot line.")                                   \
  XX(errors, COUNTER, "errors", "Of these: ended in an error.")                \
  XX(kept, GAUGE, "kept", "Its sockets that are kept.")                        \
  XX(lent, GAUGE, "lent", "Of these: are lent out.")                           \
  XX(joined, GAUGE, "joined",                                                  \
     "Its connections that relays have joined with clients, and that are no "  \
     "longer kept.")

typedef struct rover_server_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_SERVER_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[24 ROVER_SERVER_STATS_MAP(XX)]; /* 24 less those above */
#undef XX
} rover_server_stats_t;

ROVER_EXTERN void rover_server_stats_get(const rover_server_t *server,
                                         rover_server_stats_t *stats);

/* How evenly the connections of a rover, kept or joined, are spread over its
 * servers. Those that are steered aside do not count. */
typedef struct rover_balance_s {
  uint64_t servers, connections;
  uint64_t peak, least; /* connections of the server with most, and fewest */
  double mean;          /* connections / servers, or 0 */
  double variance; /* of the number of connections */
  uint64_t reserved[4];
} rover_balance_t;

/* O(n) in the servers that were ever asked. */
ROVER_EXTERN void rover_balance_get(const rover_t *rover,
                                    rover_balance_t *balance);

#define ROVER_BUCKETS_MAX 32

/* How often which values have come. */
typedef struct rover_histogram_s {
  size_t count;                       /* of buckets; what follows is 0 beyond */
  double bounds[ROVER_BUCKETS_MAX];   /* the highest value of each, ascending;
                                         of the last one HUGE_VAL */
  uint64_t counts[ROVER_BUCKETS_MAX]; /* values in that bucket alone */
  double sum;                         /* of all values */
  uint64_t reserved[4];
} rover_histogram_t;

/* The slots that servers gave since rover_new(), whatever became of them. */
ROVER_EXTERN void rover_slots_get(const rover_t *rover,
                                  rover_histogram_t *histogram);

/* How many seconds each of these attempts took until then, from its start. */
ROVER_EXTERN void rover_connect_seconds_get(const rover_t *rover,
                                            rover_histogram_t *histogram);

/* -- Turns ---------------------------------------------------------------- */

/* However much is ready at once, and however long callbacks take, the loop goes
 * on: once the callbacks of a rover have taken 10 ms in one iteration of the
 * loop, the rest waits for the next, where it comes before anything newer. So
 * an iteration takes that and the longest callback at most. What waits does not
 * count against a server's deadline. Rovers that share a turn have these 10 ms
 * together.
 *
 * They also share look-ups; see rover_server_add(). So the rovers of one loop
 * had best share a turn. A rover that is given none makes one of its own. */

typedef void (*rover_turn_close_cb)(void *data);

/* Makes a turn for rovers on `loop`. Ownership: free it with
 * rover_turn_close(), which needs the loop to run. Errors: UV_EINVAL,
 * UV_ENOMEM. */
ROVER_EXTERN int rover_turn_new(rover_turn_t **turn, uv_loop_t *loop);

/* Call this once all rovers that share it have closed. `cb` may be NULL. The
 * turn's memory is freed as soon as it returns. */
ROVER_EXTERN void rover_turn_close(rover_turn_t *turn, rover_turn_close_cb cb,
                                   void *data);

/* -- Ranges of addresses -------------------------------------------------- */

/* Lists of who may connect or is trusted consist of CIDRs, as "10.0.0.0/8", and
 * addresses, as "::1". IPv4 that is mapped to IPv6 is IPv4. Returns NULL, or
 * what is wrong with `text`, also NULL: part of a sentence that lives for ever.
 * Bits that are set behind the prefix, as in "10.0.0.1/8", are wrong. */
ROVER_EXTERN const char *rover_cidr_check(const char *text);

#ifdef __cplusplus
}
#endif
#endif
