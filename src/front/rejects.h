/* Private to src/front: connections that were closed because of their TLS
 * handshakes or PROXY headers, until that is reported to the program.
 * Owner: front.c. */
#ifndef FRONT_REJECTS_H
#define FRONT_REJECTS_H

#include <callosum/front.h>

#include <stdbool.h>

struct front__reject;

/* `what` happened to it is a constant, such as "reset"; `reason` is copied.
 * `peer` is the address of the client, NULL for a Unix socket. */
void front__rejects_add(rover_front_t *front, int status, const char *what,
                        const char *reason, const struct sockaddr *peer);

/* Calls back for the first one; returns whether there was one. The front may be
 * gone after that. */
bool front__rejects_notify(rover_front_t *front);

void front__rejects_clear(rover_front_t *front);

#endif
