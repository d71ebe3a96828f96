/* The promises of <callosum/relay.h>. */
#define HAS_WORKERS
#include "rovers.h"

#include "relay/reload.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static struct told told;
static rover_t *rover;
static rover_relay_t *relay;
static int listener;

/* What the relay's callbacks told. */
static struct {
  int clients, closed, errors, relays;
  int status;              /* of the last client closed, or error */
  const char *reason;      /* of the last client closed */
  rover_relay_client_t *client; /* the last that came, until it is closed */
  char message[256];
} relayed;

static rover_relay_stats_t sound_relay(const rover_relay_t *of) {
  rover_relay_stats_t s;
  rover_relay_stats_get(of, &s);
  EQUAL(s.accepted, s.joined + s.refused + s.expired + s.gone + s.rejected +
                        s.handshaking + s.waiting);
  EQUAL(s.joined, s.ended + s.reset + s.cut + s.running);
  return s;
}

static void on_client(rover_relay_t *of, rover_relay_client_t *client) {
  sound_relay(of);
  CHECK(rover_relay_client_relay(client) == of &&
        rover_relay_client_is_waiting(client));
  CHECK(rover_relay_client_data(client) == NULL);
  relayed.clients++;
  relayed.client = client;
}

static void on_client_closed(rover_relay_t *of, rover_relay_client_t *client,
                             int status) {
  sound_relay(of);
  CHECK(!rover_relay_client_is_waiting(client));
  relayed.closed++;
  relayed.status = status;
  relayed.reason = rover_relay_client_reason(client);
  if (client == relayed.client) relayed.client = NULL;
}

static void on_relay_error(rover_relay_t *of, int status,
                           const char *message) {
  CHECK(of == relay);
  relayed.errors++;
  relayed.status = status;
  snprintf(relayed.message, sizeof relayed.message, "%s", message);
}

static void on_relay_closed(rover_relay_t *of) {
  rover_relay_stats_t s = sound_relay(of);
  EQUAL(0, s.waiting + s.running);
  relayed.relays++;
}

static const rover_relay_events_t relaying = {
    .client = on_client, .close = on_client_closed, .error = on_relay_error};

static rover_relay_t *made(const rover_relay_options_t *options) {
  rover_relay_options_t with = options ? *options : (rover_relay_options_t){0};
  rover_relay_t *own;
  with.workers = workers;
  EQUAL(0, rover_relay_new(&own, loop, workers ? &with : options));
  return own;
}

/* A relay that listens, and a rover that may keep sockets. */
static void begin_with(rover_relay_options_t options) {
  memset(&relayed, 0, sizeof relayed);
  options.events = relaying;
  relay = made(&options);
  EQUAL(0, rover_relay_listen(relay));
  listener = listening();
  rover = roving(&told, port_of(listener), NULL);
}

/* Nobody has waited too long, however slow the machine is. */
static void begin(void) {
  begin_with((rover_relay_options_t){.wait_timeout = 60000});
}

static void close_relay(rover_relay_t *own) {
  int before = relayed.relays;
  EQUAL(0, rover_relay_close(own, 0, on_relay_closed));
  EQUAL(before, relayed.relays);
  UNTIL(relayed.relays == before + 1);
}

static void end(void) {
  close_relay(relay);
  finish(rover, &told);
  close(listener);
}

static int port_to(const rover_relay_t *of) {
  return rover_relay_options(of)->address.port;
}

