/* Private to src/host: the watch on the files that a policy comes from. */
#ifndef HOST_SOURCES_H
#define HOST_SOURCES_H

#include "base.h"

/* None of these does anything unless the host is to watch. */
int host__sources_open(rover_host_t *host);
void host__sources_close(rover_host_t *host);

/* host->script is about to be loaded: from now on it is what is watched, and
 * what is added. */
int host__sources_set(rover_host_t *host);

/* A module is about to be looked for in that file, which counts if it is in the
 * script's folder. Errors: UV_ENOMEM. */
int host__sources_add(rover_host_t *host, const char *file);

#endif
