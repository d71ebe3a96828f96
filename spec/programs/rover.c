/* The promises of <callosum/rover.h> about rovers and servers. */
#include "rovers.h"

#include "rover/hold.h"
#include "rover/reload.h"

#include <math.h>
#include <sys/resource.h>

static struct told told;

/* -- rover_new() ---------------------------------------------------------- */

static void new_misuse(void) {
  rover_t *untouched = (rover_t *)&told, *rover = untouched;
  EQUAL(UV_EINVAL, rover_new(NULL, loop, NULL));
  EQUAL(UV_EINVAL, rover_new(&rover, NULL, NULL));
  CHECK(rover == untouched);
}

static void new_ranges(void) {
  const rover_options_t wrong[] = {
      {.roving_interval = ROVER_MS_MAX + 1},
      {.connect_timeout = ROVER_MS_MAX + 1},
      {.slot_timeout = ROVER_MS_MAX + 1},
      {.slot_timeout = UINT64_MAX - 1},
      {.jitter = -0.001},
      {.jitter = 1.001},
      {.jitter = NAN},
      {.jitter = INFINITY},
      {.jitter = -INFINITY},
      {.keepalive = 32768},
      {.slot_limit = ROVER_SLOT_LIMIT_MAX + 1U},
  };
  rover_t *untouched = (rover_t *)&told, *rover = untouched;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "options %zu", i);
    EQUAL(UV_EINVAL, rover_new(&rover, loop, &wrong[i]));
    CHECK(rover == untouched);
  }
}

static void new_ends(void) {
  const rover_options_t right[] = {
      {.roving_interval = ROVER_MS_MAX, .connect_timeout = ROVER_MS_MAX},
      {.slot_timeout = ROVER_MS_MAX, .jitter = 1, .keepalive = 32767},
      {.roving_interval = 1, .connect_timeout = 1, .slot_timeout = 1},
      {.max_attempts = UINT32_MAX, .seed = UINT64_MAX, .keepalive = -32768},
  };
  for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
    rover_t *rover = roving(&told, 0, &right[i]);
    if (right[i].roving_interval)
      EQUAL(right[i].roving_interval, rover_roving_interval(rover));
    finish(rover, &told);
  }
}

static void new_defaults(void) {
  rover_t *rover;
  EQUAL(0, rover_new(&rover, loop, NULL));
  EQUAL(1000, rover_roving_interval(rover));
  CHECK(rover_data(rover) == NULL);
  CHECK(rover_loop(rover) == loop);
  EQUAL(0, rover_is_started(rover));
  EQUAL(0, rover_server_count(rover));
  CHECK(rover_socket_first(rover) == NULL);
  int listener = listening();
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(listener)));
  for (int i = 0; i < 16; i++) EQUAL(0, rover_connect(rover));
  EQUAL(UV_EAGAIN, rover_connect(rover));
  EQUAL(0, rover_close(rover, NULL));
  close(listener);
}

static void new_exhausted(void) {
  struct rlimit limit, none;
  rover_t *untouched = (rover_t *)&told, *rover = untouched;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 1; /* which standard input has */
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  EQUAL(UV_EMFILE, rover_new(&rover, loop, NULL));
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(rover == untouched);
}

static void new_copies(void) {
  rover_options_t options = {
      .roving_interval = 5, .events = telling, .data = &told};
  rover_t *rover;
  EQUAL(0, rover_new(&rover, loop, &options));
  memset(&options, 0xa5, sizeof options);
  EQUAL(5, rover_roving_interval(rover));
  EQUAL(0, rover_connect(rover));
  UNTIL(told.errors == 1);
  finish(rover, &told);
}

static void new_idle(void) {
  rover_t *rover = roving(&told, server_port, NULL);
  settle();
  EQUAL(0, sound(rover).attempts);
  finish(rover, &told);
}

static void version(void) {
  char text[32];
  snprintf(text, sizeof text, "%d.%d.%d", ROVER_VERSION_MAJOR,
           ROVER_VERSION_MINOR, ROVER_VERSION_PATCH);
  SAME(text, rover_version_string());
  SAME(text, ROVER_VERSION_STRING);
  EQUAL(ROVER_VERSION_HEX >> 16, ROVER_VERSION_MAJOR);
  EQUAL(ROVER_VERSION_HEX & 0xff, ROVER_VERSION_PATCH);
}

/* -- Servers -------------------------------------------------------------- */

static void add_misuse(void) {
  rover_t *rover = roving(&told, 4040, NULL);
  char longest[ROVER_ID_MAX + 1], longer[ROVER_ID_MAX + 2];
  memset(longest, 'x', sizeof longest);
  memset(longer, 'x', sizeof longer);
  longest[ROVER_ID_MAX] = longer[ROVER_ID_MAX + 1] = '\0';
  const struct {
    const char *id, *host;
    int port;
  } wrong[] = {{NULL, "h", 1},   {"", "h", 1},      {longer, "h", 1},
               {"s", NULL, 1},   {"s", "", 1},      {"s", longer, 1},
               {"s", "h", 0},    {"s", "h", 65536}, {"s", "h", -1},
               {"s", "h", 4040 + 65536}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "arguments %zu", i);
    EQUAL(UV_EINVAL, rover_server_add(rover, wrong[i].id, wrong[i].host,
                                      wrong[i].port));
    EQUAL(1, rover_server_count(rover));
    rover_server_t *server = rover_server_get(rover, "s");
    SAME("127.0.0.1", rover_server_host(server));
    EQUAL(4040, rover_server_port(server));
  }
  EQUAL(0, rover_server_add(rover, longest, longest, 65535));
  SAME(longest, rover_server_id(rover_server_get(rover, longest)));
  SAME(longest, rover_server_host(rover_server_get(rover, longest)));
  finish(rover, &told);
}

static void add_copies(void) {
  rover_t *rover = roving(&told, 0, NULL);
  char id[] = "one", host[] = "::1";
  EQUAL(0, rover_server_add(rover, id, host, 1));
  memset(id, 'x', 3);
  memset(host, 'x', 3);
  SAME("::1", rover_server_host(rover_server_get(rover, "one")));
  CHECK(rover_server_get(rover, id) == NULL);
  finish(rover, &told);
}

static void iterate(void) {
  enum { COUNT = 100 };
  rover_t *rover = roving(&told, 0, NULL);
  char id[16];
  int sum = 0;
  for (int i = 1; i <= COUNT; i++) {
    snprintf(id, sizeof id, "s%d", i);
    EQUAL(0, rover_server_add(rover, id, "h", i));
  }
  EQUAL(COUNT, rover_server_count(rover));
  for (size_t i = 0; i < COUNT; i++)
    sum += rover_server_port(rover_server_at(rover, i));
  EQUAL(COUNT * (COUNT + 1) / 2, sum);
  CHECK(rover_server_at(rover, COUNT) == NULL);
  CHECK(rover_server_at(rover, SIZE_MAX) == NULL);
  CHECK(rover_server_get(rover, "s0") == NULL);
  CHECK(rover_server_get(rover, NULL) == NULL);
  EQUAL(0, rover_server_drop(rover, "s0"));
  EQUAL(0, rover_server_drop(rover, ""));
  EQUAL(0, rover_server_drop(rover, NULL));
  /* An id may be the server's own string. */
  while (rover_server_count(rover) > 0)
    EQUAL(1, rover_server_drop(rover,
                               rover_server_id(rover_server_at(rover, 0))));
  CHECK(rover_server_at(rover, 0) == NULL);
  finish(rover, &told);
}

