/* Private to src/relay: a client that is not joined yet. Owner: relay.c. */
#ifndef RELAY_CLIENT_H
#define RELAY_CLIENT_H

#include "relay.h"

struct rover_relay_client_s {
  struct net__poll poll;
  rover_relay_t *relay;
  rover_relay_client_t *prev, *next, **list; /* the list that it is in */
  uint64_t since;             /* when it was added there: net__now() */
  struct net__header *header; /* NULL if it needs none */
  void *data;
  const char *reason; /* why its header was not accepted */
  int status;
  bool closing;
  bool is_unix;            /* accepted at a Unix socket; or else ... */
  union net__address peer; /* ... by whom it was connected */
};

/* Makes a client of an accepted connection. `peer` is NULL for a Unix socket.
 * Errors: UV_ENOMEM, after closing it. */
int relay__client_new(rover_relay_t *relay, int fd,
                      const union net__address *peer);

/* Closes a connection for which no descriptor can be kept, and counts it as a
 * client that has timed out. */
void relay__client_turn_away(rover_relay_t *relay, int fd);

/* Closes one that is not joined. */
void relay__client_close(rover_relay_client_t *client, int status);

/* There is one too many: closes the one that has waited longest. If none waits,
 * it is the new one, or without that, one whose header is yet to come. */
void relay__client_drop_one(rover_relay_t *relay, rover_relay_client_t *new);

/* Resets the first of those whose header is yet to come, unless it is there. */
void relay__client_close_late(rover_relay_t *relay);

/* It is no health check: it has said something, or has stayed. */
void relay__client_believe(rover_relay_client_t *client);

/* Offers those whose header has come, as many as one turn of the loop
 * allows. */
void relay__client_offer_ready(rover_relay_t *relay);

/* Calls back for the first closed client, and frees it. */
void relay__client_bury(rover_relay_t *relay);

#endif
