/* Private to src/front: counts connections by address. */
#ifndef FRONT_ADDRESSES_H
#define FRONT_ADDRESSES_H

#include <netinet/in.h>
#include <stdbool.h>

#include "../net/hash.h"

struct front__address; /* one that has connections */

/* Zero it, and draw the key. */
struct front__addresses {
  struct net__hash_key key;
  struct front__address *by_ip; /* uthash head */
};

/* Counts a connection from an IPv4 or IPv6 address. Returns NULL if there are
 * `most` already, or if there is no memory. */
struct front__address *front__addresses_add(struct front__addresses *addresses,
                                            const struct sockaddr *name,
                                            unsigned most);

/* One of its connections has closed. */
void front__addresses_drop(struct front__addresses *addresses,
                           struct front__address *address);

void front__addresses_clear(struct front__addresses *addresses);

#endif
