/* Private to src/cli: the commands run and serve; serve is a policy. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#include "options.h"

/* With `owns_signals` the script handles SIGINT and SIGTERM itself. Returns the
 * exit status. */
int cli_run(const struct cli_options *options, bool owns_signals);

#endif
