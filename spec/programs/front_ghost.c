/* The promises of <callosum/front.h> about clients that vanish, and about those
 * that are alive and take in nothing: all in one, since it takes seconds to
 * tell them apart. */
#include "fronts.h"
#include "network.h"

static int calling_at(const char *host) {
  struct sockaddr_in6 name;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  uint64_t before = sound_front(front).unused;
  EQUAL(0, uv_ip6_addr(host, front_port(front), &name));
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
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

static void tells_apart(void) {
  enum { TIMEOUT = 2000 };
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
  uint64_t took = (uv_hrtime() - from) / 1000000;
  CHECK(took > TIMEOUT - 1000 && took < 4 * TIMEOUT);
  EQUAL(2, sound_front(front).reset);
  UNTIL(uv_hrtime() - from > 4 * TIMEOUT * UINT64_C(1000000));
  EQUAL(2, sound_front(front).open);
  CHECK(is_open(alive.server));
  shutdown(alive.server, SHUT_WR);
  EQUAL(sent + strlen("2\r\n"), drained(alive.client));
  int fds[] = {unused,      lost,        alive.client, alive.server,
               idle.client, idle.server, owing.client, owing.server};
  end_all(fds, 8);
}

const struct check checks[] = {
    {"a client that vanishes",
     "is given up in dead_peer_timeout, one that takes in nothing is not",
     tells_apart},
    {NULL, NULL, NULL}};
