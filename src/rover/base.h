/* Private to src/rover: the rover itself, its random numbers, and its counters,
 * which all other files use. */
#ifndef ROVER_BASE_H
#define ROVER_BASE_H

#include <callosum/rover.h>

#include <stdbool.h>

#include "../net/descriptor.h"
#include "../net/hash.h"
#include "../net/poller.h"
#include "../net/tls.h"
#include "histogram.h"
#include "turn.h"

/* Those that are asked come first, ... */
enum rover__class {
  ROVER__ASKED,
  ROVER__ASIDE,  /* ... then those that are set aside by hand, ... */
  ROVER__HIDDEN, /* ... and those that are dropped by hand */
  ROVER__CLASSES
};

/* All zeros at first, but for the key; see ids.h. */
struct rover__ids {
  struct net__hash_key key;
  struct rover__id *all;
  size_t places, count;
};

struct rover__server_table {
  struct rover__ids by_id;
  rover_server_t **all;  /* dense, so a uniform pick is one access */
  size_t ends[ROVER__CLASSES]; /* how many are of that class or one before */
  size_t capacity;
};

/* The callbacks of some of a rover's sockets: see callbacks.h. */
struct rover__callbacks {
  rover_socket_events_t events;
  size_t sockets; /* its users; freed at 0, except the first */
  struct rover__callbacks *next;
};

struct rover_s {
  uv_loop_t *loop;
  rover_options_t options; /* with defaults filled in */
  struct rover__server_table servers;
  struct rover__tally *tallies; /* uthash head, by tally_key */
  struct net__hash_key tally_key;
  size_t steered;               /* how many of these are */
  unsigned drops;               /* see keep.h */
  /* States of the generator, so that picks do not depend on look-ups. */
  struct rover__random {
    uint64_t picks, orders; /* for servers; for addresses of a name */
  } random;
  bool started;
  bool held;
  bool closing;
  uv_timer_t clock;   /* clock.data is the rover */
  uv_timer_cb tick;   /* what it calls */
  uint64_t ticked;  /* when it last did, in the loop's time */
  uv_timer_t asking;     /* for rover_connect_in() */
  rover_server_t *asked; /* the server that it names, while it runs */
  struct rover__attempt *attempts;
  struct rover__attempt *cursor; /* the next to check for expiry */
  uv_timer_t deadline;           /* of attempts; runs while there are any */
  uint64_t due;          /* when it fires, in the loop's time; 0: stopped */
  uv_timer_t peer_check; /* runs while a peer has bytes to acknowledge */
  uv_timer_t drain;      /* runs while a server is drained, ... */
  uv_timer_cb drain_on;  /* ... and calls this */
  struct net__keepalive keepalive; /* the system's defaults, ... */
  bool knows_keepalive;            /* ... once read from a socket */
  const char *why;                 /* during an unreachable callback */
  struct net__poller *poller;      /* of attempts and kept sockets */
  rover_socket_t *sockets;
  struct rover__callbacks callbacks; /* of sockets; the first of a list */
  struct rover_holder_s *holders;    /* of servers: see hold.h */
  rover_socket_t *closed;            /* not reported yet, linked by prev, ... */
  rover_socket_t *last_closed;       /* ... to this one */
  rover_turn_t *turn;                /* bounds the time of callbacks */
  rover_turn_t *own;                 /* the same, if the rover created it */
  struct net__source overdue;        /* attempts */
  struct net__source later;          /* closed and unwatched sockets */
  struct net__source news;           /* new servers, ... */
  size_t told;                       /* ... from this index on */
  bool unsorted;
  bool unwatched; /* some sockets are */
  char *buffer;   /* sockets read into it; allocated at the first read */
  struct rover__outbox *outbox; /* allocated when it is first needed */
  /* Of clock, asking, deadline, peer_check, drain, poller, later, look-ups and
   * sockets. */
  unsigned refs;
  void (*free)(rover_t *rover); /* called at 0 */
  rover_close_cb close_cb;
  struct rover__rejection {
    rover_rejection_t set; /* with 0 as slot_limit for none */
    uint64_t count;        /* since it was set */
    double interval;       /* the last one, without jitter */
    bool until_drop;       /* the limit ends when there are more, ... */
    unsigned drops;        /* ... than these */
  } rejection;
  rover_stats_t stats;
  struct rover__histogram slots, connect_seconds;
  uint64_t *unreachable; /* by cause, see base.c */
};

enum { ROVER__BUFFER_SIZE = 64 * 1024 };

/* A uniform number in [0, bound), for bound > 0; and in [0, 1). */
uint64_t rover__random_below(uint64_t *state, uint64_t bound);
double rover__random_fraction(uint64_t *state);

/* A server can be unreachable for as many causes as libuv has error codes. */
#define XX(code, message) +1
enum { ROVER__CAUSES = 0 UV_ERRNO_MAP(XX) };
#undef XX
void rover__count_unreachable(rover_t *rover, int status);

/* Adds to the memory in use; a negative number for what was freed. */
void rover__count_memory(const rover_t *rover, ptrdiff_t bytes);

void rover__unref(rover_t *rover);

/* What rover_tls_t begins with. */
static inline struct net__tls_context *rover__tls_context(rover_tls_t *tls) {
  return (struct net__tls_context *)tls;
}

/* Whether it may be the TLS of a rover or server. The others ignore NULL,
 * too. */
bool rover__tls_is_valid(rover_tls_t *tls);
void rover__tls_ref(rover_tls_t *tls);
void rover__tls_unref(rover_tls_t *tls);
/* `tls` is to resume the sessions of `old`, in whose place it is. */
void rover__tls_follow(rover_tls_t *tls, rover_tls_t *old);

/* In ms from now, when the clock ticks next; and sets that, unless it is due
 * already. The clock must be running. */
uint64_t rover__due_in(const rover_t *rover);
void rover__rove_in(rover_t *rover, uint64_t ms);

#endif
