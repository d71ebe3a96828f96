/* Private to src/sim: the programs that use the relays of a virtual host.
 *
 * They keep their connections, and make one request at a time on each: a
 * request takes an idle connection, or opens another, of up to MOST, or waits.
 * A connection that has been idle for 10 s is closed. */
#ifndef SIM_CLIENTS_H
#define SIM_CLIENTS_H

#include <callosum/relay.h>

#include "tcp.h"

struct sim__clients;

/* A request that was made at that time has been answered, or is lost. */
struct sim__clients_ops {
  void (*answered)(void *data, uint64_t at);
  void (*lost)(void *data, uint64_t at);
};

struct sim__clients *sim__clients_new(struct sim__machine *machine,
                                      const struct sim__clients_ops *ops,
                                      void *data);

/* Also closes their connections. What was under way is lost, and not told. */
void sim__clients_free(struct sim__clients *clients);

/* Makes a request to where a relay listens. Returns whether it has to wait for
 * a connection, that is, whether none was idle. */
bool sim__clients_ask(struct sim__clients *clients,
                      const rover_address_t *relay);

#endif
