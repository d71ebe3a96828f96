#include <callosum/rover.h>

#include <stdlib.h>

#include "../net/clock.h"
#include "../net/options.h"
#include "attempt.h"
#include "hold.h"
#include "lookup.h"
#include "outbox.h"
#include "reload.h"
#include "servers.h"
#include "socket.h"
#include "steer.h"
#include "stream.h"
#include "tally.h"

/* The life of a rover: at first it only holds what was declared. Once it is
 * started, a clock makes attempts (see attempt.c), and those that succeed
 * become sockets (see socket.c), which it keeps until they close. A reload
 * exchanges what two rovers declare; clock, attempts, sockets and counters
 * stay. Closing cancels attempts, closes sockets and handles, and waits for
 * look-ups under way, which cannot be interrupted. Each of these holds a
 * reference; releasing the last one frees the rover. */

const char *rover_version_string(void) { return ROVER_VERSION_STRING; }

static void on_tick(uv_timer_t *clock);

/* -- Life ----------------------------------------------------------------- */

static bool are_valid(const rover_options_t *o) {
  bool are = NET__IS_UNUSED(o->reserved) &&
             NET__IS_UNUSED(o->events.reserved) && rover__tls_is_valid(o->tls);
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  are = are && net__is_##kind(o->name, least, most);
  ROVER_OPTIONS_MAP(XX)
#undef XX
  return are;
}

static void fill_in(rover_options_t *o) {
#define XX(type, name, kind, least, most, initial, lua, text)                  \
  if (o->name == 0) o->name = initial;
  ROVER_OPTIONS_MAP(XX)
#undef XX
}

/* The memory of the rover itself, without its servers. */
static ptrdiff_t own_memory(const rover_t *rover) {
  size_t buffer = rover->buffer ? ROVER__BUFFER_SIZE : 0;
  buffer += rover__outbox_memory(rover->outbox);
  return (ptrdiff_t)(sizeof *rover +
                     ROVER__CAUSES * sizeof *rover->unreachable + buffer);
}

static void free_rover(rover_t *rover) {
  rover__count_memory(rover, -own_memory(rover) - rover__servers_memory(rover));
  rover__tallies_clear(rover);
  rover->options.memory = NULL; /* the callback may free it */
  if (rover->close_cb) rover->close_cb(rover);
  rover__servers_clear(rover);
  rover__tls_unref(rover->options.tls);
  free(rover->buffer);
  free(rover->outbox);
  free(rover->unreachable);
  free(rover);
}

static void on_batch_end(void *rover) { rover__stream_send_all_held(rover); }

static void on_poller_closed(void *rover) { rover__unref(rover); }

/* The loop is kept alive by the attempts' timer and by kept sockets. */
static const struct net__poller_owner poller_owner = {
    on_batch_end, on_poller_closed, false};

int rover_new(rover_t **out, uv_loop_t *loop, const rover_options_t *options) {
  static const rover_options_t defaults;
  if (!options) options = &defaults;
  if (!out || !loop || !are_valid(options)) return UV_EINVAL;
  rover_t *rover = calloc(1, sizeof *rover);
  if (!rover) return UV_ENOMEM;
  rover->unreachable = calloc(ROVER__CAUSES, sizeof *rover->unreachable);
  int err = rover->unreachable ? 0 : UV_ENOMEM;
  uint64_t seed = options->seed;
  if (err == 0 && seed == 0)
    err = uv_random(NULL, NULL, &seed, sizeof seed, 0, NULL);
  if (err == 0) err = net__hash_key_draw(&rover->tally_key);
  rover->servers.by_id.key = rover->tally_key;
  rover->turn = options->turn;
  if (err == 0 && !rover->turn) {
    err = rover_turn_new(&rover->own, loop);
    rover->turn = rover->own;
  }
  if (err == 0)
    err = net__poller_new(&rover->poller, loop, &rover->turn->base,
                          &poller_owner, rover);
  if (err < 0) {
    if (rover->own) rover_turn_close(rover->own, NULL, NULL);
    free(rover->unreachable);
    free(rover);
    return err;
  }

  rover->loop = loop;
  rover->random = (struct rover__random){seed, ~seed};
  rover->options = *options;
  rover__tls_ref(options->tls);
  fill_in(&rover->options);
  uv_timer_init(loop, &rover->clock);
  uv_timer_init(loop, &rover->asking);
  uv_timer_init(loop, &rover->deadline);
  uv_timer_init(loop, &rover->peer_check);
  uv_timer_init(loop, &rover->drain);
  uv_unref((uv_handle_t *)&rover->peer_check);
  uv_unref((uv_handle_t *)&rover->drain);
  rover->drain_on = rover__steer_drain;
  rover->overdue.go_on = rover__attempt_expire;
  rover->later.go_on = rover__socket_report;
  rover->news.go_on = rover__servers_tell;
  rover->clock.data = rover->asking.data = rover;
  rover->deadline.data = rover->peer_check.data = rover->drain.data = rover;
  rover->refs = 6;
  rover->tick = on_tick;
  rover->free = free_rover;
  rover__count_memory(rover, own_memory(rover));
  *out = rover;
  return 0;
}

