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

/* The fields of a rover_address_t, which this room does not know. */
struct net__address_fields {
  const char **host;
  int *port;
  const char **path;
  int *mode;
  const char **fd_name;
};
#define NET__ADDRESS_FIELDS(a)                                                 \
  (&(const struct net__address_fields){&(a)->host, &(a)->port, &(a)->path,     \
                                       &(a)->mode, &(a)->fd_name})

/* Parses them, where a path goes first, and replaces them by what they mean:
 * text is copied, defaults are filled in, and what does not apply becomes NULL or
 * 0. Of an fd_name, which is alone, nothing is known. Ownership: the texts are
 * the caller's to free, also after an error. Errors: UV_EINVAL, UV_ENAMETOOLONG,
 * UV_ENOMEM. */
int net__endpoint_keep(union net__endpoint *endpoint,
                       const struct net__address_fields *fields);

/* That of a socket which listens. Errors: UV_ENOTSOCK, UV_EPROTOTYPE (it is no
 * stream), UV_EINVAL (it does not listen), UV_EAFNOSUPPORT (neither IP nor
 * Unix), UV_ENAMETOOLONG. */
int net__endpoint_of(union net__endpoint *endpoint, int fd);

/* Whether a socket that listens, whose file is at `path` if that is not NULL,
 * does so where `wanted` says. With `any_port`, port 0 stands for its port. */
bool net__endpoint_is_for(const union net__endpoint *wanted, int fd,
                          const char *path, bool any_port);

/* Makes text of its IP address, or of its path; that of an abstract socket
 * begins with "@". The other is NULL. Errors: UV_ENOMEM. */
int net__endpoint_show(const union net__endpoint *endpoint, char **host,
                       char **path);

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
