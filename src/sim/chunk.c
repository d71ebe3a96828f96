#include "chunk.h"

#include <lauxlib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

/* Compiling takes most of the time in which a host starts, and all hosts compile
 * the same texts. So each text is compiled once, and what Lua has made of it is
 * loaded from then on, also by the host that was the first: it must not differ
 * from the others. The program is linked with --wrap, so these are the calls of
 * our own code, of which there is one, in src/host/script.c. */

struct bytes {
  char *at;
  size_t size;
};

struct chunk {
  struct chunk *next;
  struct bytes key; /* the text, and the name of the chunk */
  struct bytes code;
};

static struct chunk *chunks;
static const char *ours; /* a folder */

void sim__chunk_strip(const char *folder) { ours = folder; }

static bool is_ours(const char *name) {
  size_t length = ours ? strlen(ours) : 0;
  return length > 0 && *name == '@' && !strncmp(name + 1, ours, length) &&
         name[length + 1] == '/';
}

int __real_lua_load(lua_State *L, lua_Reader reader, void *data,
                    const char *name, const char *mode);
int __wrap_lua_load(lua_State *L, lua_Reader reader, void *data,
                    const char *name, const char *mode);

static void append(struct bytes *bytes, const void *more, size_t size) {
  bytes->at = sim__grow(bytes->at, bytes->size + size);
  memcpy(bytes->at + bytes->size, more, size);
  bytes->size += size;
}

static struct bytes read_all(lua_State *L, lua_Reader reader, void *data) {
  struct bytes text = {NULL, 0};
  const char *piece;
  size_t size;

  while ((piece = reader(L, data, &size)) && size > 0)
    append(&text, piece, size);
  return text;
}

static const char *give(lua_State *L, void *data, size_t *size) {
  struct bytes *left = data;
  (void)L;
  *size = left->size;
  left->size = 0;
  return left->at;
}

static int load(lua_State *L, struct bytes from, const char *name,
                const char *mode) {
  return __real_lua_load(L, give, &from, name, mode);
}

static int write(lua_State *L, const void *piece, size_t size, void *data) {
  (void)L;
  append(data, piece, size);
  return 0;
}

static const struct chunk *find(struct bytes key) {
  const struct chunk *chunk = chunks;
  while (chunk && (chunk->key.size != key.size ||
                   memcmp(chunk->key.at, key.at, key.size) != 0))
    chunk = chunk->next;
  return chunk;
}

/* Pops the function that was compiled. */
static const struct chunk *keep(lua_State *L, struct bytes key,
                                const char *name) {
  struct chunk *chunk = sim__new(sizeof *chunk);
  *chunk = (struct chunk){.next = chunks, .key = key};
  lua_dump(L, write, &chunk->code, is_ours(name));
  lua_pop(L, 1);
  return chunks = chunk;
}

int __wrap_lua_load(lua_State *L, lua_Reader reader, void *data,
                    const char *name, const char *mode) {
  struct bytes text = read_all(L, reader, data), key = text;

  append(&key, name, strlen(name) + 1);
  text.at = key.at;
  const struct chunk *chunk = find(key);
  if (!chunk) {
    int status = load(L, text, name, mode);
    if (status != LUA_OK) {
      free(key.at);
      return status;
    }
    chunk = keep(L, key, name);
  }
  if (chunk->key.at != key.at) free(key.at);
  return load(L, chunk->code, name, "b");
}
