#define _GNU_SOURCE /* POLLRDHUP */

#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/header.h"
#include "../net/list.h"
#include "../net/turn.h"
#include "../rover/handoff.h"

/* The life of a client: once accepted, and once its PROXY header has come if it
 * needs one (and then, if it looks like a health check, its first byte or a
 * moment), it is offered to the program by the relay's callback, and waits,
 * unread, until it is joined or refused, disconnects, or times out. Joining
 * passes its descriptor, with that of a kept socket, to a pair (see
 * ../net/pair.c), and frees it without a callback. Otherwise it is closed; its
 * close callback is called in a later turn of the loop, and then it is
 * freed. */

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
  net__header_free(client->header);
  free(client);
}

static bool is_waiting(const rover_relay_client_t *client) {
  return client->list == &client->relay->waiting;
}

static uint64_t *count_of(rover_relay_client_t *client) {
  rover_relay_stats_t *stats = &client->relay->stats;
  return is_waiting(client) ? &stats->waiting : &stats->handshaking;
}

static void leave(rover_relay_client_t *client) {
  --*count_of(client);
  /* It is in it. NOLINTNEXTLINE(clang-analyzer-core.NullDereference) */
  DL_DELETE(*client->list, client);
}

static void enlist(rover_relay_client_t *client, rover_relay_client_t **list) {
  rover_relay_t *relay = client->relay;

  client->list = list;
  client->since = net__now();
  DL_APPEND(*list, client);
  ++*count_of(client);
  if (*list == client && list != &relay->ready)
    net__alarm_set(&relay->alarm, relay__due(relay, list));
}

void relay__client_close(rover_relay_client_t *client, int status) {
  rover_relay_t *relay = client->relay;

  client->status = status;
  client->closing = true;
  leave(client);
  net__poll_close(&relay->poller->epoll, &client->poll);
  DL_APPEND(relay->closed, client);
}

void relay__client_drop_one(rover_relay_t *relay, rover_relay_client_t *new) {
  rover_relay_client_t *client = relay->waiting;

  if (!client) client = new;
  if (!client) client = relay->handshaking;
  if (!client) client = relay->doubtful;
  if (!client) client = relay->ready;
  relay->stats.refused++;
  relay__client_close(client, UV_ENOBUFS);
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
  net__alarm_soon(&relay->alarm);
}

/* Whether the client is still connected. One that has ended its side without
 * sending anything expects no answer, so it is not. */
static bool is_there(int fd) {
  struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

  poll(&poll_fd, 1, 0);
  if (poll_fd.revents & (POLLERR | POLLHUP | POLLNVAL)) return false;
  if (!(poll_fd.revents & POLLRDHUP)) return true;
  int waits = net__fd_peek(fd);
  return waits > 0 || waits == UV_EAGAIN;
}

static void lose(rover_relay_client_t *client) {
  client->relay->stats.gone++;
  relay__client_close(client, 0);
}

/* No byte of a waiting client is read, but its end is noticed. */
static void on_waiting(struct net__poll *poll, int events) {
  rover_relay_client_t *client = (rover_relay_client_t *)poll;

  if (events < 0 || !is_there(poll->fd)) {
    lose(client);
  } else { /* the end would be reported again and again */
    net__poll_set(&client->relay->poller->epoll, poll, 0);
  }
}

static rover_relay_client_t *client_new(rover_relay_t *relay, int fd,
                                        rover_relay_client_t **list) {
  rover_relay_client_t *client = malloc(sizeof *client);
  if (!client) {
    close(fd);
    return NULL;
  }
  *client = (rover_relay_client_t){
      .poll = {.fd = fd, .ready = on_waiting},
      .relay = relay,
  };
  relay->stats.accepted++;
  enlist(client, list);
  return client;
}

static void fail(rover_relay_client_t *client, int err) {
  client->relay->stats.refused++;
  relay__client_close(client, err);
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
  if (err < 0) fail(client, err);
}

/* -- Its header ----------------------------------------------------------- */

static void reject(rover_relay_client_t *client, int status,
                   const char *reason) {
  client->relay->stats.rejected++;
  client->reason = reason;
  net__fd_reset_on_close(client->poll.fd);
  relay__client_close(client, status);
}

/* Returns whether all of it has come. May close the client: health checks often
 * end right behind their header, and are worth no socket. */
