/* Private to src/net, src/relay and src/front: the PROXY header at the
 * beginning of an accepted connection, and the one that the next hop is
 * sent. */
#ifndef NET_HEADER_H
#define NET_HEADER_H

#include "proxy.h"

struct net__header {
  union net__proxy_name peer; /* who connected */
  struct net__proxy proxy;    /* is_local until it has been read */
  struct net__proxy_reader reader;
};

/* For a connection that `peer` has made; NULL: to a Unix socket. Errors:
 * UV_ENOMEM. */
int net__header_new(struct net__header **header, const struct sockaddr *peer);
void net__header_free(struct net__header *header);

/* As net__proxy_read(). */
int net__header_read(struct net__header *header, const struct net__poll *poll,
                     const char **why);

/* The address of the client: the one in the header, or else the peer's. */
const union net__proxy_name *net__header_name(const struct net__header *h);

/* Makes a header of that version for the next hop of the connection at `poll`,
 * which `peer` has made; or NULL, to a Unix socket. Its own header may be NULL;
 * if that has no client, or there is none, the connection's own TLS is told of.
 * Returns NULL if out of memory; free() it. */
char *net__header_make(const struct net__header *own,
                       const struct net__poll *poll,
                       const struct sockaddr *peer, int version,
                       size_t *length);

#endif
