/* Private to socket.c and request.c, which call each other: a socket has its
 * requests, and what becomes of one may close it. */
#ifndef ROVER_REQUEST_H
#define ROVER_REQUEST_H

#include "internal.h"

/* A write or a shutdown that libuv has not finished, or that is yet to be told
 * of. */
struct rover__request {
  union {
    uv_write_t write;
    uv_shutdown_t shutdown;
  } uv;
  struct rover__request *prev, *next;
  rover_socket_t *socket;
  rover_done_cb cb;
  void *arg;
  size_t size;
  void (*tell)(struct rover__request *request); /* once libuv has finished it */
  int status;                                   /* then */
  bool queued;  /* a write: drain is to come once there is no such any more */
  char bytes[]; /* of a write: libuv reads them until it is done */
};

/* -- request.c ------------------------------------------------------------ */

/* The first that libuv has finished, or NULL. */
struct rover__request *rover__request_done(const rover_socket_t *socket);

/* -- socket.c ------------------------------------------------------------- */

static inline uv_stream_t *rover__socket_stream(const rover_socket_t *socket) {
  return (uv_stream_t *)socket->tcp;
}

/* Its callbacks; where it has none, they are NULL. */
const rover_socket_events_t *rover__socket_events(const rover_socket_t *socket);

/* Makes the socket a handle of libuv's. Those that are only kept never are,
 * which takes less memory and fewer system calls. */
int rover__socket_open(rover_socket_t *socket);

/* In which it waits for its turn to tell of what is done, or to read. */
struct net__source *rover__socket_source(const rover_socket_t *socket);

/* Whether it has not been shut down. */
bool rover__socket_is_writable(const rover_socket_t *socket);

/* Something is under way to the peer, which is to acknowledge it. */
void rover__socket_expect_answer(rover_socket_t *socket);

/* Closes it, with that status. */
void rover__socket_fail(rover_socket_t *socket, int status);

/* Closes it if the peer has ended its side, and nobody here goes on. */
void rover__socket_close_if_over(rover_socket_t *socket);

#endif