static void replace(void) {
  int one = listening(), other = listening();
  rover_t *rover = roving(&told, port_of(one), NULL);
  EQUAL(0, rover_connect(rover));
  int fd = accepted(one);
  rover_server_t *server = rover_server_get(rover, "s");
  /* To where it is, nothing changes, whoever owns the strings. */
  EQUAL(0, rover_server_add(rover, rover_server_id(server),
                            rover_server_host(server), port_of(one)));
  EQUAL(1, sound(rover).in_flight);
  server = rover_server_get(rover, "s");
  EQUAL(0, rover_server_add(rover, rover_server_id(server),
                            rover_server_host(server), port_of(other)));
  EQUAL(1, rover_server_count(rover));
  EQUAL(port_of(other), rover_server_port(rover_server_get(rover, "s")));
  EQUAL(1, sound(rover).cancelled);
  EQUAL(0, sound(rover).in_flight);
  EQUAL(0, drained(fd));
  EQUAL(0, told.connections + told.unreachable + told.errors);
  finish(rover, &told);
  close(fd);
  close(one);
  close(other);
}

static void drop(void) {
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  int one = kept(rover, &told, listener, "3\r\n");
  EQUAL(0, rover_connect(rover));
  int two = accepted(listener);
  EQUAL(1, rover_server_drop(rover, "s"));
  EQUAL(0, rover_server_drop(rover, "s"));
  EQUAL(1, sound(rover).cancelled);
  EQUAL(0, drained(two));
  EQUAL(1, sound(rover).kept);
  CHECK(is_open(one));
  SAME("s", rover_server_id(rover_socket_server(told.socket)));
  EQUAL(1, told.connections);
  EQUAL(0, told.unreachable + told.errors);
  finish(rover, &told);
  close(one);
  close(two);
  close(listener);
}

/* rover_server_set() with these entries; the changes go to `made`. */
#define SET(rover, ...)                                                        \
  rover_server_set(rover, (const rover_server_entry_t[]){__VA_ARGS__},         \
                   sizeof((rover_server_entry_t[]){__VA_ARGS__}) /             \
                       sizeof(rover_server_entry_t),                           \
                   &made)
#define AT(...)                                                                \
  { __VA_ARGS__, 0, NULL, 0, {0} }

static rover_server_changes_t made;

static void changed(size_t added, size_t dropped, size_t moved) {
  EQUAL(added, made.added);
  EQUAL(dropped, made.dropped);
  EQUAL(moved, made.changed);
  for (size_t i = 0; i < sizeof made.reserved / sizeof *made.reserved; i++)
    EQUAL(0, made.reserved[i]);
  memset(&made, 0xa5, sizeof made);
}

static void set_servers(void) {
  rover_t *rover = roving(&told, 0, NULL);
  char id[] = "one", host[] = "::1";
  memset(&made, 0xa5, sizeof made);
  EQUAL(0, SET(rover, AT(id, host, 1), AT("two", "h", 2), AT("three", "h", 3)));
  changed(3, 0, 0);
  memset(id, 'x', 3);
  memset(host, 'x', 3);
  rover_server_t *one = rover_server_get(rover, "one");
  rover_server_t *two = rover_server_get(rover, "two");
  SAME("::1", rover_server_host(one));
  rover_server_set_mark(one, 1);
  /* Strings may be the servers' own. */
  EQUAL(0, SET(rover, AT("four", "h", 4),
               AT(rover_server_id(two), rover_server_host(two), 22),
               AT(rover_server_id(one), rover_server_host(one), 1)));
  changed(1, 1, 1);
  EQUAL(3, rover_server_count(rover));
  CHECK(rover_server_get(rover, "one") == one);
  EQUAL(1, rover_server_mark(one));
  EQUAL(22, rover_server_port(rover_server_get(rover, "two")));
  EQUAL(4, rover_server_port(rover_server_get(rover, "four")));
  CHECK(rover_server_get(rover, "three") == NULL);
  int ports = 0;
  for (size_t i = 0; i < 3; i++)
    ports += rover_server_port(rover_server_at(rover, i));
  EQUAL(1 + 22 + 4, ports);
  EQUAL(0, SET(rover, AT("one", "::1", 1), AT("two", "h", 22),
               AT("four", "h", 4)));
  changed(0, 0, 0);
  /* It is a list like any other. */
  EQUAL(1, rover_server_drop(rover, "two"));
  EQUAL(0, rover_server_add(rover, "five", "h", 5));
  EQUAL(0, SET(rover, AT("one", "elsewhere", 1)));
  changed(0, 2, 1);
  SAME("elsewhere", rover_server_host(rover_server_at(rover, 0)));
  EQUAL(0, rover_server_set(rover, NULL, 0, NULL));
  EQUAL(0, rover_server_count(rover));
  finish(rover, &told);
}

static void set_misuse(void) {
  rover_t *rover = roving(&told, 1, NULL);
  rover_server_t *server = rover_server_get(rover, "s");
  char longer[ROVER_ID_MAX + 2];
  memset(longer, 'x', sizeof longer);
  longer[ROVER_ID_MAX + 1] = '\0';
  const rover_server_entry_t wrong[] = {
      AT(NULL, "h", 1),   AT("", "h", 1),          AT(longer, "h", 1),
      AT("t", NULL, 1),   AT("t", "", 1),          AT("t", longer, 1),
      AT("t", "h", 0),    AT("t", "h", 65536),     AT("t", "h", -1),
      {"t", "h", 1, 0, NULL, 0, {1}},
      {"t", "h", 1, UINT64_C(1) << 32, NULL, 0, {0}},
      AT("s", "h", 1),    AT("s", "127.0.0.1", 1), /* ids that come twice */
      AT("new", "h", 9),  AT("new", "h", 8),       AT("moved", "h", 1)};
  EQUAL(0, rover_server_add(rover, "moved", "h", 6));
  rover_server_set_mark(server, 1);
  EQUAL(1, rover_server_pause(rover, "s", ROVER_MS_MAX));
  EQUAL(1, rover_server_pause(rover, "moved", ROVER_MS_MAX));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "entry %zu", i);
    memset(&made, 0, sizeof made);
    EQUAL(UV_EINVAL, SET(rover, AT("new", "h", 8), AT("s", "127.0.0.1", 1),
                         AT("moved", "h", 7), wrong[i], AT("last", "h", 5)));
    EQUAL(3, made.wrong);
    EQUAL(0, made.added + made.dropped + made.changed);
    EQUAL(2, rover_server_count(rover));
    CHECK(rover_server_get(rover, "s") == server);
    CHECK(rover_server_at(rover, 0) == server);
    EQUAL(1, rover_server_mark(server));
    EQUAL(6, rover_server_port(rover_server_get(rover, "moved")));
    CHECK(!rover_server_get(rover, "new"));
    EQUAL(UV_EAGAIN, rover_connect(rover)); /* both are paused */
  }
  *doing = '\0';
  EQUAL(UV_EINVAL, rover_server_set(rover, NULL, 7, &made));
  EQUAL(7, made.wrong);
  EQUAL(UV_EINVAL, rover_server_set(rover, NULL, 1, NULL));
  EQUAL(2, rover_server_count(rover));
  finish(rover, &told);
}

