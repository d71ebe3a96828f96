#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/list.h"
#include "handoff.h"
#include "request.h"
#include "tally.h"

/* The life of a socket: an attempt delivers it, and it is kept unless the
 * connection callback closes it. While the program does not read, the rover's
 * poller watches for the peer's end, and no byte is read. Reading, writing or
 * asking for the stream turns it into a libuv handle. When the peer ends its
 * side, the end callback is called, and the socket closes unless it may stay
 * half open. Once closed by either side, or handed off (see handoff.h), it is
 * no longer in the rover's list. The callbacks of its requests and its close
 * callback follow in a later turn of the loop; then it is freed. */

/* The libuv handle of a socket that is read or written, which `tcp` points
 * to. */
struct stream {
  uv_tcp_t tcp;              /* tcp.data is the socket */
  struct net__source source; /* reports finished requests and bytes */
};

static void on_poll(struct net__poll *poll, int events);
static void go_on(struct net__source *source);
static void watch(rover_socket_t *socket);

rover_t *rover_socket_rover(const rover_socket_t *socket) {
  return socket->rover;
}

struct net__source *rover__socket_source(const rover_socket_t *socket) {
  return &((struct stream *)socket->tcp)->source;
}

static void check_soon(rover_t *rover) {
  uv_timer_t *timer = &rover->peer_check;
  if (rover->options.keepalive > 0 && !uv_is_active((uv_handle_t *)timer))
    uv_timer_start(timer, rover__socket_check_peers, NET__CHECK_MS, 0);
}

bool rover__socket_is_writable(const rover_socket_t *socket) {
  return !socket->tcp || uv_is_writable(rover__socket_stream(socket));
}

/* -- Life ----------------------------------------------------------------- */

static void closed(rover_socket_t *socket) {
  rover_t *rover = socket->rover;
  while (socket->requests) socket->requests->report(socket->requests);
  rover_socket_close_cb cb = rover__socket_events(socket)->close;
  if (cb) cb(socket, socket->status);
  rover__callbacks_leave(rover, &socket->callbacks);
  rover_server_unref(socket->server);
  free(socket->tcp);
  free(socket);
  rover__unref(rover);
}

/* Queues the close callback for the next turn of the loop. */
static void close_later(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  socket->prev = NULL;
  if (rover->closed) rover->last_closed->prev = socket;
  else rover->closed = socket;
  rover->last_closed = socket;
  net__turn_wait(&rover->turn->base, &rover->later);
}

static void on_tcp_closed(uv_handle_t *tcp) {
  rover_socket_t *socket = tcp->data;
  rover_t *rover = socket->rover;
  if ((rover->closing && rover->own) ||
      net__turn_take(&rover->turn->base, &rover->later))
    closed(socket);
  else close_later(socket);
}

/* Reports each unwatched socket once. */
static void report_unwatched(rover_t *rover) {
  rover_socket_t *socket;

  DL_FOREACH(rover->sockets, socket) {
    if (!socket->unwatched || socket->reported || socket->closing) continue;
    socket->reported = true;
    if (rover->options.events.error)
      rover->options.events.error(
          rover, socket->server, socket->status,
          "cannot watch a kept socket that nobody reads for "
          "the peer's closing; trying again with each attempt");
  }
}

void rover__socket_report_all(rover_t *rover) {
  rover_socket_t *socket;
  while ((socket = rover->closed)) {
    rover->closed = socket->prev;
    closed(socket);
  }
}

void rover__socket_report(struct net__source *later) {
  rover_t *rover = (rover_t *)((char *)later - offsetof(rover_t, later));
  rover_socket_t *socket;

  rover->refs++;
  while ((socket = rover->closed)) {
    rover->closed = socket->prev;
    closed(socket);
    if (rover->closed && !net__turn_lasts(&rover->turn->base)) break;
  }
  if (rover->closed) net__turn_wait(&rover->turn->base, later);
  else if (rover->unwatched) report_unwatched(rover);
  rover__unref(rover);
}

