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
 * (see ../net/shards.c). One timer serves all their deadlines. A reload makes a
 * second relay, gives it the listener if both have the same address, and
 * exchanges what the two declare; clients, pairs and counters stay. Closing
 * stops listening and closes waiting clients. The relay is freed once the last
 * pair has ended, at the latest by a deadline. */

/* -- Deadlines ------------------------------------------------------------ */

/* How long a client may be silent that looks like a health check: these end
 * right behind their header, which is a matter of microseconds. */
enum { DOUBT_MS = 20 };

static void bury(rover_relay_t *relay);
static void unref(rover_relay_t *relay);
static void on_batch_end(void *relay);

/* Clients are in order of arrival, so the first one is the first to be due. */
uint64_t relay__due(const rover_relay_t *relay,
                    rover_relay_client_t *const *list) {
  const rover_relay_options_t *o = &relay->options;
  uint64_t ms = list == &relay->waiting       ? o->wait_timeout
                : list == &relay->handshaking ? o->header_timeout
                                              : DOUBT_MS;
  return *list ? net__after((*list)->since, ms) : NET_NEVER;
}

/* Workers need a while, so it is not asked for again. */
static void cut_pairs(rover_relay_t *relay) {
  relay->cut = NET_NEVER;
  net__shards_cut(&relay->pairs);
}

static void notify_failing(rover_relay_t *relay) {
  const char *message;
  int status = net__shards_failing(&relay->pairs, &message);
  if (status < 0 && !relay->closing && relay->options.events.error)
    relay->options.events.error(relay, status, message);
}

static void apply_deadlines(rover_relay_t *relay, uint64_t polled,
                            uint64_t now) {
  if (relay->closing && relay->cut <= polled) cut_pairs(relay);
  while (relay__due(relay, &relay->waiting) <= polled) {
    relay->stats.expired++;
    relay__client_close(relay->waiting, UV_ETIMEDOUT);
  }
  while (relay__due(relay, &relay->handshaking) <= polled)
    relay__client_close_late(relay);
  while (relay__due(relay, &relay->doubtful) <= polled)
    relay__client_believe(relay->doubtful);
  net__shards_expire(&relay->pairs, polled, now);
  bury(relay);
  if (net__alarm_is_closing(&relay->alarm)) return;
  uint64_t next = net__sooner(relay__due(relay, &relay->waiting),
                              relay__due(relay, &relay->handshaking));
  next = net__sooner(next, relay__due(relay, &relay->doubtful));
  next = net__sooner(next, net__shards_due(&relay->pairs));
  if (relay->closing) next = net__sooner(next, relay->cut);
  net__alarm_again(&relay->alarm, next);
  void (*wake)(rover_relay_t * relay_) = relay->wake;
  relay->wake = NULL;
  notify_failing(relay);
  relay__client_offer_ready(relay);
  if (wake && !relay->closing) wake(relay);
}

static void expire(void *data, uint64_t polled, uint64_t now) {
  rover_relay_t *relay = data;
  relay->refs++;
  apply_deadlines(relay, polled, now);
  unref(relay);
}

void rover_relay_wake(rover_relay_t *relay,
                      void (*wake)(rover_relay_t *relay)) {
  if (relay->closing) return;
  relay->wake = wake;
  net__alarm_next_turn(&relay->alarm);
}

/* -- Pairs ---------------------------------------------------------------- */

static void on_due(void *data, uint64_t due) {
  rover_relay_t *relay = data;
  net__alarm_set(&relay->alarm, due);
}

static void on_ended(void *data, struct net__pair *pair,
                     enum net__outcome outcome) {
  rover_relay_stats_t *stats = &((rover_relay_t *)data)->stats;

  rover__joined_end(&((struct relay__pair *)pair)->joined);
  stats->running--;
  switch (outcome) {
    case NET_DONE: stats->ended++; break;
    case NET_BROKE: stats->reset++; break;
    case NET_CUT: stats->cut++; break;
  }
}

/* A relay splits none. */
static const struct net__shards_owner pairs_owner = {on_due, on_ended, NULL,
                                                     on_batch_end};

static void set_timeouts(rover_relay_t *relay) {
  net__shards_set_timeouts(&relay->pairs, relay->options.idle_timeout,
                           relay->options.half_close_timeout, 0);
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
  net__place_clear(&relay->place);
  free((void *)relay->options.trusted);
  free(relay->trusted);
  net__shards_clear(&relay->pairs);
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
  int err = net__place_init(
      &relay->place, loop, NET__ADDRESS_FIELDS(&relay->options.address), relay);
  /* Either way, free_relay() undoes both. */
  int kept = net__cidrs_keep(&relay->options.trusted, &relay->trusted,
                             &relay->trusted_count);
  if (err == 0) err = kept;
  relay->loop = loop;
  if (err == 0 && !relay__reserve(relay)) err = uv_translate_sys_error(errno);
  if (err == 0)
    err = net__poller_new(&relay->poller, loop, NULL, &poller_owner, relay);
  if (err < 0) {
    free_relay(relay);
    return err;
  }
  net__shards_init(&relay->pairs, loop, &relay->poller->epoll,
                   relay->options.workers, &pairs_owner, relay);
  set_timeouts(relay);
  net__alarm_init(&relay->alarm, loop, expire, relay);
  relay->handles = 2;
  relay->refs = 1;
  *out = relay;
  return 0;
}

static void close_if_done(rover_relay_t *relay) {
  if (!relay->closing || relay->waiting ||
      net__alarm_is_closing(&relay->alarm) ||
      !net__shards_are_over(&relay->pairs))
    return;
  if (net__shards_close(&relay->pairs, on_closed)) relay->handles++;
  net__poller_close(relay->poller);
  net__reserve_drop(&relay->reserve);
  net__alarm_close(&relay->alarm, on_closed);
}

