/* Private to src/rover and src/relay: takes the descriptor of a kept socket.
 * The caller then closes the socket, or restores the descriptor. */
#ifndef ROVER_HANDOFF_H
#define ROVER_HANDOFF_H

#include <callosum/rover.h>

/* Returns a descriptor of a connection that the peer has neither ended nor
 * broken, with its options set: a duplicate if libuv uses the socket's own.
 * Leaves SO_ERROR as it is, so a broken connection is still reported to the
 * socket. Errors: those of rover_socket_detach(), UV_ENOTCONN, UV_EPIPE (this
 * side has ended), UV_ECONNRESET, ... */
int rover__socket_take(rover_socket_t *socket);

void rover__socket_restore(rover_socket_t *socket, int fd);

#endif
