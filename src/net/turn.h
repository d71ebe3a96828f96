/* Private to src/net, src/rover and src/relay: turns of the loop.
 *
 * However much is ready at once, and however long each callback takes, the loop
 * comes round. Whatever has events to deliver, a source, asks before each
 * whether a turn's share of time is over. If so, it queues, and goes on in a
 * later turn: at least one event of the source that comes first, and nothing
 * newer before it. So a turn takes its share and one callback.
 *
 * The share begins when libuv last took the time, which it does before it runs
 * timers and after it has polled, or when the queue was last served. */
#ifndef NET_TURN_H
#define NET_TURN_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

struct net__source {
  void (*go_on)(struct net__source *source); /* it has queued, and may */
  struct net__source *prev, *next;           /* while it queues */
};

struct net__turn {
  uv_loop_t *loop;
  uv_idle_t idle; /* runs while something queues; idle.data is the turn */
  bool has_idle;  /* since something queued */
  struct net__source *queue; /* longest first */
  uint64_t served;           /* when that last began: net__now_coarse() */
  void (*closed)(struct net__turn *turn);
};

/* Needs no closing as long as !has_idle. */
void net__turn_init(struct net__turn *turn, uv_loop_t *loop);
void net__turn_close(struct net__turn *turn,
                     void (*closed)(struct net__turn *turn));

/* Whether the source may deliver an event now. If not, it queues. */
bool net__turn_take(struct net__turn *turn, struct net__source *source);

/* Whether a source that was allowed one event may deliver another. */
bool net__turn_lasts(const struct net__turn *turn);

/* Both harmless when repeated. */
void net__turn_wait(struct net__turn *turn, struct net__source *source);
void net__turn_leave(struct net__turn *turn, struct net__source *source);
bool net__source_waits(const struct net__source *source);

/* Without a queue: whether a turn's share of time is over. */
bool net__is_late(const uv_loop_t *loop);

#endif
