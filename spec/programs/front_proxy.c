/* The promises of <callosum/front.h> about PROXY headers: those that clients
 * begin with, and those that the backend is sent. What they say is checked by
 * spec/proxy_header_spec.lua. */
#include "fronts.h"

#include "front/reload.h"

#include <arpa/inet.h>
#include <sys/un.h>

#define V2 "\r\n\r\n\0\r\nQUIT\n"
#define V2_NAMES "\xc0\0\2\7\xc0\0\2\1\x12\x67\1\xbb"
#define V2_PARTS "\2\0\2db\5\0\2id"

struct text {
  const char *bytes;
  size_t length;
};
#define TEXT(text) {text, sizeof text - 1}

static const struct text told_v1 =
    TEXT("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n");
static const struct text told_v2 = TEXT(V2 "\x21\x11\0\x16" V2_NAMES V2_PARTS);
static const struct text local_v1 = TEXT("PROXY UNKNOWN\r\n");
static const struct text local_v2 = TEXT(V2 "\x20\0\0\0");

static const struct text *const headers[] = {&told_v1, &told_v2, &local_v1,
                                             &local_v2};
enum { HEADERS = sizeof headers / sizeof *headers };

static const char *const trusted[] = {"127.0.0.1", NULL};

static rover_front_options_t accepting(void) {
  return (rover_front_options_t){.accept_proxy = 1, .trusted = trusted};
}

static void tell(int fd, const struct text *text) {
  EQUAL(text->length, send(fd, text->bytes, text->length, MSG_NOSIGNAL));
}

/* Runs the loop until exactly these bytes have come. */
static void learn(int fd, const struct text *text) {
  char bytes[512];
  size_t heard = 0;
  ssize_t n;
  while (heard < text->length) {
    UNTIL((n = recv(fd, bytes + heard, text->length - heard, 0)) >= 0);
    CHECK(n > 0);
    heard += (size_t)n;
  }
  if (memcmp(bytes, text->bytes, heard) != 0)
    failed(__FILE__, __LINE__, "\"%.*s\" and not \"%.*s\"", (int)heard, bytes,
           (int)heard, text->bytes);
}

/* The header of version 1 of a client that told nothing. */
static void learn_own(int server, int client) {
  char line[108];
  snprintf(line, sizeof line, "PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n",
           port_of(client), front_port(front));
  hear(server, line);
}

static void finish(int client, int server) {
  close(client);
  if (server >= 0) close(server);
  UNTIL(sound_front(front).open == 0);
}

/* -- Accepting ------------------------------------------------------------ */

/* The server speaks first. */
static void joins_at_header(void) {
  begin(accepting());
  for (int i = 0; i < HEADERS; i++) {
    snprintf(doing, sizeof doing, "header %d", i);
    int client = greeted_as(0);
    tell(client, headers[i]);
    int server = accepted(backend);
    say(server, "220 ready");
    hear(client, "220 ready");
    say(client, "hello");
    hear(server, "hello");
    EQUAL(1, sound_front(front).running);
    finish(client, server);
  }
  EQUAL(5 * HEADERS, sound_front(front).received);
  EQUAL(HEADERS, sound_front(front).ended + sound_front(front).reset);
  EQUAL(0, sound_front(front).probes);
  end();
}

/* Nothing of it reaches the backend, and all that is behind it does. */
static void takes_pieces(void) {
  begin(accepting());
  for (int i = 0; i < HEADERS; i++) {
    snprintf(doing, sizeof doing, "header %d", i);
    int client = greeted_as(0);
    for (size_t at = 0; at < headers[i]->length - 1; at++) {
      tell(client, &(struct text){headers[i]->bytes + at, 1});
      for (int turns = 0; turns < 3; turns++) uv_run(loop, UV_RUN_NOWAIT);
    }
    UNTIL(sound_front(front).unused == 0);
    EQUAL(0, not_connected(backend));
    EQUAL(i, sound_front(front).joined);
    tell(client, &(struct text){headers[i]->bytes + headers[i]->length - 1, 1});
    say(client, "\nPROXY \r\n");
    shutdown(client, SHUT_WR);
    int server = accepted(backend);
    hear(server, "\nPROXY \r\n");
    EQUAL(0, drained(server));
    say(server, "answer");
    close(server);
    hear(client, "answer");
    finish(client, -1);
  }
  end();
}

