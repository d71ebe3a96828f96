#include "torture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EAGER, PLAIN, PARENT, FDS = 64 };

struct peers peers;

static int listen_somewhere(int *port) {
  struct sockaddr_in name = {.sin_family = AF_INET};
  socklen_t size = sizeof name;
  int fd = socket(AF_INET, SOCK_STREAM, 0), bytes = 64 * 1024;

  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  /* Small, so that what a client sends has to wait at its side. */
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  CHECK(bind(fd, (struct sockaddr *)&name, size) == 0);
  CHECK(listen(fd, 64) == 0);
  CHECK(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
  *port = ntohs(name.sin_port);
  return fd;
}

static void greet(int fd, bool eager) {
  const char *line = eager ? "0\r\n!" : "0\r\n";
  send(fd, line, strlen(line), MSG_NOSIGNAL);
}

/* Returns false at the end of the connection. */
static bool answer(int fd) {
  static char bytes[256 * 1024];
  ssize_t length = recv(fd, bytes, sizeof bytes, 0);
  size_t back = 0;
  for (ssize_t i = 0; i < length; i++) {
    if (bytes[i] == 'p') bytes[back++] = 'p';
    if (bytes[i] == 'q') shutdown(fd, SHUT_WR);
  }
  if (back > 0) send(fd, bytes, back, MSG_NOSIGNAL);
  return length > 0;
}

static void serve(struct pollfd fds[], nfds_t count) {
  while (poll(fds, count, -1) > 0 && !fds[PARENT].revents) {
    for (nfds_t i = count; i-- > PARENT + 1;) {
      if (!fds[i].revents || answer(fds[i].fd)) continue;
      close(fds[i].fd);
      fds[i] = fds[--count];
    }
    for (int i = EAGER; i <= PLAIN; i++) {
      if (!fds[i].revents || count == FDS) continue;
      fds[count] = (struct pollfd){accept(fds[i].fd, NULL, NULL), POLLIN, 0};
      greet(fds[count++].fd, i == EAGER);
    }
  }
}

void peers_start(void) {
  struct pollfd fds[FDS] = {{.events = POLLIN}, {.events = POLLIN},
                            {.events = POLLIN}};
  int ends[2]; /* the other process ends when this one does */

  CHECK(pipe(ends) == 0);
  fds[EAGER].fd = listen_somewhere(&peers.eager_port);
  fds[PLAIN].fd = listen_somewhere(&peers.port);
  fds[PARENT].fd = ends[0];
  pid_t pid = fork();
  CHECK(pid >= 0);
  if (pid > 0) {
    close(fds[EAGER].fd);
    close(fds[PLAIN].fd);
    close(ends[0]);
    return;
  }
  close(ends[1]);
  serve(fds, PARENT + 1);
  _exit(0);
}
