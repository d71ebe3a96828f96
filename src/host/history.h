/* Private to src/host: the last ten minutes. */
#ifndef HOST_HISTORY_H
#define HOST_HISTORY_H

#include "base.h"

/* Only with the option `history`; otherwise these do nothing. The first returns
 * whether there is memory; the next cannot fail. */
bool host__history_new(rover_host_t *host);
void host__history_free(rover_host_t *host);
void host__history_open(rover_host_t *host);
void host__history_begin(rover_host_t *host); /* a policy is loaded */
void host__history_close(rover_host_t *host);

#endif
