#include "front.h"

#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../net/clock.h"
#include "../net/descriptor.h"
#include "../net/options.h"
#include "admission.h"
#include "conn.h"
#include "handshake.h"
#include "reload.h"

/* The life of a front: at first it only holds what was declared. Once it
 * listens, it accepts connections (see conn.c), and joins them with the backend
 * (see backend.c). One timer serves all deadlines. A reload makes a second
 * front, gives it the listener if both have the same address, and exchanges
 * what the two declare; connections, slots and counters stay. Closing stops
 * listening and drains (see drain.c). The front is freed once the last
 * connection is closed. */

enum {
  PROBES_MAX = 127, /* of keepalive: the kernel's limit */
  HANDSHAKE_MS = 5000
};

/* -- Deadlines ------------------------------------------------------------ */

static bool settle(rover_front_t *front);

static uint64_t first_due(const rover_front_t *front) {
  uint64_t due = net__sooner(front__conns_due(front), front->drain.due);
  due = net__sooner(due, front__backend_due(front));
  return net__sooner(due, net__shards_due(&front->pairs));
}

static void expire(void *data, uint64_t polled, uint64_t now) {
  rover_front_t *front = data;

  front__conns_expire(front, polled, now);
  front__backend_expire(front, polled, now);
  net__shards_expire(&front->pairs, polled, now);
  front__drain_run(front, polled);
  if (!settle(front) || net__alarm_is_closing(&front->alarm)) return;
  net__alarm_again(&front->alarm, first_due(front));
}

/* -- Pairs ---------------------------------------------------------------- */

static void on_due(void *data, uint64_t due) {
  rover_front_t *front = data;
  net__alarm_set(&front->alarm, due);
}

static void on_ended(void *front, struct net__pair *pair,
                     enum net__outcome outcome) {
  (void)front;
  front__conn_ended(pair, outcome);
}

static void on_split(void *front, struct net__pair *pair,
                     struct net__poll *near) {
  (void)front;
  front__conn_split(pair, near);
}

static void on_batch_end(void *front) { settle(front); }

static const struct net__shards_owner pairs_owner = {on_due, on_ended, on_split,
                                                     on_batch_end};

static void set_timeouts(rover_front_t *front) {
  const rover_front_options_t *o = &front->options;
  net__shards_set_timeouts(&front->pairs, o->idle_timeout,
                           o->half_close_timeout, o->dead_peer_timeout);
}

/* -- Options -------------------------------------------------------------- */

static bool are_valid(const rover_front_options_t *o) {
  bool are = NET__IS_UNUSED(o->address.reserved) &&
             NET__IS_UNUSED(o->backend.reserved) &&
             (o->backend.path || o->backend.port != 0) &&
             o->connect_on >= ROVER_FRONT_ON_DATA &&
             o->connect_on <= ROVER_FRONT_ON_SLOT &&
             (!o->accept_proxy ||
              (o->connect_on == ROVER_FRONT_ON_DATA &&
               (o->address.path || (o->trusted && o->trusted[0])))) &&
             (!o->tls || ((struct net__tls_context *)o->tls)->is_server) &&
             net__is_TIMEOUT(o->handshake_timeout, 1, ROVER_MS_MAX) &&
             NET__IS_UNUSED(o->reserved) && NET__IS_UNUSED(o->events.reserved);
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  are = are && net__is_##kind(o->name, least, most);
  ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
  return are;
}

static void fill_in(rover_front_options_t *o) {
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  if (o->name == 0) o->name = initial;
  ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
  if (o->handshake_timeout == 0) o->handshake_timeout = HANDSHAKE_MS;
}

/* Whether it is known who connects, or does not matter. */
static bool is_guarded(const rover_front_t *front) {
  return front->allow_count > 0 || front->options.is_public ||
         (front->options.tls && front__tls(front)->demands);
}

/* Whether the front may listen there. */
static int check_name(const rover_front_t *front,
                      const union net__endpoint *name) {
  if (net__endpoint_is_same(name, &front->backend.name)) return UV_ELOOP;
  return net__endpoint_is_local(name) || is_guarded(front) ? 0 : UV_EPERM;
}

static int keep_options(rover_front_t *front) {
  rover_front_options_t *o = &front->options;
  int address = net__place_init(&front->place, front->loop,
                                NET__ADDRESS_FIELDS(&o->address), front);
  int backend = net__endpoint_keep(&front->backend.name,
                                   NET__ADDRESS_FIELDS(&o->backend));
  int allow = net__cidrs_keep(&o->allow, &front->allow, &front->allow_count);
  int trusted =
      net__cidrs_keep(&o->trusted, &front->trusted, &front->trusted_count);

  o->backend.mode = 0;
  if (address < 0 || backend < 0) return address < 0 ? address : backend;
  if (allow < 0 || trusted < 0) return allow < 0 ? allow : trusted;
  return o->address.fd_name ? 0 : check_name(front, &front->place.name);
}

