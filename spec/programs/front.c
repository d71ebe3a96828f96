/* The promises of <callosum/front.h>: slots, joining, limits, a backend that is
 * down, reloads. Drains are in front_drain.c. */
#include "fronts.h"

#include "front/reload.h"
#include "front/slots.h"

#include <sys/resource.h>
#include <sys/un.h>

/* -- Making it ------------------------------------------------------------ */

static void refuses(void) {
  static char path[512];
  static const char *const cidr[] = {"10.0.0.0/33", NULL}, *const none[1];
  static const char *const trusted[] = {"::1", NULL};
  const struct {
    const char *what;
    int error;
    rover_front_options_t options;
  } wrong[] = {
      {"port -1", UV_EINVAL, {.address.port = -1}},
      {"port 65536", UV_EINVAL, {.address.port = 65536}},
      {"a name", UV_EINVAL, {.address.host = "example.org"}},
      {"no path", UV_EINVAL, {.address.path = ""}},
      {"mode -1", UV_EINVAL, {.address = {.path = "/x", .mode = -1}}},
      {"a long path", UV_ENAMETOOLONG, {.address.path = path}},
      {"no fd_name", UV_EINVAL, {.address.fd_name = ""}},
      {"two addresses", UV_EINVAL, {.address = {.fd_name = "x", .port = 1}}},
      {"a backend's fd_name", UV_EINVAL, {.backend.fd_name = "x"}},
      {"a backend's name", UV_EINVAL, {.backend.host = "example.org"}},
      {"a backend's path", UV_ENAMETOOLONG, {.backend.path = path}},
      {"a backend's port", UV_EINVAL, {.backend.port = -1}},
      {"a CIDR", UV_EINVAL, {.allow = cidr}},
      {"a trusted one", UV_EINVAL, {.trusted = cidr}},
      {"nobody trusted", UV_EINVAL, {.accept_proxy = 1}},
      {"an empty list", UV_EINVAL, {.accept_proxy = 1, .trusted = none}},
      {"header and kept",
       UV_EINVAL,
       {.accept_proxy = 1,
        .trusted = trusted,
        .connect_on = ROVER_FRONT_ON_KEPT}},
      {"header and slot",
       UV_EINVAL,
       {.accept_proxy = 1,
        .trusted = trusted,
        .connect_on = ROVER_FRONT_ON_SLOT}},
      {"version 3", UV_EINVAL, {.send_proxy = 3}},
      {"header timeout", UV_EINVAL, {.header_timeout = ROVER_MS_MAX + 1}},
      {"open to all", UV_EPERM, {.address.host = "0.0.0.0"}},
      {"open to all v6", UV_EPERM, {.address.host = "::"}},
      {"itself", UV_ELOOP, {.address.port = 99, .backend.port = 99}},
      {"its path", UV_ELOOP, {.address.path = "/x", .backend.path = "/x"}},
      {"when", UV_EINVAL, {.connect_on = 3}},
      {"weight", UV_EINVAL, {.weight = 1. / 257}},
      {"weight 257", UV_EINVAL, {.weight = 257}},
      {"weight -1", UV_EINVAL, {.weight = -1}},
      {"no number", UV_EINVAL, {.weight = 0. / 0.}},
      {"kept", UV_EINVAL, {.kept_after = ROVER_MS_MAX + 1}},
      {"idle", UV_EINVAL, {.idle_timeout = ROVER_MS_MAX + 1}},
      {"room", UV_EINVAL, {.reserved = {1}}},
  };
  rover_front_t *own = NULL;
  memset(path, 'p', sizeof((struct sockaddr_un *)0)->sun_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    rover_front_options_t options = wrong[i].options;
    snprintf(doing, sizeof doing, "%s", wrong[i].what);
    if (!options.backend.path && options.backend.port == 0)
      options.backend.port = 1;
    EQUAL(wrong[i].error, rover_front_new(&own, loop, &options));
    CHECK(own == NULL);
  }
  EQUAL(UV_EINVAL, rover_front_new(&own, loop, NULL));
  EQUAL(UV_EINVAL, rover_front_new(&own, loop, &(rover_front_options_t){0}));
  EQUAL(UV_EINVAL, rover_front_new(NULL, loop, NULL));
}

static void defaults(void) {
  char host[] = "10.0.0.7";
  const char *allow[] = {host, NULL};
  rover_front_t *own;
  EQUAL(0, rover_front_new(&own, loop,
                           &(rover_front_options_t){.address.host = "::",
                                                    .backend.port = 5432,
                                                    .allow = allow,
                                                    .data = host}));
  host[0] = '9';
  const rover_front_options_t *o = rover_front_options(own);
  SAME("::", o->address.host);
  SAME("127.0.0.1", o->backend.host);
  SAME("10.0.0.7", o->allow[0]);
  CHECK(o->allow[1] == NULL && o->weight == 1);
  EQUAL(1000, o->max_clients);
  EQUAL(200, o->kept_after);
  EQUAL(1500, o->connect_timeout);
  EQUAL(1000, o->health_interval);
  CHECK(o->idle_timeout == ROVER_NEVER && o->max_per_address == UINT32_MAX);
  EQUAL(30000, o->half_close_timeout);
  EQUAL(30000, o->drain_timeout);
  EQUAL(500, o->quiet_time);
  EQUAL(15, o->keepalive);
  EQUAL(25000, o->dead_peer_timeout);
  EQUAL(3000, o->header_timeout);
  CHECK(!o->accept_proxy && !o->send_proxy && !o->trusted);
  EQUAL(0, rover_front_is_listening(own));
  EQUAL(1, rover_front_is_up(own));
  CHECK(rover_front_loop(own) == loop && rover_front_data(own) == host);
  close_front(own, 0);
}

