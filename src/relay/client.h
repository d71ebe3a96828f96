/* Private to src/relay: a client that waits. Owner: relay.c. */
#ifndef RELAY_CLIENT_H
#define RELAY_CLIENT_H

#include "relay.h"

struct rover_relay_client_s {
  struct net__poll poll;
  rover_relay_t *relay;
  rover_relay_client_t *prev, *next;
  uint64_t since; /* when it came: net__now() */
  void *data;
  int status;
  bool is_unix; /* came by a Unix socket, wherever the relay listens now */
  bool closing;
};

/* Takes on an accepted connection. Errors: UV_ENOMEM; it is then closed. */
int relay__client_new(rover_relay_t *relay, int fd, bool is_unix);

/* Counts a connection for which no descriptor can be kept as a client that has
 * waited for too long, and closes it. */
void relay__client_turn_away(rover_relay_t *relay, int fd);

/* Closes a waiting client. */
void relay__client_close(rover_relay_client_t *client, int status);

/* Calls back for the first of the closed ones, and frees it. */
void relay__client_bury(rover_relay_t *relay);

#endif