/* -- Life ----------------------------------------------------------------- */

bool front__reserve(rover_front_t *front) {
  return net__reserve_fill(&front->reserve, uv_backend_fd(front->loop),
                           FRONT_RESERVED);
}

uint64_t front__active(const rover_front_t *front) {
  return front->stats.open - front->stats.ending;
}

static void free_front(rover_front_t *front) {
  rover_front_options_t *o = &front->options;

  if (front->is_gone) *front->is_gone = true;
  front__conns_bury(front);
  front__rejects_clear(front);
  net__reserve_drop(&front->reserve);
  front__addresses_clear(&front->addresses); /* of those it holds */
  free(front->held_for);
  front__slots_clear(&front->slots);
  front__slots_clear(&front->held);
  net__shards_clear(&front->pairs);
  net__place_clear(&front->place);
  free((char *)o->backend.host);
  free((char *)o->backend.path);
  free((void *)o->allow);
  free(front->allow);
  free((void *)o->trusted);
  free(front->trusted);
  net__tls_context_unref(front__tls(front));
  free(front);
}

static void unref(rover_front_t *front) {
  if (--front->refs > 0) return;
  if (front->close_cb) front->close_cb(front);
  free_front(front);
}

static void on_polled(void *front) {
  front__handshakes_run(front);
  settle(front);
}

static void on_closed(void *front) { unref(front); }

/* A front keeps the loop alive. */
static const struct net__poller_owner poller_owner = {on_polled, on_closed,
                                                      true};

static void init(rover_front_t *front) {
  net__shards_init(&front->pairs, front->loop, &front->poller->epoll,
                   front->options.workers, &pairs_owner, front);
  set_timeouts(front);
  net__alarm_init(&front->alarm, front->loop, expire, front);
  front->refs = 2;
}

int rover_front_new(rover_front_t **out, uv_loop_t *loop,
                    const rover_front_options_t *options) {
  if (!out || !loop || !options || !are_valid(options)) return UV_EINVAL;
  rover_front_t *front = calloc(1, sizeof *front);
  if (!front) return UV_ENOMEM;
  front->loop = loop;
  front->options = *options;
  front->retry = NET_NEVER;
  if (options->tls) net__tls_context_ref(front__tls(front));
  fill_in(&front->options);
  front__backend_init(&front->backend);
  front__drain_init(&front->drain);
  int err = keep_options(front);
  if (err == 0) err = net__hash_key_draw(&front->addresses.key);
  if (err == 0 && !front__reserve(front)) err = uv_translate_sys_error(errno);
  if (err == 0)
    err = net__poller_new(&front->poller, loop, NULL, &poller_owner, front);
  if (err < 0) {
    free_front(front);
    return err;
  }
  init(front);
  *out = front;
  return 0;
}

static void close_if_done(rover_front_t *front) {
  if (!front->closing || front->stats.open + front->stats.securing > 0 ||
      !net__shards_are_over(&front->pairs) ||
      net__alarm_is_closing(&front->alarm))
    return;
  front__backend_clear(front);
  if (net__shards_close(&front->pairs, on_closed)) front->refs++;
  net__poller_close(front->poller);
  net__reserve_drop(&front->reserve);
  net__alarm_close(&front->alarm, on_closed);
}

static void notify_failing(rover_front_t *front) {
  const rover_front_events_t *events = &front->options.events;
  int status = front->failing;

  front->failing = 0;
  if (status < 0 && events->error)
    events->error(front, status, net__place_explain(status));
}

static void notify_workers(rover_front_t *front) {
  const char *message;
  int status = net__shards_failing(&front->pairs, &message);
  if (status < 0 && front->options.events.error)
    front->options.events.error(front, status, message);
}

/* Sets what is to be told when the front is gone; returns what was. */
static bool *set_is_gone(rover_front_t *front, bool *is_gone) {
  bool *outer = front->is_gone;
  front->is_gone = is_gone;
  return outer;
}

/* Callbacks may close the front, and run the loop until it is gone. Returns
 * whether it is still there. */
static bool notify(rover_front_t *front) {
  bool is_gone = false, *outer = set_is_gone(front, &is_gone), more = true;

  if (!front->closing) notify_failing(front);
  if (!is_gone && !front->closing) notify_workers(front);
  if (!is_gone && !front->closing) front__backend_notify_shortage(front);
  if (!is_gone && !front->closing) front__backend_notify_state(front);
  while (more && !is_gone && !front->closing)
    more = front__rejects_notify(front);
  if (!is_gone) front->is_gone = outer;
  else if (outer) *outer = true;
  return !is_gone;
}

