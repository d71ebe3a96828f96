/* Private to src/host: who can write the files that a policy comes from. */
#ifndef HOST_TRUST_H
#define HOST_TRUST_H

#include "base.h"

/* Warns if users other than root and the one that runs this can write to the
 * file at the path, or replace it. */
void host__trust(rover_host_t *host, const char *path);

#endif