static int calling(const rover_relay_t *of) {
  struct sockaddr_in name = loopback(port_to(of));
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

/* Has a client come, and wait; returns its own end. */
static int waiting(void) {
  int before = relayed.clients;
  int fd = calling(relay);
  UNTIL(relayed.clients == before + 1);
  return fd;
}

static int is_reset(int fd) {
  char byte;
  return recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

/* -- Making it ------------------------------------------------------------ */

static void refuses(void) {
  static const char *const nobody[] = {NULL};
  static const char *const wrongly[] = {"::1", "10.0.0.1/8", NULL};
  static char path[512];
  const struct {
    const char *what;
    int error;
    rover_relay_options_t options;
  } wrong[] = {
      {"port -1", UV_EINVAL, {.address.port = -1}},
      {"port 65536", UV_EINVAL, {.address.port = 65536}},
      {"a name", UV_EINVAL, {.address.host = "example.org"}},
      {"no host", UV_EINVAL, {.address.host = ""}},
      {"no path", UV_EINVAL, {.address.path = ""}},
      {"mode -1", UV_EINVAL, {.address = {.path = "/x", .mode = -1}}},
      {"mode 01000", UV_EINVAL, {.address = {.path = "/x", .mode = 01000}}},
      {"a long path", UV_ENAMETOOLONG, {.address.path = path}},
      {"wait", UV_EINVAL, {.wait_timeout = ROVER_MS_MAX + 1}},
      {"idle", UV_EINVAL, {.idle_timeout = ROVER_MS_MAX + 1}},
      {"half", UV_EINVAL, {.half_close_timeout = ROVER_MS_MAX + 1}},
      {"drain", UV_EINVAL, {.drain_timeout = ROVER_MS_MAX + 1}},
      {"header", UV_EINVAL, {.header_timeout = ROVER_MS_MAX + 1}},
      {"version 3", UV_EINVAL, {.send_proxy = 3}},
      {"version -1", UV_EINVAL, {.send_proxy = -1}},
      {"nobody trusted", UV_EINVAL, {.accept_proxy = 1}},
      {"none trusted", UV_EINVAL, {.accept_proxy = 1, .trusted = nobody}},
      {"trusted", UV_EINVAL, {.trusted = wrongly}},
  };
  rover_relay_t *own = NULL;
  memset(path, 'p', sizeof((struct sockaddr_un *)0)->sun_path);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    snprintf(doing, sizeof doing, "%s", wrong[i].what);
    EQUAL(wrong[i].error, rover_relay_new(&own, loop, &wrong[i].options));
    CHECK(own == NULL);
  }
  EQUAL(UV_EINVAL, rover_relay_new(NULL, loop, NULL));
  EQUAL(UV_EINVAL, rover_relay_new(&own, NULL, NULL));
}

static void defaults(void) {
  rover_relay_t *own = made(NULL);
  const rover_relay_options_t *o = rover_relay_options(own);
  SAME("127.0.0.1", o->address.host);
  EQUAL(0, o->address.port);
  CHECK(o->address.path == NULL);
  EQUAL(5000, o->wait_timeout);
  CHECK(o->idle_timeout == ROVER_NEVER);
  EQUAL(30000, o->half_close_timeout);
  EQUAL(30000, o->drain_timeout);
  EQUAL(1000, o->max_clients);
  EQUAL(0, rover_relay_is_listening(own));
  CHECK(rover_relay_loop(own) == loop && rover_relay_data(own) == NULL);
  close_relay(own);

  char path[] = "/nowhere/relay.sock";
  own = made(&(rover_relay_options_t){.address.path = path, .data = path});
  path[1] = 'N';
  SAME("/nowhere/relay.sock", rover_relay_options(own)->address.path);
  EQUAL(0600, rover_relay_options(own)->address.mode);
  CHECK(rover_relay_data(own) == path);
  EQUAL(UV_ENOENT, rover_relay_listen(own));
  EQUAL(0, rover_relay_is_listening(own));
  close_relay(own);
}

static void listens(void) {
  begin();
  EQUAL(UV_EALREADY, rover_relay_listen(relay));
  CHECK(port_to(relay) > 0 && rover_relay_is_listening(relay));
  rover_relay_t *other = made(&(rover_relay_options_t){
      .address.port = port_to(relay)});
  EQUAL(UV_EADDRINUSE, rover_relay_listen(other));
  EQUAL(0, rover_relay_is_listening(other));
  EQUAL(0, rover_relay_close(relay, 0, on_relay_closed));
  EQUAL(UV_EINVAL, rover_relay_listen(relay));
  EQUAL(0, rover_relay_is_listening(relay));
  EQUAL(0, rover_relay_listen(other)); /* at once */
  UNTIL(relayed.relays == 1);
  close_relay(other);
  finish(rover, &told);
  close(listener);
}

/* -- Clients -------------------------------------------------------------- */

static void no_callbacks(void) {
  begin();
  rover_relay_set_events(relay, NULL, &told);
  CHECK(rover_relay_data(relay) == &told);
  int client = calling(relay);
  EQUAL(0, drained(client));
  EQUAL(1, sound_relay(relay).refused);
  close(client);
  end();
}

static void accessors(void) {
  struct sockaddr_storage name;
  int size = sizeof name, clients[3];
  begin();
  CHECK(rover_relay_client_first(relay) == NULL);
  for (int i = 0; i < 3; i++) {
    clients[i] = waiting();
    rover_relay_client_set_data(relayed.client, &clients[i]);
    EQUAL(0, rover_relay_client_peername(relayed.client,
                                         (struct sockaddr *)&name, &size));
    EQUAL(port_of(clients[i]), ntohs(((struct sockaddr_in *)&name)->sin_port));
  }
  EQUAL(UV_EINVAL, rover_relay_client_peername(relayed.client, NULL, &size));
  EQUAL(UV_EINVAL, rover_relay_client_peername(relayed.client,
                                               (struct sockaddr *)&name, NULL));
  rover_relay_client_t *client = rover_relay_client_first(relay);
  for (int i = 0; i < 3; i++, client = rover_relay_client_next(client))
    CHECK(rover_relay_client_data(client) == &clients[i]);
  CHECK(client == NULL);
  rover_relay_client_refuse(
      rover_relay_client_next(rover_relay_client_first(relay)));
  client = rover_relay_client_next(rover_relay_client_first(relay));
  CHECK(rover_relay_client_data(client) == &clients[2]);
  for (int i = 0; i < 3; i++) close(clients[i]);
  UNTIL(relayed.closed == 3);
  end();
}

static void joins(void) {
  begin();
  int server = kept(rover, &told, listener, "1\r\n");
  int client = waiting();
  say(client, "up");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  CHECK(rover_socket_is_closing(told.socket));
  CHECK(rover_relay_client_first(relay) == NULL);
  hear(server, "up");
  say(server, "down");
  hear(client, "down");
  EQUAL(0, sound(rover).kept);
  shutdown(client, SHUT_WR);
  EQUAL(0, drained(server));
  say(server, "late");
  hear(client, "late");
  close(server);
  EQUAL(0, drained(client));
  UNTIL(sound_relay(relay).ended == 1);
  UNTIL(sound_relay(relay).received == 2);
  UNTIL(sound_relay(relay).sent == 8);
  EQUAL(0, relayed.closed); /* no callback tells of it */
  close(client);
  end();
}

static int closed_with = 1; /* none yet */

static void note_closed(rover_socket_t *socket, int status) {
  (void)socket;
  closed_with = status;
}

/* The client waits on, and the socket is as it was. */
static void not_joined(int error, rover_socket_t *socket) {
  EQUAL(error, rover_relay_client_join(relayed.client, socket));
  CHECK(rover_relay_client_is_waiting(relayed.client));
}

static void join_fails(void) {
  static char plenty[8 << 20];
  uv_buf_t buffer = uv_buf_init(plenty, sizeof plenty);
  begin();
  int client = waiting();

  int server = kept(rover, &told, listener, "1\r\n");
  close(server); /* nobody has told the rover yet */
  not_joined(UV_ENOTCONN, told.socket);
  UNTIL(sound(rover).kept == 0);

  server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_socket_write(told.socket, &buffer, 1, NULL, NULL));
  not_joined(UV_EBUSY, told.socket);
  CHECK(!rover_socket_is_closing(told.socket));
  rover_socket_close(told.socket);
  not_joined(UV_EINVAL, told.socket);
  close(server);

  server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_socket_shutdown(told.socket, NULL, NULL));
  not_joined(UV_EBUSY, told.socket);
  EQUAL(0, drained(server));
  not_joined(UV_EPIPE, told.socket);
  CHECK(!rover_socket_is_closing(told.socket));
  close(server);

  server = kept(rover, &told, listener, "1\r\n");
  CHECK(rover_socket_stream(told.socket) != NULL); /* libuv has its descriptor */
  struct rlimit limit, none;
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 3;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  not_joined(UV_EMFILE, told.socket);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK(!rover_socket_is_closing(told.socket));
  rover_relay_client_t *joined = relayed.client;
  EQUAL(0, rover_relay_client_join(joined, told.socket));
  say(client, "x");
  hear(server, "x");
  EQUAL(1, sound_relay(relay).joined);
  close(client);
  close(server);
  end();
}

