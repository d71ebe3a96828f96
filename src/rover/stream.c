#include "stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../net/list.h"
#include "../net/transport.h"
#include "buffers.h"
#include "handle.h"
#include "outbox.h"

/* What a socket that is read or written has beyond one that is only kept.
 *
 * While it is read or has something to send, and under TLS always, it is polled
 * edge-triggered: any event is a reason to try whatever is under way (see
 * net/transport.h). Under TLS, a socket that nobody reads is looked at: what is
 * no data is taken, so that the peer's end is noticed, and of the data at most
 * one record, which is held.
 *
 * Most writes are sent whole at once, or together with others of the rover once
 * a batch of events was delivered (see outbox.h). The others, those with a
 * callback, and the shutdown are requests. They wait in a queue, of which the
 * first is under way, and stay in the socket's list until they are reported. */

/* A write or shutdown that has not been reported yet. */
struct rover__request {
  struct rover__request *prev, *next;
  rover_socket_t *socket;
  rover_done_cb cb;
  void *arg;
  size_t length; /* bytes of a write */
  int status;    /* once it has finished */
  bool finished;
  bool ends;    /* a shutdown */
  bool queued;  /* a write; drain is reported after the last one */
  char bytes[]; /* of a write */
};

struct rover__stream {
  struct net__source source; /* reports finished requests, and reads */
  struct rover__request *first; /* the first that has not finished */
  struct rover__handle *handle; /* libuv's, or NULL */
  unsigned char held;           /* its place in the outbox, or 0 */
  bool ends;                    /* a shutdown was asked for */
  bool disconnected; /* an end or error was reported, perhaps behind bytes */
  rover_socket_t *socket;
  size_t sent;                  /* bytes of the first */
  size_t queued;                /* bytes of all of them, yet to be sent */
};

/* A peer that sends faster than it is read gets so many buffers at a time. */
enum { ROUNDS_MAX = 16 };

static struct net__turn *turn_of(const rover_socket_t *socket) {
  return &socket->rover->turn->base;
}

static struct net__epoll *epoll_of(const rover_socket_t *socket) {
  return &socket->rover->poller->epoll;
}

static bool is_read(const rover_socket_t *socket) {
  return socket->reading && !socket->eof && !socket->closing;
}

static void go_on(struct net__source *source);

int rover__stream_open(rover_socket_t *socket) {
  if (socket->stream) return 0;
  struct rover__stream *stream = calloc(1, sizeof *stream);
  if (!stream) return UV_ENOMEM;
  stream->source.go_on = go_on;
  stream->socket = socket;
  socket->stream = stream;
  return 0;
}

bool rover__stream_is_writable(const rover_socket_t *socket) {
  return !socket->stream || !socket->stream->ends;
}

static size_t queued(const rover_socket_t *socket) {
  return socket->stream ? socket->stream->queued : 0;
}

bool rover__stream_is_sending(const rover_socket_t *socket) {
  return socket->stream && socket->stream->first;
}

struct rover__handle **rover__stream_handle(const rover_socket_t *socket) {
  return &socket->stream->handle;
}

int rover__stream_poll(rover_socket_t *socket) {
  int events = NET_READABLE;
  if (socket->secured || rover__stream_is_sending(socket))
    events |= NET_WRITABLE;
  /* Asked for again, an end is reported again. */
  if (!socket->ended) events |= NET_DISCONNECT;
  socket->poll.changes = true;
  return net__poll_set(epoll_of(socket), &socket->poll, events);
}

/* -- Reading -------------------------------------------------------------- */

/* A reset behind the end is the reason of that. */
static ssize_t read_bytes(const rover_socket_t *socket) {
  ssize_t n =
      net__recv(&socket->poll, socket->rover->buffer, ROVER__BUFFER_SIZE);
  if (n != 0) return n;
  int err = socket->secured ? 0 : net__fd_error(socket->poll.fd);
  return err < 0 ? err : UV_EOF;
}

/* Returns whether there may be more. */
static bool read_one(rover_socket_t *socket) {
  ssize_t n = read_bytes(socket);
  if (n == UV_EAGAIN) return false;
  rover__socket_got(socket, n);
  return n > 0 && is_read(socket) &&
         (socket->ended || socket->stream->disconnected ||
          net__has_more(&socket->poll, (size_t)n, ROVER__BUFFER_SIZE));
}

static void read_all(rover_socket_t *socket) {
  struct net__source *source = &socket->stream->source;

  for (int i = 0; i < ROUNDS_MAX; i++) {
    if (!read_one(socket)) return;
    if (!net__turn_take(turn_of(socket), source)) return;
  }
  net__turn_wait(turn_of(socket), source);
}

