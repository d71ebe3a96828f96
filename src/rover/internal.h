/* Private to src/rover: what its files share. */
#ifndef ROVER_INTERNAL_H
#define ROVER_INTERNAL_H

/* What uthash's lists assert would print and abort. */
#ifndef NDEBUG
#define NDEBUG
#endif

#include <callosum/relay.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/un.h>

struct rover__attempt;

/* -- turn.c: the loop comes round, however much is ready ------------------- */

/* What has events to hand out. */
struct rover__source {
  void (*go_on)(struct rover__source *source); /* it has waited, and may */
  struct rover__source *prev, *next;           /* while it waits */
};

/* Whether it may hand out an event now. If not, it waits from here on. */
bool rover__turn_take(rover_turn_t *turn, struct rover__source *source);

/* Whether whoever may hand out one may hand out another. If not, it waits. */
bool rover__turn_lasts(const rover_turn_t *turn);

void rover__turn_wait(rover_turn_t *turn, struct rover__source *source);
void rover__turn_leave(rover_turn_t *turn, struct rover__source *source);
bool rover__source_waits(const struct rover__source *source);

/* The same without a line: whether a turn's share of time is over. */
bool rover__is_late(const uv_loop_t *loop);

/* What those that share a turn have in common when they look up names. */
struct rover__lookups {
  struct rover__lookup *first; /* of those under way, one a name */
  bool has_pool; /* of threads: libuv's has started */
};
struct rover__lookups *rover__turn_lookups(rover_turn_t *turn);

/* -- line.c: the slot line ------------------------------------------------ */

enum { ROVER__LINE_MAX = 12 }; /* 10 digits, CR, LF */

/* Parses the `length` bytes read so far. Returns 0 when they are the whole
 * line and sets *slot; UV_EPROTO when no line begins like this; else how many
 * more bytes may be read without passing the line's LF. */
int rover__line_parse(const char *line, size_t length, int *slot);

/* Writes `bytes` in double quotes, escaped, NUL-terminated, and cut with "..."
 * where `out` ends. `size` is at least 8. */
void rover__quote(char *out, size_t size, const char *bytes, size_t length);

/* -- server.c: the table of servers --------------------------------------- */

struct rover__server_table {
  rover_server_t *by_id; /* uthash head */
  rover_server_t **all;  /* dense, so that a uniform pick is one look-up */
  size_t count;
  size_t capacity;
};

/* A random server that is not paused, or NULL if none was found. Lowers *awake
 * to when the first of those passed over is not paused any more. */
rover_server_t *rover__server_pick(rover_t *rover, uint64_t *awake);
/* The rover's server of the id and address of that one, or NULL. */
const rover_server_t *rover__server_same(const rover_t *rover,
                                         const rover_server_t *as);
ptrdiff_t rover__server_memory(const rover_t *rover); /* of all of them */
void rover__server_clear(rover_t *rover);

/* -- descriptor.c: of a connection ---------------------------------------- */

void rover__set_option(int fd, int level, int option, int value);

/* After so many seconds of silence 10 probes, a second apart; 0: none. */
void rover__set_keepalive(int fd, int seconds);

/* What there is of those options unless somebody sets them. */
struct rover__keepalive {
  int idle, interval, count;
};
void rover__get_keepalive(int fd, struct rover__keepalive *keepalive);
/* Undoes what was set of a descriptor that others are to have. */
void rover__unset_options(int fd, const struct rover__keepalive *keepalive);

/* Keepalive tells of peers that vanish while nothing is under way to them. Of
 * the others the kernel waits many minutes for acknowledgements, so they are
 * looked at every so often. */
enum { ROVER__LOOK_MS = 1000 };
enum rover__peer {
  PEER_SETTLED, /* it has acknowledged all there is */
  PEER_OWES,    /* it has yet to; so has one that takes in nothing for now */
  PEER_DOUBTED, /* it has not answered for half of keepalive's time */
  PEER_GONE     /* nor for all of it */
};

/* `before` is what the last look has found, PEER_OWES since something was sent.
 * One that answers is waited for, though it takes in nothing. */
enum rover__peer rover__look_at_peer(int fd, enum rover__peer before);

/* What broke the connection, taken from its SO_ERROR; or 0. */
int rover__error_of(int fd);

/* 1: bytes wait, which stay there; 0: it has ended; UV_EAGAIN: neither; or what
 * broke it. */
int rover__peek(int fd);

/* -- poller.c: tells when descriptors are ready --------------------------- */

struct rover__poller;

