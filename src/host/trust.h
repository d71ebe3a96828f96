/* Private to src/host: who can write the files that a policy comes from. */
#ifndef HOST_TRUST_H
#define HOST_TRUST_H

#include "base.h"

/* Warns if others than root and the user that runs this can write what is at
 * the path, or put another file there. */
void host__trust(rover_host_t *host, const char *path);

#endif
