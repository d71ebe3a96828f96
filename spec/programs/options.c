/* The promises of the headers about the structs that callers fill in: defaults,
 * deadlines that never come, who owns callbacks, and room to grow. */
#include "sockets.h"

#include <callosum/relay.h>

/* -- Defaults ------------------------------------------------------------- */

static void defaults(void) {
  rover_t *made;
  EQUAL(0, rover_new(&made, loop, NULL));
  const rover_options_t *o = rover_options(made);
  EQUAL(1000, o->roving_interval);
  EQUAL(5000, o->connect_timeout);
  EQUAL(5000, o->slot_timeout);
  EQUAL(16, o->max_attempts);
  CHECK(o->jitter == 0);
  EQUAL(0, o->seed);
  EQUAL(15, o->keepalive);
  EQUAL(0, o->allow_half_open);
  CHECK(!o->events.connection && !o->data && !o->memory && !o->turn);
  EQUAL(0, rover_close(made, NULL));
}

static void given(void) {
  const rover_options_t options = {.connect_timeout = 1,
                                   .slot_timeout = ROVER_NEVER,
                                   .jitter = 0.5,
                                   .keepalive = -1,
                                   .seed = 7};
  rover = roving(&told, 0, &options);
  const rover_options_t *o = rover_options(rover);
  EQUAL(1, o->connect_timeout);
  CHECK(o->slot_timeout == ROVER_NEVER);
  CHECK(o->jitter == 0.5);
  EQUAL(-1, o->keepalive);
  EQUAL(7, o->seed);
  CHECK(o->data == &told && o->events.error == on_error);
  EQUAL(0, rover_set_roving_interval(rover, 5));
  EQUAL(5, o->roving_interval);
  EQUAL(0, rover_set_events(rover, NULL, NULL));
  CHECK(!o->data && !o->events.error);
  finish(rover, &told);
}

/* -- ROVER_NEVER ---------------------------------------------------------- */

static void wait_ms(uint64_t ms) {
  uint64_t end = uv_hrtime() + ms * 1000000;
  UNTIL(uv_hrtime() > end);
}

static void never_slot(void) {
  const rover_options_t never = {.slot_timeout = ROVER_NEVER};
  listener = listening();
  rover = roving(&told, port_of(listener), &never);
  EQUAL(0, rover_connect(rover));
  peer = accepted(listener);
  wait_ms(30);
  EQUAL(1, sound(rover).in_flight);
  say(peer, "3\r\n");
  UNTIL(told.connections == 1);
  done();
}

/* A listener whose queue is full: connecting to it is neither refused nor
 * answered. */
static int silent(int waiting[2]) {
  int fd = bound();
  struct sockaddr_in name = loopback(port_of(fd));
  CHECK(listen(fd, 0) == 0);
  for (int i = 0; i < 2; i++) {
    waiting[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void)connect(waiting[i], (struct sockaddr *)&name, sizeof name);
  }
  return fd;
}

static void never_connect(void) {
  const rover_options_t never = {.connect_timeout = ROVER_NEVER};
  const rover_options_t soon = {.connect_timeout = 10};
  struct told hasty_told;
  int waiting[2];
  listener = silent(waiting);
  rover = roving(&told, port_of(listener), &never);
  rover_t *hasty = roving(&hasty_told, port_of(listener), &soon);
  EQUAL(0, rover_connect(rover));
  EQUAL(0, rover_connect(hasty));
  UNTIL(hasty_told.unreachable == 1);
  EQUAL(UV_ETIMEDOUT, hasty_told.status);
  wait_ms(30);
  EQUAL(1, sound(rover).in_flight);
  finish(hasty, &hasty_told);
  finish(rover, &told);
  EQUAL(0, told.unreachable);
  for (int i = 0; i < 2; i++) close(waiting[i]);
  close(listener);
}

static void too_long(void) {
  const rover_options_t wrong[] = {{.connect_timeout = ROVER_NEVER - 1},
                                   {.slot_timeout = ROVER_NEVER - 1},
                                   {.roving_interval = ROVER_NEVER}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "options %zu", i);
    EQUAL(UV_EINVAL, rover_new(&rover, loop, &wrong[i]));
  }
}

/* -- Callbacks ------------------------------------------------------------ */

static void copies_socket_events(void) {
  rover_socket_events_t events = noting;
  keep();
  EQUAL(0, rover_socket_set_events(kept_socket, &events, notes));
  memset(&events, 0xa5, sizeof events);
  EQUAL(0, rover_socket_read_start(kept_socket));
  say(peer, "x");
  UNTIL(*notes);
  rover_socket_close(kept_socket);
  UNTIL(last_status == 0);
  done();
}

/* However many sockets have them, callbacks are kept once, and the first of them
 * where they take no memory. */
static void shares_socket_events(void) {
  enum { SOCKETS = 8 };
  size_t memory = 0;
  const rover_options_t counted = {.memory = &memory};
  const rover_socket_events_t other = {.close = on_socket_closed};
  rover_socket_t *sockets[SOCKETS];
  int peers[SOCKETS];

  listener = listening();
  rover = roving(&told, port_of(listener), &counted);
  for (int i = 0; i < SOCKETS; i++) {
    peers[i] = kept(rover, &told, listener, "7\r\n");
    sockets[i] = told.socket;
  }
  size_t before = memory;
  for (int i = 0; i < SOCKETS; i++)
    EQUAL(0, rover_socket_set_events(sockets[i], &noting, notes));
  EQUAL(before, memory);
  for (int i = 1; i < SOCKETS; i++) {
    EQUAL(0, rover_socket_set_events(sockets[i], &other, notes));
    CHECK(memory > before && memory < before + 2 * sizeof other);
  }
  for (int i = 1; i < SOCKETS; i++)
    EQUAL(0, rover_socket_set_events(sockets[i], i % 2 ? &noting : NULL, NULL));
  EQUAL(before, memory);
  for (int i = 0; i < SOCKETS; i++)
    EQUAL(0, rover_socket_set_events(sockets[i], i % 2 ? &noting : &other,
                                     notes));
  finish(rover, &told);
  EQUAL(0, memory);
  for (int i = 0; i < SOCKETS; i++) close(peers[i]);
  close(listener);
}

