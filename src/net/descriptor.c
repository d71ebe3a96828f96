#define _GNU_SOURCE /* struct tcp_info, in musl */

#include "descriptor.h"

#include <errno.h>
#include <linux/sockios.h> /* SIOCOUTQ */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

void net__fd_set(int fd, int level, int option, int value) {
  setsockopt(fd, level, option, &value, sizeof value);
}

void net__fd_set_keepalive(int fd, int seconds) {
  net__fd_set(fd, SOL_SOCKET, SO_KEEPALIVE, seconds > 0);
  if (seconds <= 0) return;
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPCNT, 10);
}

static int get_option(int fd, int level, int option) {
  int value = 0;
  socklen_t size = sizeof value;

  return getsockopt(fd, level, option, &value, &size) < 0 ? 0 : value;
}

void net__fd_get_keepalive(int fd, struct net__keepalive *keepalive) {
  keepalive->idle = get_option(fd, IPPROTO_TCP, TCP_KEEPIDLE);
  keepalive->interval = get_option(fd, IPPROTO_TCP, TCP_KEEPINTVL);
  keepalive->count = get_option(fd, IPPROTO_TCP, TCP_KEEPCNT);
}

void net__fd_unset(int fd, const struct net__keepalive *keepalive) {
  net__fd_set(fd, IPPROTO_TCP, TCP_NODELAY, 0);
  net__fd_set(fd, SOL_SOCKET, SO_KEEPALIVE, 0);
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPIDLE, keepalive->idle);
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPINTVL, keepalive->interval);
  net__fd_set(fd, IPPROTO_TCP, TCP_KEEPCNT, keepalive->count);
}

void net__fd_reset_on_close(int fd) {
  const struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/* How long, in ms, keepalive allows a peer to be silent; 0 if it is off. */
static unsigned patience(int fd) {
  struct net__keepalive k;

  if (!get_option(fd, SOL_SOCKET, SO_KEEPALIVE)) return 0;
  net__fd_get_keepalive(fd, &k);
  return (unsigned)(k.idle + k.interval * k.count) * 1000;
}

/* A peer whose window is closed acknowledges window probes, and what was sent
 * before it closed, but probes are up to two minutes apart. So an old answer
 * means something only if the peer has been asked since. */
static bool is_asked(const struct tcp_info *info) {
  enum { FEW = 2 }; /* may be lost */
  return info->tcpi_probes > FEW ||
         (info->tcpi_unacked > 0 &&
          (info->tcpi_retransmits > FEW ||
           info->tcpi_last_data_sent < info->tcpi_last_ack_recv));
}

/* A second check must confirm it: a machine that was suspended has had no time
 * to receive an answer. */
enum net__peer net__fd_check_peer(int fd, enum net__peer before,
                                  uint64_t most) {
  struct tcp_info info = {0};
  socklen_t size = sizeof info;

  if (net__fd_unsent(fd) == 0 ||
      getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
    return PEER_SETTLED; /* or a Unix socket */
  if (most == 0) most = patience(fd);
  if (most == 0 || !is_asked(&info) || info.tcpi_last_ack_recv < most / 2)
    return PEER_OWES;
  return info.tcpi_last_ack_recv < most || before < PEER_DOUBTED ? PEER_DOUBTED
                                                                 : PEER_GONE;
}

int net__fd_unsent(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

bool net__fd_is_connected(int fd) {
  struct sockaddr_storage peer;
  socklen_t size = sizeof peer;

  return getpeername(fd, (struct sockaddr *)&peer, &size) == 0;
}

int net__fd_error(int fd) {
  int err = 0;
  socklen_t size = sizeof err;

  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &size) < 0) err = errno;
  return -err;
}

int net__fd_peek(int fd) {
  char byte;
  ssize_t n;

  do n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : (int)n;
}

bool net__is_exhaustion(int status) {
  switch (status) {
    case -EMFILE:
    case -ENFILE:
    case -ENOMEM:
    case -ENOBUFS:
    case -ENOSPC:
    case -EAGAIN:
    case -EADDRNOTAVAIL: return true;
    default: return false;
  }
}
