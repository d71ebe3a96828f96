/* Private to src/cli: the process from which this one takes over, if there is
 * one. */
#ifndef CLI_PREDECESSOR_H
#define CLI_PREDECESSOR_H

#include <callosum/host.h>

#include <stdbool.h>

/* To be called before anything is opened or started. */
void cli_predecessor_open(void);

/* Passes what listens there on to the host. Errors: UV_ENOMEM, UV_EPROTO (it
 * does not speak as it should), UV_ETIMEDOUT, UV_ECONNRESET (it has ended). */
int cli_predecessor_give(rover_host_t *host);

/* The socket, of those, of the address of --admin with this number; -1 if there
 * is none. */
int cli_predecessor_admin(size_t index);

/* The policy is loaded, and the loop has not run yet: waits until nothing is
 * accepted there any more, and holds its slots. Errors: the same. */
int cli_predecessor_take_over(rover_host_t *host);

/* How many of the decisions that were made by hand there mean nothing here. */
size_t cli_predecessor_lost(void);

/* Whether there is one, which has connections perhaps. */
bool cli_predecessor_is_there(void);

/* Follows which slots come free. Calls back when this is the main process, and
 * once when the other one has ended. Errors: libuv's. */
typedef void (*cli_predecessor_cb)(void *data, bool ended);
int cli_predecessor_watch(rover_host_t *host, cli_predecessor_cb cb,
                          void *data);
void cli_predecessor_close(void);

#endif
