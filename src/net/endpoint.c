#include "endpoint.h"

#include <string.h>

#include <uv.h>

#include "descriptor.h"

enum { MODE_MAX = 0777, MODE_DEFAULT = 0600 };

static int parse_path(union net__endpoint *endpoint, const char *path) {
  if (!path[0]) return UV_EINVAL;
  if (strlen(path) >= sizeof endpoint->path.sun_path) return UV_ENAMETOOLONG;
  endpoint->path.sun_family = AF_UNIX;
  strcpy(endpoint->path.sun_path, path);
  return 0;
}

static int parse_host(union net__endpoint *endpoint, const char *host,
                      int port) {
  union net__address found[2];

  if (port < 0 || port > 65535) return UV_EINVAL;
  int known = net__address_parse(host, found);
  if (known != 1) return net__is_exhaustion(known) ? known : UV_EINVAL;
  endpoint->ip = *found;
  net__address_set_port(&endpoint->ip, port);
  return 0;
}

int net__endpoint_keep(union net__endpoint *endpoint, const char **host,
                       int *port, const char **path, int *mode) {
  bool is_path = *path != NULL;
  const char *text = is_path ? *path : *host;

  *host = *path = NULL;
  memset(endpoint, 0, sizeof *endpoint);
  if (*mode < 0 || *mode > MODE_MAX) return UV_EINVAL;
  if (!text || (!is_path && !strcmp(text, "localhost"))) text = "127.0.0.1";
  int err =
      is_path ? parse_path(endpoint, text) : parse_host(endpoint, text, *port);
  if (err < 0) return err;
  if (is_path) *port = 0;
  *mode = !is_path ? 0 : *mode == 0 ? MODE_DEFAULT : *mode;
  char *own = strdup(text);
  *(is_path ? path : host) = own;
  return own ? 0 : UV_ENOMEM;
}

int net__endpoint_port(const union net__endpoint *endpoint) {
  return endpoint->any.sa_family == AF_UNIX ? 0
                                            : net__address_port(&endpoint->ip);
}

socklen_t net__endpoint_size(const union net__endpoint *endpoint) {
  switch (endpoint->any.sa_family) {
    case AF_UNIX: return sizeof endpoint->path;
    case AF_INET6: return sizeof endpoint->ip.v6;
    default: return sizeof endpoint->ip.v4;
  }
}

/* The IP address, IPv4 mapped to IPv6, with its zone. */
static struct in6_addr ip_of(const union net__endpoint *endpoint,
                             uint32_t *zone) {
  struct in6_addr ip = {0};

  *zone = 0;
  if (endpoint->any.sa_family == AF_INET6) {
    *zone = endpoint->ip.v6.sin6_scope_id;
    return endpoint->ip.v6.sin6_addr;
  }
  ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
  memcpy(&ip.s6_addr[12], &endpoint->ip.v4.sin_addr, 4);
  return ip;
}

bool net__endpoint_is_same_ip(const union net__endpoint *one,
                              const union net__endpoint *other) {
  uint32_t zone, other_zone;
  struct in6_addr ip = ip_of(one, &zone), other_ip = ip_of(other, &other_zone);
  return !memcmp(&ip, &other_ip, sizeof ip) && zone == other_zone;
}

bool net__endpoint_is_same(const union net__endpoint *one,
                           const union net__endpoint *other) {
  if (one->any.sa_family == AF_UNIX || other->any.sa_family == AF_UNIX)
    return one->any.sa_family == other->any.sa_family &&
           !strcmp(one->path.sun_path, other->path.sun_path);
  return net__endpoint_port(one) == net__endpoint_port(other) &&
         net__endpoint_is_same_ip(one, other);
}

bool net__endpoint_is_local(const union net__endpoint *endpoint) {
  uint32_t zone;
  struct in6_addr ip = ip_of(endpoint, &zone);

  return endpoint->any.sa_family == AF_UNIX || IN6_IS_ADDR_LOOPBACK(&ip) ||
         (IN6_IS_ADDR_V4MAPPED(&ip) && ip.s6_addr[12] == 127);
}
