/* Private to src/rover: the callbacks of sockets. A million of these have one
 * or two such tables between them, so each refers to the rover's copy. */
#ifndef ROVER_CALLBACKS_H
#define ROVER_CALLBACKS_H

#include "base.h"

/* They may be NULL: then all of the events are. */
const rover_socket_events_t *
rover__callbacks_events(const struct rover__callbacks *callbacks);

/* Makes *own refer to a copy of `events`, or be NULL for NULL. Errors:
 * UV_EINVAL (a bit is set in their room), UV_ENOMEM. */
int rover__callbacks_set(rover_t *rover, struct rover__callbacks **own,
                         const rover_socket_events_t *events);

/* Makes it NULL. */
void rover__callbacks_leave(rover_t *rover, struct rover__callbacks **own);

#endif