static void listens(void) {
  begin((rover_front_options_t){0});
  EQUAL(UV_EALREADY, rover_front_listen(front));
  CHECK(front_port(front) > 0 && rover_front_is_listening(front));
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address.port = front_port(front),
                                        .backend.port = 1}));
  EQUAL(UV_EADDRINUSE, rover_front_listen(other));
  EQUAL(0, rover_front_close(front, 0, on_front_closed));
  EQUAL(UV_EALREADY, rover_front_close(front, 0, on_front_closed));
  EQUAL(UV_EINVAL, rover_front_listen(front));
  EQUAL(UV_EINVAL, rover_front_drain(front, 0));
  EQUAL(UV_EINVAL, rover_front_resume(front));
  EQUAL(UV_EINVAL, rover_front_set_weight(front, 1));
  EQUAL(UV_EINVAL, rover_front_set_down(front, "x"));
  EQUAL(0, rover_front_listen(other)); /* at once */
  UNTIL(fronts_closed == 1);
  close_front(other, 0);
  close(backend);
}

/* What it was given stays the caller's if that is not right. */
static void listens_fd(void) {
  int fd = listening(), port = port_of(fd), ends[2];
  rover_front_options_t options = {.address.fd_name = "web",
                                   .backend.port = port};
  EQUAL(0, rover_front_new(&front, loop, &options));
  CHECK(rover_front_options(front)->address.host == NULL);
  EQUAL(UV_EINVAL, rover_front_listen(front));
  EQUAL(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
  EQUAL(UV_EINVAL, rover_front_listen_fd(front, ends[0]));
  close(ends[0]);
  close(ends[1]);
  EQUAL(0, socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends));
  EQUAL(UV_EPROTOTYPE, rover_front_listen_fd(front, ends[0]));
  close(ends[0]);
  close(ends[1]);
  EQUAL(UV_ENOTSOCK, rover_front_listen_fd(front, uv_backend_fd(loop)));
  EQUAL(UV_EBADF, rover_front_listen_fd(front, 1 << 20));
  EQUAL(UV_ELOOP, rover_front_listen_fd(front, fd));
  close_front(front, 0);
  options.backend.port = 1;
  EQUAL(0, rover_front_new(&front, loop, &options));
  EQUAL(0, rover_front_listen_fd(front, fd));
  EQUAL(UV_EALREADY, rover_front_listen_fd(front, fd));
  EQUAL(port, front_port(front));
  SAME("127.0.0.1", rover_front_options(front)->address.host);
  SAME("web", rover_front_options(front)->address.fd_name);
  close(greeted_as(0));
  close_front(front, 0);
  CHECK(fcntl(fd, F_GETFD) < 0);
}

/* Whatever the address was: the front has none that is a path. */
static void listens_fd_at_path(void) {
  rover_front_options_t options = {.backend.port = 1};
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  struct stat file;
  rover_front_t *other;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  snprintf(name.sun_path, sizeof name.sun_path, "%s/passed", folder);
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(listen(fd, 1) == 0);
  EQUAL(0, rover_front_new(&front, loop, &options));
  EQUAL(0, rover_front_new(&other, loop, &options));
  EQUAL(0, rover_front_listen_fd(front, fd));
  rover_front_exchange(front, other);
  EQUAL(1, rover_front_is_listening(other));
  CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  hear(client, "0\r\n");
  EQUAL(0, rover_front_stay(other, 1)); /* nor is the file its own */
  close_front(front, 0);
  close_front(other, 0);
  CHECK(stat(name.sun_path, &file) == 0 && (file.st_mode & 0700) == 0700);
  close(client);
}

static char said[256];

static void on_index(rover_front_t *of, uint32_t index, int taken,
                     const struct sockaddr *peer, void *arg) {
  const struct sockaddr_in *ip = (const struct sockaddr_in *)peer;
  size_t used = strlen(said);
  CHECK(of == front && arg == said);
  CHECK(!ip == !taken);
  CHECK(!ip || (ip->sin_family == AF_INET &&
                ip->sin_addr.s_addr == htonl(INADDR_LOOPBACK)));
  snprintf(said + used, sizeof said - used, "%s%u ", taken ? "+" : "-",
           (unsigned)index);
}

