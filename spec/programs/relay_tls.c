/* What a relay and a front promise of connections between them that are secured:
 * a client, a relay, TLS, a front, its backend. Whatever the client or the
 * backend does reaches the other as if nothing were between them. */
#define HAS_WORKERS
#include "rovers.h"
#include "fronts.h"
#include "secured.h"

#include <callosum/relay.h>

#include "relay/reload.h"

#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>

static struct told told;
static rover_t *rover;
static rover_relay_t *relay;
static rover_tls_t *ours, *theirs;
static int relays_closed;

/* -- The chain ------------------------------------------------------------ */

static rover_relay_stats_t relayed(void) {
  rover_relay_stats_t s;
  rover_relay_stats_get(relay, &s);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.running);
  return s;
}

static void on_client(rover_relay_t *own, rover_relay_client_t *client_) {
  (void)own;
  CHECK(told.socket);
  EQUAL(0, rover_relay_client_join(client_, told.socket));
  told.socket = NULL;
}

static void on_relay_closed(rover_relay_t *own) {
  (void)own;
  relays_closed++;
}

static rover_relay_t *relay_of(rover_relay_options_t options) {
  rover_relay_t *own;
  options.events.client = on_client;
  options.wait_timeout = 60000;
  options.workers = workers;
  EQUAL(0, rover_relay_new(&own, loop, &options));
  return own;
}

/* The rover connects to that port, which leads to the front. */
static void start_at(int port, rover_front_options_t options,
                     rover_relay_options_t relay_options) {
  ours = client("client");
  theirs = server("server", "ca.crt");
  options.tls = theirs;
  begin(options);
  rover_options_t rover_options = {.tls = ours};
  rover = roving(&told, port ? port : front_port(front), &rover_options);
  relay = relay_of(relay_options);
  EQUAL(0, rover_relay_listen(relay));
}

/* The backend is connected to as soon as there is a kept socket. */
static void start(void) {
  start_at(0, (rover_front_options_t){.connect_on = ROVER_FRONT_ON_SLOT},
           (rover_relay_options_t){0});
}