static int find(rover_t *rover, const char *id, uint64_t weight) {
  return rover_server_hold(
      rover, &(rover_server_entry_t){
                 .id = id, .host = "h", .port = 1, .weight = weight});
}

/* Of a server that sources hold, and the program may have added. */
static void held_servers(void) {
  rover_t *rover = roving(&told, 0, NULL);
  EQUAL(1, find(rover, "a", 5));
  EQUAL(0, find(rover, "a", 0));
  EQUAL(5, rover_server_weight(rover_server_get(rover, "a")));
  EQUAL(0, rover_server_release(rover, "a"));
  EQUAL(1, rover_server_release(rover, "a"));
  EQUAL(0, rover_server_release(rover, "a"));
  EQUAL(UV_EINVAL, find(rover, "", 0));
  /* One that was added stays when it is released, */
  EQUAL(0, rover_server_add(rover, "b", "h", 1));
  EQUAL(0, find(rover, "b", 0));
  EQUAL(0, rover_server_release(rover, "b"));
  EQUAL(1, rover_server_count(rover));
  /* and one that is held is not dropped with a list. */
  EQUAL(1, find(rover, "c", 0));
  EQUAL(0, find(rover, "b", 0));
  memset(&made, 0xa5, sizeof made);
  EQUAL(0, SET(rover, AT("d", "h", 1)));
  changed(1, 0, 0);
  EQUAL(3, rover_server_count(rover));
  EQUAL(1, rover_server_release(rover, "b"));
  /* A list with another address for it changes that, */
  EQUAL(0, SET(rover, AT("c", "elsewhere", 2)));
  changed(0, 1, 1);
  EQUAL(0, rover_server_release(rover, "c"));
  EQUAL(1, rover_server_count(rover));
  /* and one that fails leaves everything. */
  EQUAL(1, find(rover, "e", 0));
  EQUAL(UV_EINVAL, SET(rover, AT("x", "h", 1), AT("x", "h", 1)));
  EQUAL(1, rover_server_release(rover, "e"));
  EQUAL(0, rover_server_release(rover, "c"));
  EQUAL(1, find(rover, "f", 0));
  EQUAL(1, rover_server_drop(rover, "f"));
  EQUAL(0, rover_server_release(rover, "f"));
  finish(rover, &told);
}

static int gone;

static void on_gone(rover_holder_t *holder) {
  CHECK(!holder->rover);
  gone++;
}

static void holders(void) {
  rover_t *rover = roving(&told, 0, NULL), *other = roving(&told, 0, NULL);
  rover_holder_t one = {.gone = on_gone}, two = {.gone = on_gone};
  rover_holder_join(rover, &one);
  rover_holder_join(rover, &two);
  rover_holder_leave(&two);
  rover_holder_leave(&two);
  rover_holders_pass(rover, other);
  EQUAL(0, rover_close(rover, NULL));
  EQUAL(0, gone);
  CHECK(one.rover == other);
  finish(other, &told);
  EQUAL(1, gone);
}

static void set_attempts(void) {
  int stays = listening(), moves = listening(), goes = listening();
  rover_t *rover = roving(&told, port_of(goes), NULL);
  int kept_end = kept(rover, &told, goes, "3\r\n");
  EQUAL(0, rover_connect(rover));
  int going = accepted(goes);
  EQUAL(0, SET(rover, AT("s", "127.0.0.1", port_of(goes))));
  EQUAL(1, sound(rover).in_flight);
  EQUAL(0, SET(rover, AT("s", "127.0.0.1", port_of(moves))));
  EQUAL(1, sound(rover).cancelled);
  EQUAL(0, drained(going));
  EQUAL(0, rover_connect(rover));
  int moving = accepted(moves);
  EQUAL(0, SET(rover, AT("t", "127.0.0.1", port_of(stays))));
  EQUAL(2, sound(rover).cancelled);
  EQUAL(0, drained(moving));
  int staying = greeted(rover, stays, "4");
  EQUAL(0, SET(rover, AT("u", "h", 1), AT("t", "127.0.0.1", port_of(stays))));
  say(staying, "\r\n");
  UNTIL(told.connections == 2);
  EQUAL(4, told.slot);
  EQUAL(2, sound(rover).cancelled);
  EQUAL(2, sound(rover).kept);
  CHECK(is_open(kept_end));
  EQUAL(0, told.unreachable + told.errors);
  finish(rover, &told);
  close(kept_end);
  close(going);
  close(moving);
  close(staying);
  close(stays);
  close(moves);
  close(goes);
}

static void set_pauses(void) {
  int listener = listening();
  int port = port_of(listener);
  rover_t *rover = roving(&told, port, NULL);
  EQUAL(1, rover_server_pause(rover, "s", ROVER_MS_MAX));
  EQUAL(0, SET(rover, AT("s", "127.0.0.1", port)));
  EQUAL(UV_EAGAIN, rover_connect(rover));
  EQUAL(0, SET(rover, AT("s", "localhost", port)));
  int fd = kept(rover, &told, listener, "3\r\n");
  finish(rover, &told);
  close(fd);
  close(listener);
}

static void set_from_callback(rover_t *rover, rover_server_t *server,
                              int status) {
  on_unreachable(rover, server, status);
  EQUAL(0, SET(rover, AT("t", "127.0.0.1", 1), AT("u", "127.0.0.1", 1)));
  SAME("s", rover_server_id(server)); /* lives for the callback */
}

static void set_in_callback(void) {
  const rover_events_t events = {.unreachable = set_from_callback};
  int nobody = bound();
  rover_t *rover = roving(&told, port_of(nobody), NULL);
  rover_set_events(rover, &events, &told);
  for (int i = 0; i < 8; i++) EQUAL(0, rover_connect(rover));
  UNTIL(told.unreachable == 1 && sound(rover).in_flight == 0);
  EQUAL(7, sound(rover).cancelled);
  EQUAL(2, rover_server_count(rover));
  finish(rover, &told);
  close(nobody);
}

