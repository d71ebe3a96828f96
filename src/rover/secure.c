#include "secure.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../net/list.h"
#include "../net/transport.h"
#include "request.h"

/* A socket under TLS is polled edge-triggered for as long as it lives: any
 * event is a reason to try whatever is under way (see net/transport.h). While
 * nobody reads it, it is looked at: what is no data is taken, so that the
 * peer's end is noticed, and of the data at most one record, which is held. A
 * socket that is read or written has a queue of requests, of which the first is
 * under way. What a call has finished is reported in a later turn, as libuv
 * does. */

struct secure {
  struct rover__stream base;
  rover_socket_t *socket;
  struct rover__request *first; /* the first that has not finished */
  size_t sent;                  /* bytes of it */
  size_t queued;                /* bytes of all of them, yet to be sent */
  bool ends;                    /* a shutdown was asked for */
};

/* A peer that sends faster than it is read gets so many buffers at a time. */
enum { ROUNDS_MAX = 16 };

static struct secure *of(const rover_socket_t *socket) {
  return (struct secure *)socket->stream; /* `base` is its first field */
}

static struct net__turn *turn_of(const rover_socket_t *socket) {
  return &socket->rover->turn->base;
}

static void go_on(struct net__source *source) {
  struct secure *secure = (struct secure *)source; /* its first field */
  rover__socket_go_on(secure->socket);
}

static int secure_open(rover_socket_t *socket) {
  struct secure *secure = calloc(1, sizeof *secure);
  if (!secure) return UV_ENOMEM;
  secure->base.source.go_on = go_on;
  secure->socket = socket;
  socket->stream = &secure->base;
  return 0;
}

static bool secure_is_writable(const rover_socket_t *socket) {
  return !of(socket)->ends;
}

static size_t secure_queue_size(const rover_socket_t *socket) {
  return of(socket)->queued;
}

/* -- Reading -------------------------------------------------------------- */

static bool is_read(const rover_socket_t *socket) {
  return socket->reading && !socket->eof && !socket->closing;
}

/* Returns whether there may be more. */
static bool read_one(rover_socket_t *socket) {
  ssize_t n =
      net__recv(&socket->poll, socket->rover->buffer, ROVER__BUFFER_SIZE);
  if (n == UV_EAGAIN) return false;
  rover__socket_got(socket, n == 0 ? UV_EOF : n);
  return n > 0 && is_read(socket) &&
         net__has_more(&socket->poll, (size_t)n, ROVER__BUFFER_SIZE);
}

/* No event comes for what is there already. */
static void secure_read_now(rover_socket_t *socket) {
  if (read_one(socket))
    net__turn_wait(turn_of(socket), &socket->stream->source);
}

static void read_all(rover_socket_t *socket) {
  struct net__source *source = &socket->stream->source;

  for (int i = 0; i < ROUNDS_MAX; i++) {
    if (!net__turn_take(turn_of(socket), source)) return;
    if (!read_one(socket)) return;
  }
  net__turn_wait(turn_of(socket), source);
}

static int secure_read_start(rover_socket_t *socket) {
  net__turn_wait(turn_of(socket), &socket->stream->source);
  return 0;
}

static void secure_read_stop(rover_socket_t *socket) { (void)socket; }

int rover__secure_discard(rover_socket_t *socket) {
  char bytes[NET_RECORD_MAX];
  ssize_t n;

  do n = net__recv(&socket->poll, bytes, sizeof bytes);
  while (n > 0);
  return n == UV_EAGAIN ? 0 : (int)n;
}

/* -- Writing -------------------------------------------------------------- */

/* Where a list of buffers is up to. */
struct place {
  const uv_buf_t *buffer, *end;
  size_t skip; /* bytes of the first */
};

/* The next bytes, at most a record's if they come from several buffers, which
 * `room` is for: a record costs as much as some hundred bytes. */
static uv_buf_t piece(struct place place, char room[NET_RECORD_MAX]) {
  size_t length = 0;

  while (place.buffer < place.end && place.buffer->len == place.skip) {
    place.buffer++;
    place.skip = 0;
  }
  if (place.buffer == place.end) return uv_buf_init(NULL, 0);
  size_t own = place.buffer->len - place.skip;
  if (own >= NET_RECORD_MAX || place.buffer + 1 == place.end)
    return (uv_buf_t){.base = place.buffer->base + place.skip, .len = own};
  for (; place.buffer < place.end && length < NET_RECORD_MAX; place.buffer++) {
    size_t left = place.buffer->len - place.skip;
    if (left > NET_RECORD_MAX - length) left = NET_RECORD_MAX - length;
    if (left > 0) memcpy(room + length, place.buffer->base + place.skip, left);
    length += left;
    place.skip = 0;
  }
  return (uv_buf_t){.base = room, .len = length};
}

