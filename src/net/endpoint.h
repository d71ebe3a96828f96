/* Private to src/net, src/relay and src/front: where to listen, or to connect
 * to: an IP address with its port, or the path of a Unix socket. */
#ifndef NET_ENDPOINT_H
#define NET_ENDPOINT_H

#include <stdbool.h>
#include <sys/un.h>

#include "address.h"

union net__endpoint {
  struct sockaddr any;
  union net__address ip;
  struct sockaddr_un path;
};

/* Parses the fields of a rover_address_t, where a path goes first, and replaces
 * them by what they mean: text is copied, defaults are filled in, and what does
 * not apply becomes NULL or 0. Ownership: host and path are the caller's to
 * free, also after an error. Errors: UV_EINVAL, UV_ENAMETOOLONG, UV_ENOMEM. */
int net__endpoint_keep(union net__endpoint *endpoint, const char **host,
                       int *port, const char **path, int *mode);

/* The port, 0 of a path. */
int net__endpoint_port(const union net__endpoint *endpoint);

socklen_t net__endpoint_size(const union net__endpoint *endpoint);

/* Of IP addresses, whatever the ports: mapped IPv4 is IPv4. */
bool net__endpoint_is_same_ip(const union net__endpoint *one,
                              const union net__endpoint *other);

bool net__endpoint_is_same(const union net__endpoint *one,
                           const union net__endpoint *other);

/* Whether only this machine can reach it. */
bool net__endpoint_is_local(const union net__endpoint *endpoint);

#endif
