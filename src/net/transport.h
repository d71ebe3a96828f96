/* Private to src/net, src/rover, src/relay, src/front and src/tls: what reads,
 * writes and ends a connection: the kernel alone, or TLS above it.
 *
 * A connection's TLS hangs at its poll, and moves with it. Without one, each of
 * these is the system call it is named after. Errors are negative errnos, or
 * NET_ECERT. Nothing here needs libuv or OpenSSL: those who secure connections
 * are behind a table of functions.
 *
 * TLS takes from the kernel no more than the record that it needs. What is left
 * of a record that was asked for in part, or only looked at, is held, and the
 * kernel reports nothing about it: whoever takes over a connection asks
 * net__holds(). A secured connection is polled edge-triggered (poll->changes),
 * for NET_READABLE and NET_WRITABLE at once, since to read it may first have to
 * write, and the other way around: any event is a reason to try again whatever
 * is under way. */
#ifndef NET_TRANSPORT_H
#define NET_TRANSPORT_H

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "descriptor.h"
#include "epoll.h"

/* A certificate was refused: the peer's by us, or ours by the peer, as its alert
 * says. As ROVER_ECERT of <callosum/rover.h>. */
#define NET_ECERT (-5001)

struct net__tls;

struct net__tls_type {
  /* 0 once the handshake is done; -EAGAIN; -EPROTO: the peer speaks no TLS, or
   * none that both know; NET_ECERT; -ECONNRESET: the peer ended or reset the
   * connection; or what broke it. */
  int (*handshake)(struct net__tls *tls);
  /* How many bytes; 0: the peer has ended its side (close_notify); -EAGAIN; as
   * of the handshake, which in TLS 1.3 the peer may still refuse; -ECONNRESET
   * also if the peer ended without close_notify, which an attacker can do. Fills
   * the buffer as far as there are records; holds nothing if it returns less
   * than `size`, or `size` is NET_RECORD_MAX or more. */
  ssize_t (*recv)(struct net__tls *tls, void *bytes, size_t size);
  /* As net__fd_peek(). */
  int (*peek)(struct net__tls *tls);
  /* How many bytes were taken, not always all. After -EAGAIN the next call has to
   * begin with the same bytes, at least as many, from wherever. Raises no
   * SIGPIPE. */
  ssize_t (*send)(struct net__tls *tls, const void *bytes, size_t size);
  /* Ends our side: close_notify, then a FIN. -EAGAIN: to be called again once it
   * is writable. */
  int (*shutdown)(struct net__tls *tls);
  /* Says once, without waiting, that our side ends, unless it has or the handshake
   * was not done; keeps the session for the next connection; frees it. The
   * descriptor is the caller's. */
  void (*close)(struct net__tls *tls);
  /* Why the last call failed, in a sentence for an operator, about which
   * certificate; or NULL. Lives as long as the connection's TLS. */
  const char *(*why)(const struct net__tls *tls);
};

/* The beginning of the TLS of one connection. */
struct net__tls {
  const struct net__tls_type *type;
  bool holds; /* bytes, or the peer's end behind them */
  /* The kernel does the records of this direction (kTLS), so that bytes may go
   * through splice(2), once nothing is held. A record that is no data makes that
   * fail with EINVAL; net__recv() takes it. */
  bool splices_in, splices_out;
};

enum { NET_RECORD_MAX = 16384 }; /* bytes in one record, RFC 8446, 5.1 */

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

/* Ends our side. -EAGAIN is possible only under TLS. */
static inline int net__shutdown(const struct net__poll *poll) {
  if (poll->tls) return poll->tls->type->shutdown(poll->tls);
  return shutdown(poll->fd, SHUT_WR) < 0 ? -errno : 0;
}

/* -- Contexts ------------------------------------------------------------- */

/* What rover_tls_t of <callosum/tls.h> begins with. Counted; not for threads. */
struct net__tls_context {
  const struct net__tls_context_type *type;
  unsigned refs;
  bool is_server;
};

struct net__tls_context_type {
  /* Begins TLS on a descriptor that does not block, and stays the caller's. As a
   * client: `name` is the host that the certificate has to be for, unless the
   * context has a name of its own; an address is looked for among the
   * certificate's addresses, and is not sent (RFC 6066, 3). `key` is whose
   * session is resumed, such as "10.0.0.1:4040". As a server both are NULL.
   * Errors: -ENOMEM. */
  int (*open)(struct net__tls_context *context, int fd, const char *name,
              const char *key, struct net__tls **tls);
  /* `other` has become `context`: that resumes the sessions of `other`, if both
   * trust the same and show the same. */
  void (*follow)(struct net__tls_context *context,
                 struct net__tls_context *other);
  void (*free)(struct net__tls_context *context);
};

static inline void net__tls_context_unref(struct net__tls_context *context) {
  if (context && --context->refs == 0) context->type->free(context);
}

#endif
