#include "handlers.h"

#include "check.h"

static bool check_observer(lua_State *L, int arg) {
  static const char *const names[] = {"observer", NULL};
  bool observer = false;

  if (lua_isnoneornil(L, arg)) return false;
  luaL_checktype(L, arg, LUA_TTABLE);
  lua_settop(L, arg);
  for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1)) {
    rover__lua_check_key(L, arg + 1, arg, "unknown option", names);
    if (!lua_isboolean(L, -1))
      rover__lua_expected(L, arg + 2, arg, "observer", "boolean");
    observer = lua_toboolean(L, -1);
  }
  return observer;
}

int rover__lua_method(lua_State *L) {
  return (int)lua_tointeger(L, lua_upvalueindex(1));
}

void rover__lua_set_changers(lua_State *L, lua_CFunction change) {
  static const char *const names[] = {"on", "once", "off"};
  for (int method = ROVER__LUA_ON; method <= ROVER__LUA_OFF; method++) {
    lua_pushinteger(L, method);
    lua_pushcclosure(L, change, 1);
    lua_setfield(L, -2, names[method]);
  }
}

struct rover__lua_change
rover__lua_check_change(lua_State *L, int arg, const char *const names[],
                        int method) {
  struct rover__lua_change change = {.method = method};

  luaL_checkstring(L, arg);
  change.event = rover__lua_check_key(L, arg, arg, "unknown event", names);
  luaL_checktype(L, arg + 1, LUA_TFUNCTION);
  if (method != ROVER__LUA_OFF) change.observer = check_observer(L, arg + 2);
  lua_settop(L, arg + 1);
  return change;
}

/* Pushes a copy of the array at `from`, without the element `without` unless
 * that is 0. There may be nil at `from`. */
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

static lua_Integer key_of(int event, bool observer) {
  return observer ? -1 - event : event + 1;
}

/* once() adds a closure of this function, which removes itself from its list
 * and calls the handler. Its upvalues: */
enum { FUNCTION = 1, TABLE, KEY, GONE, OBJECT };
static int call_once(lua_State *L);

/* Whether the value on top is the function at `fn`, or calls that once. */
static bool is_handler(lua_State *L, int fn) {
  if (lua_rawequal(L, -1, fn)) return true;
  if (lua_tocfunction(L, -1) != call_once) return false;
  lua_getupvalue(L, -1, FUNCTION);
  bool is = lua_rawequal(L, -1, fn);
  lua_pop(L, 1);
  return is;
}

/* Whether a single function at `key` is to be there itself. */
static bool is_alone(lua_State *L, int table, lua_Integer key) {
  if (key < 0) return false;
  bool is = lua_rawgeti(L, table, -key) == LUA_TNIL;
  lua_pop(L, 1);
  return is;
}

/* Stores the array on top, which it pops, at `key`. */
static void store(lua_State *L, int table, lua_Integer key) {
  lua_Unsigned length = lua_rawlen(L, -1);
  if (length == 0) lua_pushnil(L);
  else if (length == 1 && is_alone(L, table, key)) lua_rawgeti(L, -1, 1);
  else lua_pushvalue(L, -1);
  lua_rawseti(L, table, key);
  lua_pop(L, 1);
}

/* Removes the last handler at `key` that is that function, and returns whether
 * there was one. */
static bool take_off(lua_State *L, int table, lua_Integer key, int fn) {
  if (lua_rawgeti(L, table, key) == LUA_TFUNCTION) {
    bool is = is_handler(L, fn);
    lua_pop(L, 1);
    if (!is) return false;
    lua_pushnil(L);
    lua_rawseti(L, table, key);
    return true;
  }
  lua_Integer i = lua_istable(L, -1) ? (lua_Integer)lua_rawlen(L, -1) : 0;
  for (; i > 0; i--) {
    lua_rawgeti(L, -1, i);
    bool is = is_handler(L, fn);
    lua_pop(L, 1);
    if (is) break;
  }
  if (i > 0) {
    push_copy(L, -1, i);
    store(L, table, key);
  }
  lua_pop(L, 1);
  return i > 0;
}

static int call_once(lua_State *L) {
  lua_Debug ar;
  int nargs = lua_gettop(L);

  luaL_checkstack(L, 8, NULL);
  lua_getstack(L, 0, &ar);
  lua_getinfo(L, "f", &ar);
  take_off(L, lua_upvalueindex(TABLE),
           lua_tointeger(L, lua_upvalueindex(KEY)), nargs + 1);
  if (!lua_isnil(L, lua_upvalueindex(GONE))) {
    lua_pushvalue(L, lua_upvalueindex(GONE));
    lua_pushvalue(L, lua_upvalueindex(OBJECT));
    lua_call(L, 1, 0);
  }
  lua_settop(L, nargs);
  lua_pushvalue(L, lua_upvalueindex(FUNCTION));
  lua_insert(L, 1);
  lua_call(L, nargs, 0);
  return 0;
}

static void push_once(lua_State *L, int table, int fn, lua_Integer key,
                      lua_CFunction gone) {
  lua_pushvalue(L, fn);
  lua_pushvalue(L, table);
  lua_pushinteger(L, key);
  if (gone) lua_pushcfunction(L, gone);
  else lua_pushnil(L);
  lua_pushvalue(L, 1);
  lua_pushcclosure(L, call_once, OBJECT);
}

