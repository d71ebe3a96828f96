/* Private to src/rover: a connection whose slot line was read. */
#ifndef ROVER_SOCKET_H
#define ROVER_SOCKET_H

#include "base.h"
#include "callbacks.h"

struct rover__request;

/* What a socket that is read or written needs beyond one that is only kept:
 * libuv's stream (plain.c), or one of our own under TLS (secure.c). Bytes and
 * the end go to rover__socket_got(), requests to rover__request_finished(). */
struct rover__stream_type {
  int (*open)(rover_socket_t *socket);
  bool (*is_writable)(const rover_socket_t *socket);
  size_t (*queue_size)(const rover_socket_t *socket);
  int (*read_start)(rover_socket_t *socket);
  void (*read_stop)(rover_socket_t *socket);
  /* Reads at most one buffer, in the source's turn. */
  void (*read_now)(rover_socket_t *socket);
  /* How many bytes were sent, or UV_EAGAIN; there is one at least. What is not
   * sent is written next. */
  int (*try_write)(rover_socket_t *socket, const uv_buf_t buffers[],
                   unsigned count);
  int (*write)(struct rover__request *request);
  int (*shutdown)(struct rover__request *request);
  /* Finishes the requests, and ends in rover__socket_closed() or
   * rover__socket_close_later(). */
  void (*close)(rover_socket_t *socket);
};

struct rover__stream {
  struct net__source source; /* reports finished requests and bytes */
};

/* There may be a million of these, so it is kept small. */
struct rover_socket_s {
  rover_t *rover;
  struct net__poll poll; /* polls while idle, or under TLS always; fd is always
                            the socket's */
  rover_server_t *server;
  struct rover__callbacks *callbacks; /* shared, in the rover; or NULL */
  void *data;
  struct rover__stream *stream; /* NULL until used */
  struct rover__request *requests; /* writes and shutdown, unreported */
  rover_socket_t *prev, *next;     /* once closed, prev links rover->closed */
  int slot;
  short status; /* of the close; before, of a failure to watch */
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

/* -- For requests and streams --------------------------------------------- */

/* The socket's callbacks; those it does not have are NULL. */
static inline const rover_socket_events_t *
rover__socket_events(const rover_socket_t *socket) {
  return rover__callbacks_events(socket->callbacks);
}

/* Turns the socket into a stream. Sockets that are only kept never become one,
 * which saves memory and system calls. */
int rover__socket_open(rover_socket_t *socket);
const struct rover__stream_type *
rover__socket_type(const rover_socket_t *socket);

/* Continues a source that was queued: reports requests, and reads. */
void rover__socket_go_on(rover_socket_t *socket);

/* So many bytes were read into the rover's buffer, or UV_EOF, or an error. */
void rover__socket_got(rover_socket_t *socket, ssize_t n);

/* The peer has ended its side. With `unread`, bytes wait before the end, and
 * this is called again if they are read after all. */
void rover__socket_ended(rover_socket_t *socket, bool unread);

/* The stream is closed: reports that now if the turn allows, or later. */
void rover__socket_closed(rover_socket_t *socket);
void rover__socket_close_later(rover_socket_t *socket);

/* Whether its sending side is open. */
bool rover__socket_is_writable(const rover_socket_t *socket);

/* Bytes or the end were sent, so the peer owes an acknowledgement. */
void rover__socket_expect_answer(rover_socket_t *socket);

/* Closes the socket with that status. */
void rover__socket_fail(rover_socket_t *socket, int status);

/* Closes the socket if the peer has ended its side and there is no reason to
 * stay open. */
void rover__socket_close_if_over(rover_socket_t *socket);

#endif
