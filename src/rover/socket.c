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
  void (*tell)(struct rover__request *request); /* once libuv has finished it */
  int status;                                   /* then */
  bool queued;  /* a write: drain is to come once there is no such any more */
  char bytes[]; /* of a write: libuv reads them until it is done */
};

/* What a socket has once it is used, at its `tcp`. */
struct stream {
  uv_tcp_t tcp; /* tcp.data is the socket */
  struct rover__source source; /* of requests that are done, and bytes */
};

static void on_poll(struct rover__poll *poll, int events);
static void go_on(struct rover__source *source);
static void watch(rover_socket_t *socket);

static uv_stream_t *stream_of(rover_socket_t *socket) {
  return (uv_stream_t *)socket->tcp;
}

rover_t *rover_socket_rover(const rover_socket_t *socket) {
  return socket->rover;
}

static struct rover__source *source_of(const rover_socket_t *socket) {
  return &((struct stream *)socket->tcp)->source;
}

static void look_soon(rover_t *rover) {
  uv_timer_t *look = &rover->look;
  if (rover->options.keepalive > 0 && !uv_is_active((uv_handle_t *)look))
    uv_timer_start(look, rover__socket_look, ROVER__LOOK_MS, 0);
}

static bool is_writable(rover_socket_t *socket) {
  return !socket->tcp || uv_is_writable(stream_of(socket));
}

/* -- Life ----------------------------------------------------------------- */

static void closed(rover_socket_t *socket) {
  rover_t *rover = socket->rover;
  while (socket->requests) socket->requests->tell(socket->requests);
  if (socket->events && socket->events->close)
    socket->events->close(socket, socket->status);
  rover_server_unref(socket->server);
  free(socket->tcp);
  free(socket);
  rover__unref(rover);
}

/* Has that told in the next turn of the loop. */
static void close_later(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  socket->prev = NULL;
  if (rover->closed) rover->last_closed->prev = socket;
  else rover->closed = socket;
  rover->last_closed = socket;
  rover__turn_wait(rover->turn, &rover->later);
}

static void on_tcp_closed(uv_handle_t *tcp) {
  rover_socket_t *socket = tcp->data;
  rover_t *rover = socket->rover;
  if ((rover->closing && rover->own) ||
      rover__turn_take(rover->turn, &rover->later))
    closed(socket);
  else
    close_later(socket);
}

/* Each is told of its own once. */
static void tell_unwatched(rover_t *rover) {
  rover_socket_t *socket;

  DL_FOREACH(rover->sockets, socket) {
    if (!socket->unwatched || socket->told || socket->closing) continue;
    socket->told = true;
    if (rover->options.events.error)
      rover->options.events.error(rover, socket->server, socket->status,
                          "cannot watch a kept socket that nobody reads for "
                          "the peer's closing; trying again with each attempt");
  }
}

void rover__socket_tell_all(rover_t *rover) {
  rover_socket_t *socket;
  while ((socket = rover->closed)) {
    rover->closed = socket->prev;
    closed(socket);
  }
}

void rover__socket_tell(struct rover__source *later) {
  rover_t *rover = (rover_t *)((char *)later - offsetof(rover_t, later));
  rover_socket_t *socket;

  rover->refs++;
  while ((socket = rover->closed)) {
    rover->closed = socket->prev;
    closed(socket);
    if (rover->closed && !rover__turn_lasts(rover->turn)) break;
  }
  if (rover->closed) rover__turn_wait(rover->turn, later);
  else if (rover->unwatched) tell_unwatched(rover);
  rover__unref(rover);
}

void rover_socket_close(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->closing) return;
  socket->closing = true;
  socket->status = 0;
  /* next stays as it is, so that an iteration can go on from here. */
  DL_DELETE(rover->sockets, socket);
  if (--rover->stats.kept == 0) rover__poller_keep_alive(rover->poller, false);
  rover->stats.closed++;
  if (socket->tcp) {
    if (socket->poll.is_set) rover__poll_leave(rover->poller, &socket->poll);
    rover__turn_leave(rover->turn, source_of(socket));
    uv_close((uv_handle_t *)socket->tcp, on_tcp_closed);
    return;
  }
  if (socket->poll.fd >= 0) rover__poll_close(rover->poller, &socket->poll);
  close_later(socket);
}