/* Completes a batch of events: frees what has closed, and calls back. Returns
 * whether the front is still there. */
static bool settle(rover_front_t *front) {
  front__handshakes_settle(front);
  net__shards_bury(&front->pairs);
  front__conns_bury(front);
  while (!front__backend_is_up(&front->backend) && front->conns[FRONT_UNUSED])
    front__conn_end(front->conns[FRONT_UNUSED]);
  if (front->place.listener) net__listener_reserve(front->place.listener);
  if (!notify(front)) return false;
  close_if_done(front);
  return true;
}

/* -- Listening ------------------------------------------------------------ */

static void refuse(void *front, int fd) { front__refuse(front, fd); }

static int on_accepted(void *front, int fd, const union net__address *peer) {
  return front__conn_new(front, fd, peer);
}

static void on_failed(void *data, int status, uint64_t ms) {
  rover_front_t *front = data;

  /* Those in the kernel's queue would wait for a slot line. */
  if (status == UV_EMFILE)
    net__place_turn_away(&front->place, &front->reserve, refuse);
  if (ms == 0) front->failing = status; /* settle() follows */
}

static const struct net__listener_owner listener_owner = {
    on_accepted, on_failed, on_batch_end, on_closed};

/* Accepted connections inherit these. After `keepalive`, a silent client is
 * probed every second until dead_peer_timeout has passed. One that is not
 * joined yet has no reason not to acknowledge its slot line. */
static void set_peer_options(const rover_front_t *front) {
  const rover_front_options_t *o = &front->options;
  int fd = net__place_fd(&front->place);
  int most = o->dead_peer_timeout > INT_MAX ? 0 : (int)o->dead_peer_timeout;
  int probes = most / 1000 - o->keepalive;

  if (fd < 0 || front->place.name.any.sa_family == AF_UNIX) return;
  net__fd_set_keepalive(fd, o->keepalive);
  if (most > 0 && o->keepalive > 0)
    net__fd_set(fd, IPPROTO_TCP, TCP_KEEPCNT,
                probes < 1            ? 1
                : probes > PROBES_MAX ? PROBES_MAX
                                      : probes);
  net__fd_set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, most);
}

/* The listener is open. */
static void begin(rover_front_t *front) {
  set_peer_options(front);
  net__alarm_next_turn(&front->alarm); /* reserves descriptors */
}

int rover_front_listen(rover_front_t *front) {
  if (front->closing) return UV_EINVAL;
  int err = net__place_listen(&front->place, &listener_owner);
  if (err == 0) begin(front);
  return err;
}

int rover_front_listen_fd(rover_front_t *front, int fd) {
  union net__endpoint name;

  if (front->closing) return UV_EINVAL;
  if (front->place.listener) return UV_EALREADY;
  int err = net__endpoint_of(&name, fd);
  if (err == 0) err = check_name(front, &name);
  if (err == 0) err = net__place_listen_fd(&front->place, fd, &listener_owner);
  if (err == 0) begin(front);
  return err;
}

/* -- Closing -------------------------------------------------------------- */

static void stop_listening(rover_front_t *front) {
  if (net__place_close(&front->place)) front->refs++;
}

int rover_front_close(rover_front_t *front, uint64_t ms,
                      rover_front_close_cb cb) {
  bool again = front->closing;

  if (!again) {
    front->closing = true;
    front->close_cb = cb;
    stop_listening(front);
  }
  if (!again || net__after(net__now(), ms) < front->drain.until) {
    front->drain.refuses = true;
    front__drain_begin(front, 0, ms);
  }
  if (ms == 0) front__conns_cut(front);
  close_if_done(front);
  return again ? UV_EALREADY : 0;
}

/* -- Draining ------------------------------------------------------------- */

int rover_front_drain(rover_front_t *front, uint64_t ms) {
  if (front->closing) return UV_EINVAL;
  front->drain.refuses = true;
  front__drain_begin(front, 0, ms);
  return 0;
}

int rover_front_resume(rover_front_t *front) {
  if (front->closing) return UV_EINVAL;
  if (front->drain.refuses) front__drain_stop(&front->drain);
  return 0;
}

/* Connections keep their slots, but as many are ended as the new weight is too
 * low for. The number that stays is rounded up: weights that go up and down
 * must not end the only one. */
static void follow_weight(rover_front_t *front, double before) {
  double part = front->options.weight / before;
  double stay = (double)front__drain_staying(front) * part;

  if (front->drain.refuses || part == 1) return;
  if (stay >= (double)front__active(front)) {
    front__drain_stop(&front->drain);
    return;
  }
  uint64_t goal = (uint64_t)stay;
  if (stay - (double)goal > 1e-9) goal++; /* not for a rounding error */
  front__drain_begin(front, goal, front->options.drain_timeout);
}

