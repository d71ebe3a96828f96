#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/list.h"
#include "../net/options.h"
#include "client.h"
#include "reload.h"

/* The life of a relay: at first it only holds what was declared. Once it
 * listens, it accepts clients (see client.c), and joined clients become pairs
 * (see ../net/pair.c). One timer serves all their deadlines. A reload makes a
 * second relay, gives it the listener if both have the same address, and
 * exchanges what the two declare; clients, pairs and counters stay. Closing
 * stops listening and closes waiting clients. The relay is freed once the last
 * pair has ended, at the latest by a deadline. */

enum { TURNED_AWAY_MAX = 32 /* at once */ };

/* -- Deadlines ------------------------------------------------------------ */

/* Clients wait in order of arrival, so the first one is the first to time
 * out. */

static void bury(rover_relay_t *relay);
static void unref(rover_relay_t *relay);
static void on_timer(uv_timer_t *timer);

void relay__arm(rover_relay_t *relay, uint64_t due) {
  if (relay->due <= due) return;
  uint64_t now = uv_now(relay->loop);
  relay->due = due;
  uv_timer_start(&relay->timer, on_timer, due > now ? due - now : 0, 0);
}

void relay__arm_soon(rover_relay_t *relay) {
  relay__arm(relay, uv_now(relay->loop));
}

uint64_t relay__wait_due(const rover_relay_t *relay, uint64_t since) {
  return net__after(since, relay->options.wait_timeout);
}

uint64_t relay__header_due(const rover_relay_t *relay, uint64_t since) {
  return net__after(since, relay->options.header_timeout);
}

static uint64_t wait_due(const rover_relay_t *relay) {
  return relay->waiting ? relay__wait_due(relay, relay->waiting->since)
                        : NET_NEVER;
}

static uint64_t header_due(const rover_relay_t *relay) {
  return relay->handshaking
             ? relay__header_due(relay, relay->handshaking->since)
             : NET_NEVER;
}

/* If the loop was blocked, what a client waits for may have arrived long ago.
 * So a deadline counts only if the loop has polled since it expired, as it does
 * between two firings of the timer, whether libuv runs timers before polling or
 * after. */
static void expire(rover_relay_t *relay) {
  uint64_t now = uv_now(relay->loop), polled = relay->fired;

  relay->due = NET_NEVER;
  relay->fired = now;
  if (relay->closing && relay->cut <= polled) net__pairs_cut(&relay->pairs);
  while (wait_due(relay) <= polled) {
    relay->stats.expired++;
    relay__client_close(relay->waiting, UV_ETIMEDOUT);
  }
  while (header_due(relay) <= polled) relay__client_close_late(relay);
  net__pairs_expire(&relay->pairs, polled, now);
  bury(relay);
  if (uv_is_closing((uv_handle_t *)&relay->timer)) return;
  uint64_t next = net__sooner(wait_due(relay), header_due(relay));
  next = net__sooner(next, net__pairs_due(&relay->pairs));
  if (relay->closing) next = net__sooner(next, relay->cut);
  if (next < NET_NEVER) relay__arm(relay, next > now ? next : now + 1);
  void (*wake)(rover_relay_t * relay_) = relay->wake;
  relay->wake = NULL;
  relay__client_offer_ready(relay);
  if (wake && !relay->closing) wake(relay);
}

static void on_timer(uv_timer_t *timer) {
  rover_relay_t *relay = timer->data;
  relay->refs++;
  expire(relay);
  unref(relay);
}

/* A timer that is due now may fire in this turn. */
void rover_relay_wake(rover_relay_t *relay,
                      void (*wake)(rover_relay_t *relay)) {
  if (relay->closing) return;
  relay->wake = wake;
  relay__arm(relay, uv_now(relay->loop) + 1);
}

/* -- Pairs ---------------------------------------------------------------- */

static void on_due(void *relay, uint64_t due) { relay__arm(relay, due); }

static void on_ended(void *data, struct net__pair *pair,
                     enum net__outcome outcome) {
  rover_relay_stats_t *stats = &((rover_relay_t *)data)->stats;

  (void)pair;
  stats->running--;
  switch (outcome) {
    case NET_DONE: stats->ended++; break;
    case NET_BROKE: stats->reset++; break;
    case NET_CUT: stats->cut++; break;
  }
}

static const struct net__pairs_owner pairs_owner = {on_due, on_ended};

static void set_timeouts(rover_relay_t *relay) {
  relay->pairs.idle_timeout = relay->options.idle_timeout;
  relay->pairs.half_close_timeout = relay->options.half_close_timeout;
}