static void set_order(void) {
  struct told other_told;
  rover_t *rover = roving(&told, 1, NULL);
  rover_t *other = roving(&other_told, 1, NULL);
  EQUAL(0, SET(rover, AT("c", "h", 3), AT("s", "h", 4), AT("b", "h", 2)));
  EQUAL(0, SET(other, AT("b", "h", 2), AT("c", "h", 3), AT("s", "h", 4)));
  for (size_t i = 0; i < 3; i++)
    SAME(rover_server_id(rover_server_at(rover, i)),
         rover_server_id(rover_server_at(other, i)));
  finish(rover, &told);
  finish(other, &other_told);
}

/* Of a fleet, everything that can happen to one, and again with the next. */
static void set_many(void) {
  enum { COUNT = 2000, ROUNDS = 20 };
  static char ids[2 * COUNT][8];
  static rover_server_entry_t entries[COUNT];
  size_t listed[2 * COUNT] = {0}; /* port, 0: it is not */
  uint64_t random = 1;
  rover_t *rover = roving(&told, 0, NULL);

  for (size_t i = 0; i < 2 * COUNT; i++)
    snprintf(ids[i], sizeof ids[i], "s%zu", i);
  for (int round = 0; round < ROUNDS; round++) {
    size_t count = 0, added = 0, dropped = 0, moved = 0;
    for (size_t i = 0; i < 2 * COUNT; i++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
      size_t port = random >> 61; /* one of 8; 0: it is not listed */
      if (port > 4 && round > 0) port = listed[i];
      if (count == COUNT) port = 0;
      added += port > 0 && listed[i] == 0;
      dropped += port == 0 && listed[i] > 0;
      moved += port > 0 && listed[i] > 0 && port != listed[i];
      listed[i] = port;
      if (port > 0)
        entries[count++] = (rover_server_entry_t)AT(ids[i], "h", (int)port);
    }
    EQUAL(0, rover_server_set(rover, entries, count, &made));
    changed(added, dropped, moved);
    EQUAL(count, rover_server_count(rover));
    for (size_t i = 0; i < 2 * COUNT; i++) {
      rover_server_t *server = rover_server_get(rover, ids[i]);
      EQUAL(listed[i], server ? rover_server_port(server) : 0);
    }
  }
  finish(rover, &told);
}

static void pause_server(void) {
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  EQUAL(UV_EINVAL, rover_server_pause(rover, "s", ROVER_MS_MAX + 1));
  EQUAL(0, rover_server_pause(rover, "t", 1));
  EQUAL(0, rover_server_pause(rover, NULL, 1));
  EQUAL(0, rover_connect(rover));
  int one = accepted(listener);
  EQUAL(1, rover_server_pause(rover, "s", ROVER_MS_MAX));
  EQUAL(1, sound(rover).cancelled);
  EQUAL(0, drained(one));
  EQUAL(UV_EAGAIN, rover_connect(rover));
  EQUAL(1, sound(rover).skipped);
  EQUAL(1, rover_server_count(rover));
  EQUAL(1, rover_server_pause(rover, "s", 0));
  int two = kept(rover, &told, listener, "3\r\n");
  EQUAL(0, told.unreachable + told.errors);
  finish(rover, &told);
  close(one);
  close(two);
  close(listener);
}

static void marks(void) {
  rover_t *rover = roving(&told, 1, NULL);
  rover_server_t *server = rover_server_get(rover, "s");
  EQUAL(0, rover_server_mark(server));
  rover_server_set_mark(server, 256);
  EQUAL(1, rover_server_mark(server));
  rover_server_set_mark(server, 0);
  EQUAL(0, rover_server_mark(server));
  for (int port = 1; port <= 2; port++) { /* where it is, and elsewhere */
    rover_server_set_mark(rover_server_get(rover, "s"), 1);
    EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port));
    EQUAL(0, rover_server_mark(rover_server_get(rover, "s")));
  }
  finish(rover, &told);
}

static rover_server_t *held;

static void hold(rover_t *rover, rover_server_t *server, int status) {
  on_unreachable(rover, server, status);
  EQUAL(1, rover_server_drop(rover, rover_server_id(server)));
  SAME("s", rover_server_id(server)); /* lives for the callback */
  held = rover_server_ref(server);
}

static void refs(void) {
  const rover_events_t events = {.unreachable = hold};
  int nobody = bound();
  rover_t *rover = roving(&told, port_of(nobody), NULL);
  rover_server_t *other = NULL;
  EQUAL(0, rover_server_add(rover, "other", "elsewhere", 7));
  other = rover_server_get(rover, "other");
  CHECK(rover_server_ref(rover_server_ref(other)) == other);
  EQUAL(1, rover_server_drop(rover, "other"));
  rover_set_events(rover, &events, &told);
  EQUAL(0, rover_connect(rover));
  UNTIL(held);
  finish(rover, &told);
  SAME("s", rover_server_id(held));
  SAME("127.0.0.1", rover_server_host(held));
  EQUAL(port_of(nobody), rover_server_port(held));
  rover_server_set_mark(held, 1);
  EQUAL(1, rover_server_mark(held));
  rover_server_unref(held);
  rover_server_unref(other);
  SAME("elsewhere", rover_server_host(other));
  rover_server_unref(other);
  close(nobody);
}

/* -- Roving --------------------------------------------------------------- */

static void start(void) {
  const rover_options_t options = {.roving_interval = 3600000};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  EQUAL(0, rover_start(rover));
  EQUAL(1, rover_is_started(rover));
  EQUAL(0, sound(rover).attempts);
  UNTIL(sound(rover).attempts == 1);
  settle();
  EQUAL(1, sound(rover).attempts);
  EQUAL(0, rover_start(rover)); /* the clock begins anew */
  UNTIL(sound(rover).attempts == 2);
  EQUAL(0, rover_set_roving_interval(rover, 1));
  UNTIL(sound(rover).attempts >= 5);
  finish(rover, &told);
  close(listener);
}

static void rove_in(void) {
  const rover_options_t options = {.roving_interval = 3600000};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  uint64_t ms = 7;
  EQUAL(0, rover_rove_in(rover, 0));
  EQUAL(0, rover_due_in(rover, &ms));
  EQUAL(7, ms);
  settle();
  EQUAL(0, sound(rover).attempts);
  EQUAL(0, rover_start(rover));
  EQUAL(1, rover_rove_in(rover, ROVER_MS_MAX)); /* the first is due already */
  UNTIL(sound(rover).attempts == 1);
  EQUAL(UV_EINVAL, rover_rove_in(rover, ROVER_MS_MAX + 1));
  uint64_t before = uv_hrtime();
  EQUAL(1, rover_rove_in(rover, 3600000));
  EQUAL(1, rover_due_in(rover, &ms));
  CHECK(ms <= 3600000 && ms + (uv_hrtime() - before) / 1000000 + 1 >= 3600000);
  EQUAL(1, rover_rove_in(rover, 1));
  UNTIL(sound(rover).attempts == 2);
  settle();
  EQUAL(2, sound(rover).attempts);
  finish(rover, &told);
  close(listener);
}

