#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utlist.h>

/* A write or a shutdown that libuv has not finished. */
struct rover__request {
  union {
    uv_write_t write;
    uv_shutdown_t shutdown;
  } uv;
  struct rover__request *prev, *next;
  rover_socket_t *socket;
  rover_done_cb cb;
  void *arg;
  size_t size;
  bool queued;  /* a write: drain is to come once there is no such any more */
  char bytes[]; /* of a write: libuv reads them until it is done */
};

/* Watches for the peer's closing while bytes wait that nobody reads: a read
 * would be ready all the time then, and libuv allows one handle a descriptor,
 * so this one polls a duplicate. */
struct rover__watch {
  uv_poll_t poll; /* poll.data is the socket */
  int fd;
};

/* After the peer's end only a reset can come, which is always reported,
 * whatever is asked for. */
enum { AFTER_END = UV_PRIORITIZED };

static void ended(rover_socket_t *socket, bool unread);
static int watch_stream(rover_socket_t *socket);

static uv_stream_t *stream_of(rover_socket_t *socket) {
  return (uv_stream_t *)&socket->tcp;
}

rover_t *rover_socket_rover(const rover_socket_t *socket) {
  return socket->tcp.data;
}

static int fd_of(const rover_socket_t *socket) {
  uv_os_fd_t fd = -1;
  uv_fileno((const uv_handle_t *)&socket->tcp, &fd);
  return fd;
}

/* -- Life ----------------------------------------------------------------- */

static void closed(rover_socket_t *socket) {
  rover_t *rover = rover_socket_rover(socket);
  if (socket->events && socket->events->close)
    socket->events->close(socket, socket->status);
  rover_server_unref(socket->server);
  free(socket);
  rover__unref(rover);
}

static void on_handle_closed(rover_socket_t *socket) {
  if (--socket->handles == 0) closed(socket);
}

static void on_tcp_closed(uv_handle_t *handle) {
  on_handle_closed((rover_socket_t *)handle);
}

static void on_watch_closed(uv_handle_t *handle) {
  struct rover__watch *own = (struct rover__watch *)handle;
  rover_socket_t *socket = own->poll.data;
  close(own->fd);
  free(own);
  on_handle_closed(socket);
}

static void unwatch(rover_socket_t *socket) {
  if (!socket->by.watch) return;
  uv_close((uv_handle_t *)&socket->by.watch->poll, on_watch_closed);
  socket->by.watch = NULL;
}

void rover_socket_close(rover_socket_t *socket) {
  rover_t *rover = rover_socket_rover(socket);

  if (socket->closing) return;
  socket->closing = true;
  /* next stays as it is, so that an iteration can go on from here. */
  DL_DELETE(rover->sockets, socket);
  rover->stats.kept--;
  rover->stats.closed++;
  if (socket->fresh) { /* rover__socket_deliver() goes on */
    rover__poll_close(rover->poller, socket->by.poll);
    return;
  }
  unwatch(socket);
  uv_close((uv_handle_t *)&socket->tcp, on_tcp_closed);
}

static void fail(rover_socket_t *socket, int status) {
  if (socket->closing) return;
  socket->status = (short)status;
  rover_socket_close(socket);
}

/* Makes the socket a handle of libuv's. Most never are: they are refused as
 * soon as their slot is known, and that takes fewer system calls. */
static void open_stream(rover_socket_t *socket) {
  rover_t *rover = rover_socket_rover(socket);
  struct rover__poll *poll = socket->by.poll;

  if (!socket->fresh || socket->closing) return;
  socket->fresh = false;
  socket->by.watch = NULL;
  rover__poll_leave(rover->poller, poll);
  uv_tcp_init(rover->loop, &socket->tcp);
  socket->handles = 1;
  int err = uv_tcp_open(&socket->tcp, poll->fd);
  if (err == 0) return;
  close(poll->fd);
  fail(socket, err);
}

/* A connection that broke meanwhile refuses options. That is no loss: reading
 * tells of it next. */
