#include "check.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

/* The checker of the modules in Lua, and a clock for those that can do without
 * luv. Tables describe what is valid:
 *
 *   name     of an option; an argument needs none
 *   type     "integer" or "number" (from min to max, if these are given),
 *            "boolean", "string" (of at most max bytes, or one of the array
 *            oneOf), "function" or "object" (with all the methods that are
 *            named in the array `methods`)
 *   orFalse  whether it may also be false
 *   what     what an object is called in messages
 *   default  the value of an option that is not given
 *
 * Fields for the reference (unit, class, text) are ignored. Misuse is blamed on
 * the caller of the function that asks for the check. The checks themselves
 * raise the message alone (argument 0 of those in check.c), in protected mode,
 * and the position and the argument are added here. */

/* As luaL_argerror(), but about an argument of the function at `level`. */
static int blame(lua_State *L, int level, int arg, const char *message) {
  lua_Debug ar = {.namewhat = ""};
  const char *name = NULL;

  if (lua_getstack(L, level, &ar)) {
    lua_getinfo(L, "n", &ar);
    name = ar.name;
  }
  if (!name) name = "?";
  luaL_where(L, level + 1);
  if (!strcmp(ar.namewhat, "method") && --arg == 0)
    lua_pushfstring(L, "calling '%s' on bad self (%s)", name, message);
  else lua_pushfstring(L, "bad argument #%d to '%s' (%s)", arg, name, message);
  lua_concat(L, 2);
  return lua_error(L);
}

/* Returns what `check` returns for the values at indices 2 to `last`. Argument
 * 1 is the number of the argument that is checked, the third a table, and the
 * one behind `last` optional: how many more functions lie in between. */
static int try(lua_State *L, lua_CFunction check, int last) {
  int arg = (int)luaL_checkinteger(L, 1);
  int level = 1 + (int)luaL_optinteger(L, last + 1, 0);

  luaL_checktype(L, 3, LUA_TTABLE);
  lua_settop(L, last);
  lua_pushcfunction(L, check);
  lua_insert(L, 2);
  int status = lua_pcall(L, last - 1, 1, 0);
  if (status == LUA_OK) return 1;
  if (status != LUA_ERRRUN || lua_type(L, -1) != LUA_TSTRING)
    return lua_error(L);
  return blame(L, level, arg, lua_tostring(L, -1));
}

/* -- Values --------------------------------------------------------------- */

/* These take the value at index 1 and its table at index 2. */

static const char *field(lua_State *L, const char *name) {
  lua_getfield(L, 2, name);
  return lua_tostring(L, -1);
}

static int expected(lua_State *L, const char *what) {
  lua_getfield(L, 2, "orFalse");
  if (lua_toboolean(L, -1)) what = lua_pushfstring(L, "%s, or false", what);
  return rover__lua_expected(L, 1, 0, field(L, "name"), what);
}

static void check_number(lua_State *L, bool whole) {
  const char *what = whole ? "integer" : "number";
  bool fits = whole ? lua_isinteger(L, 1) : lua_type(L, 1) == LUA_TNUMBER;

  if (lua_getfield(L, 2, "min") != LUA_TNIL) {
    lua_getfield(L, 2, "max"); /* 3: min, 4: max */
    fits = fits && lua_compare(L, 3, 1, LUA_OPLE) &&
           lua_compare(L, 1, 4, LUA_OPLE);
    const char *min = luaL_tolstring(L, 3, NULL);
    const char *max = luaL_tolstring(L, 4, NULL);
    what = lua_pushfstring(L, "%s from %s to %s", what, min, max);
  }
  if (!fits) expected(L, what);
}