static void close_all(void) {
  relays_closed = 0;
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  UNTIL(relays_closed == 1);
  finish(rover, &told);
  end();
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

static void tune(const char *name, const char *value) {
  char path[64];
  snprintf(path, sizeof path, "/proc/sys/net/ipv4/%s", name);
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  CHECK(write(fd, value, strlen(value)) == (ssize_t)strlen(value));
  close(fd);
}

/* If we may, all connections from now on have small buffers: little is enough to
 * fill what is between two ends. */
static void have_little_room(void) {
  struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
    return;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  CHECK(ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
  close(fd);
  tune("tcp_wmem", "4096 16384 16384");
  tune("tcp_rmem", "4096 16384 16384");
}

static void make_prompt(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Has the rover keep a connection; returns the backend's end of it. */
static int kept_at_backend(void) {
  int before = told.connections;
  EQUAL(0, rover_connect(rover));
  int fd = accepted(backend);
  UNTIL(told.connections == before + 1);
  make_prompt(fd);
  return fd;
}

/* Joins a client with it; returns the client's end. */
static int join(void) {
  struct sockaddr_in name = loopback(rover_relay_options(relay)->address.port);
  uint64_t before = relayed().joined;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  UNTIL(relayed().joined == before + 1);
  make_prompt(fd);
  return fd;
}

/* -- What goes through it ------------------------------------------------- */

/* The ends of a chain, and what they have done. */
struct end {
  int fd;
  uint32_t key; /* of the bytes that it sends */
  size_t size;  /* how many it sends, before it ends */
  size_t sent, got;
  size_t reset_at; /* resets when it has got so many, unless it is 0 */
  size_t most;     /* at a time */
  bool is_deaf;    /* reads nothing */
  bool shut, ended, broken;
  struct end *other;
};

static uint32_t seed;

static uint32_t any(uint32_t below) {
  seed = seed * 1664525 + 1013904223;
  return (uint32_t)((uint64_t)seed * below >> 32);
}

/* Each byte of a stream depends on its place. */
static unsigned char byte_at(uint32_t key, size_t place) {
  uint32_t mixed = ((uint32_t)place ^ key) * 2654435761u;
  return (unsigned char)(mixed >> 24);
}

static bool is_over(const struct end *end) {
  return end->broken || (end->ended && end->shut);
}

static void break_end(struct end *self) {
  self->broken = true;
  close(self->fd);
}

/* Only a reset is an error. */
static void check_error(struct end *self) {
  if (errno == EAGAIN) return;
  if (!self->other->broken)
    failed(__FILE__, __LINE__, "%s after %zu of %zu bytes, %zu sent",
           strerror(errno), self->got, self->other->size, self->sent);
  break_end(self);
}

static void give(struct end *self) {
  static unsigned char bytes[1 << 16];
  size_t length = self->size - self->sent;
  if (length > self->most) length = self->most;
  if (length > 0) length = 1 + any((uint32_t)length);
  for (size_t i = 0; i < length; i++)
    bytes[i] = byte_at(self->key, self->sent + i);
  ssize_t n = length ? send(self->fd, bytes, length, MSG_NOSIGNAL) : 0;
  if (n < 0) {
    check_error(self);
    return;
  }
  self->sent += (size_t)n;
  if (self->sent < self->size) return;
  CHECK(shutdown(self->fd, SHUT_WR) == 0 || self->other->broken);
  self->shut = true;
}

static void take(struct end *self) {
  static unsigned char bytes[1 << 16];
  ssize_t n = recv(self->fd, bytes, 1 + any((uint32_t)self->most), 0);
  if (n < 0) {
    check_error(self);
    return;
  }
  for (ssize_t i = 0; i < n; i++)
    if (bytes[i] != byte_at(self->other->key, self->got + (size_t)i))
      failed(__FILE__, __LINE__, "byte %zu is wrong", self->got + (size_t)i);
  self->got += (size_t)n;
  if (n > 0) return;
  self->ended = true;
  if (!self->other->shut || self->got != self->other->size)
    failed(__FILE__, __LINE__, "an end after %zu of %zu bytes", self->got,
           self->other->size);
}

static void act(struct end *self) {
  if (is_over(self)) return;
  if (!self->shut) give(self);
  if (!self->broken && !self->ended && !self->is_deaf) take(self);
  if (self->broken || !self->reset_at || self->got < self->reset_at) return;
  self->broken = true;
  reset(self->fd);
}

static void pair_up(struct end ends[2]) {
  static uint32_t keys;
  for (int i = 0; i < 2; i++) {
    ends[i].other = &ends[!i];
    ends[i].key = ++keys * 7919;
    if (!ends[i].most) ends[i].most = 1 << 16;
  }
}

/* A new chain, whose client is the first of the two ends. */
static void chain(struct end ends[2]) {
  ends[1].fd = kept_at_backend();
  ends[0].fd = join();
  pair_up(ends);
}

static bool act_all(struct end (*ends)[2], int count) {
  bool over = true;
  for (int i = 0; i < count; i++) {
    for (int side = 0; side < 2; side++) {
      act(&ends[i][side]);
      over &= is_over(&ends[i][side]);
    }
  }
  return over;
}

static void close_ends(struct end (*ends)[2], int count) {
  for (int i = 0; i < count; i++)
    for (int side = 0; side < 2; side++)
      if (!ends[i][side].broken) close(ends[i][side].fd);
}

/* Until all of them have said and seen everything. */
static void exchange(struct end (*ends)[2], int count) {
  UNTIL(act_all(ends, count));
  close_ends(ends, count);
}

/* -- In order ------------------------------------------------------------- */

static void is_one(void) {
  start();
  int far = kept_at_backend(), near = join();
  say(near, "question");
  hear(far, "question");
  say(far, "answer");
  hear(near, "answer");
  rover_relay_stats_t s = relayed();
  EQUAL(8, s.received);
  EQUAL(6, s.sent);
  close(near);
  EQUAL(0, drained(far));
  close(far);
  UNTIL(relayed().ended == 1 && sound_front(front).ended == 1);
  close_all();
}

static void carries_megabytes(void) {
  enum { SIZE = 6 << 20 };
  start();
  struct end ends[][2] = {{{.size = SIZE}, {.size = SIZE + 77777}}};
  chain(ends[0]);
  exchange(ends, 1);
  UNTIL(relayed().ended == 1 && sound_front(front).ended == 1);
  rover_relay_stats_t s = relayed();
  EQUAL(SIZE, s.received);
  EQUAL(SIZE + 77777, s.sent);
  close_all();
}

static void carries_single_bytes(void) {
  start();
  int far = kept_at_backend(), near = join();
  for (int i = 0; i < 300; i++) {
    char text[2] = {(char)('a' + i % 26)};
    say(i % 2 ? near : far, text);
    hear(i % 2 ? far : near, text);
  }
  close(near);
  close(far);
  close_all();
}

/* One ends at once, and the other goes on for a while. */
static void carries_the_rest(void) {
  enum { SIZE = 3 << 20 };
  start();
  for (int first = 0; first < 2; first++) {
    struct end ends[][2] = {
        {{.size = first ? SIZE : 10}, {.size = first ? 10 : SIZE}}};
    chain(ends[0]);
    struct end *ending = &ends[0][first], *other = ending->other;
    other->most = 1 << 14;
    UNTIL((act(ending), ending->shut));
    UNTIL((take(other), other->ended));
    exchange(ends, 1);
    UNTIL(relayed().ended == (uint64_t)first + 1);
  }
  EQUAL(0, relayed().reset);
  close_all();
}

/* Nothing is asked for in the order in which it comes. */
static void carries_many(void) {
  enum { COUNT = 200 };
  static struct end ends[COUNT][2];
  start();
  seed = 2;
  for (int i = 0; i < COUNT; i++) {
    for (int side = 0; side < 2; side++)
      ends[i][side] = (struct end){.size = any(i % 20 ? 5000 : 400000),
                                   .most = i % 3 ? 1 << 16 : 700};
    chain(ends[i]);
    if (i % 16 == 0) act_all(ends, i + 1);
  }
  exchange(ends, COUNT);
  UNTIL(relayed().ended == COUNT && sound_front(front).ended == COUNT);
  close_all();
}

/* -- Slowly --------------------------------------------------------------- */

/* How much goes in at that side of chains until nothing moves any more. */
static size_t filled(struct end (*ends)[2], int count, int side) {
  size_t last = 0;
  for (int same = 0; same < 5; same++) {
    size_t sum = 0;
    for (int round = 0; round < 20; round++) {
      for (int i = 0; i < count; i++) act(&ends[i][side]);
      uv_run(loop, UV_RUN_NOWAIT);
    }
    settle();
    for (int i = 0; i < count; i++) sum += ends[i][side].sent;
    if (sum != last) same = 0;
    last = sum;
  }
  return last;
}

static void waits_for_the_reader(void) {
  enum { SIZE = 40 << 20 };
  have_little_room();
  for (int deaf = 0; deaf < 2; deaf++) {
    start();
    struct end ends[][2] = {{{.size = SIZE}, {.size = SIZE}}};
    ends[0][deaf].is_deaf = true;
    ends[0][deaf].size = 12345; /* goes the other way all the same */
    chain(ends[0]);
    struct end *reader = &ends[0][deaf], *writer = reader->other;
    UNTIL((act(reader), act(writer), writer->ended));
    CHECK(filled(ends, 1, !deaf) < SIZE);
    EQUAL(0, reader->got);
    reader->is_deaf = false;
    writer->size = writer->sent + 100000;
    exchange(ends, 1);
    close_all();
  }
}

/* An end for which TLS has no room yet comes behind all that is before it. The
 * sizes are about what there is room for. Every other chain has ended the other
 * way before. */
static void waits_for_its_end(void) {
  enum { COUNT = 80 };
  static struct end ends[COUNT][2];
  have_little_room();
  for (int deaf = 0; deaf < 2; deaf++) {
    size_t room = SIZE_MAX;
    start();
    for (int i = 0; i < COUNT; i++) {
      struct end *reader = &ends[i][deaf], *writer = &ends[i][!deaf];
      *reader = (struct end){.is_deaf = true};
      *writer = (struct end){.size = room};
      chain(ends[i]);
      if (i == 0) room = writer->size = filled(ends, 1, !deaf);
      room -= room / COUNT / 2;
      if (i % 2) act(reader);
    }
    filled(ends, COUNT, !deaf);
    for (int i = 0; i < COUNT; i++) act(&ends[i][deaf]);
    for (int i = 0; i < 5; i++) settle();
    for (int i = 0; i < COUNT; i++) ends[i][deaf].is_deaf = false;
    exchange(ends, COUNT);
    UNTIL(relayed().ended == COUNT && sound_front(front).ended == COUNT);
    close_all();
  }
}

/* -- Resets --------------------------------------------------------------- */

static bool breaks(int fd) {
  char byte;
  ssize_t n = recv(fd, &byte, 1, 0);
  if (n >= 0) failed(__FILE__, __LINE__, n ? "a byte" : "an end");
  return errno != EAGAIN;
}

static void passes_resets_on(void) {
  start();
  for (int side = 0; side < 2; side++) {
    int far = kept_at_backend(), near = join();
    say(near, "x");
    hear(far, "x");
    if (side) say(near, "more, that is not read");
    reset(side ? far : near);
    UNTIL(breaks(side ? near : far));
    EQUAL(ECONNRESET, errno);
    close(side ? near : far);
    UNTIL(relayed().reset == (uint64_t)side + 1);
    UNTIL(sound_front(front).reset == (uint64_t)side + 1);
  }
  close_all();
}

static void passes_on_what_came_before(void) {
  start();
  for (int side = 0; side < 2; side++) {
    int ends[2] = {-1, kept_at_backend()};
    ends[0] = join();
    say(ends[side], "that is enough");
    reset(ends[side]);
    hear(ends[!side], "that is enough");
    UNTIL(breaks(ends[!side]));
    close(ends[!side]);
  }
  close_all();
}

/* A backend that answers in the middle of an upload, and wants no more of it. */
static void passes_an_answer_on(void) {
  start();
  for (int i = 0; i < 40; i++) {
    int far = kept_at_backend(), near = join();
    say(near, "an upload");
    hear(far, "an upload");
    say(far, "413");
    reset(far);
    send(near, "goes on", 7, MSG_NOSIGNAL);
    hear(near, "413");
    UNTIL(send(near, "and on", 6, MSG_NOSIGNAL) < 0 && errno != EAGAIN);
    CHECK(errno == ECONNRESET || errno == EPIPE);
    close(near);
  }
  close_all();
}

/* Whoever is reset never sees an end instead, wherever the bytes are. */
static void never_makes_an_end_of_one(void) {
  enum { COUNT = 60 };
  static struct end ends[COUNT][2];
  start();
  seed = 3;
  for (int i = 0; i < COUNT; i++) {
    for (int side = 0; side < 2; side++)
      ends[i][side] = (struct end){.size = 200000 + any(1000000),
                                   .most = i % 3 ? 1 << 16 : 1 << 13};
    ends[i][i % 2].reset_at = 1 + any(190000);
    chain(ends[i]);
  }
  exchange(ends, COUNT);
  UNTIL(relayed().running == 0 && sound_front(front).running == 0);
  close_all();
}

/* Between the rover and the front, who copies what is encrypted. */
static int middle, toward[2];

static void forward(int from, int to) {
  char bytes[4096];
  ssize_t n = recv(from, bytes, sizeof bytes, 0);
  if (n > 0) CHECK(send(to, bytes, (size_t)n, MSG_NOSIGNAL) == n);
}

static bool forwards(void) {
  forward(toward[0], toward[1]);
  forward(toward[1], toward[0]);
  return true;
}

static void cut_short(void) {
  middle = listening();
  start_at(port_of(middle),
           (rover_front_options_t){.connect_on = ROVER_FRONT_ON_SLOT},
           (rover_relay_options_t){0});
  for (int round = 0; round < 4; round++) {
    int side = round % 2, with_bytes = round / 2;
    char bytes[8], record[64];
    int before = told.connections, far;
    EQUAL(0, rover_connect(rover));
    toward[0] = accepted(middle);
    toward[1] = calling(front);
    UNTIL(forwards() && (far = accept4(backend, NULL, NULL,
                                       SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0);
    UNTIL(forwards() && told.connections == before + 1);
    int near = join();
    say(side ? far : near, "begun");
    UNTIL(forwards() && recv(side ? near : far, bytes, sizeof bytes, 0) == 5);
    /* A FIN that nobody has announced, alone, then with bytes. */
    ssize_t n;
    if (with_bytes) {
      say(side ? far : near, "more");
      UNTIL((n = recv(toward[side], record, sizeof record, 0)) > 0);
      CHECK(send(toward[!side], record, (size_t)n, MSG_MORE) == n);
    }
    CHECK(shutdown(toward[!side], SHUT_WR) == 0);
    UNTIL((n = recv(side ? near : far, bytes, sizeof bytes, 0)) == 0 ||
          (n < 0 && errno != EAGAIN));
    EQUAL(-1, n);
    close(near);
    close(far);
    close(toward[0]);
    close(toward[1]);
    UNTIL(relayed().reset == (uint64_t)round + 1);
  }
  close(middle);
  close_all();
}

/* -- Before and besides --------------------------------------------------- */

/* The rover has seen that something came, and taken a record of it. */
static void hands_over_what_is_held(void) {
  start();
  for (int i = 0; i < 10; i++) {
    struct end ends[][2] = {{{.size = 100}, {.size = i % 2 ? 50 : 50000}}};
    if (i % 2) ends[0][1].most = 10; /* its end is not to come before */
    ends[0][1].fd = kept_at_backend();
    pair_up(ends[0]);
    UNTIL((give(&ends[0][1]), ends[0][1].sent >= 40));
    for (int turns = 0; turns < 5; turns++) settle();
    ends[0][0].fd = join();
    exchange(ends, 1);
    UNTIL(relayed().ended == (uint64_t)i + 1);
  }
  close_all();
}

static void sends_a_header_first(void) {
  static const char *const trusted[] = {"127.0.0.1", NULL};
  for (int version = 1; version <= 2; version++) {
    char expected[128];
    start_at(0,
             (rover_front_options_t){
                 .accept_proxy = 1, .trusted = trusted, .send_proxy = 1},
             (rover_relay_options_t){.send_proxy = version});
    int before = told.connections;
    EQUAL(0, rover_connect(rover));
    UNTIL(told.connections == before + 1);
    int near = join();
    int far = accepted(backend);
    snprintf(expected, sizeof expected,
             "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n", port_of(near),
             rover_relay_options(relay)->address.port);
    hear(far, expected);
    say(near, "question");
    hear(far, "question");
    close(near);
    close(far);
    close_all();
  }
}

/* A front that drains ends connections at rest in order. */
static void ends_in_a_drain(void) {
  start_at(0,
           (rover_front_options_t){.connect_on = ROVER_FRONT_ON_SLOT,
                                   .quiet_time = 1},
           (rover_relay_options_t){0});
  int far = kept_at_backend(), near = join();
  say(near, "question");
  hear(far, "question");
  say(far, "answer");
  hear(near, "answer");
  EQUAL(0, rover_front_drain(front, 300));
  EQUAL(0, drained(near));
  EQUAL(0, drained(far));
  UNTIL(sound_front(front).drained == 1);
  close(near);
  UNTIL(relayed().ended == 1 && sound_front(front).ending == 0);
  close(far);
  close_all();
}

static void lasts_through_exchanges(void) {
  enum { SIZE = 4 << 20 };
  start();
  struct end ends[][2] = {{{.size = SIZE, .most = 9000}, {.size = SIZE}}};
  chain(ends[0]);
  for (int i = 0; i < 5; i++) {
    rover_relay_t *next = relay_of((rover_relay_options_t){0});
    relays_closed = 0;
    rover_relay_exchange(relay, next);
    EQUAL(0, rover_relay_close(next, 0, on_relay_closed));
    UNTIL((act_all(ends, 1), relays_closed == 1));
  }
  exchange(ends, 1);
  UNTIL(relayed().ended == 1);
  close_all();
}

static void cut_by_closing(void) {
  start();
  int far = kept_at_backend(), near = join();
  say(near, "x");
  hear(far, "x");
  relays_closed = 0;
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  UNTIL(relays_closed == 1);
  UNTIL(breaks(near));
  UNTIL(breaks(far));
  UNTIL(sound_front(front).reset == 1);
  close(near);
  close(far);
  finish(rover, &told);
  end();
  rover_tls_unref(ours);
  rover_tls_unref(theirs);
}

const struct check checks[] = {
    {"a secured pair", "is like one connection", is_one},
    {"a secured pair", "carries megabytes both ways", carries_megabytes},
    {"a secured pair", "carries bytes one by one", carries_single_bytes},
    {"a secured pair", "carries the rest once a side has ended",
     carries_the_rest},
    {"200 secured pairs", "carry whatever they are given", carries_many},
    {"a secured pair", "waits for a reader that is slow", waits_for_the_reader},
    {"a secured pair", "ends behind what waits for the reader",
     waits_for_its_end},
    {"a secured pair", "passes resets on", passes_resets_on},
    {"a secured pair", "passes on what came before a reset",
     passes_on_what_came_before},
    {"a secured pair", "passes an answer on that comes during an upload",
     passes_an_answer_on},
    {"a secured pair", "never ends in order if a side was reset",
     never_makes_an_end_of_one},
    {"a secured pair", "is reset if its TLS is cut short", cut_short},
    {"a secured pair", "begins with what the socket held",
     hands_over_what_is_held},
    {"a secured pair", "begins with a PROXY header", sends_a_header_first},
    {"a secured pair", "ends in order when the front drains", ends_in_a_drain},
    {"a secured pair", "lasts while relays are exchanged",
     lasts_through_exchanges},
    {"a secured pair", "is reset when the relay closes", cut_by_closing},
    {NULL, NULL, NULL}};
