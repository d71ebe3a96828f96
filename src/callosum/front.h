/* callosum/front.h - slots for servers that know nothing of Callosum.
 *
 * A front listens, gives each connection that it accepts the lowest free slot,
 * and joins it with a backend on this machine once the client has sent
 * something: what either side sends is copied to the other, until both have
 * ended. So rovers can balance connections to any TCP service.
 *
 *   static void on_backend(rover_front_t *front, int up, int status,
 *                          const char *message) {
 *     if (!up) fprintf(stderr, "%s\n", message);
 *   }
 *
 *   rover_front_options_t options = {.address = {.port = 4040},
 *                                    .backend = {.port = 5432},
 *                                    .events = {.backend = on_backend}};
 *   rover_front_t *front;
 *   int err = rover_front_new(&front, loop, &options);
 *   if (err == 0) err = rover_front_listen(front);
 *
 * The words used here, besides those of <callosum/rover.h>, whose rules hold
 * here, too:
 *
 * backend     The server behind a front.
 * index       The number of a connection: a new one takes the lowest that is
 *             free, from 0, and frees it when it closes. At a front of weight
 *             w, index i has the slot ceil((i + 1) / w) - 1.
 * unused      Of a connection: it has its slot, and has sent nothing yet.
 * joined      Of a connection: its bytes are copied to the backend, and back.
 * end         To close a connection in order, so that no request is lost: the
 *             front reads nothing more, makes sure that nothing is unread, and
 *             sends a FIN. What the client sends after that does not reach the
 *             backend: it resets the connection.
 *
 * A probe, a connection that ends unused, costs the backend nothing.
 *
 * At most one buffer (256 KiB) is in flight each way of a joined connection, so
 * a slow receiver slows the sender down. When one side ends, that is passed on,
 * and the other may go on; when one is reset, so is the other. A deadline
 * resets both. Urgent data is not passed on.
 *
 * The backend sees all connections as coming from this machine. With send_proxy
 * each begins with a header of the PROXY protocol (version 1 or 2), which has
 * the address of the client; the backend must expect that. Checks begin with
 * one, too, which says that they have no client (LOCAL; in version 1 UNKNOWN).
 * Without accept_proxy the client is whoever connected, so a relay rather than
 * the relay's client. With it, each connection has to begin with such a header,
 * after the slot line, as a relay with send_proxy sends it when it joins a
 * client, and the backend is sent the same addresses. The header counts as a
 * first byte, so protocols in which the server speaks first work, too. Only
 * trusted peers may connect, since a header can claim anything; a certificate
 * makes nobody trusted.
 *
 * With tls (see <callosum/tls.h>), each connection begins with a handshake, and
 * all else comes inside: slot line, PROXY header, and whatever is copied. Until
 * the handshake is done it has no slot, but counts towards max_per_address.
 * There may be a quarter more connections than max_clients, at least 16, as
 * long as that many are in their handshake; then each new one takes the place
 * of the oldest. In a turn of the loop, once handshakes have taken 2 ms, the
 * others wait for the next. With send_proxy 2, the backend is told the TLS
 * version, and a certificate that was verified, with its common name. Where a
 * certificate is required, other machines may connect without `allow` or
 * is_public.
 */
#ifndef CALLOSUM_FRONT_H
#define CALLOSUM_FRONT_H

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_front_s rover_front_t;

/* When a connection is joined with the backend: at its first byte, which may
 * come at any time; in ROVER_FRONT_ON_KEPT also kept_after ms after its slot
 * line, if it is still there, for protocols in which the server speaks first;
 * in ROVER_FRONT_ON_SLOT before its slot line, so that each probe costs a
 * connection to the backend. */
enum { ROVER_FRONT_ON_DATA, ROVER_FRONT_ON_KEPT, ROVER_FRONT_ON_SLOT };

/* The backend has gone down or come up. While it is down, new connections are
 * closed without a slot line; those that were unused when it went down are
 * ended. It counts as down when connecting to it fails: with UV_ECONNREFUSED or
 * UV_ENOENT at once, with other errors (UV_ETIMEDOUT; UV_EAGAIN, its queue is
 * full; ...) after three failures in a row. `status` is that error,
 * UV_ECANCELED if it was set down, or 0. `message` describes it, and lives for
 * the callback. */