/* The reset that a join found is told of the socket, too. */
static void join_broken(void) {
  static const rover_socket_events_t events = {.close = note_closed};
  begin();
  int client = waiting();
  int server = kept(rover, &told, listener, "1\r\n");
  rover_socket_set_events(told.socket, &events, NULL);
  reset(server);
  not_joined(UV_ECONNRESET, told.socket);
  CHECK(!rover_socket_is_closing(told.socket));
  UNTIL(closed_with != 1);
  EQUAL(UV_ECONNRESET, closed_with);
  close(client);
  end();
}

/* A client of a relay that listens at a Unix socket, and waits there. */
static int waiting_at_path(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(name.sun_path, sizeof name.sun_path, "%s/relay.sock", folder);
  begin_with((rover_relay_options_t){.address.path = name.sun_path,
                                     .wait_timeout = 60000});
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
  UNTIL(relayed.clients == 1);
  return client;
}

/* The kernel gives less than there is where descriptors are passed along. Joins
 * the client, ends it and all else. */
static void hears_behind_descriptor(int client) {
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control = {0};
  struct iovec first = {.iov_base = "a", .iov_len = 1};
  struct msghdr message = {.msg_iov = &first, .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  settle();
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &client, sizeof client);
  CHECK(sendmsg(client, &message, 0) == 1);
  say(client, "bcd");
  hear(server, "abcd");
  close(client);
  close(server);
  end();
}

static void passes_descriptors(void) {
  hears_behind_descriptor(waiting_at_path());
}

static void passes_descriptors_after_exchange(void) {
  int client = waiting_at_path();
  rover_relay_t *port = made(&(rover_relay_options_t){
      .events = relaying, .wait_timeout = 60000});
  rover_relay_exchange(relay, port);
  close_relay(port);
  hears_behind_descriptor(client);
}

static size_t emptied(int fd) {
  static char bytes[1 << 16];
  ssize_t n = recv(fd, bytes, sizeof bytes, 0);
  settle();
  return n > 0 ? (size_t)n : 0;
}

