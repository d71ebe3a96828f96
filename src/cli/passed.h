/* Private to src/cli: sockets that a service manager passes the process, as
 * sd_listen_fds(3) says. */
#ifndef CLI_PASSED_H
#define CLI_PASSED_H

#include <callosum/host.h>

/* To be called before anything is opened or started: from here on no child gets
 * these sockets, or hears of them. Exits if what was passed is in disorder. */
void cli_passed_open(void);

/* Passes them on to the host. Errors: UV_ENOMEM. */
int cli_passed_give(rover_host_t *host);

#endif
