/* Private to src/cli: the process that takes over from this one. */
#ifndef CLI_SUCCESSOR_H
#define CLI_SUCCESSOR_H

#include <callosum/host.h>

#include "link.h"
#include "options.h"

/* The successor serves, as process `pid`, and this one has nothing to do but to
 * end; or, with pid 0, `why` not, and this one goes on. With pid 0 once it has
 * served: it has failed. */
typedef void (*cli_successor_cb)(void *data, int pid, const char *why);

enum cli_successor_state {
  CLI_SUCCESSOR_NONE,
  CLI_SUCCESSOR_STARTING,
  CLI_SUCCESSOR_LEFT, /* it has what it needs, and nothing is accepted here */
  CLI_SUCCESSOR_SERVES,
  CLI_SUCCESSOR_CLOSING
};

struct cli_left; /* a listener of this process */

/* Zero it; it has to live as long as the host. */
struct cli_successor {
  enum cli_successor_state state;
  rover_host_t *host;
  cli_successor_cb cb;
  void *data;
  uv_process_t process; /* of the handles, `data` is the successor */
  uv_pipe_t link;
  uv_timer_t deadline;
  bool expired; /* but the loop has not polled since */
  unsigned handles; /* open */
  struct cli_link in;
  struct cli_left *left;
  size_t count;
  FILE *out; /* while it is told what is left to it */
  char bytes[256];
  char why[160];
};

/* Starts the executable as this process was started, with what listens here.
 * Calls back, unless this fails, or it is closed first. Errors: libuv's. */
int cli_successor_start(struct cli_successor *successor, rover_host_t *host,
                        const struct cli_options *options, cli_successor_cb cb,
                        void *data);

/* Whether it has yet to serve. */
static inline bool cli_successor_starts(const struct cli_successor *s) {
  return s->state == CLI_SUCCESSOR_STARTING || s->state == CLI_SUCCESSOR_LEFT;
}

/* Ends one that does not serve yet. */
void cli_successor_close(struct cli_successor *successor);

#endif
