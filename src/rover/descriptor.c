#include "internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifdef __linux__
#include <linux/sockios.h> /* SIOCOUTQ */
#endif

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

static int get_option(int fd, int level, int option) {
  int value = 0;
  socklen_t size = sizeof value;

  return getsockopt(fd, level, option, &value, &size) < 0 ? 0 : value;
}

void rover__get_keepalive(int fd, struct rover__keepalive *keepalive) {
#if defined(TCP_KEEPIDLE)
  keepalive->idle = get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE);
  keepalive->interval = get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL);
  keepalive->count = get_option(fd, IPPROTO_TCP, TCP_KEEPCNT);
#elif defined(TCP_KEEPALIVE)
  keepalive->idle = get_option(fd, IPPROTO_TCP, TCP_KEEPALIVE);
#endif
}

void rover__unset_options(int fd, const struct rover__keepalive *keepalive) {
  rover__set_option(fd, IPPROTO_TCP, TCP_NODELAY, 0);
  rover__set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
#if defined(TCP_KEEPIDLE)
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive->idle);
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive->interval);
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, keepalive->count);
#elif defined(TCP_KEEPALIVE)
  rover__set_option(fd, IPPROTO_TCP, TCP_KEEPALIVE, keepalive->idle);
#endif
}

#ifdef __linux__

/* How long keepalive lets a peer be silent, in ms; 0: it is off. */
static unsigned patience(int fd) {
  struct rover__keepalive k;

  if (!get_option(fd, SOL_SOCKET, SO_KEEPALIVE)) return 0;
  rover__get_keepalive(fd, &k);
  return (unsigned)(k.idle + k.interval * k.count) * 1000;
}

/* A peer whose window is closed acknowledges probes, and what was sent before
 * it closed, but probes are up to two minutes apart: that the last answer is
 * old means nothing unless something was asked since. */
static bool is_asked(const struct tcp_info *info) {
  enum { FEW = 2 }; /* may be lost */
  return info->tcpi_probes > FEW ||
         (info->tcpi_unacked > 0 &&
          (info->tcpi_retransmits > FEW ||
           info->tcpi_last_data_sent < info->tcpi_last_ack_recv));
}

/* A second look has to find it, too: a machine that was suspended has had no
 * time to hear an answer. */
enum rover__peer rover__look_at_peer(int fd, enum rover__peer before) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  int queued;

  if (ioctl(fd, SIOCOUTQ, &queued) < 0 || queued == 0 ||
      getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return PEER_SETTLED; /* or it is a Unix socket */
  unsigned most = is_asked(&info) ? patience(fd) : 0;
  if (most == 0 || info.tcpi_last_ack_recv < most / 2) return PEER_OWES;
  return info.tcpi_last_ack_recv < most || before < PEER_DOUBTED ? PEER_DOUBTED
                                                                 : PEER_GONE;
}

#else /* no system that we know tells of it */

enum rover__peer rover__look_at_peer(int fd, enum rover__peer before) {
  (void)fd;
  (void)before;
  return PEER_SETTLED;
}

#endif

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
