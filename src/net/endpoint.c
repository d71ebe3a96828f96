#include "endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

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

/* It has to be there alone. */
static int keep_fd_name(const char **fd_name, bool alone) {
  const char *name = *fd_name;

  *fd_name = NULL;
  if (!alone || !*name) return UV_EINVAL;
  *fd_name = strdup(name);
  return *fd_name ? 0 : UV_ENOMEM;
}

int net__endpoint_keep(union net__endpoint *endpoint,
                       const struct net__address_fields *fields) {
  const char **host = fields->host, **path = fields->path;
  int *port = fields->port, *mode = fields->mode;
  const char **fd_name = fields->fd_name;
  bool is_path = *path != NULL;
  const char *text = is_path ? *path : *host;

  *host = *path = NULL;
  memset(endpoint, 0, sizeof *endpoint);
  if (*fd_name) return keep_fd_name(fd_name, !text && *port == 0 && *mode == 0);
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

static int ask(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0
             ? uv_translate_sys_error(errno)
             : value;
}

int net__endpoint_of(union net__endpoint *endpoint, int fd) {
  socklen_t size = sizeof *endpoint;
  int type = ask(fd, SO_TYPE);

  memset(endpoint, 0, sizeof *endpoint);
  if (type < 0) return type;
  if (getsockname(fd, &endpoint->any, &size) < 0)
    return uv_translate_sys_error(errno);
  switch (endpoint->any.sa_family) {
    case AF_INET:
    case AF_INET6: break;
    case AF_UNIX: /* the last byte of the kernel's need not be NUL */
      if (size == sizeof endpoint->path &&
          endpoint->path.sun_path[sizeof endpoint->path.sun_path - 1])
        return UV_ENAMETOOLONG;
      break;
    default: return UV_EAFNOSUPPORT;
  }
  if (type != SOCK_STREAM) return UV_EPROTOTYPE;
  return ask(fd, SO_ACCEPTCONN) == 1 ? 0 : UV_EINVAL;
}

static bool is_same_file(const char *one, const char *other) {
  struct stat a, b;
  return lstat(one, &a) == 0 && lstat(other, &b) == 0 && a.st_dev == b.st_dev &&
         a.st_ino == b.st_ino;
}

bool net__endpoint_is_for(const union net__endpoint *wanted, int fd,
                          const char *path, bool any_port) {
  union net__endpoint is;

  if (net__endpoint_of(&is, fd) < 0) return false;
  if (wanted->any.sa_family == AF_UNIX) {
    if (is.any.sa_family != AF_UNIX) return false;
    return is_same_file(wanted->path.sun_path, path ? path : is.path.sun_path);
  }
  int port = net__endpoint_port(wanted);
  return is.any.sa_family != AF_UNIX &&
         (port == net__endpoint_port(&is) || (port == 0 && any_port)) &&
         net__endpoint_is_same_ip(wanted, &is);
}

int net__endpoint_show(const union net__endpoint *endpoint, char **host,
                       char **path) {
  char text[sizeof endpoint->path.sun_path + INET6_ADDRSTRLEN];
  const char *name = endpoint->path.sun_path;
  bool is_path = endpoint->any.sa_family == AF_UNIX;
  bool is_abstract = !name[0] && name[1];

  *host = *path = NULL;
  if (is_path)
    snprintf(text, sizeof text, "%s%s", is_abstract ? "@" : "",
             name + is_abstract);
  else uv_ip_name(&endpoint->any, text, sizeof text);
  char *copy = strdup(text);
  if (is_path) *path = copy;
  else *host = copy;
  return copy ? 0 : UV_ENOMEM;
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