typedef void (*rover_front_backend_cb)(rover_front_t *front, int up, int status,
                                       const char *message);

/* This machine has run out of something: UV_EMFILE, UV_ENFILE, UV_ENOMEM,
 * UV_ENOBUFS, UV_EADDRNOTAVAIL (local ports). Either connections cannot be
 * accepted: some are closed, the others stay in the kernel's queue, and the
 * front retries every 100 ms. Or it cannot connect to the backend, which does
 * not count as the backend's failure. Called once until that succeeds again.
 * `message` lives for the callback. */
typedef void (*rover_front_error_cb)(rover_front_t *front, int status,
                                     const char *message);

/* With accept_proxy, a connection was reset:
 *   UV_EPROTO     its PROXY header is missing or wrong
 *   UV_ETIMEDOUT  its PROXY header was not complete within header_timeout
 *   UV_EACCES     it is not trusted to send one: it got no slot line
 * With tls, one was closed without a slot line:
 *   ROVER_ECERT   its certificate was refused, or it refused ours
 *   UV_EPROTO     it speaks no TLS, or none that both know
 *   UV_ETIMEDOUT  its handshake was not done within handshake_timeout
 * Of the latter, ten a second are reported at most. Clients that disconnect
 * during the handshake, as health checks do, are only counted. `peer` is the
 * address of whoever connected, AF_UNIX without a path for a Unix socket. It
 * lives for the callback, as does `message`, which includes it. Not called once
 * the front is closing. */
typedef void (*rover_front_reject_cb)(rover_front_t *front, int status,
                                      const char *message,
                                      const struct sockaddr *peer);

/* The front and all of its connections are closed; its memory is freed right
 * after this returns. */
typedef void (*rover_front_close_cb)(rover_front_t *front);

/* Any of them may be NULL. */
typedef struct rover_front_events_s {
  rover_front_backend_cb backend;
  rover_front_error_cb error;
  rover_front_reject_cb reject;
  void (*reserved[5])(void);
} rover_front_events_t;

/* As ROVER_OPTIONS_MAP in <callosum/rover.h>.
 *
 * For idle_timeout and half_close_timeout bytes count as those of a relay do,
 * see <callosum/relay.h>. */
#define ROVER_FRONT_OPTIONS_MAP(XX)                                            \
  XX(double, weight, FACTOR, 1. / 256, 256, 1, "weight",                       \
     "The share of connections that this server takes, relative to others.")   \
  XX(unsigned, max_clients, COUNT, 1, UINT32_MAX, 1000, "maxClients",          \
     "How many connections there may be, with those that the process before "  \
     "this one still has, but without those in their TLS handshake; one more " \
     "is closed.")                                                             \
  XX(unsigned, max_per_address, COUNT, 1, UINT32_MAX, UINT32_MAX,              \
     "maxPerAddress",                                                          \
     "How many of them may come from one IP address, whatever is in their "    \
     "PROXY headers.")                                                         \
  XX(int, is_public, FLAG, 0, 1, 0, "public",                                  \
     "Whether other machines may connect even if allow is empty.")             \
  XX(uint64_t, kept_after, MS, 1, ROVER_MS_MAX, 200, "keptAfter",              \
     "How long after its slot line a connection that is still there is "       \
     "joined, if connect_on says so.")                                         \
  XX(uint64_t, connect_timeout, TIMEOUT, 1, ROVER_MS_MAX, 1500,                \
     "connectTimeout",                                                         \
     "How long connecting to the backend may take; the kernel asks one whose " \
     "queue was full again after 1,000 ms.")                                   \
  XX(uint64_t, health_interval, TIMEOUT, 1, ROVER_MS_MAX, 1000,                \
     "healthInterval",                                                         \
     "How often a backend that is down is checked, by connecting to it. If "   \
     "never, it is only down when it is set down.")                            \
  XX(uint64_t, idle_timeout, TIMEOUT, 1, ROVER_MS_MAX, ROVER_NEVER,            \
     "idleTimeout",                                                            \
     "After how long without a byte either way a joined connection is reset, " \
     "and an unused one ended.")                                               \
  XX(uint64_t, half_close_timeout, TIMEOUT, 1, ROVER_MS_MAX, 30000,            \
     "halfCloseTimeout",                                                       \
     "After how long without a byte, once one side has ended, the other is "   \
     "reset.")                                                                 \
  XX(uint64_t, drain_timeout, TIMEOUT, 1, ROVER_MS_MAX, 30000, "drainTimeout", \
     "The time over which connections are ended when the weight is lowered, "  \
     "or the policy ends.")                                                    \
  XX(uint64_t, quiet_time, MS, 1, ROVER_MS_MAX, 500, "quietTime",              \
     "How long after its last byte, if the backend sent that, a drain may "    \
     "end a joined connection. If an answer pauses for longer, the rest of "   \
     "it is lost; Nagle's algorithm in the backend can cause pauses of 40 "    \
     "ms.")                                                                    \
  XX(int, keepalive, SECONDS, 1, 32767, 15, "keepalive",                       \
     "How long a client may be silent before it is probed.")                   \
  XX(uint64_t, dead_peer_timeout, TIMEOUT, 1, ROVER_MS_MAX, 25000,             \
     "deadPeerTimeout",                                                        \
     "How long a client may acknowledge nothing, neither probes nor data, "    \
     "before it is given up. Once joined, one that acknowledges but does "     \
     "not read is waited for.")                                                \
  XX(int, accept_proxy, FLAG, 0, 1, 0, "acceptProxy",                          \
     "Whether each connection has to begin with a PROXY header, such as a "    \
     "relay can send, which has its client's address. Those that do not, or "  \
     "are not trusted, are reset.")                                            \
  XX(uint64_t, header_timeout, TIMEOUT, 1, ROVER_MS_MAX, 3000,                 \
     "headerTimeout",                                                          \
     "How long a PROXY header may take to arrive, from its first byte.")       \
  XX(int, send_proxy, PROXY, 0, 2, 0, "sendProxy",                             \
     "The version of the PROXY header that the backend is sent at the "        \
     "beginning of each connection, if any.")