/* Two fronts of one process, as if they were of two. */
static void is_followed(void) {
  int clients[4];
  rover_front_t *next;

  said[0] = '\0';
  begin((rover_front_options_t){0});
  for (uint32_t i = 0; i < 3; i++) clients[i] = greeted_as(i);
  rover_front_options_t options = {.address.port = front_port(front),
                                   .backend.port = port_of(backend),
                                   .max_clients = 5,
                                   .max_per_address = 4};
  struct sockaddr_in own = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr *ip = (struct sockaddr *)&own;
  EQUAL(0, rover_front_new(&next, loop, &options));
  EQUAL(UV_EBADF, rover_front_fd(next));
  EQUAL(UV_EBADF, rover_front_leave(next, on_index, said));
  EQUAL(UV_EBADF, rover_front_stay(next, 1));
  EQUAL(0, rover_front_listen_fd(next, dup(rover_front_fd(front))));
  close(clients[1]);
  UNTIL(sound_front(front).open == 2);
  EQUAL(0, rover_front_leave(front, on_index, said));
  SAME("+0 +2 ", said);
  EQUAL(0, rover_front_stay(front, 0));
  EQUAL(0, rover_front_leave(next, on_index, said)); /* nobody is here */
  close(greeted_as(1));
  UNTIL(sound_front(front).open == 2);
  SAME("+0 +2 ", said);
  EQUAL(0, rover_front_stay(next, 0));
  EQUAL(0, rover_front_leave(front, on_index, said));
  EQUAL(0, rover_front_hold(next, 0, ip));
  EQUAL(0, rover_front_hold(next, 2, ip));
  EQUAL(UV_EALREADY, rover_front_hold(next, 2, ip));
  EQUAL(UV_EINVAL, rover_front_hold(next, ROVER_FRONT_ALL, ip));
  EQUAL(0, rover_front_hold(next, 5, ip));
  clients[1] = greeted_as(1);
  EQUAL(0, gone(calling(next))); /* 4 of one address with those held */
  EQUAL(0, rover_front_release(next, 5));
  EQUAL(0, rover_front_hold(next, 5, NULL)); /* of an unknown one */
  EQUAL(UV_ENOENT, rover_front_release(next, 1));
  EQUAL(3, sound_front(next).held);
  said[0] = '\0';
  clients[3] = greeted_as(3);
  UNTIL(sound_front(next).open == 2);
  EQUAL(UV_ENOENT, rover_front_release(next, 1)); /* it is taken, not held */
  EQUAL(0, gone(calling(next))); /* 5 with those that are held */
  EQUAL(0, rover_front_release(next, 5));
  close(clients[2]);
  UNTIL(sound_front(front).open == 1);
  SAME("-2 ", said);
  EQUAL(0, rover_front_release(next, 2));
  clients[2] = greeted_as(2);
  rover_front_close(front, 0, on_front_closed); /* also tells of the rest */
  UNTIL(fronts_closed == 1);
  SAME("-2 -0 ", said);
  EQUAL(0, rover_front_release(next, ROVER_FRONT_ALL));
  EQUAL(0, sound_front(next).held);
  close(clients[0]);
  front = next;
  clients[0] = greeted_as(0);
  EQUAL(0, rover_front_hold(front, 9, ip)); /* which it still does at its end */
  end_all(clients, 4);
}

/* -- Slots ---------------------------------------------------------------- */

enum { MODEL = 20000, STEPS = 300000 };

/* Against a naive model: what is taken, and the lowest that is not. */
static void slots_as_a_model(void) {
  static bool taken[MODEL];
  static uint32_t list[MODEL];
  struct front__slots slots = {0};
  uint32_t count = 0, lowest = 0;
  srand(18);
  for (int i = 0; i < STEPS; i++) {
    int phase = i / (STEPS / 6) % 2; /* mostly fills, mostly empties */
    if (count == 0 || (rand() % 8 < (phase ? 2 : 6) && count < MODEL - 1)) {
      uint32_t index;
      EQUAL(0, front__slots_get(&slots, &index));
      while (taken[lowest]) lowest++;
      EQUAL(lowest, index);
      taken[index] = true;
      list[count++] = index;
    } else {
      uint32_t at = (uint32_t)rand() % count, index = list[at];
      CHECK(front__slots_has(&slots, index));
      front__slots_put(&slots, index);
      CHECK(!front__slots_has(&slots, index));
      taken[index] = false;
      list[at] = list[--count];
      if (index < lowest) lowest = index;
    }
  }
  while (count > 0) front__slots_put(&slots, list[--count]);
  uint32_t index;
  EQUAL(0, front__slots_get(&slots, &index));
  EQUAL(0, index);
  EQUAL(0, front__slots_take(&slots, 700000));
  EQUAL(0, front__slots_take(&slots, 1));
  EQUAL(0, front__slots_get(&slots, &index));
  EQUAL(2, index);
  CHECK(front__slots_has(&slots, 700000) && !front__slots_has(&slots, 699999));
  front__slots_clear(&slots);
}

/* ceil((i + 1) * d / n) - 1, in integers. */
static void numbers_of(uint64_t n, uint64_t d) {
  double weight = (double)n / (double)d;
  for (uint64_t i = 0; i < 300000; i = i < 3000 ? i + 1 : i + 997) {
    uint64_t want = ((i + 1) * d + n - 1) / n - 1;
    snprintf(doing, sizeof doing, "%d/%d, %d", (int)n, (int)d, (int)i);
    EQUAL(want, front__slot_number((uint32_t)i, weight));
  }
}

static void numbers(void) {
  for (uint64_t p = 1; p <= 65536; p = p < 600 ? p + 1 : p * 3 / 2)
    numbers_of(p, 256);
  for (uint64_t d = 1; d <= 100; d++)
    for (uint64_t n = 1; n <= 10; n++) numbers_of(n, d);
  *doing = '\0';
  EQUAL(ROVER_SLOT_MAX, front__slot_number(UINT32_MAX - 1, 1. / 256));
  EQUAL(ROVER_SLOT_MAX, front__slot_number(ROVER_SLOT_MAX, 1));
}

static void gives_lowest(void) {
  int fds[5];
  begin((rover_front_options_t){0});
  for (int i = 0; i < 5; i++) fds[i] = greeted_as(i);
  EQUAL(5, sound_front(front).open);
  close(fds[3]);
  reset(fds[1]);
  UNTIL(sound_front(front).open == 3);
  EQUAL(2, sound_front(front).probes);
  fds[1] = greeted_as(1);
  fds[3] = greeted_as(3);
  int next = greeted_as(5);
  EQUAL(0, not_connected(backend));
  for (int i = 0; i < 5; i++) close(fds[i]);
  close(next);
  UNTIL(sound_front(front).open == 0);
  close(greeted_as(0));
  UNTIL(sound_front(front).probes == 9);
  EQUAL(0, sound_front(front).joined);
  end();
}

