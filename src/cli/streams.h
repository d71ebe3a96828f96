/* Private to src/cli: the standard streams of the C library. */
#ifndef CLI_STREAMS_H
#define CLI_STREAMS_H

#include "log.h"

void cli_streams_open(void);
/* To be called after the last output of a command. Returns the exit status. */
int cli_streams_end(void);
/* Redirects what Lua and others write to the log's outputs. The log must be
 * static: a thread may write after main() has returned. */
void cli_streams_route(struct cli_log *log);
/* Ends the redirection, and flushes the buffers. */
void cli_streams_restore(void);

#endif
