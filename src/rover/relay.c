#include "lookup.h"
#include "reload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODE_MAX = 0777 };

/* -- Deadlines ------------------------------------------------------------ */

/* The lists are in the order in which their clients come due, so that one timer
 * and the first client of each are all there is to look at. */

static uint64_t sooner(uint64_t one, uint64_t other) {
  return one == 0 || (other > 0 && other < one) ? other : one;
}

/* When the clients of a list come due after they were put there; 0: never. */
static uint64_t timeout_of(const rover_relay_t *relay,
                           rover_relay_client_t *const *list) {
  const rover_relay_options_t *o = &relay->options;
  if (list == &relay->waiting) return o->wait_timeout;
  if (list == &relay->joined) return o->idle_timeout;
  return sooner(o->idle_timeout, o->drain_timeout);
}

static uint64_t due_of(const rover_relay_t *relay,
                       rover_relay_client_t *const *list) {
  uint64_t timeout = timeout_of(relay, list);
  return *list && timeout > 0 ? (*list)->since + timeout : 0;
}

static void on_timer(uv_timer_t *timer);

void rover__relay_arm(rover_relay_t *relay, uint64_t due) {
  if (due == 0 || (relay->due > 0 && relay->due <= due)) return;
  uint64_t now = uv_now(relay->loop);
  relay->due = due;
  uv_timer_start(&relay->timer, on_timer, due > now ? due - now : 0, 0);
}

static void expire(rover_relay_t *relay, rover_relay_client_t **list,
                   uint64_t now) {
  uint64_t due;
  while ((due = due_of(relay, list)) > 0 && due <= now) {
    if (list != &relay->waiting) {
      rover__client_expire(*list);
      continue;
    }
    relay->stats.expired++;
    rover__client_close(*list, UV_ETIMEDOUT);
  }
}

void rover__relay_look(rover_relay_t *relay) {
  if (relay->look > 0) return;
  relay->look = uv_now(relay->loop) + NET__CHECK_MS;
  rover__relay_arm(relay, relay->look);
}

static void look_at(rover_relay_t *relay, rover_relay_client_t *list) {
  rover_relay_client_t *client, *next;
  DL_FOREACH_SAFE(list, client, next) {
    if (rover__client_look(client)) rover__relay_look(relay);
  }
}

static void cut_all(rover_relay_t *relay) {
  while (relay->joined) rover__client_cut(relay->joined);
  while (relay->ending) rover__client_cut(relay->ending);
}

/* If the loop was held up, what a client waits for may long be there: its
 * deadline counts once the loop has polled since, which it does between the time
 * the timer fires and the next, whether libuv runs timers before it polls or
 * after. Then it sets the timer for what is next. */
static void on_timer(uv_timer_t *timer) {
  rover_relay_t *relay = timer->data;
  rover_relay_client_t **lists[] = {&relay->waiting, &relay->joined,
                                    &relay->ending};
  uint64_t now = uv_now(relay->loop), polled = relay->fired, next = 0;

  relay->due = 0;
  relay->fired = now;
  if (relay->closing && relay->cut <= polled) cut_all(relay);
  for (int i = 0; i < 3; i++) expire(relay, lists[i], polled);
  if (relay->retry > 0 && relay->retry <= now) {
    relay->retry = 0;
    if (relay->listener) rover__listener_resume(relay->listener);
  }
  if (relay->look > 0 && relay->look <= now) {
    relay->look = 0;
    look_at(relay, relay->joined);
    look_at(relay, relay->ending);
  }
  rover__relay_bury(relay);
  if (uv_is_closing((uv_handle_t *)timer)) return;
  for (int i = 0; i < 3; i++) next = sooner(next, due_of(relay, lists[i]));
  next = sooner(sooner(next, relay->retry), relay->look);
  if (relay->closing) next = sooner(next, relay->cut);
  if (next > 0) rover__relay_arm(relay, next > now ? next : now + 1);
}

/* -- Life ----------------------------------------------------------------- */

static bool is_time(uint64_t ms) { return ms <= ROVER_MS_MAX; }

static bool are_valid(const rover_relay_options_t *o) {
  const rover_address_t *a = &o->address;
  return is_time(o->wait_timeout) && is_time(o->idle_timeout) &&
         is_time(o->drain_timeout) && a->port >= 0 && a->port <= 65535 &&
         a->mode >= 0 && a->mode <= MODE_MAX && (!a->path || a->path[0]);
}

static void fill_in(rover_relay_options_t *o) {
  if (o->wait_timeout == 0) o->wait_timeout = 5000;
  if (o->drain_timeout == 0) o->drain_timeout = 30000;
  if (o->max_clients == 0) o->max_clients = 1000;
  if (o->address.path) {
    if (o->address.mode == 0) o->address.mode = 0600;
    o->address.host = NULL;
    o->address.port = 0;
    return;
  }
  o->address.mode = 0;
}

