#include "torture.h"

#include "front/slots.h"

#include <callosum/front.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BULK = 1 << 20, UNUSED = 3, INDICES = 9000 };

static struct {
  rover_front_t *front;
  char bulk[BULK];
  size_t sent;
  int client;
  bool answered, ended; /* the client has got its answer, or the end */
  bool told;            /* that something failed for want of memory */
  bool headers;         /* clients begin with a PROXY header, the backend's too */
  bool closed;
} it;

/* An answer: that it is done, or that there is no memory. */
static int tell(int status) {
  CHECK(status == 0 || (status == UV_ENOMEM && memory_has_failed()));
  if (status < 0) it.told = true;
  return status;
}

static void on_error(rover_front_t *front, int status, const char *message) {
  (void)front;
  CHECK(message);
  tell(status);
}

static void on_reject(rover_front_t *front, int status, const char *message,
                      const struct sockaddr *peer) {
  (void)front;
  CHECK(status == UV_EPROTO && message && peer->sa_family == AF_INET);
}

static void on_closed(rover_front_t *front) {
  rover_front_stats_t s;
  rover_front_stats_get(front, &s);
  CHECK(s.open == 0 && s.accepted == s.refused + s.failed + s.closed);
  CHECK(s.joined == s.ended + s.reset + s.cut + s.drained);
  it.closed = true;
}

static bool is_closed(void) { return it.closed; }

/* -- The client ----------------------------------------------------------- */

static int call(void) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  name.sin_port = htons((uint16_t)rover_front_options(it.front)->address.port);
  CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0);
  CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
  return fd;
}

/* Sends much and then a question, and wants one answer, behind slot line and
 * greeting. */
static bool is_answered(void) {
  char byte;
  if (it.sent < BULK) {
    ssize_t n =
        send(it.client, it.bulk + it.sent, BULK - it.sent, MSG_NOSIGNAL);
    if (n > 0) it.sent += (size_t)n;
    else if (errno != EAGAIN) it.ended = true;
  }
  ssize_t n = recv(it.client, &byte, 1, 0);
  if (n == 1 && byte == 'p') it.answered = true;
  else if (n == 0 || (n < 0 && errno != EAGAIN)) it.ended = true;
  return it.answered || it.ended;
}

static void talk(void) {
  it.client = call();
  it.sent = 0;
  it.answered = it.ended = false;
  loop_until(is_answered);
  close(it.client);
}

/* -- A run ---------------------------------------------------------------- */

static bool are_greeted(void) {
  rover_front_stats_t s;
  rover_front_stats_get(it.front, &s);
  return s.accepted >= UNUSED;
}

/* Many at once, which end again. One says what is no header. */
static void crowd(void) {
  int fds[UNUSED];
  for (int i = 0; i < UNUSED; i++) fds[i] = call();
  if (it.headers) CHECK(send(fds[0], "GET", 3, MSG_NOSIGNAL) == 3);
  loop_until(are_greeted);
  for (int i = 0; i < UNUSED; i++) close(fds[i]);
}

static bool begin(void) {
  static const char *const allow[] = {"127.0.0.0/8", NULL};
  rover_front_options_t own = {.backend.port = peers.port,
                               .allow = allow,
                               .trusted = allow,
                               .max_per_address = 1000,
                               .accept_proxy = it.headers,
                               .send_proxy = it.headers,
                               .events = {.error = on_error,
                                          .reject = on_reject}};
  return tell(rover_front_new(&it.front, &loop, &own)) == 0 &&
         tell(rover_front_listen(it.front)) == 0;
}

/* Closing needs no memory. */
static void close_all(void) {
  memory_fail(1, SIZE_MAX);
  it.closed = !it.front;
  if (it.front) rover_front_close(it.front, 0, on_closed);
  loop_until(is_closed);
  CHECK(!memory_has_failed());
  memory_mend();
}

static void serve(void) {
  it.front = NULL;
  it.told = it.answered = false;
  memset(it.bulk, 'x', BULK);
  if (it.headers) memcpy(it.bulk, "PROXY UNKNOWN\r\n", 15);
  it.bulk[BULK - 1] = 'p';

  torture_begin();
  if (begin()) {
    crowd();
    talk();
    tell(rover_front_set_down(it.front, "for a while"));
    rover_front_set_down(it.front, NULL);
  }
  bool failed = torture_end();
  CHECK(failed || it.answered);
  if (it.front && rover_front_is_listening(it.front)) {
    talk(); /* it goes on */
    CHECK(it.answered);
  }
  close_all();
}

static void serve_headers(void) {
  it.headers = true;
  serve();
  it.headers = false;
}

/* What could not be taken for want of memory is the lowest still. */
static void count(void) {
  struct front__slots slots = {0};
  uint32_t index, want = 0;

  torture_begin();
  for (int i = 0; i < INDICES; i++) {
    if (tell(front__slots_get(&slots, &index)) < 0) continue;
    CHECK(index == want++);
  }
  torture_end();
  CHECK(front__slots_get(&slots, &index) == 0 && index == want);
  front__slots_put(&slots, 5);
  CHECK(front__slots_get(&slots, &index) == 0 && index == 5);
  front__slots_clear(&slots);
}

const struct scenario front_scenarios[] = {
    {"a front's client gets a slot and its answer, or is closed", serve, NULL,
     NULL, 0},
    {"so does one that begins with a PROXY header", serve_headers, NULL, NULL,
     0},
    {"an index that was not taken is taken next", count, NULL, NULL, 0},
    {0}};
