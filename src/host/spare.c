#include "spare.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

/* Loading a policy takes descriptors: for its script and modules, luv's loop,
 * rovers and relays. In case the old policy has used up all others, the host
 * keeps some in reserve, and closes them for a reload. */

/* A share of the limit, which may be low, as most of it is for the policy. */
static int share_of_limit(void) {
  struct rlimit limit;
  rlim_t share = HOST__SPARES_MAX;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < share)
    share = limit.rlim_cur / 4;
  return (int)share;
}

/* Opens up to `most`, and returns how many were opened. */
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
