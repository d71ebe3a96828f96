/* A network for the programs of this folder in which peers vanish. */
#ifndef NETWORK_H
#define NETWORK_H

#include "check.h"

#include <net/if.h>
#include <sched.h>

/* As <linux/ipv6.h> has it, which cannot be had beside <netinet/in.h>. */
struct address {
  struct in6_addr name;
  uint32_t prefix;
  int interface;
};

static int control(int family, unsigned long request, void *arg) {
  int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int result = ioctl(fd, request, arg);
  close(fd);
  return result;
}

/* Has a network of our own, if we may: in it the peers at 127.0.0.1 stay, and
 * those at ::1 vanish once it has no such address. */
static bool has_network(void) {
  struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
  struct sockaddr_in6 name = {.sin6_family = AF_INET6,
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
  if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
    return false;
  if (control(AF_INET, SIOCSIFFLAGS, &lo) < 0) return false;
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool has_v6 = bind(fd, (struct sockaddr *)&name, sizeof name) == 0;
  close(fd);
  return has_v6;
}

static void vanish(void) {
  struct address address = {.name = IN6ADDR_LOOPBACK_INIT,
                            .prefix = 128,
                            .interface = (int)if_nametoindex("lo")};
  CHECK(control(AF_INET6, SIOCDIFADDR, &address) == 0);
}

static size_t fill(int fd) {
  static char bytes[1 << 16];
  size_t sent = 0;
  ssize_t n;
  for (int idle = 0; idle < 3; idle++) {
    while ((n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL)) > 0) {
      sent += (size_t)n;
      idle = 0;
    }
    settle();
  }
  return sent;
}

static bool is_over(int fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK) >= 0 || errno != EAGAIN;
}

#endif