/* -- Room ----------------------------------------------------------------- */

/* What programs were compiled with stays as it was. */
static void sizes(void) {
  if (sizeof(void *) != 8) return;
  EQUAL(64, sizeof(rover_events_t));
  EQUAL(64, sizeof(rover_socket_events_t));
  EQUAL(208, sizeof(rover_options_t));
  EQUAL(32 * 8, sizeof(rover_stats_t));
  EQUAL(88, offsetof(rover_options_t, roving_interval));
  EQUAL(140, offsetof(rover_options_t, allow_half_open));
  EQUAL(8 * 8, offsetof(rover_stats_t, kept));
  EQUAL(56, sizeof(rover_server_entry_t));
  EQUAL(64, sizeof(rover_server_changes_t));
  EQUAL(64, sizeof(rover_address_t));
  EQUAL(64, sizeof(rover_relay_events_t));
  EQUAL(240, sizeof(rover_relay_options_t));
  EQUAL(32 * 8, sizeof(rover_relay_stats_t));
  EQUAL(136, offsetof(rover_relay_options_t, wait_timeout));
  EQUAL(168, offsetof(rover_relay_options_t, max_clients));
  EQUAL(11 * 8, offsetof(rover_relay_stats_t, running));
}

/* Runs `refuses` with each bit of some room set. */
static void each_bit(unsigned char *room, size_t size, void (*refuses)(void)) {
  for (size_t i = 0; i < size * 8; i++) {
    snprintf(doing, sizeof doing, "bit %zu", i);
    room[i / 8] = (unsigned char)(1 << i % 8);
    refuses();
    room[i / 8] = 0;
  }
}
#define EACH_BIT(room, refuses)                                                \
  each_bit((unsigned char *)(room), sizeof(room), refuses)

static struct {
  rover_options_t options;
  rover_events_t events;
  rover_socket_events_t socket_events;
  rover_relay_options_t relay_options;
  rover_relay_events_t relay_events;
} odd;

static rover_relay_t *relay;

static void refuses_options(void) {
  EQUAL(UV_EINVAL, rover_new(&rover, loop, &odd.options));
}

static void refuses_events(void) {
  EQUAL(UV_EINVAL, rover_set_events(rover, &odd.events, &odd));
  CHECK(rover_data(rover) == &told);
  CHECK(rover_options(rover)->events.error == on_error);
}

static void refuses_socket_events(void) {
  EQUAL(UV_EINVAL,
        rover_socket_set_events(kept_socket, &odd.socket_events, &odd));
  CHECK(rover_socket_data(kept_socket) == notes);
}

static void refuses_relay_options(void) {
  EQUAL(UV_EINVAL, rover_relay_new(&relay, loop, &odd.relay_options));
}

static void refuses_relay_events(void) {
  EQUAL(UV_EINVAL, rover_relay_set_events(relay, &odd.relay_events, &odd));
  CHECK(rover_relay_data(relay) == NULL);
}

static void unknown_bits(void) {
  EACH_BIT(odd.options.reserved, refuses_options);
  EACH_BIT(odd.options.events.reserved, refuses_options);
  keep();
  EACH_BIT(odd.events.reserved, refuses_events);
  EACH_BIT(odd.socket_events.reserved, refuses_socket_events);
  done();
  EACH_BIT(odd.relay_options.reserved, refuses_relay_options);
  EACH_BIT(odd.relay_options.events.reserved, refuses_relay_options);
  EACH_BIT(odd.relay_options.address.reserved, refuses_relay_options);
  EQUAL(0, rover_relay_new(&relay, loop, NULL));
  EACH_BIT(odd.relay_events.reserved, refuses_relay_events);
  EQUAL(0, rover_relay_close(relay, 0, NULL));
}

static void zeroed(void) {
  rover_stats_t stats, none = {0};
  rover = roving(&told, 0, NULL);
  memset(&stats, 0xff, sizeof stats);
  rover_stats_get(rover, &stats);
  CHECK(!memcmp(&stats, &none, sizeof stats));
  finish(rover, &told);

  rover_relay_stats_t relay_stats, nothing = {0};
  EQUAL(0, rover_relay_new(&relay, loop, NULL));
  memset(&relay_stats, 0xff, sizeof relay_stats);
  rover_relay_stats_get(relay, &relay_stats);
  CHECK(!memcmp(&relay_stats, &nothing, sizeof nothing));
  EQUAL(0, rover_relay_close(relay, 0, NULL));
}

const struct check checks[] = {
    {"rover_options()", "has the defaults filled in", defaults},
    {"rover_options()", "tells what was given, and what was set since", given},
    {"ROVER_NEVER", "is no deadline for a slot line", never_slot},
    {"ROVER_NEVER", "is no deadline to connect", never_connect},
    {"ROVER_NEVER", "is the one timeout above ROVER_MS_MAX, and no interval",
     too_long},
    {"rover_socket_set_events()", "copies callbacks", copies_socket_events},
    {"rover_socket_set_events()", "keeps one copy of equal callbacks",
     shares_socket_events},
    {"structs that callers allocate", "have the size that they had", sizes},
    {"a bit in the room of a struct", "is UV_EINVAL, and changes nothing",
     unknown_bits},
    {"the room of counters", "is zeroed", zeroed},
    {NULL, NULL, NULL}};
