#include "slots.h"

#include <callosum/front.h>

#include <stdlib.h>
#include <string.h>

enum { BITS = 64, FIRST_WORDS = 1 };

static uint64_t bit_of(uint32_t index) { return UINT64_C(1) << index % BITS; }

/* Makes room in the tree for `count` indices. A failure halfway only leaves
 * some levels larger than necessary. */
static int reserve(struct front__slots *slots, uint64_t count) {
  for (int level = 0; level < FRONT__SLOT_LEVELS; level++) {
    uint32_t had = slots->room[level];
    count = (count + BITS - 1) / BITS;
    if (count <= had) continue;
    uint64_t room = had > 0 ? 2 * (uint64_t)had : FIRST_WORDS;
    if (room < count) room = count;
    if (room > UINT32_MAX / BITS + 1) room = UINT32_MAX / BITS + 1;
    uint64_t *words =
        realloc(slots->words[level], (size_t)room * sizeof *words);
    if (!words) return UV_ENOMEM;
    memset(words + had, 0, (size_t)(room - had) * sizeof *words);
    slots->words[level] = words;
    slots->room[level] = (uint32_t)room;
  }
  return 0;
}

static void set_free(struct front__slots *slots, uint32_t index) {
  for (int level = 0; level < FRONT__SLOT_LEVELS; level++, index /= BITS) {
    uint64_t *word = &slots->words[level][index / BITS];
    bool was_empty = *word == 0;
    *word |= bit_of(index);
    if (!was_empty) return;
  }
}

static void set_taken(struct front__slots *slots, uint32_t index) {
  for (int level = 0; level < FRONT__SLOT_LEVELS; level++, index /= BITS) {
    uint64_t *word = &slots->words[level][index / BITS];
    *word &= ~bit_of(index);
    if (*word != 0) return;
  }
}

/* Finds the lowest free index in the tree; returns false if none is. */
static bool find(const struct front__slots *slots, uint32_t *index) {
  const int top = FRONT__SLOT_LEVELS - 1;
  uint32_t found = 0;

  if (slots->count == 0 || slots->words[top][0] == 0) return false;
  for (int level = top; level >= 0; level--) {
    uint64_t word = slots->words[level][found];
    found = found * BITS + (uint32_t)__builtin_ctzll(word);
  }
  *index = found;
  return true;
}

int front__slots_take(struct front__slots *slots, uint32_t index) {
  if (index < slots->count) {
    set_taken(slots, index);
    return 0;
  }
  if (index == UINT32_MAX || reserve(slots, (uint64_t)index + 1) < 0)
    return UV_ENOMEM;
  while (slots->count < index) set_free(slots, slots->count++);
  slots->count++;
  return 0;
}

int front__slots_get(struct front__slots *slots, uint32_t *out) {
  uint32_t index;

  if (!find(slots, &index)) index = slots->count;
  int err = front__slots_take(slots, index);
  if (err == 0) *out = index;
  return err;
}

void front__slots_put(struct front__slots *slots, uint32_t index) {
  set_free(slots, index);
}

bool front__slots_has(const struct front__slots *slots, uint32_t index) {
  return index < slots->count &&
         (slots->words[0][index / BITS] & bit_of(index)) == 0;
}

void front__slots_clear(struct front__slots *slots) {
  for (int level = 0; level < FRONT__SLOT_LEVELS; level++)
    free(slots->words[level]);
  *slots = (struct front__slots){0};
}

/* Doubles, and the quotient of two, are rounded, so a quotient this close to an
 * integer counts as that integer: 1 / (1 / 3.) is 3. */
uint32_t front__slot_number(uint32_t index, double weight) {
  static const double off = 1e-14;
  double quotient = ((double)index + 1) / weight;

  if (quotient >= ROVER_SLOT_MAX) return ROVER_SLOT_MAX;
  uint32_t whole = (uint32_t)quotient;
  bool is_whole = whole > 0 && quotient - whole <= quotient * off;
  return is_whole ? whole - 1 : whole;
}
