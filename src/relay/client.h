/* Private to src/relay: a client that waits. Owner: relay.c.
 *
 * The life of a client: it was accepted, is offered to the program by the
 * relay's callback, and waits, unread, until it is joined, refused, goes away or
 * has waited for too long. Joining hands its descriptor over to a pair (see
 * src/net/pair.h), together with that of a kept socket, and ends it in silence.
 * Else it is closed, which is told in a later turn of the loop, and then
 * freed. */
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

/* Takes one on for which there is no descriptor to be had but that one, and
 * closes it. */
void relay__client_turn_away(rover_relay_t *relay, int fd);

/* Closes a client that waits. */
void relay__client_close(rover_relay_client_t *client, int status);

/* Tells that the first of those that have closed has, and frees it. */
void relay__client_bury(rover_relay_t *relay);

#endif
