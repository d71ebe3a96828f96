/* The servers of the benchmarks: listens on COUNT ports of 127.0.0.1, prints
 * them on one line, answers each connection with "13\r\n", sends back what
 * comes, and closes it when the client does. Several ports, since a client that
 * opens many connections a second to one would run out of local ports. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, LISTENER = 1 << 30 };

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int listen_somewhere(int epoll) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  socklen_t size = sizeof name;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, size) < 0 ||
      listen(fd, 4096) < 0 ||
      getsockname(fd, (struct sockaddr *)&name, &size) < 0)
    die("listen");
  struct epoll_event event = {EPOLLIN, {.u32 = (uint32_t)fd | LISTENER}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  return ntohs(name.sin_port);
}

static void accept_all(int epoll, int listener) {
  int fd;
  while ((fd = accept(listener, NULL, NULL)) >= 0) {
    struct epoll_event event = {EPOLLIN, {.u32 = (uint32_t)fd}};
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (send(fd, "13\r\n", 4, MSG_NOSIGNAL) != 4) {
      close(fd);
      continue;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
  }
}

/* Clients take their answers, so that nobody is waited for long. */
static void answer(int fd) {
  static char bytes[65536];
  ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0 || send(fd, bytes, (size_t)n, MSG_NOSIGNAL) < 0) close(fd);
}

int main(int argc, char **argv) {
  int epoll = epoll_create1(0), count = argc > 1 ? atoi(argv[1]) : 1;
  for (int i = 0; i < count; i++)
    printf("%d%c", listen_somewhere(epoll), i + 1 < count ? ' ' : '\n');
  fflush(stdout);

  struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = (int)(events[i].data.u32 & ~LISTENER);
      if (events[i].data.u32 & LISTENER) accept_all(epoll, fd);
      else answer(fd);
    }
  }
}
