/* Private to src/relay: the PROXY header that a client begins with, and the one
 * that its server is sent. */
#ifndef RELAY_HEADER_H
#define RELAY_HEADER_H

#include <callosum/relay.h>

#include "../net/proxy.h"

struct relay__header {
  union net__proxy_name peer; /* who connected */
  struct net__proxy proxy;    /* local until it has come */
  struct net__proxy_reader reader;
};

/* For a connection that was accepted. Errors: UV_ENOMEM; UV_ENOTCONN and the
 * like if it is over already. */
int relay__header_new(struct relay__header **header, int fd);
void relay__header_free(struct relay__header *header);

/* As net__proxy_read(). */
int relay__header_read(struct relay__header *header, int fd, const char **why);

/* Whose connection it is: the address told, or who connected. */
const union net__proxy_name *relay__header_name(const struct relay__header *h);

/* Makes the header of that version for the server of a client, whose own may be
 * NULL. Returns NULL for want of memory; free() it. */
char *relay__header_make(const struct relay__header *own, int fd, int version,
                         size_t *length);

#endif