/* Who ends right behind the header may want to hear the server. */
static void joins_ended(void) {
  begin(accepting());
  for (int i = 0; i < 2; i++) {
    int client = greeted_as(0);
    tell(client, &told_v1);
    if (i > 0) settle(); /* the end comes while it connects, or after */
    shutdown(client, SHUT_WR);
    int server = accepted(backend);
    EQUAL(0, drained(server));
    say(server, "220 ready");
    hear(client, "220 ready");
    finish(client, server);
  }
  end();
}

/* In one piece with the header. */
static void much(void) {
  static char plenty[1 << 16];
  size_t sent = 0, got = 0;
  begin(accepting());
  int client = greeted_as(0);
  memset(plenty, 'x', sizeof plenty);
  memcpy(plenty, told_v2.bytes, told_v2.length);
  while (sent == 0) {
    ssize_t n = send(client, plenty, sizeof plenty, 0);
    if (n > 0) sent = (size_t)n;
  }
  CHECK(sent > told_v2.length);
  memset(plenty, 'x', told_v2.length);
  int server = accepted(backend);
  while (got < PLENTY - told_v2.length) {
    static char bytes[1 << 16];
    size_t rest = PLENTY - sent;
    if (rest > sizeof plenty) rest = sizeof plenty;
    ssize_t n = rest > 0 ? send(client, plenty, rest, 0) : 0;
    if (n > 0) sent += (size_t)n;
    n = recv(server, bytes, sizeof bytes, 0);
    for (ssize_t i = 0; i < n; i++) CHECK(bytes[i] == 'x');
    if (n > 0) got += (size_t)n;
    uv_run(loop, UV_RUN_NOWAIT);
  }
  EQUAL(PLENTY - told_v2.length, sound_front(front).received);
  finish(client, server);
  end();
}

static void trusts_paths(void) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  snprintf(name.sun_path, sizeof name.sun_path, "%s/front", folder);
  begin((rover_front_options_t){
      .address.path = name.sun_path, .accept_proxy = 1, .send_proxy = 2});
  for (int i = 0; i < HEADERS; i++) {
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
    hear(client, "0\r\n");
    tell(client, headers[i]);
    int server = accepted(backend);
    if (headers[i] == &told_v2) learn(server, &told_v2);
    else if (i > 1) learn(server, &local_v2);
    finish(client, server);
  }
  end();
}

/* -- Rejecting ------------------------------------------------------------ */

static void rejects(void) {
  static const struct {
    const char *says, *why;
    int ends;
  } cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", "it begins like none", 0},
      {"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", "a port is wrong", 0},
      {"PROXY TCP4 1.2.3", "it ends before it is whole", 1},
  };
  begin(accepting());
  for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) {
    char message[128];
    snprintf(message, sizeof message,
             "a client from 127.0.0.1 was reset: its PROXY header is wrong: %s",
             cases[i].why);
    int client = greeted_as(0);
    say(client, cases[i].says);
    if (cases[i].ends) shutdown(client, SHUT_WR);
    UNTIL(told_front.rejects == i + 1);
    EQUAL(UV_EPROTO, told_front.status);
    SAME(message, told_front.message);
    CHECK(is_reset(client));
    EQUAL(i + 1, sound_front(front).rejected);
    EQUAL(i + 1, sound_front(front).closed);
    close(client);
  }
  EQUAL(0, sound_front(front).probes);
  EQUAL(0, not_connected(backend));
  close(greeted_as(0));
  end();
}

/* From its first byte: one that is unused is not late. */
static void rejects_late(void) {
  rover_front_options_t options = accepting();
  options.header_timeout = 40;
  begin(options);
  int client = greeted_as(0);
  uint64_t until = uv_hrtime() + 80 * UINT64_C(1000000);
  UNTIL(uv_hrtime() > until);
  EQUAL(1, sound_front(front).unused);
  uint64_t from = uv_hrtime();
  say(client, "PROXY ");
  UNTIL(told_front.rejects == 1);
  CHECK(uv_hrtime() - from > 35 * UINT64_C(1000000));
  EQUAL(UV_ETIMEDOUT, told_front.status);
  SAME("a client from 127.0.0.1 was reset: its PROXY header did not come in "
       "time",
       told_front.message);
  CHECK(is_reset(client));
  EQUAL(1, sound_front(front).rejected);
  close(client);
  end();
}

