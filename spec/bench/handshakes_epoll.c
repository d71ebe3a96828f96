/* The limit: COUNT handshakes (connect, slot line, close), 64 in flight, on
 * bare epoll. Prints handshakes a second. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT = 64, EVENTS = 64 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin(int epoll, int port) {
  struct sockaddr_in name = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || (connect(fd, (struct sockaddr *)&name, sizeof name) < 0 &&
                 errno != EINPROGRESS)) {
    perror("connect");
    exit(1);
  }
  struct epoll_event event = {EPOLLIN, {.fd = fd}};
  epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

int main(int argc, char **argv) {
  int epoll = epoll_create1(0), ports = argc - 2;
  long count = atol(argv[1]), begun = 0, done = 0;
  double from = now();

  for (; begun < IN_FLIGHT; begun++)
    begin(epoll, atoi(argv[2 + rand() % ports]));
  while (done < count) {
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll, events, EVENTS, 5000);
    if (n <= 0) return 1;
    for (int i = 0; i < n; i++) {
      char line[64];
      ssize_t length = recv(events[i].data.fd, line, sizeof line - 1, 0);
      if (length < 3 || line[length - 1] != '\n') return 1;
      close(events[i].data.fd);
      done++;
      if (begun++ < count) begin(epoll, atoi(argv[2 + rand() % ports]));
    }
  }
  printf("%.0f\n", (double)done / (now() - from));
  return 0;
}
