#include "plain.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/transport.h"
#include "request.h"

/* A socket without TLS that is read or written is a handle of libuv's, which
 * has the descriptor then. */
struct plain {
  struct rover__stream base;
  uv_tcp_t tcp; /* tcp.data is the socket */
};

static struct plain *of(const rover_socket_t *socket) {
  return (struct plain *)socket->stream; /* `base` is its first field */
}

uv_stream_t *rover__plain_handle(const rover_socket_t *socket) {
  return (uv_stream_t *)&of(socket)->tcp;
}

static void go_on(struct net__source *source) {
  struct plain *plain = (struct plain *)source; /* its first field */
  rover__socket_go_on(plain->tcp.data);
}

static int plain_open(rover_socket_t *socket) {
  struct plain *plain = calloc(1, sizeof *plain);
  if (!plain) return UV_ENOMEM;
  uv_tcp_init(socket->rover->loop, &plain->tcp);
  plain->tcp.data = socket;
  plain->base.source.go_on = go_on;
  socket->stream = &plain->base;
  int fd = socket->poll.fd;
  int err = uv_tcp_open(&plain->tcp, fd);
  if (err < 0) {
    rover__socket_fail(socket, err);
    close(fd);
  }
  return err;
}

static bool plain_is_writable(const rover_socket_t *socket) {
  return uv_is_writable(rover__plain_handle(socket));
}

static size_t plain_queue_size(const rover_socket_t *socket) {
  return uv_stream_get_write_queue_size(rover__plain_handle(socket));
}

/* -- Reading -------------------------------------------------------------- */

/* Given no buffer, libuv reads nothing, and asks again as long as there are
 * bytes. */
static void on_alloc(uv_handle_t *tcp, size_t size, uv_buf_t *buffer) {
  rover_socket_t *socket = tcp->data;
  (void)size;
  *buffer = net__turn_take(&socket->rover->turn->base, &socket->stream->source)
                ? uv_buf_init(socket->rover->buffer, ROVER__BUFFER_SIZE)
                : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t nread,
                    const uv_buf_t *buffer) {
  rover_socket_t *socket = stream->data;
  if (nread == UV_ENOBUFS && !buffer->base) return;
  int err = nread == UV_EOF ? net__fd_error(socket->poll.fd) : 0;

  /* libuv reports a reset after bytes as an end. */
  if (err < 0) nread = err;
  if (nread != 0) rover__socket_got(socket, nread);
}

static void plain_read_now(rover_socket_t *socket) {
  ssize_t n =
      net__recv(&socket->poll, socket->rover->buffer, ROVER__BUFFER_SIZE);
  uv_buf_t buffer = uv_buf_init(socket->rover->buffer, ROVER__BUFFER_SIZE);
  if (n == UV_EAGAIN) return;
  on_read(rover__plain_handle(socket), n == 0 ? UV_EOF : n, &buffer);
}

static int plain_read_start(rover_socket_t *socket) {
  int err = uv_read_start(rover__plain_handle(socket), on_alloc, on_read);
  return err == UV_EALREADY ? 0 : err;
}

static void plain_read_stop(rover_socket_t *socket) {
  uv_read_stop(rover__plain_handle(socket));
}

/* MSG_TRUNC does this without a copy (tcp(7)). */
int rover__plain_discard(const rover_socket_t *socket) {
  ssize_t n;
  do n = recv(socket->poll.fd, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
  while (n > 0 || (n < 0 && errno == EINTR));
  return 0;
}

/* -- Writing -------------------------------------------------------------- */

static int plain_try_write(rover_socket_t *socket, const uv_buf_t buffers[],
                           unsigned count) {
  return uv_try_write(rover__plain_handle(socket), buffers, count);
}

static void on_written(uv_write_t *write, int status) {
  rover__request_finished((struct rover__request *)write, status, true);
}

static int plain_write(struct rover__request *request) {
  const uv_buf_t buffer = {.base = request->bytes, .len = request->length};
  return uv_write(&request->uv.write, rover__plain_handle(request->socket),
                  &buffer, 1, on_written);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
  rover__request_finished((struct rover__request *)shutdown, status, true);
}

static int plain_shutdown(struct rover__request *request) {
  return uv_shutdown(&request->uv.shutdown,
                     rover__plain_handle(request->socket), on_shutdown);
}

/* -- Closing -------------------------------------------------------------- */

static void on_closed(uv_handle_t *tcp) { rover__socket_closed(tcp->data); }

static void plain_close(rover_socket_t *socket) {
  if (socket->poll.is_set)
    net__poll_leave(&socket->rover->poller->epoll, &socket->poll);
  uv_close((uv_handle_t *)&of(socket)->tcp, on_closed);
}

const struct rover__stream_type rover__plain_stream = {
    .open = plain_open,
    .is_writable = plain_is_writable,
    .queue_size = plain_queue_size,
    .read_start = plain_read_start,
    .read_stop = plain_read_stop,
    .read_now = plain_read_now,
    .try_write = plain_try_write,
    .write = plain_write,
    .shutdown = plain_shutdown,
    .close = plain_close,
};
