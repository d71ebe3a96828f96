#include "memory.h"

#include <stdio.h>
#include <stdlib.h>

static void *must(void *memory) {
  if (memory) return memory;
  fputs("simulate: out of memory: fewer hosts need less\n", stderr);
  exit(1);
}

/* AddressSanitizer is to see each misuse. */
#ifdef __SANITIZE_ADDRESS__
enum { KEEPS = 0 };
#else
enum { KEEPS = 1 };
#endif

void *sim__pool_new(struct sim__pool *pool) {
  void *memory = pool->free;

  if (!memory) return must(malloc(pool->size));
  pool->free = *(void **)memory;
  return memory;
}

void sim__pool_free(struct sim__pool *pool, void *memory) {
  if (!KEEPS) {
    free(memory);
    return;
  }
  *(void **)memory = pool->free;
  pool->free = memory;
}

void sim__pool_clear(struct sim__pool *pool) {
  while (pool->free) free(sim__pool_new(pool));
}

void *sim__new(size_t size) { return must(calloc(1, size)); }

void *sim__grow(void *old, size_t size) { return must(realloc(old, size)); }
