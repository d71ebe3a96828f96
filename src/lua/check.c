#include "internal.h"

#include <string.h>

/* What is wrong is shown as it is written: strings in quotes, so that "1" is
 * not taken for 1. */
int rover__lua_expected(lua_State *L, int index, int arg, const char *what,
                        const char *expected) {
  bool is_text = lua_type(L, index) == LUA_TSTRING;
  const char *got = luaL_tolstring(L, index, NULL);
  return luaL_argerror(L, arg,
                       lua_pushfstring(L, is_text ? "%s: %s expected, got '%s'"
                                                  : "%s: %s expected, got %s",
                                       what, expected, got));
}

static int text_expected(lua_State *L, int index, int arg, size_t max,
                         const char *what) {
  const char *got = luaL_typename(L, index);
  if (lua_type(L, index) == LUA_TSTRING)
    got = lua_rawlen(L, index) ? "one that is too long or holds NUL"
                               : "an empty one";
  return luaL_argerror(L, arg,
                       lua_pushfstring(L, "%s: string of 1 to %d bytes "
                                          "expected, got %s",
                                       what, (int)max, got));
}

const char *rover__lua_check_text(lua_State *L, int index, int arg, size_t max,
                                  const char *what) {
  size_t length = 0;
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : "";
  if (length == 0 || length > max || strlen(text) != length)
    text_expected(L, index, arg, max, what);
  return text;
}

lua_Integer rover__lua_check_integer(lua_State *L, int index, int arg,
                                     const char *what, lua_Integer min,
                                     lua_Integer max) {
  int exact = 0;
  lua_Integer value = 0;
  if (lua_type(L, index) == LUA_TNUMBER)
    value = lua_tointegerx(L, index, &exact);
  if (!exact || value < min || value > max)
    rover__lua_expected(L, index, arg, what,
                        lua_pushfstring(L, "integer from %I to %I", min, max));
  return value;
}

int rover__lua_check_key(lua_State *L, int index, int arg, const char *what,
                         const char *const names[]) {
  const char *key;
  int i = 0;

  /* A copy, since lua_next() wants the key unchanged. */
  if (lua_type(L, index) == LUA_TSTRING) lua_pushvalue(L, index);
  else lua_pushfstring(L, "[%s]", luaL_tolstring(L, index, NULL));
  key = lua_tostring(L, -1);
  while (names[i] && strcmp(key, names[i]) != 0) i++;
  if (!names[i])
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s '%s', nearest is '%s'", what, key,
                                  rover__lua_nearest(key, names)));
  lua_pop(L, 1);
  return i;
}

struct rover__lua_address rover__lua_check_address(lua_State *L, int index,
                                                   int arg, const char *what) {
  static const char *const fields[] = {"host", "port", NULL};
  struct rover__lua_address address;

  if (!lua_istable(L, index))
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s: table {host=, port=} expected, got "
                                     "%s", what, luaL_typename(L, index)));
  const char *unknown = lua_pushfstring(L, "%s: unknown field", what);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    rover__lua_check_key(L, lua_gettop(L) - 1, arg, unknown, fields);

  const char *host = lua_pushfstring(L, "%s: host", what);
  const char *port = lua_pushfstring(L, "%s: port", what);
  lua_getfield(L, index, "port");
  address.port =
      (int)rover__lua_check_integer(L, lua_gettop(L), arg, port, 1, 65535);
  lua_getfield(L, index, "host");
  address.host =
      rover__lua_check_text(L, lua_gettop(L), arg, ROVER_HOST_MAX, host);
  return address;
}
