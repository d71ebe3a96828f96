/* Private to src/host: from one policy to the next. */
#ifndef HOST_RELOAD_H
#define HOST_RELOAD_H

#include "base.h"

/* Continues the reload that is wanted or under way, for one turn of the
 * loop. */
void host__reload_turn(rover_host_t *host);

/* The host closes: ends the reloads that are under way or wanted as
 * cancelled. */
void host__reload_cancel(rover_host_t *host);

#endif
