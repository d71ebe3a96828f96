/* callosum/relay.h - local clients, joined with sockets that a rover keeps.
 *
 * A relay listens on an address of this machine, for programs that know
 * nothing of Callosum, and joins each client that connects there with a kept
 * socket: what either sends is copied to the other, until both are done. A
 * client may wait for one.
 *
 *   static void on_client(rover_relay_t *relay, rover_relay_client_t *client) {
 *     rover_socket_t *socket = rover_socket_first(rover_relay_data(relay));
 *     if (!socket || rover_relay_client_join(client, socket) < 0)
 *       rover_relay_client_refuse(client);
 *   }
 *
 *   rover_relay_options_t options = {.address = {.port = 8080},
 *                                    .events = {.client = on_client},
 *                                    .data = rover};
 *   rover_relay_t *relay;
 *   int err = rover_relay_new(&relay, loop, &options);
 *   if (err == 0) err = rover_relay_listen(relay);
 *
 * At most one buffer (256 KiB) is in flight each way, so a slow receiver slows
 * the sender down. When one side ends, that is passed on, and the other may go
 * on; when one is reset, so is the other (which a Unix socket sees as an end).
 * A deadline resets both, so that nobody mistakes a part for the whole. Urgent
 * data is not passed on. A peer that no longer answers is given up, a client
 * after 15 + 10 seconds, a server according to the keepalive option of its
 * rover; one that answers but does not read is not, unless there is an
 * idle_timeout.
 *
 * A proxy in front of the relay, or a server behind it, may speak the PROXY
 * protocol (version 1 or 2): a header at the beginning of a connection has the
 * address of the client. With accept_proxy each client has to begin with one,
 * and only trusted ones may, since a header can claim anything. With send_proxy
 * servers are sent one as soon as a client is joined, with what was in the
 * client's own header, if it had one.
 *
 * The words and rules of <callosum/rover.h> hold here, too.
 */
#ifndef CALLOSUM_RELAY_H
#define CALLOSUM_RELAY_H

#include <callosum/rover.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct rover_relay_s rover_relay_t;
typedef struct rover_relay_client_s rover_relay_client_t;

/* A client has connected, and waits. Join it with a socket or refuse it, here
 * or later. Without this callback all clients are refused. `client` is valid
 * until it is joined or its close callback has returned. Not called for a
 * client that is closed at once because there are too many. With accept_proxy
 * it comes once the whole header has. */
typedef void (*rover_relay_client_cb)(rover_relay_t *relay,
                                      rover_relay_client_t *client);

/* A client that was not joined has closed; its memory is freed right after this
 * returns. `status` says why:
 *   0             rover_relay_client_refuse(), or it went away: it reset the
 *                 connection, or ended it before it had sent a byte. (After a
 *                 first byte it may still want an answer, and goes on waiting.)
 *   UV_ETIMEDOUT  it had waited for wait_timeout, or its PROXY header had not
 *                 come within header_timeout
 *   UV_EPROTO     its PROXY header is missing or wrong: the client was reset
 *   UV_EACCES     it is not trusted to send one: the client was reset
 *   UV_EMFILE     it could not be accepted for wait_timeout, see the error
 *                 callback; there was no client callback for it
 *   UV_ENOBUFS    there are max_clients, and it had waited longest
 *   UV_ECANCELED  the relay is closing
 *   UV_ENOMEM     and the like: it cannot be watched
 * If that is about its header, there was no client callback for it, and
 * rover_relay_client_reason() tells more. */
typedef void (*rover_relay_client_close_cb)(rover_relay_t *relay,
                                            rover_relay_client_t *client,
                                            int status);

/* Clients cannot be accepted: UV_EMFILE, UV_ENFILE, UV_ENOMEM, UV_ENOBUFS. They
 * stay in the kernel's queue, and the relay retries every 100 ms; this is
 * called once until a retry succeeds. So that a rover that keeps many sockets
 * leaves some descriptors to clients, a listening relay holds some in reserve:
 * a 32nd of the limit, 1 to 32, but only one if half of the limit is in use
 * when it starts. If UV_EMFILE still lasts for wait_timeout, the clients in the
 * queue are closed.
 *
 * Also called when a worker cannot be started, or cannot poll a pair: see
 * <callosum/workers.h>.
 *
 * `message` lives for the callback. */
typedef void (*rover_relay_error_cb)(rover_relay_t *relay, int status,
                                     const char *message);