/* 10,000 that connect, read the line and close. */
static void floods(void) {
  begin((rover_front_options_t){0});
  for (int i = 0; i < 10000; i++) {
    char line[16];
    int fd = calling(front);
    while (recv(fd, line, sizeof line, 0) <= 0) uv_run(loop, UV_RUN_NOWAIT);
    close(fd);
  }
  UNTIL(sound_front(front).open == 0);
  EQUAL(10000, sound_front(front).probes);
  EQUAL(0, not_connected(backend));
  EQUAL(0, sound_front(front).joined);
  close(greeted_as(0));
  end();
}

static void weighs(void) {
  static const int two[] = {0, 0, 1, 1, 2}, half[] = {11, 13, 15};
  int fds[8];
  begin((rover_front_options_t){.weight = 2});
  for (int i = 0; i < 5; i++) fds[i] = greeted_as(two[i]);
  EQUAL(UV_EINVAL, rover_front_set_weight(front, 0));
  EQUAL(UV_EINVAL, rover_front_set_weight(front, 1. / 512));
  CHECK(rover_front_options(front)->weight == 2);
  end_all(fds, 5);
  begin((rover_front_options_t){.drain_timeout = 3600000});
  for (int i = 0; i < 5; i++) fds[i] = greeted_as(i);
  EQUAL(0, rover_front_set_weight(front, .5));
  for (int i = 0; i < 3; i++) fds[5 + i] = greeted_as(half[i]);
  end_all(fds, 8);
}

/* -- Joining -------------------------------------------------------------- */

static void joins(void) {
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  settle();
  EQUAL(0, not_connected(backend));
  EQUAL(1, sound_front(front).unused);
  say(client, "up");
  int server = accepted(backend);
  hear(server, "up");
  say(server, "down");
  hear(client, "down");
  EQUAL(0, sound_front(front).unused);
  EQUAL(1, sound_front(front).running);
  shutdown(client, SHUT_WR);
  EQUAL(0, drained(server));
  say(server, "late");
  hear(client, "late");
  close(server);
  EQUAL(0, drained(client));
  UNTIL(sound_front(front).ended == 1);
  EQUAL(2, sound_front(front).received);
  EQUAL(8, sound_front(front).sent);
  EQUAL(0, sound_front(front).open);
  close(client);
  end();
}

/* All that it says is there before the backend has accepted. */
static void joins_half_closed(void) {
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  say(client, "question");
  shutdown(client, SHUT_WR);
  int server = accepted(backend);
  hear(server, "question");
  EQUAL(0, drained(server));
  say(server, "answer");
  close(server);
  hear(client, "answer");
  EQUAL(0, drained(client));
  UNTIL(sound_front(front).ended == 1);
  close(client);
  end();
}

/* A backend that closes first, with something to say. */
static void ended_by_backend(void) {
  begin((rover_front_options_t){.connect_on = ROVER_FRONT_ON_KEPT,
                                .kept_after = 1});
  int client = greeted_as(0);
  int server = accepted(backend);
  say(server, "go away");
  close(server);
  hear(client, "go away");
  EQUAL(0, drained(client));
  close(client);
  UNTIL(sound_front(front).ended == 1);
  end();
}

static void resets(void) {
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  say(client, "x");
  int server = accepted(backend);
  hear(server, "x");
  reset(server);
  UNTIL(is_reset(client));
  close(client);
  UNTIL(sound_front(front).open == 0);
  client = greeted_as(0);
  say(client, "x");
  server = accepted(backend);
  hear(server, "x");
  reset(client);
  UNTIL(is_reset(server));
  UNTIL(sound_front(front).reset == 2);
  close(server);
  end();
}

static void joins_kept(void) {
  begin((rover_front_options_t){.connect_on = ROVER_FRONT_ON_KEPT,
                                .kept_after = 50});
  close(greeted_as(0)); /* a probe */
  UNTIL(sound_front(front).probes == 1);
  int client = greeted_as(0);
  uint64_t from = uv_hrtime();
  int server = accepted(backend);
  CHECK(uv_hrtime() - from > 45 * UINT64_C(1000000));
  say(server, "220 ready");
  hear(client, "220 ready");
  EQUAL(1, sound_front(front).joined);
  close(client);
  EQUAL(0, drained(server));
  close(server);
  UNTIL(sound_front(front).ended == 1);
  end();
}

static void joins_first(void) {
  begin((rover_front_options_t){.connect_on = ROVER_FRONT_ON_SLOT});
  int client = calling(front);
  int server = accepted(backend);
  say(server, "hello");
  hear(client, "0\r\nhello");
  close(client);
  EQUAL(0, drained(server));
  close(server);
  UNTIL(sound_front(front).ended == 1);
  close(backend);
  client = calling(front);
  EQUAL(0, gone(client)); /* before any line */
  EQUAL(1, sound_front(front).refused);
  backend = -1;
  end();
}

