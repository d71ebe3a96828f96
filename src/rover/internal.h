/* Private to src/rover: what its files share. */
#ifndef ROVER_INTERNAL_H
#define ROVER_INTERNAL_H

#include <callosum/rover.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"
#include "../net/poller.h"
#include "turn.h"

#include <stdbool.h>
#include <stddef.h>

struct rover__attempt;

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

/* -- attempt.c ------------------------------------------------------------ */

/* Begins one attempt, or returns UV_ENOMEM. Every other outcome comes by
 * callback in a later turn of the loop; that of NULL is that nobody is there
 * to be asked. */
int rover__attempt_start(rover_t *rover, rover_server_t *server);

/* The rover is held no more: those that have arrived go on. */
void rover__attempt_let_in(rover_t *rover);

/* Ends those whose deadline has come. */
void rover__attempt_expire(struct net__source *overdue);

/* Cancels in silence the attempts to `server`, or all of them for NULL. */
void rover__attempt_cancel(rover_t *rover, const rover_server_t *server);

/* The rover has other servers now: each attempt goes on for the one that has
 * its server's id and address, or is cancelled in silence. */
void rover__attempt_follow_servers(rover_t *rover);

/* -- socket.c ------------------------------------------------------------- */

struct rover__request;

/* What callbacks some sockets of a rover have. A million of them have one or two
 * such tables between them, so that each refers to the rover's copy. */
struct rover__callbacks {
  rover_socket_events_t events;
  size_t sockets; /* that refer to it; freed at 0, but for the rover's first */
  struct rover__callbacks *next;
};

/* There may be many, so it is small. */
struct rover_socket_s {
  rover_t *rover;
  struct net__poll poll; /* while nobody reads; its descriptor always */
  const rover_server_t *server;
  struct rover__callbacks *callbacks; /* one of the rover's, or NULL */
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
                          int slot, struct net__poll *poll);

/* Tells of those that have closed, and that could not be watched. */
void rover__socket_tell(struct net__source *later);
void rover__socket_tell_all(rover_t *rover); /* at once */

/* Tries again with those kept sockets that could not be watched. */
void rover__socket_watch_again(rover_t *rover);

/* The rover's option keepalive has changed. */
void rover__socket_set_keepalive(rover_socket_t *socket);

/* Looks at the peers of those to whom something is under way. */
void rover__socket_look(uv_timer_t *look);

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
  struct net__keepalive keepalive;   /* the system's own, ... */
  bool knows_keepalive;              /* ... once a socket was asked */
  const char *why; /* while it is told that a server is unreachable */
  struct net__poller *poller; /* of attempts and kept sockets */
  rover_socket_t *sockets;
  struct rover__callbacks callbacks; /* of sockets; the first of a list */
  rover_socket_t *closed; /* to be told of, by their prev, ... */
  rover_socket_t *last_closed; /* ... to this one */
  rover_turn_t *turn; /* in which it hands out events, ... */
  rover_turn_t *own;  /* ... that one, if it is its own */
  struct net__source overdue; /* attempts */
  struct net__source later;   /* what is to be told later */
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

/* A uniform number in [0, bound), for bound > 0. */
uint64_t rover__random_below(uint64_t *state, uint64_t bound);

void rover__count_unreachable(rover_t *rover, int status);

/* Counts memory that was taken, or with a negative number given back. */
void rover__count_memory(const rover_t *rover, ptrdiff_t bytes);

void rover__unref(rover_t *rover);

#endif
