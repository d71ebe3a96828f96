#include "chaos.h"

#include <stdlib.h>
#include <string.h>

#include "front/front.h"

/* Stands between the fronts and the tree in which they look for the lowest free
 * index: keeps a list of its own, by the simplest means, and compares. The
 * linker has front.c and conn.c call these (--wrap). */

enum { MODELS = 64, ROOM = 8192 };

static struct model {
  const struct front__slots *slots;
  bool taken[ROOM];
  uint32_t count;
} * models[MODELS];

static struct model **place_of(const struct front__slots *slots) {
  struct model **free_one = NULL;

  for (int i = 0; i < MODELS; i++) {
    if (models[i] && models[i]->slots == slots) return &models[i];
    if (!models[i] && !free_one) free_one = &models[i];
  }
  CHECK(free_one);
  return free_one;
}

static struct model *model_of(const struct front__slots *slots) {
  struct model **place = place_of(slots);

  if (*place) return *place;
  *place = calloc(1, sizeof **place);
  CHECK(*place);
  (*place)->slots = slots;
  return *place;
}

int __real_front__slots_get(struct front__slots *slots, uint32_t *index);
int __real_front__slots_take(struct front__slots *slots, uint32_t index);
void __real_front__slots_put(struct front__slots *slots, uint32_t index);
void __real_front__slots_clear(struct front__slots *slots);
int __wrap_front__slots_get(struct front__slots *slots, uint32_t *index);
int __wrap_front__slots_take(struct front__slots *slots, uint32_t index);
void __wrap_front__slots_put(struct front__slots *slots, uint32_t index);
void __wrap_front__slots_clear(struct front__slots *slots);

int __wrap_front__slots_get(struct front__slots *slots, uint32_t *index) {
  struct model *model = model_of(slots);
  uint32_t lowest = 0;

  int err = __real_front__slots_get(slots, index);
  if (err < 0) return err;
  while (model->taken[lowest]) lowest++;
  EQUAL(lowest, *index);
  model->taken[lowest] = true;
  model->count++;
  CHECK(model->count < ROOM);
  return 0;
}

int __wrap_front__slots_take(struct front__slots *slots, uint32_t index) {
  struct model *model = model_of(slots);

  CHECK(index < ROOM && !model->taken[index]);
  int err = __real_front__slots_take(slots, index);
  if (err < 0) return err;
  model->taken[index] = true;
  model->count++;
  return 0;
}

void __wrap_front__slots_put(struct front__slots *slots, uint32_t index) {
  struct model *model = model_of(slots);

  if (index >= ROOM || !model->taken[index])
    chaos_fail(__FILE__, __LINE__, "a front frees index %u, which is free",
               index);
  model->taken[index] = false;
  model->count--;
  if (fault != STUCK_INDEX) __real_front__slots_put(slots, index);
}

void __wrap_front__slots_clear(struct front__slots *slots) {
  struct model **place = place_of(slots);

  if (*place && (*place)->count > 0)
    chaos_fail(__FILE__, __LINE__, "a front that is gone has %u indices taken",
               (*place)->count);
  free(*place);
  *place = NULL;
  __real_front__slots_clear(slots);
}

size_t indices_slots(const rover_front_t *front, uint64_t *slots, size_t room) {
  const struct model *model = *place_of(&front->slots);
  size_t count = 0;

  for (uint32_t i = 0; model && i < ROOM; i++) {
    if (!model->taken[i]) continue;
    CHECK(count < room);
    slots[count++] = front__slot_number(i, front->options.weight);
  }
  return count;
}
