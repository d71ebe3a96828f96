/* Private to src/cli: the command top. */
#ifndef CLI_TOP_H
#define CLI_TOP_H

#include "options.h"

/* Returns the exit status. */
int cli_top(const struct cli_options *options);

#endif
