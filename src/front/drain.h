/* Private to src/front: connections that are ended, spread over a time.
 * Owner: front.c. */
#ifndef FRONT_DRAIN_H
#define FRONT_DRAIN_H

#include <callosum/front.h>

#include <stdbool.h>

struct front__drain {
  uint64_t from, until; /* the time; NET_NEVER: without end */
  uint64_t due;         /* when to look again; NET_NEVER: it is over */
  uint64_t begin, goal; /* how many there were, and may be in the end */
  bool refuses;         /* newcomers */
};

void front__drain_init(struct front__drain *drain);

/* From now on, and within `ms`, no more than `goal` are left. */
void front__drain_begin(rover_front_t *front, uint64_t goal, uint64_t ms);
void front__drain_stop(struct front__drain *drain);

/* Whether it is under way. */
bool front__drain_is_on(const struct front__drain *drain);

/* Ends whom it is time for. Once `polled`, when the loop last has polled, is
 * behind its end, cuts the rest. */
void front__drain_run(rover_front_t *front, uint64_t polled);

#endif