/* The relay and all of its clients are closed; its memory is freed right after
 * this returns. */
typedef void (*rover_relay_close_cb)(rover_relay_t *relay);

/* Any of them may be NULL. */
typedef struct rover_relay_events_s {
  rover_relay_client_cb client;
  rover_relay_client_close_cb close;
  rover_relay_error_cb error;
  void (*reserved[5])(void);
} rover_relay_events_t;

/* As ROVER_OPTIONS_MAP in <callosum/rover.h>.
 *
 * An idle_timeout or half_close_timeout may take a sixteenth longer, at most
 * 1 s. For these bytes count as they are read, and also as they leave this
 * machine's buffers. The latter is only examined when the time is up, so while
 * some are left it may take twice the time. What waits in a buffer of the
 * receiver's is not seen. */
#define ROVER_RELAY_OPTIONS_MAP(XX)                                            \
  XX(uint64_t, wait_timeout, TIMEOUT, 1, ROVER_MS_MAX, 5000, "waitTimeout",    \
     "How long a client waits for a socket.")                                  \
  XX(uint64_t, idle_timeout, TIMEOUT, 1, ROVER_MS_MAX, ROVER_NEVER,            \
     "idleTimeout",                                                            \
     "After how long without a byte either way both sides are reset.")         \
  XX(uint64_t, half_close_timeout, TIMEOUT, 1, ROVER_MS_MAX, 30000,            \
     "halfCloseTimeout",                                                       \
     "After how long without a byte, once one side has ended, the other is "   \
     "reset.")                                                                 \
  XX(uint64_t, drain_timeout, TIMEOUT, 1, ROVER_MS_MAX, 30000, "drainTimeout", \
     "How long joined clients have to finish once the relay is closed or its " \
     "policy ends.")                                                           \
  XX(unsigned, max_clients, COUNT, 1, UINT32_MAX, 1000, "maxClients",          \
     "How many clients there may be, waiting or joined. One more, and the "    \
     "one that has waited longest is closed; if none waits, the new one.")     \
  XX(int, accept_proxy, FLAG, 0, 1, 0, "acceptProxy",                          \
     "Whether each client has to begin with a PROXY header, which has its "    \
     "real address. Those that do not, or are not trusted, are reset.")        \
  XX(uint64_t, header_timeout, TIMEOUT, 1, ROVER_MS_MAX, 3000,                 \
     "headerTimeout",                                                          \
     "How long a client may take, once accepted, to send its PROXY header.")   \
  XX(int, send_proxy, PROXY, 0, 2, 0, "sendProxy",                             \
     "The version of the PROXY header that a server is sent when it is "       \
     "joined with a client, if any.")

typedef struct rover_relay_options_s {
  rover_address_t address;
  rover_relay_events_t events;
  void *data; /* yours; see rover_relay_data() */
#define XX(type, name, kind, least, most, initial, lua, text) type name;
  ROVER_RELAY_OPTIONS_MAP(XX)
#undef XX
  /* Whose PROXY headers are accepted: CIDRs and addresses (see
   * rover_cidr_check()), ended by NULL. Whoever connects to a Unix socket is
   * trusted: its permissions say who may. Elsewhere accept_proxy needs some. */
  const char *const *trusted;
  /* The threads that copy, see <callosum/workers.h>; NULL: the loop does. They
   * must outlive the relay. */
  struct rover_workers_s *workers;
  uint64_t reserved[4];
} rover_relay_options_t;

/* Creates a relay on `loop`, which does not listen yet: nothing outside of the
 * process changes. It keeps the loop alive. `options` is copied; NULL means
 * defaults. Ownership: free it with rover_relay_close(), which needs the loop
 * to run. Errors: UV_EINVAL (an option out of its range, a host that is no
 * address, a range that is none; `relay` or `loop` is NULL), UV_ENAMETOOLONG
 * (the path is too long for the system), UV_EMFILE, UV_ENOMEM. */
ROVER_EXTERN int rover_relay_new(rover_relay_t **relay, uv_loop_t *loop,
                                 const rover_relay_options_t *options);

/* Listens at the address. Errors: UV_EADDRINUSE (address already in use),
 * UV_ENOTSOCK (the path leads to something other than a socket), UV_EACCES,
 * UV_EADDRNOTAVAIL, UV_ENOENT (the path's folder), UV_EMFILE, UV_ENOMEM, ...;
 * UV_EALREADY when it listens, UV_EINVAL when it closes or there is just an
 * fd_name. */
