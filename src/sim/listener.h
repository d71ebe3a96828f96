/* Private to src/sim: what listens, and the connections that wait there. */
#ifndef SIM_LISTENER_H
#define SIM_LISTENER_H

#include "net.h"

void sim__listener_add(struct sim__machine *machine,
                       struct sim__listener *listener);

/* Takes it off its machine; what waits stays in its list. */
void sim__listener_remove(struct sim__listener *listener);

/* What listens at an address of the machine, or NULL. */
struct sim__listener *sim__listener_at(const struct sim__machine *machine,
                                       const struct sim__address *address);

/* Whether a further connection gets no answer. */
bool sim__listener_is_full(const struct sim__listener *listener);

#endif
