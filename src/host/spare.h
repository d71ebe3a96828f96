/* Private to src/host: descriptors in reserve for reloads. */
#ifndef HOST_SPARE_H
#define HOST_SPARE_H

#include "base.h"

/* Takes those that are missing, as far as the system has any. */
void host__spares_take(rover_host_t *host);

/* Gives up as many as a reload may not find elsewhere. */
void host__spares_lend(rover_host_t *host);
void host__spares_drop(rover_host_t *host);

#endif
