#include "internal.h"

#include <string.h>

int rover__lua_check_event(lua_State *L, int arg, const char *const names[]) {
  const char *name = luaL_checkstring(L, arg);
  for (int event = 0; names[event]; event++)
    if (!strcmp(name, names[event])) return event;
  return rover__lua_unknown(L, arg, "unknown event", name, names);
}

/* Pushes a new array with what the one at `from` holds, but for the value of
 * index `without` (0: all of it). */
static void push_copy(lua_State *L, int from, lua_Integer without) {
  lua_Integer length = lua_istable(L, from) ? (lua_Integer)lua_rawlen(L, from)
                                            : 0;
  lua_Integer to = 1;
  from = lua_absindex(L, from);
  lua_createtable(L, (int)length + 1, 0);
  for (lua_Integer i = 1; i <= length; i++) {
    if (i == without) continue;
    lua_rawgeti(L, from, i);
    lua_rawseti(L, -2, to++);
  }
}

static lua_Integer bystanders(int event) { return -1 - event; }

static void append(lua_State *L, int table, lua_Integer key, int fn) {
  table = lua_absindex(L, table);
  lua_rawgeti(L, table, key);
  push_copy(L, -1, 0);
  lua_pushvalue(L, fn);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_rawseti(L, table, key);
  lua_pop(L, 1);
}

void rover__lua_add_handler(lua_State *L, int table, int event, int fn) {
  append(L, table, event + 1, fn);
}

void rover__lua_add_bystander(lua_State *L, int table, int event, int fn) {
  append(L, table, bystanders(event), fn);
}

bool rover__lua_is_bystander(lua_State *L, int arg) {
  if (!lua_isnoneornil(L, arg)) luaL_checktype(L, arg, LUA_TBOOLEAN);
  return lua_toboolean(L, arg);
}

/* Removes the last of that function from the array at `key`, if it is there. */
static bool take_off(lua_State *L, int table, lua_Integer key, int fn) {
  lua_rawgeti(L, table, key);
  lua_Integer i = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
  for (; i > 0; i--) {
    lua_rawgeti(L, -1, i);
    bool same = lua_rawequal(L, -1, fn);
    lua_pop(L, 1);
    if (same) break;
  }
  if (i > 0) {
    push_copy(L, -1, i);
    if (lua_rawlen(L, -1) == 0) {
      lua_pop(L, 1);
      lua_pushnil(L);
    }
    lua_rawseti(L, table, key);
  }
  lua_pop(L, 1);
  return i > 0;
}

void rover__lua_remove_handler(lua_State *L, int table, int event, int fn) {
  table = lua_absindex(L, table);
  if (!take_off(L, table, event + 1, fn))
    take_off(L, table, bystanders(event), fn);
}

bool rover__lua_has_handler(lua_State *L, int table, int event) {
  if (!lua_istable(L, table)) return false;
  bool has = lua_rawgeti(L, table, event + 1) == LUA_TTABLE;
  lua_pop(L, 1);
  return has;
}

/* Calls what the array at `key` holds, the last of it unprotected if `tail`, and
 * returns how many there are. */
static int call_each(rover__lua_t *lua, lua_State *L, int table,
                     lua_Integer key, int nargs, bool tail, int *failed) {
  int first = lua_gettop(L) - nargs + 1;
  int count = 0;

  if (lua_rawgeti(L, table, key) == LUA_TTABLE) {
    int list = lua_gettop(L), length = (int)lua_rawlen(L, list);
    while (count < length) {
      lua_rawgeti(L, list, ++count);
      for (int i = 0; i < nargs; i++) lua_pushvalue(L, first + i);
      if (tail && count == length) lua_call(L, nargs, 0);
      else if (lua->call(L, nargs, 0, ROVER__LUA_NOEXIT) < 0) (*failed)++;
      lua_settop(L, list);
    }
  }
  lua_settop(L, first + nargs - 1);
  return count;
}

static int emit(rover__lua_t *lua, lua_State *L, int table, int event,
                int nargs, bool tail, int *failed) {
  int count = 0;

  *failed = 0;
  luaL_checkstack(L, nargs + 4, "too many arguments");
  if (lua_istable(L, table)) {
    call_each(lua, L, table, bystanders(event), nargs, false, failed);
    count = call_each(lua, L, table, event + 1, nargs, tail, failed);
  }
  lua_pop(L, nargs);
  return count;
}

int rover__lua_emit(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, int *failed) {
  return emit(lua, L, table, event, nargs, false, failed);
}

int rover__lua_emit_last(rover__lua_t *lua, lua_State *L, int table, int event,
                         int nargs, int *failed) {
  return emit(lua, L, table, event, nargs, true, failed);
}
