/* Private to src/cli: the standard streams of the C library. */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

#include "log.h"

void cli_streams_open(void);
/* At the end of what a command prints. Returns the exit status. */
int cli_streams_end(void);
/* Sends what others write, Lua above all, where the log goes. The log is to be
 * static: a thread may write later than main() returns. */
void cli_streams_route(struct cli_log *log);
/* Ends that, with what is in buffers. */
void cli_streams_restore(void);

#endif