typedef struct rover_front_options_s {
  rover_address_t address;
  rover_address_t backend;    /* needs a port or a path; mode is ignored */
  int connect_on;             /* ROVER_FRONT_ON_DATA, ... */
  const char *const *allow;   /* NULL, or CIDRs, ended by NULL: who may connect,
                               except by a Unix socket */
  const char *const *trusted; /* NULL, or CIDRs, ended by NULL: whose PROXY
                                 headers are accepted; clients of a Unix socket
                                 are trusted. Elsewhere accept_proxy needs
                                 some */
  rover_front_events_t events;
  void *data; /* yours; see rover_front_data() */
  rover_tls_t *tls;           /* NULL, or of rover_tls_server_new() */
  uint64_t handshake_timeout; /* ms; 0: 5,000; ROVER_NEVER: no deadline */
#define XX(type, name, kind, least, most, initial, lua, text) type name;
  ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
  /* The threads that copy, see <callosum/workers.h>; NULL: the loop does. They
   * must outlive the front. */
  struct rover_workers_s *workers;
  uint64_t reserved[9];
} rover_front_options_t;

/* Makes a front on `loop`, which does not listen yet: nothing outside of the
 * process changes. It keeps the loop alive. `options` is copied. Ownership:
 * free it with rover_front_close(), which needs the loop to run. Errors:
 * UV_EINVAL (an option out of its range, a host that is no address, a backend
 * without port and path, accept_proxy without anyone who is trusted or with
 * another connect_on than ROVER_FRONT_ON_DATA, `tls` of clients; `front`,
 * `loop` or `options` is NULL), UV_ELOOP (the backend is the front itself),
 * UV_EPERM (other machines could connect, and the backend would see local
 * connections, which it may trust: set `allow`, is_public, or a `tls` that
 * requires certificates), UV_ENAMETOOLONG (a path is too long for the system),
 * UV_EMFILE, UV_ENOMEM, and those of uv_random(). */
ROVER_EXTERN int rover_front_new(rover_front_t **front, uv_loop_t *loop,
                                 const rover_front_options_t *options);

/* Listens at the address. Errors: those of rover_relay_listen(). */
ROVER_EXTERN int rover_front_listen(rover_front_t *front);

/* Listens on a socket that listens already, whatever the address was. Ownership
 * and errors: as of rover_relay_listen_fd(); and UV_ELOOP and UV_EPERM as of
 * rover_front_new(). */
ROVER_EXTERN int rover_front_listen_fd(rover_front_t *front, int fd);