/* The rover's own turn is closed, so everything left is reported at once. */
static void on_own_closed(void *data) {
  rover_t *rover = data;
  rover__socket_report_all(rover);
  rover__unref(rover);
}

static void on_timer_closed(uv_handle_t *timer) { rover__unref(timer->data); }

int rover_close(rover_t *rover, rover_close_cb cb) {
  if (rover->closing) return UV_EALREADY;
  rover_stop(rover);
  rover->closing = true;
  rover->close_cb = cb;
  rover__holders_let_go(rover);
  net__turn_leave(&rover->turn->base, &rover->overdue);
  net__turn_leave(&rover->turn->base, &rover->news);
  while (rover->sockets) rover_socket_close(rover->sockets);
  if (rover->own) {
    rover->refs++;
    net__turn_leave(&rover->own->base, &rover->later);
    rover__lookups_forget(rover->own);
    rover_turn_close(rover->own, on_own_closed, rover);
  }
  uv_close((uv_handle_t *)&rover->clock, on_timer_closed);
  uv_close((uv_handle_t *)&rover->asking, on_timer_closed);
  uv_close((uv_handle_t *)&rover->deadline, on_timer_closed);
  uv_close((uv_handle_t *)&rover->peer_check, on_timer_closed);
  uv_close((uv_handle_t *)&rover->drain, on_timer_closed);
  net__poller_close(rover->poller);
  return 0;
}

/* -- Roving --------------------------------------------------------------- */

static uint64_t next_interval(rover_t *rover) {
  double spread = rover->options.jitter;
  if (spread > 0)
    spread *= rover__random_fraction(&rover->random.picks) * 2 - 1;
  uint64_t ms =
      (uint64_t)((double)rover->options.roving_interval * (1 + spread));
  return ms > 0 ? ms : 1;
}

/* Before an attempt: whether one more may be in flight. */
static bool has_room(rover_t *rover) {
  if (rover->unwatched) rover__socket_watch_again(rover);
  return rover->stats.in_flight < rover->options.max_attempts;
}

static int skip(rover_t *rover) {
  rover->stats.skipped++;
  return UV_EAGAIN;
}

/* If no server is picked since all are paused, lowers *awake to the earliest
 * time at which one may be. */
static int attempt(rover_t *rover, uint64_t *awake) {
  if (!has_room(rover)) return skip(rover);
  rover_server_t *server = rover__servers_pick(rover, awake);
  if (!server && (rover_server_count(rover) > 0 || rover_is_awaiting(rover)))
    return skip(rover);
  return rover__attempt_start(rover, server);
}

/* Of an attempt that nobody called for. */
static void report_no_memory(rover_t *rover) {
  rover->stats.attempts++;
  rover->stats.errors++;
  if (rover->options.events.error)
    rover->options.events.error(rover, NULL, UV_ENOMEM, "out of memory");
}

static void on_tick(uv_timer_t *clock) {
  rover_t *rover = clock->data;

  rover->ticked = uv_now(rover->loop);
  uint64_t ms = next_interval(rover), awake = UINT64_MAX;
  uv_timer_start(clock, on_tick, ms, 0);
  int err = attempt(rover, &awake);
  /* The next attempt follows the end of a pause, not a whole interval. */
  if (err == UV_EAGAIN && awake - rover->ticked < ms)
    uv_timer_start(clock, on_tick, awake - rover->ticked, 0);
  if (err == UV_ENOMEM) report_no_memory(rover);
}

int rover_start(rover_t *rover) {
  if (rover->closing) return UV_EINVAL;
  rover->started = true;
  return uv_timer_start(&rover->clock, on_tick, 0, 0);
}

static void forget_asked(rover_t *rover) {
  uv_timer_stop(&rover->asking);
  if (rover->asked) rover_server_unref(rover->asked);
  rover->asked = NULL;
}

void rover_stop(rover_t *rover) {
  if (rover->closing) return;
  rover->started = false;
  uv_timer_stop(&rover->clock);
  forget_asked(rover);
  rover__attempt_cancel(rover, NULL);
}

void rover_hold(rover_t *rover, int hold) {
  bool released = rover->held && !hold;
  rover->held = hold;
  if (!released || rover->closing) return;
  net__turn_wait(&rover->turn->base, &rover->news);
  rover__attempt_deliver_held(rover);
}

int rover_connect(rover_t *rover) {
  uint64_t awake = UINT64_MAX;
  return rover->closing ? UV_EINVAL : attempt(rover, &awake);
}

int rover_connect_to(rover_t *rover, const char *id) {
  if (rover->closing) return UV_EINVAL;
  bool room = has_room(rover); /* this may call back */
  rover_server_t *server = rover__servers_asked(rover, id);
  if (!server) return 0;
  int err = room ? rover__attempt_start(rover, server) : skip(rover);
  return err < 0 ? err : 1;
}