/* Pushes a list of the strings in the array on top: 'one', 'two'. */
static const char *list(lua_State *L) {
  int array = lua_gettop(L);
  lua_Integer length = (lua_Integer)lua_rawlen(L, array);

  lua_pushliteral(L, "");
  for (lua_Integer i = 1; i <= length; i++) {
    lua_rawgeti(L, array, i);
    lua_pushfstring(L, "%s%s'%s'", lua_tostring(L, -2), i > 1 ? ", " : "",
                    lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
  }
  return lua_tostring(L, -1);
}

static void check_string(lua_State *L) {
  if (lua_getfield(L, 2, "oneOf") == LUA_TNIL) {
    lua_getfield(L, 2, "max");
    size_t max = (size_t)lua_tointeger(L, -1);
    rover__lua_check_text(L, 1, 0, max, field(L, "name"));
    return;
  }
  for (lua_Integer i = 1; lua_rawgeti(L, 3, i) != LUA_TNIL; i++) {
    if (lua_rawequal(L, -1, 1)) return;
    lua_pop(L, 1);
  }
  lua_settop(L, 3);
  expected(L, lua_pushfstring(L, "one of %s", list(L)));
}

/* Whether the value at index 1 has the method at index 2: some raise an error
 * for a field that they do not have. */
static int has_method(lua_State *L) {
  lua_gettable(L, 1);
  lua_pushboolean(L, lua_isfunction(L, -1));
  return 1;
}

static void check_object(lua_State *L) {
  lua_getfield(L, 2, "methods");
  bool has = lua_type(L, 1) == LUA_TTABLE || lua_type(L, 1) == LUA_TUSERDATA;
  for (lua_Integer i = 1; has && lua_rawgeti(L, 3, i) != LUA_TNIL; i++) {
    lua_pushcfunction(L, has_method);
    lua_pushvalue(L, 1);
    lua_rotate(L, -3, 2); /* function, value, name */
    has = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_toboolean(L, -1);
    lua_settop(L, 3);
  }
  if (!has)
    luaL_error(L, "%s expected, got %s", field(L, "what"), luaL_typename(L, 1));
}

static int check_value(lua_State *L) {
  static const char *const types[] = {"integer",  "number", "boolean", "string",
                                      "function", "object", NULL};
  lua_settop(L, 2);
  lua_getfield(L, 2, "orFalse");
  lua_getfield(L, 2, "type"); /* 3: orFalse, 4: type */
  bool is_false =
      lua_toboolean(L, 3) && lua_isboolean(L, 1) && !lua_toboolean(L, 1);
  int type = is_false ? -1 : luaL_checkoption(L, 4, NULL, types);
  lua_settop(L, 2);
  switch (type) {
    case -1: break;
    case 0: check_number(L, true); break;
    case 1: check_number(L, false); break;
    case 2:
      if (!lua_isboolean(L, 1)) expected(L, "boolean");
      break;
    case 3: check_string(L); break;
    case 4:
      if (!lua_isfunction(L, 1)) expected(L, "function");
      break;
    default: check_object(L);
  }
  lua_settop(L, 1);
  return 1;
}

/* argument(number, value, table, level): returns the value. */
static int l_argument(lua_State *L) { return try(L, check_value, 3); }

/* -- Options -------------------------------------------------------------- */

enum { NAMES_MAX = 64 };

/* Collects the names in the array at `index`, whose elements are strings, or
 * tables with a field `name`. */
static void get_names(lua_State *L, int index, const char *names[]) {
  int count = 0;
  for (; count < NAMES_MAX; count++) {
    if (lua_rawgeti(L, index, count + 1) == LUA_TTABLE) {
      lua_getfield(L, -1, "name");
      lua_remove(L, -2);
    }
    names[count] = lua_tostring(L, -1); /* the array keeps it */
    lua_pop(L, 1);
    if (!names[count]) return;
  }
  names[count] = NULL;
}

/* Copies an option from the table `given` to the table `own`, or its default.
 * Pops its description, which is on top. */
static void set_option(lua_State *L, int given, int own, const char *name) {
  lua_getfield(L, given, name);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_getfield(L, -1, "default");
  } else {
    lua_pushcfunction(L, check_value);
    lua_insert(L, -2);
    lua_pushvalue(L, -3);
    lua_call(L, 2, 1);
  }
  lua_setfield(L, own, name);
  lua_pop(L, 1);
}

/* Takes what is given, an array of what is valid, and the module's name. */
static int check_options(lua_State *L) {
  const char *names[NAMES_MAX + 1];

  if (lua_isnil(L, 1)) {
    lua_newtable(L);
    lua_replace(L, 1);
  }
  rover__lua_check_options_table(L, 1, 0, lua_tostring(L, 3));
  get_names(L, 2, names);
  for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, 0, "unknown option", names);
  lua_newtable(L);
  for (int i = 0; names[i]; i++) {
    lua_rawgeti(L, 2, i + 1);
    set_option(L, 1, 4, names[i]);
  }
  return 1;
}

/* check(number, given, array, module, level): returns all options in a
 * table. */
static int l_check(lua_State *L) { return try(L, check_options, 4); }

static int check_event(lua_State *L) {
  const char *names[NAMES_MAX + 1];

  get_names(L, 2, names);
  if (lua_type(L, 1) != LUA_TSTRING)
    luaL_error(L, "string expected, got %s", luaL_typename(L, 1));
  rover__lua_check_key(L, 1, 0, "unknown event", names);
  lua_settop(L, 1);
  return 1;
}

/* event(number, name, array, level): returns the name. */
static int l_event(lua_State *L) { return try(L, check_event, 3); }

/* fail(number, message, level) */
static int l_fail(lua_State *L) {
  int arg = (int)luaL_checkinteger(L, 1);
  int level = 1 + (int)luaL_optinteger(L, 3, 0);
  return blame(L, level, arg, luaL_checkstring(L, 2));
}

/* -- The clock ------------------------------------------------------------ */

/* now(): in ns, as luv's hrtime(). */
static int l_now(lua_State *L) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000000 + now.tv_nsec);
  return 1;
}

void rover__lua_open_options(lua_State *L) {
  static const luaL_Reg functions[] = {{"check", l_check},
                                       {"argument", l_argument},
                                       {"event", l_event},
                                       {"fail", l_fail},
                                       {"now", l_now},
                                       {NULL, NULL}};
  luaL_newlib(L, functions);
}
