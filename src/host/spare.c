#include "spare.h"

#include <sys/resource.h>

/* Loading a policy takes descriptors: for its script and modules, luv's loop,
 * rovers and relays. In case the old policy has used up all others, the host
 * keeps some in reserve, and closes them for a reload. */

enum { SPARES_MAX = 64 };

/* A share of the limit, which may be low, as most of it is for the policy. */
static int share_of_limit(void) {
  struct rlimit limit;
  rlim_t share = SPARES_MAX;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < share)
    share = limit.rlim_cur / 4;
  return (int)share;
}

static void fill(const rover_host_t *host, struct net__reserve *reserve,
                 int wanted) {
  net__reserve_fill(reserve, uv_backend_fd(host->loop), wanted);
}

void host__spares_take(rover_host_t *host) {
  if (!host->closing) fill(host, &host->spares, share_of_limit());
}

void host__spares_lend(rover_host_t *host) {
  struct net__reserve others = {.count = 0};

  fill(host, &others, host->spares.count);
  int lacking = host->spares.count - others.count;
  net__reserve_drop(&others);
  while (lacking-- > 0) net__reserve_spend(&host->spares);
}

void host__spares_drop(rover_host_t *host) { net__reserve_drop(&host->spares); }
