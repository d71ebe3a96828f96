/* Private to src/cli: the log, and the standard streams that it is written to.
 */
#ifndef CLI_LOG_H
#define CLI_LOG_H

#include <callosum/host.h>

#include <stdbool.h>

#include "output.h"

struct cli_log {
  int level; /* the lowest level that is logged; only the loop's thread knows */
  bool json;
  struct cli_output errors;  /* standard error */
  struct cli_output printed; /* standard output, unless that is the same file */
  bool open;
  uv_mutex_t mutex; /* protects all of the above */
  uv_timer_t retry; /* while something is queued */
  uint64_t retry_ms;
  uv_timer_t report; /* reports the losses of standard output */
  uv_async_t care; /* there is work for the loop, perhaps from another thread */
};

/* To be called before the first line. */
int cli_log_open(struct cli_log *log, uv_loop_t *loop, int level, bool json);
/* To be called in the host's close_cb. Waits for a moment if lines cannot be
 * written. */
void cli_log_close(struct cli_log *log);

void cli_log_set_level(struct cli_log *log, int level);

/* Writes one line to standard error. */
void cli_log_event(struct cli_log *log, const rover_host_log_t *event);

/* Writes text, as it is, to one of the log's outputs, from any thread. Losses
 * are counted. Returns 0, even if nothing reads the output, or an errno. */
int cli_log_text(struct cli_log *log, struct cli_output *output,
                 const char *text, size_t length);

#endif
