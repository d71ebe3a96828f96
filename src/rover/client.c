#include "internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENT, SERVER };

/* -- Life ----------------------------------------------------------------- */

static rover_relay_client_t *client_of(struct net__poll *end, int side) {
  return (rover_relay_client_t *)(end - side); /* ends are its first field */
}

static void close_end(rover_relay_client_t *client, int side, bool reset) {
  struct net__poll *end = &client->ends[side];
  if (reset) net__fd_reset_on_close(end->fd);
  net__poll_close(&client->relay->poller->epoll, end);
}

/* Calls under way may still refer to it. */
static void leave(rover_relay_client_t *client) {
  client->closing = true;
  DL_DELETE(*client->list, client);
  client->list = &client->relay->closed;
  DL_APPEND(*client->list, client);
}

/* -- Waiting -------------------------------------------------------------- */

void rover__client_close(rover_relay_client_t *client, int status) {
  client->status = status;
  client->relay->stats.waiting--;
  close_end(client, CLIENT, false);
  leave(client);
}

void rover_relay_client_refuse(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;
  if (!rover_relay_client_is_waiting(client)) return;
  relay->stats.refused++;
  rover__client_close(client, 0);
  rover__relay_arm(relay, uv_now(relay->loop));
}

/* Whether somebody still waits there. One who has ended its side, and sent
 * nothing before, asks for nothing. */
static bool is_there(rover_relay_client_t *client) {
  struct pollfd poll_fd = {.fd = client->ends[CLIENT].fd};

  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL)) return false;
  int waits = net__fd_peek(poll_fd.fd);
  return waits > 0 || waits == UV_EAGAIN;
}

/* Not a byte of a client that waits is read, but its going away is noticed. */
static void on_waiting(struct net__poll *end, int events) {
  rover_relay_client_t *client = client_of(end, CLIENT);

  if (events < 0 || !is_there(client)) {
    client->relay->stats.gone++;
    rover__client_close(client, 0);
  } else { /* its end is known now, and would be told again and again */
    net__poll_set(&client->relay->poller->epoll, end, 0);
  }
}

/* Closes the client that is one too many. */
static void refuse_longest(rover_relay_t *relay) {
  relay->stats.refused++;
  rover__client_close(relay->waiting, UV_ENOBUFS);
}

static void offer(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;

  if (relay->options.events.client) relay->options.events.client(relay, client);
  else rover_relay_client_refuse(client);
  if (!rover_relay_client_is_waiting(client)) return;
  int err = net__poll_set(&relay->poller->epoll, &client->ends[CLIENT],
                          NET_DISCONNECT);
  if (err == 0) return;
  relay->stats.refused++;
  rover__client_close(client, err);
}

int rover__client_new(rover_relay_t *relay, int fd, bool local) {
  rover_relay_client_t *client = calloc(1, sizeof *client);
  if (!client) {
    close(fd);
    return UV_ENOMEM;
  }
  bool full = relay->stats.waiting + relay->stats.running >=
              relay->options.max_clients;
  client->relay = relay;
  client->local = local;
  client->ends[CLIENT] = (struct net__poll){.fd = fd, .ready = on_waiting};
  relay->stats.accepted++;
  relay->stats.waiting++;
  rover__relay_enlist(client, &relay->waiting);
  if (full) refuse_longest(relay);
  if (!client->closing) offer(client);
  return 0;
}

void rover__client_turn_away(rover_relay_t *relay, int fd) {
  rover_relay_client_t *client = calloc(1, sizeof *client);
  if (!client) {
    close(fd);
    return;
  }
  client->relay = relay;
  client->ends[CLIENT] = (struct net__poll){.fd = fd};
  relay->stats.accepted++;
  relay->stats.waiting++;
  relay->stats.expired++;
  rover__relay_enlist(client, &relay->waiting);
  rover__client_close(client, UV_EMFILE);
}

/* -- Joined --------------------------------------------------------------- */

/* A side that was sent all of the other, and its end, is not reset: it may still
 * be reading, and a reset would take from it what the kernel has yet to send. */
static void finish(rover_relay_client_t *client, uint64_t *count, bool reset) {
  rover_relay_t *relay = client->relay;

  (*count)++;
  relay->stats.running--;
  for (int side = CLIENT; side <= SERVER; side++) {
    net__flow_close(&client->flows[side], &relay->stock);
    close_end(client, side, reset && client->flows[!side].state != FLOW_DONE);
  }
  leave(client);
}

void rover__client_cut(rover_relay_client_t *client) {
  finish(client, &client->relay->stats.cut, true);
}

