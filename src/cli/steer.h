/* Private to src/cli: the command that has a host do something. */
#ifndef CLI_STEER_H
#define CLI_STEER_H

#include "options.h"

/* Returns the exit status. */
int cli_steer_reload(const struct cli_options *options);

#endif
