/* Private to src/rover: servers that are set aside by hand. */
#ifndef ROVER_STEER_H
#define ROVER_STEER_H

#include "base.h"

/* Ends sockets of the servers that are drained. */
void rover__steer_drain(uv_timer_t *timer);

#endif