static void stop(void) {
  const rover_options_t options = {.roving_interval = 1};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  int one = kept(rover, &told, listener, "0\r\n");
  EQUAL(0, rover_start(rover));
  UNTIL(sound(rover).in_flight >= 3);
  rover_stop(rover);
  rover_stop(rover);
  EQUAL(0, rover_is_started(rover));
  EQUAL(0, sound(rover).in_flight);
  uint64_t attempts = sound(rover).attempts;
  settle();
  EQUAL(attempts, sound(rover).attempts);
  EQUAL(attempts - 1, sound(rover).cancelled);
  EQUAL(1, told.connections);
  EQUAL(0, told.unreachable + told.errors);
  CHECK(is_open(one));
  finish(rover, &told);
  close(one);
  close(listener);
}

static int rejected_slot;

static void on_rejected(rover_t *rover, int slot, rover_server_t *server) {
  sound(rover);
  rejected_slot = slot;
  note_server(rover_data(rover), server);
}

static void reject(void) {
  rover_events_t events = telling;
  const rover_options_t options = {.slot_limit = 2};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  events.rejected = on_rejected;
  EQUAL(0, rover_set_events(rover, &events, &told));
  EQUAL(2, rover_options(rover)->slot_limit);
  int high = greeted(rover, listener, "2\r\n");
  UNTIL(rejected_slot == 2);
  SAME("s", told.id);
  EQUAL(1, sound(rover).rejected);
  EQUAL(0, sound(rover).connections);
  EQUAL(0, drained(high));
  int low = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_set_slot_limit(rover, 0));
  EQUAL(ROVER_SLOT_LIMIT_MAX, rover_options(rover)->slot_limit);
  int highest = kept(rover, &told, listener, "2147483647\r\n");
  EQUAL(0, rover_set_slot_limit(rover, 1));
  EQUAL(2, sound(rover).kept);
  EQUAL(UV_EINVAL, rover_set_slot_limit(rover, ROVER_SLOT_LIMIT_MAX + 1U));
  EQUAL(1, rover_options(rover)->slot_limit);
  finish(rover, &told);
  close(high);
  close(low);
  close(highest);
  close(listener);
}

static void keep_most(void) {
  const rover_options_t options = {.max_kept = 2};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  EQUAL(2, rover_options(rover)->max_kept);
  EQUAL(0, rover_set_events(rover, NULL, &told)); /* no callback decides */
  int fds[4];
  const char *const lines[] = {"5\r\n", "9\r\n", "9\r\n", "5\r\n"};
  for (uint64_t i = 0; i < 4; i++) {
    fds[i] = greeted(rover, listener, lines[i]);
    UNTIL(sound(rover).connections + sound(rover).rejected == i + 1);
  }
  EQUAL(1, sound(rover).rejected);
  EQUAL(2, sound(rover).kept);
  EQUAL(0, drained(fds[1]));
  EQUAL(5, rover_socket_slot(rover_socket_first(rover)));
  EQUAL(0, rover_set_max_kept(rover, 1));
  EQUAL(1, sound(rover).kept);
  EQUAL(0, drained(fds[3])); /* the younger one */
  EQUAL(0, rover_set_max_kept(rover, 0));
  EQUAL(UINT32_MAX, rover_options(rover)->max_kept);
  finish(rover, &told);
  for (int i = 0; i < 4; i++) close(fds[i]);
  close(listener);
}

static void rejection_misuse(void) {
  const rover_rejection_t wrong[] = {
      {.slot_limit = ROVER_SLOT_LIMIT_MAX + 1U},
      {.interval = ROVER_MS_MAX + 1},
      {.max_interval = ROVER_MS_MAX + 1},
      {.growth = 0.5},
      {.growth = NAN},
      {.growth = INFINITY},
      {.jitter = -1},
      {.jitter = NAN},
      {.reserved = {1}},
  };
  const rover_rejection_t right = {.slot_limit = 5};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  EQUAL(0, rover_set_rejection(rover, &right));
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "rejection %zu", i);
    EQUAL(UV_EINVAL, rover_set_rejection(rover, &wrong[i]));
  }
  int one = greeted(rover, listener, "5\r\n");
  UNTIL(sound(rover).rejected == 1);
  EQUAL(1, rover_rejections(rover));
  EQUAL(0, rover_server_exempt(rover, "t", 1));
  EQUAL(0, rover_server_exempt(rover, NULL, 1));
  EQUAL(1, rover_server_exempt(rover, "s", 1));
  int other = kept(rover, &told, listener, "5\r\n");
  EQUAL(0, rover_set_rejection(rover, NULL));
  EQUAL(0, rover_rejections(rover));
  finish(rover, &told);
  close(one);
  close(other);
  close(listener);
}

static void connect_to(void) {
  const rover_options_t options = {.max_attempts = 2};
  int listener = listening();
  rover_t *rover = roving(&told, server_port, &options);
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", port_of(listener)));
  EQUAL(1, rover_server_pause(rover, "t", ROVER_MS_MAX));
  EQUAL(0, rover_connect_to(rover, "u"));
  EQUAL(0, rover_connect_to(rover, NULL));
  EQUAL(0, sound(rover).attempts);
  EQUAL(1, rover_connect_to(rover, "t"));
  EQUAL(1, rover_connect_to(rover, "t"));
  EQUAL(UV_EAGAIN, rover_connect_to(rover, "t"));
  EQUAL(2, sound(rover).attempts);
  EQUAL(1, sound(rover).skipped);
  int one = accepted(listener), two = accepted(listener);
  say(one, "9\r\n");
  UNTIL(told.connections == 1);
  EQUAL(1, rover_server_drop(rover, "t"));
  EQUAL(0, rover_connect_to(rover, "t"));
  EQUAL(0, drained(two));
  EQUAL(0, rover_close(rover, NULL));
  EQUAL(UV_EINVAL, rover_connect_to(rover, "s"));
  close(one);
  close(two);
  close(listener);
}

static const char *named[8];
static int name_count;

static void on_added(rover_t *rover, rover_server_t *server) {
  (void)rover;
  named[name_count++] = rover_server_id(server);
}

static void added(void) {
  rover_t *rover = roving(&told, server_port, NULL);
  rover_events_t events = telling;
  events.added = on_added;
  EQUAL(0, rover_set_events(rover, &events, &told));
  name_count = 0;
  EQUAL(0, rover_server_add(rover, "early", "127.0.0.1", 9)); /* not started */
  EQUAL(0, rover_set_roving_interval(rover, ROVER_MS_MAX));
  EQUAL(0, rover_start(rover));
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", 9));
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", 9));
  EQUAL(0, rover_server_add(rover, "gone", "127.0.0.1", 9));
  EQUAL(1, rover_server_drop(rover, "gone"));
  EQUAL(0, name_count);
  rover_hold(rover, 1);
  settle();
  EQUAL(0, name_count);
  rover_hold(rover, 0);
  UNTIL(name_count == 1);
  SAME("t", named[0]);
  EQUAL(0, SET(rover, AT("t", "127.0.0.1", 8), AT("s", "127.0.0.1", 9),
               AT("u", "127.0.0.1", 7)));
  UNTIL(name_count == 4);
  EQUAL(0, rover_server_add(rover, "last", "127.0.0.1", 9));
  finish(rover, &told);
  EQUAL(4, name_count);
}