/* Bytes have moved, or one side has ended: deadlines count from here. */
static void touch(rover_relay_client_t *client, rover_relay_client_t **list) {
  client->queued[CLIENT] = client->queued[SERVER] = 0;
  if (client->list == list && client->since == net__now()) return;
  rover__relay_enlist(client, list);
}

static int copy(rover_relay_client_t *client, int side, size_t *copied) {
  rover_relay_t *relay = client->relay;
  int err =
      net__flow_run(&client->flows[side], &relay->stock, client->ends[side].fd,
                    client->ends[!side].fd, copied);
  *(side == CLIENT ? &relay->stats.received : &relay->stats.sent) += *copied;
  if (client->ends[!side].peer == PEER_SETTLED)
    client->ends[!side].peer = PEER_OWES;
  rover__relay_look(relay);
  return err;
}

/* That side is broken. What it sent before can still be had: a server may have
 * answered, and reset the connection since it did not care for the rest. */
static void break_off(rover_relay_client_t *client, int side) {
  struct net__flow *flow = &client->flows[side];
  size_t copied;

  if (flow->state != FLOW_DONE) {
    copy(client, side, &copied);
    flow->state = FLOW_READS; /* an end now is that of the connection */
  }
  finish(client, &client->relay->stats.reset, true);
}

bool rover__client_look(rover_relay_client_t *client) {
  bool more = false;

  for (int side = CLIENT; side <= SERVER; side++) {
    struct net__poll *end = &client->ends[side];
    if (end->peer == PEER_SETTLED) continue;
    end->peer = (unsigned char)net__fd_check_peer(end->fd, end->peer);
    if (end->peer == PEER_GONE) {
      break_off(client, side);
      return false;
    }
    more |= end->peer != PEER_SETTLED;
  }
  return more;
}

/* Copies what comes from that side, and passes its end on. */
static void run(rover_relay_client_t *client, int side) {
  rover_relay_t *relay = client->relay;
  size_t copied;

  int err = copy(client, side, &copied);
  bool done = client->flows[side].state == FLOW_DONE;
  if (err == 0 && done && client->flows[!side].state == FLOW_DONE)
    finish(client, &relay->stats.ended, false);
  else if (err < 0 || (done && shutdown(client->ends[!side].fd, SHUT_WR) < 0))
    break_off(client, !side);
  else if (done)
    touch(client, &relay->ending);
  else if (copied > 0)
    touch(client, client->list);
}

/* Has both ends polled for what the flows wait for. */
static void watch(rover_relay_client_t *client) {
  struct net__epoll *epoll = &client->relay->poller->epoll;

  for (int side = CLIENT; side <= SERVER; side++) {
    int from = client->flows[side].state, to = client->flows[!side].state;
    int events = 0;
    if (from == FLOW_READS || from == FLOW_YIELDS) events |= NET_READABLE;
    if (to == FLOW_WRITES) events |= NET_WRITABLE;
    net__poll_set(epoll, &client->ends[side], events);
    if (from == FLOW_YIELDS) net__poll_again(epoll, &client->ends[side]);
  }
}

/* The first look after bytes were copied finds whatever is queued new. */
static bool has_left(rover_relay_client_t *client) {
  bool moved = false;

  for (int side = CLIENT; side <= SERVER; side++) {
    int queued = net__fd_unsent(client->ends[side].fd);
    if (queued != client->queued[side]) moved = true;
    client->queued[side] = queued;
  }
  return moved;
}

/* Copies what the loop has yet to tell of; returns whether there was any. */
static bool catch_up(rover_relay_client_t *client) {
  uint64_t since = client->since;

  for (int side = CLIENT; side <= SERVER && !client->closing; side++)
    if (client->flows[side].state != FLOW_DONE) run(client, side);
  if (!client->closing) watch(client);
  return client->closing || client->since != since;
}

void rover__client_expire(rover_relay_client_t *client) {
  if (catch_up(client)) return;
  if (has_left(client)) rover__relay_enlist(client, client->list);
  else rover__client_cut(client);
}

static void on_ready(rover_relay_client_t *client, int side, int events) {
  struct net__flow *from = &client->flows[side], *to = &client->flows[!side];

  if (events < 0) {
    break_off(client, side);
    return;
  }
  if (events & (NET_DISCONNECT | NET_PRIORITIZED)) from->wary = true;
  if (events & NET_READABLE && from->state != FLOW_WRITES &&
      from->state != FLOW_DONE)
    run(client, side);
  if (events & NET_WRITABLE && !client->closing && to->state == FLOW_WRITES)
    run(client, !side);
  if (!client->closing) watch(client);
}

