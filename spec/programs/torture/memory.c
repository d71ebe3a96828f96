#define _GNU_SOURCE /* RTLD_NEXT */
#include "torture.h"

#include <dlfcn.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The linker leads each call of malloc() and its like in our archives to
 * __wrap_malloc() (ld(1), --wrap), and the one allocator of Lua states, which
 * has few large blocks of malloc()'s, to a wrapper of its own. */

static struct {
  size_t first, last, asked;
  size_t failures, failures_before;
  size_t outside_lua, outside_lua_before;
  size_t blocks;
  bool failing, in_lua, spare_others, refuse_chunks, refuse_resolver;
} memory;

void memory_fail(size_t first, size_t in_a_row) {
  memory.first = first;
  memory.last = in_a_row > SIZE_MAX - first ? SIZE_MAX : first + in_a_row - 1;
  memory.asked = 0;
  memory.failures_before = memory.failures;
  memory.outside_lua_before = memory.outside_lua;
  memory.failing = true;
}

void memory_mend(void) {
  memory.failing = false;
  memory.failures_before = memory.failures;
}

bool memory_has_failed(void) {
  return memory.failures > memory.failures_before;
}

bool memory_has_failed_outside_lua(void) {
  return memory.outside_lua > memory.outside_lua_before;
}

size_t memory_failures(void) { return memory.failures; }

void memory_spare_others(bool spared) { memory.spare_others = spared; }

void memory_refuse_chunks(bool refused) { memory.refuse_chunks = refused; }

void memory_refuse_resolver(bool refused) { memory.refuse_resolver = refused; }

size_t memory_blocks(void) { return memory.blocks; }

static bool fails(void) {
  if (!memory.failing || memory.in_lua) return false;
  memory.asked++;
  if (memory.asked < memory.first || memory.asked > memory.last) return false;
  memory.failures++;
  return true;
}

static bool fails_outside_lua(void) {
  if (memory.spare_others || !fails()) return false;
  memory.outside_lua++;
  return true;
}

static void *counted(void *block) {
  if (block) memory.blocks++;
  return block;
}

/* -- Ours and libuv's ----------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t length);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t length);

void *__wrap_malloc(size_t size) {
  return fails_outside_lua() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
  return fails_outside_lua() ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *block, size_t size) {
  if (fails_outside_lua()) return NULL;
  void *moved = __real_realloc(block, size);
  return block ? moved : counted(moved);
}

void __wrap_free(void *block) {
  if (block) memory.blocks--;
  __real_free(block);
}

char *__wrap_strdup(const char *text) {
  return fails_outside_lua() ? NULL : counted(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t length) {
  return fails_outside_lua() ? NULL : counted(__real_strndup(text, length));
}

/* -- Lua's ---------------------------------------------------------------- */

struct host__arena;
void *__real_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max);
void *__wrap_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max);
void *__real_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset);
void *__real_mremap(void *at, size_t old, size_t size, int flags);
void *__wrap_mremap(void *at, size_t old, size_t size, int flags);
int __real_munmap(void *at, size_t size);
int __wrap_munmap(void *at, size_t size);

void *__wrap_host__arena_realloc(struct host__arena *arena, void *block,
                                 size_t old, size_t size, size_t max) {
  /* The arena does not refuse to make a block smaller that has no pages of its
   * own. */
  if ((size > old || (block && size > 0 && old > 16384)) && fails())
    return NULL;
  bool outer = memory.in_lua;
  memory.in_lua = true;
  void *moved = __real_host__arena_realloc(arena, block, old, size, max);
  memory.in_lua = outer;
  return moved;
}

/* Each page counts as a block, as a mapping may be given back in parts. */
enum { PAGE = 4096 };

void *__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
                  off_t offset) {
  if (memory.refuse_chunks) return MAP_FAILED;
  void *block = __real_mmap(at, size, protection, flags, fd, offset);
  if (block != MAP_FAILED) memory.blocks += size / PAGE;
  return block;
}

void *__wrap_mremap(void *at, size_t old, size_t size, int flags) {
  void *moved = __real_mremap(at, old, size, flags);
  if (moved != MAP_FAILED) memory.blocks += size / PAGE - old / PAGE;
  return moved;
}

int __wrap_munmap(void *at, size_t size) {
  memory.blocks -= size / PAGE;
  return __real_munmap(at, size);
}

/* -- The system's resolver ------------------------------------------------ */

/* libuv calls this one, as the program's symbols come first. */
ROVER_EXTERN int getaddrinfo(const char *host, const char *service,
                const struct addrinfo *hints, struct addrinfo **addresses) {
  union {
    void *symbol;
    int (*function)(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **);
  } real;
  if (memory.refuse_resolver) return EAI_MEMORY;
  real.symbol = dlsym(RTLD_NEXT, "getaddrinfo");
  return real.function(host, service, hints, addresses);
}

void memory_init(void) {
  uv_replace_allocator(__wrap_malloc, __wrap_realloc, __wrap_calloc,
                       __wrap_free);
}
