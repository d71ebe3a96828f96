/* Private to src/net, src/relay and src/front: the pairs of one owner, wherever
 * they run. Owners know only this, neither pair nor epoll. */
#ifndef NET_SHARDS_H
#define NET_SHARDS_H

#include "pair.h"

/* Called in the owner's loop. */
struct net__shards_owner {
  /* net__shards_expire() must be called by then. */
  void (*due)(void *data, uint64_t due);
  /* The pair is freed soon after that, at the latest by net__shards_bury(). */
  void (*ended)(void *data, struct net__pair *pair, enum net__outcome outcome);
  /* The answer to net__shards_split(). If it was, the pair is the owner's to
   * free, and so is `near`, the near end, to be moved elsewhere by
   * net__poll_move(), and asked for events again; else it goes on, and `near`
   * is NULL. No answer comes for one that has ended. */
  void (*split)(void *data, struct net__pair *pair, struct net__poll *near);
};

/* Zero it, then net__shards_init(). */
struct net__shards {
  struct net__pairs pairs;
  const struct net__shards_owner *owner;
  void *data;
};

/* `epoll` is the one of the owner's loop, by which the ends of its pairs are
 * polled until they are joined. */
void net__shards_init(struct net__shards *shards, struct net__epoll *epoll,
                      const struct net__shards_owner *owner, void *data);

/* See struct net__pairs. Pairs that are open follow, too. */
void net__shards_set_timeouts(struct net__shards *shards, uint64_t idle,
                              uint64_t half_close, uint64_t dead_peer);

/* As net__pair_open(), for polls of the loop's epoll. net__pair_begin_with() may
 * follow, and net__shards_start() has to, after which the pair's ends are no
 * longer the caller's to use. It may end at once. */
int net__shards_open(struct net__shards *shards, struct net__pair *pair,
                     const struct net__end *near, const struct net__end *far);
void net__shards_start(struct net__shards *shards, struct net__pair *pair);

/* Takes the pair apart if nothing is unread at either end, or yet to be given
 * out, and closes its far end. The answer may come before this returns. */
void net__shards_split(struct net__shards *shards, struct net__pair *pair);

/* Resets both ends; the first, of all pairs. They may end before this
 * returns. */
void net__shards_cut(struct net__shards *shards);
void net__shards_cut_pair(struct net__shards *shards, struct net__pair *pair);

/* Whether no pair is left. */
bool net__shards_are_over(const struct net__shards *shards);

/* See net__pairs_expire(). */
void net__shards_expire(struct net__shards *shards, uint64_t polled,
                        uint64_t now);
uint64_t net__shards_due(const struct net__shards *shards);

/* Frees pairs that have ended. Not to be called from their callbacks. */
void net__shards_bury(struct net__shards *shards);

/* Bytes read from that side. */
uint64_t net__shards_taken(const struct net__shards *shards,
                           enum net__side side);

/* Frees what the pairs shared, once none of them is left. */
void net__shards_clear(struct net__shards *shards);

#endif