static void advance(struct place *place, size_t bytes) {
  while (bytes > 0) {
    size_t left = place->buffer->len - place->skip;
    if (bytes < left) {
      place->skip += bytes;
      return;
    }
    bytes -= left;
    place->buffer++;
    place->skip = 0;
  }
}

static int secure_try_write(rover_socket_t *socket, const uv_buf_t buffers[],
                            unsigned count) {
  struct place place = {buffers, buffers + count, 0};
  char room[NET_RECORD_MAX];
  size_t sent = 0;
  ssize_t n = 0;
  uv_buf_t next;

  if (of(socket)->first) return UV_EAGAIN;
  while (sent < INT_MAX - ROVER__BUFFER_SIZE &&
         (next = piece(place, room)).len > 0) {
    n = net__send(&socket->poll, next.base,
                  next.len < ROVER__BUFFER_SIZE ? next.len : ROVER__BUFFER_SIZE,
                  0);
    if (n < 0) break;
    sent += (size_t)n;
    advance(&place, (size_t)n);
  }
  return sent > 0 || n == 0 ? (int)sent : (int)n;
}

/* One has finished: the next is first. */
static void finish(rover_socket_t *socket, int status, bool now) {
  struct secure *secure = of(socket);
  struct rover__request *request = secure->first;

  secure->queued -= request->length - secure->sent;
  secure->first = request->next;
  secure->sent = 0;
  rover__request_finished(request, status, now);
}

/* Goes on with the first request; returns 0 if it has finished. */
static int send_on(rover_socket_t *socket) {
  struct secure *secure = of(socket);
  struct rover__request *request = secure->first;

  if (request->ends) return net__shutdown(&socket->poll);
  while (secure->sent < request->length) {
    ssize_t n = net__send(&socket->poll, request->bytes + secure->sent,
                          request->length - secure->sent, 0);
    if (n < 0) return (int)n;
    secure->sent += (size_t)n;
    secure->queued -= (size_t)n;
  }
  return 0;
}

/* What is reported now may close the socket, or add requests. */
static void flush(rover_socket_t *socket, bool now) {
  struct secure *secure = of(socket);

  while (!socket->closing && secure->first) {
    int err = send_on(socket);
    if (err == UV_EAGAIN) return;
    finish(socket, err, now);
    if (err < 0) return; /* which closes the socket */
  }
}

static void append(struct rover__request *request) {
  struct secure *secure = of(request->socket);
  secure->queued += request->length;
  if (secure->first) return;
  secure->first = request;
  flush(request->socket, false);
}

static int secure_write(struct rover__request *request) {
  append(request);
  return 0;
}

static int secure_shutdown(struct rover__request *request) {
  struct secure *secure = of(request->socket);
  if (secure->ends) return UV_ENOTCONN;
  secure->ends = true;
  append(request);
  return 0;
}

/* -- Events --------------------------------------------------------------- */

/* Nobody reads. Behind an unread record, only the kernel knows of the end. */
static void look(rover_socket_t *socket, int events) {
  if (socket->ended) return;
  int waits = net__peek(&socket->poll);
  if (waits == 0) rover__socket_ended(socket, false);
  else if (waits > 0 && events & NET_DISCONNECT)
    rover__socket_ended(socket, true);
  else if (waits < 0 && waits != UV_EAGAIN) rover__socket_fail(socket, waits);
}

void rover__secure_ready(struct net__poll *poll, int events) {
  rover_socket_t *socket =
      (rover_socket_t *)((char *)poll - offsetof(rover_socket_t, poll));

  if (is_read(socket)) read_all(socket);
  else if (events >= 0) look(socket, events);
  if (!socket->closing && socket->stream) flush(socket, true);
  if (events >= 0 || socket->closing || is_read(socket)) return;
  int err = net__fd_error(poll->fd);
  rover__socket_fail(socket, err < 0 ? err : events);
}

int rover__secure_watch(rover_socket_t *socket) {
  struct net__epoll *epoll = &socket->rover->poller->epoll;
  if (socket->poll.is_set) {
    net__poll_again(epoll, &socket->poll);
    return 0;
  }
  socket->poll.changes = true;
  return net__poll_set(epoll, &socket->poll,
                       NET_READABLE | NET_WRITABLE | NET_DISCONNECT);
}

/* -- Closing -------------------------------------------------------------- */

static void secure_close(rover_socket_t *socket) {
  struct secure *secure = of(socket);

  if (socket->poll.fd >= 0)
    net__poll_close(&socket->rover->poller->epoll, &socket->poll);
  while (secure->first) finish(socket, UV_ECANCELED, false);
  rover__socket_close_later(socket);
}

const struct rover__stream_type rover__secure_stream = {
    .open = secure_open,
    .is_writable = secure_is_writable,
    .queue_size = secure_queue_size,
    .read_start = secure_read_start,
    .read_stop = secure_read_stop,
    .read_now = secure_read_now,
    .try_write = secure_try_write,
    .write = secure_write,
    .shutdown = secure_shutdown,
    .close = secure_close,
};
