#include "plain.h"

#include "error.h"

#include <lauxlib.h>
#include <stdbool.h>

#include <stdlib.h>
#include <string.h>

/* Plain data as bytes: a letter for the type, then the value. Numbers keep
 * their subtype, strings have their length before them, a table is its pairs
 * between braces. The bytes never leave the process. */

enum { DEPTH_MAX = 100 };

/* The place of a value, for messages: the keys that lead to it, on the
 * stack. */
struct place {
  const struct place *up;
  int key; /* stack index; 0 at the top */
  int depth;
};

struct writer {
  const char *what;
  struct rover__plain *plain;
  bool keep; /* else only the length is counted */
};

/* Pushes the key at `index` as it is written in Lua. No metamethod is called:
 * in a reload this is outside of all budgets. */
static void push_key(lua_State *L, int index) {
  switch (lua_type(L, index)) {
    case LUA_TSTRING:
      lua_pushliteral(L, ".");
      lua_pushvalue(L, index);
      lua_concat(L, 2);
      break;
    case LUA_TNUMBER:
      lua_pushliteral(L, "[");
      lua_pushvalue(L, index);
      lua_pushliteral(L, "]");
      lua_concat(L, 3);
      break;
    case LUA_TBOOLEAN:
      lua_pushstring(L, lua_toboolean(L, index) ? "[true]" : "[false]");
      break;
    default: lua_pushfstring(L, "[%s]", luaL_typename(L, index));
  }
}

static void add_place(luaL_Buffer *b, lua_State *L, const struct place *place,
                      const char *what) {
  if (!place->up) {
    luaL_addstring(b, what);
    return;
  }
  add_place(b, L, place->up, what);
  push_key(L, place->key);
  luaL_addvalue(b);
}

static void refuse(lua_State *L, const struct writer *w,
                   const struct place *place, const char *why) {
  luaL_Buffer b;
  luaL_where(L, 1);
  luaL_buffinit(L, &b);
  add_place(&b, L, place, w->what);
  luaL_addstring(&b, ": ");
  luaL_addstring(&b, why);
  luaL_pushresult(&b);
  lua_concat(L, 2);
  lua_error(L);
}

static void put(lua_State *L, struct writer *w, const struct place *place,
                const void *bytes, size_t length) {
  struct rover__plain *plain = w->plain;

  if (length > ROVER__PLAIN_MAX - plain->length)
    refuse(L, w, place, "more than 1 MiB of data cannot be carried");
  if (w->keep && plain->length + length > plain->capacity) {
    size_t capacity = (plain->length + length) * 2;
    char *grown = realloc(plain->bytes, capacity);
    if (!grown) {
      rover__lua_no_memory(L);
      return;
    }
    plain->bytes = grown;
    plain->capacity = capacity;
  }
  if (w->keep) memcpy(plain->bytes + plain->length, bytes, length);
  plain->length += length;
}

/* The keys of the guards in the registry, and a key that all of them have. */
static const char guards[2][2], guard;

/* Whether the metatable on top is one. */
static bool is_guard(lua_State *L) {
  bool is = lua_rawgetp(L, -1, &guard) != LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

static void put_value(lua_State *L, struct writer *w, const struct place *place,
                      int index);

static void put_table(lua_State *L, struct writer *w, const struct place *place,
                      int index) {
  if (place->depth == DEPTH_MAX)
    refuse(L, w, place, "tables more than 100 deep, or one that holds itself, "
                        "cannot be carried");
  if (lua_getmetatable(L, index)) {
    if (!is_guard(L))
      refuse(L, w, place, "a table with a metatable cannot be carried");
    lua_pop(L, 1);
  }
  luaL_checkstack(L, 8, "plain data");
  put(L, w, place, "{", 1);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    struct place below = {place, lua_gettop(L) - 1, place->depth + 1};
    put_value(L, w, &below, below.key);
    put_value(L, w, &below, below.key + 1);
  }
  put(L, w, place, "}", 1);
}

static void put_value(lua_State *L, struct writer *w, const struct place *place,
                      int index) {
  size_t length;
  const char *string;
  lua_Integer integer;
  lua_Number number;

  switch (lua_type(L, index)) {
    case LUA_TNIL: put(L, w, place, "n", 1); break;
    case LUA_TBOOLEAN:
      put(L, w, place, lua_toboolean(L, index) ? "t" : "f", 1);
      break;
    case LUA_TNUMBER:
      if (lua_isinteger(L, index)) {
        integer = lua_tointeger(L, index);
        put(L, w, place, "i", 1);
        put(L, w, place, &integer, sizeof integer);
      } else {
        number = lua_tonumber(L, index);
        put(L, w, place, "d", 1);
        put(L, w, place, &number, sizeof number);
      }
      break;
    case LUA_TSTRING:
      string = lua_tolstring(L, index, &length);
      put(L, w, place, "s", 1);
      put(L, w, place, &length, sizeof length);
      put(L, w, place, string, length);
      break;
    case LUA_TTABLE: put_table(L, w, place, index); break;
    default:
      refuse(L, w, place,
             lua_pushfstring(L, "a %s cannot be carried, only nil, booleans, "
                                "numbers, strings and tables of these",
                             luaL_typename(L, index)));
  }
}