static void connect_in(void) {
  int listener = listening();
  rover_t *rover = roving(&told, server_port, NULL);
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", port_of(listener)));
  EQUAL(0, rover_connect_in(rover, "t", 0)); /* not started */
  EQUAL(0, rover_set_roving_interval(rover, ROVER_MS_MAX));
  EQUAL(0, rover_start(rover));
  EQUAL(UV_EINVAL, rover_connect_in(rover, "t", ROVER_MS_MAX + 1));
  EQUAL(0, rover_connect_in(rover, "u", 0));
  EQUAL(1, rover_connect_in(rover, "t", ROVER_MS_MAX));
  EQUAL(1, rover_connect_in(rover, "t", 0));
  EQUAL(0, rover_connect_in(rover, NULL, 0));
  EQUAL(1, rover_connect_in(rover, "t", 1));
  int fd = accepted(listener);
  EQUAL(1, rover_connect_in(rover, "t", 0));
  EQUAL(1, rover_server_drop(rover, "t"));
  settle();
  EQUAL(0, rover_close(rover, NULL));
  EQUAL(UV_EINVAL, rover_connect_in(rover, "s", 0));
  close(fd);
  close(listener);
}

static void connect_limit(void) {
  const rover_options_t options = {.max_attempts = 2, .roving_interval = 1};
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), &options);
  EQUAL(0, rover_is_started(rover));
  EQUAL(0, rover_connect(rover));
  EQUAL(0, rover_connect(rover));
  EQUAL(UV_EAGAIN, rover_connect(rover));
  EQUAL(2, sound(rover).attempts);
  EQUAL(1, sound(rover).skipped);
  EQUAL(0, rover_start(rover)); /* the clock's are skipped, too */
  UNTIL(sound(rover).skipped >= 3);
  rover_stop(rover);
  EQUAL(2, sound(rover).attempts);
  EQUAL(0, rover_connect(rover));
  int one = accepted(listener), two = accepted(listener),
      three = accepted(listener);
  say(three, "9\r\n");
  UNTIL(told.connections == 1);
  finish(rover, &told);
  close(one);
  close(two);
  close(three);
  close(listener);
}

/* One that ends meanwhile is told of, and then that it has closed. */
static void holding(void) {
  int listener = listening();
  rover_t *rover = roving(&told, port_of(listener), NULL);
  rover_hold(rover, 1);
  int one = greeted(rover, listener, "3\r\n");
  int two = greeted(rover, listener, "1\r\n");
  int three = greeted(rover, listener, "no slot\r\n");
  UNTIL(told.errors == 1);
  settle();
  EQUAL(0, told.connections);
  EQUAL(2, sound(rover).in_flight);
  close(one);
  rover_hold(rover, 0);
  rover_hold(rover, 0);
  UNTIL(told.connections == 2);
  EQUAL(1, told.slot); /* in the order in which they began */
  UNTIL(sound(rover).kept == 1);
  EQUAL(1, rover_socket_slot(rover_socket_first(rover)));
  rover_hold(rover, 1);
  int four = greeted(rover, listener, "0\r\n");
  settle();
  finish(rover, &told);
  EQUAL(2, told.connections);
  close(two);
  close(three);
  close(four);
  close(listener);
}

/* -- Turns ---------------------------------------------------------------- */

static void turn_misuse(void) {
  rover_turn_t *shared = NULL;
  EQUAL(UV_EINVAL, rover_turn_new(NULL, loop));
  EQUAL(UV_EINVAL, rover_turn_new(&shared, NULL));
  CHECK(!shared);
  EQUAL(0, rover_turn_new(&shared, loop));
  rover_turn_close(shared, NULL, NULL);
}

static void on_slow(rover_t *rover, rover_server_t *server, int status) {
  on_unreachable(rover, server, status);
  usleep(20000);
}

static void on_turn_closed(void *data) { *(bool *)data = true; }

/* Of what fails at once, no turn of the loop tells more than one and a few that
 * come by another way. */
static void turn_shared(void) {
  enum { ROVERS = 3, EACH = 8 };
  rover_events_t slow = telling;
  rover_options_t options = {.max_attempts = EACH};
  rover_t *rovers[ROVERS];
  struct told each[ROVERS];
  bool closed = false;
  int sum = 0;

  slow.unreachable = on_slow;
  EQUAL(0, rover_turn_new(&options.turn, loop));
  int listener = listening(), port = port_of(listener);
  close(listener);
  for (int i = 0; i < ROVERS; i++) {
    rovers[i] = roving(&each[i], port, &options);
    rover_set_events(rovers[i], &slow, &each[i]);
    for (int j = 0; j < EACH; j++) EQUAL(0, rover_connect(rovers[i]));
  }
  while (sum < ROVERS * EACH) {
    int before = sum;
    uv_run(loop, UV_RUN_ONCE);
    sum = 0;
    for (int i = 0; i < ROVERS; i++) sum += each[i].unreachable;
    CHECK(sum - before <= 2);
  }
  for (int i = 0; i < ROVERS; i++) finish(rovers[i], &each[i]);
  rover_turn_close(options.turn, on_turn_closed, &closed);
  UNTIL(closed);
}

enum { WORKERS = 4 };

static void wait_for_gate(uv_work_t *work) { uv_sem_wait(work->data); }

/* All of it: no look-up gets a thread before the gate is opened. */
static void occupy_pool(uv_work_t works[WORKERS], uv_sem_t *gate) {
  EQUAL(0, uv_os_setenv("UV_THREADPOOL_SIZE", "4"));
  EQUAL(0, uv_sem_init(gate, 0));
  for (int i = 0; i < WORKERS; i++) {
    works[i].data = gate;
    EQUAL(0, uv_queue_work(loop, &works[i], wait_for_gate, NULL));
  }
}

/* A name to libuv, and yet no question to any name server. */
static rover_t *resolving(struct told *to, const rover_options_t *options) {
  rover_t *rover = roving(to, 0, options);
  EQUAL(0, rover_server_add(rover, "s", "127.1", server_port));
  EQUAL(0, rover_connect(rover));
  return rover;
}