/* What has come in time is, though the loop was held up. */
static void held_up(void) {
  enum { LIMIT = 30 };
  rover_front_options_t options = accepting();
  options.header_timeout = LIMIT;
  begin(options);
  int client = greeted_as(0);
  say(client, "PROXY ");
  while (sound_front(front).unused > 0) uv_run(loop, UV_RUN_NOWAIT);
  say(client, "UNKNOWN\r\n");
  uv_sleep(2 * LIMIT);
  int server = accepted(backend);
  EQUAL(0, sound_front(front).rejected);
  finish(client, server);
  end();
}

static void rejects_strangers(void) {
  static const char *const others[] = {"192.0.2.0/24", "127.0.0.2", NULL};
  rover_front_options_t options = accepting();
  options.trusted = others;
  begin(options);
  int client = calling(front);
  UNTIL(told_front.rejects == 1);
  EQUAL(UV_EACCES, told_front.status);
  SAME("a client from 127.0.0.1 was reset: it is not trusted to send a PROXY "
       "header",
       told_front.message);
  CHECK(is_reset(client)); /* and has got no slot line */
  EQUAL(1, sound_front(front).refused);
  EQUAL(1, sound_front(front).rejected);
  EQUAL(0, sound_front(front).open);
  close(client);
  end();
}

/* A client that breaks off is worth no word. */
static void gone_within(void) {
  begin(accepting());
  int client = greeted_as(0);
  say(client, "PROXY ");
  UNTIL(sound_front(front).unused == 0);
  EQUAL(1, sound_front(front).open);
  reset(client);
  UNTIL(sound_front(front).closed == 1);
  settle();
  EQUAL(0, sound_front(front).rejected + sound_front(front).probes);
  EQUAL(0, told_front.rejects);
  client = greeted_as(0);
  close(client);
  UNTIL(sound_front(front).probes == 1);
  end();
}

static void callback_closes(void) {
  for (int nests = 0; nests < 2; nests++) {
    int fds[3];
    begin(accepting());
    for (int i = 0; i < 3; i++) fds[i] = greeted_as(i);
    told_front.closes = true;
    told_front.nests = nests;
    for (int i = 0; i < 3; i++) say(fds[i], "GET /");
    UNTIL(fronts_closed == 1);
    EQUAL(1, told_front.rejects);
    for (int i = 0; i < 3; i++) close(fds[i]);
    close(backend);
  }
}

/* Limits are of those who connect: relays beside their clients all tell
 * 127.0.0.1. */
static void limits_peers(void) {
  rover_front_options_t options = accepting();
  options.max_per_address = 1;
  begin(options);
  int client = greeted_as(0);
  tell(client, &told_v1);
  int server = accepted(backend);
  EQUAL(0, gone(calling(front)));
  EQUAL(1, sound_front(front).refused);
  EQUAL(0, sound_front(front).rejected);
  finish(client, server);
  close(greeted_as(0));
  end();
}

/* -- Sending -------------------------------------------------------------- */

static void sends(void) {
  for (int when = ROVER_FRONT_ON_DATA; when <= ROVER_FRONT_ON_SLOT; when++) {
    begin((rover_front_options_t){
        .send_proxy = 1, .connect_on = when, .kept_after = 1});
    int client = calling(front);
    if (when == ROVER_FRONT_ON_DATA) say(client, "hello");
    int server = accepted(backend);
    learn_own(server, client);
    if (when != ROVER_FRONT_ON_DATA) say(client, "hello");
    hear(server, "hello");
    say(server, "220 ready");
    hear(client, "0\r\n220 ready");
    EQUAL(5, sound_front(front).received);
    finish(client, server);
    end();
  }
}

/* How many packets with data have come: tcpi_data_segs_in of the kernel's struct
 * tcp_info, which is longer than libc's. A virtual kernel does not count. */
static uint32_t packets_to(int fd) {
  enum { AT = 152 };
  char info[256];
  socklen_t size = sizeof info;
  uint32_t count;
  CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0);
  if (size < AT + sizeof count) return 1;
  memcpy(&count, info + AT, sizeof count);
  return count;
}

