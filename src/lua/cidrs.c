#include "cidrs.h"

#include <callosum/rover.h>

#include "check.h"

static int array_expected(lua_State *L, int index, const char *what) {
  return rover__lua_expected(L, index, 1, what,
                             "array of strings such as '10.0.0.0/8'");
}

static const char *check_cidr(lua_State *L, int index, const char *what) {
  if (lua_type(L, index) != LUA_TSTRING) array_expected(L, index, what);
  const char *text = lua_tostring(L, index), *why = rover_cidr_check(text);
  if (why)
    luaL_argerror(L, 1, lua_pushfstring(L, "%s: '%s': %s", what, text, why));
  return text;
}

const char *const *rover__lua_check_cidrs(lua_State *L, int index,
                                          const char *what) {
  if (!lua_istable(L, index)) array_expected(L, index, what);
  size_t length = lua_rawlen(L, index), count = 0;
  const char **list = lua_newuserdatauv(L, (length + 1) * sizeof *list, 0);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    int top = lua_gettop(L);
    if (count == length || !lua_isinteger(L, top - 1))
      array_expected(L, top - 1, what);
    list[count++] = check_cidr(L, top, what);
  }
  list[count] = NULL;
  return list;
}