/* A backend and a front at Unix sockets. */
static void joins_paths(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX}, own = name;
  int server_fd =
      socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  snprintf(name.sun_path, sizeof name.sun_path, "%s/backend", folder);
  snprintf(own.sun_path, sizeof own.sun_path, "%s/front", folder);
  begin((rover_front_options_t){.address.path = own.sun_path,
                                .backend.path = name.sun_path,
                                .health_interval = 1});
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(client, (struct sockaddr *)&own, sizeof own) == 0);
  CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  hear(client, "0\r\n");
  say(client, "x"); /* nobody is there */
  UNTIL(told_front.backend == 1);
  EQUAL(0, told_front.up);
  EQUAL(UV_ENOENT, told_front.status);
  SAME("the backend is down: no such file or directory", told_front.message);
  EQUAL(0, gone(client));
  CHECK(bind(server_fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(listen(server_fd, 9) == 0);
  UNTIL(told_front.backend == 2 && told_front.up);
  EQUAL(0, told_front.status);
  close(accepted(server_fd)); /* the check */
  client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(client, (struct sockaddr *)&own, sizeof own) == 0);
  CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  hear(client, "0\r\n");
  say(client, "x");
  int server = accepted(server_fd);
  hear(server, "x");
  say(server, "y");
  hear(client, "y");
  close(server);
  close(client);
  close(server_fd);
  UNTIL(sound_front(front).open == 0);
  end();
}

static void much(void) {
  static char plenty[1 << 16];
  size_t sent = 0, got = 0, back = 0;
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  say(client, "x");
  int server = accepted(backend);
  hear(server, "x");
  while (got < PLENTY || back < PLENTY) {
    size_t room = PLENTY - sent < sizeof plenty ? PLENTY - sent : sizeof plenty;
    ssize_t n = room > 0 ? send(client, plenty, room, 0) : 0;
    if (n > 0) sent += (size_t)n;
    n = recv(server, plenty, sizeof plenty, 0);
    if (n > 0) got += (size_t)n;
    if (n > 0)
      CHECK(send(server, plenty, (size_t)n, 0) == n || errno == EAGAIN);
    back = (size_t)sound_front(front).sent;
    while (recv(client, plenty, sizeof plenty, 0) > 0) continue;
    if (got == PLENTY) break;
    uv_run(loop, UV_RUN_NOWAIT);
  }
  UNTIL(sound_front(front).received == PLENTY + 1);
  reset(client);
  reset(server);
  UNTIL(sound_front(front).open == 0);
  end();
}

/* -- A backend that is down ----------------------------------------------- */

/* Nobody listens at the port any more, nor does anybody else get it. */
static int vacate(void) {
  int port = port_of(backend);
  close(backend);
  backend = -1;
  return port;
}

static void occupy(int port) {
  struct sockaddr_in name = loopback(port);
  int on = 1;
  backend = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(backend, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  CHECK(bind(backend, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(listen(backend, 64) == 0);
}

static void goes_down(void) {
  begin((rover_front_options_t){.health_interval = 1});
  int unused = greeted_as(0), one = greeted_as(1);
  int port = vacate();
  say(one, "x");
  EQUAL(0, gone(one)); /* a reset */
  EQUAL(1, sound_front(front).failed);
  EQUAL(0, drained(unused)); /* an end, in order */
  UNTIL(told_front.backend == 1);
  EQUAL(0, told_front.up);
  EQUAL(UV_ECONNREFUSED, told_front.status);
  SAME("the backend is down: connection refused", told_front.message);
  EQUAL(0, rover_front_is_up(front));
  one = calling(front);
  EQUAL(0, gone(one));
  EQUAL(1, sound_front(front).refused);
  close(unused);
  UNTIL(sound_front(front).open == 0);
  EQUAL(1, sound_front(front).closed);
  occupy(port);
  UNTIL(told_front.backend == 2);
  EQUAL(1, told_front.up);
  CHECK(sound_front(front).checks > 0);
  close(accepted(backend));
  one = greeted_as(0);
  say(one, "x");
  int server = accepted(backend);
  hear(server, "x");
  close(one);
  close(server);
  UNTIL(sound_front(front).open == 0);
  uint64_t before = sound_front(front).checks;
  settle();
  EQUAL(before, sound_front(front).checks); /* only while it is down */
  end();
}

/* Found down, and then no longer checked: it would never come up again. */
static void no_longer_checked(void) {
  begin((rover_front_options_t){.health_interval = 60000});
  int port = vacate(), client = greeted_as(0);
  say(client, "x");
  EQUAL(0, gone(client));
  EQUAL(0, rover_front_is_up(front));
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address.port = front_port(front),
                                        .events = telling_front,
                                        .health_interval = ROVER_NEVER,
                                        .backend.port = port}));
  EQUAL(0, rover_front_take_listener(other, front));
  rover_front_exchange(front, other);
  UNTIL(told_front.backend == 2 && told_front.up);
  close_front(other, 0);
  close(greeted_as(0));
  end();
}

/* Never checked, it is never found down. */
static void never_checked(void) {
  begin((rover_front_options_t){.health_interval = ROVER_NEVER});
  vacate();
  for (int i = 0; i < 4; i++) {
    int client = greeted_as(0);
    say(client, "x");
    EQUAL(0, gone(client));
  }
  EQUAL(4, sound_front(front).failed);
  EQUAL(1, rover_front_is_up(front));
  EQUAL(0, told_front.backend);
  end();
}

/* The queue of one that does not accept is full. */
static void full_queue(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int fill = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), clients[3];
  snprintf(name.sun_path, sizeof name.sun_path, "%s/backend", folder);
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(listen(fd, 0) == 0);
  CHECK(connect(fill, (struct sockaddr *)&name, sizeof name) == 0);
  begin((rover_front_options_t){.backend.path = name.sun_path,
                                .health_interval = 1});
  int late = greeted_as(0);
  say(late, "x");
  settle();
  close(accepted(fd)); /* in time */
  int server = accepted(fd);
  hear(server, "x");
  close(server);
  EQUAL(0, drained(late));
  close(late);
  end();
  close(fill);
  fill = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fill, (struct sockaddr *)&name, sizeof name) == 0);
  begin((rover_front_options_t){.backend.path = name.sun_path,
                                .connect_timeout = 100,
                                .health_interval = 1});
  for (int i = 0; i < 3; i++) {
    EQUAL(1, rover_front_is_up(front));
    clients[i] = greeted_as(0);
    say(clients[i], "x");
    EQUAL(0, gone(clients[i]));
  }
  UNTIL(told_front.backend == 1);
  EQUAL(UV_EAGAIN, told_front.status);
  SAME("the backend is down: it does not accept connections",
       told_front.message);
  close(accepted(fd));
  UNTIL(rover_front_is_up(front));
  close(fill);
  close(fd);
  end();
}