static void sends_v2(void) {
  unsigned char bytes[28];
  begin((rover_front_options_t){.send_proxy = 2});
  int client = greeted_as(0);
  say(client, "hello");
  int server = accepted(backend);
  memcpy(bytes, V2 "\x21\x11\0\x0c\x7f\0\0\1\x7f\0\0\1", 24);
  bytes[24] = (unsigned char)(port_of(client) >> 8);
  bytes[25] = (unsigned char)port_of(client);
  bytes[26] = (unsigned char)(front_port(front) >> 8);
  bytes[27] = (unsigned char)front_port(front);
  learn(server, &(struct text){(const char *)bytes, sizeof bytes});
  hear(server, "hello");
  EQUAL(1, packets_to(server)); /* so that the backend wakes up once */
  finish(client, server);
  end();
}

/* The addresses of `client`, which may be IPv6. */
static void learn_of(int server, int client, const char *family) {
  struct sockaddr_in6 name;
  socklen_t size = sizeof name;
  char host[INET6_ADDRSTRLEN], line[256];
  CHECK(getsockname(client, (struct sockaddr *)&name, &size) == 0);
  const void *address = name.sin6_family == AF_INET6
                            ? (const void *)&name.sin6_addr
                            : &((struct sockaddr_in *)&name)->sin_addr;
  inet_ntop(name.sin6_family, address, host, sizeof host);
  snprintf(line, sizeof line, "PROXY %s %s %s %d %d\r\n", family, host, host,
           ntohs(name.sin6_port), front_port(front));
  hear(server, line);
}