/* -- Life ----------------------------------------------------------------- */

static bool are_valid(const rover_relay_options_t *o) {
  const rover_address_t *a = &o->address;
  bool are = NET__IS_UNUSED(a->reserved) && NET__IS_UNUSED(o->reserved) &&
             NET__IS_UNUSED(o->events.reserved) &&
             (!o->accept_proxy || a->path || (o->trusted && o->trusted[0]));
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  are = are && net__is_##kind(o->name, least, most);
  ROVER_RELAY_OPTIONS_MAP(XX)
#undef XX
  return are;
}

static void fill_in(rover_relay_options_t *o) {
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  if (o->name == 0) o->name = initial;
  ROVER_RELAY_OPTIONS_MAP(XX)
#undef XX
}

/* Joining a socket that libuv uses takes a descriptor before it frees one. */
bool relay__reserve(rover_relay_t *relay) {
  return net__reserve_fill(&relay->reserve, uv_backend_fd(relay->loop), 1);
}

static void free_relay(rover_relay_t *relay) {
  net__reserve_drop(&relay->reserve);
  free((char *)relay->options.address.host);
  free((char *)relay->options.address.path);
  free((char *)relay->options.address.fd_name);
  free((void *)relay->options.trusted);
  free(relay->trusted);
  net__pairs_clear(&relay->pairs);
  free(relay);
}

static void unref(rover_relay_t *relay) {
  if (--relay->refs == 0) free_relay(relay);
}

/* Callbacks may run the loop, and the relay be closed in it: those that call
 * them hold a reference. */
static void handle_closed(rover_relay_t *relay) {
  if (--relay->handles > 0) return;
  while (relay->closed) relay__client_bury(relay);
  if (relay->close_cb) relay->close_cb(relay);
  unref(relay);
}

static void on_batch_end(void *data) {
  rover_relay_t *relay = data;
  relay->refs++;
  relay__client_offer_ready(relay);
  bury(relay);
  unref(relay);
}

static void on_closed(void *relay) { handle_closed(relay); }

/* A relay keeps the loop alive. */
static const struct net__poller_owner poller_owner = {on_batch_end, on_closed,
                                                      true};

int rover_relay_new(rover_relay_t **out, uv_loop_t *loop,
                    const rover_relay_options_t *options) {
  static const rover_relay_options_t defaults;
  if (!options) options = &defaults;
  if (!out || !loop || !are_valid(options)) return UV_EINVAL;
  rover_relay_t *relay = calloc(1, sizeof *relay);
  if (!relay) return UV_ENOMEM;
  relay->options = *options;
  fill_in(&relay->options);
  rover_address_t *a = &relay->options.address;
  int err =
      net__endpoint_keep(&relay->name, &a->host, &a->port, &a->path, &a->mode,
                         &a->fd_name);
  /* Either way, free_relay() undoes both. */
  int kept = net__cidrs_keep(&relay->options.trusted, &relay->trusted,
                             &relay->trusted_count);
  if (err == 0) err = kept;
  relay->loop = loop;
  relay->due = NET_NEVER;
  if (err == 0 && !relay__reserve(relay)) err = uv_translate_sys_error(errno);
  if (err == 0)
    err = net__poller_new(&relay->poller, loop, NULL, &poller_owner, relay);
  if (err < 0) {
    free_relay(relay);
    return err;
  }
  relay->pairs.epoll = &relay->poller->epoll;
  relay->pairs.owner = &pairs_owner;
  relay->pairs.data = relay;
  set_timeouts(relay);
  uv_timer_init(loop, &relay->timer);
  relay->timer.data = relay;
  relay->handles = 2;
  relay->refs = 1;
  *out = relay;
  return 0;
}

static void on_timer_closed(uv_handle_t *timer) { handle_closed(timer->data); }

static void close_if_done(rover_relay_t *relay) {
  uv_handle_t *timer = (uv_handle_t *)&relay->timer;
  if (!relay->closing || relay->waiting || uv_is_closing(timer) ||
      !net__pairs_are_over(&relay->pairs))
    return;
  net__poller_close(relay->poller);
  net__reserve_drop(&relay->reserve);
  uv_close(timer, on_timer_closed);
}

/* Calls back for clients and pairs that have ended, and frees them, as many as
 * one turn of the loop allows. Called once all events are delivered. */
