/* Private to src/net, src/relay and src/front: two connections that are joined.
 *
 * Pairs need neither libuv nor the code that joined them, only an epoll
 * instance and the clock, so they can run in a thread of their own. */
#ifndef NET_PAIR_H
#define NET_PAIR_H

#include <stdatomic.h>

#include "epoll.h"
#include "flow.h"
#include "mail.h"

enum net__side { NET_NOBODY = -1, NET_NEAR, NET_FAR };

struct net__pair {
  struct net__poll ends[2];
  struct net__flow flows[2]; /* from that end to the other */
  struct net__pairs *pairs;
  struct net__pair *prev, *next;
  struct net__pair **list; /* the list that it is in */
  uint64_t listed;         /* when it was put there: net__now() */
  /* When bytes moved last, or a side ended. Any thread may read this, and the
   * side that sent the last byte, or NET_NOBODY. */
  _Atomic uint64_t since;
  _Atomic signed char spoke;
  int unsent[2]; /* bytes at each end, at the last check */
  /* Between the owner and the worker that it runs in: see shards.c. */
  struct net__letter letter, request;
  uint64_t seen; /* `since` and `spoke`, as the owner has seen them */
  signed char seen_spoke;
  uint32_t cuts;
  unsigned char asked, wanted, outcome;
  bool is_split, is_over;
  bool is_ahead, is_broken; /* how net__pair_run_ahead() left it */
  int error; /* why a worker could not poll it, or 0 */
};

enum net__outcome {
  NET_DONE,  /* both flows were */
  NET_BROKE, /* a side was reset, or vanished */
  NET_CUT    /* by a deadline */
};

struct net__pairs_owner {
  /* There is a deadline at `due`, possibly the earliest: net__pairs_expire()
   * must be called by then. */
  void (*due)(void *data, uint64_t due);
  void (*ended)(void *data, struct net__pair *pair, enum net__outcome outcome);
  void (*batch_end)(void *data); /* in workers: some have ended */
};

/* The pairs of one owner in one thread. Zero it, then set the first four fields and the
 * timeouts. */
struct net__pairs {
  struct net__epoll *epoll;
  struct net__stock *stock;
  const struct net__pairs_owner *owner;
  void *data;
  struct net__pairs *prev, *next; /* in workers: of other owners */
  /* How long no byte may move in either direction, and up to a sixteenth, or 1 s,
   * more; NET_NEVER: no deadline. */
  uint64_t idle_timeout;
  uint64_t half_close_timeout; /* the same, once a side has ended */
  /* How long a peer may owe acknowledgements; 0: as long as its keepalive
   * allows. */
  uint64_t dead_peer_timeout;
  struct net__pair *open;        /* the one in its place for longest first */
  struct net__pair *half_closed; /* likewise */
  struct net__pair *ended;       /* to be freed */
  uint64_t check; /* when to check peers; 0: none has bytes to acknowledge */
  /* Bytes read from each side. Any thread may read this. */
  _Atomic uint64_t taken[2];
};

/* What a pair is made of. */
struct net__end {
  struct net__poll *poll;
  bool is_unix; /* what a Unix socket sends is copied, never spliced */
  bool again;   /* changes already reported are to be reported again */
};

/* Joins the two. Either may already be polled by the same epoll, and then stays
 * so. Ownership: `pair` comes from malloc(), and may be the first field of
 * something larger; net__pairs_bury() frees it. Its connections are closed when
 * it ends. Errors: those of epoll_ctl(2), after which nothing has changed. */
int net__pair_open(struct net__pairs *pairs, struct net__pair *pair,
                   const struct net__end *near, const struct net__end *far);

/* The same in two steps, for pairs that run in another thread: the first makes
 * the pair, which then refers to nothing of the caller's; ends polled by `epoll`
 * no longer are. The second, in that thread, does the rest, and starts it. Where
 * net__pair_open() would fail, the pair ends as NET_BROKE, and `error` is why. */
void net__pair_prepare(struct net__pairs *pairs, struct net__pair *pair,
                       struct net__epoll *epoll, const struct net__end *near,
                       const struct net__end *far);
void net__pair_begin(struct net__pair *pair);

/* Between the two: copies what the near side has sent so far, unless that has
 * TLS, by the caller's stock, since a front that drains ends what it has heard
 * nothing of. Returns how many bytes, which the pairs do not count. */
size_t net__pair_run_ahead(struct net__pair *pair, struct net__stock *stock);

/* The far side gets these bytes, a few and from malloc(), before all others. Only
 * before net__pair_start() or net__pair_run_ahead(). */
void net__pair_begin_with(struct net__pair *pair, char *bytes, size_t length);

/* Copies what the near side has sent so far, and what TLS holds of the far
 * side's. May end the pair. */
void net__pair_start(struct net__pair *pair);

/* If nothing is unread at either end, or yet to be given out, and `since` and
 * `spoke` are still these, takes the pair apart: closes the far end, and leaves
 * the near one, where changes are reported, for the caller to move elsewhere.
 * The owner is not told, and the pair is the caller's to free. Returns whether
 * it did. */
bool net__pair_split(struct net__pair *pair, uint64_t since,
                     enum net__side spoke);

/* Whether it has, and is yet to be freed. */
bool net__pair_has_ended(const struct net__pair *pair);

/* Resets both ends. */
void net__pair_cut(struct net__pair *pair);
void net__pairs_cut(struct net__pairs *pairs); /* all pairs */

/* Whether no pair is open or half closed. */
bool net__pairs_are_over(const struct net__pairs *pairs);

/* Cuts the pairs that were due at `polled`, when the epoll was last waited for.
 * A pair that turns out to have something to copy, or whose earlier bytes have
 * or may have left the kernel since, gets the same time again. Also checks
 * peers, if that is due at `now`. */
void net__pairs_expire(struct net__pairs *pairs, uint64_t polled, uint64_t now);

/* When to call net__pairs_expire() next. */
uint64_t net__pairs_due(const struct net__pairs *pairs);

/* Frees the pairs that have ended. Not to be called from their callbacks. */
void net__pairs_bury(struct net__pairs *pairs);

#endif
