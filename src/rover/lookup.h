/* Private to src/rover: from a host to its addresses. */
#ifndef ROVER_LOOKUP_H
#define ROVER_LOOKUP_H

#include "../net/address.h"
#include "base.h"

/* A look-up's client, waiting for the answer. */
struct rover__asker {
  struct rover__asker *prev, *next;
  struct rover__lookup *lookup; /* NULL when not waiting */
  rover_t *rover;
  void *data;
  /* Called once, in a later turn of the loop, unless the asker leaves first. If
   * status is 0 there is at least one address, and the asker must free them. */
  void (*answered)(struct rover__asker *asker, int status,
                   union net__address *addresses, size_t count);
};

/* Starts the resolver, or joins a look-up of the same host by any rover of the
 * same turn. The rover that started it cannot close before it is over. Errors:
 * UV_EAGAIN (no thread can be created), UV_ENOMEM, and those of
 * uv_getaddrinfo(). */
int rover__lookup_ask(rover_t *rover, const char *host,
                      struct rover__asker *asker);

/* Stops waiting. Harmless when not waiting. */
void rover__lookup_leave(struct rover__asker *asker);

/* The turn closes: detaches the look-ups under way, whose askers have left. */
void rover__lookups_forget(rover_turn_t *turn);

#endif
