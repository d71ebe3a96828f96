/* A front for the programs of this folder, its backend, and what its callbacks
 * have told. */
#ifndef FRONTS_H
#define FRONTS_H

#define HAS_WORKERS
#include "check.h"

#include <callosum/front.h>

enum { PLENTY = 8 << 20 }; /* more than the buffers of both ends hold */

static rover_front_t *front;
static int backend; /* a listener; or -1 */
static int fronts_closed;

static struct {
  int backend, errors, rejects; /* how many of these */
  int up, status;      /* of the last */
  char message[256];
  bool closes; /* in a callback, ... */
  bool nests;  /* ... which runs the loop until the front is gone */
} told_front;

static inline rover_front_stats_t sound_front(const rover_front_t *of) {
  rover_front_stats_t s;
  rover_front_stats_get(of, &s);
  EQUAL(s.accepted, s.refused + s.failed + s.closed + s.open + s.securing);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.drained + s.running);
  CHECK(s.unused + s.running + s.ending <= s.open && s.probes <= s.closed);
  CHECK(s.rejected <= s.refused + s.closed);
  return s;
}

static inline void on_front_closed(rover_front_t *of) {
  rover_front_stats_t s = sound_front(of);
  EQUAL(0, s.open + s.securing);
  fronts_closed++;
}

static inline void note_front(rover_front_t *of, int status,
                              const char *message) {
  sound_front(of);
  told_front.status = status;
  snprintf(told_front.message, sizeof told_front.message, "%s", message);
  if (told_front.closes) rover_front_close(of, 0, on_front_closed);
  if (told_front.nests) UNTIL(fronts_closed == 1);
}

static inline void on_backend(rover_front_t *of, int up, int status,
                              const char *message) {
  told_front.backend++;
  told_front.up = up;
  EQUAL(up, rover_front_is_up(of));
  note_front(of, status, message);
}

static inline void on_front_error(rover_front_t *of, int status,
                                  const char *message) {
  told_front.errors++;
  note_front(of, status, message);
}

static inline void on_front_reject(rover_front_t *of, int status,
                                   const char *message,
                                   const struct sockaddr *peer) {
  told_front.rejects++;
  CHECK(peer->sa_family != AF_INET || strstr(message, " from 127.0.0.1 "));
  note_front(of, status, message);
}

static const rover_front_events_t telling_front = {.backend = on_backend,
                                                   .error = on_front_error,
                                                   .reject = on_front_reject};

static inline int front_port(const rover_front_t *of) {
  return rover_front_options(of)->address.port;
}

/* A front that listens, before `backend` unless the options say where. */
static inline void begin(rover_front_options_t options) {
  memset(&told_front, 0, sizeof told_front);
  fronts_closed = 0;
  backend = -1;
  if (!options.backend.path) {
    backend = listening();
    options.backend.port = port_of(backend);
  }
  options.events = telling_front;
  options.workers = workers;
  EQUAL(0, rover_front_new(&front, loop, &options));
  EQUAL(0, rover_front_listen(front));
}

static inline void close_front(rover_front_t *own, uint64_t ms) {
  int before = fronts_closed;
  EQUAL(0, rover_front_close(own, ms, on_front_closed));
  EQUAL(before, fronts_closed);
  UNTIL(fronts_closed == before + 1);
}

static inline void end(void) {
  close_front(front, 0);
  if (backend >= 0) close(backend);
}

static inline void end_all(const int fds[], int count) {
  end();
  for (int i = 0; i < count; i++) close(fds[i]);
}

static inline int calling(const rover_front_t *of) {
  struct sockaddr_in name = loopback(front_port(of));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

/* Has a client come that gets this slot; returns its own end. */
static inline int greeted_as(int slot) {
  char line[16];
  int fd = calling(front);
  snprintf(line, sizeof line, "%d\r\n", slot);
  hear(fd, line);
  return fd;
}

static inline int is_reset(int fd) {
  char byte;
  return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

/* The same of one that has read the other's end. */
static inline int is_reset_behind_end(int fd) {
  int err = 0;
  socklen_t size = sizeof err;
  CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) == 0);
  return err == EPIPE;
}

/* Whether it has ended or been reset, and how many bytes came before that. */
static inline int gone_open(int fd) {
  char bytes[64];
  int total = 0;
  ssize_t n;
  do {
    UNTIL((n = recv(fd, bytes, sizeof bytes, 0)) >= 0 || errno != EAGAIN);
    if (n > 0) total += (int)n;
  } while (n > 0);
  return total;
}

static inline int gone(int fd) {
  int total = gone_open(fd);
  close(fd);
  return total;
}

/* 0 if nobody waits to be accepted. */
static inline int not_connected(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd >= 0) close(fd);
  return fd >= 0;
}

#endif
