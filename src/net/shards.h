/* Private to src/net, src/relay and src/front: the pairs of one owner, wherever
 * they run. Owners know only this, neither pair nor epoll.
 *
 * Without workers they run on the owner's loop: then what is called may call
 * back before it returns. */
#ifndef NET_SHARDS_H
#define NET_SHARDS_H

#include <callosum/workers.h>

#include <uv.h>

#include "mail.h"
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
  /* Workers have called back; may close the shards' owner. */
  void (*settle)(void *data);
};

/* Zero it, then net__shards_init(). */
struct net__shards {
  struct net__pairs pairs; /* those on the loop */
  struct net__stock stock;
  const struct net__shards_owner *owner;
  void *data;
  rover_workers_t *workers;   /* or NULL */
  struct net__shard **shards; /* by worker; NULL: none there */
  uint64_t count;             /* pairs in workers */
  uint64_t taken[2];          /* by shards that have been closed, and ahead */
  unsigned open;              /* how many shards there are */
  uint32_t cuts;              /* counts net__shards_cut() */
  int failing;                /* what has failed in a worker, ... */
  const char *failing_at;     /* ... and where */
  uint64_t mute;              /* until then, pairs that fail are not told */
  struct net__mail mail;      /* from workers */
  uv_async_t bell;            /* of that */
  void (*closed)(void *data);
};

/* `epoll` is the one of the owner's loop, by which the ends of its pairs are
 * polled until they are joined. `workers` may be NULL. */
void net__shards_init(struct net__shards *shards, uv_loop_t *loop,
                      struct net__epoll *epoll, rover_workers_t *workers,
                      const struct net__shards_owner *owner, void *data);

/* Once no pair is left. Returns whether closed() is to come; what remains is
 * then freed by net__shards_clear(). */
bool net__shards_close(struct net__shards *shards, void (*closed)(void *data));
void net__shards_clear(struct net__shards *shards);

/* See struct net__pairs. Pairs that are open follow, too. */
void net__shards_set_timeouts(struct net__shards *shards, uint64_t idle,
                              uint64_t half_close, uint64_t dead_peer);

/* As net__pair_open(), for polls of the loop's epoll. net__pair_begin_with() may
 * follow, and net__shards_start() has to, after which the pair's ends are no
 * longer the caller's to use. It may end at once. */
int net__shards_open(struct net__shards *shards, struct net__pair *pair,
                     const struct net__end *near, const struct net__end *far);
void net__shards_start(struct net__shards *shards, struct net__pair *pair);

/* Takes the pair apart, and closes its far end, if nothing is unread at either
 * end, or yet to be given out, and the last byte still is the one of which the
 * pair's `since` and `spoke` told the caller: another may have come meanwhile.
 * A worker ends the near end, too, which the owner has to repeat. The answer may
 * come before this returns. */
void net__shards_split(struct net__shards *shards, struct net__pair *pair,
                       uint64_t since, enum net__side spoke);

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

/* For error callbacks: why a worker could not be started since the last call, or
 * not poll a pair, and *message; or 0. */
int net__shards_failing(struct net__shards *shards, const char **message);

#endif
