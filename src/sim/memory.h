/* Private to src/sim: memory, without which this program ends. */
#ifndef SIM_MEMORY_H
#define SIM_MEMORY_H

#include <stddef.h>

/* Zeroed. */
void *sim__new(size_t size);

/* Structs of one size, of which many are made and freed: those that were freed
 * last are still in the cache, and are made first. */
struct sim__pool {
  size_t size;
  void *free; /* the first; each begins with the next */
};

void *sim__pool_new(struct sim__pool *pool); /* not zeroed */
void sim__pool_free(struct sim__pool *pool, void *memory);
void sim__pool_clear(struct sim__pool *pool);

/* As realloc(). */
void *sim__grow(void *old, size_t size);

#endif
