/* Private to src/host: the paths that a policy in the sandbox may name. */
#ifndef HOST_PATHS_H
#define HOST_PATHS_H

#include "base.h"

/* Replaces a list of paths, ended by NULL, by a copy in one block of memory;
 * NULL stays. If there is no memory, it is NULL, and the result false. */
bool host__paths_keep(const char *const **paths);

/* What the script names from now on must be in its folder, or in one that is
 * allowed; `script` is its own path. Errors: UV_ENOMEM. */
int host__paths_confine(struct host__policy *policy, const char *script);

#endif