/* Sends until the relay has taken nothing for a while: its buffers are full, and
 * the server's. Returns how many bytes that were. */
static size_t fill(int client) {
  static char plenty[1 << 16];
  size_t sent = 0;
  uint64_t received = 0;
  for (int still = 0; still < 50; still++) {
    ssize_t n;
    while ((n = send(client, plenty, sizeof plenty, MSG_NOSIGNAL)) > 0)
      sent += (size_t)n;
    settle();
    if (sound_relay(relay).received > received) still = 0;
    received = sound_relay(relay).received;
  }
  return sent;
}

/* splice() takes what is urgent for the end, and there is one behind it. */
static void urgent_in_bulk(void) {
  size_t got = 0;
  begin();
  int client = waiting();
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  size_t sent = fill(client);
  while (send(client, "!", 1, MSG_OOB | MSG_NOSIGNAL) < 0)
    got += emptied(server);
  while (send(client, "after", 5, MSG_NOSIGNAL) < 0) got += emptied(server);
  shutdown(client, SHUT_WR);
  EQUAL(sent + 5, got + drained(server));
  close(client);
  close(server);
  end();
}

static void closes(void) {
  begin_with((rover_relay_options_t){.wait_timeout = 500, .max_clients = 1});
  int one = waiting();
  rover_relay_client_t *client = relayed.client;
  rover_relay_client_refuse(client);
  rover_relay_client_refuse(client); /* harmless */
  EQUAL(UV_EINVAL, rover_relay_client_join(client, NULL));
  EQUAL(0, relayed.closed);
  UNTIL(relayed.closed == 1);
  EQUAL(0, relayed.status);
  EQUAL(0, drained(one));
  close(one);

  close(waiting());
  UNTIL(relayed.closed == 2);
  EQUAL(0, relayed.status);

  one = waiting();
  UNTIL(relayed.closed == 3);
  EQUAL(UV_ETIMEDOUT, relayed.status);
  close(one);

  one = waiting();
  int other = waiting();
  UNTIL(relayed.closed == 4);
  EQUAL(UV_ENOBUFS, relayed.status);
  EQUAL(0, drained(one));
  CHECK(is_open(other));
  EQUAL(0, rover_relay_close(relay, 1000, on_relay_closed));
  UNTIL(relayed.relays == 1);
  EQUAL(5, relayed.closed);
  EQUAL(UV_ECANCELED, relayed.status);
  EQUAL(0, drained(other));
  close(one);
  close(other);
  finish(rover, &told);
  close(listener);
}

static const char *const proxies[] = {"127.0.0.0/8", NULL};

static void proxied(void) {
  static const char header[] =
      "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x27\xc0\0\2\7\xc0\0\2\1\x12\x67\1\xbb"
      "\5\0\2id\2\0\2my\x20\0\x0e\3\0\0\0\0\x21\0\1v\x22\0\2me";
  struct sockaddr_in name;
  int size = sizeof name;
  rover_proxy_t p;
  begin_with((rover_relay_options_t){
      .wait_timeout = 60000, .accept_proxy = 1, .trusted = proxies});
  int client = calling(relay);
  CHECK(send(client, header, sizeof header - 2, 0) == sizeof header - 2);
  UNTIL(sound_relay(relay).handshaking == 1);
  settle();
  CHECK(!relayed.clients && !rover_relay_client_first(relay));
  say(client, "e"); /* its last byte */
  UNTIL(relayed.clients == 1);
  EQUAL(0, rover_relay_client_proxy(relayed.client, &p));
  EQUAL(2, p.version);
  CHECK(!p.is_local && p.has_tls && p.is_verified);
  CHECK(p.unique_id_length == 2 && !memcmp(p.unique_id, "id", 2));
  CHECK(p.authority_length == 2 && !memcmp(p.authority, "my", 2));
  CHECK(p.tls_version_length == 1 && *p.tls_version == 'v');
  CHECK(p.common_name_length == 2 && !memcmp(p.common_name, "me", 2));
  CHECK(((const struct sockaddr_in *)p.to)->sin_port == htons(443));
  EQUAL(0, rover_relay_client_peername(relayed.client,
                                       (struct sockaddr *)&name, &size));
  EQUAL(sizeof name, size);
  CHECK(name.sin_family == AF_INET && name.sin_port == htons(4711) &&
        name.sin_addr.s_addr == htonl(0xc0000207));
  EQUAL(UV_EINVAL, rover_relay_client_proxy(relayed.client, NULL));
  rover_relay_client_refuse(relayed.client);
  EQUAL(UV_EINVAL, rover_relay_client_proxy(relayed.client, &p));
  UNTIL(relayed.closed == 1);
  CHECK(!relayed.reason);
  close(client);

  client = calling(relay);
  say(client, "PROXY UNKNOWN\r\n");
  UNTIL(relayed.clients == 2);
  EQUAL(0, rover_relay_client_proxy(relayed.client, &p));
  CHECK(p.version == 1 && p.is_local && !p.from && !p.to && !p.has_tls);
  close(client);
  end();
}