void rover_socket_close(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->closing) return;
  socket->closing = true;
  socket->status = 0;
  /* `next` is left as it is, so that an iteration can continue from here. */
  DL_DELETE(rover->sockets, socket);
  if (--rover->stats.kept == 0) net__poller_keep_alive(rover->poller, false);
  rover->stats.closed++;
  rover__tally_lose(socket->server->tally, socket->lent);
  socket->lent = false;
  if (socket->tcp) {
    if (socket->poll.is_set)
      net__poll_leave(&rover->poller->epoll, &socket->poll);
    net__turn_leave(&rover->turn->base, rover__socket_source(socket));
    uv_close((uv_handle_t *)socket->tcp, on_tcp_closed);
    return;
  }
  if (socket->poll.fd >= 0)
    net__poll_close(&rover->poller->epoll, &socket->poll);
  close_later(socket);
}

void rover__socket_fail(rover_socket_t *socket, int status) {
  if (socket->closing) return;
  rover_socket_close(socket);
  socket->status = (short)status;
}

int rover__socket_open(rover_socket_t *socket) {
  if (socket->tcp) return 0;
  struct stream *stream = malloc(sizeof *stream);
  if (!stream) return UV_ENOMEM;
  stream->source = (struct net__source){.go_on = go_on};
  uv_tcp_t *tcp = &stream->tcp;
  uv_tcp_init(socket->rover->loop, tcp);
  tcp->data = socket;
  socket->tcp = tcp;
  int fd = socket->poll.fd;
  int err = uv_tcp_open(tcp, fd);
  if (err < 0) {
    rover__socket_fail(socket, err);
    close(fd);
  }
  return err;
}

/* Setting options fails on a connection that has just broken. That is ignored,
 * as the poller reports it next. */
void rover__socket_set_keepalive(rover_socket_t *socket) {
  int seconds = socket->rover->options.keepalive;

  if (!socket->tuned) return; /* options not set yet */
  net__fd_set_keepalive(socket->poll.fd, seconds);
  if (socket->poll.peer != PEER_SETTLED) check_soon(socket->rover);
}

/* Sets the options of a kept socket, once. */
static void tune(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->tuned) return;
  socket->tuned = true;
  if (!rover->knows_keepalive)
    net__fd_get_keepalive(socket->poll.fd, &rover->keepalive);
  rover->knows_keepalive = true;
  net__fd_set(socket->poll.fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (socket->rover->options.keepalive > 0) rover__socket_set_keepalive(socket);
}

static rover_socket_t *socket_new(rover_t *rover, rover_server_t *server,
                                  int slot, struct net__poll *poll) {
  rover_socket_t *socket = malloc(sizeof *socket);
  if (!socket) return NULL;
  *socket = (rover_socket_t){
      .rover = rover, .server = rover_server_ref(server), .slot = slot};
  net__poll_move(&rover->poller->epoll, poll, &socket->poll, on_poll);
  rover->refs++;
  if (rover->sockets && rover->sockets->prev->slot > slot)
    rover->unsorted = true;
  DL_APPEND(rover->sockets, socket);
  rover->stats.connections++;
  rover__tally_keep(server->tally, slot);
  if (rover->stats.kept++ == 0) net__poller_keep_alive(rover->poller, true);
  return socket;
}

rover_socket_t *rover__socket_highest(rover_t *rover) {
  return rover_socket_first(rover)->prev;
}

static void close_surplus(rover_t *rover) {
  while (rover->stats.kept > rover->options.max_kept)
    rover_socket_close(rover__socket_highest(rover));
}

int rover_set_max_kept(rover_t *rover, unsigned count) {
  if (rover->closing) return UV_EINVAL;
  rover->options.max_kept = count > 0 ? count : UINT32_MAX;
  close_surplus(rover);
  return 0;
}

