#include "callbacks.h"

#include <stdlib.h>
#include <string.h>

#include "../net/list.h"
#include "../net/options.h"

const rover_socket_events_t *
rover__callbacks_events(const struct rover__callbacks *callbacks) {
  static const rover_socket_events_t none;
  return callbacks ? &callbacks->events : &none;
}

/* Returns the rover's copy of `events`, or NULL. */
static struct rover__callbacks *find(rover_t *rover,
                                     const rover_socket_events_t *events) {
  struct rover__callbacks *c = &rover->callbacks;

  for (; c; c = c->next)
    if (c->sockets > 0 && !memcmp(&c->events, events, sizeof *events)) return c;
  return NULL;
}

/* Returns a new copy; NULL if there is no memory for one. */
static struct rover__callbacks *copy(rover_t *rover,
                                     const rover_socket_events_t *events) {
  struct rover__callbacks *first = &rover->callbacks, *c = first;

  if (first->sockets > 0) {
    c = calloc(1, sizeof *c);
    if (!c) return NULL;
    rover__count_memory(rover, sizeof *c);
    c->next = first->next;
    first->next = c;
  }
  c->events = *events;
  return c;
}

void rover__callbacks_leave(rover_t *rover, struct rover__callbacks **own) {
  struct rover__callbacks *c = *own;

  *own = NULL;
  if (!c || --c->sockets > 0 || c == &rover->callbacks) return;
  LL_DELETE(rover->callbacks.next, c);
  rover__count_memory(rover, -(ptrdiff_t)sizeof *c);
  free(c);
}

int rover__callbacks_set(rover_t *rover, struct rover__callbacks **own,
                         const rover_socket_events_t *events) {
  struct rover__callbacks *c = NULL;

  if (events) {
    c = find(rover, events); /* one that was checked */
    if (!c && !NET__IS_UNUSED(events->reserved)) return UV_EINVAL;
    if (!c) c = copy(rover, events);
    if (!c) return UV_ENOMEM;
    c->sockets++;
  }
  rover__callbacks_leave(rover, own);
  *own = c;
  return 0;
}
