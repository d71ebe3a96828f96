/* Private to src/net, src/rover, src/relay and src/front: ranges of IP
 * addresses, as in "10.0.0.0/8". */
#ifndef NET_CIDR_H
#define NET_CIDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct net__cidr {
  unsigned char address[16]; /* in network order; of IPv4 the first 4 */
  unsigned char bits;        /* of the prefix */
  bool is_v4;
};

/* Parses a CIDR, or an address, which is a range of one. IPv4 that is mapped to
 * IPv6 is IPv4. Returns NULL, or what is wrong with it. */
const char *net__cidr_parse(const char *text, struct net__cidr *cidr);

/* Parses a list, which may be NULL and else ends with NULL, and replaces it with
 * a copy, of one block. Ownership: free() both, also after an error. Errors:
 * UV_EINVAL, UV_ENOMEM. */
int net__cidrs_keep(const char *const **list, struct net__cidr **ranges,
                    size_t *count);

/* Whether one of the ranges holds the address, mapped or not. A Unix socket's
 * is in none. */
bool net__cidrs_contain(const struct net__cidr *cidrs, size_t count,
                        const struct sockaddr *name);

#endif