static void no_header(void) {
  rover_proxy_t p;
  begin_with((rover_relay_options_t){
      .accept_proxy = 1, .trusted = proxies, .header_timeout = 50});
  const struct {
    const char *says, *reason;
    int status;
  } cases[] = {
      {"GET /", "it begins like none", UV_EPROTO},
      {"PROXY", "its PROXY header did not come in time", UV_ETIMEDOUT},
  };
  for (int i = 0; i < 2; i++) {
    int client = calling(relay);
    say(client, cases[i].says);
    UNTIL(relayed.closed == i + 1);
    EQUAL(cases[i].status, relayed.status);
    SAME(cases[i].reason, relayed.reason);
    UNTIL(is_reset(client));
    close(client);
  }
  EQUAL(2, sound_relay(relay).rejected);
  EQUAL(0, relayed.clients);
  end();

  static const char *const others[] = {"10.0.0.0/8", NULL};
  begin_with((rover_relay_options_t){.accept_proxy = 1, .trusted = others});
  int client = calling(relay);
  UNTIL(relayed.closed == 1);
  EQUAL(UV_EACCES, relayed.status);
  SAME("it is not trusted to send a PROXY header", relayed.reason);
  UNTIL(is_reset(client));
  close(client);
  end();

  begin();
  client = waiting();
  EQUAL(UV_ENOENT, rover_relay_client_proxy(relayed.client, &p));
  close(client);
  UNTIL(relayed.closed == 1);
  end();
}

/* Who may send one, and who has begun, change hands as all else does. */
static void exchanged_headers(void) {
  static const char *const others[] = {"10.0.0.0/8", NULL};
  begin_with((rover_relay_options_t){
      .wait_timeout = 60000, .accept_proxy = 1, .trusted = proxies});
  int client = calling(relay);
  say(client, "PROXY ");
  UNTIL(sound_relay(relay).handshaking == 1);
  rover_relay_t *new = made(&(rover_relay_options_t){
      .events = relaying, .accept_proxy = 1, .trusted = others});
  rover_relay_exchange(relay, new);
  SAME("10.0.0.0/8", rover_relay_options(relay)->trusted[0]);
  SAME("127.0.0.0/8", rover_relay_options(new)->trusted[0]);
  CHECK(rover_relay_options(new)->trusted != proxies);
  rover_relay_exchange(relay, new);
  close_relay(new);
  say(client, "UNKNOWN\r\n");
  UNTIL(relayed.clients == 1);
  close(client);
  end();
}

static void sends_header(void) {
  char line[128];
  begin_with((rover_relay_options_t){.wait_timeout = 60000, .send_proxy = 1});
  int server = kept(rover, &told, listener, "1\r\n");
  int client = waiting();
  snprintf(line, sizeof line, "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n",
           port_of(client), port_to(relay));
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  hear(server, line);
  say(client, "up");
  hear(server, "up");
  UNTIL(sound_relay(relay).received == 2);
  close(client);
  close(server);
  end();
}

/* Runs the loop for a while, in which it is to have nothing to do. */
static void idle(void) {
  clock_t busy = clock();
  uint64_t from = uv_hrtime();
  UNTIL(uv_hrtime() - from > 100 * UINT64_C(1000000));
  CHECK(clock() - busy < CLOCKS_PER_SEC / 20);
}

/* What is told again and again as long as nobody takes it up. */
static void urgent(void) {
  begin();
  int client = waiting();
  CHECK(send(client, "x!", 2, MSG_OOB) == 2);
  idle();
  shutdown(client, SHUT_WR);
  idle();
  CHECK(rover_relay_client_is_waiting(relayed.client));
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  hear(server, "x"); /* and not what is urgent */
  EQUAL(0, drained(server));
  close(client);
  close(server);

  client = waiting();
  server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  fill(client);
  send(client, "!", 1, MSG_OOB | MSG_NOSIGNAL);
  idle();
  shutdown(server, SHUT_WR);
  EQUAL(0, drained(client));
  shutdown(client, SHUT_WR);
  idle();
  EQUAL(1, sound_relay(relay).running);
  drained(server);
  UNTIL(sound_relay(relay).ended == 2);
  close(client);
  close(server);
  end();
}

static void exhausted(void) {
  struct rlimit limit, none;
  begin();
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in name = loopback(port_to(relay));
  CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  none = limit;
  none.rlim_cur = 3;
  CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
  CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
  UNTIL(relayed.errors == 1);
  EQUAL(UV_EMFILE, relayed.status);
  SAME("cannot accept connections: this process has no descriptors left; raise its "
       "limit of open files (ulimit -n)", relayed.message);
  uint64_t from = uv_hrtime();
  UNTIL(uv_hrtime() - from > 250 * UINT64_C(1000000));
  EQUAL(1, relayed.errors);
  EQUAL(0, relayed.clients);
  CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
  UNTIL(relayed.clients == 1);
  close(client);
  UNTIL(relayed.closed == 1);
  end();
}

