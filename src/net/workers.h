/* Private to src/net: the workers of a program. */
#ifndef NET_WORKERS_H
#define NET_WORKERS_H

#include <callosum/workers.h>

#include "worker.h"

/* Used in the loop only. */
struct rover_workers_s {
  unsigned count;
  bool is_stepped;
  uint64_t retry; /* when to try again to start one */
  struct net__workers_slot {
    struct net__worker worker;
    bool is_started;
    uint64_t pairs, joined, failed;
  } slots[];
};

/* Picks the worker with the fewest pairs, and starts it if need be. NULL if none
 * is there. *status is the error if one could not be started, and else 0. */
struct net__workers_slot *net__workers_pick(rover_workers_t *workers,
                                            int *status);

#endif