static bool read_header(rover_relay_client_t *client) {
  const char *why = NULL;
  int err = net__header_read(client->header, &client->poll, &why);

  if (err == 0 && !is_there(client->poll.fd)) err = UV_EOF;
  switch (err) {
    case 0: return true;
    case UV_EAGAIN: break;
    case UV_EPROTO: reject(client, err, why); break;
    case UV_ENOMEM: fail(client, err); break;
    default: lose(client);
  }
  return false;
}

/* Offering may run the loop, and the poller be closed in it, so it comes when
 * all of its events are delivered. */
void relay__client_believe(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;

  client->poll.ready = on_waiting;
  net__poll_set(&relay->poller->epoll, &client->poll, NET_DISCONNECT);
  leave(client);
  enlist(client, &relay->ready);
}

static void on_doubtful(struct net__poll *poll, int events) {
  rover_relay_client_t *client = (rover_relay_client_t *)poll;

  (void)events; /* an error is found by looking, too */
  if (is_there(poll->fd)) relay__client_believe(client);
  else lose(client);
}

/* A header without a client is that of a check, or of somebody at a Unix socket
 * of the proxy, who may wait for the server to speak. The end of a check may
 * come only after we have looked, and a socket that is joined with it is
 * lost. */
static bool is_doubtful(const rover_relay_client_t *client) {
  return client->header->proxy.is_local &&
         net__fd_peek(client->poll.fd) == UV_EAGAIN;
}

static int doubt(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;

  client->poll.ready = on_doubtful;
  leave(client);
  enlist(client, &relay->doubtful);
  return net__poll_set(&relay->poller->epoll, &client->poll, NET_READABLE);
}

static void on_header(struct net__poll *poll, int events) {
  rover_relay_client_t *client = (rover_relay_client_t *)poll;

  (void)events; /* an error is reported by reading, too */
  if (!read_header(client)) return;
  if (is_doubtful(client)) doubt(client); /* it is watched already */
  else relay__client_believe(client);
}

void relay__client_offer_ready(rover_relay_t *relay) {
  while (relay->ready && !net__is_late(relay->loop)) {
    rover_relay_client_t *client = relay->ready;
    leave(client);
    enlist(client, &relay->waiting);
    offer_client(client);
  }
  if (relay->ready) net__alarm_next_turn(&relay->alarm);
}

void relay__client_close_late(rover_relay_t *relay) {
  rover_relay_client_t *const *first = &relay->handshaking, *client = *first;

  on_header(&client->poll, 0);
  if (client == *first) /* else it may be gone */
    reject(client, UV_ETIMEDOUT, "its PROXY header did not come in time");
}

/* NULL for a Unix socket. */
static const struct sockaddr *peer_of(const rover_relay_client_t *client) {
  return client->is_unix ? NULL : &client->peer.any;
}

static bool is_trusted(const rover_relay_client_t *client) {
  const rover_relay_t *relay = client->relay;
  return client->is_unix ||
         net__cidrs_contain(relay->trusted, relay->trusted_count,
                            &client->header->peer.any);
}

/* Most headers have come by now. */
static void expect_header(rover_relay_client_t *client) {
  rover_relay_t *relay = client->relay;

  int err = net__header_new(&client->header, peer_of(client));
  if (err < 0) {
    fail(client, err);
  } else if (!is_trusted(client)) {
    reject(client, UV_EACCES, "it is not trusted to send a PROXY header");
  } else if (!read_header(client)) {
    if (client->closing) return;
    client->poll.ready = on_header;
    err = net__poll_set(&relay->poller->epoll, &client->poll, NET_READABLE);
    if (err < 0) fail(client, err);
  } else if (is_doubtful(client)) {
    err = doubt(client);
    if (err < 0) fail(client, err);
  } else {
    leave(client);
    enlist(client, &relay->waiting);
    offer_client(client);
  }
}

/* -- Accepting ------------------------------------------------------------ */

int relay__client_new(rover_relay_t *relay, int fd,
                      const union net__address *peer) {
  const rover_relay_stats_t *stats = &relay->stats;
  bool full = stats->handshaking + stats->waiting + stats->running >=
              relay->options.max_clients;
  bool has_header = relay->options.accept_proxy;
  rover_relay_client_t *client =
      client_new(relay, fd, has_header ? &relay->handshaking : &relay->waiting);
  if (!client) return UV_ENOMEM;
  client->is_unix = !peer;
  if (peer) client->peer = *peer;
  if (full) relay__client_drop_one(relay, client);
  if (client->closing) return 0;
  if (has_header) expect_header(client);
  else if (is_there(fd)) offer_client(client);
  else lose(client); /* as health checks leave at once */
  return 0;
}

