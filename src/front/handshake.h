/* Private to src/front: the TLS handshakes of new connections.
 * Owner: conn.c. */
#ifndef FRONT_HANDSHAKE_H
#define FRONT_HANDSHAKE_H

#include "conn.h"

/* Something has happened to a connection in FRONT_SECURING. */
void front__handshake_ready(struct front__conn *conn, int events);

/* Its time is up. */
void front__handshake_expire(struct front__conn *conn);

/* Whether one more connection can be accepted. If there are too many, the
 * oldest one in its handshake is closed. */
bool front__handshakes_make_room(rover_front_t *front);

/* Goes on with those that can, until a share of the turn's time is used up; the
 * rest is for the next turn. Once a turn, then: at the end of the poller's
 * batch of events, and of no other. */
void front__handshakes_run(rover_front_t *front);

/* Closes all that would get no slot, and has the poller report an event if
 * there are some to go on with. At the end of each batch of events. */
void front__handshakes_settle(rover_front_t *front);

#endif
