/* Private to src/rover and src/relay: connections that were kept sockets, until
 * a relay joined them with clients. They stay in the books of their server. */
#ifndef ROVER_JOINED_H
#define ROVER_JOINED_H

#include <callosum/rover.h>

struct rover__joined {
  struct rover__tally *tally;
  struct rover__joined *prev, *next;
  int slot;
};

/* It is joined, and lasts until the second call. To be called before the socket
 * is closed. */
void rover__joined_begin(struct rover__joined *joined,
                         const rover_socket_t *socket);
void rover__joined_end(struct rover__joined *joined);

#endif
