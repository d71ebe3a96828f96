/* Private to src/cli: the addresses of --admin. */
#ifndef CLI_ADMIN_H
#define CLI_ADMIN_H

#include <callosum/host.h>

#include "log.h"
#include "options.h"

/* Exits with a usage error if what is asked for is wrong, or not safe. */
void cli_admin_check(const struct cli_options *options);

/* Listens there, if there are any, on the sockets that `passed` has for the
 * number of the address, if any. Errors, which are logged: libuv's. */
int cli_admin_open(rover_host_t *host, const struct cli_options *options,
                   struct cli_log *log, int (*passed)(size_t index));

/* As of <admin/admin.h>; they do nothing without --admin. */
void cli_admin_reloading(void);
void cli_admin_error(const char *traceback);
void cli_admin_reloaded(const rover_host_reload_t *result);
void cli_admin_hold(const char *why);
int cli_admin_fd(size_t index);
int cli_admin_leave(size_t index);
int cli_admin_stay(size_t index, bool owns_file);
void cli_admin_finish(void);

/* To be called in the host's close_cb. */
void cli_admin_close(void);

#endif