void rover__plain_write(lua_State *L, int index, const char *what,
                        struct rover__plain *plain) {
  struct writer w = {what, plain, true};
  put_value(L, &w, &(struct place){NULL, 0, 0}, lua_absindex(L, index));
}

void rover__plain_check(lua_State *L, int index, const char *what) {
  struct rover__plain counted = {0};
  struct writer w = {what, &counted, false};
  put_value(L, &w, &(struct place){NULL, 0, 0}, lua_absindex(L, index));
}

/* -- Guards --------------------------------------------------------------- */

/* Tables that are to be carried have a metatable that checks each new key, so
 * that the error points to the assignment. There is one for such a table
 * itself, and one for the tables in it. */

static void guard_table(lua_State *L, int table, const char own[2], int level) {
  luaL_checkstack(L, 4, "plain data");
  if (lua_getmetatable(L, table)) { /* it can only be a guard */
    lua_pop(L, 1);
    return;
  }
  if (lua_rawgetp(L, LUA_REGISTRYINDEX, &own[level]) == LUA_TNIL) {
    lua_pop(L, 1);
    return;
  }
  lua_setmetatable(L, table);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
    for (int i = lua_gettop(L) - 1; i <= lua_gettop(L); i++)
      if (lua_istable(L, i)) guard_table(L, i, own, 1);
}

void rover__plain_guard(lua_State *L, int index, enum rover__plain_kind kind) {
  if (lua_istable(L, index))
    guard_table(L, lua_absindex(L, index), guards[kind], 0);
}

/* __newindex. Upvalues: the name of the table for messages, and its kind. */
static int l_assign(lua_State *L) {
  struct rover__plain counted = {0};
  struct writer w = {lua_tostring(L, lua_upvalueindex(1)), &counted, false};
  struct place table = {NULL, 0, 0}, field = {&table, 2, 1};
  int kind = (int)lua_tointeger(L, lua_upvalueindex(2));

  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 3);
  put_value(L, &w, &field, 2);
  put_value(L, &w, &field, 3);
  for (int i = 2; i <= 3; i++)
    if (lua_istable(L, i)) guard_table(L, i, guards[kind], 1);
  lua_rawset(L, 1);
  return 0;
}

void rover__plain_open(lua_State *L) {
  static const char *const names[2][2] = {
      [ROVER__PLAIN_STATE] = {"socket.state", "(a table in socket.state)"},
      [ROVER__PLAIN_CARRY] = {"host.carry", "(a table in host.carry)"}};

  for (int kind = 0; kind < 2; kind++)
    for (int level = 0; level < 2; level++) {
      lua_createtable(L, 0, 3);
      lua_pushboolean(L, true);
      lua_rawsetp(L, -2, &guard);
      lua_pushstring(L, names[kind][level]);
      lua_pushvalue(L, -1);
      lua_setfield(L, -3, "__metatable");
      lua_pushinteger(L, kind);
      lua_pushcclosure(L, l_assign, 2);
      lua_setfield(L, -2, "__newindex");
      lua_rawsetp(L, LUA_REGISTRYINDEX, &guards[kind][level]);
    }
}

/* -- Reading -------------------------------------------------------------- */

static const char *take(const char **at, size_t length) {
  const char *bytes = *at;
  *at += length;
  return bytes;
}

/* Pushes the next value; returns false at the end of a table. */
static bool push_value(lua_State *L, const char **at) {
  size_t length;
  lua_Integer integer;
  lua_Number number;

  luaL_checkstack(L, 4, "plain data");
  switch (*take(at, 1)) {
    case 'n': lua_pushnil(L); break;
    case 't': lua_pushboolean(L, true); break;
    case 'f': lua_pushboolean(L, false); break;
    case 'i':
      memcpy(&integer, take(at, sizeof integer), sizeof integer);
      lua_pushinteger(L, integer);
      break;
    case 'd':
      memcpy(&number, take(at, sizeof number), sizeof number);
      lua_pushnumber(L, number);
      break;
    case 's':
      memcpy(&length, take(at, sizeof length), sizeof length);
      lua_pushlstring(L, take(at, length), length);
      break;
    case '{':
      lua_newtable(L);
      while (push_value(L, at)) {
        push_value(L, at);
        lua_rawset(L, -3);
      }
      break;
    default: return false;
  }
  return true;
}

void rover__plain_read(lua_State *L, const struct rover__plain *plain) {
  const char *at = plain->bytes;
  if (plain->length == 0) lua_pushnil(L);
  else push_value(L, &at);
}
