#include "addresses.h"

#include <stdlib.h>
#include <string.h>

/* If there is no memory to hash one, the call fails instead of aborting the
 * process. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((element)->count = 0)
#include <uthash.h>

struct front__address {
  UT_hash_handle hh;
  struct in6_addr ip;
  unsigned count; /* 0: it could not be hashed */
};

/* IPv4 mapped to IPv6. */
static struct in6_addr ip_of(const struct sockaddr *name) {
  struct in6_addr ip = {0};

  if (name->sa_family == AF_INET6)
    return ((const struct sockaddr_in6 *)name)->sin6_addr;
  ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
  memcpy(&ip.s6_addr[12], &((const struct sockaddr_in *)name)->sin_addr, 4);
  return ip;
}

struct front__address *front__addresses_add(struct front__addresses *addresses,
                                            const struct sockaddr *name,
                                            unsigned most) {
  struct in6_addr ip = ip_of(name);
  struct front__address *address;

  uint32_t hash = net__hash(&addresses->key, &ip, sizeof ip);
  HASH_FIND_BYHASHVALUE(hh, addresses->by_ip, &ip, sizeof ip, hash, address);
  if (address) {
    if (address->count >= most) return NULL;
    address->count++;
    return address;
  }
  address = calloc(1, sizeof *address);
  if (!address) return NULL;
  address->ip = ip;
  address->count = 1;
  HASH_ADD_BYHASHVALUE(hh, addresses->by_ip, ip, sizeof ip, hash, address);
  if (address->count > 0) return address;
  free(address);
  return NULL;
}

void front__addresses_drop(struct front__addresses *addresses,
                           struct front__address *address) {
  if (--address->count > 0) return;
  HASH_DEL(addresses->by_ip, address);
  free(address);
}

void front__addresses_clear(struct front__addresses *addresses) {
  struct front__address *address = addresses->by_ip, *next;

  HASH_CLEAR(hh, addresses->by_ip); /* their list stays */
  for (; address; address = next) {
    next = address->hh.next;
    free(address);
  }
}
