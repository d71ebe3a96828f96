/* Both ends of the benchmarks of relays and fronts, in one thread each.
 *
 *   relay_peer serve COUNT [slots]   listens on COUNT ports of 127.0.0.1, which
 *       it prints on one line, and greets with a slot line if told to. The
 *       first byte of a client, behind its PROXY header (version 2, TCP over
 *       IPv4) if there is one, says what it wants: 'r' one byte and the end,
 *       'e' its bytes back, 's' bytes without end, 'd' nothing.
 *   relay_peer PORT bytes s|d STREAMS MS   bytes per second from or to a server
 *   relay_peer PORT clients CONCURRENT COUNT  clients per second, each of which
 *       connects, asks, gets its byte and sees the end
 *   relay_peer PORT first COUNT   microseconds from connect() to the first
 *       byte, the median of so many clients, one after the other
 *   relay_peer PORT paced CONNECTIONS BYTES RATE MS   has so many questions a
 *       second answered, whether or not the ones before have been. Prints which
 *       part of them was, within how many milliseconds 99.9%, and the last
 *   relay_peer PORT hold COUNT   has so many clients ask once, says "held",
 *       and keeps them until its standard input ends
 *
 * PORT may be the path of a Unix socket. With "slots" at the end, clients wait
 * for a slot line before they ask. */
#define _GNU_SOURCE /* accept4() */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
  EVENTS = 256,
  FDS = 65536,
  CHUNK = 256 * 1024,
  PROXY_LENGTH = 28 /* of a header of version 2 */
};

static char wants[FDS]; /* by descriptor: 'L' a listener, 0 not known yet */
static char chunk[CHUNK];
static int epoll;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void watch(int fd, uint32_t events, int op) {
  struct epoll_event event = {events, {.fd = fd}};
  if (epoll_ctl(epoll, op, fd, &event) < 0) die("epoll_ctl");
}

static void make_prompt(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* -- The server ----------------------------------------------------------- */

static int listen_somewhere(void) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  socklen_t size = sizeof name;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 ||
      listen(fd, 4096) < 0 ||
      getsockname(fd, (struct sockaddr *)&name, &size) < 0)
    die("listen");
  wants[fd] = 'L';
  watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  return ntohs(name.sin_port);
}

static void accept_all(int listener, bool slots) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    wants[fd] = 0;
    make_prompt(fd);
    if (slots && send(fd, "0\r\n", 3, MSG_NOSIGNAL) != 3) close(fd);
    else watch(fd, EPOLLIN, EPOLL_CTL_ADD);
  }
}

/* Returns false when the connection is over. */
static bool serve_one(int fd, uint32_t events) {
  if (events & EPOLLOUT)
    return send(fd, chunk, CHUNK, MSG_NOSIGNAL) > 0 || errno == EAGAIN;
  ssize_t n = recv(fd, chunk, CHUNK, 0);
  if (n <= 0) return n < 0 && errno == EAGAIN;
  if (!wants[fd] && chunk[0] == '\r') { /* a PROXY header comes as a whole */
    if (n == PROXY_LENGTH) return true;
    wants[fd] = chunk[PROXY_LENGTH];
    n -= PROXY_LENGTH;
  }
  if (!wants[fd]) wants[fd] = chunk[0];
  if (wants[fd] == 's') watch(fd, EPOLLOUT, EPOLL_CTL_MOD);
  if (wants[fd] == 'e') send(fd, chunk, (size_t)n, MSG_NOSIGNAL);
  if (wants[fd] != 'r') return true;
  send(fd, chunk, 1, MSG_NOSIGNAL);
  return false;
}

static void serve(int count, bool slots) {
  for (int i = 0; i < count; i++)
    printf("%d%c", listen_somewhere(), i + 1 < count ? ' ' : '\n');
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (wants[fd] == 'L') accept_all(fd, slots);
      else if (!serve_one(fd, events[i].events)) close(fd);
    }
  }
}

