#include "internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The memory of one Lua state. Small blocks come from chunks that no other
 * state shares, and all of them go at once with the state. From malloc(), the
 * blocks of each generation would lie among those of the next and of the
 * sockets that outlive both, and the process would grow with every reload.
 *
 * A block's class is its size in units, rounded up. Lua tells the size of what
 * it gives back, so a block needs no header. */

enum { UNIT = 16, CLASSES = 64, CHUNK = 256 * 1024 };

struct chunk {
  _Alignas(UNIT) struct chunk *next; /* so are the blocks behind it */
};

/* A block that is free. */
struct block {
  struct block *next;
};

struct host__arena {
  struct chunk *chunks;
  char *at, *end; /* what is left of the newest chunk */
  struct block *free[CLASSES + 1];
};

/* The sanitizers and valgrind know what malloc() gives, and nothing of blocks
 * in a chunk. make valgrind defines NO_CHUNKS. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NO_CHUNKS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(NO_CHUNKS)
static bool is_small(size_t size) {
  (void)size;
  return false;
}
#else
static bool is_small(size_t size) { return size <= (size_t)UNIT * CLASSES; }
#endif

static size_t class_of(size_t size) { return (size + UNIT - 1) / UNIT; }

struct host__arena *host__arena_new(void) {
  return calloc(1, sizeof(struct host__arena));
}

void host__arena_free(struct host__arena *arena) {
  while (arena->chunks) {
    struct chunk *chunk = arena->chunks;
    arena->chunks = chunk->next;
    munmap(chunk, CHUNK);
  }
  free(arena);
}

static void give(struct host__arena *arena, void *memory, size_t class) {
  struct block *block = memory;
  block->next = arena->free[class];
  arena->free[class] = block;
}

/* Begins a new chunk; what is left of the old one becomes a free block. */
static bool grow(struct host__arena *arena) {
  struct chunk *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (chunk == MAP_FAILED) return false;
  if (arena->end > arena->at)
    give(arena, arena->at, (size_t)(arena->end - arena->at) / UNIT);
  chunk->next = arena->chunks;
  arena->chunks = chunk;
  arena->at = (char *)(chunk + 1);
  arena->end = (char *)chunk + CHUNK;
  return true;
}

static void *take(struct host__arena *arena, size_t class) {
  struct block *block = arena->free[class];
  if (block) {
    arena->free[class] = block->next;
    return block;
  }
  /* What is left of a chunk is less than a block of the largest class. */
  if ((size_t)(arena->end - arena->at) < class * UNIT && !grow(arena))
    return NULL;
  void *memory = arena->at;
  arena->at += class * UNIT;
  return memory;
}

static void release(struct host__arena *arena, void *block, size_t size) {
  if (!block) return;
  if (is_small(size)) give(arena, block, class_of(size));
  else free(block);
}

void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size) {
  if (size == 0) {
    release(arena, block, old);
    return NULL;
  }
  if (!is_small(size) && (!block || !is_small(old))) return realloc(block, size);
  if (block && is_small(old) && class_of(old) == class_of(size)) return block;

  void *moved = is_small(size) ? take(arena, class_of(size)) : malloc(size);
  /* A small block that shrinks can stay where it is; its end is lost until the
   * state closes. A large one is malloc()'s, and would be taken for one of the
   * arena's from now on. */
  if (!moved) return block && is_small(old) && size <= old ? block : NULL;
  if (block) memcpy(moved, block, old < size ? old : size);
  release(arena, block, old);
  return moved;
}
