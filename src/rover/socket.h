/* Private to src/rover: a connection whose slot line was read. */
#ifndef ROVER_SOCKET_H
#define ROVER_SOCKET_H

#include "base.h"
#include "callbacks.h"

struct rover__request;
struct rover__stream;

/* There may be a million of these, so it is kept small. What each message needs
 * comes first, in as few lines of the cache as can be. */
struct rover_socket_s {
  rover_t *rover;
  struct net__poll poll;
  struct rover__callbacks *callbacks; /* shared, in the rover; or NULL */
  void *data;
  struct rover__stream *stream; /* NULL until it is read or written */
  bool reading : 1;
  bool ended : 1;     /* the peer has ended its side, ... */
  bool eof : 1;       /* ... and nothing is left to read */
  bool shut : 1;      /* we have ended our side */
  bool unwatched : 1; /* the kernel refused to watch it, ... */
  bool reported : 1;  /* ... which was reported */
  bool closing : 1;
  bool tuned : 1; /* its options are set */
  bool lent : 1;
  bool secured : 1; /* by TLS */
  bool held : 1;
  short status; /* of the close; before, of a failure to watch */
  int slot;
  rover_server_t *server;
  struct rover__request *requests; /* writes and shutdown, unreported */
  rover_socket_t *prev, *next;     /* once closed, prev links rover->closed */
};

/* Makes a socket of a connection whose slot line was read, taking over the
 * descriptor of `poll`. Calls the connection callback, and keeps the socket
 * unless that closes it. Errors: UV_ENOMEM, after which nothing has changed. */
int rover__socket_deliver(rover_t *rover, rover_server_t *server, int slot,
                          struct net__poll *poll);

/* The one with the highest slot, the youngest of these; there must be one. */
rover_socket_t *rover__socket_highest(rover_t *rover);

/* Reports the sockets that have closed, or that could not be watched. */
void rover__socket_report(struct net__source *later);
void rover__socket_report_all(rover_t *rover); /* without regard to the turn */

/* Tries again to watch the sockets that could not be watched. */
void rover__socket_watch_again(rover_t *rover);

/* The rover's option keepalive has changed. */
void rover__socket_set_keepalive(rover_socket_t *socket);

/* Checks the peers that have bytes to acknowledge. */
void rover__socket_check_peers(uv_timer_t *timer);

/* -- For streams ---------------------------------------------------------- */

/* The socket's callbacks; those it does not have are NULL. */
static inline const rover_socket_events_t *
rover__socket_events(const rover_socket_t *socket) {
  return rover__callbacks_events(socket->callbacks);
}

/* Watches a socket that the program does not read for the peer's end. */
void rover__socket_watch(rover_socket_t *socket);

/* An event of such a socket, without TLS. */
void rover__socket_idle(rover_socket_t *socket, int events);

/* So many bytes were read into the rover's buffer, or UV_EOF, or an error. */
void rover__socket_got(rover_socket_t *socket, ssize_t n);

/* The peer has ended its side. With `unread`, bytes wait before the end, and
 * this is called again if they are read after all. */
void rover__socket_ended(rover_socket_t *socket, bool unread);

/* Bytes or the end were sent, so the peer owes an acknowledgement. */
void rover__socket_expect_answer(rover_socket_t *socket);

/* Closes the socket with that status. */
void rover__socket_fail(rover_socket_t *socket, int status);

/* Closes the socket if the peer has ended its side and there is no reason to
 * stay open. */
void rover__socket_close_if_over(rover_socket_t *socket);

#endif