/* Calls back for clients and pairs that have ended, and frees them, as many as
 * one turn of the loop allows. Called once all events are delivered. */
static void bury(rover_relay_t *relay) {
  bool late = false;

  net__shards_bury(&relay->pairs);
  for (; relay->closed && !late; late = net__is_late(relay->loop))
    relay__client_bury(relay);
  if (relay->place.listener) net__listener_reserve(relay->place.listener);
  /* A timer that is due now may fire in this turn. */
  if (relay->closed) net__alarm_next_turn(&relay->alarm);
  else close_if_done(relay);
}

/* -- Listening ------------------------------------------------------------ */

static void refuse(void *relay, int fd) { relay__client_turn_away(relay, fd); }

static int on_accepted(void *data, int fd, const union net__address *peer) {
  rover_relay_t *relay = data;
  relay->refs++;
  int err = relay__client_new(relay, fd, peer);
  unref(relay);
  return err;
}

static void on_failed(void *data, int status, uint64_t ms) {
  rover_relay_t *relay = data;

  /* Those in the kernel's queue have timed out. */
  if (ms >= relay->options.wait_timeout && status == UV_EMFILE)
    net__place_turn_away(&relay->place, &relay->reserve, refuse);
  if (ms == 0 && relay->options.events.error)
    relay->options.events.error(relay, status, net__place_explain(status));
}

static const struct net__listener_owner listener_owner = {
    on_accepted, on_failed, on_batch_end, on_closed};

/* It listens. */
static void begin(rover_relay_t *relay) {
  net__alarm_next_turn(&relay->alarm); /* reserves descriptors */
}

int rover_relay_listen(rover_relay_t *relay) {
  if (relay->closing) return UV_EINVAL;
  int err = net__place_listen(&relay->place, &listener_owner);
  if (err == 0) begin(relay);
  return err;
}

int rover_relay_listen_fd(rover_relay_t *relay, int fd) {
  if (relay->closing) return UV_EINVAL;
  int err = net__place_listen_fd(&relay->place, fd, &listener_owner);
  if (err == 0) begin(relay);
  return err;
}

int rover_relay_fd(const rover_relay_t *relay) {
  return net__place_fd(&relay->place);
}

int rover_relay_leave(rover_relay_t *relay) {
  return net__place_leave(&relay->place);
}

int rover_relay_stay(rover_relay_t *relay, int owns_file) {
  return net__place_stay(&relay->place, owns_file);
}

static void stop_listening(rover_relay_t *relay) {
  if (net__place_close(&relay->place)) relay->handles++;
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
    close_all(relay, &relay->doubtful);
    close_all(relay, &relay->handshaking);
  }
  relay->cut = again ? net__sooner(relay->cut, cut) : cut;
  if (ms == 0) cut_pairs(relay);
  close_if_done(relay);
  if (!net__shards_are_over(&relay->pairs)) net__alarm_soon(&relay->alarm);
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
  return net__place_listens_for(&other->place, &relay->place);
}

int rover_relay_is_for_fd(const rover_relay_t *relay, int fd, const char *path,
                          int any_port) {
  return net__place_is_for_fd(&relay->place, fd, path, any_port);
}

int rover_relay_take_listener(rover_relay_t *relay, rover_relay_t *from) {
  if (relay->closing) return UV_EINVAL;
  return net__place_take(&relay->place, &from->place);
}

/* Applies the new declarations to what is under way. */
static void follow(rover_relay_t *relay) {
  set_timeouts(relay);
  net__place_follow(&relay->place);
  if (relay->closing) {
    stop_listening(relay);
    return;
  }
  const rover_relay_stats_t *stats = &relay->stats;
  while (stats->waiting + stats->handshaking > 0 &&
         stats->waiting + stats->handshaking + stats->running >
             relay->options.max_clients)
    relay__client_drop_one(relay, NULL);
  relay->alarm.due = NET_NEVER; /* checks at once, whatever was due before */
  net__alarm_soon(&relay->alarm);
}

static void exchange_options(rover_relay_t *relay, rover_relay_t *other) {
  rover_relay_options_t options = relay->options;
  struct rover_workers_s *others = other->options.workers;

  relay->options = other->options;
  other->options = options;
  relay->options.workers = options.workers; /* pairs stay where they are */
  other->options.workers = others;
}

void rover_relay_exchange(rover_relay_t *relay, rover_relay_t *other) {
  struct net__cidr *trusted = relay->trusted;
  size_t count = relay->trusted_count;

  exchange_options(relay, other);
  relay->trusted = other->trusted;
  relay->trusted_count = other->trusted_count;
  other->trusted = trusted;
  other->trusted_count = count;
  net__place_exchange(&relay->place, &other->place);
  follow(relay);
  follow(other);
}

/* -- The rest ------------------------------------------------------------- */

void *rover_relay_data(const rover_relay_t *relay) {
  return relay->options.data;
}

uv_loop_t *rover_relay_loop(const rover_relay_t *relay) { return relay->loop; }

int rover_relay_is_listening(const rover_relay_t *relay) {
  return relay->place.listener != NULL;
}

const rover_relay_options_t *rover_relay_options(const rover_relay_t *relay) {
  return &relay->options;
}

void rover_relay_stats_get(const rover_relay_t *relay,
                           rover_relay_stats_t *stats) {
  *stats = relay->stats;
  stats->received = net__shards_taken(&relay->pairs, NET_NEAR);
  stats->sent = net__shards_taken(&relay->pairs, NET_FAR);
}
