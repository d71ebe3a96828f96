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
#include "../net/transport.h"
#include "handle.h"
#include "handoff.h"
#include "reload.h"
#include "stream.h"
#include "tally.h"

/* The life of a socket: an attempt delivers it, and it is kept unless the
 * connection callback closes it. While the program does not read, the rover's
 * poller watches for the peer's end, and no byte is read (under TLS, a record
 * at most, which is held). Reading, writing or asking for libuv's handle gives
 * it a stream (see stream.c). When the peer ends its side, the end callback is
 * called, and the socket closes unless it may stay half open. Once closed by
 * either side, or handed off (see handoff.h), it is no longer in the rover's
 * list. The callbacks of its requests and its close callback follow in a later
 * turn of the loop; then it is freed. */

rover_t *rover_socket_rover(const rover_socket_t *socket) {
  return socket->rover;
}

static void check_soon(rover_t *rover) {
  uv_timer_t *timer = &rover->peer_check;
  if (rover->options.keepalive > 0 && !uv_is_active((uv_handle_t *)timer))
    uv_timer_start(timer, rover__socket_check_peers, NET__CHECK_MS, 0);
}

/* -- Life ----------------------------------------------------------------- */

static void closed(rover_socket_t *socket) {
  rover_t *rover = socket->rover;
  rover__stream_report_all(socket);
  rover_socket_close_cb cb = rover__socket_events(socket)->close;
  if (cb) cb(socket, socket->status);
  rover__callbacks_leave(rover, &socket->callbacks);
  rover_server_unref(socket->server);
  free(socket->stream);
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
  if (socket->stream) rover__stream_close(socket);
  else if (socket->poll.fd >= 0)
    net__poll_close(&rover->poller->epoll, &socket->poll);
  close_later(socket);
}

void rover__socket_fail(rover_socket_t *socket, int status) {
  if (socket->closing) return;
  rover_socket_close(socket);
  socket->status = (short)status;
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
      .rover = rover,
      .server = rover_server_ref(server),
      .slot = slot,
      .secured = poll->tls != NULL};
  net__poll_move(&rover->poller->epoll, poll, &socket->poll,
                 rover__stream_ready);
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
  if (!socket->reading) rover__socket_watch(socket);
  close_surplus(rover);
  return 0;
}

/* -- Reading, and noticing the end ---------------------------------------- */

static void close_in_order(rover_socket_t *socket);
static bool is_held_at_end(const rover_socket_t *socket);

/* The events that the attempt asked for include this, and are left as they are
 * until any other event is reported. */
static int poll_idle(rover_socket_t *socket) {
  if (rover__stream_is_sending(socket)) return rover__stream_poll(socket);
  if (socket->ended || !socket->poll.is_set) socket->poll.changes = false;
  return net__poll_set(&socket->rover->poller->epoll, &socket->poll,
                       socket->ended ? 0 : NET_DISCONNECT);
}

/* Watches for the peer's end, whether or not bytes wait unread; after the end,
 * for a reset, which is always reported. */
void rover__socket_watch(rover_socket_t *socket) {
  rover_t *rover = socket->rover;
  int err = 0;

  if (socket->reading && !socket->eof) err = rover__stream_read_start(socket);
  else err = socket->secured ? rover__stream_look(socket) : poll_idle(socket);
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
  DL_FOREACH(rover->sockets, socket) {
    if (socket->unwatched) rover__socket_watch(socket);
  }
}

/* Bytes stay in the kernel. */
void rover__socket_idle(rover_socket_t *socket, int events) {
  if (socket->ended) { /* and hang-up: both sides have */
    if (events == 0 && !is_held_at_end(socket)) close_in_order(socket);
    return;
  }
  if (events > 0 && !(events & NET_DISCONNECT)) {
    if (rover__stream_is_sending(socket)) return;
    socket->poll.changes = false;
    rover__socket_watch(socket);
    return;
  }
  int waits = net__fd_peek(socket->poll.fd);
  if (waits >= 0) rover__socket_ended(socket, waits > 0);
  else if (waits != UV_EAGAIN) rover__socket_fail(socket, waits);
}

void rover__socket_got(rover_socket_t *socket, ssize_t n) {
  if (n > 0) {
    rover_data_cb cb = rover__socket_events(socket)->data;
    if (cb) cb(socket, socket->rover->buffer, (size_t)n);
  } else if (n == UV_EOF) {
    rover__socket_ended(socket, false);
  } else {
    rover__socket_fail(socket, (int)n);
  }
}

/* Closing while bytes are unread makes the kernel reset the connection, and
 * discard what it has not sent yet (RFC 2525, 2.17). So they are discarded
 * first; after the peer's end no more can follow. */
static void close_in_order(rover_socket_t *socket) {
  rover__socket_fail(socket, socket->eof ? 0 : rover__stream_discard(socket));
}

/* Nobody has been told yet. */
static bool is_held_at_end(const rover_socket_t *socket) {
  return socket->held && socket->ended && !socket->eof;
}

static bool may_stay_half_open(const rover_socket_t *socket) {
  return socket->rover->options.allow_half_open && !socket->shut;
}

/* Whether the peer has ended its side, and there is no reason to stay open. */
static bool is_over(const rover_socket_t *socket) {
  return socket->ended && (socket->eof || !socket->reading) &&
         !may_stay_half_open(socket) && !is_held_at_end(socket);
}

void rover__socket_close_if_over(rover_socket_t *socket) {
  if (is_over(socket)) close_in_order(socket);
}

