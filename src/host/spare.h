/* Private to src/host: descriptors in reserve for reloads. */
#ifndef HOST_SPARE_H
#define HOST_SPARE_H

#include "base.h"

/* Fills the reserve, as far as the system has descriptors. */
void host__spares_take(rover_host_t *host);

/* Closes as many as a reload may lack. */
void host__spares_lend(rover_host_t *host);
void host__spares_drop(rover_host_t *host);

#endif
