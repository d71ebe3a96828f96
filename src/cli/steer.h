/* Private to src/cli: the commands that have a host do something. */
#ifndef CLI_STEER_H
#define CLI_STEER_H

#include "options.h"

/* Each returns the exit status. */
int cli_steer_reload(const struct cli_options *options);
int cli_steer_servers(const struct cli_options *options);
int cli_steer_drain(const struct cli_options *options);
int cli_steer_resume(const struct cli_options *options);

#endif
