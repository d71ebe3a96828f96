/* Private to src/cli: the commands status and servers. */
#ifndef CLI_STATUS_H
#define CLI_STATUS_H

#include "options.h"

/* Each returns the exit status. */
int cli_status(const struct cli_options *options);
/* All servers, a line each. */
int cli_status_servers(const struct cli_options *options);

#endif
