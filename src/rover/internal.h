/* Private to src/rover: what its files share. */
#ifndef ROVER_INTERNAL_H
#define ROVER_INTERNAL_H

/* What uthash's lists assert would print and abort. */
#ifndef NDEBUG
#define NDEBUG
#endif

#include <callosum/rover.h>

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct rover__attempt;

/* -- line.c: the slot line ------------------------------------------------ */

enum { ROVER__LINE_MAX = 12 }; /* 10 digits, CR, LF */

/* Parses the `length` bytes read so far. Returns 0 when they are the whole
 * line and sets *slot; UV_EPROTO when no line begins like this; else how many
 * more bytes may be read without passing the line's LF. */
int rover__line_parse(const char *line, size_t length, int *slot);

/* Writes `bytes` in double quotes, escaped, NUL-terminated, and cut with "..."
 * where `out` ends. `size` is at least 8. */
void rover__quote(char *out, size_t size, const char *bytes, size_t length);

/* -- server.c: the table of servers --------------------------------------- */

struct rover__server_table {
  rover_server_t *by_id; /* uthash head */
  rover_server_t **all;  /* dense, so that a uniform pick is one look-up */
  size_t count;
  size_t capacity;
};

/* A random server that is not paused, or NULL if none was found. */
rover_server_t *rover__server_pick(rover_t *rover);
ptrdiff_t rover__server_memory(const rover_t *rover); /* of all of them */
void rover__server_clear(rover_t *rover);

/* -- attempt.c ------------------------------------------------------------ */

/* Begins one attempt, or returns UV_ENOMEM. Every other outcome comes by
 * callback in a later turn of the loop; that of NULL is that nobody is there
 * to be asked. */
int rover__attempt_start(rover_t *rover, rover_server_t *server);

/* Cancels in silence the attempts to `server`, or all of them for NULL. */
void rover__attempt_cancel(rover_t *rover, const rover_server_t *server);

/* The rover has other servers now: each attempt goes on for the one that has
 * its server's id and address, or is cancelled in silence. */
void rover__attempt_follow_servers(rover_t *rover);

/* Reading of a socket whose slot line has not come: where the next bytes go,
 * and that they have come. */
void rover__attempt_buffer(struct rover__attempt *attempt, uv_buf_t *buffer);
void rover__attempt_read(struct rover__attempt *attempt, ssize_t nread);

/* -- socket.c ------------------------------------------------------------- */

struct rover__request;
struct rover__watch;

struct rover_socket_s {
  uv_tcp_t tcp; /* tcp.data is the socket */
  rover_t *rover;
  const rover_server_t *server;
  const rover_socket_events_t *events;
  void *data; /* until the slot line came, the attempt */
  struct rover__request *requests; /* writes and shutdown not yet done */
  struct rover__watch *watch;
  rover_socket_t *prev, *next;
  int slot;
  int status; /* for the close callback */
  unsigned handles; /* not yet closed: tcp, watch */
  unsigned live : 1;    /* handed to the connection callback */
  unsigned reading : 1;
  unsigned ended : 1;   /* by the peer, ... */
  unsigned eof : 1;     /* ... and nothing is left to read */
  unsigned shut : 1;    /* by us */
  unsigned draining : 1;
  unsigned unwatched : 1; /* for want of memory or descriptors */
  unsigned closing : 1;
};

/* Makes an unconnected socket, or returns NULL. `rover` waits for it. */
rover_socket_t *rover__socket_new(rover_t *rover, const rover_server_t *server);

/* Watches the connected socket: for its slot line, and later for whatever the
 * peer does. */
int rover__socket_watch(rover_socket_t *socket);

/* Tries again with those kept sockets that could not be watched. */
void rover__socket_watch_again(rover_t *rover);

/* The slot line of `socket` has come: tells the connection callback, and keeps
 * the socket unless it was closed there. */
void rover__socket_deliver(rover_socket_t *socket, int slot);

/* The rover's option keepalive has changed. */
void rover__socket_set_keepalive(rover_socket_t *socket);

/* -- rover.c -------------------------------------------------------------- */

struct rover_s {
  uv_loop_t *loop;
  rover_options_t options; /* with defaults filled in */
  struct rover__server_table servers;
  uint64_t random; /* the generator's state */
  bool started;
  bool closing;
  uv_timer_t clock; /* clock.data is the rover */
  uint64_t ticked;  /* when, in the loop's time */
  struct rover__attempt *attempts;
  rover_socket_t *sockets;
  bool unsorted;
  bool unwatched; /* some of them are */
  char *buffer; /* what a reading socket reads into; made when first wanted */
  unsigned refs; /* clock, attempts, sockets: freed when it comes to 0 */
  rover_close_cb close_cb;
  rover_stats_t stats;
  uint64_t *unreachable; /* by cause, see rover.c */
};

enum { ROVER__BUFFER_SIZE = 64 * 1024 };

/* A uniform number in [0, 1), and one in [0, bound) for bound > 0. */
double rover__random(rover_t *rover);
uint64_t rover__random_below(rover_t *rover, uint64_t bound);

void rover__count_unreachable(rover_t *rover, int status);

/* Counts memory that was taken, or with a negative number given back. */
void rover__count_memory(const rover_t *rover, ptrdiff_t bytes);

void rover__unref(rover_t *rover);

/* True for what this machine lacks, whichever server is asked. */
bool rover__is_exhaustion(int status);

#endif
