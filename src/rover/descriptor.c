#include "internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

void rover__set_option(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

void rover__set_keepalive(int fd, int seconds) {
  rover__set_option(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
  if (seconds <= 0) return;
#if defined(TCP_KEEPIDLE)
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 10);
#elif defined(TCP_KEEPALIVE)
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPALIVE, seconds);
#endif
}

int rover__error_of(int fd) {
  int err = 0;
  socklen_t size = sizeof err;

  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0) err = errno;
  return err ? uv_translate_sys_error(err) : 0;
}

int rover__peek(int fd) {
  char byte;
  ssize_t n;

  do n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n >= 0) return (int)n;
  return errno == EWOULDBLOCK ? UV_EAGAIN : uv_translate_sys_error(errno);
}
