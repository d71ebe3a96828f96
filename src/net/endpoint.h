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

/* That of `path`, or if that is NULL, of host and port. The host is an IP
 * literal; "localhost" and NULL are 127.0.0.1. Errors: UV_EINVAL (the host is
 * none, the path is empty, the port out of range), UV_ENAMETOOLONG. */
int net__endpoint_parse(union net__endpoint *endpoint, const char *host,
                        int port, const char *path);

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