/* A TCP backend that takes nobody in: its queue is full, SYNs are dropped. */
static void silent_backend(void) {
  int fds[8], count = 0;
  begin((rover_front_options_t){.connect_timeout = 20, .health_interval = 10});
  CHECK(listen(backend, 0) == 0);
  while (count < 8) { /* those that are not taken stay as they are */
    struct sockaddr_in name = loopback(port_of(backend));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    connect(fd, (struct sockaddr *)&name, sizeof name);
    fds[count++] = fd;
  }
  for (int i = 0; i < 3; i++) {
    EQUAL(1, rover_front_is_up(front));
    int client = greeted_as(0);
    say(client, "x");
    EQUAL(0, gone(client));
  }
  UNTIL(told_front.backend == 1);
  EQUAL(UV_ETIMEDOUT, told_front.status);
  EQUAL(3, sound_front(front).failed);
  for (int i = 0; i < count; i++) close(fds[i]);
  for (int fd; !rover_front_is_up(front); settle())
    while ((fd = accept(backend, NULL, NULL)) >= 0) close(fd);
  end();
}

static void set_down(void) {
  begin((rover_front_options_t){0});
  int unused = greeted_as(0), used = greeted_as(1);
  say(used, "x");
  int server = accepted(backend);
  hear(server, "x");
  EQUAL(0, rover_front_set_down(front, "out for lunch"));
  EQUAL(0, rover_front_is_up(front));
  EQUAL(0, told_front.backend); /* not from within the call */
  UNTIL(told_front.backend == 1);
  EQUAL(UV_ECANCELED, told_front.status);
  SAME("out for lunch", told_front.message);
  EQUAL(0, drained(unused));
  say(server, "y");
  hear(used, "y");
  int client = calling(front);
  EQUAL(0, gone(client));
  EQUAL(0, rover_front_set_down(front, NULL));
  UNTIL(told_front.backend == 2);
  EQUAL(1, told_front.up);
  EQUAL(0, sound_front(front).checks);
  int fds[] = {unused, used, server, greeted_as(2)};
  end_all(fds, 4);
}

/* It ends one that is silent, and does not find out what it would have said. */
static void late_for_the_end(void) {
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  EQUAL(0, rover_front_set_down(front, "x"));
  EQUAL(0, drained(client));
  EQUAL(1, sound_front(front).ending);
  say(client, "late");
  UNTIL(is_reset_behind_end(client));
  EQUAL(0, not_connected(backend));
  EQUAL(1, sound_front(front).closed);
  close(client);
  end();
}

/* -- Limits --------------------------------------------------------------- */

static void limits(void) {
  int fds[3];
  begin((rover_front_options_t){.max_clients = 2});
  fds[0] = greeted_as(0);
  fds[1] = greeted_as(1);
  EQUAL(0, gone(calling(front)));
  EQUAL(1, sound_front(front).refused);
  close(fds[1]);
  UNTIL(sound_front(front).open == 1);
  fds[1] = greeted_as(1);
  end_all(fds, 2);
}