static void bury(rover_relay_t *relay) {
  bool late = false;

  net__pairs_bury(&relay->pairs);
  for (; relay->closed && !late; late = net__is_late(relay->loop))
    relay__client_bury(relay);
  if (relay->listener) net__listener_reserve(relay->listener);
  /* A timer that is due now may fire in this turn. */
  if (relay->closed) relay__arm(relay, uv_now(relay->loop) + 1);
  else close_if_done(relay);
}

/* -- Listening ------------------------------------------------------------ */

static const char *explain(int status) {
  switch (status) {
    case UV_EMFILE:
      return "cannot accept clients: this process has no descriptors left; "
             "raise its limit";
    case UV_ENFILE:
      return "cannot accept clients: this system has no descriptors left";
    case UV_ENOMEM: return "cannot accept clients: out of memory";
    default: return "cannot accept clients";
  }
}

/* Clients in the kernel's queue have timed out: accepts them with the reserved
 * descriptor, and closes them. */
static void turn_away(rover_relay_t *relay) {
  int fd = 0;

  for (int i = 0; i < TURNED_AWAY_MAX && fd >= 0; i++) {
    if (!relay__reserve(relay)) return;
    net__reserve_spend(&relay->reserve);
    fd = net__listener_accept(relay->listener);
    if (fd >= 0) relay__client_turn_away(relay, fd);
  }
  relay__reserve(relay);
}

static int on_accepted(void *data, int fd, bool is_unix) {
  rover_relay_t *relay = data;
  relay->refs++;
  int err = relay__client_new(relay, fd, is_unix);
  unref(relay);
  return err;
}

static void on_failed(void *data, int status, uint64_t ms) {
  rover_relay_t *relay = data;

  if (ms >= relay->options.wait_timeout && status == UV_EMFILE)
    turn_away(relay);
  if (ms == 0 && relay->options.events.error)
    relay->options.events.error(relay, status, explain(status));
}

static const struct net__listener_owner listener_owner = {
    on_accepted, on_failed, on_batch_end, on_closed};

/* It listens. */
static void begin(rover_relay_t *relay) {
  relay->options.address.port = net__listener_port(relay->listener);
  relay__arm(relay, uv_now(relay->loop) + 1); /* reserves descriptors */
}

int rover_relay_listen(rover_relay_t *relay) {
  if (relay->closing || relay->options.address.fd_name) return UV_EINVAL;
  if (relay->listener) return UV_EALREADY;
  int err =
      net__listener_open(&relay->listener, relay->loop, &relay->name.any,
                         relay->options.address.mode, &listener_owner, relay);
  if (err == 0) begin(relay);
  return err;
}

int rover_relay_listen_fd(rover_relay_t *relay, int fd) {
  rover_address_t *own = &relay->options.address;
  union net__endpoint name;
  char *path = (char *)own->path, *host = NULL;

  if (relay->closing) return UV_EINVAL;
  if (relay->listener) return UV_EALREADY;
  int err = net__endpoint_of(&name, fd);
  if (err == 0 && own->fd_name) err = net__endpoint_show(&name, &host, &path);
  if (err < 0) return err;
  err = net__listener_adopt(&relay->listener, relay->loop, fd, &name.any, path,
                            &listener_owner, relay);
  if (own->fd_name && err < 0) {
    free(host);
    free(path);
  } else if (own->fd_name) {
    relay->name = name;
    own->host = host;
    own->path = path;
  }
  if (err == 0) begin(relay);
  return err;
}

int rover_relay_fd(const rover_relay_t *relay) {
  return relay->listener ? net__listener_fd(relay->listener) : UV_EBADF;
}

int rover_relay_leave(rover_relay_t *relay) {
  return relay->listener ? net__listener_leave(relay->listener) : UV_EBADF;
}

int rover_relay_stay(rover_relay_t *relay, int owns_file) {
  if (!relay->listener) return UV_EBADF;
  net__listener_stay(relay->listener, owns_file, relay->options.address.mode);
  return 0;
}

static void stop_listening(rover_relay_t *relay) {
  if (!relay->listener) return;
  relay->handles++;
  net__listener_close(relay->listener);
  relay->listener = NULL;
}

static void close_all(rover_relay_t *relay, rover_relay_client_t **list) {
  while (*list) {
    relay->stats.refused++;
    relay__client_close(*list, UV_ECANCELED);
  }
}

