/* Private to src/relay: a waiting client. Owner: relay.c. */
#ifndef RELAY_CLIENT_H
#define RELAY_CLIENT_H

#include "relay.h"

struct rover_relay_client_s {
  struct net__poll poll;
  rover_relay_t *relay;
  rover_relay_client_t *prev, *next;
  uint64_t since; /* when it was accepted: net__now() */
  void *data;
  int status;
  bool is_unix; /* accepted at a Unix socket */
  bool closing;
};

/* Makes a client of an accepted connection. Errors: UV_ENOMEM, after closing
 * it. */
int relay__client_new(rover_relay_t *relay, int fd, bool is_unix);

/* Closes a connection for which no descriptor can be kept, and counts it as a
 * client that has timed out. */
void relay__client_turn_away(rover_relay_t *relay, int fd);

/* Closes a waiting client. */
void relay__client_close(rover_relay_client_t *client, int status);

/* Calls back for the first closed client, and frees it. */
void relay__client_bury(rover_relay_t *relay);

#endif
