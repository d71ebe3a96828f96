/* Private to src/front: which indices are taken, and the slot numbers sent for
 * them. */
#ifndef FRONT_SLOTS_H
#define FRONT_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

enum { FRONT__SLOT_LEVELS = 6 }; /* of 64 each: enough for 32 bits */

/* A tree of bits: on the lowest level one for each index, set if that is free;
 * on the others one for each word of the level below, set if that has any. Zero
 * it. */
struct front__slots {
  uint64_t *words[FRONT__SLOT_LEVELS];
  uint32_t room[FRONT__SLOT_LEVELS]; /* words allocated */
  uint32_t count; /* of indices in the tree; higher ones are free */
};

/* Takes the lowest free index. Errors: UV_ENOMEM. */
int front__slots_get(struct front__slots *slots, uint32_t *index);

/* Takes this index, which must be free. Errors: UV_ENOMEM. */
int front__slots_take(struct front__slots *slots, uint32_t index);

/* Frees an index, which must be taken. */
void front__slots_put(struct front__slots *slots, uint32_t index);

bool front__slots_has(const struct front__slots *slots, uint32_t index);

void front__slots_clear(struct front__slots *slots);

/* ceil((index + 1) / weight) - 1, at most ROVER_SLOT_MAX. */
uint32_t front__slot_number(uint32_t index, double weight);

#endif
