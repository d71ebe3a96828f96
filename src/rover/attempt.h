/* Private to src/rover: attempts to connect. */
#ifndef ROVER_ATTEMPT_H
#define ROVER_ATTEMPT_H

#include "base.h"

/* Starts one attempt, or returns UV_ENOMEM. Every other outcome comes by
 * callback in a later turn of the loop; without a server, an error. */
int rover__attempt_start(rover_t *rover, rover_server_t *server);

/* The rover is no longer held: connections that have arrived are delivered. */
void rover__attempt_let_in(rover_t *rover);

/* Ends those whose deadline has come. */
void rover__attempt_expire(struct net__source *overdue);

/* Cancels in silence the attempts to `server`, or all of them for NULL. */
void rover__attempt_cancel(rover_t *rover, const rover_server_t *server);

/* The rover has other servers now: each attempt goes on for the one that same()
 * returns for its own, or is cancelled in silence if that is NULL. */
void rover__attempt_follow(
    rover_t *rover, const rover_server_t *(*same)(const rover_t *rover,
                                                  const rover_server_t *as));

#endif
