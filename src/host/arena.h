/* Private to src/host: the memory of one Lua state. */
#ifndef HOST_ARENA_H
#define HOST_ARENA_H

#include <stddef.h>

struct host__arena *host__arena_new(void); /* or NULL */

/* Returns all memory that came from it. */
void host__arena_free(struct host__arena *arena);

/* The bytes that the process holds for it: more than Lua asked for, as blocks
 * have sizes of their own, and free ones lie between others. */
size_t host__arena_held(const struct host__arena *arena);

/* As Lua's allocator: `old` is the size of `block`, 0 frees it. Fails if the
 * arena would then hold more than `max` bytes. */
void *host__arena_realloc(struct host__arena *arena, void *block, size_t old,
                          size_t size, size_t max);

#endif
