#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <uv.h>

/* A manager that does not listen is no fault of ours, so nothing is reported.
 * One that does not keep up is waited for, but only for a moment, and not at all
 * with what is soon said again. The variable stays, for the process that takes
 * over from this one. */

enum { WAIT_MS = 1000 };

/* With a descriptor, unless that is -1. */
static void notify(const char *lines, int with, int flags) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  const char *path = getenv("NOTIFY_SOCKET");
  size_t length = path ? strlen(path) : 0;
  struct timeval wait = {.tv_sec = WAIT_MS / 1000};
  struct iovec text = {(char *)lines, strlen(lines)};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof with)];
  } control = {.header = {.cmsg_len = CMSG_LEN(sizeof with),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
  struct msghdr message = {
      .msg_name = &name, .msg_iov = &text, .msg_iovlen = 1};

  if (length < 2 || length > sizeof name.sun_path || !strchr("/@", *path))
    return;
  memcpy(name.sun_path, path, length);
  if (*path == '@') name.sun_path[0] = '\0'; /* an abstract one */
  message.msg_namelen =
      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
  if (with >= 0) {
    memcpy(CMSG_DATA(&control.header), &with, sizeof with);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
  }
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  uint64_t until = uv_hrtime() / 1000000 + WAIT_MS;
  /* Interrupted by a signal, or when Linux clears up an io_uring of libuv's. */
  while (sendmsg(fd, &message, MSG_NOSIGNAL | flags) < 0 && errno == EINTR &&
         uv_hrtime() / 1000000 < until) {
  }
  close(fd);
}

bool cli_notify_is_wanted(void) { return getenv("NOTIFY_SOCKET") != NULL; }

void cli_notify(const char *lines) { notify(lines, -1, 0); }

void cli_notify_again(const char *lines) { notify(lines, -1, MSG_DONTWAIT); }

void cli_notify_wait(void) {
  int ends[2];

  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return;
  notify("BARRIER=1", ends[1], 0);
  close(ends[1]);
  struct pollfd closed = {.fd = ends[0]};
  while (poll(&closed, 1, WAIT_MS) < 0 && errno == EINTR) {
  }
  close(ends[0]);
}
