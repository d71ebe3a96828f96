/* Private to src/front: connections that were reset because of their PROXY
 * headers, until the program has been told. Owner: front.c. */
#ifndef FRONT_REJECTS_H
#define FRONT_REJECTS_H

#include <callosum/front.h>

struct front__reject;

/* Counts one. `reason` lives for ever; `peer` is who connected. */
void front__rejects_add(rover_front_t *front, int status, const char *reason,
                        const struct sockaddr *peer);

/* Calls back for each, unless the front is closing. */
void front__rejects_tell(rover_front_t *front);

#endif