void relay__client_turn_away(rover_relay_t *relay, int fd) {
  rover_relay_client_t *client = client_new(relay, fd, &relay->waiting);
  if (!client) return;
  relay->stats.expired++;
  relay__client_close(client, UV_EMFILE);
}

/* -- Joining -------------------------------------------------------------- */

/* Takes the socket's connection, or a duplicate if libuv uses it. The duplicate
 * may use up the reserve for as long as the socket's own takes to close. */
static int take_connection(rover_relay_t *relay, rover_socket_t *socket,
                           struct net__poll *far) {
  int err = rover__socket_take(socket, far);
  if (err != UV_EMFILE || !net__reserve_spend(&relay->reserve)) return err;
  return rover__socket_take(socket, far);
}

/* Once this succeeds, the pair owns both descriptors. */
static int open_pair(rover_relay_client_t *client, rover_socket_t *socket,
                     struct relay__pair *joined) {
  struct net__pair *pair = &joined->pair;
  struct net__poll far = {.fd = -1};
  int err = take_connection(client->relay, socket, &far);
  if (err < 0) return err;
  err = net__shards_open(
      &client->relay->pairs, pair,
      &(struct net__end){.poll = &client->poll, .is_unix = client->is_unix},
      &(struct net__end){.poll = &far});
  if (err < 0) {
    rover__socket_restore(socket, &far);
    return err;
  }
  rover__joined_begin(&joined->joined, socket);
  rover_socket_close(socket);
  return 0;
}

int rover_relay_client_join(rover_relay_client_t *client,
                            rover_socket_t *socket) {
  rover_relay_t *relay = client->relay;
  int version = relay->options.send_proxy;
  char *header = NULL;
  size_t length = 0;

  if (client->closing) return UV_EINVAL;
  struct relay__pair *pair = malloc(sizeof *pair);
  if (pair && version > 0)
    header = net__header_make(client->header, &client->poll, peer_of(client),
                              version, &length);
  int err = pair && (header || version == 0) ? open_pair(client, socket, pair)
                                             : UV_ENOMEM;
  relay__reserve(relay);
  if (err < 0) {
    free(header);
    free(pair);
    return err;
  }
  if (header) net__pair_begin_with(&pair->pair, header, length);
  leave(client);
  relay->stats.joined++;
  relay->stats.running++;
  forget(client);
  net__shards_start(&relay->pairs, &pair->pair);
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
  return !client->closing && is_waiting(client);
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

static socklen_t size_of(const union net__proxy_name *name) {
  switch (name->any.sa_family) {
    case AF_INET: return sizeof name->v4;
    case AF_INET6: return sizeof name->v6;
    default: return sizeof name->path;
  }
}

int rover_relay_client_peername(const rover_relay_client_t *client,
                                struct sockaddr *name, int *length) {
  if (!name || !length || *length < 0) return UV_EINVAL;
  socklen_t room = (socklen_t)*length;
  if (client->header) {
    const union net__proxy_name *own = net__header_name(client->header);
    socklen_t size = size_of(own);
    memcpy(name, own, room < size ? room : size);
    *length = (int)size;
    return 0;
  }
  if (client->closing) return UV_EINVAL;
  if (getpeername(client->poll.fd, name, &room) < 0)
    return uv_translate_sys_error(errno);
  *length = (int)room;
  return 0;
}

int rover_relay_client_proxy(const rover_relay_client_t *client,
                             rover_proxy_t *out) {
  if (!out || client->closing) return UV_EINVAL;
  if (!client->header) return UV_ENOENT;
  const struct net__proxy *p = &client->header->proxy;
  *out = (rover_proxy_t){
      .version = p->version,
      .is_local = p->is_local,
      .from = p->is_local ? NULL : &p->from.any,
      .to = p->is_local ? NULL : &p->to.any,
      .unique_id = p->unique_id.bytes,
      .unique_id_length = p->unique_id.length,
      .authority = p->authority.bytes,
      .authority_length = p->authority.length,
      .has_tls = p->has_tls,
      .tls_version = p->tls_version.bytes,
      .tls_version_length = p->tls_version.length,
      .is_verified = p->is_verified,
      .common_name = p->common_name.bytes,
      .common_name_length = p->common_name.length,
  };
  return 0;
}

const char *rover_relay_client_reason(const rover_relay_client_t *client) {
  return client->reason;
}