static void on_asking(uv_timer_t *asking) {
  rover_t *rover = asking->data;
  const rover_server_t *there = rover__servers_same(rover, rover->asked);
  int err = there ? rover_connect_to(rover, rover_server_id(there)) : 0;

  forget_asked(rover);
  if (err == UV_ENOMEM) report_no_memory(rover);
}

int rover_connect_in(rover_t *rover, const char *id, uint64_t ms) {
  if (rover->closing || ms > ROVER_MS_MAX) return UV_EINVAL;
  if (!id) forget_asked(rover);
  rover_server_t *server = rover__servers_asked(rover, id);
  if (!rover->started || !server) return 0;
  forget_asked(rover);
  rover->asked = rover_server_ref(server);
  uv_timer_start(&rover->asking, on_asking,
                 net__now() + ms - uv_now(rover->loop), 0);
  return 1;
}

/* The interval has changed: the next tick comes one new interval after the
 * last. */
static void follow_interval(rover_t *rover) {
  /* A tick that is already due is not postponed. */
  if (!rover->started || rover__due_in(rover) == 0) return;
  uint64_t due = rover->ticked + next_interval(rover);
  uint64_t now = uv_now(rover->loop);
  uv_timer_start(&rover->clock, on_tick, due > now ? due - now : 0, 0);
}

int rover_set_roving_interval(rover_t *rover, uint64_t ms) {
  if (rover->closing || ms == 0 || ms > ROVER_MS_MAX) return UV_EINVAL;
  rover->options.roving_interval = ms;
  follow_interval(rover);
  return 0;
}

int rover_rove_in(rover_t *rover, uint64_t ms) {
  if (rover->closing || ms > ROVER_MS_MAX) return UV_EINVAL;
  if (!rover->started) return 0;
  rover__rove_in(rover, ms);
  return 1;
}

int rover_due_in(const rover_t *rover, uint64_t *ms) {
  if (rover->closing || !rover->started) return 0;
  *ms = rover__due_in(rover);
  return 1;
}

/* Makes the socket refer to the rover's present server object: otherwise each
 * exchange would leave another copy of the servers in memory. */
static void follow_server(rover_t *rover, rover_socket_t *socket) {
  rover_server_t *old = socket->server, *new = old->tally->server;
  if (new == old) new = rover__servers_same(rover, old);
  else if (!rover__server_is_at(new, old)) return;
  if (!new || new == old) return;
  socket->server = rover_server_ref(new);
  rover_server_unref(old);
}

/* Applies the new declarations to everything under way. */
static void follow_exchange(rover_t *rover, const rover_options_t *old) {
  rover__servers_follow(rover);
  follow_interval(rover);
  bool tune = rover->options.keepalive != old->keepalive;
  for (rover_socket_t *s = rover_socket_first(rover); s;
       s = rover_socket_next(s)) {
    follow_server(rover, s);
    if (tune) rover__socket_set_keepalive(s);
  }
}

void rover_exchange(rover_t *rover, rover_t *other) {
  rover_options_t options = rover->options;
  struct rover__server_table servers = rover->servers;
  struct rover__random random = rover->random;
  struct rover__rejection rejection = rover->rejection;

  rover->options = other->options;
  rover->servers = other->servers;
  rover->random = other->random;
  rover->rejection = other->rejection;
  other->options = options;
  other->servers = servers;
  other->random = random;
  other->rejection = rejection;
  rover__tls_follow(rover->options.tls, other->options.tls);
  rover__servers_follow_tls(rover, other);
  rover__servers_pass_news(rover, other);
  rover__servers_pass_news(other, rover);
  follow_exchange(rover, &options);
  follow_exchange(other, &rover->options);
}

int rover_set_events(rover_t *rover, const rover_events_t *events, void *data) {
  if (events && !NET__IS_UNUSED(events->reserved)) return UV_EINVAL;
  rover->options.events = events ? *events : (rover_events_t){0};
  rover->options.data = data;
  return 0;
}

const rover_options_t *rover_options(const rover_t *rover) {
  return &rover->options;
}

void *rover_data(const rover_t *rover) { return rover->options.data; }

uv_loop_t *rover_loop(const rover_t *rover) { return rover->loop; }

uint64_t rover_roving_interval(const rover_t *rover) {
  return rover->options.roving_interval;
}

int rover_is_started(const rover_t *rover) { return rover->started; }

/* -- Counters ------------------------------------------------------------- */

const char *rover_unreachable_message(const rover_t *rover) {
  return rover->why;
}

void rover_stats_get(const rover_t *rover, rover_stats_t *stats) {
  *stats = rover->stats;
}

void rover_slots_get(const rover_t *rover, rover_histogram_t *histogram) {
  rover__histogram_get(&rover->slots, &rover__slot_buckets, histogram);
}

void rover_connect_seconds_get(const rover_t *rover,
                               rover_histogram_t *histogram) {
  rover__histogram_get(&rover->connect_seconds, &rover__second_buckets,
                       histogram);
}
