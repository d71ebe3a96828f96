#include "shards.h"

#include "clock.h"

/* The pairs of an owner run on the owner's loop, by the epoll that its other
 * connections are polled with. */

static void on_due(void *data, uint64_t due) {
  struct net__shards *shards = data;
  shards->owner->due(shards->data, due);
}

static void on_ended(void *data, struct net__pair *pair,
                     enum net__outcome outcome) {
  struct net__shards *shards = data;
  shards->owner->ended(shards->data, pair, outcome);
}

static const struct net__pairs_owner pairs_owner = {on_due, on_ended};

void net__shards_init(struct net__shards *shards, struct net__epoll *epoll,
                      const struct net__shards_owner *owner, void *data) {
  shards->owner = owner;
  shards->data = data;
  shards->pairs.epoll = epoll;
  shards->pairs.owner = &pairs_owner;
  shards->pairs.data = shards;
}

void net__shards_set_timeouts(struct net__shards *shards, uint64_t idle,
                              uint64_t half_close, uint64_t dead_peer) {
  shards->pairs.idle_timeout = idle;
  shards->pairs.half_close_timeout = half_close;
  shards->pairs.dead_peer_timeout = dead_peer;
}

int net__shards_open(struct net__shards *shards, struct net__pair *pair,
                     const struct net__end *near, const struct net__end *far) {
  return net__pair_open(&shards->pairs, pair, near, far);
}

void net__shards_start(struct net__shards *shards, struct net__pair *pair) {
  net__pair_start(pair); /* most clients have sent something by now */
  if (shards->pairs.ended) shards->owner->due(shards->data, net__now());
}

void net__shards_split(struct net__shards *shards, struct net__pair *pair) {
  bool is_split = net__pair_split(pair);
  shards->owner->split(shards->data, pair,
                       is_split ? &pair->ends[NET_NEAR] : NULL);
}

void net__shards_cut(struct net__shards *shards) {
  net__pairs_cut(&shards->pairs);
}

void net__shards_cut_pair(struct net__shards *shards, struct net__pair *pair) {
  (void)shards;
  net__pair_cut(pair);
}

bool net__shards_are_over(const struct net__shards *shards) {
  return net__pairs_are_over(&shards->pairs);
}

void net__shards_expire(struct net__shards *shards, uint64_t polled,
                        uint64_t now) {
  net__pairs_expire(&shards->pairs, polled, now);
}

uint64_t net__shards_due(const struct net__shards *shards) {
  return net__pairs_due(&shards->pairs);
}

void net__shards_bury(struct net__shards *shards) {
  net__pairs_bury(&shards->pairs);
}

uint64_t net__shards_taken(const struct net__shards *shards,
                           enum net__side side) {
  return shards->pairs.taken[side];
}

void net__shards_clear(struct net__shards *shards) {
  net__pairs_clear(&shards->pairs);
}
