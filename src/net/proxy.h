/* Private to src/net, src/relay and src/front: the header of the PROXY
 * protocol, in which a proxy sends the address of its client.
 *
 * Only the header is read: bytes of the payload stay in the kernel. The parser
 * owns nothing: what it finds points into the caller's bytes. */
#ifndef NET_PROXY_H
#define NET_PROXY_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include "epoll.h"

enum {
  NET_PROXY_FIRST = 15,       /* no header is shorter */
  NET_PROXY_V1_MAX = 107,     /* with CR and LF */
  NET_PROXY_WRITE_MAX = 1024, /* what net__proxy_write() needs at most */
  /* Longer ones are not sent on; a longer unique id is not even accepted. */
  NET_PROXY_UNIQUE_ID_MAX = 128,
  NET_PROXY_AUTHORITY_MAX = 255,
  NET_PROXY_TLS_VERSION_MAX = 32,
  NET_PROXY_COMMON_NAME_MAX = 255
};

struct net__bytes {
  const char *bytes; /* NULL: there are none */
  size_t length;
};

union net__proxy_name {
  struct sockaddr any; /* AF_INET, AF_INET6 or AF_UNIX; never mapped IPv4 */
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un path;
};

struct net__proxy {
  int version; /* 1 or 2 */
  /* It has no addresses, so those of the connection itself count. A proxy sends
   * such headers for its health checks, but also for clients that have no
   * address, on its Unix sockets. */
  bool is_local;
  union net__proxy_name from, to; /* unless is_local */
  /* The rest is in version 2 only. */
  struct net__bytes unique_id;
  struct net__bytes authority; /* the host name that the client asked for */
  bool has_tls;                /* the client uses TLS, of this version */
  struct net__bytes tls_version;
  bool has_certificate;          /* it showed one, ... */
  bool is_verified;              /* ... and that was verified */
  struct net__bytes common_name; /* in it; only of a verified one */
};

/* Parses the `length` bytes read so far. Returns 0 and sets *proxy if they are
 * the whole header; UV_EPROTO if no header begins like this, and *why to the
 * reason; otherwise how many more bytes can be read without passing its end. */
int net__proxy_parse(const unsigned char *bytes, size_t length,
                     struct net__proxy *proxy, const char **why);

/* What was read of a header. Zeroed at the beginning. */
struct net__proxy_reader {
  unsigned char *bytes; /* from malloc() */
  size_t length, size;
};

/* Reads from a connection that does not block. Returns 0 and sets *proxy, which
 * points into what the reader has; UV_EAGAIN if more is to come; UV_EOF if the
 * peer has ended without a byte; UV_EPROTO and *why if it is no valid header;
 * UV_ENOMEM, or what broke the connection. */
int net__proxy_read(struct net__proxy_reader *reader,
                    const struct net__poll *poll, struct net__proxy *proxy,
                    const char **why);
void net__proxy_reader_clear(struct net__proxy_reader *reader);

/* Writes a header of that version to `out`, which has NET_PROXY_WRITE_MAX
 * bytes. Addresses of two IP families are both written as IPv6; other pairs,
 * and other families, are left out. Returns its length. */
size_t net__proxy_write(const struct net__proxy *proxy, int version,
                        unsigned char *out);

/* Sets an address; mapped IPv4 becomes IPv4. Returns whether a header can have
 * it. */
bool net__proxy_set_name(union net__proxy_name *name,
                         const struct sockaddr *from);

#endif
