/* Private to src/sim: the lowest free index. */
#ifndef SIM_SLOTS_H
#define SIM_SLOTS_H

#include <stdint.h>

/* Zeroed at first: none is taken. */
struct sim__slots {
  uint32_t *free; /* a heap: those below `next` that are free */
  uint32_t count, room, next;
};

/* Takes the lowest that is free. */
uint32_t sim__slots_take(struct sim__slots *slots);
void sim__slots_release(struct sim__slots *slots, uint32_t index);
void sim__slots_reset(struct sim__slots *slots);

#endif
