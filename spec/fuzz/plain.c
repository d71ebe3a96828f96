/* The plain-data copy of carry and state: what is accepted comes back the same,
 * and what is not is refused for good reason.
 *
 * Input: a value, as value.c reads them. */
#include "fuzz.h"

#include "lua/plain.h"

#include <lauxlib.h>

/* -- What can be carried, said a second time ------------------------------- */

enum { DEPTH_MAX = 100 };

struct measure {
  size_t bytes; /* of strings */
  size_t values;
  int depth; /* of tables */
  bool odd;  /* a function, say, is in it */
};

/* Goes no further than to a reason to refuse: the value may hold itself. */
static void measure(lua_State *L, int index, int depth, struct measure *m) {
  int type = lua_type(L, index);

  if (m->odd || m->depth > DEPTH_MAX || m->values > ROVER__PLAIN_MAX) return;
  m->values++;
  if (type == LUA_TSTRING) m->bytes += lua_rawlen(L, index);
  if (type == LUA_TFUNCTION) m->odd = true;
  if (type != LUA_TTABLE) return;
  if (lua_getmetatable(L, index)) {
    m->odd = true;
    lua_pop(L, 1);
  }
  if (++depth > m->depth) m->depth = depth;
  luaL_checkstack(L, 4, "measure");
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int key = lua_gettop(L) - 1;
    measure(L, key, depth, m);
    measure(L, key + 1, depth, m);
  }
}

/* -- Equality, of types and subtypes too ----------------------------------- */

static bool is_same(lua_State *L, int a, int b);

static size_t count_pairs(lua_State *L, int table) {
  size_t count = 0;
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
  return count;
}

/* A table that is a key is another after the copy, so it cannot be found. */
static bool is_same_table(lua_State *L, int a, int b) {
  luaL_checkstack(L, 4, "comparison");
  bool same = count_pairs(L, a) == count_pairs(L, b);
  lua_pushnil(L);
  while (same && lua_next(L, a)) { /* key, value */
    int top = lua_gettop(L);
    if (lua_type(L, top - 1) != LUA_TTABLE) {
      lua_pushvalue(L, top - 1);
      lua_rawget(L, b); /* key, value, value */
      same = is_same(L, top, top + 1);
    }
    lua_settop(L, top - 1);
  }
  return same;
}

/* Zeros have signs, and what is not a number has bits all the same. */
static uint64_t bits_of(lua_Number number) {
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  return bits;
}

static bool is_same(lua_State *L, int a, int b) {
  if (lua_type(L, a) != lua_type(L, b)) return false;
  if (lua_istable(L, a)) return is_same_table(L, a, b);
  if (lua_type(L, a) != LUA_TNUMBER || lua_isinteger(L, a))
    return lua_isinteger(L, a) == lua_isinteger(L, b) && lua_rawequal(L, a, b);
  return bits_of(lua_tonumber(L, a)) == bits_of(lua_tonumber(L, b));
}

/* -- The target ------------------------------------------------------------ */

static int l_write(lua_State *L) {
  rover__plain_write(L, 1, "carry", lua_touserdata(L, 2));
  check(lua_gettop(L) == 2);
  return 0;
}

static int l_check(lua_State *L) {
  rover__plain_check(L, 1, "carry");
  check(lua_gettop(L) == 2);
  return 0;
}

static int l_read(lua_State *L) {
  rover__plain_read(L, lua_touserdata(L, 2));
  check(lua_gettop(L) == 3);
  return 1;
}

/* Calls with the value at index 1, and leaves one result: what it returns, or
 * the error. */
static bool call(lua_State *L, lua_CFunction function,
                 struct rover__plain *plain) {
  lua_pushcfunction(L, function);
  lua_pushvalue(L, 1);
  lua_pushlightuserdata(L, plain);
  return lua_pcall(L, 2, 1, 0) == LUA_OK;
}

static void refused(lua_State *L, const struct measure *m) {
  size_t upmost = m->values * 9 + m->bytes;
  check(!strncmp(lua_tostring(L, -1), "carry", 5));
  check(m->odd || m->depth > DEPTH_MAX || upmost > ROVER__PLAIN_MAX);
}

/* Reads from memory that ends with the bytes. */
static void accepted(lua_State *L, const struct measure *m,
                     const struct rover__plain *plain) {
  check(!m->odd && m->depth <= DEPTH_MAX &&
        m->bytes + m->values <= plain->length);
  check(plain->length <= ROVER__PLAIN_MAX);
  struct rover__plain copy = {malloc(plain->length), plain->length, 0};
  memcpy(copy.bytes, plain->bytes, plain->length);
  check(call(L, l_read, &copy));
  check(is_same(L, 1, lua_gettop(L)));
  free(copy.bytes);
}

static int l_run(lua_State *L) {
  struct rover__plain plain = {0};
  struct measure m = {0};

  push_value(L, lua_touserdata(L, 1), 5000); /* past 1 MiB */
  lua_replace(L, 1);
  measure(L, 1, 0, &m);
  bool ok = call(L, l_check, NULL);
  check(call(L, l_write, &plain) == ok && lua_rawequal(L, -2, -1));
  if (ok) accepted(L, &m, &plain);
  else refused(L, &m);
  free(plain.bytes);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
  struct input in = {bytes, size};
  lua_State *L = luaL_newstate();

  lua_pushcfunction(L, l_run);
  lua_pushlightuserdata(L, &in);
  if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    abort();
  }
  lua_close(L);
  return 0;
}
