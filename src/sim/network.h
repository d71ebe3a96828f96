/* Private to src/sim: how long things take between machines. */
#ifndef SIM_NETWORK_H
#define SIM_NETWORK_H

#include <stdint.h>

/* How long things take between two machines. Within a machine they take no
 * time. May be changed at any time; what is under way is not affected. */
struct sim__network {
  uint64_t delay;     /* ns, one way: 100,000 */
  uint64_t jitter;    /* and up to that many more: 50,000 */
  uint64_t bandwidth; /* bytes per second out of each machine; 0, the default,
                         is infinite */
  uint32_t receive;   /* bytes that wait unread at most, 128 KiB */
  uint32_t send;      /* bytes not acknowledged at most, 128 KiB */
};
extern struct sim__network sim__network;

#endif