static void fail(rover_socket_t *socket, int status) {
  if (socket->closing) return;
  rover_socket_close(socket);
  socket->status = (short)status;
}

/* Makes the socket a handle of libuv's. Those that are only kept never are, which
 * takes less memory and fewer system calls. */
static int open_stream(rover_socket_t *socket) {
  if (socket->tcp) return 0;
  struct stream *stream = malloc(sizeof *stream);
  if (!stream) return UV_ENOMEM;
  stream->source = (struct rover__source){.go_on = go_on};
  uv_tcp_t *tcp = &stream->tcp;
  uv_tcp_init(socket->rover->loop, tcp);
  tcp->data = socket;
  bool watched = socket->poll.is_set;
  rover__poll_share(socket->rover->poller, &socket->poll);
  socket->tcp = tcp;
  int fd = socket->poll.fd;
  int err = uv_tcp_open(tcp, fd);
  if (err < 0) {
    fail(socket, err);
    close(fd);
  } else if (watched && !socket->poll.is_set) {
    watch(socket);
  }
  return err;
}

/* A connection that broke meanwhile refuses options. That is no loss: watching
 * tells of it next. */
void rover__socket_set_keepalive(rover_socket_t *socket) {
  int seconds = socket->rover->options.keepalive;

  if (!socket->tuned) return; /* it has yet to get its options */
  rover__set_keepalive(socket->poll.fd, seconds);
  if (socket->poll.peer != PEER_SETTLED) look_soon(socket->rover);
}

void rover__socket_tune(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->tuned) return;
  socket->tuned = true;
  if (!rover->knows_keepalive)
    rover__get_keepalive(socket->poll.fd, &rover->keepalive);
  rover->knows_keepalive = true;
  rover__set_option(socket->poll.fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (socket->rover->options.keepalive > 0) rover__socket_set_keepalive(socket);
}

static rover_socket_t *socket_new(rover_t *rover, const rover_server_t *server,
                                  int slot, struct rover__poll *poll) {
  rover_socket_t *socket = malloc(sizeof *socket);
  if (!socket) return NULL;
  *socket = (rover_socket_t){.rover = rover,
                             .server = rover_server_ref(server),
                             .slot = slot};
  rover__poll_move(rover->poller, poll, &socket->poll, on_poll);
  rover->refs++;
  if (rover->sockets && rover->sockets->prev->slot > slot)
    rover->unsorted = true;
  DL_APPEND(rover->sockets, socket);
  rover->stats.connections++;
  if (rover->stats.kept++ == 0) rover__poller_keep_alive(rover->poller, true);
  return socket;
}

int rover__socket_deliver(rover_t *rover, const rover_server_t *server,
                          int slot, struct rover__poll *poll) {
  rover_socket_t *socket = socket_new(rover, server, slot, poll);
  if (!socket) return UV_ENOMEM;

  rover_connection_cb cb = rover->options.events.connection;
  if (cb) cb(rover, slot, socket);
  else rover_socket_close(socket);
  if (socket->closing) return 0;
  /* Options cost a system call each, so a refused socket gets none. */
  rover__socket_tune(socket);
  if (!socket->reading) watch(socket);
  return 0;
}

/* -- Reading, and noticing the end ---------------------------------------- */

static void ended(rover_socket_t *socket, bool unread);
static void close_in_order(rover_socket_t *socket);

/* Has it polled for the peer's closing, whatever waits unread; and once that has
 * come, for a reset, which is always told. What an attempt asked for has that,
 * too, and does as long as nothing else comes. */
static void watch(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->ended || !socket->poll.is_set) socket->poll.changes = false;
  int err = rover__poll_set(rover->poller, &socket->poll,
                            socket->ended ? 0 : UV_DISCONNECT);
  socket->unwatched = err < 0;
  socket->status = (short)err; /* until it closes */
  if (err == 0) {
    socket->told = false;
    return;
  }
  rover->unwatched = true;
  if (!socket->told) rover__turn_wait(rover->turn, &rover->later);
}