int rover_relay_close(rover_relay_t *relay, uint64_t ms,
                      rover_relay_close_cb cb) {
  uint64_t cut = net__after(net__now(), ms);
  bool again = relay->closing;

  if (!again) {
    relay->closing = true;
    relay->close_cb = cb;
    stop_listening(relay);
    close_all(relay, &relay->waiting);
    close_all(relay, &relay->ready);
    close_all(relay, &relay->handshaking);
  }
  relay->cut = again ? net__sooner(relay->cut, cut) : cut;
  if (ms == 0) net__pairs_cut(&relay->pairs);
  close_if_done(relay);
  if (!net__pairs_are_over(&relay->pairs)) relay__arm_soon(relay);
  return again ? UV_EALREADY : 0;
}

/* -- Replacing ------------------------------------------------------------ */

int rover_relay_set_events(rover_relay_t *relay,
                           const rover_relay_events_t *events, void *data) {
  if (events && !NET__IS_UNUSED(events->reserved)) return UV_EINVAL;
  relay->options.events = events ? *events : (rover_relay_events_t){0};
  relay->options.data = data;
  return 0;
}

int rover_relay_listens_for(const rover_relay_t *other,
                            const rover_relay_t *relay) {
  const char *path = relay->options.address.path;
  const char *fd_name = relay->options.address.fd_name;

  if (!other->listener) return false;
  if (fd_name)
    return other->options.address.fd_name &&
           !strcmp(fd_name, other->options.address.fd_name);
  if (path) return net__listener_is_at(other->listener, path);
  if (other->options.address.path ||
      !net__endpoint_is_same_ip(&other->name, &relay->name))
    return false;
  /* Port 0 also matches the port that was chosen for it. */
  int port = relay->options.address.port;
  return port == other->options.address.port ||
         (port == 0 && net__endpoint_port(&other->name) == 0);
}

int rover_relay_is_for_fd(const rover_relay_t *relay, int fd, const char *path,
                          int any_port) {
  return !relay->options.address.fd_name &&
         net__endpoint_is_for(&relay->name, fd, path, any_port);
}

/* If it is just known by an fd_name. */
static void take_address(rover_relay_t *relay, rover_relay_t *from) {
  rover_address_t *own = &relay->options.address;

  if (!own->fd_name) return;
  relay->name = from->name;
  own->host = from->options.address.host;
  own->path = from->options.address.path;
  from->options.address.host = from->options.address.path = NULL;
}

int rover_relay_take_listener(rover_relay_t *relay, rover_relay_t *from) {
  const rover_address_t *own = &relay->options.address;
  int err = 0;

  if (relay->closing) return UV_EINVAL;
  take_address(relay, from);
  relay->options.address.port = from->options.address.port;
  from->options.address.port = net__endpoint_port(&from->name);
  relay->listener = from->listener;
  from->listener = NULL;
  net__listener_give(relay->listener, relay, own->path);
  if (own->mode != from->options.address.mode)
    err = net__listener_set_mode(relay->listener, own->mode);
  return err;
}

/* Applies the new declarations to what is under way. */
static void follow(rover_relay_t *relay) {
  set_timeouts(relay);
  if (relay->listener)
    net__listener_give(relay->listener, relay, relay->options.address.path);
  if (relay->closing) {
    stop_listening(relay);
    return;
  }
  const rover_relay_stats_t *stats = &relay->stats;
  while (stats->waiting + stats->handshaking > 0 &&
         stats->waiting + stats->handshaking + stats->running >
             relay->options.max_clients)
    relay__client_drop_one(relay, NULL);
  relay->due = NET_NEVER; /* checks at once, whatever was due before */
  relay__arm_soon(relay);
}

void rover_relay_exchange(rover_relay_t *relay, rover_relay_t *other) {
  rover_relay_t was = *relay;

  relay->options = other->options;
  relay->name = other->name;
  relay->trusted = other->trusted;
  relay->trusted_count = other->trusted_count;
  relay->listener = other->listener;
  other->options = was.options;
  other->name = was.name;
  other->trusted = was.trusted;
  other->trusted_count = was.trusted_count;
  other->listener = was.listener;
  follow(relay);
  follow(other);
}

/* -- The rest ------------------------------------------------------------- */

void *rover_relay_data(const rover_relay_t *relay) {
  return relay->options.data;
}

uv_loop_t *rover_relay_loop(const rover_relay_t *relay) { return relay->loop; }

int rover_relay_is_listening(const rover_relay_t *relay) {
  return relay->listener != NULL;
}

const rover_relay_options_t *rover_relay_options(const rover_relay_t *relay) {
  return &relay->options;
}

void rover_relay_stats_get(const rover_relay_t *relay,
                           rover_relay_stats_t *stats) {
  *stats = relay->stats;
  stats->received = relay->pairs.taken[NET_NEAR];
  stats->sent = relay->pairs.taken[NET_FAR];
}
