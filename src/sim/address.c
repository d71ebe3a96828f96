#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

struct sim__address sim__address_of_v4(uint32_t host_order, uint16_t port) {
  struct sim__address address = {.port = port};
  uint32_t ip = htonl(host_order);

  address.ip.s6_addr[10] = address.ip.s6_addr[11] = 0xff;
  memcpy(&address.ip.s6_addr[12], &ip, sizeof ip);
  return address;
}

int sim__address_read(struct sim__address *address, const struct sockaddr *name,
                      socklen_t size) {
  if (size < sizeof(struct sockaddr_in)) return -EINVAL;
  if (name->sa_family == AF_INET) {
    struct sockaddr_in v4;
    memcpy(&v4, name, sizeof v4);
    *address =
        sim__address_of_v4(ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port));
    return 0;
  }
  if (name->sa_family != AF_INET6) return -EAFNOSUPPORT;
  struct sockaddr_in6 v6 = {0};
  memcpy(&v6, name, size < sizeof v6 ? size : sizeof v6);
  *address = (struct sim__address){v6.sin6_addr, ntohs(v6.sin6_port)};
  return 0;
}

void sim__address_write(const struct sim__address *address, int family,
                        struct sockaddr *name, socklen_t *size) {
  struct sockaddr_in v4 = {.sin_family = AF_INET,
                           .sin_port = htons(address->port)};
  struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                            .sin6_port = htons(address->port),
                            .sin6_addr = address->ip};
  const void *from = &v6;
  socklen_t needed = sizeof v6;

  memcpy(&v4.sin_addr, &address->ip.s6_addr[12], sizeof v4.sin_addr);
  if (family == AF_INET) {
    from = &v4;
    needed = sizeof v4;
  }
  memcpy(name, from, *size < needed ? *size : needed);
  *size = needed;
}

bool sim__address_is_loopback(const struct sim__address *address) {
  return IN6_IS_ADDR_LOOPBACK(&address->ip) ||
         (IN6_IS_ADDR_V4MAPPED(&address->ip) && address->ip.s6_addr[12] == 127);
}

bool sim__address_is_any(const struct sim__address *address) {
  static const uint8_t none[4];
  return IN6_IS_ADDR_UNSPECIFIED(&address->ip) ||
         (IN6_IS_ADDR_V4MAPPED(&address->ip) &&
          !memcmp(&address->ip.s6_addr[12], none, sizeof none));
}

bool sim__address_is_same_ip(const struct sim__address *one,
                             const struct sim__address *other) {
  return IN6_ARE_ADDR_EQUAL(&one->ip, &other->ip);
}

struct sim__address sim__machine_address(const struct sim__machine *machine) {
  return sim__address_of_v4((UINT32_C(10) << 24) + machine->id + 1, 0);
}
