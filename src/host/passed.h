/* Private to src/host: sockets that the process was passed, for the policy that
 * is loaded first. */
#ifndef HOST_PASSED_H
#define HOST_PASSED_H

#include "base.h"

/* Errors: UV_ENOMEM. */
int host__passed_add(rover_host_t *host, const rover_host_socket_t *passed);

/* Closes all; what listens on one has a descriptor of its own. The first also
 * logs those that nothing listens on. */
void host__passed_done(rover_host_t *host);
void host__passed_close(rover_host_t *host);

#endif
