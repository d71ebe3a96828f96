/* Private to src/front: the states that connections go through, their gauges and
 * deadlines. Owner: conn.c. */
#ifndef FRONT_STATE_H
#define FRONT_STATE_H

#include "conn.h"

void front__state_enter(struct front__conn *conn, enum front__state state);
void front__state_leave(struct front__conn *conn);
/* From the one to the other; entering the same again restarts its deadline. */
void front__state_move(struct front__conn *conn, enum front__state state);

/* The first deadline of those in that state. */
uint64_t front__state_due(const rover_front_t *front, int state);

#endif
