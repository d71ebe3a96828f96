/* Private to src/rover: the callbacks of sockets. A million sockets share one
 * or two such tables, so each refers to a copy in the rover. */
#ifndef ROVER_CALLBACKS_H
#define ROVER_CALLBACKS_H

#include "base.h"

/* `callbacks` may be NULL; then every callback is. */
const rover_socket_events_t *
rover__callbacks_events(const struct rover__callbacks *callbacks);

/* Makes *own refer to a copy of `events`, or sets it to NULL if that is NULL.
 * Errors: UV_EINVAL (a reserved byte is not zero), UV_ENOMEM. */
int rover__callbacks_set(rover_t *rover, struct rover__callbacks **own,
                         const rover_socket_events_t *events);

/* Drops the reference and sets *own to NULL. */
void rover__callbacks_leave(rover_t *rover, struct rover__callbacks **own);

#endif
