#include "told.h"

#include <string.h>

#include "kernel.h"
#include "memory.h"

static char *copy(const char *text) {
  if (!text) return NULL;
  size_t size = strlen(text) + 1;
  return memcpy(sim__new(size), text, size);
}

static void hear(struct sim__told *told, uint32_t host) {
  uint32_t word = host / 64;
  uint64_t bit = UINT64_C(1) << host % 64;

  if (word >= told->room) {
    told->heard = sim__grow(told->heard, (word + 1) * sizeof *told->heard);
    while (told->room <= word) told->heard[told->room++] = 0;
  }
  told->count++;
  if (told->heard[word] & bit) return;
  told->heard[word] |= bit;
  told->hosts++;
}

void sim__tell(struct sim__tellings *tellings, uint32_t host,
               const char *message, const char *traceback) {
  struct sim__told *told;

  HASH_FIND_STR(tellings->first, message, told);
  if (!told) {
    if (HASH_COUNT(tellings->first) >= SIM__TOLD_MOST) {
      tellings->others++;
      return;
    }
    told = sim__new(sizeof *told);
    told->message = copy(message);
    told->traceback = copy(traceback);
    told->host = host;
    told->at = sim__now();
    HASH_ADD_KEYPTR(hh, tellings->first, told->message, strlen(message), told);
  }
  hear(told, host);
}