void rover__socket_set_keepalive(rover_socket_t *socket) {
  int keepalive = rover_socket_rover(socket)->options.keepalive;
  unsigned seconds = keepalive > 0 ? (unsigned)keepalive : 0;

  if (socket->fresh) return; /* it has yet to get its options */
  /* libuv probes 10 times, a second apart. */
  uv_tcp_keepalive(&socket->tcp, seconds > 0, seconds);
#ifdef TCP_USER_TIMEOUT
  unsigned ms = seconds > 0 ? (seconds + 10) * 1000 : 0;
  setsockopt(fd_of(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
#endif
}

static void set_options(rover_socket_t *socket) {
  if (socket->tuned) return;
  socket->tuned = true;
  uv_tcp_nodelay(&socket->tcp, 1);
  if (rover_socket_rover(socket)->options.keepalive > 0)
    rover__socket_set_keepalive(socket);
}

static rover_socket_t *socket_new(rover_t *rover, const rover_server_t *server,
                                  int slot, struct rover__poll *poll) {
  rover_socket_t *socket = malloc(sizeof *socket);
  if (!socket) return NULL;
  *socket = (rover_socket_t){.tcp.data = rover,
                             .server = rover_server_ref(server),
                             .by.poll = poll,
                             .slot = slot,
                             .fresh = true};
  rover->refs++;
  if (rover->sockets && rover->sockets->prev->slot > slot)
    rover->unsorted = true;
  DL_APPEND(rover->sockets, socket);
  rover->stats.connections++;
  rover->stats.kept++;
  return socket;
}

int rover__socket_deliver(rover_t *rover, const rover_server_t *server,
                          int slot, struct rover__poll *poll) {
  rover_socket_t *socket = socket_new(rover, server, slot, poll);
  if (!socket) return UV_ENOMEM;

  rover_connection_cb cb = rover->options.events.connection;
  if (cb) cb(rover, slot, socket);
  else rover_socket_close(socket);
  if (!socket->closing) {
    open_stream(socket);
    /* Options cost a system call each, so a refused socket gets none. */
    set_options(socket);
    watch_stream(socket);
  } else if (socket->fresh) {
    closed(socket);
  }
  return 0;
}

/* -- Reading, and noticing the end ---------------------------------------- */

int rover__socket_error(int fd) {
  int err = 0;
  socklen_t size = sizeof err;

  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0) err = errno;
  return err ? uv_translate_sys_error(err) : 0;
}

static void on_watch(uv_poll_t *poll, int status, int events) {
  rover_socket_t *socket = poll->data;
  int err = rover__socket_error(fd_of(socket));

  (void)events;
  if (err < 0) status = err;
  if (status < 0) {
    fail(socket, status);
  } else if (socket->ended) {
    rover_socket_close(socket); /* hung up: both sides are over */
  } else {
    unwatch(socket);
    ended(socket, true);
  }
}

static int try_watch(rover_socket_t *socket, int events) {
  struct rover__watch *own = malloc(sizeof *own);
  if (!own) return UV_ENOMEM;
  own->fd = fcntl(fd_of(socket), F_DUPFD_CLOEXEC, 0);
  int err = own->fd < 0
                ? uv_translate_sys_error(errno)
                : uv_poll_init(socket->tcp.loop, &own->poll, own->fd);
  if (err < 0) {
    if (own->fd >= 0) close(own->fd);
    free(own);
    return err;
  }
  own->poll.data = socket;
  socket->by.watch = own;
  socket->handles++;
  uv_poll_start(&own->poll, events, on_watch);
  return 0;
}

static void watch(rover_socket_t *socket, int events) {
  rover_t *rover = rover_socket_rover(socket);
  int err = socket->by.watch ? 0 : try_watch(socket, events);
  bool told = socket->unwatched;

  socket->unwatched = err < 0;
  if (err == 0) return;
  rover->unwatched = true;
  if (!told && rover->options.events.error)
    rover->options.events.error(rover, socket->server, err,
                        "cannot watch a kept socket that nobody reads for the "
                        "peer's closing; trying again with each attempt");
}

/* Something is ready that nobody reads: bytes, the end, or an error. Bytes
 * stay where they are. */
static void peek(rover_socket_t *socket) {
  char byte;
  ssize_t n;

  do n = recv(fd_of(socket), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n == 0) {
    ended(socket, false);
  } else if (n > 0) {
    uv_read_stop(stream_of(socket));
    watch(socket, socket->ended ? AFTER_END : UV_DISCONNECT);
  } else if (errno != EAGAIN && errno != EWOULDBLOCK) {
    fail(socket, uv_translate_sys_error(errno));
  }
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buffer) {
  rover_socket_t *socket = (rover_socket_t *)handle;

  (void)size;
  if (socket->reading)
    *buffer = uv_buf_init(rover_socket_rover(socket)->buffer,
                          ROVER__BUFFER_SIZE);
  else *buffer = uv_buf_init(NULL, 0); /* libuv then reports, and reads not */
}

static void on_read(uv_stream_t *stream, ssize_t nread,
                    const uv_buf_t *buffer) {
  rover_socket_t *socket = (rover_socket_t *)stream;
  int err = nread == UV_EOF ? rover__socket_error(fd_of(socket)) : 0;

  /* libuv takes a reset that comes along with bytes for an end. */
  if (err < 0) nread = err;
  if (nread > 0) {
    if (socket->events && socket->events->data)
      socket->events->data(socket, buffer->base, (size_t)nread);
  } else if (nread == UV_ENOBUFS && !socket->reading) {
    peek(socket);
  } else if (nread == UV_EOF) {
    ended(socket, false);
  } else if (nread < 0) {
    fail(socket, (int)nread);
  }
}

/* Watches the socket for whatever the peer does. */
static int watch_stream(rover_socket_t *socket) {
  int err = uv_read_start(stream_of(socket), on_alloc, on_read);
  return err == UV_EALREADY ? 0 : err;
}

/* Reading it finds again what could not be watched. */
void rover__socket_watch_again(rover_t *rover) {
  rover_socket_t *socket;

  rover->unwatched = false;
  DL_FOREACH(rover->sockets, socket) {
    if (!socket->unwatched) continue;
    rover->unwatched = true;
    watch_stream(socket);
  }
}

/* Closing while bytes wait unread makes the kernel reset the connection, and
 * throw away what it has not sent yet (RFC 2525, 2.17). After the peer's end
 * they are finite; MSG_TRUNC discards them without a copy (tcp(7)). */
static void close_in_order(rover_socket_t *socket) {
  ssize_t n = socket->eof ? 0 : 1;
  while (n > 0 || (n < 0 && errno == EINTR))
    n = recv(fd_of(socket), NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
  rover_socket_close(socket);
}

static bool may_stay_half_open(const rover_socket_t *socket) {
  return rover_socket_rover(socket)->options.allow_half_open && !socket->shut;
}

/* The peer has ended its side, and nobody here goes on. */
static bool is_over(const rover_socket_t *socket) {
  return socket->ended && (socket->eof || !socket->reading) &&
         !may_stay_half_open(socket);
}

/* Both sides are done, or will be once what was written is sent. */
static void finish(rover_socket_t *socket) {
  if (socket->shut || (rover_socket_write_queue_size(socket) == 0 &&
                       uv_is_writable(stream_of(socket)))) {
    close_in_order(socket);
    return;
  }
  int err = rover_socket_shutdown(socket, NULL, NULL);
  /* Without memory for it, on_written() closes. */
  if (err < 0 && err != UV_ENOTCONN && err != UV_ENOMEM) fail(socket, err);
}

int rover_socket_read_start(rover_socket_t *socket) {
  rover_t *rover = rover_socket_rover(socket);

  if (socket->closing) return UV_EINVAL;
  if (socket->reading) return 0;
  open_stream(socket);
  if (!rover->buffer) {
    rover->buffer = malloc(ROVER__BUFFER_SIZE);
    if (!rover->buffer) return UV_ENOMEM;
    rover__count_memory(rover, ROVER__BUFFER_SIZE);
  }
  unwatch(socket);
  socket->unwatched = 0;
  socket->reading = 1;
  return watch_stream(socket);
}

void rover_socket_read_stop(rover_socket_t *socket) {
  if (socket->closing || !socket->reading) return;
  socket->reading = 0;
  if (!socket->ended) return;
  if (!may_stay_half_open(socket)) finish(socket);
  else watch_stream(socket); /* which finds the end again */
}

/* The peer has ended its side; `unread` tells whether bytes wait before the
 * end. Comes twice where those are read after all. */
static void ended(rover_socket_t *socket, bool unread) {
  bool told = socket->ended;

  uv_read_stop(stream_of(socket));
  socket->ended = 1;
  socket->eof = !unread;
  if (!told && socket->events && socket->events->end)
    socket->events->end(socket);
  /* Whoever listens now, if that is another, is yet to hear of it. */
  if (socket->closing || !socket->ended || (unread && socket->reading)) return;
  if (may_stay_half_open(socket)) {
    watch(socket, AFTER_END);
    return;
  }
  finish(socket);
}

/* -- Writing -------------------------------------------------------------- */

static struct rover__request *request_new(rover_socket_t *socket, size_t bytes,
                                          rover_done_cb cb, void *arg) {
  struct rover__request *request = malloc(sizeof *request + bytes);
  if (!request) return NULL;
  request->size = sizeof *request + bytes;
  rover__count_memory(rover_socket_rover(socket), (ptrdiff_t)request->size);
  request->socket = socket;
  request->cb = cb;
  request->arg = arg;
  request->queued = false;
  DL_APPEND(socket->requests, request);
  return request;
}

static void request_free(struct rover__request *request) {
  rover_socket_t *socket = request->socket;
  rover__count_memory(rover_socket_rover(socket), -(ptrdiff_t)request->size);
  DL_DELETE(socket->requests, request);
  free(request);
}

static rover_socket_t *request_done(struct rover__request *request,
                                    int status) {
  rover_socket_t *socket = request->socket;
  rover_done_cb cb = request->cb;
  void *arg = request->arg;

  request_free(request);
  if (cb) cb(socket, status, arg);
  return socket;
}

static bool has_queued(const rover_socket_t *socket) {
  const struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->queued) return true;
  return false;
}

static void on_written(uv_write_t *write, int status) {
  struct rover__request *request = (struct rover__request *)write;
  bool queued = request->queued;
  rover_socket_t *socket = request_done(request, status);

  if (socket->closing) return;
  if (status < 0) {
    fail(socket, status);
    return;
  }
  if (rover_socket_write_queue_size(socket) > 0) return;
  /* What is handed over has its memory until its own callback, so a write may
   * have been refused for it: the last of them tells. */
  if (queued && !has_queued(socket) && socket->events && socket->events->drain)
    socket->events->drain(socket);
  if (is_over(socket) && uv_is_writable(stream_of(socket)))
    close_in_order(socket); /* finish() had no memory for a shutdown */
}

/* Queues the buffers but for their first `skip` bytes. */
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
  uv_buf_t buffer = {.base = request->bytes, .len = total};
  int err = uv_write(&request->uv.write, stream_of(socket), &buffer, 1,
                     on_written);
  if (err < 0) request_free(request);
  /* A rest that libuv's own attempt got rid of counts, too: the kernel had not
   * taken it at once. */
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
  open_stream(socket);
  if (!uv_is_writable(stream_of(socket))) return UV_EPIPE; /* shut down */

  /* Most writes go out whole at once, and then need no request. */
  if (!cb) {
    if (total == 0) return 0; /* libuv asserts that there is a buffer */
    int n = uv_try_write(stream_of(socket), buffers, count);
    if (n < 0 && n != UV_EAGAIN) {
      fail(socket, n);
      return n;
    }
    if (n > 0) sent = (size_t)n;
    if (sent == total) return 0;
  }
  int err = enqueue(socket, buffers, count, sent, cb, arg);
  /* Part of the data is on its way: the stream cannot go on without the rest. */
  if (err < 0 && sent > 0) fail(socket, err);
  return err;
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
  rover_socket_t *socket =
      request_done((struct rover__request *)shutdown, status);

  if (socket->closing) return;
  socket->shut = 1;
  if (status < 0) fail(socket, status);
  else if (is_over(socket)) close_in_order(socket);
}

