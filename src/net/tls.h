/* Private to src/net, src/rover, src/relay, src/front, src/tls and src/sim: what
 * secures connections, as tables of functions, so that the engine needs no
 * OpenSSL. Those who use a connection call what transport.h has.
 *
 * TLS takes from the kernel no more than the record that it needs, or as many as
 * a buffer has room for. What is left of a record that was asked for in part,
 * or only looked at, is held, and so is the end, or an error, behind bytes that
 * were returned: of all that, the kernel reports nothing. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A certificate was refused: the peer's by us, or ours by the peer, as its
 * alert says. As ROVER_ECERT of <callosum/rover.h>. */
#define NET_ECERT (-5001)

enum { NET_RECORD_MAX = 16384 }; /* bytes in one record, RFC 8446, 5.1 */

/* What is known of the peer. The texts live as long as the connection's TLS. */
struct net__tls_facts {
  bool resumed;            /* a session */
  bool is_verified;        /* it has shown a certificate, perhaps back when the
                              session began, and that was verified */
  const char *version;     /* "TLSv1.3", ..., as in a PROXY header */
  const char *common_name; /* of its certificate's subject; NULL if it has none,
                              or was not verified */
  size_t common_name_length;
};

/* The beginning of the TLS of one connection. */
struct net__tls {
  const struct net__tls_type *type;
  bool holds;  /* bytes, or an end or error behind some */
  bool resets; /* closing resets the connection: no close_notify */
  /* Set by whoever reads and is told of each change: no end or urgent data has
   * been reported, so that a short read leaves nothing (see epoll(7)), unless
   * `splices_in`. */
  bool short_is_last;
  /* The kernel does the records of this direction (kTLS), so that bytes may go
   * through splice(2), once nothing is held. A record that is no data makes
   * that fail with EINVAL; recv() takes it. */
  bool splices_in, splices_out;
};

/* Errors are negative errnos, or NET_ECERT. */
struct net__tls_type {
  /* 0 once the handshake is done; -EAGAIN; -EPROTO: the peer speaks no TLS, or
   * none that both know; NET_ECERT; -ECONNRESET: the peer ended or reset the
   * connection; or what broke it. */
  int (*handshake)(struct net__tls *tls);
  /* Once the handshake is done. */
  void (*describe)(const struct net__tls *tls, struct net__tls_facts *facts);
  /* How many bytes; 0: the peer has ended its side (close_notify); -EAGAIN; as
   * of the handshake, which in TLS 1.3 the peer may still refuse; -ECONNRESET
   * also if the peer ended without close_notify, which an attacker can do.
   * Fills the buffer as far as there are records. If `size` is NET_RECORD_MAX
   * or more, it takes whole ones, as long as there is room for the longest, so
   * that it holds no bytes. */
  ssize_t (*recv)(struct net__tls *tls, void *bytes, size_t size);
  /* As net__fd_peek(); what it finds is held. */
  int (*peek)(struct net__tls *tls);
  /* How many bytes were taken, not always all. After -EAGAIN the next call has
   * to begin with the same bytes, at least as many, from wherever. Raises no
   * SIGPIPE. */
  ssize_t (*send)(struct net__tls *tls, const void *bytes, size_t size);
  /* Ends our side: close_notify, then a FIN. -EAGAIN: to be called again once
   * it is writable. */
  int (*shutdown)(struct net__tls *tls);
  /* Says once, without waiting, that our side ends, unless it has, it resets,
   * or the handshake was not done; keeps the session for the next connection;
   * frees it. The descriptor is the caller's. */
  void (*close)(struct net__tls *tls);
  /* Why the last call failed, in a sentence for an operator, about which
   * certificate; or NULL. Lives as long as the connection's TLS. */
  const char *(*why)(const struct net__tls *tls);
};

/* -- Contexts ------------------------------------------------------------- */

/* What rover_tls_t of <callosum/tls.h> begins with. It is one thread's, but for
 * its connections: once they are open, each may be used, and closed, in another.
 * The last reference may therefore be dropped in any. */
struct net__tls_context {
  const struct net__tls_context_type *type;
  atomic_uint refs;
  bool is_server;
  bool demands;  /* a server's: each client has to show a certificate */
  bool is_clear; /* nothing is sent in a handshake: a simulation */
};

struct net__tls_context_type {
  /* Begins TLS on a descriptor that does not block, and stays the caller's. As
   * a client: `name` is the host that the certificate has to be for, unless the
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
  /* Whether both trust the same and show the same. */
  bool (*is_same)(const struct net__tls_context *context,
                  const struct net__tls_context *other);
  void (*free)(struct net__tls_context *context);
};

static inline struct net__tls_context *
net__tls_context_ref(struct net__tls_context *context) {
  context->refs++;
  return context;
}

static inline void net__tls_context_unref(struct net__tls_context *context) {
  if (context && --context->refs == 0) context->type->free(context);
}

#endif
