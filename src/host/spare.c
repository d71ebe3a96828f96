#include "spare.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

/* A policy that has used up the process's descriptors is to be replaced by one
 * that does not, and to make that takes some: for its script and modules, luv's
 * loop, rovers and relays. The host has as many in reserve, and gives them up
 * for the time of a reload that finds no others. */

/* Of the limit, which may be low, so that the first policy has most of it. */
static int share_of_limit(void) {
  struct rlimit limit;
  rlim_t share = HOST__SPARES_MAX;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < share)
    share = limit.rlim_cur / 4;
  return (int)share;
}

/* Returns how many there are to be had, up to `most`. */
static int take(const rover_host_t *host, int fds[], int most) {
  int count = 0;
  while (count < most) {
    int fd = fcntl(uv_backend_fd(host->loop), F_DUPFD_CLOEXEC, 0);
    if (fd < 0) break;
    fds[count++] = fd;
  }
  return count;
}

static void give_up(int fds[], int count) {
  while (count > 0) close(fds[--count]);
}

void host__spares_take(rover_host_t *host) {
  int wanted = share_of_limit();
  if (host->closing || host->spare_count >= wanted) return;
  host->spare_count += take(host, host->spares + host->spare_count,
                            wanted - host->spare_count);
}

void host__spares_lend(rover_host_t *host) {
  int others[HOST__SPARES_MAX];
  int count = take(host, others, host->spare_count);

  give_up(others, count);
  give_up(host->spares + count, host->spare_count - count);
  host->spare_count = count;
}

void host__spares_drop(rover_host_t *host) {
  give_up(host->spares, host->spare_count);
  host->spare_count = 0;
}