static void turn_lookups(void) {
  size_t memory = 0, before;
  rover_options_t options = {.memory = &memory};
  struct told each[3];
  uv_work_t works[WORKERS];
  uv_sem_t gate;
  bool closed = false;

  EQUAL(0, rover_turn_new(&options.turn, loop));
  occupy_pool(works, &gate);
  rover_t *first = resolving(&each[0], &options);
  before = memory;
  rover_t *second = resolving(&each[1], &options);
  CHECK(memory - before < before); /* it has begun none */
  EQUAL(0, rover_close(first, on_closed));
  rover_t *third = resolving(&each[2], &options);
  settle();
  EQUAL(0, each[0].closed); /* the others wait for what it has begun */
  rover_stop(third);
  rover_stop(second);
  UNTIL(each[0].closed); /* nobody waits any more */
  EQUAL(0, rover_connect(second));
  EQUAL(0, rover_connect(third));
  EQUAL(0, rover_close(second, on_closed));
  for (int i = 0; i < WORKERS; i++) uv_sem_post(&gate);
  UNTIL(each[2].connections == 1);
  UNTIL(each[1].closed);
  EQUAL(0, each[1].connections);
  finish(third, &each[2]);
  EQUAL(0, memory);
  rover_turn_close(options.turn, on_turn_closed, &closed);
  UNTIL(closed);
  uv_sem_destroy(&gate);
}

/* -- The rest of it ------------------------------------------------------- */

static void interval(void) {
  rover_t *rover = roving(&told, 0, NULL);
  EQUAL(UV_EINVAL, rover_set_roving_interval(rover, 0));
  EQUAL(UV_EINVAL, rover_set_roving_interval(rover, ROVER_MS_MAX + 1));
  EQUAL(UV_EINVAL, rover_set_roving_interval(rover, UINT64_MAX));
  EQUAL(1000, rover_roving_interval(rover));
  EQUAL(0, rover_set_roving_interval(rover, ROVER_MS_MAX));
  EQUAL(ROVER_MS_MAX, rover_roving_interval(rover));
  finish(rover, &told);
}

/* -- Replacing ------------------------------------------------------------ */

static void set_events(void) {
  rover_events_t events = telling;
  struct told other = {0};
  rover_t *rover = roving(&told, 0, NULL);
  rover_set_events(rover, &events, &other);
  memset(&events, 0xa5, sizeof events);
  CHECK(rover_data(rover) == &other);
  EQUAL(0, rover_connect(rover));
  UNTIL(other.errors == 1);
  EQUAL(0, told.errors);
  finish(rover, &told);
}

static void exchange(void) {
  const rover_options_t slow = {.roving_interval = 3600000},
                        slower = {.roving_interval = 7200000};
  struct told other_told;
  int one = listening(), two = listening();
  rover_t *rover = roving(&told, port_of(one), &slow);
  rover_t *other = roving(&other_told, port_of(one), &slower);
  int keeps = kept(rover, &told, one, "4\r\n");
  EQUAL(0, rover_start(rover));
  int stays = accepted(one); /* "s" is in both */
  EQUAL(0, rover_server_add(rover, "gone", "127.0.0.1", port_of(two)));
  EQUAL(1, rover_server_drop(rover, "s"));
  EQUAL(1, sound(rover).cancelled);
  EQUAL(0, drained(stays));
  EQUAL(0, rover_connect(rover));
  int goes = accepted(two);
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", port_of(one)));
  EQUAL(1, rover_server_drop(rover, "gone"));
  EQUAL(0, drained(goes));
  close(stays);
  EQUAL(0, rover_connect(rover));
  stays = accepted(one);

  rover_exchange(rover, other);
  EQUAL(7200000, rover_roving_interval(rover));
  EQUAL(3600000, rover_roving_interval(other));
  CHECK(rover_data(rover) == &other_told);
  CHECK(rover_data(other) == &told);
  EQUAL(1, rover_is_started(rover));
  EQUAL(0, rover_is_started(other));
  EQUAL(1, sound(rover).kept);
  EQUAL(1, sound(rover).in_flight);
  EQUAL(0, sound(other).attempts);
  say(stays, "8\r\n");
  UNTIL(other_told.connections == 1);
  EQUAL(8, other_told.slot);
  CHECK(rover_socket_rover(other_told.socket) == rover);
  CHECK(is_open(keeps));
  rover_exchange(rover, rover);
  EQUAL(7200000, rover_roving_interval(rover));
  EQUAL(1, rover_server_count(rover));

  finish(rover, &other_told);
  finish(other, &told);
  close(keeps);
  close(stays);
  close(goes);
  close(one);
  close(two);
}

static void exchange_moves(void) {
  struct told other_told;
  int one = listening(), two = listening();
  rover_t *rover = roving(&told, port_of(one), NULL);
  rover_t *other = roving(&other_told, port_of(one), NULL);
  int same = kept(rover, &told, one, "4\r\n");
  rover_socket_t *socket = told.socket;
  rover_exchange(rover, other);
  CHECK(rover_socket_server(socket) == rover_server_get(rover, "s"));
  EQUAL(0, rover_server_add(other, "s", "127.0.0.1", port_of(two)));
  rover_exchange(rover, other);
  EQUAL(port_of(one), rover_server_port(rover_socket_server(socket)));
  EQUAL(1, rover_server_drop(other, "s"));
  EQUAL(port_of(one), rover_server_port(rover_socket_server(socket)));
  finish(rover, &told);
  finish(other, &other_told);
  close(same);
  close(one);
  close(two);
}

static void exchange_cancels(void) {
  struct told other_told;
  int one = listening(), two = listening();
  rover_t *rover = roving(&told, port_of(one), NULL);
  rover_t *other = roving(&other_told, port_of(two), NULL);
  EQUAL(0, rover_connect(rover)); /* the same id, but elsewhere */
  EQUAL(0, rover_connect(other));
  int fds[] = {accepted(one), accepted(two)};
  rover_exchange(rover, other);
  EQUAL(1, sound(rover).cancelled);
  EQUAL(1, sound(other).cancelled);
  EQUAL(0, drained(fds[0]));
  EQUAL(0, drained(fds[1]));
  finish(rover, &other_told);
  finish(other, &told);
  EQUAL(0, told.connections + told.unreachable + told.errors);
  EQUAL(0, other_told.connections + other_told.unreachable +
               other_told.errors);
  close(fds[0]);
  close(fds[1]);
  close(one);
  close(two);
}

/* -- rover_close() -------------------------------------------------------- */

static void on_no_close(rover_t *rover) {
  failed(__FILE__, __LINE__, "the second callback of %p came", (void *)rover);
}

static void close_order(rover_socket_t *socket, int status) {
  EQUAL(0, status);
  EQUAL(0, told.closed); /* before the rover's */
  *(int *)rover_socket_data(socket) += 1;
}

static void close_twice(void) {
  static const rover_socket_events_t events = {.close = close_order};
  int listener = listening(), closed = 0;
  rover_t *rover = roving(&told, port_of(listener), NULL);
  int fds[] = {kept(rover, &told, listener, "1\r\n"), 0};
  rover_socket_set_events(told.socket, &events, &closed);
  fds[1] = kept(rover, &told, listener, "0\r\n");
  rover_socket_set_events(told.socket, &events, &closed);
  EQUAL(0, rover_connect(rover));
  EQUAL(0, rover_close(rover, on_closed));
  EQUAL(UV_EALREADY, rover_close(rover, on_no_close));
  EQUAL(UV_EALREADY, rover_close(rover, NULL));
  EQUAL(0, told.closed);
  UNTIL(told.closed == 1);
  EQUAL(2, closed);
  EQUAL(0, drained(fds[0]));
  EQUAL(0, drained(fds[1]));
  settle();
  EQUAL(1, told.closed);
  close(fds[0]);
  close(fds[1]);
  close(listener);
}

