/* Private to src/front: connections that were reset because of their PROXY
 * headers, until the program has been told. Owner: front.c. */
#ifndef FRONT_REJECTS_H
#define FRONT_REJECTS_H

#include <callosum/front.h>

#include <stdbool.h>

struct front__reject;

/* Counts one. `reason` lives for ever; `peer` is who connected. */
void front__rejects_add(rover_front_t *front, int status, const char *reason,
                        const struct sockaddr *peer);

/* Calls back for the first, as its last act; returns whether there was one. */
bool front__rejects_tell(rover_front_t *front);

void front__rejects_clear(rover_front_t *front);

#endif