/* No event may come for what is there already. */
int rover__stream_read_start(rover_socket_t *socket) {
  int err = rover__stream_poll(socket);
  if (err == 0) net__turn_wait(turn_of(socket), &socket->stream->source);
  return err;
}

/* MSG_TRUNC does this without a copy (tcp(7)). */
static int discard_plain(const rover_socket_t *socket) {
  ssize_t n;
  do n = recv(socket->poll.fd, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
  while (n > 0 || (n < 0 && errno == EINTR));
  return 0;
}

int rover__stream_discard(rover_socket_t *socket) {
  char bytes[NET_RECORD_MAX];
  ssize_t n;

  if (!socket->secured) return discard_plain(socket);
  do n = net__recv(&socket->poll, bytes, sizeof bytes);
  while (n > 0);
  return n == UV_EAGAIN ? 0 : (int)n;
}

/* -- Writing -------------------------------------------------------------- */

/* How many bytes were sent, or UV_EAGAIN; there is one at least. What is not
 * sent is written next. */
static int try_write(rover_socket_t *socket, const uv_buf_t buffers[],
                     unsigned count) {
  if (rover__stream_is_sending(socket)) return UV_EAGAIN;
  return rover__buffers_send(&socket->poll, buffers, count);
}

/* -- Requests ------------------------------------------------------------- */

static ptrdiff_t size_of(const struct rover__request *request) {
  return (ptrdiff_t)(sizeof *request + request->length);
}

static struct rover__request *request_new(rover_socket_t *socket, size_t length,
                                          rover_done_cb cb, void *arg) {
  struct rover__request *request = malloc(sizeof *request + length);
  if (!request) return NULL;
  request->length = length;
  rover__count_memory(socket->rover, size_of(request));
  request->socket = socket;
  request->cb = cb;
  request->arg = arg;
  request->finished = request->ends = request->queued = false;
  DL_APPEND(socket->requests, request);
  return request;
}

static void request_free(struct rover__request *request) {
  rover_socket_t *socket = request->socket;
  rover__count_memory(socket->rover, -size_of(request));
  DL_DELETE(socket->requests, request);
  free(request);
}

static rover_socket_t *end_request(struct rover__request *request, int status) {
  rover_socket_t *socket = request->socket;
  rover_done_cb cb = request->cb;
  void *arg = request->arg;

  request_free(request);
  if (!cb) return socket;
  cb(socket, status, arg);
  return socket;
}

static struct rover__request *first_done(const rover_socket_t *socket) {
  struct rover__request *request;
  /* clang does not see that what is freed leaves the list. */
  DL_FOREACH(socket->requests, request) {
    if (request->finished) break; /* NOLINT(clang-analyzer-unix.Malloc) */
  }
  return request;
}

static bool has_queued(const rover_socket_t *socket) {
  const struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->queued) return true;
  return false;
}

static void written(struct rover__request *request) {
  bool was_queued = request->queued;
  int status = request->status;
  rover_socket_t *socket = end_request(request, status);

  if (socket->closing) return;
  if (status < 0) {
    rover__socket_fail(socket, status);
    return;
  }
  if (queued(socket) > 0) return;
  /* A request occupies memory until its callback, even once the kernel has all
   * its bytes, and a write may have failed for want of that memory. So drain is
   * reported after the last request. */
  rover_drain_cb cb = rover__socket_events(socket)->drain;
  if (was_queued && cb && !has_queued(socket)) cb(socket);
  /* Reached if there was no memory for a shutdown. */
  if (rover__stream_is_writable(socket)) rover__socket_close_if_over(socket);
}

static void shut_down(struct rover__request *request) {
  int status = request->status;
  rover_socket_t *socket = end_request(request, status);

  if (socket->closing) return;
  socket->shut = 1;
  if (status < 0) rover__socket_fail(socket, status);
  else rover__socket_close_if_over(socket);
}

static void report(struct rover__request *request) {
  if (request->ends) shut_down(request);
  else written(request);
}

/* Reports a finished request in this or a later turn of the loop; a closing
 * socket reports the rest before its close callback. */
static void finished(struct rover__request *request, int status, bool now) {
  rover_socket_t *socket = request->socket;
  struct net__source *source = &socket->stream->source;

  request->status = status;
  request->finished = true;
  if (socket->closing) return;
  if (!now) net__turn_wait(turn_of(socket), source);
  else if (net__turn_take(turn_of(socket), source)) report(request);
}

void rover__stream_report_all(rover_socket_t *socket) {
  while (socket->requests) /* as above */
    report(socket->requests); /* NOLINT(clang-analyzer-unix.Malloc) */
}

void rover__stream_forget(rover_socket_t *socket) {
  struct rover__request *request;
  DL_FOREACH(socket->requests, request) request->cb = NULL;
}

/* -- Sending -------------------------------------------------------------- */

