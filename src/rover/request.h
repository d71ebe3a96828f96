/* Private to src/rover: writes, and the shutdown, of a socket. Owner: socket.c.
 *
 * Most writes go out whole at once; the others, and those with a callback, are
 * libuv's until it has finished them, and call back in this or a later turn of
 * the loop. Their failing or finishing may close the socket. */
#ifndef ROVER_REQUEST_H
#define ROVER_REQUEST_H

#include "socket.h"

/* A write or a shutdown that libuv has not finished, or that is yet to call
 * back. */
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
  bool queued;  /* a write: the last of these brings the drain callback */
  char bytes[]; /* of a write: libuv reads them until it is done */
};

/* The first that libuv has finished, or NULL. */
struct rover__request *rover__request_done(const rover_socket_t *socket);

#endif
