/* The promises of <callosum/front.h> about clients that vanish, and about those
 * that are alive and take in nothing: most in one, since it takes seconds to
 * tell them apart. */
#include "fronts.h"
#include "network.h"

enum { TIMEOUT = 2000, AT_MOST = 4 * TIMEOUT };

/* Connected as far as the kernel goes: the front has not seen it yet. */
static int queued_at(const char *host) {
  struct sockaddr_in6 name;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EQUAL(0, uv_ip6_addr(host, front_port(front), &name));
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

static int calling_at(const char *host) {
  uint64_t before = sound_front(front).unused;
  int fd = queued_at(host);
  UNTIL(sound_front(front).unused == before + 1);
  return fd;
}

/* A client, and the backend's end. */
struct joined {
  int client, server;
};

static struct joined joined_at(const char *host) {
  struct joined joined = {.client = calling_at(host)};
  say(joined.client, "x");
  joined.server = accepted(backend);
  hear(joined.server, "x");
  return joined;
}

static void in_time(uint64_t from) {
  uint64_t took = (uv_hrtime() - from) / 1000000;
  CHECK(took > TIMEOUT - 1000 && took < AT_MOST);
}

static void tells_apart(void) {
  const char *v4 = "::ffff:127.0.0.1", *v6 = "::1";
  if (!has_network()) return; /* nor may another */
  begin((rover_front_options_t){.address.host = "::",
                                .is_public = 1,
                                .keepalive = 1,
                                .dead_peer_timeout = TIMEOUT});
  int unused = calling_at(v4), lost = calling_at(v6);
  struct joined alive = joined_at(v4), idle = joined_at(v6);
  struct joined owing = joined_at(v6);
  size_t sent = fill(alive.server);
  vanish();
  uint64_t from = uv_hrtime();
  say(owing.server, "to nobody");
  UNTIL(is_over(owing.server) && is_over(idle.server) &&
        sound_front(front).probes == 1);
  in_time(from);
  EQUAL(2, sound_front(front).reset);
  UNTIL(uv_hrtime() - from > AT_MOST * UINT64_C(1000000));
  EQUAL(2, sound_front(front).open);
  CHECK(is_open(alive.server));
  shutdown(alive.server, SHUT_WR);
  EQUAL(sent + strlen("2\r\n"), drained(alive.client));
  int fds[] = {unused,      lost,        alive.client, alive.server,
               idle.client, idle.server, owing.client, owing.server};
  end_all(fds, 8);
}

/* A front whose client cannot acknowledge its slot line, nor has to say
 * anything in order to be joined. */
struct silent {
  rover_front_t *front;
  int backend, client, server;
};

static struct silent silent_by(int connect_on) {
  begin((rover_front_options_t){.address.host = "::",
                                .is_public = 1,
                                .connect_on = connect_on,
                                .kept_after = 1,
                                .keepalive = 1,
                                .dead_peer_timeout = TIMEOUT});
  return (struct silent){front, backend, queued_at("::1"), -1};
}

static void given_up_unacknowledged(void) {
  if (!has_network()) return; /* nor may another */
  struct silent silent[] = {silent_by(ROVER_FRONT_ON_KEPT),
                            silent_by(ROVER_FRONT_ON_SLOT)};
  vanish();
  uint64_t from = uv_hrtime();
  for (int i = 0; i < 2; i++) silent[i].server = accepted(silent[i].backend);
  UNTIL(is_over(silent[0].server) && is_over(silent[1].server));
  in_time(from);
  for (int i = 0; i < 2; i++) {
    front = silent[i].front;
    backend = silent[i].backend;
    EQUAL(1, sound_front(front).reset);
    end_all((int[]){silent[i].client, silent[i].server}, 2);
  }
}

const struct check checks[] = {
    {"a client that vanishes",
     "is given up in dead_peer_timeout, one that takes in nothing is not",
     tells_apart},
    {"a client that vanishes before it acknowledges its slot line",
     "is given up in dead_peer_timeout, even if it is joined by then",
     given_up_unacknowledged},
    {NULL, NULL, NULL}};