/* One has finished: the next is first. */
static void finish(rover_socket_t *socket, int status, bool now) {
  struct rover__stream *stream = socket->stream;
  struct rover__request *request = stream->first;

  stream->queued -= request->length - stream->sent;
  stream->first = request->next;
  stream->sent = 0;
  finished(request, status, now);
}

/* Goes on with the first request; returns 0 if it has finished. */
static int send_on(rover_socket_t *socket) {
  struct rover__stream *stream = socket->stream;
  struct rover__request *request = stream->first;

  if (request->ends) return net__shutdown(&socket->poll);
  while (stream->sent < request->length) {
    ssize_t n = net__send(&socket->poll, request->bytes + stream->sent,
                          request->length - stream->sent, 0);
    if (n < 0) return (int)n;
    stream->sent += (size_t)n;
    stream->queued -= (size_t)n;
  }
  return 0;
}

/* What is reported now may close the socket, or add requests. What is left goes
 * on when the kernel has room. */
static void flush(rover_socket_t *socket, bool now) {
  struct rover__stream *stream = socket->stream;

  if (!stream->first) return;
  do {
    int err = send_on(socket);
    if (err == UV_EAGAIN) {
      err = rover__stream_poll(socket);
      if (err < 0) rover__socket_fail(socket, err);
      return;
    }
    finish(socket, err, now);
    if (err < 0) return; /* which closes the socket */
  } while (!socket->closing && stream->first);
  if (!socket->closing && !socket->secured && !is_read(socket))
    rover__socket_watch(socket);
}

static void go_on(struct net__source *source) {
  struct rover__stream *stream = (struct rover__stream *)source;
  rover_socket_t *socket = stream->socket;
  struct net__turn *turn = turn_of(socket);
  struct rover__request *request;

  flush(socket, false);
  if (socket->closing) return;
  while ((request = first_done(socket))) {
    report(request);
    if (socket->closing) return;
    if (net__turn_lasts(turn)) continue;
    net__turn_wait(turn, source);
    return;
  }
  if (is_read(socket) && read_one(socket)) net__turn_wait(turn, source);
}

static void append(struct rover__request *request) {
  struct rover__stream *stream = request->socket->stream;
  stream->queued += request->length;
  if (stream->first) return;
  stream->first = request;
  /* A side ends in a later turn: until then, closing cancels that. */
  if (request->ends) net__turn_wait(turn_of(request->socket), &stream->source);
  else flush(request->socket, false);
}

/* Queues the buffers, without their first `skip` bytes. */
static int enqueue(rover_socket_t *socket, const uv_buf_t buffers[],
                   unsigned count, size_t skip, rover_done_cb cb, void *arg) {
  size_t total = 0;
  for (unsigned i = 0; i < count; i++) total += buffers[i].len;
  total -= skip;

  struct rover__request *request = request_new(socket, total, cb, arg);
  if (!request) return UV_ENOMEM;
  char *to = request->bytes;
  for (unsigned i = 0; i < count; i++) {
    size_t from = skip < buffers[i].len ? skip : buffers[i].len;
    skip -= from;
    if (from == buffers[i].len) continue; /* its base may be NULL */
    memcpy(to, buffers[i].base + from, buffers[i].len - from);
    to += buffers[i].len - from;
  }
  append(request);
  /* It counts as queued even if the rest could be written at once: the kernel
   * had refused it before. */
  request->queued = !cb || queued(socket) > 0;
  return 0;
}

/* -- Held writes ---------------------------------------------------------- */

void rover__stream_send_held(rover_socket_t *socket) {
  struct rover__stream *stream = socket->stream;

  if (!stream || !stream->held) return;
  uv_buf_t bytes = rover__outbox_take(socket->rover->outbox, stream->held);
  stream->held = 0;
  int n = try_write(socket, &bytes, 1);
  if (socket->closing || n == (int)bytes.len) return;
  if (n < 0 && n != UV_EAGAIN) {
    rover__socket_fail(socket, n);
    return;
  }
  int err = enqueue(socket, &bytes, 1, n > 0 ? (size_t)n : 0, NULL, NULL);
  if (err < 0) rover__socket_fail(socket, err);
}

void rover__stream_send_all_held(rover_t *rover) {
  rover_socket_t *socket;
  while ((socket = rover__outbox_first(rover->outbox)))
    rover__stream_send_held(socket);
}

/* Returns false if the bytes are to be sent at once: as the last of a batch, or
 * because others wait to be sent. */
