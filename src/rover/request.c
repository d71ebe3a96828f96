#include "request.h"

#include <stdlib.h>
#include <string.h>

#include "../net/list.h"

/* -- Life ----------------------------------------------------------------- */

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

struct rover__request *rover__request_done(const rover_socket_t *socket) {
  struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->finished) break;
  return request;
}

/* -- Writing -------------------------------------------------------------- */

static bool has_queued(const rover_socket_t *socket) {
  const struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->queued) return true;
  return false;
}

static void written(struct rover__request *request) {
  bool queued = request->queued;
  int status = request->status;
  rover_socket_t *socket = end_request(request, status);

  if (socket->closing) return;
  if (status < 0) {
    rover__socket_fail(socket, status);
    return;
  }
  if (rover_socket_write_queue_size(socket) > 0) return;
  /* A request occupies memory until its callback, even once the kernel has all
   * its bytes, and a write may have failed for want of that memory. So drain is
   * reported after the last request. */
  rover_drain_cb cb = rover__socket_events(socket)->drain;
  if (queued && cb && !has_queued(socket)) cb(socket);
  /* Reached if there was no memory for a shutdown. */
  if (rover__socket_is_writable(socket)) rover__socket_close_if_over(socket);
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
  int err = rover__socket_type(socket)->write(request);
  if (err < 0) request_free(request);
  /* It counts as queued even if the rest could be written at once: the kernel
   * had refused it before. */
  else request->queued = !cb || rover_socket_write_queue_size(socket) > 0;
  return err;
}

int rover_socket_write(rover_socket_t *socket, const uv_buf_t buffers[],
                       unsigned count, rover_done_cb cb, void *arg) {
  size_t total = 0, sent = 0;

  if (socket->closing || (count > 0 && !buffers)) return UV_EINVAL;
  for (unsigned i = 0; i < count; i++) {
    if (buffers[i].len > 0 && !buffers[i].base) return UV_EINVAL;
    total += buffers[i].len;
  }
  int err = rover__socket_open(socket);
  if (err < 0) return err;
  if (!rover__socket_is_writable(socket)) return UV_EPIPE; /* shut down */

  rover__socket_expect_answer(socket);
  /* Most writes are sent whole at once, and then need no request. */
  if (!cb) {
    if (total == 0) return 0; /* libuv asserts that there is a buffer */
    int n = rover__socket_type(socket)->try_write(socket, buffers, count);
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

/* -- Shutting down -------------------------------------------------------- */

static void shut_down(struct rover__request *request) {
  int status = request->status;
  rover_socket_t *socket = end_request(request, status);

  if (socket->closing) return;
  socket->shut = 1;
  if (status < 0) rover__socket_fail(socket, status);
  else rover__socket_close_if_over(socket);
}

/* -- Reporting ------------------------------------------------------------ */

void rover__request_report(struct rover__request *request) {
  if (request->ends) shut_down(request);
  else written(request);
}

/* A closing socket reports the rest before its close callback. */
void rover__request_finished(struct rover__request *request, int status,
                             bool now) {
  rover_socket_t *socket = request->socket;

  request->status = status;
  request->finished = true;
  if (socket->closing) return;
  struct net__turn *turn = &socket->rover->turn->base;
  if (!now) net__turn_wait(turn, &socket->stream->source);
  else if (net__turn_take(turn, &socket->stream->source))
    rover__request_report(request);
}

/* -- Entry points --------------------------------------------------------- */

int rover_socket_shutdown(rover_socket_t *socket, rover_done_cb cb, void *arg) {
  if (socket->closing) return UV_EINVAL;
  int err = rover__socket_open(socket);
  if (err < 0) return err;
  struct rover__request *request = request_new(socket, 0, cb, arg);
  if (!request) return UV_ENOMEM;
  request->ends = true;
  err = rover__socket_type(socket)->shutdown(request);
  if (err < 0) request_free(request);
  else rover__socket_expect_answer(socket);
  return err;
}

size_t rover_socket_write_queue_size(const rover_socket_t *socket) {
  return socket->stream ? rover__socket_type(socket)->queue_size(socket) : 0;
}
