/* Private to src/rover: a connection to a server, whose slot line was read. */
#ifndef ROVER_SOCKET_H
#define ROVER_SOCKET_H

#include "base.h"
#include "callbacks.h"

struct rover__request;

/* There may be many, so it is small. */
struct rover_socket_s {
  rover_t *rover;
  struct net__poll poll; /* while nobody reads; its descriptor always */
  const rover_server_t *server;
  struct rover__callbacks *callbacks; /* one of the rover's, or NULL */
  void *data;
  uv_tcp_t *tcp; /* once it is used; tcp->data is the socket */
  struct rover__request *requests; /* writes and shutdown not yet done */
  rover_socket_t *prev, *next; /* prev: of one that closes, the next */
  int slot;
  short status; /* for the close callback; before, why it is unwatched */
  bool reading : 1;
  bool ended : 1;     /* by the peer, ... */
  bool eof : 1;       /* ... and nothing is left to read */
  bool shut : 1;      /* by us */
  bool unwatched : 1; /* the kernel refused to, ... */
  bool told : 1;      /* ... and that was reported */
  bool closing : 1;
  bool tuned : 1; /* its options are set */
};

/* A slot line has arrived through `poll`: calls the connection callback, and
 * keeps the socket unless that has closed it. Takes over the descriptor of
 * `poll`. Errors: UV_ENOMEM; it has then done nothing. */
int rover__socket_deliver(rover_t *rover, const rover_server_t *server,
                          int slot, struct net__poll *poll);

/* Calls back for sockets that have closed, or that could not be watched. */
void rover__socket_tell(struct net__source *later);
void rover__socket_tell_all(rover_t *rover); /* at once */

/* Tries again to watch the sockets that could not be. */
void rover__socket_watch_again(rover_t *rover);

/* The rover's option keepalive has changed. */
void rover__socket_set_keepalive(rover_socket_t *socket);

/* Checks the peers that have bytes to acknowledge. */
void rover__socket_look(uv_timer_t *look);

/* -- For request.c -------------------------------------------------------- */

static inline uv_stream_t *rover__socket_stream(const rover_socket_t *socket) {
  return (uv_stream_t *)socket->tcp;
}

/* Its callbacks; where it has none, they are NULL. */
static inline const rover_socket_events_t *
rover__socket_events(const rover_socket_t *socket) {
  return rover__callbacks_events(socket->callbacks);
}

/* Makes the socket a handle of libuv's. Sockets that are only kept never become
 * one, which saves memory and system calls. */
int rover__socket_open(rover_socket_t *socket);

/* Of finished requests, and bytes. */
struct net__source *rover__socket_source(const rover_socket_t *socket);

/* Whether it has not been shut down. */
bool rover__socket_is_writable(const rover_socket_t *socket);

/* Bytes, or the end, are on their way to the peer, which has to acknowledge
 * them. */
void rover__socket_expect_answer(rover_socket_t *socket);

/* Closes it, with that status. */
void rover__socket_fail(rover_socket_t *socket, int status);

/* Closes it if the peer has ended its side and there is no reason to stay
 * open. */
void rover__socket_close_if_over(rover_socket_t *socket);

#endif
