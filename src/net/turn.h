/* Private to src/net, src/rover, src/relay and src/front: turns of the loop.
 *
 * However much is ready at once, and however long callbacks take, the loop
 * keeps turning. Before each event, its source asks whether the turn's share of
 * time is used up. If so, the source queues and continues in a later turn, in
 * which the first source in the queue delivers at least one event, and nothing
 * newer overtakes it. So a turn takes at most its share and one callback.
 *
 * The share begins when libuv last updated its time, which it does before
 * running timers and after polling, or when the queue was last served. */
#ifndef NET_TURN_H
#define NET_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

struct net__source {
  void (*go_on)(struct net__source *source); /* may continue */
  struct net__source *prev, *next;           /* in the queue */
};

struct net__turn {
  uv_loop_t *loop;
  uv_idle_t idle; /* runs while the queue is not empty; its data is the turn */
  bool has_idle;  /* since the first source queued */
  struct net__source *queue; /* first come, first served */
  uint64_t served;           /* when serving last began: net__now_coarse() */
  void (*closed)(struct net__turn *turn);
};

/* Needs no closing while has_idle is false. */
void net__turn_init(struct net__turn *turn, uv_loop_t *loop);
void net__turn_close(struct net__turn *turn,
                     void (*closed)(struct net__turn *turn));

/* Whether the source may deliver an event now. If not, it is queued. */
bool net__turn_take(struct net__turn *turn, struct net__source *source);

/* Whether a source that may deliver one event may deliver another. */
bool net__turn_lasts(const struct net__turn *turn);
/* The same, where the caller has read net__now_coarse(). */
bool net__turn_lasts_at(const struct net__turn *turn, uint64_t now);

/* Joins or leaves the queue. Calling either twice is harmless. */
void net__turn_wait(struct net__turn *turn, struct net__source *source);
void net__turn_leave(struct net__turn *turn, struct net__source *source);
bool net__source_waits(const struct net__source *source);

/* Whether the turn's share of time is used up, where there is no queue. */
bool net__is_late(const uv_loop_t *loop);

#endif