/* What the header forbids of a rover that closes. */
static void closing(rover_t *rover) {
  EQUAL(UV_EINVAL, rover_start(rover));
  EQUAL(UV_EINVAL, rover_connect(rover));
  EQUAL(UV_EINVAL, rover_server_add(rover, "new", "127.0.0.1", 1));
  EQUAL(UV_EINVAL, rover_server_set(rover, NULL, 0, NULL));
  EQUAL(UV_EINVAL, rover_set_roving_interval(rover, 1));
  EQUAL(UV_EINVAL, rover_rove_in(rover, 1));
  EQUAL(0, rover_due_in(rover, &(uint64_t){0}));
  EQUAL(UV_EINVAL, rover_server_pause(rover, "s", 1));
  EQUAL(UV_EALREADY, rover_close(rover, on_no_close));
  rover_stop(rover);
  EQUAL(0, rover_is_started(rover));
  EQUAL(1000, rover_roving_interval(rover));
  EQUAL(1, rover_server_count(rover));
  SAME("127.0.0.1", rover_server_host(rover_server_get(rover, "s")));
  CHECK(rover_socket_first(rover) == NULL);
  CHECK(rover_loop(rover) == loop);
  CHECK(rover_data(rover) == &told);
  rover_stats_t s = sound(rover);
  EQUAL(0, s.in_flight);
  EQUAL(0, s.skipped);
}

static void on_closing_closed(rover_t *rover) {
  closing(rover);
  told.closed++;
}

static void close_misuse(void) {
  rover_t *rover = roving(&told, server_port, NULL);
  EQUAL(0, rover_start(rover));
  UNTIL(told.connections == 1);
  EQUAL(0, rover_connect(rover));
  EQUAL(0, rover_close(rover, on_closing_closed));
  closing(rover);
  UNTIL(told.closed == 1);
}

const struct check checks[] = {
    {"rover_hold()", "has new connections wait until the rover is not held any "
                     "more, and nothing else", holding},
    {"rover_turn_new()", "returns UV_EINVAL without a loop, or a place for the "
                         "turn, and writes nothing", turn_misuse},
    {"rover_turn_new()", "makes rovers that share it tell as much in a turn of "
                         "the loop as one would", turn_shared},
    {"rover_turn_new()", "makes rovers that share it share look-ups, which may "
                         "outlast who began them", turn_lookups},
    {"rover_new()", "returns UV_EINVAL without a loop, or a place for the "
                    "rover, and writes nothing", new_misuse},
    {"rover_new()", "returns UV_EINVAL for each option out of its range, and "
                    "writes nothing", new_ranges},
    {"rover_new()", "takes options at the ends of their ranges", new_ends},
    {"rover_new()", "takes NULL for the defaults", new_defaults},
    {"rover_new()", "returns UV_EMFILE where no descriptor is left, and writes "
                    "nothing", new_exhausted},
    {"rover_new()", "copies the options", new_copies},
    {"rover_new()", "makes a rover that does nothing until told to", new_idle},
    {"rover_version_string()", "tells what the header tells", version},
    {"rover_server_add()", "returns UV_EINVAL for what is too long, empty, "
                           "missing or out of range, and changes nothing",
     add_misuse},
    {"rover_server_add()", "copies its strings", add_copies},
    {"rover_server_add()", "replaces a server, and cancels attempts to where "
                           "it was", replace},
    {"rover_server_at(), _get() and _drop()", "find each server, and none that "
                                              "is not there", iterate},
    {"rover_server_drop()", "cancels attempts in silence and keeps sockets",
     drop},
    {"rover_server_set()", "adds, drops and replaces, tells how many, and does "
                           "not touch what is the same", set_servers},
    {"rover_server_set()", "returns UV_EINVAL for a wrong entry and an id that "
                           "comes twice, tells which, and changes nothing",
     set_misuse},
    {"rover_server_set()", "cancels attempts to what is dropped or replaced, "
                           "and no others", set_attempts},
    {"rover_server_set()", "leaves pauses, but of what is replaced",
     set_pauses},
    {"rover_server_set()", "may be called from a callback about a server that "
                           "it drops", set_in_callback},
    {"rover_server_set()", "leaves the servers in the same order, whatever that "
                           "of the entries", set_order},
    {"rover_server_set()", "makes of any list any other", set_many},
    {"rover_server_hold()", "has a server stay while a source holds it or the "
                            "program has added it", held_servers},
    {"rover_holder_join()", "tells once that the rover closes, unless it was "
                            "left", holders},
    {"rover_server_pause()", "lets a server be, cancels attempts to it in "
                             "silence, and returns UV_EINVAL above "
                             "ROVER_MS_MAX", pause_server},
    {"rover_server_mark()", "tells whether a server was marked since it was "
                            "added", marks},
    {"rover_server_ref()", "holds a server beyond callback and rover", refs},
    {"rover_start()", "attempts in the next turn of the loop, then every "
                      "interval, and anew if called again", start},
    {"rover_rove_in()", "has the next attempt come at another time, once, of "
                        "which rover_due_in() tells; "
                        "returns UV_EINVAL above ROVER_MS_MAX", rove_in},
    {"rover_stop()", "cancels attempts in silence, stops the clock and keeps "
                     "sockets", stop},
    {"rover_connect()", "attempts started or not, and returns UV_EAGAIN beyond "
                        "max_attempts", connect_limit},
    {"rover_set_slot_limit()", "rejects what is not below, for which the "
                               "rejected callback alone is called", reject},
    {"rover_set_max_kept()", "keeps so many with the lowest slots, with no "
                             "callback", keep_most},
    {"rover_set_rejection()", "returns UV_EINVAL for what is out of its range, "
                              "and changes nothing", rejection_misuse},
    {"rover_connect_to()", "attempts the server named, paused or not, and "
                           "returns 0 if there is none", connect_to},
    {"rover_connect_in()", "attempts the server named in that time, unless "
                           "something comes in between", connect_in},
    {"rover_added_cb", "tells once of each server that comes to a started "
                       "rover, when that is not held", added},
    {"rover_set_roving_interval()", "returns UV_EINVAL for 0 and above "
                                    "ROVER_MS_MAX", interval},
    {"rover_set_events()", "copies callbacks, and replaces the user pointer",
     set_events},
    {"rover_exchange()", "exchanges what is declared; what is under way stays",
     exchange},
    {"rover_exchange()", "has sockets name the servers that are there now",
     exchange_moves},
    {"rover_exchange()", "cancels attempts to where a server no longer is",
     exchange_cancels},
    {"rover_close()", "calls back once, after all sockets; twice is harmless",
     close_twice},
    {"a closing rover", "refuses what the header forbids, in its close "
                        "callback too", close_misuse},
    {NULL, NULL, NULL}};