/* -- Replacing ------------------------------------------------------------ */

static int others;

static void on_other_client(rover_relay_t *of, rover_relay_client_t *client) {
  CHECK(of == relay && rover_relay_data(of) == &others);
  others++;
  rover_relay_client_refuse(client);
}

static void exchanges(void) {
  begin();
  int server = kept(rover, &told, listener, "1\r\n");
  int one = waiting();
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  int other = waiting();
  int port = port_to(relay);
  rover_relay_t *new = made(&(rover_relay_options_t){
      .address.port = 0, .wait_timeout = 77, .max_clients = 9,
      .events = {.client = on_other_client}, .data = &others});
  EQUAL(0, rover_relay_listen(new));
  int new_port = port_to(new);
  rover_relay_exchange(relay, new);
  const rover_relay_options_t *o = rover_relay_options(relay);
  EQUAL(77, o->wait_timeout);
  EQUAL(9, o->max_clients);
  EQUAL(new_port, o->address.port);
  EQUAL(port, port_to(new));
  EQUAL(2, sound_relay(relay).accepted);
  EQUAL(0, sound_relay(new).accepted);
  CHECK(rover_relay_client_first(relay) == relayed.client);
  close_relay(new); /* whose callbacks are those of before */
  int third = calling(relay);
  UNTIL(others == 1);
  say(one, "x");
  hear(server, "x");
  EQUAL(0, drained(other)); /* after the new timeout */
  EQUAL(0, drained(third));
  EQUAL(0, relayed.closed);
  close(one);
  close(other);
  close(third);
  close(server);
  end();
}

static void takes(void) {
  begin();
  int port = port_to(relay);
  rover_relay_t *same = made(&(rover_relay_options_t){.address.port = port});
  rover_relay_t *any = made(NULL);
  rover_relay_t *elsewhere = made(&(rover_relay_options_t){
      .address = {.host = "127.0.0.2", .port = port}});
  rover_relay_t *v6 = made(&(rover_relay_options_t){
      .address = {.host = "::1", .port = port}});
  rover_relay_t *mapped = made(&(rover_relay_options_t){
      .address = {.host = "0:0:0:0:0:ffff:7f00:1", .port = port}});
  EQUAL(1, rover_relay_listens_for(relay, same));
  EQUAL(1, rover_relay_listens_for(relay, mapped));
  EQUAL(1, rover_relay_listens_for(relay, any)); /* as both took any port */
  EQUAL(0, rover_relay_listens_for(relay, elsewhere));
  EQUAL(0, rover_relay_listens_for(relay, v6));
  EQUAL(0, rover_relay_listens_for(same, relay));
  rover_relay_set_events(same, &relaying, NULL);
  EQUAL(0, rover_relay_take_listener(same, relay));
  EQUAL(0, rover_relay_is_listening(relay));
  EQUAL(0, port_to(relay));
  EQUAL(1, rover_relay_is_listening(same));
  int client = calling(same);
  UNTIL(relayed.clients == 1);
  EQUAL(1, sound_relay(same).accepted);
  EQUAL(0, rover_relay_listens_for(same, any));
  close_relay(any);
  close_relay(elsewhere);
  close_relay(v6);
  close_relay(mapped);
  close_relay(same);
  EQUAL(0, drained(client));
  close(client);
  end();
}

static void takes_path(void) {
  char path[108];
  struct stat stat_of;
  snprintf(path, sizeof path, "%s/relay.sock", folder);
  begin_with((rover_relay_options_t){.address.path = path});
  rover_relay_t *open_to_all = made(&(rover_relay_options_t){
      .address = {.path = path, .mode = 0666}});
  EQUAL(1, rover_relay_listens_for(relay, open_to_all));
  EQUAL(0, rover_relay_take_listener(open_to_all, relay));
  CHECK(stat(path, &stat_of) == 0);
  EQUAL(0666, stat_of.st_mode & 0777);
  CHECK(unlink(path) == 0);
  EQUAL(0, rover_relay_listens_for(open_to_all, relay));
  EQUAL(0, rover_relay_listen(relay));
  close_relay(open_to_all); /* and leaves what is not its own */
  CHECK(stat(path, &stat_of) == 0);
  end();
  CHECK(stat(path, &stat_of) < 0);
}

/* -- Deadlines after the loop was held up --------------------------------- */

enum { LIMIT = 100 };

static uint64_t held_up; /* until when */

static void hold_up(void) {
  uv_sleep(2 * LIMIT);
  held_up = uv_hrtime();
}

/* Whether this machine has not done so, too, since then. */
static bool is_in_time(void) {
  return uv_hrtime() - held_up < LIMIT * UINT64_C(1000000);
}

static void hold_up_once(uv_prepare_t *prepare) {
  hold_up();
  uv_prepare_stop(prepare);
}

