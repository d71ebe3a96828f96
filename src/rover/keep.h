/* Private to src/rover and src/lua: what is asked before a connection is kept
 * for a pool without calling it. Owner: rejection.c.
 *
 * As in reload.h, this is exported, but not part of the API. */
#ifndef ROVER_KEEP_H
#define ROVER_KEEP_H

#include <callosum/rover.h>

/* See rover_server_exempt(). */
ROVER_EXTERN int rover_server_is_exempt(const rover_server_t *server);

/* How often a server with connections has left the rover's list. */
ROVER_EXTERN unsigned rover_drops(const rover_t *rover);

/* The slot limit of rover_set_rejection() ends when that changes: until it is
 * set anew. */
ROVER_EXTERN void rover_limit_until_drop(rover_t *rover);

#endif