/* Closes the socket, at once or after what was written has been sent. */
static void finish(rover_socket_t *socket) {
  rover__stream_send_held(socket);
  if (socket->closing) return;
  if (socket->shut || (rover_socket_write_queue_size(socket) == 0 &&
                       rover__stream_is_writable(socket))) {
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
  if (socket->ended && !may_stay_half_open(socket) && !is_held_at_end(socket))
    finish(socket);
  if (!socket->closing) rover__socket_watch(socket);
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
  int err = rover__stream_open(socket);
  if (err == 0) err = rover__stream_read_start(socket);
  if (err < 0) return err;
  socket->unwatched = socket->reported = false;
  socket->reading = true;
  return 0;
}

void rover_socket_read_stop(rover_socket_t *socket) {
  if (socket->closing || !socket->reading) return;
  socket->reading = false;
  settle(socket);
}

void rover__socket_ended(rover_socket_t *socket, bool unread) {
  bool reported = socket->ended;

  socket->ended = true;
  socket->eof = !unread;
  rover_end_cb cb = rover__socket_events(socket)->end;
  if (!reported && cb && !is_held_at_end(socket)) cb(socket);
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
  net__reset_on_close(poll);
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

/* Once more. */
static void detect_end(rover_socket_t *socket) {
  if (!socket->ended || socket->closing) return;
  socket->ended = socket->eof = false;
  rover__socket_watch(socket);
}

int rover_socket_set_events(rover_socket_t *socket,
                            const rover_socket_events_t *events, void *data) {
  int err = rover__callbacks_set(socket->rover, &socket->callbacks, events);

  if (err < 0) return err;
  rover__stream_forget(socket);
  socket->data = data;
  detect_end(socket); /* the new callbacks have not had it */
  return 0;
}

void rover_socket_hold(rover_socket_t *socket, int hold) {
  bool is_to_end = is_held_at_end(socket) && !hold;
  socket->held = hold;
  if (is_to_end) detect_end(socket);
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

static int name_of(const rover_socket_t *socket, struct sockaddr_storage *name,
                   int (*get)(int fd, struct sockaddr *name, socklen_t *size)) {
  socklen_t size = sizeof *name;
  if (!name || socket->closing) return UV_EINVAL;
  if (get(socket->poll.fd, (struct sockaddr *)name, &size) < 0)
    return uv_translate_sys_error(errno);
  return 0;
}

int rover_socket_peername(const rover_socket_t *socket,
                          struct sockaddr_storage *name) {
  return name_of(socket, name, getpeername);
}

int rover_socket_sockname(const rover_socket_t *socket,
                          struct sockaddr_storage *name) {
  return name_of(socket, name, getsockname);
}

/* -- Giving it away ------------------------------------------------------- */

static bool has_handle(const rover_socket_t *socket) {
  return socket->stream && *rover__stream_handle(socket);
}

/* Sets *to to the connection, if it may be had; its TLS moves along. The errors
 * are those of rover_socket_detach(). */
static int release(rover_socket_t *socket, struct net__poll *to) {
  struct net__poll *poll = &socket->poll;

  rover__stream_send_held(socket);
  if (socket->closing) return UV_EINVAL;
  if (rover_socket_write_queue_size(socket) > 0) return UV_EBUSY;
  if (!socket->shut && !rover__stream_is_writable(socket)) return UV_EBUSY;
  if (has_handle(socket)) {
    int fd = fcntl(poll->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return uv_translate_sys_error(errno);
    *to = (struct net__poll){.fd = fd};
    return 0;
  }
  unwatch(socket);
  *to = (struct net__poll){.fd = poll->fd, .tls = poll->tls};
  poll->fd = -1;
  poll->tls = NULL;
  return 0;
}

/* Detects an end or a reset that has not been reported yet. */
static int check_peer(const rover_socket_t *socket) {
  struct pollfd poll_fd = {.fd = socket->poll.fd, .events = POLLIN};

  if (socket->shut) return UV_EPIPE;
  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & POLLERR) return UV_ECONNRESET;
  if (!(poll_fd.revents & POLLIN) && !net__holds(&socket->poll)) return 0;
  int waits = net__peek(&socket->poll);
  if (waits == 0) return UV_ENOTCONN;
  return waits > 0 || waits == UV_EAGAIN ? 0 : waits;
}

int rover__socket_take(rover_socket_t *socket, struct net__poll *to) {
  if (socket->closing) return UV_EINVAL;
  int err = check_peer(socket);
  if (err < 0) return err;
  tune(socket);
  return release(socket, to);
}

void rover__socket_restore(rover_socket_t *socket, const struct net__poll *to) {
  if (has_handle(socket)) {
    close(to->fd);
    return;
  }
  socket->poll.fd = to->fd;
  socket->poll.tls = to->tls;
  rover__socket_watch(socket);
}

int rover_socket_detach(rover_socket_t *socket) {
  struct net__poll to = {.fd = -1};

  if (!socket->closing && socket->secured) return UV_ENOTSUP;
  int err = release(socket, &to);
  if (err < 0) return err;
  if (socket->tuned) net__fd_unset(to.fd, &socket->rover->keepalive);
  rover_socket_close(socket);
  return to.fd;
}

uv_stream_t *rover_socket_stream(rover_socket_t *socket) {
  if (socket->closing || socket->secured || rover__stream_open(socket) < 0)
    return NULL;
  /* What was written so far precedes what is written to the stream. */
  rover__stream_send_held(socket);
  if (socket->closing) return NULL;
  struct rover__handle **handle = rover__stream_handle(socket);
  if (!*handle &&
      rover__handle_open(handle, socket->rover, socket->poll.fd) < 0)
    return NULL;
  return rover__handle_stream(*handle);
}
