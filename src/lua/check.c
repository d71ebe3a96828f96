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

/* NULL: it is none of 1 to `max` bytes without a NUL. */
static const char *text_of(lua_State *L, int index, size_t max) {
  size_t length = 0;
  const char *text =
      lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : "";
  bool right = length > 0 && length <= max && strlen(text) == length;
  return right ? text : NULL;
}

const char *rover__lua_check_text(lua_State *L, int index, int arg, size_t max,
                                  const char *what) {
  const char *text = text_of(L, index, max);
  if (!text) text_expected(L, index, arg, max, what);
  return text;
}

static bool is_integer(lua_State *L, int index, lua_Integer min,
                       lua_Integer max, lua_Integer *value) {
  int exact = 0;
  *value = 0;
  if (lua_type(L, index) == LUA_TNUMBER)
    *value = lua_tointegerx(L, index, &exact);
  return exact && *value >= min && *value <= max;
}

lua_Integer rover__lua_check_integer(lua_State *L, int index, int arg,
                                     const char *what, lua_Integer min,
                                     lua_Integer max) {
  lua_Integer value;
  if (!is_integer(L, index, min, max, &value))
    rover__lua_expected(L, index, arg, what,
                        lua_pushfstring(L, "integer from %I to %I", min, max));
  return value;
}

/* -1: it is none of them. */
static int place_of(lua_State *L, int index, const char *const names[]) {
  if (lua_type(L, index) != LUA_TSTRING) return -1;
  const char *key = lua_tostring(L, index);
  for (int i = 0; names[i]; i++)
    if (!strcmp(key, names[i])) return i;
  return -1;
}

int rover__lua_check_key(lua_State *L, int index, int arg, const char *what,
                         const char *const names[]) {
  int place = place_of(L, index, names);
  if (place >= 0) return place;

  if (lua_type(L, index) == LUA_TSTRING) lua_pushvalue(L, index);
  else lua_pushfstring(L, "[%s]", luaL_tolstring(L, index, NULL));
  const char *key = lua_tostring(L, -1);
  return luaL_argerror(L, arg,
                       lua_pushfstring(L, "%s '%s', nearest is '%s'", what, key,
                                       rover__lua_nearest(key, names)));
}

/* A rover may be given a million servers, so no text is made of what might be
 * wrong before it is. */
struct rover__lua_address rover__lua_check_server(lua_State *L, int index,
                                                  int arg, const char *id) {
  static const char *const fields[] = {"host", "port", NULL};
  int at = lua_gettop(L) + 1; /* what is looked at */
  lua_Integer port;

  if (!lua_istable(L, index))
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "server '%s': table {host=, port=} "
                                     "expected, got %s",
                                  id, luaL_typename(L, index)));
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
    if (place_of(L, at, fields) < 0)
      rover__lua_check_key(L, at, arg,
                           lua_pushfstring(L, "server '%s': unknown field", id),
                           fields);
  lua_getfield(L, index, "port");
  if (!is_integer(L, at, 1, 65535, &port))
    rover__lua_check_integer(L, at, arg,
                             lua_pushfstring(L, "server '%s': port", id), 1,
                             65535);
  lua_pop(L, 1);
  lua_getfield(L, index, "host");
  const char *host = text_of(L, at, ROVER_HOST_MAX);
  if (!host)
    rover__lua_check_text(L, at, arg, ROVER_HOST_MAX,
                          lua_pushfstring(L, "server '%s': host", id));
  return (struct rover__lua_address){host, (int)port};
}