ROVER_EXTERN int rover_relay_listen(rover_relay_t *relay);

/* Listens on a socket that listens already, whatever the address was, which is
 * the socket's from then on if it was just an fd_name. Closing leaves the file
 * of a Unix socket where it is. Ownership: `fd` is the relay's if this
 * succeeds. Errors: UV_ENOTSOCK, UV_EPROTOTYPE (it is no stream),
 * UV_EAFNOSUPPORT (it is neither of IP nor Unix), UV_EINVAL (it does not
 * listen, or the relay closes), UV_ENAMETOOLONG, UV_EALREADY when the relay
 * listens, UV_ENOMEM. */
ROVER_EXTERN int rover_relay_listen_fd(rover_relay_t *relay, int fd);

/* The descriptor that it listens on, to be passed to another process, or
 * UV_EBADF. */
ROVER_EXTERN int rover_relay_fd(const rover_relay_t *relay);

/* Leaves the address to another process that has its socket: accepts no more,
 * and does not remove the file of a Unix socket when it closes. Clients stay.
 * Returns 1 if the file was the relay's to remove, else 0, or an error:
 * UV_EBADF (it does not listen). */
ROVER_EXTERN int rover_relay_leave(rover_relay_t *relay);

/* Undoes that. With `owns_file`, also in the other process, the file of a Unix
 * socket gets the mode that was declared, and is removed when the relay closes.
 * Errors: UV_EBADF. */
ROVER_EXTERN int rover_relay_stay(rover_relay_t *relay, int owns_file);

/* Stops listening, closes waiting clients, and resets the joined ones that are
 * not done within `ms`: 0 is at once, ROVER_NEVER waits for them; the option
 * drain_timeout is meant for this. Calls back when all is gone. `cb` may be
 * NULL. Errors: UV_EALREADY when it is already closing: `cb` is then not
 * called, and the earlier of the two deadlines holds. */
ROVER_EXTERN int rover_relay_close(rover_relay_t *relay, uint64_t ms,
                                   rover_relay_close_cb cb);

/* Replaces callbacks and user pointer; `events` is copied, NULL means none.
 * Errors: UV_EINVAL (`reserved` is not zero). */
ROVER_EXTERN int rover_relay_set_events(rover_relay_t *relay,
                                        const rover_relay_events_t *events,
                                        void *data);

ROVER_EXTERN void *rover_relay_data(const rover_relay_t *relay);
ROVER_EXTERN uv_loop_t *rover_relay_loop(const rover_relay_t *relay);
ROVER_EXTERN int rover_relay_is_listening(const rover_relay_t *relay);
/* The options with defaults filled in; if the relay listens, the port is the
 * one that it got. They live as long as the relay. */
ROVER_EXTERN const rover_relay_options_t *
rover_relay_options(const rover_relay_t *relay);

/* Joins a waiting client with a kept socket, which leaves its rover as by
 * rover_socket_detach(): its close callback is called, its connection goes on.
 * The relay owns the connection from here on; `client` is gone, without a
 * callback. Errors: UV_EINVAL (the client is no longer waiting, or the socket
 * is closing), UV_ENOTCONN (the server has ended the connection), UV_EPIPE
 * (this side has been shut down), UV_EBUSY (writes are queued, or a shutdown is
 * under way), UV_EMFILE (the descriptor held in reserve for this is gone, too),
 * UV_ENOMEM, UV_ECONNRESET, ...; the client then is still waiting, and the
 * socket as it was. */
ROVER_EXTERN int rover_relay_client_join(rover_relay_client_t *client,
                                         rover_socket_t *socket);

/* Closes a waiting client; otherwise does nothing. */
ROVER_EXTERN void rover_relay_client_refuse(rover_relay_client_t *client);

/* The waiting clients, the one that has waited longest first. Each returns NULL
 * at the end; `client` must be waiting. */
ROVER_EXTERN rover_relay_client_t *
rover_relay_client_first(const rover_relay_t *relay);
ROVER_EXTERN rover_relay_client_t *
rover_relay_client_next(const rover_relay_client_t *client);