int rover_front_set_weight(rover_front_t *front, double weight) {
  const rover_front_options_t asked = {.weight = weight}, *o = &asked;
  double before = front->options.weight;
  bool is = weight != 0 && !front->closing;

#define XX(type, name, kind, least, most, initial, lua, text)                  \
  is = is && net__is_##kind(o->name, least, most);
  ROVER_FRONT_OPTIONS_MAP(XX)
#undef XX
  if (!is) return UV_EINVAL;
  front->options.weight = weight;
  follow_weight(front, before);
  return 0;
}

int rover_front_set_down(rover_front_t *front, const char *reason) {
  return front->closing ? UV_EINVAL : front__backend_set_down(front, reason);
}

/* -- Replacing ------------------------------------------------------------ */

int rover_front_set_events(rover_front_t *front,
                           const rover_front_events_t *events, void *data) {
  if (events && !NET__IS_UNUSED(events->reserved)) return UV_EINVAL;
  front->options.events = events ? *events : (rover_front_events_t){0};
  front->options.data = data;
  return 0;
}

int rover_front_listens_for(const rover_front_t *other,
                            const rover_front_t *front) {
  return net__place_listens_for(&other->place, &front->place) &&
         (!front->options.address.fd_name ||
          check_name(front, &other->place.name) == 0);
}

int rover_front_is_for_fd(const rover_front_t *front, int fd, const char *path,
                          int any_port) {
  return net__place_is_for_fd(&front->place, fd, path, any_port);
}

int rover_front_take_listener(rover_front_t *front, rover_front_t *from) {
  if (front->closing) return UV_EINVAL;
  int err = net__place_take(&front->place, &from->place);
  set_peer_options(front);
  return err;
}

/* Applies the new declarations to what is under way. */
static void follow(rover_front_t *front, double weight_before) {
  set_timeouts(front);
  net__place_follow(&front->place);
  set_peer_options(front);
  if (front->closing) {
    stop_listening(front);
    return;
  }
  follow_weight(front, weight_before);
  front->alarm.due = NET_NEVER; /* checks at once, whatever was due before */
  net__alarm_soon(&front->alarm);
}

/* Sessions go on, if nothing speaks against that. */
static void follow_tls(struct net__tls_context *tls,
                       struct net__tls_context *was) {
  if (tls && was && tls != was) tls->type->follow(tls, was);
}

static void exchange_cidrs(struct net__cidr **list, size_t *count,
                           struct net__cidr **others, size_t *their_count) {
  struct net__cidr *was = *list;
  size_t count_was = *count;

  *list = *others;
  *count = *their_count;
  *others = was;
  *their_count = count_was;
}

static void exchange_options(rover_front_t *front, rover_front_t *other) {
  rover_front_options_t options = front->options;
  struct rover_workers_s *others = other->options.workers;

  front->options = other->options;
  other->options = options;
  front->options.workers = options.workers; /* pairs stay where they are */
  other->options.workers = others;
  exchange_cidrs(&front->allow, &front->allow_count, &other->allow,
                 &other->allow_count);
  exchange_cidrs(&front->trusted, &front->trusted_count, &other->trusted,
                 &other->trusted_count);
}

void rover_front_exchange(rover_front_t *front, rover_front_t *other) {
  const union net__endpoint backend = front->backend.name;

  exchange_options(front, other);
  front__backend_move(front, &other->backend.name);
  net__place_exchange(&front->place, &other->place);
  front__backend_move(other, &backend);
  follow_tls(front__tls(front), front__tls(other));
  follow(front, other->options.weight);
  follow(other, front->options.weight);
}

void rover_front_take_down(rover_front_t *front, rover_front_t *from) {
  front__backend_take_down(front, from);
}

/* -- The rest ------------------------------------------------------------- */

void *rover_front_data(const rover_front_t *front) {
  return front->options.data;
}

uv_loop_t *rover_front_loop(const rover_front_t *front) { return front->loop; }

int rover_front_is_listening(const rover_front_t *front) {
  return front->place.listener != NULL;
}

int rover_front_is_draining(const rover_front_t *front) {
  return front->drain.refuses;
}

int rover_front_is_up(const rover_front_t *front) {
  return front__backend_is_up(&front->backend);
}

const rover_front_options_t *rover_front_options(const rover_front_t *front) {
  return &front->options;
}

void rover_front_stats_get(const rover_front_t *front,
                           rover_front_stats_t *stats) {
  *stats = front->stats;
  stats->received = net__shards_taken(&front->pairs, NET_NEAR);
  stats->sent = net__shards_taken(&front->pairs, NET_FAR);
}