struct rover__poll {
  int fd;
  uint32_t place; /* in the poller */
  short events; /* asked for: UV_READABLE, UV_WRITABLE, UV_DISCONNECT, or 0 */
  bool is_set;
  unsigned char peer; /* an enum rover__peer: what was last seen of it */
  /* It tells of each change once, so read until there is nothing left, or say
   * rover__poll_again(); what is not asked for any more may be told. An end that
   * was told is told again if it is asked for again. */
  bool changes;
  /* Called with those that are there, with 0 if it has hung up, or with a
   * negative code: it broke, which comes whatever is asked for. SO_ERROR then
   * tells why, or if it does not, that code does. */
  void (*ready)(struct rover__poll *poll, int events);
#if !defined(__linux__) || defined(ROVER_NO_EPOLL)
  struct rover__poller *poller;
  struct rover__source source;
  int told; /* that is yet to be handed out */
  uv_poll_t *handle;
  bool shared; /* so `copy` is polled, a second descriptor */
  int copy;
#endif
};

struct rover__poller_owner {
  void (*told)(void *data); /* all there was to tell in this turn; or NULL */
  void (*closed)(void *data);
  bool keeps_alive; /* the loop, from the beginning */
};

/* Asks for events from now on. Can fail only the first time. */
int rover__poll_set(struct rover__poller *poller, struct rover__poll *poll,
                    int events);

/* What is there is told as if it came now. */
void rover__poll_again(struct rover__poller *poller, struct rover__poll *poll);

/* Whether something of it may be there that is yet to be handed out. */
bool rover__poll_is_behind(const struct rover__poller *poller,
                           const struct rover__poll *poll);

/* Has another take its place, and tell the rest. */
void rover__poll_move(struct rover__poller *poller, struct rover__poll *poll,
                      struct rover__poll *to,
                      void (*ready)(struct rover__poll *poll, int events));

/* A handle of libuv's is about to have the descriptor, too. Where libuv allows no
 * other beside it, it is not polled any more, and then by a second descriptor. */
void rover__poll_share(struct rover__poller *poller, struct rover__poll *poll);

/* Nothing is told of it any more. The second closes the descriptor, too. */
void rover__poll_leave(struct rover__poller *poller, struct rover__poll *poll);
void rover__poll_close(struct rover__poller *poller, struct rover__poll *poll);

/* With a turn, it keeps to that; else all is handed out at once. Ownership:
 * `owner` must outlive the poller, which ends in closed(). */
int rover__poller_new(struct rover__poller **poller, uv_loop_t *loop,
                      rover_turn_t *turn,
                      const struct rover__poller_owner *owner, void *data);
void rover__poller_keep_alive(struct rover__poller *poller, bool does);
void rover__poller_close(struct rover__poller *poller);

/* -- attempt.c ------------------------------------------------------------ */

/* Begins one attempt, or returns UV_ENOMEM. Every other outcome comes by
 * callback in a later turn of the loop; that of NULL is that nobody is there
 * to be asked. */
int rover__attempt_start(rover_t *rover, rover_server_t *server);

/* The rover is held no more: those that have arrived go on. */
void rover__attempt_let_in(rover_t *rover);

/* Ends those whose deadline has come. */
void rover__attempt_expire(struct rover__source *overdue);

/* Cancels in silence the attempts to `server`, or all of them for NULL. */
void rover__attempt_cancel(rover_t *rover, const rover_server_t *server);

/* The rover has other servers now: each attempt goes on for the one that has
 * its server's id and address, or is cancelled in silence. */
void rover__attempt_follow_servers(rover_t *rover);

/* -- socket.c ------------------------------------------------------------- */

struct rover__request;

/* There may be many, so it is small. */
struct rover_socket_s {
  rover_t *rover;
  struct rover__poll poll; /* while nobody reads; its descriptor always */
  const rover_server_t *server;
  const rover_socket_events_t *events;
  void *data;
  uv_tcp_t *tcp; /* once it is used; tcp->data is the socket */
  struct rover__request *requests; /* writes and shutdown not yet done */
  rover_socket_t *prev, *next; /* prev: the next that closes, when it does */
  int slot;
  short status; /* for the close callback; before, why it is unwatched */
  bool reading : 1;
  bool ended : 1; /* by the peer, ... */
  bool eof : 1;   /* ... and nothing is left to read */
  bool shut : 1;  /* by us */
  bool unwatched : 1; /* since the kernel refused to, ... */
  bool told : 1;      /* ... and that has been told */
  bool closing : 1;
  bool tuned : 1; /* has its options */
};

/* A slot line has come through `poll`: tells the connection callback, and keeps
 * the socket unless it was closed there. Either way `poll` is done with.
 * Returns UV_ENOMEM, and leaves it, if there is no memory for a socket. */
int rover__socket_deliver(rover_t *rover, const rover_server_t *server,
                          int slot, struct rover__poll *poll);