static bool hold(rover_socket_t *socket, const uv_buf_t buffers[],
                 unsigned count) {
  struct rover__stream *stream = socket->stream;
  rover_t *rover = socket->rover;

  if (!rover->poller->more_follow || socket->secured || stream->first ||
      stream->handle || rover__outbox_open(rover) < 0)
    return false;
  unsigned char place =
      rover__outbox_put(rover->outbox, socket, stream->held, buffers, count);
  if (place == 0) { /* it is full */
    rover__stream_send_all_held(rover);
    if (socket->closing) return false;
    place = rover__outbox_put(rover->outbox, socket, 0, buffers, count);
  }
  stream->held = place;
  return true;
}

size_t rover_socket_write_queue_size(const rover_socket_t *socket) {
  /* Only what is sent can tell; so it counts as if that had been at once. */
  rover__stream_send_held((rover_socket_t *)(uintptr_t)socket);
  return queued(socket);
}

int rover_socket_write(rover_socket_t *socket, const uv_buf_t buffers[],
                       unsigned count, rover_done_cb cb, void *arg) {
  size_t total = 0, sent = 0;

  if (socket->closing || (count > 0 && !buffers)) return UV_EINVAL;
  for (unsigned i = 0; i < count; i++) {
    if (buffers[i].len > 0 && !buffers[i].base) return UV_EINVAL;
    total += buffers[i].len;
  }
  int err = rover__stream_open(socket);
  if (err < 0) return err;
  if (!rover__stream_is_writable(socket)) return UV_EPIPE; /* shut down */

  rover__socket_expect_answer(socket);
  bool is_small = total > 0 && total <= ROVER__HELD_MAX;
  if (!cb && is_small && hold(socket, buffers, count)) return 0;
  rover__stream_send_held(socket);
  if (socket->closing) return socket->status;
  /* Most writes are sent whole at once, and then need no request. */
  if (!cb) {
    if (total == 0) return 0;
    int n = try_write(socket, buffers, count);
    if (n < 0 && n != UV_EAGAIN) {
      rover__socket_fail(socket, n);
      return n;
    }
    if (n > 0) sent = (size_t)n;
    if (sent == total) return 0;
  }
  err = enqueue(socket, buffers, count, sent, cb, arg);
  /* Part of the data was sent, or is in a record that TLS has begun: the stream
   * would be corrupt without the rest. */
  if (err < 0 && (sent > 0 || (socket->secured && !cb)))
    rover__socket_fail(socket, err);
  return err;
}

int rover_socket_shutdown(rover_socket_t *socket, rover_done_cb cb, void *arg) {
  if (socket->closing) return UV_EINVAL;
  int err = rover__stream_open(socket);
  if (err < 0) return err;
  if (socket->stream->ends) return UV_ENOTCONN;
  rover__stream_send_held(socket);
  if (socket->closing) return socket->status;
  struct rover__request *request = request_new(socket, 0, cb, arg);
  if (!request) return UV_ENOMEM;
  request->ends = socket->stream->ends = true;
  append(request);
  rover__socket_expect_answer(socket);
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

/* The kernel has no room for a socket that it was to be told of after the batch
 * in which that was made. */
static void unpolled(rover_socket_t *socket, int err) {
  if (is_read(socket) || rover__stream_is_sending(socket))
    rover__socket_fail(socket, err);
  else rover__socket_watch(socket);
}

void rover__stream_ready(struct net__poll *poll, int events) {
  rover_socket_t *socket =
      (rover_socket_t *)((char *)poll - offsetof(rover_socket_t, poll));

  if (!poll->is_set) {
    unpolled(socket, events);
    return;
  }
  /* An error may be behind bytes, too, and comes as no other event. */
  if (socket->stream && (events < 0 || events & NET_DISCONNECT))
    socket->stream->disconnected = true;
  if (is_read(socket)) read_all(socket);
  else if (events >= 0 && socket->secured) look(socket, events);
  else if (events >= 0) rover__socket_idle(socket, events);
  if (!socket->closing && socket->stream) flush(socket, true);
  if (events >= 0 || socket->closing || is_read(socket)) return;
  int err = net__fd_error(poll->fd);
  rover__socket_fail(socket, err < 0 ? err : events);
}

int rover__stream_look(rover_socket_t *socket) {
  if (!socket->poll.is_set) return rover__stream_poll(socket);
  net__poll_again(epoll_of(socket), &socket->poll);
  return 0;
}

/* -- Closing -------------------------------------------------------------- */

void rover__stream_close(rover_socket_t *socket) {
  struct rover__stream *stream = socket->stream;

  net__turn_leave(turn_of(socket), &stream->source);
  rover__stream_send_held(socket);
  if (stream->handle) {
    if (socket->poll.is_set) net__poll_leave(epoll_of(socket), &socket->poll);
    rover__handle_close(stream->handle);
  } else if (socket->poll.fd >= 0) {
    net__poll_close(epoll_of(socket), &socket->poll);
  }
  while (stream->first) finish(socket, UV_ECANCELED, false);
}