static void unwatch(rover_socket_t *socket) {
  if (socket->poll.is_set)
    rover__poll_leave(socket->rover->poller, &socket->poll);
  socket->unwatched = socket->told = false;
}

void rover__socket_watch_again(rover_t *rover) {
  rover_socket_t *socket;

  rover->unwatched = false;
  DL_FOREACH(rover->sockets, socket) if (socket->unwatched) watch(socket);
}

/* Nobody reads it, and the peer has closed. Bytes stay where they are. */
static void on_poll(struct rover__poll *poll, int events) {
  rover_socket_t *socket =
      (rover_socket_t *)((char *)poll - offsetof(rover_socket_t, poll));
  int err = rover__error_of(poll->fd);

  if (events < 0 || err < 0) {
    fail(socket, err < 0 ? err : events);
    return;
  }
  if (socket->ended) {
    close_in_order(socket); /* hung up: both sides are over */
    return;
  }
  if (events > 0 && !(events & UV_DISCONNECT)) { /* bytes that stay unread */
    poll->changes = false;
    watch(socket);
    return;
  }
  int waits = rover__peek(poll->fd);
  if (waits >= 0) ended(socket, waits > 0);
  else if (waits != UV_EAGAIN) fail(socket, waits);
}

/* Without a buffer libuv reads nothing, and tells again as long as there is
 * something. */
static void on_alloc(uv_handle_t *tcp, size_t size, uv_buf_t *buffer) {
  rover_socket_t *socket = tcp->data;
  (void)size;
  *buffer = rover__turn_take(socket->rover->turn, source_of(socket))
                ? uv_buf_init(socket->rover->buffer, ROVER__BUFFER_SIZE)
                : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t nread,
                    const uv_buf_t *buffer) {
  rover_socket_t *socket = stream->data;
  if (nread == UV_ENOBUFS && !buffer->base) return;
  int err = nread == UV_EOF ? rover__error_of(socket->poll.fd) : 0;

  /* libuv takes a reset that comes along with bytes for an end. */
  if (err < 0) nread = err;
  if (nread > 0) {
    if (socket->events && socket->events->data)
      socket->events->data(socket, buffer->base, (size_t)nread);
  } else if (nread == UV_EOF) {
    ended(socket, false);
  } else if (nread < 0) {
    fail(socket, (int)nread);
  }
}

static void read_now(rover_socket_t *socket) {
  uv_buf_t buffer = uv_buf_init(socket->rover->buffer, ROVER__BUFFER_SIZE);
  ssize_t n;

  do n = recv(socket->poll.fd, buffer.base, buffer.len, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (n <= 0) n = n < 0 ? uv_translate_sys_error(errno) : UV_EOF;
  on_read(stream_of(socket), n, &buffer);
}

static struct rover__request *first_done(const rover_socket_t *socket) {
  struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->tell) break;
  return request;
}

/* It has waited for a turn. */
static void go_on(struct rover__source *source) {
  struct stream *stream =
      (struct stream *)((char *)source - offsetof(struct stream, source));
  rover_socket_t *socket = stream->tcp.data;
  rover_turn_t *turn = socket->rover->turn;
  struct rover__request *request;

  while ((request = first_done(socket))) {
    request->tell(request);
    if (socket->closing) return;
    if (rover__turn_lasts(turn)) continue;
    rover__turn_wait(turn, source);
    return;
  }
  if (socket->reading && !socket->eof) read_now(socket);
}

static int read_on(rover_socket_t *socket) {
  int err = uv_read_start(stream_of(socket), on_alloc, on_read);
  return err == UV_EALREADY ? 0 : err;
}

/* Closing while bytes wait unread makes the kernel reset the connection, and
 * throw away what it has not sent yet (RFC 2525, 2.17). After the peer's end
 * they are finite; MSG_TRUNC discards them without a copy (tcp(7)). */