ROVER_EXTERN int
rover_relay_client_is_waiting(const rover_relay_client_t *client);
ROVER_EXTERN rover_relay_t *
rover_relay_client_relay(const rover_relay_client_t *client);
ROVER_EXTERN void *rover_relay_client_data(const rover_relay_client_t *client);
ROVER_EXTERN void rover_relay_client_set_data(rover_relay_client_t *client,
                                              void *data);

/* The address of a waiting client: the one in its PROXY header, or else as
 * getpeername(2) gives it. Also for one whose header was not accepted, in its
 * close callback. Errors: UV_ENOTCONN, UV_EINVAL. */
ROVER_EXTERN int rover_relay_client_peername(const rover_relay_client_t *client,
                                             struct sockaddr *name,
                                             int *length);

/* The contents of a PROXY header. Lengths are in bytes; strings are as the
 * proxy sent them, not NUL-terminated, and NULL where there is none. */
typedef struct rover_proxy_s {
  int version;  /* 1 or 2 */
  int is_local; /* it has no addresses: it is the proxy's own connection, such
                   as a health check, or that of a client without an address, on
                   a Unix socket. The client is then whoever connected */
  const struct sockaddr *from, *to; /* unless is_local; IPv4 is not mapped */
  const char *unique_id;
  size_t unique_id_length;
  const char *authority; /* the host name that the client asked for */
  size_t authority_length;
  int has_tls;             /* between the client and the proxy, ... */
  const char *tls_version; /* ... of this version */
  size_t tls_version_length;
  int is_verified; /* the client has a certificate, which was verified, ... */
  const char *common_name; /* ... and this is the name in it */
  size_t common_name_length;
  uint64_t reserved[8];
} rover_proxy_t;

/* Returns the contents of a waiting client's PROXY header. Ownership: what is
 * in *proxy lives as long as the client waits. Errors: UV_ENOENT (without
 * accept_proxy there is none), UV_EINVAL. */
ROVER_EXTERN int rover_relay_client_proxy(const rover_relay_client_t *client,
                                          rover_proxy_t *proxy);

/* In the close callback of a client: why its PROXY header was not accepted, as
 * a constant string, or NULL. */
ROVER_EXTERN const char *
rover_relay_client_reason(const rover_relay_client_t *client);

/* As ROVER_STATS_MAP in <callosum/rover.h>.
 *
 * accepted == joined + refused + expired + gone + rejected + handshaking +
 * waiting, and joined == ended + reset + cut + running. */
#define ROVER_RELAY_STATS_MAP(XX)                                              \
  XX(accepted, COUNTER, "accepted", "Clients that connected.")                 \
  XX(joined, COUNTER, "joined", "Clients that were joined with a socket.")     \
  XX(refused, COUNTER, "refused",                                              \
     "Clients that were refused, over max_clients, or closed with the relay.") \
  XX(expired, COUNTER, "expired",                                              \
     "Clients that waited for wait_timeout in vain.")                          \
  XX(gone, COUNTER, "gone", "Clients that went away while they waited.")       \
  XX(ended, COUNTER, "ended",                                                  \
     "Joined clients that are over: both sides ended.")                        \
  XX(reset, COUNTER, "reset",                                                  \
     "Joined clients that are over: one side was reset or broke.")             \
  XX(cut, COUNTER, "cut", "Joined clients that are over: a deadline passed.")  \
  XX(received, BYTES, "received", "Bytes from clients.")                     \
  XX(sent, BYTES, "sent", "Bytes to clients.")                               \
  XX(waiting, GAUGE, "waiting", "Clients that wait.")                          \
  XX(running, GAUGE, "running", "Clients that are joined.")                    \
  XX(rejected, COUNTER, "rejected",                                            \
     "Clients that were reset: their PROXY header was missing, wrong or "      \
     "late, or they are not trusted.")                                         \
  XX(handshaking, GAUGE, "handshaking",                                        \
     "Clients whose PROXY header is yet to come.")

typedef struct rover_relay_stats_s {
#define XX(name, kind, lua, text) uint64_t name;
  ROVER_RELAY_STATS_MAP(XX)
#undef XX
#define XX(name, kind, lua, text) -1
  uint64_t reserved[32 ROVER_RELAY_STATS_MAP(XX)]; /* 32 less those above */
#undef XX
} rover_relay_stats_t;

ROVER_EXTERN void rover_relay_stats_get(const rover_relay_t *relay,
                                        rover_relay_stats_t *stats);

#ifdef __cplusplus
}
#endif
#endif
