/* Private to src/rover: what rovers of one loop share. */
#ifndef ROVER_TURN_H
#define ROVER_TURN_H

#include <callosum/rover.h>

#include "../net/turn.h"

struct rover__lookup;

struct rover_turn_s {
  struct net__turn base;
  /* Look-ups are shared as well: see lookup.c. */
  struct rover__lookup *lookups; /* under way, one per name */
  bool has_pool;                 /* libuv's thread pool has started */
  rover_turn_close_cb close_cb;
  void *data;
};

#endif