static int calling_from(const char *host) {
  struct sockaddr_in name = loopback(front_port(front)), own;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EQUAL(0, uv_ip4_addr(host, 0, &own));
  CHECK(bind(fd, (struct sockaddr *)&own, sizeof own) == 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

static void limits_addresses(void) {
  begin((rover_front_options_t){.max_per_address = 2});
  int fds[5] = {calling_from("127.0.0.1"), calling_from("127.0.0.1"),
                calling_from("127.0.0.1"), calling_from("127.0.0.2")};
  hear(fds[0], "0\r\n");
  hear(fds[1], "1\r\n");
  EQUAL(0, gone(fds[2]));
  hear(fds[3], "2\r\n");
  close(fds[1]);
  UNTIL(sound_front(front).open == 2);
  fds[1] = calling_from("127.0.0.1");
  hear(fds[1], "1\r\n");
  fds[2] = calling_from("127.0.0.2");
  hear(fds[2], "3\r\n");
  fds[4] = calling_from("127.0.0.2");
  EQUAL(0, gone(fds[4]));
  EQUAL(2, sound_front(front).refused);
  end_all(fds, 4);
}

static void allows(void) {
  static const char *const some[] = {"127.0.0.2", "127.1.0.0/16", NULL};
  begin((rover_front_options_t){.address.host = "::", .allow = some});
  int fds[2] = {calling_from("127.0.0.2"), calling_from("127.1.2.3")};
  hear(fds[0], "0\r\n");
  hear(fds[1], "1\r\n");
  EQUAL(0, gone(calling_from("127.0.0.1")));
  EQUAL(0, gone(calling_from("127.2.0.1")));
  EQUAL(2, sound_front(front).refused);
  end_all(fds, 2);
  begin((rover_front_options_t){.address.host = "0.0.0.0", .is_public = 1});
  fds[0] = greeted_as(0);
  end_all(fds, 1);
}

/* One descriptor is left for a backend; without, newcomers get no slot. */
static void exhausted(void) {
  struct rlimit limit, none;
  begin((rover_front_options_t){0});
  settle();
  int one = greeted_as(0), other = greeted_as(1);
  int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in name = loopback(front_port(front));
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  int next = dup(0);
  close(next);
  none = limit;
  none.rlim_cur = (rlim_t)next;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  say(one, "x"); /* by the one in reserve */
  UNTIL(sound_front(front).joined == 1);
  /* There is none for another, which is closed at once. */
  CHECK(connect(late, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(late, F_SETFL, O_NONBLOCK) == 0);
  EQUAL(0, gone_open(late));
  EQUAL(1, sound_front(front).refused);
  UNTIL(strstr(told_front.message, "backend"));
  int errors = told_front.errors; /* and one if no worker can be started */
  EQUAL(UV_EMFILE, told_front.status);
  SAME("cannot connect to the backend: this process has no descriptors left; "
       "raise its limit of open files (ulimit -n)",
       told_front.message);
  EQUAL(1, rover_front_is_up(front)); /* it is not its fault */
  EQUAL(0, told_front.backend);
  say(other, "x");
  EQUAL(0, gone_open(other));
  EQUAL(1, sound_front(front).failed);
  EQUAL(errors, told_front.errors);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  close(other);
  close(late);
  int server = accepted(backend);
  hear(server, "x");
  other = greeted_as(1);
  int fds[] = {one, other, server};
  end_all(fds, 3);
}

/* Those that wait to be accepted are turned away also after clients that were
 * accepted by the last descriptors have been joined by the last. */
static void used_up(void) {
  enum { MOST = 256 };
  struct rlimit limit, few;
  struct sockaddr_in name;
  int first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int fillers[MOST], count = 0, next = dup(first);

  close(next);
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  few = limit;
  few.rlim_cur = (rlim_t)next + 12; /* so the listener reserves but one */
  for (; count < next; count++) CHECK((fillers[count] = dup(first)) >= 0);
  few.rlim_cur += (rlim_t)count;
  CHECK(setrlimit(RLIMIT_NOFILE, &few) == 0);
  begin((rover_front_options_t){0});
  settle();
  name = loopback(front_port(front));
  while (count < MOST && (fillers[count] = dup(first)) >= 0) count++;
  CHECK(count < MOST);
  CHECK(connect(first, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(first, F_SETFL, O_NONBLOCK) == 0);
  hear(first, "0\r\n"); /* by the listener's */
  say(first, "x");
  UNTIL(sound_front(front).joined == 1); /* by the front's */
  CHECK(connect(late, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(late, F_SETFL, O_NONBLOCK) == 0);
  EQUAL(0, gone_open(late));
  EQUAL(1, sound_front(front).refused);
  while (count > 0) close(fillers[--count]);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  close(late);
  int server = accepted(backend);
  hear(server, "x");
  int fds[] = {first, server};
  end_all(fds, 2);
}

/* -- Deadlines ------------------------------------------------------------ */

static void idle(void) {
  begin((rover_front_options_t){.idle_timeout = 60});
  int unused = greeted_as(0), used = greeted_as(1);
  say(used, "x");
  int server = accepted(backend);
  hear(server, "x");
  UNTIL(sound_front(front).cut == 1);
  CHECK(is_reset(used) && is_reset(server));
  EQUAL(0, drained(unused));
  int fds[] = {unused, used, server};
  end_all(fds, 3);
}

static void never_ends(void) {
  begin((rover_front_options_t){.idle_timeout = 20, .half_close_timeout = 20});
  int client = greeted_as(0);
  EQUAL(0, drained(client));
  UNTIL(sound_front(front).closed == 1); /* though the client does nothing */
  CHECK(is_reset_behind_end(client));
  end_all(&client, 1);
}

/* What came while the loop was held up is in time. */
static void held_up(void) {
  enum { LIMIT = 100 };
  begin((rover_front_options_t){.connect_timeout = LIMIT});
  int client = greeted_as(0);
  say(client, "x");
  while (sound_front(front).unused > 0) uv_run(loop, UV_RUN_NOWAIT);
  uv_sleep(2 * LIMIT);
  UNTIL(sound_front(front).joined + sound_front(front).failed > 0);
  EQUAL(0, sound_front(front).failed);
  end_all(&client, 1);
}

/* -- Replacing ------------------------------------------------------------ */

static void exchanges(void) {
  int elsewhere = listening();
  begin((rover_front_options_t){0});
  int unused = greeted_as(0), used = greeted_as(1);
  say(used, "x");
  int server = accepted(backend);
  hear(server, "x");
  int port = front_port(front);
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address.port = port,
                                        .weight = 1,
                                        .backend.port = port_of(elsewhere),
                                        .max_clients = 3,
                                        .data = &port}));
  EQUAL(1, rover_front_listens_for(front, other));
  EQUAL(0, rover_front_listens_for(other, front));
  EQUAL(0, rover_front_take_listener(other, front));
  EQUAL(0, rover_front_is_listening(front));
  rover_front_exchange(front, other);
  EQUAL(1, rover_front_is_listening(front));
  EQUAL(port, front_port(front));
  EQUAL(3, rover_front_options(front)->max_clients);
  CHECK(rover_front_data(front) == &port);
  EQUAL(2, sound_front(front).open);
  EQUAL(0, sound_front(other).accepted);
  close_front(other, 0);
  int third = greeted_as(2);
  EQUAL(0, gone(calling(front)));
  say(server, "y");
  hear(used, "y");
  say(unused, "z");
  int new = accepted(elsewhere);
  hear(new, "z");
  int fds[] = {unused, used, server, third, new, elsewhere};
  end_all(fds, 6);
}

static void exchanges_weights(void) {
  int fds[4], alive = 0;
  begin((rover_front_options_t){0});
  for (int i = 0; i < 4; i++) fds[i] = greeted_as(i);
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address.port = front_port(front),
                                        .weight = .5,
                                        .drain_timeout = 1000,
                                        .backend.port = port_of(backend)}));
  EQUAL(0, rover_front_take_listener(other, front));
  rover_front_exchange(front, other);
  close_front(other, 0);
  UNTIL(sound_front(front).ending == 2); /* the surplus */
  settle();
  for (int i = 0; i < 4; i++) alive += is_open(fds[i]);
  EQUAL(2, alive);
  int fifth = greeted_as(9);
  close(fifth);
  end_all(fds, 4);
}

