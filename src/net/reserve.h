/* Private to src/net, src/relay, src/front and src/host: descriptors held in
 * reserve, for when other code has used up all the rest. */
#ifndef NET_RESERVE_H
#define NET_RESERVE_H

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

enum { NET__RESERVE_MAX = 64 };

struct net__reserve {
  int fds[NET__RESERVE_MAX];
  int count;
};

/* Duplicates `fd`, which may be any descriptor, until there are `wanted` of
 * them. Returns whether there are. */
static inline bool net__reserve_fill(struct net__reserve *reserve, int fd,
                                     int wanted) {
  while (reserve->count < wanted) {
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0) return false;
    reserve->fds[reserve->count++] = own;
  }
  return true;
}

/* Frees one descriptor; returns false if none is left. */
static inline bool net__reserve_spend(struct net__reserve *reserve) {
  if (reserve->count == 0) return false;
  close(reserve->fds[--reserve->count]);
  return true;
}

static inline void net__reserve_drop(struct net__reserve *reserve) {
  while (net__reserve_spend(reserve)) {
  }
}

#endif
