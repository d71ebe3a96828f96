/* Private to src/rover: from a host to its addresses. */
#ifndef ROVER_LOOKUP_H
#define ROVER_LOOKUP_H

#include "../net/address.h"
#include "base.h"

/* Whoever waits for the resolver's answer. */
struct rover__asker {
  struct rover__asker *prev, *next;
  struct rover__lookup *lookup; /* that it waits for, or NULL */
  rover_t *rover;
  void *data;
  /* Called once, unless it leaves before, in a later turn of the loop. Without
   * an error there is an address at least, and they are in an order of this
   * asker's own, which frees them. */
  void (*answered)(struct rover__asker *asker, int status,
                   union net__address *addresses, size_t count);
};

/* Asks the resolver for the rover, or joins a look-up of this host that one of
 * those that share its turn has begun. The rover that began one is not closed
 * before it is over. Errors: UV_EAGAIN (no thread can be had for it),
 * UV_ENOMEM, and what uv_getaddrinfo() fails with. */
int rover__lookup_ask(rover_t *rover, const char *host,
                      struct rover__asker *asker);

/* It does not wait any more, if it did. */
void rover__lookup_leave(struct rover__asker *asker);

/* The turn ends before its look-ups, which nobody waits for any more. */
void rover__lookups_forget(rover_turn_t *turn);

#endif