int rover_socket_shutdown(rover_socket_t *socket, rover_done_cb cb,
                          void *arg) {
  if (socket->closing) return UV_EINVAL;
  open_stream(socket);
  struct rover__request *request = request_new(socket, 0, cb, arg);
  if (!request) return UV_ENOMEM;
  int err = uv_shutdown(&request->uv.shutdown, stream_of(socket), on_shutdown);
  if (err < 0) request_free(request);
  return err;
}

size_t rover_socket_write_queue_size(const rover_socket_t *socket) {
  if (socket->fresh) return 0;
  return uv_stream_get_write_queue_size((const uv_stream_t *)&socket->tcp);
}

/* -- The rest ------------------------------------------------------------- */

void rover_socket_set_events(rover_socket_t *socket,
                             const rover_socket_events_t *events, void *data) {
  struct rover__request *request;
  DL_FOREACH(socket->requests, request) request->cb = NULL;
  socket->events = events;
  socket->data = data;
  /* Who listens now has not heard of the end: let it be noticed again. */
  if (!socket->ended || socket->closing) return;
  socket->ended = socket->eof = 0;
  unwatch(socket);
  watch_stream(socket);
}

void *rover_socket_data(const rover_socket_t *socket) { return socket->data; }

int rover_socket_slot(const rover_socket_t *socket) { return socket->slot; }