/* -- Clients -------------------------------------------------------------- */

static struct sockaddr_in server = {.sin_family = AF_INET};
static struct sockaddr_un path = {.sun_family = AF_UNIX};
static bool has_lines; /* slot lines come first */

static int connect_client(void) {
  bool is_path = path.sun_path[0] != '\0';
  const void *name = is_path ? (const void *)&path : &server;
  int fd = socket(is_path ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
  if (fd < 0) die("socket");
  if (connect(fd, name, is_path ? sizeof path : sizeof server) < 0)
    die("connect");
  make_prompt(fd);
  return fd;
}

static int open_client(void) {
  int fd = connect_client();
  while (has_lines && chunk[0] != '\n')
    if (recv(fd, chunk, 1, 0) != 1) die("no slot line");
  chunk[0] = 0;
  return fd;
}

static void ask(int fd, char what) {
  if (send(fd, &what, 1, MSG_NOSIGNAL) != 1) die("send");
}

static void run_bytes(char what, int streams, int ms) {
  double bytes = 0, warm, start, end;
  for (int i = 0; i < streams; i++) {
    int fd = open_client();
    ask(fd, what);
    watch(fd, what == 's' ? EPOLLIN : EPOLLOUT, EPOLL_CTL_ADD);
  }
  warm = now() + 0.2;
  start = 0;
  end = warm + ms / 1e3;
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    double at = now();
    if (at >= end) break;
    if (start == 0 && at >= warm) start = at, bytes = 0;
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      ssize_t done = what == 's'
                         ? recv(fd, chunk, CHUNK, MSG_DONTWAIT)
                         : send(fd, chunk, CHUNK, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (done == 0 || (done < 0 && errno != EAGAIN)) die("a stream broke");
      if (done > 0) bytes += (double)done;
    }
  }
  printf("%.0f\n", bytes / (now() - start));
}

/* Here `wants` is what a client waits for: 'l' its slot line, 'r' its byte, 0
 * the end. */
static void begin_client(void) {
  int fd = connect_client();
  wants[fd] = has_lines ? 'l' : 'r';
  if (!has_lines) ask(fd, 'r');
  watch(fd, EPOLLIN, EPOLL_CTL_ADD);
}

/* Returns false when it is done. */
static bool run_client(int fd) {
  ssize_t got = recv(fd, chunk, CHUNK, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return true;
  if (got < 0 || (got == 0 && wants[fd])) die("a client got no answer");
  if (got == 0) return false;
  if (wants[fd] != 'l') wants[fd] = 0;
  else if (chunk[got - 1] == '\n') ask(fd, wants[fd] = 'r');
  return true;
}

static void run_clients(int concurrent, int count) {
  int begun = 0, done = 0;
  double start = now();
  for (; begun < concurrent && begun < count; begun++) begin_client();
  while (done < count) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      if (run_client(events[i].data.fd)) continue;
      close(events[i].data.fd);
      done++;
      if (begun < count) begin_client(), begun++;
    }
  }
  printf("%.0f\n", done / (now() - start));
}

static int by_size(const void *a, const void *b) {
  const double *one = a, *other = b;
  return (*one > *other) - (*one < *other);
}

static void run_first(int count) {
  double *times = calloc((size_t)count, sizeof *times);
  if (!times) die("calloc");
  for (int i = 0; i < count; i++) {
    double from = now();
    int fd = open_client();
    ask(fd, 'r');
    if (recv(fd, chunk, 1, 0) != 1) die("a client got no answer");
    times[i] = now() - from;
    if (recv(fd, chunk, 1, 0) != 0) die("a client saw no end");
    close(fd);
  }
  qsort(times, (size_t)count, sizeof *times, by_size);
  printf("%.1f\n", times[count / 2] * 1e6);
}

/* -- Questions at a rate -------------------------------------------------- */

