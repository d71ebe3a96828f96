/* Private to src/host: what somebody decides by hand. */
#ifndef HOST_STEER_H
#define HOST_STEER_H

#include "base.h"

/* There is a new policy: what was decided holds for it, too. */
void host__steer_follow(rover_host_t *host);

#endif
