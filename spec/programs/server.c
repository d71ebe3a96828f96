/* The promises of <callosum/rover.h> about what is counted of servers, and about
 * steering them. */
#include "rovers.h"

static struct told told;
static rover_t *rover;
static int listener;

static void open_rover(void) {
  listener = listening();
  rover = roving(&told, port_of(listener), NULL);
}

static rover_server_stats_t stats_of(const char *id) {
  rover_server_stats_t stats;
  rover_server_stats_get(rover_server_get(rover, id), &stats);
  CHECK(stats.attempts >= stats.connections + stats.rejected +
                              stats.unreachable + stats.errors);
  CHECK(stats.lent <= stats.kept);
  return stats;
}

static rover_balance_t balance(void) {
  rover_balance_t b;
  rover_balance_get(rover, &b);
  return b;
}

static void end(const int fds[], int count) {
  for (int i = 0; i < count; i++) close(fds[i]);
  finish(rover, &told);
  close(listener);
}

static void counts(void) {
  open_rover();
  EQUAL(0, stats_of("s").attempts);
  int fds[] = {kept(rover, &told, listener, "0\r\n"),
               kept(rover, &told, listener, "1\r\n")};
  rover_socket_set_lent(told.socket, 1);
  rover_socket_set_lent(told.socket, 2);
  CHECK(rover_socket_is_lent(told.socket));
  rover_server_stats_t stats = stats_of("s");
  EQUAL(2, stats.attempts);
  EQUAL(2, stats.connections);
  EQUAL(2, stats.kept);
  EQUAL(1, stats.lent);
  rover_socket_close(told.socket);
  rover_socket_set_lent(told.socket, 1); /* too late */
  CHECK(!rover_socket_is_lent(told.socket));
  stats = stats_of("s");
  EQUAL(1, stats.kept);
  EQUAL(0, stats.lent);
  /* What the server does not have any more. */
  rover_server_t *server = rover_server_ref(rover_server_get(rover, "s"));
  EQUAL(1, rover_server_drop(rover, "s"));
  end(fds, 2);
  rover_server_stats_get(server, &stats);
  EQUAL(2, stats.attempts);
  EQUAL(0, stats.kept);
  rover_server_unref(server);
}

static void balances(void) {
  open_rover();
  rover_balance_t b = balance();
  EQUAL(1, b.servers);
  EQUAL(0, b.connections);
  CHECK(b.mean == 0 && b.variance == 0);
  int fds[] = {kept(rover, &told, listener, "0\r\n"),
               kept(rover, &told, listener, "1\r\n")};
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", 1));
  b = balance();
  EQUAL(2, b.servers);
  EQUAL(2, b.connections);
  EQUAL(2, b.peak);
  EQUAL(0, b.least);
  CHECK(b.mean == 1 && b.variance == 1);
  EQUAL(1, rover_server_steer(rover, "t", ROVER_STEER_PAUSE, 0));
  b = balance();
  EQUAL(1, b.servers);
  EQUAL(2, b.least);
  CHECK(b.variance == 0);
  EQUAL(1, rover_server_drop(rover, "s"));
  b = balance();
  EQUAL(0, b.servers + b.connections + b.peak + b.least);
  end(fds, 2);
}

static void steers(void) {
  static const rover_steer_t ways[] = {ROVER_STEER_PAUSE, ROVER_STEER_DRAIN,
                                       ROVER_STEER_DROP};
  open_rover();
  for (size_t i = 0; i < 3; i++) {
    snprintf(doing, sizeof doing, "way %zu", i);
    EQUAL(0, rover_connect(rover)); /* is cancelled */
    uint64_t cancelled = sound(rover).cancelled;
    EQUAL(1, rover_server_steer(rover, "s", ways[i], 0));
    EQUAL(cancelled + 1, sound(rover).cancelled);
    EQUAL(0, rover_connect_to(rover, "s"));
    EQUAL(0, rover_start(rover));
    EQUAL(0, rover_connect_in(rover, "s", 0));
    rover_stop(rover);
    bool hidden = ways[i] == ROVER_STEER_DROP;
    EQUAL(!hidden, rover_server_count(rover));
    CHECK(hidden == !rover_server_get(rover, "s"));
    CHECK(hidden == !rover_server_at(rover, 0));
    if (!hidden) {
      EQUAL(ways[i], rover_server_steered(rover_server_get(rover, "s")));
      EQUAL(UV_EAGAIN, rover_connect(rover));
    }
    EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
    EQUAL(ROVER_STEER_NONE,
          rover_server_steered(rover_server_get(rover, "s")));
    EQUAL(1, rover_connect_to(rover, "s"));
    rover_stop(rover);
  }
  end(NULL, 0);
}