/* What is found out of a backend does not hold for another. */
static void exchanges_backend(void) {
  begin((rover_front_options_t){0});
  int client = greeted_as(0);
  vacate();
  say(client, "x");
  EQUAL(0, gone(client));
  EQUAL(0, rover_front_is_up(front));
  backend = listening();
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address.port = front_port(front),
                                        .events = telling_front,
                                        .backend.port = port_of(backend)}));
  EQUAL(0, rover_front_take_listener(other, front));
  rover_front_exchange(front, other);
  UNTIL(told_front.backend == 2 && told_front.up);
  close_front(other, 0);
  close(greeted_as(0));
  end();
}

static void takes_path(void) {
  char path[108];
  struct stat stat_of;
  snprintf(path, sizeof path, "%s/front.sock", folder);
  begin((rover_front_options_t){.address.path = path});
  CHECK(stat(path, &stat_of) == 0);
  EQUAL(0600, stat_of.st_mode & 0777);
  rover_front_t *other;
  EQUAL(0, rover_front_new(
               &other, loop,
               &(rover_front_options_t){.address = {.path = path, .mode = 0666},
                                        .backend.port = 1}));
  EQUAL(1, rover_front_listens_for(front, other));
  EQUAL(0, rover_front_take_listener(other, front));
  CHECK(stat(path, &stat_of) == 0);
  EQUAL(0666, stat_of.st_mode & 0777);
  close_front(other, 0);
  CHECK(stat(path, &stat_of) < 0);
  end();
}

static void callbacks_close(void) {
  for (int nests = 0; nests < 2; nests++) {
    begin((rover_front_options_t){.health_interval = 1});
    told_front.closes = true;
    told_front.nests = nests;
    int client = greeted_as(0);
    vacate();
    say(client, "x");
    EQUAL(0, gone(client));
    UNTIL(fronts_closed == 1);
  }
}

const struct check checks[] = {
    {"rover_front_new()", "refuses what is out of range, or open to all",
     refuses},
    {"rover_front_options()", "has the defaults and copies text", defaults},
    {"rover_front_listen()", "listens once, and not when closing", listens},
    {"rover_front_listen_fd()", "listens on what listens already", listens_fd},
    {"rover_front_listen_fd()", "listens on a Unix socket, wherever it is",
     listens_fd_at_path},
    {"rover_front_leave()", "leaves all to another, without a slot given twice",
     is_followed},
    {"the lowest free index", "is what a naive model says", slots_as_a_model},
    {"the slot number", "is exactly ceil((i + 1) / weight) - 1", numbers},
    {"a connection", "gets the lowest free slot, however others ended",
     gives_lowest},
    {"a flood of probes", "costs the backend nothing", floods},
    {"rover_front_set_weight()", "concerns slots that are given from then on",
     weighs},
    {"a connection", "is joined at its first byte, and no sooner", joins},
    {"a connection", "that has ended its side is joined all the same",
     joins_half_closed},
    {"a backend", "that says something and closes is heard", ended_by_backend},
    {"a reset", "is passed on, both ways", resets},
    {"a connection", "that is kept is joined after kept_after", joins_kept},
    {"a connection", "is joined before its slot line, if that is wanted",
     joins_first},
    {"Unix sockets", "do as front and as backend, and may come later",
     joins_paths},
    {"much", "passes both ways", much},
    {"a backend that refuses", "is down until a check finds it up", goes_down},
    {"a backend that is never checked", "is never found down", never_checked},
    {"rover_front_exchange()", "forgets what it found if checks end with it",
     no_longer_checked},
    {"a backend whose queue is full", "is tried again, and down after three",
     full_queue},
    {"a backend that is silent", "is down after three timeouts",
     silent_backend},
    {"rover_front_set_down()", "holds until it is undone", set_down},
    {"bytes behind our end", "reset the client, and reach nobody",
     late_for_the_end},
    {"max_clients", "closes newcomers", limits},
    {"max_per_address", "closes newcomers of that address", limits_addresses},
    {"allow", "says who may connect", allows},
    {"a front", "has a descriptor for a backend while there are no descriptors",
     exhausted},
    {"a front", "turns clients away when it has no descriptors left", used_up},
    {"idle_timeout", "resets joined ones and ends unused ones", idle},
    {"half_close_timeout", "closes one that does not end", never_ends},
    {"connect_timeout", "counts once the loop has polled", held_up},
    {"rover_front_exchange()", "follows a lowered weight", exchanges_weights},
    {"rover_front_exchange()", "leaves connections and slots untouched",
     exchanges},
    {"rover_front_exchange()", "forgets what it found of another backend",
     exchanges_backend},
    {"rover_front_take_listener()", "takes a path, and its mode", takes_path},
    {"a front", "may be closed in its callbacks", callbacks_close},
    {NULL, NULL, NULL}};
