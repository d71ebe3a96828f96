/* Private to src/net, src/rover, src/relay, src/front and src/tls: what reads,
 * writes and ends a connection: the kernel alone, or TLS above it (see tls.h).
 *
 * A connection's TLS hangs at its poll, moves with it, and is closed with it.
 * Without one, each of these is the system call it is named after. Errors are
 * negative errnos, or NET_ECERT.
 *
 * A secured connection is polled edge-triggered (poll->changes), for
 * NET_READABLE and NET_WRITABLE at once, since to read it may first have to
 * write, and the other way around: any event is a reason to try again whatever
 * is under way. Whoever takes over a connection asks net__holds(). */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "descriptor.h"
#include "epoll.h"
#include "tls.h"

/* Whether there is something to read that the kernel reports no more. */
static inline bool net__holds(const struct net__poll *poll) {
  return poll->tls && poll->tls->holds;
}

static inline ssize_t net__recv(const struct net__poll *poll, void *bytes,
                                size_t size) {
  if (poll->tls) return poll->tls->type->recv(poll->tls, bytes, size);
  ssize_t n;
  do n = recv(poll->fd, bytes, size, 0);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* Whether there may be more to read after `n` of `size` bytes were: what is left
 * in the kernel is not reported again. */
static inline bool net__has_more(const struct net__poll *poll, size_t n,
                                 size_t size) {
  if (!poll->tls) return n == size; /* see epoll(7) */
  return poll->tls->holds || n == size ||
         (size >= NET_RECORD_MAX && n > size - NET_RECORD_MAX);
}

/* Looks without reading. 1: there are bytes; 0: the peer has ended its side;
 * -EAGAIN: neither; or the error that broke the connection. */
static inline int net__peek(const struct net__poll *poll) {
  return poll->tls ? poll->tls->type->peek(poll->tls) : net__fd_peek(poll->fd);
}

/* `flags` are those of send(2), and only hints under TLS. */
static inline ssize_t net__send(const struct net__poll *poll, const void *bytes,
                                size_t size, int flags) {
  if (poll->tls) return poll->tls->type->send(poll->tls, bytes, size);
  ssize_t n;
  do n = send(poll->fd, bytes, size, flags | MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  return n < 0 ? -errno : n;
}

/* Ends our side. Only under TLS may that be -EAGAIN: to be called again once it
 * is writable. */
static inline int net__shutdown(const struct net__poll *poll) {
  if (poll->tls) return poll->tls->type->shutdown(poll->tls);
  return shutdown(poll->fd, SHUT_WR) < 0 ? -errno : 0;
}

/* Makes closing reset the connection. */
static inline void net__reset_on_close(const struct net__poll *poll) {
  if (poll->tls) poll->tls->resets = true;
  net__fd_reset_on_close(poll->fd);
}

#endif
