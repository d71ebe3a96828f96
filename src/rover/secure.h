/* Private to src/rover: sockets under TLS. Owner: socket.c. */
#ifndef ROVER_SECURE_H
#define ROVER_SECURE_H

#include "socket.h"

extern const struct rover__stream_type rover__secure_stream;

/* An event of a socket, whether or not it has a stream. */
void rover__secure_ready(struct net__poll *poll, int events);

/* Looks for the peer's end, or what else there may be, in the next turn of the
 * loop. Can fail only if the socket is not polled. */
int rover__secure_watch(rover_socket_t *socket);

/* Takes all that the peer has sent, which has ended its side. Returns 0, or
 * what broke the connection. */
int rover__secure_discard(rover_socket_t *socket);

#endif
