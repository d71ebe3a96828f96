#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <uv.h>

#include "descriptor.h"

/* A resolver that could not open a descriptor, for its files or for a query,
 * reports only that the name does not exist. */
int net__address_blame(int status) {
  if (status == UV_EAI_MEMORY) return UV_ENOMEM;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int err = fd < 0 ? uv_translate_sys_error(errno) : 0;
  if (fd >= 0) close(fd);
  return net__is_exhaustion(err) ? err : status;
}

/* The index of the interface, given by name or, as for getaddrinfo(), by
 * number; 0 if it is neither. */
static unsigned parse_zone(const char *text) {
  unsigned index = if_nametoindex(text);
  unsigned long number = 0;

  if (index > 0) return index;
  for (; *text >= '0' && *text <= '9' && number <= UINT32_MAX; text++)
    number = number * 10 + (unsigned long)(*text - '0');
  return *text || number > UINT32_MAX ? 0 : (unsigned)number;
}

/* An address with a zone; only link-local addresses have one. */
static int parse_zoned(const char *host, const char *zone,
                       struct sockaddr_in6 *name) {
  char text[INET6_ADDRSTRLEN];
  size_t length = (size_t)(zone - host);

  if (length >= sizeof text) return UV_EAI_NONAME;
  memcpy(text, host, length);
  text[length] = '\0';
  if (inet_pton(AF_INET6, text, &name->sin6_addr) != 1 ||
      !IN6_IS_ADDR_LINKLOCAL(&name->sin6_addr))
    return UV_EAI_NONAME;
  name->sin6_scope_id = parse_zone(zone + 1);
  return name->sin6_scope_id > 0 ? 1 : net__address_blame(UV_EAI_NONAME);
}

int net__address_parse(const char *host, union net__address found[2]) {
  memset(found, 0, 2 * sizeof *found);
  /* This runs for each attempt, and libc's parser takes half the time of
   * libuv's. */
  if (inet_pton(AF_INET, host, &found->v4.sin_addr) == 1) {
    found->any.sa_family = AF_INET;
    return 1;
  }
  const char *zone = strchr(host, '%');
  found->any.sa_family = AF_INET6;
  if (zone) return parse_zoned(host, zone, &found->v6);
  if (inet_pton(AF_INET6, host, &found->v6.sin6_addr) == 1) return 1;
  if (strcasecmp(host, "localhost") != 0 && strcasecmp(host, "localhost.") != 0)
    return 0;
  found[0].v6.sin6_addr = in6addr_loopback;
  found[1].v4.sin_family = AF_INET;
  found[1].v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return 2;
}

socklen_t net__address_set_port(union net__address *address, int port) {
  if (address->any.sa_family == AF_INET6) {
    address->v6.sin6_port = htons((uint16_t)port);
    return sizeof address->v6;
  }
  address->v4.sin_port = htons((uint16_t)port);
  return sizeof address->v4;
}

in_port_t net__address_port(const union net__address *address) {
  return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port
                                                  : address->v4.sin_port);
}

bool net__address_is_own(int fd, int port) {
  union net__address own, peer;
  socklen_t size = sizeof own, peer_size = sizeof peer;

  if (getsockname(fd, &own.any, &size) < 0 || net__address_port(&own) != port ||
      getpeername(fd, &peer.any, &peer_size) < 0)
    return false;
  if (own.any.sa_family == AF_INET6)
    return !memcmp(&own.v6.sin6_addr, &peer.v6.sin6_addr,
                   sizeof own.v6.sin6_addr);
  return own.v4.sin_addr.s_addr == peer.v4.sin_addr.s_addr;
}

/* UDP has ports of its own, and connecting it sends nothing. */
int net__address_blame_port(const union net__address *name, socklen_t size) {
  int fd = socket(name->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  bool has_way = connect(fd, &name->any, size) == 0;
  close(fd);
  return has_way ? -EADDRNOTAVAIL : -ENETUNREACH;
}