const rover_server_t *rover_socket_server(const rover_socket_t *socket) {
  return socket->server;
}

static int by_slot(const rover_socket_t *a, const rover_socket_t *b) {
  return (a->slot > b->slot) - (a->slot < b->slot);
}

rover_socket_t *rover_socket_first(rover_t *rover) {
  if (rover->unsorted) DL_SORT(rover->sockets, by_slot);
  rover->unsorted = false;
  return rover->sockets;
}

rover_socket_t *rover_socket_next(const rover_socket_t *socket) {
  do socket = socket->next;
  while (socket && socket->closing);
  return (rover_socket_t *)socket;
}

int rover_socket_is_closing(const rover_socket_t *socket) {
  return socket->closing;
}

int rover__socket_dup(rover_socket_t *socket) {
  if (socket->closing) return UV_EINVAL;
  open_stream(socket);
  if (rover_socket_write_queue_size(socket) > 0) return UV_EBUSY;
  if (!socket->shut && !uv_is_writable(stream_of(socket))) return UV_EBUSY;
  int fd = fcntl(fd_of(socket), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return uv_translate_sys_error(errno);
  set_options(socket);
  return fd;
}

int rover_socket_detach(rover_socket_t *socket) {
  int fd = rover__socket_dup(socket);
  if (fd >= 0) rover_socket_close(socket);
  return fd;
}

uv_stream_t *rover_socket_stream(rover_socket_t *socket) {
  open_stream(socket);
  return socket->closing ? NULL : stream_of(socket);
}