int rover__socket_deliver(rover_t *rover, rover_server_t *server, int slot,
                          struct net__poll *poll) {
  rover_socket_t *socket = socket_new(rover, server, slot, poll);
  if (!socket) return UV_ENOMEM;

  rover_connection_cb cb = rover->options.events.connection;
  if (cb) cb(rover, slot, socket);
  else if (rover->options.max_kept == UINT32_MAX) rover_socket_close(socket);
  if (socket->closing) return 0;
  /* Options cost a system call each, so a refused socket gets none. */
  tune(socket);
  if (!socket->reading) watch(socket);
  close_surplus(rover);
  return 0;
}

/* -- Reading, and noticing the end ---------------------------------------- */

static void ended(rover_socket_t *socket, bool unread);
static void close_in_order(rover_socket_t *socket);

/* Watches for the peer's end, whether or not bytes wait unread; after the end,
 * for a reset, which is always reported. The events that the attempt asked for
 * include this, and are left as they are until any other event is reported. */
static void watch(rover_socket_t *socket) {
  rover_t *rover = socket->rover;

  if (socket->ended || !socket->poll.is_set) socket->poll.changes = false;
  int err = net__poll_set(&rover->poller->epoll, &socket->poll,
                          socket->ended ? 0 : NET_DISCONNECT);
  socket->unwatched = err < 0;
  socket->status = (short)err; /* until the socket closes */
  if (err == 0) {
    socket->reported = false;
    return;
  }
  rover->unwatched = true;
  if (!socket->reported) net__turn_wait(&rover->turn->base, &rover->later);
}

static void unwatch(rover_socket_t *socket) {
  if (socket->poll.is_set)
    net__poll_leave(&socket->rover->poller->epoll, &socket->poll);
  socket->unwatched = socket->reported = false;
}

void rover__socket_watch_again(rover_t *rover) {
  rover_socket_t *socket;

  rover->unwatched = false;
  DL_FOREACH(rover->sockets, socket) if (socket->unwatched) watch(socket);
}

/* An event on a socket that the program does not read. Bytes stay in the
 * kernel. */
static void on_poll(struct net__poll *poll, int events) {
  rover_socket_t *socket =
      (rover_socket_t *)((char *)poll - offsetof(rover_socket_t, poll));
  int err = net__fd_error(poll->fd);

  if (events < 0 || err < 0) {
    rover__socket_fail(socket, err < 0 ? err : events);
    return;
  }
  if (socket->ended) {
    close_in_order(socket); /* hang-up: both sides have ended */
    return;
  }
  if (events > 0 && !(events & NET_DISCONNECT)) { /* bytes that stay unread */
    poll->changes = false;
    watch(socket);
    return;
  }
  int waits = net__fd_peek(poll->fd);
  if (waits >= 0) ended(socket, waits > 0);
  else if (waits != UV_EAGAIN) rover__socket_fail(socket, waits);
}

/* Given no buffer, libuv reads nothing, and asks again as long as there are
 * bytes. */
static void on_alloc(uv_handle_t *tcp, size_t size, uv_buf_t *buffer) {
  rover_socket_t *socket = tcp->data;
  (void)size;
  *buffer =
      net__turn_take(&socket->rover->turn->base, rover__socket_source(socket))
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
  if (nread > 0) {
    rover_data_cb cb = rover__socket_events(socket)->data;
    if (cb) cb(socket, buffer->base, (size_t)nread);
  } else if (nread == UV_EOF) {
    ended(socket, false);
  } else if (nread < 0) {
    rover__socket_fail(socket, (int)nread);
  }
}

static void read_now(rover_socket_t *socket) {
  uv_buf_t buffer = uv_buf_init(socket->rover->buffer, ROVER__BUFFER_SIZE);
  ssize_t n;

  do n = recv(socket->poll.fd, buffer.base, buffer.len, 0);
  while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
  if (n <= 0) n = n < 0 ? uv_translate_sys_error(errno) : UV_EOF;
  on_read(rover__socket_stream(socket), n, &buffer);
}

