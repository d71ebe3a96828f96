#include "fuzz.h"

#include <lauxlib.h>

/* The stack index of the list of the tables made so far is `made`. */
struct maker {
  lua_State *L;
  struct input *in;
  int made;
  size_t unit;
};

enum { DEPTH_MAX = 150, MEMORY_MAX_KB = 1500 };

static void push_any(struct maker *m, int depth);

static void push_new_table(struct maker *m) {
  lua_newtable(m->L);
  lua_pushvalue(m->L, -1);
  lua_rawseti(m->L, m->made, (lua_Integer)lua_rawlen(m->L, m->made) + 1);
}

/* One that was made before, which may hold the present one. */
static void push_old_table(struct maker *m) {
  lua_Unsigned count = lua_rawlen(m->L, m->made);
  lua_Integer index = take_byte(m->in);
  lua_rawgeti(m->L, m->made, count ? index % (lua_Integer)count + 1 : 1);
}

/* Of pairs, until a key cannot be one. */
static void push_table(struct maker *m, int depth) {
  push_new_table(m);
  for (;;) {
    push_any(m, depth + 1); /* table, key */
    if (lua_isnil(m->L, -1) || !lua_rawequal(m->L, -1, -1)) break;
    push_any(m, depth + 1); /* table, key, value */
    lua_rawset(m->L, -3);
  }
  lua_pop(m->L, 1);
}

static void push_nested(struct maker *m) {
  push_new_table(m);
  for (int i = take_byte(m->in); i > 0; i--) {
    push_new_table(m); /* inner, outer */
    lua_insert(m->L, -2);
    lua_rawseti(m->L, -2, 1);
  }
}

static void push_string(lua_State *L, struct input *in) {
  size_t length = take_byte(in);
  if (length > in->left) length = in->left;
  lua_pushlstring(L, (const char *)in->bytes, length);
  in->bytes += length;
  in->left -= length;
}

static void push_long_string(struct maker *m) {
  size_t length = take_byte(m->in) * m->unit;
  luaL_Buffer b;
  if (lua_gc(m->L, LUA_GCCOUNT) > MEMORY_MAX_KB) length = 0;
  memset(luaL_buffinitsize(m->L, &b, length), 'x', length);
  luaL_pushresultsize(&b, length);
}

static int l_nothing(lua_State *L) {
  (void)L;
  return 0;
}

static void push_any(struct maker *m, int depth) {
  lua_State *L = m->L;
  lua_Integer integer;
  lua_Number number;

  luaL_checkstack(L, 8, "values");
  switch (depth < DEPTH_MAX ? take_byte(m->in) : 0) {
    case 't': lua_pushboolean(L, true); break;
    case 'f': lua_pushboolean(L, false); break;
    case 'i':
      take(m->in, &integer, sizeof integer);
      lua_pushinteger(L, integer);
      break;
    case 'd':
      take(m->in, &number, sizeof number);
      lua_pushnumber(L, number);
      break;
    case 's': push_string(L, m->in); break;
    case 'L': push_long_string(m); break;
    case '{': push_table(m, depth); break;
    case 'N': push_nested(m); break;
    case '^': push_old_table(m); break;
    case 'F': lua_pushcfunction(L, l_nothing); break;
    case 'M':
      push_new_table(m);
      lua_newtable(L);
      push_any(m, depth + 1);
      lua_setfield(L, -2, "__name");
      lua_setmetatable(L, -2);
      break;
    default: lua_pushnil(L);
  }
}

void push_value(lua_State *L, struct input *in, size_t unit) {
  lua_newtable(L);
  struct maker maker = {L, in, lua_gettop(L), unit};
  push_any(&maker, 0);
  lua_remove(L, maker.made);
}