/* Tells of those that have closed, and that could not be watched. */
void rover__socket_tell(struct rover__source *later);
void rover__socket_tell_all(rover_t *rover); /* at once */

/* Tries again with those kept sockets that could not be watched. */
void rover__socket_watch_again(rover_t *rover);

/* The rover's option keepalive has changed. */
void rover__socket_set_keepalive(rover_socket_t *socket);

/* Sets the options of a kept socket, once. */
void rover__socket_tune(rover_socket_t *socket);

/* Looks at the peers of those to whom something is under way. */
void rover__socket_look(uv_timer_t *look);

/* A descriptor of the connection, the only one if that can be, for whoever then
 * closes the socket, or gives it back; or the errors of rover_socket_detach(). */
int rover__socket_release(rover_socket_t *socket);
void rover__socket_restore(rover_socket_t *socket, int fd);

/* -- rover.c -------------------------------------------------------------- */

struct rover_s {
  uv_loop_t *loop;
  rover_options_t options; /* with defaults filled in */
  struct rover__server_table servers;
  /* States of the generator, so that picks do not depend on look-ups. */
  struct rover__random {
    uint64_t picks, orders; /* of servers; of a name's addresses */
  } random;
  bool started;
  bool held;
  bool closing;
  uv_timer_t clock; /* clock.data is the rover */
  uint64_t ticked;  /* when, in the loop's time */
  struct rover__attempt *attempts;
  struct rover__attempt *cursor; /* the next whose deadline is looked at */
  uv_timer_t deadline; /* of an attempt; runs while there is one */
  uint64_t due; /* when it fires, in the loop's time; 0: it does not run */
  uv_timer_t look; /* at peers; runs while something is under way to one */
  struct rover__keepalive keepalive; /* the system's own, ... */
  bool knows_keepalive;              /* ... once a socket was asked */
  const char *why; /* while it is told that a server is unreachable */
  struct rover__poller *poller; /* of attempts and kept sockets */
  rover_socket_t *sockets;
  rover_socket_t *closed; /* to be told of, by their prev, ... */
  rover_socket_t *last_closed; /* ... to this one */
  rover_turn_t *turn; /* in which it hands out events, ... */
  rover_turn_t *own;  /* ... that one, if it is its own */
  struct rover__source overdue; /* attempts */
  struct rover__source later;   /* what is to be told later */
  bool unsorted;
  bool unwatched; /* some of them are */
  char *buffer; /* what a reading socket reads into; made when first wanted */
  unsigned refs; /* clock, deadline, look, poller, later, lookups, sockets: freed
                    at 0 */
  rover_close_cb close_cb;
  rover_stats_t stats;
  uint64_t *unreachable; /* by cause, see rover.c */
};

enum { ROVER__BUFFER_SIZE = 64 * 1024 };

/* The time, in ms as loops have it. A loop's own is old if the program was
 * busy, and to update it would have timers due that libuv is just about to leave
 * for the next turn. */
static inline uint64_t rover__now(void) { return uv_hrtime() / 1000000; }

/* A uniform number in [0, bound), for bound > 0. */
uint64_t rover__random_below(uint64_t *state, uint64_t bound);

void rover__count_unreachable(rover_t *rover, int status);

/* Counts memory that was taken, or with a negative number given back. */
void rover__count_memory(const rover_t *rover, ptrdiff_t bytes);

void rover__unref(rover_t *rover);

/* True for what this machine lacks, whichever server is asked. */
bool rover__is_exhaustion(int status);

/* -- flow.c: one way of a joined connection ------------------------------- */

/* What it waits for: that the sender sends, that the receiver takes, that others
 * have had their turn while there is more, nothing. */
enum rover__flow_state { FLOW_READS, FLOW_WRITES, FLOW_YIELDS, FLOW_DONE };

/* At rest it has no buffer: what it holds is what the receiver did not take. */
struct rover__flow {
  struct rover__pipe *pipe; /* has them, ... */
  char *bytes;              /* ... or they are here, ... */
  size_t start, length;     /* ... from start on, so many */
  unsigned char state;
  bool ended;               /* the sender has */
  bool wary;                /* of a short read: more may be behind it */
  bool splices;             /* is allowed to, ... */
  bool bulk;                /* ... and does */
};

/* What the flows of one relay share. */
struct rover__stock {
  char *buffer;
  struct rover__pipe *pipes; /* empty ones, ... */
  unsigned kept;             /* ... so many of ... */
  unsigned made;             /* ... all there are */
};

/* Copies what can be copied now, and sets the state: FLOW_READS only if there is
 * nothing left to read, FLOW_DONE if the end has come, and all before it is given
 * out. *copied is how many bytes were taken
 * in. Returns 0, or what broke one of the descriptors. */
int rover__flow_run(struct rover__flow *flow, struct rover__stock *stock,
                    int from, int to, size_t *copied);

