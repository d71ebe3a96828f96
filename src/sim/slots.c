#include "slots.h"

#include <stdlib.h>

#include "memory.h"

/* Indices that have been released, in a binary heap. */

uint32_t sim__slots_take(struct sim__slots *s) {
  if (s->count == 0) return s->next++;
  uint32_t lowest = s->free[0], last = s->free[--s->count], i = 0;
  for (;;) {
    uint32_t child = 2 * i + 1;
    if (child >= s->count) break;
    if (child + 1 < s->count && s->free[child + 1] < s->free[child]) child++;
    if (s->free[child] >= last) break;
    s->free[i] = s->free[child];
    i = child;
  }
  s->free[i] = last;
  return lowest;
}

void sim__slots_release(struct sim__slots *s, uint32_t index) {
  if (s->count == s->room) {
    s->room = s->room ? 2 * s->room : 16;
    s->free = sim__grow(s->free, s->room * sizeof *s->free);
  }
  uint32_t i = s->count++;
  while (i > 0 && s->free[(i - 1) / 2] > index) {
    s->free[i] = s->free[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  s->free[i] = index;
}

void sim__slots_reset(struct sim__slots *s) {
  free(s->free);
  *s = (struct sim__slots){0};
}