static void idle_held_up(void) {
  uv_prepare_t prepare;
  begin_with((rover_relay_options_t){.wait_timeout = 60000,
                                     .idle_timeout = LIMIT});
  int client = waiting();
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  say(client, "a");
  hold_up();
  hear(server, "a");
  say(server, "b"); /* the other way, and told to a loop whose time is old */
  uv_prepare_init(loop, &prepare);
  uv_prepare_start(&prepare, hold_up_once);
  hear(client, "b");
  uv_run(loop, UV_RUN_NOWAIT);
  uv_run(loop, UV_RUN_NOWAIT);
  CHECK(sound_relay(relay).running == 1 || !is_in_time());
  UNTIL(sound_relay(relay).cut == 1);
  uv_close((uv_handle_t *)&prepare, NULL);
  close(client);
  close(server);
  end();
}

static void ending_held_up(void) {
  begin_with((rover_relay_options_t){.wait_timeout = 60000,
                                     .half_close_timeout = LIMIT});
  int client = waiting();
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  shutdown(client, SHUT_WR);
  EQUAL(0, drained(server));
  say(server, "answer");
  shutdown(server, SHUT_WR);
  hold_up();
  hear(client, "answer");
  UNTIL(sound_relay(relay).ended == 1);
  close(client);
  close(server);
  end();
}

static rover_relay_client_t *first; /* is joined with what the rover keeps */

static void join_first(rover_t *of, int slot, rover_socket_t *socket) {
  (void)of;
  (void)slot;
  EQUAL(0, rover_relay_client_join(first, socket));
}

static void waiting_held_up(void) {
  const rover_events_t events = {.connection = join_first};
  begin_with((rover_relay_options_t){.wait_timeout = LIMIT});
  rover_set_events(rover, &events, &told);
  EQUAL(0, rover_connect(rover));
  int server = accepted(listener);
  settle(); /* it is connected */
  int client = waiting();
  first = relayed.client;
  say(server, "1\r\n");
  hold_up();
  UNTIL(sound_relay(relay).joined + sound_relay(relay).expired > 0);
  EQUAL(0, sound_relay(relay).expired);
  close(client);
  close(server);
  end();
}

static void closing_held_up(void) {
  begin();
  int client = waiting();
  int server = kept(rover, &told, listener, "1\r\n");
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  hold_up();
  EQUAL(0, rover_relay_close(relay, LIMIT, on_relay_closed));
  uv_run(loop, UV_RUN_NOWAIT);
  uv_run(loop, UV_RUN_NOWAIT);
  CHECK(sound_relay(relay).cut == 0 || !is_in_time()); /* it counts from now */
  say(client, "last");
  shutdown(client, SHUT_WR);
  shutdown(server, SHUT_WR);
  hold_up();
  hear(server, "last");
  EQUAL(0, drained(server));
  EQUAL(0, drained(client));
  UNTIL(relayed.relays == 1);
  finish(rover, &told);
  close(listener);
  close(client);
  close(server);
}

/* -- Closing it ----------------------------------------------------------- */

static void drains(void) {
  begin();
  int server = kept(rover, &told, listener, "1\r\n");
  int client = waiting();
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  uint64_t from = uv_hrtime();
  EQUAL(0, rover_relay_close(relay, ROVER_MS_MAX, on_relay_closed));
  say(client, "x");
  hear(server, "x");
  EQUAL(UV_EALREADY, rover_relay_close(relay, 60, NULL));
  EQUAL(UV_EALREADY, rover_relay_close(relay, ROVER_MS_MAX + 1, NULL));
  EQUAL(0, relayed.relays);
  UNTIL(relayed.relays == 1);
  CHECK(uv_hrtime() - from >= 59 * UINT64_C(1000000));
  CHECK(is_reset(client) && is_reset(server));
  close(client);
  close(server);
  finish(rover, &told);
  close(listener);
}

/* With sums that would overflow these would be long over. */
static void never(void) {
  begin_with((rover_relay_options_t){.wait_timeout = ROVER_NEVER,
                                     .idle_timeout = ROVER_NEVER,
                                     .half_close_timeout = ROVER_NEVER,
                                     .drain_timeout = ROVER_NEVER});
  int server = kept(rover, &told, listener, "1\r\n");
  int client = waiting();
  settle();
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  settle();
  shutdown(client, SHUT_WR);
  EQUAL(0, drained(server));
  settle();
  EQUAL(0, rover_relay_close(relay, rover_relay_options(relay)->drain_timeout,
                             on_relay_closed));
  for (int i = 0; i < 10; i++) settle();
  EQUAL(0, relayed.relays);
  say(server, "x");
  hear(client, "x");
  shutdown(server, SHUT_WR);
  UNTIL(relayed.relays == 1);
  EQUAL(0, drained(client));
  close(client);
  close(server);
  finish(rover, &told);
  close(listener);
}

