#include "joined.h"

#include "../net/list.h"
#include "socket.h"
#include "tally.h"

/* A joined connection belongs to the relay, and may outlive the rover; only the
 * tally of its server knows of it. */

void rover__joined_begin(struct rover__joined *joined,
                         const rover_socket_t *socket) {
  struct rover__tally *tally = socket->server->tally;

  joined->tally = tally;
  joined->slot = socket->slot;
  tally->refs++;
  tally->joined++;
  DL_APPEND(tally->joins, joined);
}

void rover__joined_end(struct rover__joined *joined) {
  struct rover__tally *tally = joined->tally;

  DL_DELETE(tally->joins, joined);
  tally->joined--;
  rover__tally_settle(tally);
  rover__tally_unref(tally);
}
