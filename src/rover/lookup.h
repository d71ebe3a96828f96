/* Private to src/rover: from a host to its addresses. */
#ifndef ROVER_LOOKUP_H
#define ROVER_LOOKUP_H

#include "../net/address.h"
#include "base.h"

/* Waits for the resolver's answer. */
struct rover__asker {
  struct rover__asker *prev, *next;
  struct rover__lookup *lookup; /* that it waits for, or NULL */
  rover_t *rover;
  void *data;
  /* Called once, unless it leaves before, in a later turn of the loop. Without
   * an error there is at least one address, and the asker frees them. */
  void (*answered)(struct rover__asker *asker, int status,
                   union net__address *addresses, size_t count);
};

/* Starts the resolver, or joins a look-up of this host that a rover of the same
 * turn has started, which does not close before it is over. Errors: UV_EAGAIN
 * (no thread can be created), UV_ENOMEM, and those of uv_getaddrinfo(). */
int rover__lookup_ask(rover_t *rover, const char *host,
                      struct rover__asker *asker);

/* Stops waiting; harmless when it does not wait. */
void rover__lookup_leave(struct rover__asker *asker);

/* The turn closes before its look-ups, which nobody waits for any more. */
void rover__lookups_forget(rover_turn_t *turn);

#endif