static void drained_early(void) {
  begin();
  int server = kept(rover, &told, listener, "1\r\n");
  int client = waiting();
  EQUAL(0, rover_relay_client_join(relayed.client, told.socket));
  EQUAL(0, rover_relay_close(relay, ROVER_MS_MAX, on_relay_closed));
  close(client);
  EQUAL(0, drained(server));
  EQUAL(0, relayed.relays);
  close(server);
  UNTIL(relayed.relays == 1);
  finish(rover, &told);
  close(listener);
}

static void close_in_client(rover_relay_t *of, rover_relay_client_t *client) {
  (void)client;
  EQUAL(0, rover_relay_close(of, 0, on_relay_closed));
}

static void close_in_closed(rover_relay_t *of, rover_relay_client_t *client,
                            int status) {
  (void)client;
  (void)status;
  int err = rover_relay_close(of, 0, on_relay_closed);
  CHECK(err == 0 || err == UV_EALREADY);
}

static void refuse_all(rover_relay_t *of, rover_relay_client_t *client) {
  (void)client;
  if (sound_relay(of).waiting < 2) return;
  while (rover_relay_client_first(of))
    rover_relay_client_refuse(rover_relay_client_first(of));
}

static void inside(void) {
  static const rover_relay_events_t events[] = {
      {.client = close_in_client}, {.close = close_in_closed},
      {.client = refuse_all, .close = close_in_closed}};
  for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
    snprintf(doing, sizeof doing, "callbacks %zu", i);
    begin();
    rover_relay_set_events(relay, &events[i], NULL);
    int one = calling(relay), other = calling(relay);
    UNTIL(relayed.relays == 1);
    close(one);
    close(other);
    finish(rover, &told);
    close(listener);
  }
}

/* What closes takes no listener, and keeps none. */
static void given_to_a_closing_one(void) {
  begin();
  rover_relay_t *own = made(&(rover_relay_options_t){0});
  EQUAL(0, rover_relay_close(own, 0, on_relay_closed));
  EQUAL(UV_EINVAL, rover_relay_take_listener(own, relay));
  CHECK(rover_relay_is_listening(relay));
  rover_relay_exchange(own, relay);
  CHECK(!rover_relay_is_listening(own) && !rover_relay_is_listening(relay));
  UNTIL(relayed.relays == 1);
  end();
}

const struct check checks[] = {
    {"rover_relay_new()", "refuses what is out of its range", refuses},
    {"rover_relay_new()",
     "fills in defaults, copies strings, and listens "
     "nowhere",
     defaults},
    {"rover_relay_listen()", "listens once, where nobody does", listens},
    {"a relay without callbacks", "refuses every client", no_callbacks},
    {"the clients that wait", "are there in the order in which they came",
     accessors},
    {"rover_relay_client_join()", "joins a client that waits, both ways",
     joins},
    {"rover_relay_client_join()", "changes nothing when it fails", join_fails},
    {"rover_relay_client_join()", "leaves a reset to be told of the socket",
     join_broken},
    {"a relay", "loses nothing behind a descriptor that is passed",
     passes_descriptors},
    {"a relay",
     "loses nothing behind one from a client that came by a path, "
     "and is joined when it listens at a port",
     passes_descriptors_after_exchange},
    {"a relay", "loses nothing behind what is urgent in much", urgent_in_bulk},
    {"the close callback of a client", "says why it was not joined", closes},
    {"rover_relay_client_proxy()", "says what a client's header does", proxied},
    {"rover_relay_client_reason()", "says why a header was not accepted",
     no_header},
    {"rover_relay_exchange()", "exchanges who is trusted, not who has begun",
     exchanged_headers},
    {"send_proxy", "has the server be told before it hears the client",
     sends_header},
    {"a relay", "has nothing to do where nothing moves", urgent},
    {"the error callback of a relay",
     "comes once while there are no "
     "descriptors",
     exhausted},
    {"rover_relay_exchange()",
     "exchanges what is declared, and leaves what is "
     "under way",
     exchanges},
    {"rover_relay_take_listener()", "takes one that listens where it is to",
     takes},
    {"rover_relay_take_listener()",
     "sets the mode, and knows a path that was "
     "taken away",
     takes_path},
    {"a relay that closes", "takes no listener, and keeps none",
     given_to_a_closing_one},
    {"idle_timeout",
     "takes what came while the loop was held up for no "
     "silence",
     idle_held_up},
    {"half_close_timeout", "resets no end that came while the loop was held up",
     ending_held_up},
    {"wait_timeout",
     "closes no client whose socket came while the loop was "
     "held up",
     waiting_held_up},
    {"rover_relay_close()",
     "resets nobody who finished while the loop was held "
     "up",
     closing_held_up},
    {"rover_relay_close()", "gives the joined their time, the sooner of two",
     drains},
    {"rover_relay_close()", "is done when the joined are", drained_early},
    {"ROVER_NEVER", "is no deadline to wait, to say something, or to finish",
     never},
    {"rover_relay_close()", "may be called from every callback", inside},
    {NULL, NULL, NULL}};
