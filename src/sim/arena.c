#include <stdlib.h>

#include "memory.h"

/* The Lua states of all hosts have their memory from one arena. An arena has
 * pages for each size of blocks, of which a small state uses little, and what
 * compiling leaves free is of use to the next host. Addresses depend on nothing
 * but what the hosts do, which the C library's heap could not say. The program
 * is linked with --wrap, so these are the calls of src/host/limits.c. */

struct host__arena; /* the shared one; to its host, a `struct share` */

struct share {
  size_t bytes;
};

struct host__arena *__real_host__arena_new(void);
void *__real_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max);

struct host__arena *__wrap_host__arena_new(void);
void __wrap_host__arena_free(struct host__arena *arena);
void __wrap_host__arena_trim(struct host__arena *arena);
size_t __wrap_host__arena_held(const struct host__arena *arena);
void *__wrap_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max);

static struct host__arena *shared;

struct host__arena *__wrap_host__arena_new(void) {
  if (!shared) shared = __real_host__arena_new();
  struct share *share = sim__new(sizeof *share);
  share->bytes = 0;
  return (struct host__arena *)share;
}

/* Lua has freed each block. */
void __wrap_host__arena_free(struct host__arena *arena) { free(arena); }

void __wrap_host__arena_trim(struct host__arena *arena) { (void)arena; }

size_t __wrap_host__arena_held(const struct host__arena *arena) {
  return ((const struct share *)arena)->bytes;
}

void *__wrap_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max) {
  struct share *share = (struct share *)arena;

  if (size > old && (share->bytes > max || size - old > max - share->bytes))
    return NULL;
  void *moved =
      __real_host__arena_realloc(shared, block, old, size, (size_t)-1);
  if (moved || size == 0) share->bytes += size - old;
  return moved;
}
