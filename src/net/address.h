/* Private to src/net, src/rover, src/relay and src/front: IP addresses, and
 * hosts whose addresses are known without the resolver. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>

union net__address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* Finds the address of a literal, or the two of localhost; their ports are 0.
 * Returns how many were found, 0 if the resolver has to be asked, or
 * UV_EAI_NONAME for a malformed address, which cannot be a name either. */
int net__address_parse(const char *host, union net__address found[2]);

/* Returns the size of the address. */
socklen_t net__address_set_port(union net__address *address, int port);
in_port_t net__address_port(const union net__address *address);

/* Whether both ends of a connection are the same; `port` is the peer's. If
 * nothing listens on a local port, the kernel may pick that very port for our
 * end and connect it to itself (simultaneous open). As long as such a
 * connection exists, no server can listen there. */
bool net__address_is_own(int fd, int port);

/* What EADDRNOTAVAIL of connect(2) means: -EADDRNOTAVAIL, there is no local
 * port left; or -ENETUNREACH, there is no local address, as for ::1 on a
 * machine without IPv6. */
int net__address_blame_port(const union net__address *name, socklen_t size);

/* Why a name was not found: `status`, or the resource that this machine
 * lacks. */
int net__address_blame(int status);

#endif