static void close_in_order(rover_socket_t *socket) {
  ssize_t n = socket->eof ? 0 : 1;
  while (n > 0 || (n < 0 && errno == EINTR))
    n = recv(socket->poll.fd, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
  rover_socket_close(socket);
}

static bool may_stay_half_open(const rover_socket_t *socket) {
  return socket->rover->options.allow_half_open && !socket->shut;
}

/* The peer has ended its side, and nobody here goes on. */
static bool is_over(const rover_socket_t *socket) {
  return socket->ended && (socket->eof || !socket->reading) &&
         !may_stay_half_open(socket);
}

/* Both sides are done, or will be once what was written is sent. */
static void finish(rover_socket_t *socket) {
  if (socket->shut || (rover_socket_write_queue_size(socket) == 0 &&
                       is_writable(socket))) {
    close_in_order(socket);
    return;
  }
  int err = rover_socket_shutdown(socket, NULL, NULL);
  /* Without memory for it, on_written() closes. */
  if (err < 0 && err != UV_ENOTCONN && err != UV_ENOMEM) fail(socket, err);
}

/* Nobody reads it any more, or nothing comes. */
static void rest(rover_socket_t *socket) {
  if (socket->ended && !may_stay_half_open(socket)) finish(socket);
  if (!socket->closing) watch(socket);
}

int rover_socket_read_start(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->closing) return UV_EINVAL;
  if (socket->reading) return 0;
  if (!rover->buffer) {
    rover->buffer = malloc(ROVER__BUFFER_SIZE);
    if (!rover->buffer) return UV_ENOMEM;
    rover__count_memory(rover, ROVER__BUFFER_SIZE);
  }
  int err = open_stream(socket);
  if (err < 0) return err;
  unwatch(socket);
  socket->reading = true;
  return read_on(socket);
}

void rover_socket_read_stop(rover_socket_t *socket) {
  if (socket->closing || !socket->reading) return;
  socket->reading = false;
  uv_read_stop(stream_of(socket));
  rest(socket);
}

/* The peer has ended its side; `unread` tells whether bytes wait before the
 * end. Comes twice where those are read after all. */
static void ended(rover_socket_t *socket, bool unread) {
  bool told = socket->ended;

  if (socket->tcp) uv_read_stop(stream_of(socket));
  socket->ended = true;
  socket->eof = !unread;
  if (!told && socket->events && socket->events->end)
    socket->events->end(socket);
  /* Whoever listens now, if that is another, is yet to hear of it. */
  if (socket->closing || !socket->ended || (unread && socket->reading)) return;
  rest(socket);
}

/* -- Peers that vanish ---------------------------------------------------- */

/* Something is under way to the peer, which is to acknowledge it. */
static void expect_answer(rover_socket_t *socket) {
  if (socket->poll.peer == PEER_SETTLED) socket->poll.peer = PEER_OWES;
  look_soon(socket->rover);
}

/* Whether something is still under way. */
static bool look_at(rover_socket_t *socket) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  struct rover__poll *poll = &socket->poll;

  if (poll->peer == PEER_SETTLED) return false;
  poll->peer = (unsigned char)rover__look_at_peer(poll->fd, poll->peer);
  if (poll->peer != PEER_GONE) return poll->peer != PEER_SETTLED;
  /* What it has not got is not to be sent for minutes to come. */
  setsockopt(poll->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fail(socket, UV_ETIMEDOUT);
  return false;
}

void rover__socket_look(uv_timer_t *look) {
  rover_t *rover = look->data;
  rover_socket_t *socket, *next;
  bool more = false;

  DL_FOREACH_SAFE(rover->sockets, socket, next) more |= look_at(socket);
  if (more) look_soon(rover);
}

/* -- Writing -------------------------------------------------------------- */

static struct rover__request *request_new(rover_socket_t *socket, size_t bytes,
                                          rover_done_cb cb, void *arg) {
  struct rover__request *request = malloc(sizeof *request + bytes);
  if (!request) return NULL;
  request->size = sizeof *request + bytes;
  rover__count_memory(socket->rover, (ptrdiff_t)request->size);
  request->socket = socket;
  request->cb = cb;
  request->arg = arg;
  request->queued = false;
  request->tell = NULL;
  DL_APPEND(socket->requests, request);
  return request;
}

