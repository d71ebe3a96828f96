/* Private to src/cli: the command check. */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "options.h"

/* Returns the exit status. */
int cli_check(const struct cli_options *options);

#endif
