/* Private to src/rover: attempts to connect. */
#ifndef ROVER_ATTEMPT_H
#define ROVER_ATTEMPT_H

#include "base.h"

/* Starts an attempt, or returns UV_ENOMEM. Every other outcome is reported by a
 * callback in a later turn of the loop; if `server` is NULL, as an error. */
int rover__attempt_start(rover_t *rover, rover_server_t *server);

/* The rover is no longer held: delivers the connections that waited. */
void rover__attempt_deliver_held(rover_t *rover);

/* Ends the attempts whose deadline has expired. */
void rover__attempt_expire(struct net__source *overdue);

/* Cancels the attempts to `server`, or all if it is NULL, without a
 * callback. */
void rover__attempt_cancel(rover_t *rover, const rover_server_t *server);

/* The rover's servers were replaced: each attempt continues for the server that
 * same() returns for its own, or is cancelled if that is NULL. */
void rover__attempt_follow(rover_t *rover,
                           rover_server_t *(*same)(const rover_t *rover,
                                                   const rover_server_t *as));

#endif