/* Drops what it holds. */
void rover__flow_close(struct rover__flow *flow, struct rover__stock *stock);

void rover__stock_clear(struct rover__stock *stock);

/* -- listener.c ----------------------------------------------------------- */

struct rover__listener;

/* Listens at relay->name. */
int rover__listener_open(struct rover__listener **listener,
                         rover_relay_t *relay);
void rover__listener_close(struct rover__listener *listener);

/* Accepts again, after a pause for want of descriptors. */
void rover__listener_resume(struct rover__listener *listener);

/* Takes again what was spent of its descriptors for clients who find none. */
void rover__listener_reserve(struct rover__listener *listener);

/* Clients are this relay's from now on. */
void rover__listener_give(struct rover__listener *listener,
                          rover_relay_t *relay);

int rover__listener_set_mode(struct rover__listener *listener, int mode);

/* The port, 0 for a path. */
int rover__listener_port(const struct rover__listener *listener);

/* Whether a path, however it is spelled, leads to its socket. */
bool rover__listener_is_at(const struct rover__listener *listener,
                           const char *path);

/* -- client.c ------------------------------------------------------------- */

struct rover_relay_client_s {
  struct rover__poll ends[2];   /* the client's and the server's */
  struct rover__flow flows[2];  /* from that end to the other */
  rover_relay_t *relay;
  rover_relay_client_t *prev, *next;
  rover_relay_client_t **list; /* of the relay's, that it is in */
  uint64_t since; /* when it came, or when its last byte did: rover__now() */
  void *data;
  int queued[2]; /* at either end, when that was last looked at */
  int status;
  bool local; /* came by a Unix socket, wherever the relay listens now */
  bool joined;
  bool closing;
};

/* Takes on an accepted connection. Errors: UV_ENOMEM, UV_EMFILE; it is then
 * closed. */
int rover__client_new(rover_relay_t *relay, int fd, bool local);

/* Takes one on for whom there is no descriptor to be had but that one, and closes
 * it. */
void rover__client_turn_away(rover_relay_t *relay, int fd);

/* Closes a client that waits. */
void rover__client_close(rover_relay_client_t *client, int status);

/* Looks at the peers of a joined one, which ends if one of them has vanished.
 * Returns whether something is under way to them. */
bool rover__client_look(rover_relay_client_t *client);

/* Resets both ends of a joined one: a deadline has come. */
void rover__client_cut(rover_relay_client_t *client);

/* The same unless there is something to copy after all, or bytes that were copied
 * before have left the kernel since, or may have: then it has as much time
 * again. */
void rover__client_expire(rover_relay_client_t *client);

/* -- relay.c -------------------------------------------------------------- */

struct rover_relay_s {
  uv_loop_t *loop;
  rover_relay_options_t options; /* defaults filled in, strings its own */
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un path;
  } name; /* the address as declared: its port may be 0 */
  struct rover__listener *listener;
  uv_timer_t timer; /* of the deadline that comes first; data is the relay */
  uint64_t due;     /* when it fires, in the loop's time; 0: it does not */
  uint64_t fired;   /* when it last did */
  uint64_t retry;   /* when to accept again; 0: it does */
  uint64_t look;    /* when to look at peers; 0: nothing is under way to any */
  uint64_t cut;     /* when it closes: when the joined clients are reset */
  rover_relay_client_t
      *waiting; /* longest first; the others: longest without ... */
  rover_relay_client_t *joined;
  rover_relay_client_t *ending; /* one side of them has ended */
  rover_relay_client_t *closed; /* to be freed when no call refers to them */
  struct rover__poller *poller;
  int spare; /* a descriptor for a join that finds none, or -1 */
  struct rover__stock stock;
  unsigned refs; /* timer, poller, closing listeners */
  bool closing;
  rover_relay_close_cb close_cb;
  rover_relay_stats_t stats;
};

/* Puts a client at the end of a list of the relay's, out of that where it is;
 * its deadline counts from here. */
void rover__relay_enlist(rover_relay_client_t *client,
                         rover_relay_client_t **list);

/* Frees what has closed, and tells of it, as much as one turn of the loop
 * allows; to be called when the loop has told what it had to tell. Closes the
 * relay's handles if it closes and that was all. */
void rover__relay_bury(rover_relay_t *relay);

/* Takes the spare descriptor if there is none; returns whether there is one
 * now. */
bool rover__relay_reserve(rover_relay_t *relay);

/* Something is under way to a peer of a joined client. */
void rover__relay_look(rover_relay_t *relay);

/* Sees to it that the timer fires by then. */
void rover__relay_arm(rover_relay_t *relay, uint64_t due);

void rover__relay_unref(rover_relay_t *relay);

#endif
