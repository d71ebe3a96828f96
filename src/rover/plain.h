/* Private to src/rover: the stream of a socket without TLS, which is libuv's.
 * Owner: socket.c. */
#ifndef ROVER_PLAIN_H
#define ROVER_PLAIN_H

#include "socket.h"

extern const struct rover__stream_type rover__plain_stream;

/* Discards what is unread, whether or not there is a stream. Returns 0. */
int rover__plain_discard(const rover_socket_t *socket);

/* For libuv's calls about it. */
uv_stream_t *rover__plain_handle(const rover_socket_t *socket);

#endif
