/* The limit: what the kernel allows, on bare epoll.
 *
 *   client_epoll exact ...
 *       the same, but takes no byte behind the slot line, as a rover has to:
 *       that takes two calls of recv(2) for most lines.
 *   client_epoll within ...
 *       the same within another epoll, as that of a loop which others use, too.
 *   client_epoll handshakes COUNT IN_FLIGHT PORT...
 *       connects, reads the slot line, closes; so often. Says "begin" and
 *       "done".
 *   client_epoll ask SOCKETS BYTES MS PORT...
 *       sends so many bytes over each of the sockets, and again whenever they
 *       have come back. Says "begin" when it begins to count, and at the end
 *       how many answers came a second, and within how many microseconds 99%
 *       of them.
 *   client_epoll ask-bare SOCKETS BYTES MS PORT...
 *       the same where no slot lines come. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  EVENTS = 64,
  FDS = 65536,
  ANSWERS = 1 << 20, /* whose time is remembered */
  BYTES = 65536,
  WARM_MS = 200 /* that do not count */
};

static int epoll, outer = -1, port_count;
static char **ports;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int begin_connect(int flags) {
  int port = atoi(ports[rand() % port_count]);
  struct sockaddr_in name = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  if (fd < 0 || (connect(fd, (struct sockaddr *)&name, sizeof name) < 0 &&
                 errno != EINPROGRESS))
    die("connect");
  return fd;
}

static void watch(int fd) {
  struct epoll_event event = {EPOLLIN, {.fd = fd}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static void put_within(void) {
  struct epoll_event event = {EPOLLIN, {.fd = epoll}};
  outer = epoll_create1(0);
  if (epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event) < 0) die("epoll_ctl");
}

static int wait_for(struct epoll_event *events) {
  if (outer >= 0) epoll_wait(outer, events, EVENTS, 5000);
  int n = epoll_wait(epoll, events, EVENTS, outer >= 0 ? 0 : 5000);
  if (n <= 0) die("epoll_wait");
  return n;
}

static void say(const char *what) {
  puts(what);
  fflush(stdout);
}

/* -- Handshakes ----------------------------------------------------------- */

static bool is_exact;

/* Asks for no more than the line can still be short of. */
static void read_line(int fd) {
  char line[64];
  size_t length = 0, wanted = is_exact ? 3 : sizeof line;
  do {
    ssize_t n = recv(fd, line + length, wanted, 0);
    if (n <= 0) die("no slot line");
    length += (size_t)n;
    wanted = line[length - 1] == '\r' ? 1 : 2;
  } while (line[length - 1] != '\n' && length < sizeof line - 2);
}

static void run_handshakes(long count, long in_flight) {
  long begun = 0, done = 0;
  say("begin");
  for (; begun < in_flight && begun < count; begun++)
    watch(begin_connect(SOCK_NONBLOCK));
  while (done < count) {
    struct epoll_event events[EVENTS];
    int n = wait_for(events);
    for (int i = 0; i < n; i++) {
      read_line(events[i].data.fd);
      close(events[i].data.fd);
      done++;
      if (begun++ < count) watch(begin_connect(SOCK_NONBLOCK));
    }
  }
  say("done");
}

/* -- Questions and answers ------------------------------------------------ */

static char question[BYTES];
static struct {
  double asked;
  size_t left; /* of the answer */
} sockets[FDS];
static double times[ANSWERS];

static void ask(int fd, size_t bytes) {
  sockets[fd].asked = now();
  sockets[fd].left = bytes;
  if (send(fd, question, bytes, MSG_NOSIGNAL) != (ssize_t)bytes) die("send");
}

static void open_socket(bool has_line) {
  int fd = begin_connect(0), one = 1;
  char byte = has_line ? 0 : '\n';
  if (fd >= FDS) die("too many sockets");
  while (byte != '\n')
    if (recv(fd, &byte, 1, 0) != 1) die("no slot line");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  watch(fd);
  sockets[fd].left = 1;
}

static int by_size(const void *a, const void *b) {
  const double *one = a, *other = b;
  return (*one > *other) - (*one < *other);
}

static void run_ask(int count, size_t bytes, double seconds, bool has_lines) {
  static char answer[BYTES];
  size_t answers = 0;
  if (bytes > BYTES) die("too many bytes");
  memset(question, 'e', bytes); /* what relay_peer sends back */
  for (int i = 0; i < count; i++) open_socket(has_lines);
  for (int fd = 0; fd < FDS; fd++)
    if (sockets[fd].left) ask(fd, bytes);

  double from = now() + WARM_MS / 1e3, to = from + seconds;
  for (double at = 0; at < to;) {
    struct epoll_event events[EVENTS];
    int n = wait_for(events);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      ssize_t got = recv(fd, answer, BYTES, MSG_DONTWAIT);
      if (got <= 0) die("a socket broke");
      sockets[fd].left -= (size_t)got;
      if (sockets[fd].left) continue;
      at = now();
      if (at >= from && answers == 0) say("begin");
      if (at >= from && answers < ANSWERS)
        times[answers++] = at - sockets[fd].asked;
      ask(fd, bytes);
    }
  }
  double rate = (double)answers / (now() - from);
  qsort(times, answers, sizeof *times, by_size);
  printf("%.0f %.1f\n", rate, times[answers * 99 / 100] * 1e6);
}

int main(int argc, char **argv) {
  epoll = epoll_create1(0);
  if (argc > 1 && !strcmp(argv[1], "within")) put_within();
  if (argc > 1 && (outer >= 0 || !strcmp(argv[1], "exact"))) {
    is_exact = true;
    argv++;
    argc--;
  }
  if (argc > 4 && !strcmp(argv[1], "handshakes")) {
    ports = argv + 4;
    port_count = argc - 4;
    run_handshakes(atol(argv[2]), atol(argv[3]));
  } else if (argc > 5 && !strncmp(argv[1], "ask", 3)) {
    ports = argv + 5;
    port_count = argc - 5;
    run_ask(atoi(argv[2]), (size_t)atol(argv[3]), atof(argv[4]) / 1e3,
            argv[1][3] == '\0');
  } else {
    return 2;
  }
  return 0;
}