/* -- From one process to the next ----------------------------------------- */

/* A process can be replaced by another, its successor, without a connection
 * that is lost or a slot that is given twice. The successor gets the socket of
 * the front: rover_front_fd(), and there rover_front_listen_fd(). Once it is
 * ready, and before its loop runs, this one leaves: no more is accepted here,
 * and the successor holds each index that is taken. What was accepted here
 * stays here, and can be drained; whenever an index comes free the successor
 * releases it. */

/* The descriptor that it listens on, or UV_EBADF. */
ROVER_EXTERN int rover_front_fd(const rover_front_t *front);

/* `index` is taken, by a client at the address `peer`, or free again. `peer` is
 * NULL for Unix sockets, and once it is free; its port means nothing. */
typedef void (*rover_front_index_cb)(rover_front_t *front, uint32_t index,
                                     int taken, const struct sockaddr *peer,
                                     void *arg);

/* As rover_relay_leave(). Calls back for each index that is taken before it
 * returns, in ascending order, and later for each of these that comes free,
 * also while the front closes. Errors: also UV_ENOMEM, and nothing is left. */
ROVER_EXTERN int rover_front_leave(rover_front_t *front,
                                   rover_front_index_cb cb, void *arg);

/* As rover_relay_stay(); there are no more callbacks. */
ROVER_EXTERN int rover_front_stay(rover_front_t *front, int owns_file);

/* Takes an index for a connection that another process has, and counts that
 * towards `max_clients`, and towards `max_per_address` of `peer`, which may be
 * NULL. Errors: UV_EALREADY (it is taken), UV_EINVAL (it is ROVER_FRONT_ALL;
 * when closing), UV_ENOMEM. */
ROVER_EXTERN int rover_front_hold(rover_front_t *front, uint32_t index,
                                  const struct sockaddr *peer);

/* Frees it; or all of them. Errors: UV_ENOENT (it is not held). */
#define ROVER_FRONT_ALL UINT32_MAX
ROVER_EXTERN int rover_front_release(rover_front_t *front, uint32_t index);

/* -- Life ----------------------------------------------------------------- */

/* Stops listening, ends all connections as rover_front_drain() does, and calls
 * back when all are closed. 0 resets them at once; ROVER_NEVER waits for them.
 * `cb` may be NULL. Errors: UV_EALREADY when it is already closing: `cb` is
 * then not called, and the earlier of the two deadlines holds. */
ROVER_EXTERN int rover_front_close(rover_front_t *front, uint64_t ms,
                                   rover_front_close_cb cb);

/* Replaces callbacks and user pointer; `events` is copied, NULL means none.
 * Errors: UV_EINVAL (`reserved` is not zero). */
ROVER_EXTERN int rover_front_set_events(rover_front_t *front,
                                        const rover_front_events_t *events,
                                        void *data);

/* Closes new connections without a slot line, and ends the others, evenly
 * spread over `ms`: first those that are unused, then those that are quiet (see
 * quiet_time); at the end the rest is reset. A drain in progress starts over.
 * Errors: UV_EINVAL when closing. */
ROVER_EXTERN int rover_front_drain(rover_front_t *front, uint64_t ms);

/* Stops a drain: new connections get slots again. Those it has ended stay
 * ended. Errors: UV_EINVAL when closing. */
ROVER_EXTERN int rover_front_resume(rover_front_t *front);

/* Changes the weight, for slots that are given from now on. If it is lowered,
 * the surplus is ended, as by a drain over drain_timeout: of the connections
 * that are open now, new / old stay, rounded up. Those that come later are not
 * affected. Errors: UV_EINVAL (out of its range; when closing). */
ROVER_EXTERN int rover_front_set_weight(rover_front_t *front, double weight);

/* Makes the backend count as down, whatever connecting to it shows, until
 * called again with NULL. `reason` is copied; it is the message of the backend
 * callback. Errors: UV_EINVAL when closing, UV_ENOMEM. */
ROVER_EXTERN int rover_front_set_down(rover_front_t *front, const char *reason);

ROVER_EXTERN void *rover_front_data(const rover_front_t *front);
ROVER_EXTERN uv_loop_t *rover_front_loop(const rover_front_t *front);
ROVER_EXTERN int rover_front_is_listening(const rover_front_t *front);
ROVER_EXTERN int rover_front_is_draining(const rover_front_t *front);
/* Whether the backend is up. */
ROVER_EXTERN int rover_front_is_up(const rover_front_t *front);

