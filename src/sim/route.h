/* Private to src/sim: addresses, who is behind them, and where the network is
 * cut. */
#ifndef SIM_ROUTE_H
#define SIM_ROUTE_H

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

/* Whoever connects to that address and port (0: any) reaches `machine`, as if
 * it had that address, at `to` (0: the same port). A loopback address stands
 * for all loopback addresses of all machines; it matters only where nothing of
 * the connecting machine's own listens. */
void sim__route(const struct sim__address *address,
                struct sim__machine *machine, uint16_t to);

/* Called when a policy looks up a name that does not exist, or connects to an
 * address where there is no machine: `what` is the name, or HOST:PORT. */
extern void (*sim__on_stranger)(struct sim__machine *machine, const char *what);

/* -- Within the kernel ---------------------------------------------------- */

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

/* The machine behind an address as `from` sees it, and its port in `port`; NULL
 * if there is none. */
struct sim__machine *sim__route_find(struct sim__machine *from,
                                     const struct sim__address *to,
                                     uint16_t *port);

/* Cuts or heals the network between two machines. Returns whether that has
 * changed anything; their connections are to be told. */
bool sim__cut_set(struct sim__machine *one, struct sim__machine *other,
                  bool cut);

/* Whether nothing gets from one to the other. */
bool sim__is_cut(const struct sim__machine *one,
                 const struct sim__machine *other);

/* Adds a machine at its address, and takes it and all that leads to it away. */
void sim__route_add(struct sim__machine *machine);
void sim__route_remove(struct sim__machine *machine);

#endif
