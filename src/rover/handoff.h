/* Private to src/rover and src/relay: the descriptor of a kept socket, for
 * whoever then closes the socket, or gives the descriptor back. */
#ifndef ROVER_HANDOFF_H
#define ROVER_HANDOFF_H

#include <callosum/rover.h>

/* Returns a descriptor of a connection that the peer has neither ended nor
 * broken, with its options set: the only one, if libuv has none. What broke the
 * connection is not taken from it, and is yet to be reported to the socket.
 * Errors: those of rover_socket_detach(), UV_ENOTCONN, UV_EPIPE (this side is
 * ended), UV_ECONNRESET, ... */
int rover__socket_take(rover_socket_t *socket);

void rover__socket_restore(rover_socket_t *socket, int fd);

#endif
