/* Private to src/rover: writes, and the shutdown, of a socket. Owner: socket.c.
 *
 * Most writes are sent whole at once. The others, and those with a callback,
 * are handed to libuv, and report their result in this or a later turn of the
 * loop. That may close the socket. */
#ifndef ROVER_REQUEST_H
#define ROVER_REQUEST_H

#include "socket.h"

/* A write or shutdown that has not been reported yet. */
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
  void (*report)(struct rover__request *request); /* once finished */
  int status;                                     /* then */
  bool queued;  /* a write; drain is reported after the last one */
  char bytes[]; /* of a write, in use by libuv until it has finished */
};

/* The first request that libuv has finished, or NULL. */
struct rover__request *rover__request_done(const rover_socket_t *socket);

#endif
