/* Private to src/front: how many connections there are from each address. */
#ifndef FRONT_ADDRESSES_H
#define FRONT_ADDRESSES_H

#include <netinet/in.h>
#include <stdbool.h>

struct front__address; /* that has connections */

/* Zero it. */
struct front__addresses {
  struct front__address *by_ip; /* uthash head */
};

/* Counts one more, of an IPv4 or IPv6 name, unless there are `most`. Returns
 * NULL then, or if there is no memory. */
struct front__address *front__addresses_add(struct front__addresses *addresses,
                                            const struct sockaddr *name,
                                            unsigned most);

/* Counts one less. */
void front__addresses_drop(struct front__addresses *addresses,
                           struct front__address *address);

#endif