/* Makes the address one of the system's. */
static int set_name(rover_relay_t *relay) {
  const rover_address_t *a = &relay->options.address;

  if (a->path) {
    if (strlen(a->path) >= sizeof relay->name.path.sun_path)
      return UV_ENAMETOOLONG;
    relay->name.path.sun_family = AF_UNIX;
    strcpy(relay->name.path.sun_path, a->path);
    return 0;
  }
  union rover__address found[2];
  int known = rover__lookup_known(a->host, found);
  if (known != 1) return net__is_exhaustion(known) ? known : UV_EINVAL;
  if (found->any.sa_family == AF_INET6) {
    relay->name.v6 = found->v6;
    relay->name.v6.sin6_port = htons((uint16_t)a->port);
  } else {
    relay->name.v4 = found->v4;
    relay->name.v4.sin_port = htons((uint16_t)a->port);
  }
  return 0;
}

/* Makes its text the relay's own. */
static int keep_text(rover_address_t *a) {
  const char *text = a->path;
  if (!text)
    text = a->host && strcmp(a->host, "localhost") != 0 ? a->host : "127.0.0.1";
  char *own = strdup(text);
  if (a->path) a->path = own;
  else a->host = own;
  return own ? 0 : UV_ENOMEM;
}

/* To join a socket that was used takes a descriptor before it gives one back. */
bool rover__relay_reserve(rover_relay_t *relay) {
  if (relay->spare < 0)
    relay->spare = fcntl(uv_backend_fd(relay->loop), F_DUPFD_CLOEXEC, 0);
  return relay->spare >= 0;
}

static void release_spare(rover_relay_t *relay) {
  if (relay->spare >= 0) close(relay->spare);
  relay->spare = -1;
}

static void free_relay(rover_relay_t *relay) {
  const rover_address_t *address = &relay->options.address;
  release_spare(relay);
  free((char *)(address->path ? address->path : address->host));
  net__stock_clear(&relay->stock);
  free(relay);
}

static void on_told(void *relay) { rover__relay_bury(relay); }

static void on_poller_closed(void *relay) { rover__relay_unref(relay); }

/* A relay keeps the loop alive. */
static const struct net__poller_owner poller_owner = {on_told, on_poller_closed,
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
  int err = keep_text(&relay->options.address);
  if (err == 0) err = set_name(relay);
  relay->loop = loop;
  relay->spare = -1;
  if (err == 0 && !rover__relay_reserve(relay))
    err = uv_translate_sys_error(errno);
  if (err == 0)
    err = net__poller_new(&relay->poller, loop, NULL, &poller_owner, relay);
  if (err < 0) {
    free_relay(relay);
    return err;
  }
  uv_timer_init(loop, &relay->timer);
  relay->timer.data = relay;
  relay->refs = 2;
  *out = relay;
  return 0;
}

static void bury_first(rover_relay_t *relay) {
  rover_relay_client_t *client = relay->closed;

  DL_DELETE(relay->closed, client);
  if (!client->joined && relay->options.events.close)
    relay->options.events.close(relay, client, client->status);
  free(client);
}

void rover__relay_unref(rover_relay_t *relay) {
  if (--relay->refs > 0) return;
  while (relay->closed) bury_first(relay);
  if (relay->close_cb) relay->close_cb(relay);
  free_relay(relay);
}

static void on_timer_closed(uv_handle_t *timer) {
  rover__relay_unref(timer->data);
}

static void close_if_done(rover_relay_t *relay) {
  uv_handle_t *timer = (uv_handle_t *)&relay->timer;
  if (!relay->closing || relay->joined || relay->ending || relay->waiting ||
      uv_is_closing(timer))
    return;
  net__poller_close(relay->poller);
  release_spare(relay);
  uv_close(timer, on_timer_closed);
}

void rover__relay_bury(rover_relay_t *relay) {
  bool late = false;

  for (; relay->closed && !late; late = net__is_late(relay->loop))
    bury_first(relay);
  if (relay->listener) rover__listener_reserve(relay->listener);
  /* A timer that is due now might still run in this turn. */
  if (relay->closed) rover__relay_arm(relay, uv_now(relay->loop) + 1);
  else close_if_done(relay);
}

int rover_relay_listen(rover_relay_t *relay) {
  if (relay->closing) return UV_EINVAL;
  if (relay->listener) return UV_EALREADY;
  int err = rover__listener_open(&relay->listener, relay);
  if (err < 0) return err;
  relay->options.address.port = rover__listener_port(relay->listener);
  /* Takes spare descriptors in the next turn: whoever sets up others now may be
   * short of them. */
  rover__relay_arm(relay, uv_now(relay->loop) + 1);
  return 0;
}

