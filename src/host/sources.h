/* Private to src/host: the watch on the files that a policy comes from. */
#ifndef HOST_SOURCES_H
#define HOST_SOURCES_H

#include "base.h"

/* None of these does anything unless the option `watch` is set. */
int host__sources_open(rover_host_t *host);
void host__sources_close(rover_host_t *host);

/* host->script is about to be loaded: from now on it is watched, and the
 * modules that are added. */
int host__sources_set(rover_host_t *host);

/* A module is about to be searched at `file`, which is watched if it is in the
 * script's folder. Errors: UV_ENOMEM. */
int host__sources_add(rover_host_t *host, const char *file);

/* A file or folder of an option `tls` is about to be read: it is watched,
 * wherever it is. */
void host__sources_read(rover__lua_t *lua, const char *file);

#endif