/* Continues a source that was queued. */
static void go_on(struct net__source *source) {
  struct stream *stream =
      (struct stream *)((char *)source - offsetof(struct stream, source));
  rover_socket_t *socket = stream->tcp.data;
  struct net__turn *turn = &socket->rover->turn->base;
  struct rover__request *request;

  while ((request = rover__request_done(socket))) {
    request->report(request);
    if (socket->closing) return;
    if (net__turn_lasts(turn)) continue;
    net__turn_wait(turn, source);
    return;
  }
  if (socket->reading && !socket->eof) read_now(socket);
}

static int read_on(rover_socket_t *socket) {
  int err = uv_read_start(rover__socket_stream(socket), on_alloc, on_read);
  return err == UV_EALREADY ? 0 : err;
}

/* Closing while bytes are unread makes the kernel reset the connection, and
 * discard what it has not sent yet (RFC 2525, 2.17). So they are discarded
 * first; after the peer's end no more can follow. MSG_TRUNC does this without a
 * copy (tcp(7)). */
static void close_in_order(rover_socket_t *socket) {
  ssize_t n = socket->eof ? 0 : 1;
  while (n > 0 || (n < 0 && errno == EINTR))
    n = recv(socket->poll.fd, NULL, 1 << 30, MSG_TRUNC | MSG_DONTWAIT);
  rover_socket_close(socket);
}

static bool may_stay_half_open(const rover_socket_t *socket) {
  return socket->rover->options.allow_half_open && !socket->shut;
}

/* Whether the peer has ended its side, and there is no reason to stay open. */
static bool is_over(const rover_socket_t *socket) {
  return socket->ended && (socket->eof || !socket->reading) &&
         !may_stay_half_open(socket);
}

void rover__socket_close_if_over(rover_socket_t *socket) {
  if (is_over(socket)) close_in_order(socket);
}

/* Closes the socket, at once or after what was written has been sent. */
static void finish(rover_socket_t *socket) {
  if (socket->shut || (rover_socket_write_queue_size(socket) == 0 &&
                       rover__socket_is_writable(socket))) {
    close_in_order(socket);
    return;
  }
  int err = rover_socket_shutdown(socket, NULL, NULL);
  /* If there is no memory for a shutdown, the last write closes the socket. */
  if (err < 0 && err != UV_ENOTCONN && err != UV_ENOMEM)
    rover__socket_fail(socket, err);
}

/* The program no longer reads, or nothing is left to read. */
static void settle(rover_socket_t *socket) {
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
  int err = rover__socket_open(socket);
  if (err < 0) return err;
  unwatch(socket);
  socket->reading = true;
  return read_on(socket);
}

void rover_socket_read_stop(rover_socket_t *socket) {
  if (socket->closing || !socket->reading) return;
  socket->reading = false;
  uv_read_stop(rover__socket_stream(socket));
  settle(socket);
}

/* The peer has ended its side. With `unread`, bytes wait before the end, and
 * this is called again if they are read after all. */
static void ended(rover_socket_t *socket, bool unread) {
  bool reported = socket->ended;

  if (socket->tcp) uv_read_stop(rover__socket_stream(socket));
  socket->ended = true;
  socket->eof = !unread;
  rover_end_cb cb = rover__socket_events(socket)->end;
  if (!reported && cb) cb(socket);
  /* The callback may have set other callbacks, which get the end next. */
  if (socket->closing || !socket->ended || (unread && socket->reading)) return;
  settle(socket);
}

/* -- Peers that vanish ---------------------------------------------------- */

void rover__socket_expect_answer(rover_socket_t *socket) {
  if (socket->poll.peer == PEER_SETTLED) socket->poll.peer = PEER_OWES;
  check_soon(socket->rover);
}

/* Checks the peer; returns whether it still has bytes to acknowledge. */
static bool check_one(rover_socket_t *socket) {
  struct net__poll *poll = &socket->poll;

  if (poll->peer == PEER_SETTLED) return false;
  poll->peer = (unsigned char)net__fd_check_peer(poll->fd, poll->peer, 0);
  if (poll->peer != PEER_GONE) return poll->peer != PEER_SETTLED;
  /* Otherwise the kernel would keep retransmitting for minutes. */
  net__fd_reset_on_close(poll->fd);
  rover__socket_fail(socket, UV_ETIMEDOUT);
  return false;
}