/* A front that listens at :: has IPv4's mapped to IPv6. */
static void sends_families(void) {
  begin((rover_front_options_t){
      .address.host = "::", .is_public = 1, .send_proxy = 1});
  struct sockaddr_in6 name = {.sin6_family = AF_INET6,
                              .sin6_addr = in6addr_loopback,
                              .sin6_port = htons((uint16_t)front_port(front))};
  int client = greeted_as(0);
  say(client, "x");
  int server = accepted(backend);
  learn_of(server, client, "TCP4");
  finish(client, server);
  client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(connect(client, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(client, F_SETFL, O_NONBLOCK) == 0);
  say(client, "x");
  server = accepted(backend);
  learn_of(server, client, "TCP6");
  finish(client, server);
  end();
}

/* In version 1 there is no place for more than the addresses. */
static void tells_on(void) {
  for (int version = 1; version <= 2; version++) {
    rover_front_options_t options = accepting();
    options.send_proxy = version;
    begin(options);
    for (int i = 0; i < HEADERS; i++) {
      snprintf(doing, sizeof doing, "version %d, header %d", version, i);
      int client = greeted_as(0);
      tell(client, headers[i]);
      int server = accepted(backend);
      if (version == 1 && i < 2) learn(server, &told_v1);
      else if (version == 1) learn_own(server, client);
      else if (headers[i] == &told_v2) learn(server, &told_v2);
      else learn(server, &(struct text){V2 "\x21\x11\0\x0c", 16});
      if (version == 2 && headers[i] == &told_v1)
        learn(server, &(struct text){V2_NAMES, 12});
      if (version == 2 && i > 1)
        learn(server, &(struct text){"\x7f\0\0\1\x7f\0\0\1", 8});
      finish(client, server);
    }
    end();
  }
}

/* The backend is told that a check is nobody. */
static void checks_as_local(void) {
  for (int version = 1; version <= 2; version++) {
    begin((rover_front_options_t){.health_interval = 1, .send_proxy = version});
    struct sockaddr_in name = loopback(port_of(backend));
    int on = 1, client = greeted_as(0);
    close(backend);
    say(client, "x");
    EQUAL(0, gone(client));
    UNTIL(told_front.backend == 1 && !told_front.up);
    backend = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(backend, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(backend, (struct sockaddr *)&name, sizeof name) == 0);
    CHECK(listen(backend, 64) == 0);
    int server = accepted(backend);
    learn(server, version == 1 ? &local_v1 : &local_v2);
    EQUAL(0, drained(server));
    close(server);
    UNTIL(told_front.up);
    end();
  }
}

/* -- Replacing, draining -------------------------------------------------- */

/* Has the front declare this now. */
static void replace(rover_front_options_t options) {
  rover_front_t *other;
  options.address.port = front_port(front);
  options.backend.port = port_of(backend);
  options.events = telling_front;
  EQUAL(0, rover_front_new(&other, loop, &options));
  EQUAL(0, rover_front_take_listener(other, front));
  rover_front_exchange(front, other);
  close_front(other, 0);
}

static void exchanges(void) {
  begin(accepting());
  int within = greeted_as(0), unused = greeted_as(1);
  tell(within, &(struct text){told_v1.bytes, 9});
  UNTIL(sound_front(front).unused == 1);
  replace((rover_front_options_t){.send_proxy = 1});
  /* What has begun as a header is one, and nothing else is. */
  tell(within, &(struct text){told_v1.bytes + 9, told_v1.length - 9});
  int server = accepted(backend);
  learn(server, &told_v1);
  say(within, "hello");
  hear(server, "hello");
  say(unused, "PROXY ");
  int other = accepted(backend);
  learn_own(other, unused);
  hear(other, "PROXY ");
  int fds[] = {within, unused, server, other};
  end_all(fds, 4);
}

/* Those who have a slot, too, have to send one, and be trusted, from then on. */
static void exchanges_unused(void) {
  static const char *const others[] = {"127.0.0.2", NULL};
  rover_front_options_t options = accepting();
  begin((rover_front_options_t){0});
  int one = greeted_as(0), two = greeted_as(1), three = greeted_as(2);
  replace(options);
  tell(one, &told_v1);
  int server = accepted(backend);
  say(server, "220 ready");
  hear(one, "220 ready");
  say(two, "hello");
  UNTIL(told_front.rejects == 1);
  EQUAL(UV_EPROTO, told_front.status);
  options.trusted = others;
  replace(options);
  tell(three, &told_v1);
  UNTIL(told_front.rejects == 2);
  EQUAL(UV_EACCES, told_front.status);
  EQUAL(0, not_connected(backend));
  EQUAL(2, sound_front(front).closed);
  EQUAL(2, sound_front(front).rejected);
  int fds[] = {one, two, three, server};
  end_all(fds, 4);
}

static void drains(void) {
  begin(accepting());
  int within = greeted_as(0), whole = greeted_as(1), unused = greeted_as(2);
  tell(within, &(struct text){told_v1.bytes, 9});
  tell(whole, &(struct text){told_v1.bytes, 9});
  UNTIL(sound_front(front).unused == 1);
  EQUAL(0, rover_front_drain(front, 200));
  EQUAL(0, drained(unused));
  tell(whole, &(struct text){told_v1.bytes + 9, told_v1.length - 9});
  int server = accepted(backend);
  say(server, "answer");
  hear(whole, "answer");
  UNTIL(is_reset(within)); /* at the end */
  EQUAL(0, sound_front(front).rejected);
  int fds[] = {within, whole, unused, server};
  end_all(fds, 4);
}

static void closes(void) {
  begin(accepting());
  int client = greeted_as(0);
  say(client, "PROXY ");
  UNTIL(sound_front(front).unused == 0);
  end();
  CHECK(is_reset(client));
  close(client);
}

const struct check checks[] = {
    {"accept_proxy", "joins at the header, whatever follows", joins_at_header},
    {"accept_proxy", "takes it in pieces, and no more", takes_pieces},
    {"accept_proxy", "joins who ends behind it", joins_ended},
    {"accept_proxy", "passes on all of what comes with it", much},
    {"accept_proxy", "trusts who connects to a Unix socket", trusts_paths},
    {"accept_proxy", "resets who sends none, or a wrong one", rejects},
    {"header_timeout", "resets who is late, from the first byte", rejects_late},
    {"header_timeout", "counts what came while the loop was held up", held_up},
    {"trusted", "is who gets a slot", rejects_strangers},
    {"accept_proxy", "says nothing of who breaks off", gone_within},
    {"rover_front_reject_cb", "may close the front, and is the last then",
     callback_closes},
    {"max_per_address", "is of who connects", limits_peers},
    {"send_proxy", "tells the backend first who it is", sends},
    {"send_proxy", "does so by version 2", sends_v2},
    {"send_proxy", "tells of IPv6, and mapped IPv4 as such", sends_families},
    {"send_proxy", "tells on what the client's tells", tells_on},
    {"send_proxy", "says of checks that they are nobody's", checks_as_local},
    {"rover_front_exchange()", "leaves who has begun a header to it", exchanges},
    {"rover_front_exchange()", "holds for who has not begun", exchanges_unused},
    {"rover_front_drain()", "joins who sends his header in time", drains},
    {"rover_front_close()", "resets who has sent a part of it", closes},
    {NULL, NULL, NULL},
};
