/* Private to src/net, src/rover and src/relay: IP addresses, and the hosts that
 * take no resolver to find them. */
#ifndef NET_ADDRESS_H
#define NET_ADDRESS_H

#include <netinet/in.h>

union net__address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* Finds the addresses of a literal, which has one, or of localhost, which has
 * two; their ports are 0. Returns how many, 0 if the resolver is to be asked,
 * or UV_EAI_NONAME: it can only be an address, and there is none like that. */
int net__address_parse(const char *host, union net__address found[2]);

/* Returns the size of the address. */
socklen_t net__address_set_port(union net__address *address, int port);
in_port_t net__address_port(const union net__address *address);

/* Why a name was not found: `status`, or that this machine lacks something. */
int net__address_blame(int status);

#endif
