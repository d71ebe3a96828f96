/* Private to src/rover: reads and writes a socket, and ends its side.
 * Owner: socket.c. */
#ifndef ROVER_STREAM_H
#define ROVER_STREAM_H

#include "socket.h"

struct rover__handle;

/* Gives the socket a stream. Sockets that are only kept never have one, which
 * saves memory. Errors: UV_ENOMEM. */
int rover__stream_open(rover_socket_t *socket);

/* Whether its sending side is open, and whether it has requests that have not
 * finished; also without a stream. */
bool rover__stream_is_writable(const rover_socket_t *socket);
bool rover__stream_is_sending(const rover_socket_t *socket);

/* Sends what the socket, or all of the rover, have written while a batch of
 * events was delivered. What the kernel refuses closes the socket. */
void rover__stream_send_held(rover_socket_t *socket);
void rover__stream_send_all_held(rover_t *rover);

/* Where the stream has libuv's handle, or NULL: see handle.h. */
struct rover__handle **rover__stream_handle(const rover_socket_t *socket);

/* Begins to read, in a later turn of the loop. Bytes and the end go to
 * rover__socket_got(). Can fail only if the socket is not polled. */
int rover__stream_read_start(rover_socket_t *socket);

/* Polls for whatever the stream needs. Can fail as above. */
int rover__stream_poll(rover_socket_t *socket);

/* Of a socket under TLS that nobody reads: looks for the peer's end, or what
 * else there may be, in the next turn of the loop. Can fail as above. */
int rover__stream_look(rover_socket_t *socket);

/* An event of a socket, whether or not it has a stream. */
void rover__stream_ready(struct net__poll *poll, int events);

/* Takes all that the peer has sent, which has ended its side, whether or not
 * there is a stream. Returns 0, or what broke the connection. */
int rover__stream_discard(rover_socket_t *socket);

/* Takes the callbacks from all requests; reports all. */
void rover__stream_forget(rover_socket_t *socket);
void rover__stream_report_all(rover_socket_t *socket);

/* Finishes the requests, and closes the descriptor. */
void rover__stream_close(rover_socket_t *socket);

#endif
