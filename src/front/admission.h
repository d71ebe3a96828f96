/* Private to src/front: who may connect. Owner: front.c. */
#ifndef FRONT_ADMISSION_H
#define FRONT_ADMISSION_H

#include <callosum/front.h>

#include <stdbool.h>

#include "../net/address.h"

struct front__address;

#define FRONT_UNTRUSTED "it is not trusted to send a PROXY header"

/* Whether the front gives slots. */
bool front__gives_slots(const rover_front_t *front);

/* Whether whoever has connected to `fd` gets one. `peer` is NULL for a Unix
 * socket. Sets *address, for which it is counted, if those are counted. */
bool front__admits(rover_front_t *front, int fd, const union net__address *peer,
                   struct front__address **address);

/* Closes the descriptor of one that gets none, and counts it. */
void front__refuse(rover_front_t *front, int fd);

/* Whether the PROXY headers of that address are believed. */
bool front__trusts(const rover_front_t *front, const struct sockaddr *peer);

/* Counts and reports a connection that is reset because of its header. */
void front__admission_reject(rover_front_t *front, int status,
                             const char *reason, const struct sockaddr *peer);

#endif
