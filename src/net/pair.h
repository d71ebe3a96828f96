/* Private to src/net and src/relay: two connections that are joined.
 *
 * Pairs know nothing of libuv, nor of whoever joined them: an epoll and the
 * clock are all they need, so they can run in a thread that has these alone. */
#ifndef NET_PAIR_H
#define NET_PAIR_H

#include "epoll.h"
#include "flow.h"

enum net__side { NET_NEAR, NET_FAR };

struct net__pair {
  struct net__poll ends[2];
  struct net__flow flows[2]; /* from that end to the other */
  struct net__pairs *pairs;
  struct net__pair *prev, *next;
  struct net__pair **list; /* of the pairs', that it is in */
  uint64_t since;          /* when it was put there: net__now() */
  int unsent[2];           /* at either end, when that was last looked at */
};

enum net__outcome {
  NET_DONE,  /* both sides were */
  NET_BROKE, /* one side was reset, or vanished */
  NET_CUT    /* by a deadline */
};

struct net__pairs_owner {
  /* A deadline comes at `due`, maybe sooner than all others: by then
   * net__pairs_expire() is to be called. */
  void (*due)(void *data, uint64_t due);
  void (*ended)(void *data, struct net__pair *pair, enum net__outcome outcome);
};

/* Those that one owner has in one thread. Zero it, and set the first five. */
struct net__pairs {
  struct net__epoll *epoll;
  const struct net__pairs_owner *owner;
  void *data;
  /* Without a byte either way, NET_NEVER for no deadline. */
  uint64_t idle_timeout;
  uint64_t half_close_timeout; /* the same once one side has ended */
  struct net__stock stock;
  struct net__pair *open;        /* longest without a byte first, ... */
  struct net__pair *half_closed; /* ... and these, too */
  struct net__pair *ended;       /* to be freed */
  uint64_t check;    /* when to check peers; 0: none has bytes to acknowledge */
  uint64_t taken[2]; /* bytes from that side */
};

/* Joins the two. `near` may be polled already, by the same epoll: then that
 * goes on; the descriptor `far` is not polled. A Unix socket's flow is copied,
 * never spliced. Ownership: `pair` comes from malloc(), and may be the first
 * field of something larger; it is freed by net__pairs_bury(), descriptors are
 * closed as it ends. Errors: those of epoll_ctl(2), after which all is as it
 * was. */
int net__pair_open(struct net__pairs *pairs, struct net__pair *pair,
                   struct net__poll *near, bool near_is_unix, int far,
                   bool far_is_unix);

/* Copies what the near side has sent until now. May end it. */
void net__pair_start(struct net__pair *pair);

/* Resets both ends. */
void net__pair_cut(struct net__pair *pair);
void net__pairs_cut(struct net__pairs *pairs); /* all of them */

/* Whether none is open, be it half. */
bool net__pairs_are_over(const struct net__pairs *pairs);

/* What is due at `polled`, when the epoll was last waited for, is cut, unless
 * there is something to copy after all, or bytes that were copied before have
 * left the kernel since, or may have: then it has as much time again. At `now`,
 * peers may be due to be checked. */
void net__pairs_expire(struct net__pairs *pairs, uint64_t polled,
                       uint64_t now);

/* When that is to be called next. */
uint64_t net__pairs_due(const struct net__pairs *pairs);

/* Frees those that have ended; not from within a call of theirs. */
void net__pairs_bury(struct net__pairs *pairs);

/* Once none is left. */
void net__pairs_clear(struct net__pairs *pairs);

#endif