/* Pushes what is at `key`, a function as an array of it. */
static void push_list(lua_State *L, int table, lua_Integer key) {
  if (lua_rawgeti(L, table, key) != LUA_TFUNCTION) return;
  lua_createtable(L, 1, 0);
  lua_insert(L, -2);
  lua_rawseti(L, -2, 1);
}

/* Adds the function on top, which it pops. */
static void append(lua_State *L, int table, lua_Integer key) {
  if (key < 0) { /* an observer: the handler is not alone any more */
    push_list(L, table, -key);
    lua_rawseti(L, table, -key);
  }
  push_list(L, table, key);
  if (lua_isnil(L, -1) && is_alone(L, table, key)) {
    lua_pop(L, 1);
    lua_rawseti(L, table, key);
    return;
  }
  push_copy(L, -1, 0);
  lua_pushvalue(L, -3);
  lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
  lua_rawseti(L, table, key);
  lua_pop(L, 2);
}

void rover__lua_change_handlers(lua_State *L, int table, int fn,
                                const struct rover__lua_change *change) {
  lua_Integer key = key_of(change->event, change->observer);

  table = lua_absindex(L, table);
  switch (change->method) {
    case ROVER__LUA_ON:
      lua_pushvalue(L, fn);
      append(L, table, key);
      break;
    case ROVER__LUA_ONCE:
      push_once(L, table, fn, key, change->gone);
      append(L, table, key);
      break;
    case ROVER__LUA_OFF:
      if (!take_off(L, table, key, fn))
        take_off(L, table, key_of(change->event, true), fn);
      break;
  }
}

bool rover__lua_has_handler(lua_State *L, int table, int event) {
  if (!lua_istable(L, table)) return false;
  bool has = lua_rawgeti(L, table, event + 1) != LUA_TNIL;
  lua_pop(L, 1);
  return has;
}

size_t rover__lua_count_handlers(lua_State *L, int table, int event) {
  size_t count = 0;
  for (int observer = 0; observer <= 1; observer++) {
    int type = lua_rawgeti(L, table, key_of(event, observer));
    if (type == LUA_TFUNCTION) count++;
    else if (type == LUA_TTABLE) count += lua_rawlen(L, -1);
    lua_pop(L, 1);
  }
  return count;
}

/* Calls the function on top with copies of the `nargs` values from `first` on,
 * unprotected if `tail` is set. */
static void call_one(rover__lua_t *lua, lua_State *L, int first, int nargs,
                     bool tail, int *failed) {
  for (int i = 0; i < nargs; i++) lua_pushvalue(L, first + i);
  if (tail) lua_call(L, nargs, 0);
  else if (lua->call(L, nargs, 0, ROVER__LUA_NOEXIT) < 0) (*failed)++;
}

/* Calls the functions of the array at `key`, the last one unprotected if `tail`
 * is set, and returns how many there are. */
static int call_each(rover__lua_t *lua, lua_State *L, int table,
                     lua_Integer key, int nargs, bool tail, int *failed) {
  int top = lua_gettop(L), count = 0;

  if (lua_rawgeti(L, table, key) == LUA_TTABLE) {
    int list = top + 1, length = (int)lua_rawlen(L, list);
    while (count < length) {
      lua_rawgeti(L, list, ++count);
      call_one(lua, L, top - nargs + 1, nargs, tail && count == length, failed);
    }
  }
  lua_settop(L, top);
  return count;
}

/* The same for observers and handlers. */
static int call_all(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, bool tail, int *failed) {
  call_each(lua, L, table, key_of(event, true), nargs, false, failed);
  return call_each(lua, L, table, event + 1, nargs, tail, failed);
}

int rover__lua_emit(rover__lua_t *lua, lua_State *L, int table, int event,
                    int nargs, int *failed) {
  int top = lua_gettop(L), count = 0;

  *failed = 0;
  luaL_checkstack(L, nargs + 4, "too many arguments");
  if (rover__lua_push_only(L, table, event)) {
    call_one(lua, L, top - nargs + 1, nargs, false, failed);
    count = 1;
  } else if (lua_istable(L, table)) {
    count = call_all(lua, L, table, event, nargs, false, failed);
  }
  lua_settop(L, top - nargs);
  return count;
}

bool rover__lua_push_only(lua_State *L, int table, int event) {
  if (!lua_istable(L, table)) return false;
  if (lua_rawgeti(L, table, event + 1) == LUA_TFUNCTION) return true;
  lua_pop(L, 1);
  return false;
}

int rover__lua_emit_last(rover__lua_t *lua, lua_State *L, int table, int event,
                         int nargs, int *failed) {
  int first = lua_gettop(L) - nargs + 1;

  *failed = 0;
  if (rover__lua_push_only(L, table, event)) {
    call_one(lua, L, first, nargs, true, failed);
    return 1;
  }
  if (!lua_istable(L, table)) return 0;
  return call_all(lua, L, table, event, nargs, true, failed);
}
