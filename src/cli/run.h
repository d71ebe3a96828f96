/* Private to src/cli: the commands run and serve, which is a policy of ours. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "options.h"

/* `owns_signals`: the script handles SIGINT and SIGTERM itself. Returns the exit
 * status. */
int cli_run(const struct cli_options *options, bool owns_signals);

#endif