static void request_free(struct rover__request *request) {
  rover_socket_t *socket = request->socket;
  rover__count_memory(socket->rover, -(ptrdiff_t)request->size);
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

/* libuv has finished the request: tells of it when the socket may. One that closes
 * does so before it tells that it has. */
static void finished(struct rover__request *request, int status,
                     void (*tell)(struct rover__request *request)) {
  rover_socket_t *socket = request->socket;

  request->status = status;
  request->tell = tell;
  if (!socket->closing &&
      rover__turn_take(socket->rover->turn, source_of(socket)))
    tell(request);
}

static bool has_queued(const rover_socket_t *socket) {
  const struct rover__request *request;
  DL_FOREACH(socket->requests, request) if (request->queued) return true;
  return false;
}

static void written(struct rover__request *request) {
  bool queued = request->queued;
  int status = request->status;
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
  if (is_over(socket) && is_writable(socket))
    close_in_order(socket); /* finish() had no memory for a shutdown */
}

static void on_written(uv_write_t *write, int status) {
  finished((struct rover__request *)write, status, written);
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
  int err = open_stream(socket);
  if (err < 0) return err;
  if (!is_writable(socket)) return UV_EPIPE; /* shut down */

  expect_answer(socket);
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
  err = enqueue(socket, buffers, count, sent, cb, arg);
  /* Part of the data is on its way: the stream cannot go on without the rest. */
  if (err < 0 && sent > 0) fail(socket, err);
  return err;
}

static void ended_own(struct rover__request *request) {
  int status = request->status;
  rover_socket_t *socket = request_done(request, status);

  if (socket->closing) return;
  socket->shut = 1;
  if (status < 0) fail(socket, status);
  else if (is_over(socket)) close_in_order(socket);
}

static void on_shutdown(uv_shutdown_t *shutdown, int status) {
  finished((struct rover__request *)shutdown, status, ended_own);
}

int rover_socket_shutdown(rover_socket_t *socket, rover_done_cb cb,
                          void *arg) {
  if (socket->closing) return UV_EINVAL;
  int err = open_stream(socket);
  if (err < 0) return err;
  struct rover__request *request = request_new(socket, 0, cb, arg);
  if (!request) return UV_ENOMEM;
  err = uv_shutdown(&request->uv.shutdown, stream_of(socket), on_shutdown);
  if (err < 0) request_free(request);
  else expect_answer(socket);
  return err;
}

size_t rover_socket_write_queue_size(const rover_socket_t *socket) {
  const uv_stream_t *stream = (const uv_stream_t *)socket->tcp;
  return stream ? uv_stream_get_write_queue_size(stream) : 0;
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
  socket->ended = socket->eof = false;
  if (socket->reading) read_on(socket);
  else watch(socket);
}

void *rover_socket_data(const rover_socket_t *socket) { return socket->data; }

void rover_socket_set_data(rover_socket_t *socket, void *data) {
  socket->data = data;
}

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

int rover__socket_release(rover_socket_t *socket) {
  if (socket->closing) return UV_EINVAL;
  int fd = socket->poll.fd;
  if (socket->tcp) {
    if (rover_socket_write_queue_size(socket) > 0) return UV_EBUSY;
    if (!socket->shut && !is_writable(socket)) return UV_EBUSY;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return uv_translate_sys_error(errno);
  }
  if (socket->tcp) return fd;
  unwatch(socket);
  socket->poll.fd = -1;
  return fd;
}

void rover__socket_restore(rover_socket_t *socket, int fd) {
  if (socket->tcp) {
    close(fd);
    return;
  }
  socket->poll.fd = fd;
  watch(socket);
}

int rover_socket_detach(rover_socket_t *socket) {
  int fd = rover__socket_release(socket);
  if (fd < 0) return fd;
  if (socket->tuned) rover__unset_options(fd, &socket->rover->keepalive);
  rover_socket_close(socket);
  return fd;
}

uv_stream_t *rover_socket_stream(rover_socket_t *socket) {
  return socket->closing || open_stream(socket) < 0 ? NULL : stream_of(socket);
}
