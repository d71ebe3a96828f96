/* Private to src/front: ends connections, spread over a time.
 * Owner: front.c. */
#ifndef FRONT_DRAIN_H
#define FRONT_DRAIN_H

#include <callosum/front.h>

#include <stdbool.h>

struct front__drain {
  uint64_t from, until; /* its time; NET_NEVER: no deadline */
  uint64_t due;         /* when to check again; NET_NEVER: it is over */
  uint64_t begin, goal; /* how many there were, and may stay */
  uint64_t left;        /* of those that there were, how many are active */
  uint64_t leaving; /* joined ones that were told to end, and may not have */
  uint32_t serial;  /* counts drains */
  bool refuses;     /* new connections */
};

void front__drain_init(struct front__drain *drain);

/* Ends connections over `ms`, until `goal` of those that are active now are
 * left. */
void front__drain_begin(rover_front_t *front, uint64_t goal, uint64_t ms);
void front__drain_stop(struct front__drain *drain);

/* How many of those that are active now will stay. */
uint64_t front__drain_staying(const rover_front_t *front);

/* Ends as many as are due. Once the loop has polled after its deadline, at
 * `polled`, resets the rest. */
void front__drain_run(rover_front_t *front, uint64_t polled);

#endif