/* The options with defaults filled in; if the front listens, the port is the
 * one that it got. They live as long as the front. */
ROVER_EXTERN const rover_front_options_t *
rover_front_options(const rover_front_t *front);

/* As ROVER_STATS_MAP in <callosum/rover.h>.
 *
 * accepted == refused + failed + closed + open + securing, and
 * joined == ended + reset + cut + drained + running. */
#define ROVER_FRONT_STATS_MAP(XX)                                              \
  XX(accepted, COUNTER, "accepted", "Connections that were accepted.")         \
  XX(refused, COUNTER, "refused",                                              \
     "Connections that were closed without a slot line: not allowed, too "     \
     "many, in a drain, while the backend was down, or since their TLS "       \
     "handshake failed.")                                                      \
  XX(failed, COUNTER, "failed",                                                \
     "Connections that were reset, since the backend could not be reached "    \
     "after their slot line, or that could not be sent.")                      \
  XX(closed, COUNTER, "closed", "Other connections that have closed.")         \
  XX(probes, COUNTER, "probes",                                                \
     "Of these: clients that disconnected before they were joined.")           \
  XX(rejected, COUNTER, "rejected",                                            \
     "Of these and of refused: connections that were reset, as their PROXY "   \
     "header was missing, wrong or late, or they are not trusted.")            \
  XX(joined, COUNTER, "joined",                                                \
     "Connections that were joined with the backend.")                         \
  XX(ended, COUNTER, "ended",                                                  \
     "Joined ones that have closed: both sides ended.")                        \
  XX(reset, COUNTER, "reset",                                                  \
     "Joined ones that have closed: one side was reset or broke.")             \
  XX(cut, COUNTER, "cut", "Joined ones that have closed: a deadline passed.")  \
  XX(drained, COUNTER, "drained",                                              \
     "Joined ones that were ended: by a drain, or a lowered weight.")          \
  XX(handshakes, COUNTER, "handshakes", "TLS handshakes that were completed.") \
  XX(handshakes_resumed, COUNTER, "handshakesResumed",                         \
     "Of these: resumed a session.")                                           \
  XX(handshakes_timed_out, COUNTER, "handshakesTimedOut",                      \
     "TLS handshakes that failed: not done in time.")                          \
  XX(handshakes_invalid, COUNTER, "handshakesInvalid",                         \
     "TLS handshakes that failed: no TLS, or none that both sides know.")      \
  XX(handshakes_rejected, COUNTER, "handshakesRejected",                       \
     "TLS handshakes that failed: a certificate was refused, the client's or " \
     "the front's.")                                                           \
  XX(handshakes_aborted, COUNTER, "handshakesAborted",                         \
     "TLS handshakes that failed: the client disconnected.")                   \
  XX(handshakes_displaced, COUNTER, "handshakesDisplaced",                     \
     "TLS handshakes that failed: a newer one took the place of the oldest.")  \
  XX(checks, COUNTER, "checks",                                                \
     "Connections to the backend to see whether it is up.")                    \
  XX(received, BYTES, "received", "Bytes from clients.")                     \
  XX(sent, BYTES, "sent", "Bytes to clients.")                               \
  XX(securing, GAUGE, "securing",                                              \
     "Connections in their TLS handshake, which have no slot yet.")            \
  XX(open, GAUGE, "open", "Connections that have a slot.")                     \
  XX(unused, GAUGE, "unused", "Of these: have sent nothing yet.")              \
  XX(running, GAUGE, "running", "Of these: are joined.")                       \
  XX(ending, GAUGE, "ending",                                                  \
     "Of these: have been ended, and the client has yet to end, too.")         \
  XX(held, GAUGE, "held",                                                      \
     "Slots of connections that the process before this one still has.")

typedef struct rover_front_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_FRONT_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[32 ROVER_FRONT_STATS_MAP(XX)]; /* 32 less those above */
#undef XX
} rover_front_stats_t;

ROVER_EXTERN void rover_front_stats_get(const rover_front_t *front,
                                        rover_front_stats_t *stats);

#ifdef __cplusplus
}
#endif
#endif
