/* The promises of <callosum/rover.h> about peers that vanish while bytes are
 * under way to them, and about those that are alive and take in nothing: both
 * in one, since it takes seconds to tell them apart. */
#include "network.h"
#include "sockets.h"

#include <callosum/relay.h>

/* Two seconds instead of 25. */
static void hurry(int fd) {
  static const int options[] = {TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT};
  int one = 1;
  for (int i = 0; i < 3; i++)
    CHECK(setsockopt(fd, IPPROTO_TCP, options[i], &one, sizeof one) == 0);
}

/* Has the descriptors hurry that the library made, which have keepalive. */
static void hurry_all(void) {
  for (int fd = 0; fd < 256; fd++) {
    int on = 0;
    socklen_t size = sizeof on;
    if (!getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &size) && on) hurry(fd);
  }
}

/* -- Of a rover ----------------------------------------------------------- */

struct end {
  rover_socket_t *socket;
  int fd, status;
  uint64_t closed;
};

static void on_end_closed(rover_socket_t *socket, int status) {
  struct end *end = rover_socket_data(socket);
  end->status = status;
  end->closed = uv_hrtime();
}

static const rover_socket_events_t ending = {.close = on_end_closed};

static int listening_at(const char *host) {
  struct sockaddr_in6 name;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int port = server_port;
  EQUAL(0, uv_ip6_addr(host, port, &name));
  CHECK(bind(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(listen(fd, 64) == 0);
  return fd;
}

/* A server of both addresses, and a socket kept to one of them. */
static struct end kept_at(const char *host) {
  struct end end = {.status = 1};
  EQUAL(0, rover_server_add(rover, "s", host, server_port));
  end.fd = kept(rover, &told, listener, "7\r\n");
  end.socket = told.socket;
  return end;
}

static void write_to(struct end *end, size_t length) {
  char *bytes = calloc(1, length);
  uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);
  rover_socket_set_events(end->socket, &ending, end);
  EQUAL(0, rover_socket_write(end->socket, &buffer, 1, NULL, NULL));
  free(bytes);
}

/* -- Of a relay ----------------------------------------------------------- */

static rover_relay_t *relay;
static rover_relay_client_t *waiting;
static int relays_closed;

static void on_client(rover_relay_t *of, rover_relay_client_t *client) {
  (void)of;
  waiting = client;
}

static void on_relay_closed(rover_relay_t *of) {
  (void)of;
  relays_closed++;
}

static int calling(const char *host) {
  struct sockaddr_in6 name;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EQUAL(0, uv_ip6_addr(host, rover_relay_options(relay)->address.port, &name));
  waiting = NULL;
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  UNTIL(waiting);
  return fd;
}

/* A client, and the server that it is joined with. */
struct pair {
  int client, server;
};

static struct pair joined(const char *client, const char *server) {
  struct pair pair = {.client = calling(client)};
  pair.server = kept_at(server).fd;
  EQUAL(0, rover_relay_client_join(waiting, told.socket));
  return pair;
}

static void tells_apart(void) {
  const char *v4 = "::ffff:127.0.0.1", *v6 = "::1";
  if (!has_network()) return; /* nor may another */
  const rover_relay_options_t options = {.address.host = "::",
                                         .events.client = on_client};
  listener = listening_at("::");
  rover = roving(&told, 0, NULL);
  EQUAL(0, rover_relay_new(&relay, loop, &options));
  EQUAL(0, rover_relay_listen(relay));
  struct end deaf = kept_at("127.0.0.1"), ghost = kept_at(v6);
  struct pair alive = joined(v4, "127.0.0.1");
  struct pair dead_client = joined(v6, "127.0.0.1");
  struct pair dead_server = joined(v4, v6);
  struct end owing = kept_at(v6); /* to be joined later */
  int owing_client = calling(v4);
  hurry_all();
  write_to(&deaf, PLENTY);
  size_t sent = fill(alive.server);
  vanish();
  uint64_t from = uv_hrtime();
  write_to(&ghost, 1);
  say(dead_client.server, "to nobody");
  say(dead_server.client, "to nobody");
  write_to(&owing, 1);
  EQUAL(0, rover_relay_client_join(waiting, owing.socket));
  UNTIL(ghost.closed > 0 && is_over(dead_client.server) &&
        is_over(dead_server.client) && is_over(owing_client));
  EQUAL(UV_ETIMEDOUT, ghost.status);
  CHECK(uv_hrtime() - from > 1900 * UINT64_C(1000000));
  CHECK(uv_hrtime() - from < 8000 * UINT64_C(1000000));
  rover_relay_stats_t s;
  rover_relay_stats_get(relay, &s);
  EQUAL(3, s.reset);
  EQUAL(1, s.running);
  EQUAL(0, deaf.closed);
  rover_socket_shutdown(deaf.socket, NULL, NULL);
  EQUAL(PLENTY, drained(deaf.fd));
  shutdown(alive.server, SHUT_WR);
  EQUAL(sent, drained(alive.client));
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  UNTIL(relays_closed);
  finish(rover, &told);
  int fds[] = {deaf.fd, ghost.fd, alive.client, alive.server,
               dead_client.client, dead_client.server, dead_server.client,
               dead_server.server, owing.fd, owing_client, listener};
  for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) close(fds[i]);
}

const struct check checks[] = {
    {"a peer that vanishes while bytes are under way",
     "is given up in keepalive's time, one that takes in nothing is not",
     tells_apart},
    {NULL, NULL, NULL}};
