/* Private to src/host: the memory of one Lua state. */
#ifndef HOST_ARENA_H
#define HOST_ARENA_H

#include <stddef.h>

struct host__arena *host__arena_new(void); /* or NULL */

/* Frees the arena and all memory allocated from it. */
void host__arena_free(struct host__arena *arena);

/* The bytes that the process holds for it: more than Lua asked for, because of
 * rounding and fragmentation. */
size_t host__arena_held(const struct host__arena *arena);

/* Returns what is free to the system, when much was used for a while. */
void host__arena_trim(struct host__arena *arena);

/* Like Lua's allocator: `old` is the size of `block`, and 0 frees it. Fails if
 * the arena would hold more than `max` bytes. */
void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max);

#endif
