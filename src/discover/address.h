/* Private to src/discover: an address as text. */
#ifndef DISCOVER_ADDRESS_H
#define DISCOVER_ADDRESS_H

#include "provider.h"

struct discover__address {
  char host[256];
};

/* "10.0.0.7:4040", "[::1]:4040", "web-1:4040"; without a port it is `port`, of
 * which 0 is none. Writes the entry, whose host is in `address`. Whether that can
 * be one, the source sees to. */
bool discover__address_read(struct discover__address *address, const char *text,
                            int port, struct discover__entry *entry);

#endif
