/* Private to src/sim: addresses. */
#ifndef SIM_ADDRESS_H
#define SIM_ADDRESS_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "machine.h"

/* IPv6, or IPv4 mapped to it. The port is in host order. */
struct sim__address {
  struct in6_addr ip;
  uint16_t port;
};

/* The machine's own address, without a port. */
struct sim__address sim__machine_address(const struct sim__machine *machine);

struct sim__address sim__address_of_v4(uint32_t host_order, uint16_t port);

/* From and to struct sockaddr_in and _in6. Returns -EAFNOSUPPORT for others,
 * -EINVAL if it is too short. */
int sim__address_read(struct sim__address *address, const struct sockaddr *name,
                      socklen_t size);

/* Writes what fits into `size`, and sets that to what it needs. */
void sim__address_write(const struct sim__address *address, int family,
                        struct sockaddr *name, socklen_t *size);

bool sim__address_is_loopback(const struct sim__address *address);
bool sim__address_is_any(const struct sim__address *address);
bool sim__address_is_same_ip(const struct sim__address *one,
                             const struct sim__address *other);

#endif
