/* Private to src/rover: writes, and the shutdown, of a socket. Owner: socket.c.
 *
 * Most writes are sent whole at once. The others, and those with a callback,
 * are handed to the stream, and report their result in this or a later turn of
 * the loop. That may close the socket. */
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
  size_t length; /* bytes of a write */
  int status;    /* once it has finished */
  bool finished;
  bool ends;    /* a shutdown */
  bool queued;  /* a write; drain is reported after the last one */
  char bytes[]; /* of a write, in use by the stream until it has finished */
};

/* The stream has finished the request: reports it now, or in the socket's
 * turn. */
void rover__request_finished(struct rover__request *request, int status,
                             bool now);

/* The first request that is finished and not reported, or NULL. */
struct rover__request *rover__request_done(const rover_socket_t *socket);

/* Calls back. */
void rover__request_report(struct rover__request *request);

#endif
