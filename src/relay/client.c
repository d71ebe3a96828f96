#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"
#include "../rover/handoff.h"

/* The life of a client: once accepted, it is offered to the program by the
 * relay's callback, and waits, unread, until it is joined or refused,
 * disconnects, or times out. Joining passes its descriptor, with that of a kept
 * socket, to a pair (see ../net/pair.c), and frees it without a callback.
 * Otherwise it is closed; its close callback is called in a later turn of the
 * loop, and then it is freed. */

/* A client callback under way. It may join the client, which frees it, or run
 * the loop. */
struct relay__offer {
  const rover_relay_client_t *client; /* NULL once it is freed */
  struct relay__offer *outer;
};

/* -- Life ----------------------------------------------------------------- */

static void forget(rover_relay_client_t *client) {
  struct relay__offer *offer = client->relay->offers;

  for (; offer; offer = offer->outer)
    if (offer->client == client) offer->client = NULL;
  free(client);
}

void relay__client_close(rover_relay_client_t *client, int status) {
  rover_relay_t *relay = client->relay;

  client->status = status;
  client->closing = true;
  relay->stats.waiting--;
  net__poll_close(&relay->poller->epoll, &client->poll);
  DL_DELETE(relay->waiting, client);
  DL_APPEND(relay->closed, client);
}

void relay__client_bury(rover_relay_t *relay) {
  rover_relay_client_t *client = relay->closed;

  DL_DELETE(relay->closed, client);
  if (relay->options.events.close)
    relay->options.events.close(relay, client, client->status);
  forget(client);
}

void rover_relay_client_refuse(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;
  if (client->closing) return;
  relay->stats.refused++;
  relay__client_close(client, 0);
  relay__arm_soon(relay);
}

/* Whether the client is still connected. One that has ended its side without
 * sending anything expects no answer, so it is not. */
static bool is_there(int fd) {
  struct pollfd poll_fd = {.fd = fd};

  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL)) return false;
  int waits = net__fd_peek(fd);
  return waits > 0 || waits == UV_EAGAIN;
}

/* No byte of a waiting client is read, but its end is noticed. */
static void on_waiting(struct net__poll *poll, int events) {
  rover_relay_client_t *client = (rover_relay_client_t *)poll;

  if (events < 0 || !is_there(poll->fd)) {
    client->relay->stats.gone++;
    relay__client_close(client, 0);
  } else { /* the end would be reported again and again */
    net__poll_set(&client->relay->poller->epoll, poll, 0);
  }
}

static rover_relay_client_t *client_new(rover_relay_t *relay, int fd) {
  rover_relay_client_t *client = malloc(sizeof *client);
  if (!client) {
    close(fd);
    return NULL;
  }
  *client = (rover_relay_client_t){
      .poll = {.fd = fd, .ready = on_waiting},
      .relay = relay,
      .since = net__now(),
  };
  relay->stats.accepted++;
  relay->stats.waiting++;
  DL_APPEND(relay->waiting, client);
  if (relay->waiting == client)
    relay__arm(relay, relay__wait_due(relay, client->since));
  return client;
}

static void offer_client(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;
  struct relay__offer own = {client, relay->offers};

  relay->offers = &own;
  if (relay->options.events.client) relay->options.events.client(relay, client);
  else rover_relay_client_refuse(client);
  relay->offers = own.outer;
  if (!own.client || client->closing) return;
  int err = net__poll_set(&relay->poller->epoll, &client->poll, NET_DISCONNECT);
  if (err == 0) return;
  relay->stats.refused++;
  relay__client_close(client, err);
}

int relay__client_new(rover_relay_t *relay, int fd, bool is_unix) {
  bool full =
      relay->stats.waiting + relay->stats.running >= relay->options.max_clients;
  rover_relay_client_t *client = client_new(relay, fd);
  if (!client) return UV_ENOMEM;
  client->is_unix = is_unix;
  if (full) { /* closes the one that has waited longest */
    relay->stats.refused++;
    relay__client_close(relay->waiting, UV_ENOBUFS);
  }
  if (!client->closing) offer_client(client);
  return 0;
}

void relay__client_turn_away(rover_relay_t *relay, int fd) {
  rover_relay_client_t *client = client_new(relay, fd);
  if (!client) return;
  relay->stats.expired++;
  relay__client_close(client, UV_EMFILE);
}

/* -- Joining -------------------------------------------------------------- */

/* Takes the socket's descriptor, or a duplicate if libuv uses it. The duplicate
 * may use up the reserve for as long as the socket's own takes to close. */
static int take_descriptor(rover_relay_t *relay, rover_socket_t *socket) {
  int fd = rover__socket_take(socket);
  if (fd != UV_EMFILE || !net__reserve_spend(&relay->reserve)) return fd;
  return rover__socket_take(socket);
}

/* Once this succeeds, the pair owns both descriptors. */
static int open_pair(rover_relay_client_t *client, rover_socket_t *socket,
                     struct net__pair *pair) {
  int fd = take_descriptor(client->relay, socket);
  if (fd < 0) return fd;
  struct net__poll far = {.fd = fd};
  int err = net__pair_open(&client->relay->pairs, pair, &client->poll,
                           client->is_unix, &far, false);
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

  if (client->closing) return UV_EINVAL;
  struct net__pair *pair = malloc(sizeof *pair);
  if (!pair) return UV_ENOMEM;
  int err = open_pair(client, socket, pair);
  relay__reserve(relay);
  if (err < 0) {
    free(pair);
    return err;
  }
  relay->stats.waiting--;
  relay->stats.joined++;
  relay->stats.running++;
  DL_DELETE(relay->waiting, client);
  forget(client);
  net__pair_start(pair); /* most clients have sent something by now */
  if (relay->pairs.ended) relay__arm_soon(relay);
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
  return !client->closing;
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
  if (!name || !length || client->closing) return UV_EINVAL;
  socklen_t size = (socklen_t)*length;
  if (getpeername(client->poll.fd, name, &size) < 0)
    return uv_translate_sys_error(errno);
  *length = (int)size;
  return 0;
}