/* Question number i goes over connection i % count, and was due at from +
 * i / rate. So a connection knows what has come back by its bytes. */
static struct paced {
  int fd;
  size_t in;    /* bytes that have come */
  long answers; /* of which these */
} * paced;

/* So that the time of joining does not count. */
static void open_joined(struct paced *each) {
  each->fd = open_client();
  ask(each->fd, 'e');
  if (recv(each->fd, chunk, 1, 0) != 1) die("a client got no answer");
}

static void ask_paced(struct paced *each, size_t bytes) {
  ssize_t n = send(each->fd, chunk, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n != (ssize_t)bytes) die("a connection takes no more");
}

static void report_paced(double *times, long answered, long all) {
  if (answered == 0) die("no answers");
  qsort(times, (size_t)answered, sizeof *times, by_size);
  printf("%.4f %.2f %.2f\n", (double)answered / (double)all,
         times[answered * 999 / 1000] * 1e3, times[answered - 1] * 1e3);
}

static void run_paced(int count, size_t bytes, double rate, int ms) {
  long all = (long)(rate * ms / 1e3), asked = 0, answered = 0;
  double *times = calloc((size_t)all + 1, sizeof *times);
  paced = calloc((size_t)count, sizeof *paced);
  if (!times || !paced) die("calloc");
  for (int i = 0; i < count; i++) {
    open_joined(&paced[i]);
    struct epoll_event event = {EPOLLIN, {.ptr = &paced[i]}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, paced[i].fd, &event);
  }
  memset(chunk, 'e', bytes);
  for (double from = now(), at = from; at < from + ms / 1e3; at = now()) {
    static char answer[CHUNK];
    struct epoll_event events[EVENTS];
    for (; asked < all && from + (double)asked / rate <= at; asked++)
      ask_paced(&paced[asked % count], bytes);
    int n = epoll_wait(epoll, events, EVENTS, 1);
    for (int i = 0; i < n; i++) {
      struct paced *each = events[i].data.ptr;
      ssize_t got = recv(each->fd, answer, CHUNK, MSG_DONTWAIT);
      if (got <= 0) die("a connection broke");
      each->in += (size_t)got;
      for (at = now(); each->in >= bytes; each->in -= bytes) {
        long number = each->answers++ * count + (each - paced);
        times[answered++] = at - from - (double)number / rate;
      }
    }
  }
  report_paced(times, answered, all);
}

static void hold(int count) {
  for (int i = 0; i < count; i++) {
    int fd = open_client();
    ask(fd, 'e');
    if (recv(fd, chunk, 1, 0) != 1) die("a client got no answer");
  }
  puts("held");
  fflush(stdout);
  while (read(0, chunk, 1) > 0) continue;
}

int main(int argc, char **argv) {
  epoll = epoll_create1(0);
  if (argc < 3) return 2;
  if (!strcmp(argv[1], "serve")) serve(atoi(argv[2]), argc > 3);
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server.sin_port = htons((uint16_t)atoi(argv[1]));
  if (argv[1][0] == '/') strncpy(path.sun_path, argv[1], 100);
  has_lines = !strcmp(argv[argc - 1], "slots");
  argc -= has_lines;
  if (!strcmp(argv[2], "bytes") && argc == 6)
    run_bytes(argv[3][0], atoi(argv[4]), atoi(argv[5]));
  else if (!strcmp(argv[2], "clients") && argc == 5)
    run_clients(atoi(argv[3]), atoi(argv[4]));
  else if (!strcmp(argv[2], "first") && argc == 4) run_first(atoi(argv[3]));
  else if (!strcmp(argv[2], "paced") && argc == 7)
    run_paced(atoi(argv[3]), (size_t)atoi(argv[4]), atof(argv[5]),
              atoi(argv[6]));
  else if (!strcmp(argv[2], "hold") && argc == 4) hold(atoi(argv[3]));
  else return 2;
  return 0;
}