static void steers_what_is_there(void) {
  open_rover();
  EQUAL(0, rover_server_steer(rover, "t", ROVER_STEER_PAUSE, 0));
  EQUAL(UV_EINVAL, rover_server_steer(rover, NULL, ROVER_STEER_PAUSE, 0));
  EQUAL(UV_EINVAL, rover_server_steer(rover, "s", (rover_steer_t)4, 0));
  EQUAL(UV_EINVAL,
        rover_server_steer(rover, "s", ROVER_STEER_DRAIN, ROVER_MS_MAX + 1));
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_DROP, 0));
  EQUAL(1, rover_server_drop(rover, "s"));
  EQUAL(0, rover_server_drop(rover, "s"));
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", 1));
  EQUAL(0, rover_server_count(rover)); /* it is still dropped by hand */
  EQUAL(1, rover_server_drop(rover, "s"));
  EQUAL(UV_ESRCH, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
  EQUAL(0, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
  EQUAL(0, rover_close(rover, on_closed));
  EQUAL(UV_EINVAL, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
  UNTIL(told.closed);
  close(listener);
}

/* However many are steered, the others are picked, each as often. */
static void picks_the_others(void) {
  enum { SERVERS = 200, ASKED = 4 };
  char ids[SERVERS][16];
  rover_server_entry_t list[SERVERS] = {{0}};
  rover_options_t options = {.max_attempts = 100000, .seed = 1};

  rover = roving(&told, 0, &options);
  for (int i = 0; i < SERVERS; i++) {
    snprintf(ids[i], sizeof ids[i], "s%d", i);
    list[i] = (rover_server_entry_t){
        .id = ids[i], .host = "127.0.0.1", .port = i + 1};
    EQUAL(0, rover_server_add(rover, ids[i], "127.0.0.1", i + 1));
  }
  for (int i = ASKED; i < SERVERS; i++)
    EQUAL(1, rover_server_steer(rover, ids[i],
                                i % 3 ? ROVER_STEER_DROP : ROVER_STEER_PAUSE,
                                0));
  for (int round = 0; round < 3; round++) {
    snprintf(doing, sizeof doing, "round %d", round);
    size_t listed = rover_server_count(rover), paused = 0;
    for (size_t i = 0; i < listed; i++) {
      rover_server_t *server = rover_server_at(rover, i);
      CHECK(rover_server_get(rover, rover_server_id(server)) == server);
      paused += rover_server_steered(server) == ROVER_STEER_PAUSE;
    }
    EQUAL(ASKED, listed - paused);
    for (int i = 0; i < 1000; i++) EQUAL(0, rover_connect(rover));
    for (int i = 0; i < ASKED; i++) {
      uint64_t attempts = stats_of(ids[i]).attempts;
      CHECK(attempts > 150u * (unsigned)(round + 1) &&
            attempts < 350u * (unsigned)(round + 1));
    }
    uint64_t before = sound(rover).unreachable;
    UNTIL(sound(rover).unreachable == before + 1000);
    /* As a list, with some that are new, or moved; and one by one. */
    if (round == 0) {
      for (int i = 0; i < SERVERS; i += 2) list[i].port += 1000;
      EQUAL(0, rover_server_set(rover, list, SERVERS, NULL));
    } else {
      for (int i = SERVERS - 1; i >= 0; i--) {
        EQUAL(1, rover_server_drop(rover, ids[i]));
        EQUAL(0, rover_server_add(rover, ids[i], "127.0.0.1", i + 1));
        if (i < ASKED) continue;
        EQUAL(1, rover_server_steer(rover, ids[i], ROVER_STEER_NONE, 0));
        EQUAL(1, rover_server_steer(rover, ids[i], ROVER_STEER_DROP, 0));
      }
      break;
    }
  }
  finish(rover, &told);
}

static void drains(void) {
  open_rover();
  int fds[] = {kept(rover, &told, listener, "0\r\n"),
               kept(rover, &told, listener, "1\r\n"),
               kept(rover, &told, listener, "2\r\n")};
  rover_socket_set_lent(rover_socket_first(rover), 1);
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_DRAIN, 0));
  EQUAL(3, stats_of("s").kept); /* later, in a turn of the loop */
  UNTIL(stats_of("s").kept == 1);
  rover_socket_t *last = rover_socket_first(rover);
  EQUAL(0, rover_socket_slot(last));
  rover_socket_set_lent(last, 0);
  EQUAL(1, stats_of("s").kept);
  UNTIL(stats_of("s").kept == 0);
  end(fds, 3);
}

static rover_server_t *added;

static void on_added(rover_t *of, rover_server_t *server) {
  (void)of;
  added = server;
}

static void tells(void) {
  open_rover();
  rover_events_t events = telling;
  events.added = on_added;
  EQUAL(0, rover_set_events(rover, &events, &told));
  EQUAL(0, rover_set_roving_interval(rover, 100000));
  EQUAL(0, rover_start(rover));
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_DROP, 0));
  EQUAL(0, rover_server_add(rover, "s", "127.0.0.1", 1));
  EQUAL(0, rover_server_add(rover, "t", "127.0.0.1", 1));
  UNTIL(added);
  SAME("t", rover_server_id(added));
  added = NULL;
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_PAUSE, 0));
  EQUAL(1, rover_server_steer(rover, "s", ROVER_STEER_NONE, 0));
  CHECK(!added);
  UNTIL(added);
  SAME("s", rover_server_id(added));
  end(NULL, 0);
}

const struct check checks[] = {
    {"what is counted of a server", "is that of its id", counts},
    {"the balance", "is that of the servers that are asked", balances},
    {"steering", "keeps attempts from a server, and cancels them", steers},
    {"steering", "holds for an id that the rover knows", steers_what_is_there},
    {"steering", "leaves the picks of the others uniform", picks_the_others},
    {"a drain", "ends what is kept, and what was lent when it is back", drains},
    {"a server that is steered no more", "is told of like a new one", tells},
    {NULL, NULL, NULL}};