static void stop_listening(rover_relay_t *relay) {
  if (relay->listener) rover__listener_close(relay->listener);
  relay->listener = NULL;
}

int rover_relay_close(rover_relay_t *relay, uint64_t ms,
                      rover_relay_close_cb cb) {
  uint64_t cut = net__now() + (is_time(ms) ? ms : ROVER_MS_MAX);
  bool again = relay->closing;

  if (!again) {
    relay->closing = true;
    relay->close_cb = cb;
    stop_listening(relay);
    while (relay->waiting) {
      relay->stats.refused++;
      rover__client_close(relay->waiting, UV_ECANCELED);
    }
  }
  relay->cut = again && relay->cut < cut ? relay->cut : cut;
  if (ms == 0) cut_all(relay);
  close_if_done(relay);
  if (relay->joined || relay->ending)
    rover__relay_arm(relay, uv_now(relay->loop));
  return again ? UV_EALREADY : 0;
}

/* -- Clients -------------------------------------------------------------- */

void rover__relay_enlist(rover_relay_client_t *client,
                         rover_relay_client_t **list) {
  rover_relay_t *relay = client->relay;

  if (client->list) DL_DELETE(*client->list, client);
  DL_APPEND(*list, client);
  client->list = list;
  client->since = net__now();
  if (*list == client) rover__relay_arm(relay, due_of(relay, list));
}

/* -- Replacing ------------------------------------------------------------ */

void rover_relay_set_events(rover_relay_t *relay,
                            const rover_relay_events_t *events, void *data) {
  relay->options.events = events ? *events : (rover_relay_events_t){0};
  relay->options.data = data;
}

/* The IP address, those of IPv4 as IPv6 has them, with its zone. */
static struct in6_addr ip_of(const rover_relay_t *relay, uint32_t *zone) {
  struct in6_addr ip = {0};

  *zone = 0;
  if (relay->name.any.sa_family == AF_INET6) {
    *zone = relay->name.v6.sin6_scope_id;
    return relay->name.v6.sin6_addr;
  }
  ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
  memcpy(&ip.s6_addr[12], &relay->name.v4.sin_addr, 4);
  return ip;
}

static bool is_same_ip(const rover_relay_t *one, const rover_relay_t *other) {
  uint32_t zone, other_zone;
  struct in6_addr ip = ip_of(one, &zone), other_ip = ip_of(other, &other_zone);
  return !memcmp(&ip, &other_ip, sizeof ip) && zone == other_zone;
}

/* Where it is in the names of both IP families. */
static int declared_port(const rover_relay_t *relay) {
  return relay->options.address.path ? 0 : ntohs(relay->name.v4.sin_port);
}

int rover_relay_listens_for(const rover_relay_t *other,
                            const rover_relay_t *relay) {
  const char *path = relay->options.address.path;

  if (!other->listener) return false;
  if (path) return rover__listener_is_at(other->listener, path);
  if (other->options.address.path || !is_same_ip(other, relay)) return false;
  /* Any port is also the one that was taken for any. */
  int port = relay->options.address.port;
  return port == other->options.address.port ||
         (port == 0 && declared_port(other) == 0);
}

int rover_relay_take_listener(rover_relay_t *relay, rover_relay_t *from) {
  const rover_address_t *own = &relay->options.address;
  int err = 0;

  if (relay->closing) return UV_EINVAL;
  relay->options.address.port = from->options.address.port;
  from->options.address.port = declared_port(from);
  relay->listener = from->listener;
  from->listener = NULL;
  rover__listener_give(relay->listener, relay);
  if (own->mode != from->options.address.mode)
    err = rover__listener_set_mode(relay->listener, own->mode);
  return err;
}

/* Has what is under way follow what is declared now. */
static void follow(rover_relay_t *relay) {
  if (relay->listener) rover__listener_give(relay->listener, relay);
  if (relay->closing) {
    stop_listening(relay);
    return;
  }
  while (relay->waiting && relay->stats.waiting + relay->stats.running >
                               relay->options.max_clients) {
    relay->stats.refused++;
    rover__client_close(relay->waiting, UV_ENOBUFS);
  }
  relay->due = 0; /* whatever was due before, look at once */
  rover__relay_arm(relay, uv_now(relay->loop));
}

void rover_relay_exchange(rover_relay_t *relay, rover_relay_t *other) {
  rover_relay_t was = *relay;

  relay->options = other->options;
  relay->name = other->name;
  relay->listener = other->listener;
  other->options = was.options;
  other->name = was.name;
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
}
