/* Private to src/rover and src/relay: takes the connection of a kept socket.
 * The caller then closes the socket, or restores the connection. */
#ifndef ROVER_HANDOFF_H
#define ROVER_HANDOFF_H

#include <callosum/rover.h>

#include "../net/epoll.h"

/* Sets *to, which is not polled, to a connection that the peer has neither ended
 * nor broken: its TLS, and a descriptor with its options set, a duplicate if
 * libuv uses the socket's own. What the TLS holds is reported by nobody. Leaves
 * SO_ERROR as it is, so a broken connection is still reported to the socket.
 * Errors: those of rover_socket_detach(), UV_ENOTCONN, UV_EPIPE (this side has
 * ended), UV_ECONNRESET, ... */
int rover__socket_take(rover_socket_t *socket, struct net__poll *to);

void rover__socket_restore(rover_socket_t *socket, const struct net__poll *to);

#endif
