/* What the kernel allows a front, on bare epoll: joins each client with a
 * server, and copies what comes, with the fewest system calls and no care.
 *
 *   bare_front PORT SERVER [slots | COUNT]   listens on PORT of 127.0.0.1, and
 *       connects to the port SERVER. With "slots" it greets with a slot line,
 *       always the same, and connects when the client has sent something. With a
 *       COUNT it has so many connections ready, whose slot lines it has read,
 *       and makes another for each client, as a relay does.
 *
 * When a receiver takes no more, everybody waits for it. */
#define _GNU_SOURCE /* accept4() */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, FDS = 65536, BYTES = 128 * 1024, LINE = -2 };

static int epoll, listener;
static struct sockaddr_in server = {.sin_family = AF_INET};
static bool has_lines;
static int ready[FDS], ready_count, wanted; /* connections, and how many */
/* By descriptor: what it is joined with, -1, or LINE if its line is to come. */
static int others[FDS];
static bool ended[FDS]; /* has sent all */
static bool is_over[FDS];
static int over[FDS], over_count; /* to be closed at the end of a batch */

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int fd) {
  struct epoll_event event = {EPOLLIN | EPOLLRDHUP | EPOLLET, {.fd = fd}};
  if (fd >= FDS || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
    die("epoll_ctl");
  ended[fd] = is_over[fd] = false;
  others[fd] = -1;
}

static void set_nodelay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Within a machine, connecting does not block. */
static int connect_one(void) {
  int own = socket(AF_INET, SOCK_STREAM, 0);
  if (own < 0 || connect(own, (struct sockaddr *)&server, sizeof server) < 0)
    die("connect");
  set_nodelay(own);
  watch(own);
  return own;
}

static void finish(int fd) {
  if (!is_over[fd]) over[over_count++] = fd;
  is_over[fd] = true;
}

static void join(int fd) {
  if (wanted > 0 && ready_count == 0) {
    finish(fd);
    return;
  }
  int own = wanted > 0 ? ready[--ready_count] : connect_one();
  if (wanted > 0) others[connect_one()] = LINE;
  others[own] = fd;
  others[fd] = own;
}

/* Its slot line has come. */
static void read_line(int fd) {
  char line[16];
  if (recv(fd, line, sizeof line, MSG_DONTWAIT) <= 0) die("no slot line");
  others[fd] = -1;
  ready[ready_count++] = fd;
}

static void finish_both(int fd) {
  if (others[fd] >= 0) finish(others[fd]);
  finish(fd);
}

static void accept_all(void) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    watch(fd);
    if (!has_lines) join(fd);
    else if (send(fd, "0\r\n", 3, MSG_NOSIGNAL) != 3) finish(fd);
  }
}

/* Returns false when the connection broke. */
static bool give(int fd, const char *bytes, size_t length, int flags) {
  while (length > 0) {
    ssize_t n = send(fd, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    if (n < 0 && errno == EAGAIN) poll(&room, 1, -1);
    else if (n < 0) return false;
    else bytes += n, length -= (size_t)n;
  }
  return true;
}

static void copy(int fd, uint32_t events) {
  static char bytes[BYTES];
  ssize_t n = BYTES;

  while (n == BYTES && !is_over[fd]) {
    n = recv(fd, bytes, BYTES, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n > 0 && others[fd] < 0) join(fd);
    bool last = n < BYTES && events & EPOLLRDHUP;
    if (n < 0 || others[fd] < 0 ||
        !give(others[fd], bytes, (size_t)n, last ? MSG_MORE : 0)) {
      finish_both(fd);
      return;
    }
    if (!last) continue;
    ended[fd] = true;
    if (ended[others[fd]]) finish_both(fd);
    else shutdown(others[fd], SHUT_WR);
    return;
  }
}

int main(int argc, char **argv) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  int one = 1;

  if (argc < 3) return 2;
  has_lines = argc > 3 && !strcmp(argv[3], "slots");
  wanted = argc > 3 && !has_lines ? atoi(argv[3]) : 0;
  epoll = epoll_create1(0);
  listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  server.sin_addr.s_addr = name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  name.sin_port = htons((uint16_t)atoi(argv[1]));
  server.sin_port = htons((uint16_t)atoi(argv[2]));
  set_nodelay(listener); /* what it accepts inherits this */
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr *)&name, sizeof name) < 0 ||
      listen(listener, 4096) < 0)
    die("listen");
  struct epoll_event event = {EPOLLIN, {.fd = listener}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
  for (int i = 0; i < wanted; i++) others[connect_one()] = LINE;
  for (;;) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.fd;
      if (fd == listener) accept_all();
      else if (others[fd] == LINE) read_line(fd);
      else copy(fd, events[i].events);
    }
    while (over_count > 0) close(over[--over_count]);
  }
}
