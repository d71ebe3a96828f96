/* Private to src/sim: a real front on a machine of its own. */
#ifndef SIM_FRONT_H
#define SIM_FRONT_H

#include "kernel.h"

struct sim__front;

/* Listens at `port` of the machine, before a backend at its port `backend`. */
struct sim__front *sim__front_new(struct sim__machine *machine, uint16_t port,
                                  uint16_t backend, double weight);

/* Resets all connections, and frees it some time later. */
void sim__front_close(struct sim__front *front);

void sim__front_weight(struct sim__front *front, double weight);
void sim__front_drain(struct sim__front *front, uint64_t ms);
void sim__front_resume(struct sim__front *front);

/* Connections that have a slot, and all that it has accepted. */
uint64_t sim__front_open(const struct sim__front *front);
uint64_t sim__front_accepted(const struct sim__front *front);

#endif