void rover__socket_check_peers(uv_timer_t *timer) {
  rover_t *rover = timer->data;
  rover_socket_t *socket, *next;
  bool more = false;

  DL_FOREACH_SAFE(rover->sockets, socket, next) more |= check_one(socket);
  if (more) check_soon(rover);
}

/* -- The rest ------------------------------------------------------------- */

int rover_socket_set_events(rover_socket_t *socket,
                            const rover_socket_events_t *events, void *data) {
  struct rover__request *request;
  int err = rover__callbacks_set(socket->rover, &socket->callbacks, events);

  if (err < 0) return err;
  DL_FOREACH(socket->requests, request) request->cb = NULL;
  socket->data = data;
  /* The new callbacks have not had the end: detects it once more. */
  if (!socket->ended || socket->closing) return 0;
  socket->ended = socket->eof = false;
  if (socket->reading) read_on(socket);
  else watch(socket);
  return 0;
}

void *rover_socket_data(const rover_socket_t *socket) { return socket->data; }

void rover_socket_set_data(rover_socket_t *socket, void *data) {
  socket->data = data;
}

int rover_socket_slot(const rover_socket_t *socket) { return socket->slot; }

rover_server_t *rover_socket_server(const rover_socket_t *socket) {
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
  rover_socket_t *next = socket->next;
  while (next && next->closing) next = next->next;
  return next;
}

void rover_socket_set_lent(rover_socket_t *socket, int lent) {
  struct rover__tally *tally = socket->server->tally;
  bool is = lent != 0;

  if (socket->closing || socket->lent == is) return;
  socket->lent = is;
  if (is) {
    tally->lent++;
    return;
  }
  tally->lent--;
  if (tally->steer == ROVER_STEER_DRAIN) /* it is to be ended, too */
    uv_timer_start(&socket->rover->drain, socket->rover->drain_on, 0, 0);
}

int rover_socket_is_lent(const rover_socket_t *socket) { return socket->lent; }

int rover_socket_is_closing(const rover_socket_t *socket) {
  return socket->closing;
}

/* Returns a descriptor of the connection, or the errors of
 * rover_socket_detach(). */
static int release(rover_socket_t *socket) {
  if (socket->closing) return UV_EINVAL;
  int fd = socket->poll.fd;
  if (!socket->tcp) {
    unwatch(socket);
    socket->poll.fd = -1;
    return fd;
  }
  if (rover_socket_write_queue_size(socket) > 0) return UV_EBUSY;
  if (!socket->shut && !rover__socket_is_writable(socket)) return UV_EBUSY;
  fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return fd < 0 ? uv_translate_sys_error(errno) : fd;
}

/* Detects an end or a reset that has not been reported yet. */
static int check_peer(const rover_socket_t *socket) {
  struct pollfd poll_fd = {.fd = socket->poll.fd, .events = POLLIN};

  if (socket->shut) return UV_EPIPE;
  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & POLLERR) return UV_ECONNRESET;
  if (!(poll_fd.revents & POLLIN)) return 0;
  int waits = net__fd_peek(poll_fd.fd);
  if (waits == 0) return UV_ENOTCONN;
  return waits > 0 || waits == UV_EAGAIN ? 0 : waits;
}

int rover__socket_take(rover_socket_t *socket) {
  if (socket->closing) return UV_EINVAL;
  int err = check_peer(socket);
  if (err < 0) return err;
  tune(socket);
  return release(socket);
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
  int fd = release(socket);
  if (fd < 0) return fd;
  if (socket->tuned) net__fd_unset(fd, &socket->rover->keepalive);
  rover_socket_close(socket);
  return fd;
}

uv_stream_t *rover_socket_stream(rover_socket_t *socket) {
  if (socket->closing || rover__socket_open(socket) < 0) return NULL;
  return rover__socket_stream(socket);
}