static void on_client(struct net__poll *end, int events) {
  on_ready(client_of(end, CLIENT), CLIENT, events);
}

static void on_server(struct net__poll *end, int events) {
  on_ready(client_of(end, SERVER), SERVER, events);
}

/* The server may have ended the connection just now. What broke it is yet to be
 * told of the socket, so it is not taken here. */
static int check_socket(const rover_socket_t *socket) {
  struct pollfd poll_fd = {.fd = socket->poll.fd, .events = POLLIN};

  if (socket->shut) return UV_EPIPE;
  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & POLLERR) return UV_ECONNRESET;
  if (!(poll_fd.revents & POLLIN)) return 0;
  int waits = net__fd_peek(poll_fd.fd);
  if (waits == 0) return UV_ENOTCONN;
  return waits > 0 || waits == UV_EAGAIN ? 0 : waits;
}

/* Begins to poll both ends; of the server's, it takes over the descriptor. */
static int open_ends(rover_relay_client_t *client, int fd) {
  struct net__epoll *epoll = &client->relay->poller->epoll;
  struct net__poll *server = &client->ends[SERVER];
  struct net__poll *own = &client->ends[CLIENT];

  *server = (struct net__poll){.fd = fd, .ready = on_server, .changes = true};
  own->changes = true;
  int err = net__poll_set(epoll, server, NET_READABLE);
  if (err == 0) err = net__poll_set(epoll, own, NET_READABLE);
  if (err == 0) {
    own->ready = on_client;
    return 0;
  }
  own->changes = false;
  if (server->is_set) net__poll_leave(epoll, server);
  return err;
}

/* Returns a descriptor even if one that is libuv's needs another, and there is
 * none left: the socket's is about to be free. */
static int take_descriptor(rover_relay_t *relay, rover_socket_t *socket) {
  int fd = rover__socket_release(socket);
  if (fd != UV_EMFILE || relay->spare < 0) return fd;
  close(relay->spare);
  relay->spare = -1;
  return rover__socket_release(socket);
}

/* The client has both ends from here on. */
static int take_socket(rover_relay_client_t *client, rover_socket_t *socket) {
  if (rover_socket_is_closing(socket)) return UV_EINVAL;
  int err = check_socket(socket);
  if (err < 0) return err;
  rover__socket_tune(socket);
  int fd = take_descriptor(client->relay, socket);
  if (fd < 0) return fd;
  err = open_ends(client, fd);
  if (err < 0) {
    rover__socket_restore(socket, fd);
    return err;
  }
  rover_socket_close(socket);
  return 0;
}

int rover_relay_client_join(rover_relay_client_t *client,
                            rover_socket_t *socket) {
  rover_relay_t *relay = client->relay;

  if (!rover_relay_client_is_waiting(client)) return UV_EINVAL;
  int err = take_socket(client, socket);
  rover__relay_reserve(relay);
  if (err < 0) return err;

  client->joined = true;
  relay->stats.waiting--;
  relay->stats.joined++;
  relay->stats.running++;
  touch(client, &relay->joined);
  client->flows[CLIENT].splices = !client->local;
  /* A read stops behind a descriptor that is passed along. */
  client->flows[CLIENT].wary = client->local;
  client->flows[SERVER].splices = true;
  /* Most clients have said something by now. */
  run(client, CLIENT);
  if (client->closing) rover__relay_arm(relay, uv_now(relay->loop));
  else watch(client);
  return 0;
}

/* -- The rest ------------------------------------------------------------- */

rover_relay_client_t *rover_relay_client_first(const rover_relay_t *relay) {
  return relay->waiting;
}

rover_relay_client_t *
rover_relay_client_next(const rover_relay_client_t *client) {
  return client->next;
}

int rover_relay_client_is_waiting(const rover_relay_client_t *client) {
  return !client->joined && !client->closing;
}

rover_relay_t *rover_relay_client_relay(const rover_relay_client_t *client) {
  return client->relay;
}

void *rover_relay_client_data(const rover_relay_client_t *client) {
  return client->data;
}

void rover_relay_client_set_data(rover_relay_client_t *client, void *data) {
  client->data = data;
}

int rover_relay_client_peername(const rover_relay_client_t *client,
                                struct sockaddr *name, int *length) {
  if (!name || !length || !rover_relay_client_is_waiting(client))
    return UV_EINVAL;
  socklen_t size = (socklen_t)*length;
  if (getpeername(client->ends[CLIENT].fd, name, &size) < 0)
    return uv_translate_sys_error(errno);
  *length = (int)size;
  return 0;
}
