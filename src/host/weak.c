#include "weak.h"

#include <string.h>

#include "base.h"

/* Lua's collector takes quadratic time for chains of ephemerons (tables with
 * weak keys and strong values), and cannot be interrupted. So the sandbox has
 * none: setmetatable() refuses such a metatable, and Lua ignores later changes
 * to __mode.
 *
 * To that end Lua is made to look up another key, which the script cannot know,
 * instead of "__mode". A table with weak values gets a metatable with that key:
 * a copy of the script's, while getmetatable() returns the script's own. */

static const char mode_name[] = "__mode";

/* Pushes the key that Lua looks for. */
static void push_key(lua_State *L) {
  lua_rawgeti(L, LUA_REGISTRYINDEX, host__policy_of(L)->weak_key);
}

/* A key in the copies of those metatables that are not protected. */
static const char mark;

bool host__weak_may_change(lua_State *L) {
  if (!lua_getmetatable(L, 1)) return false;
  bool may = lua_rawgetp(L, -1, &mark) != LUA_TNIL;
  lua_pop(L, 2);
  return may;
}

/* Replaces the metatable at index 2, with __mode on top, by a copy for Lua. */
static void make_own(lua_State *L) {
  lua_newtable(L); /* 4, above 3: __mode */
  for (lua_pushnil(L); lua_next(L, 2);) {
    lua_pushvalue(L, -2);
    lua_insert(L, -2);
    lua_rawset(L, 4);
  }
  push_key(L);
  lua_pushvalue(L, 3);
  lua_rawset(L, 4);
  lua_pushliteral(L, "__metatable");
  if (lua_rawget(L, 4) == LUA_TNIL) {
    lua_pushliteral(L, "__metatable");
    lua_pushvalue(L, 2);
    lua_rawset(L, 4);
    lua_pushboolean(L, true);
    lua_rawsetp(L, 4, &mark);
  }
  lua_settop(L, 4);
  lua_replace(L, 2);
  lua_settop(L, 2);
}

void host__weak_check(lua_State *L) {
  if (!host__policy_of(L)->weak_key || !lua_istable(L, 2)) return;
  lua_settop(L, 2);
  lua_pushstring(L, mode_name);
  lua_rawget(L, 2); /* 3 */
  const char *mode =
      lua_type(L, 3) == LUA_TSTRING ? lua_tostring(L, 3) : "";
  if (strchr(mode, 'v')) make_own(L);
  else if (strchr(mode, 'k'))
    luaL_error(L, "the sandbox has no tables whose keys alone are weak: "
                  "__mode may be \"v\" or \"kv\"");
  lua_settop(L, 2);
}

/* Lua has made this string with the state, and compares it by address. Once its
 * bytes, which are in our arena, are changed, the script's "__mode" is a
 * different string. */
void host__open_weak(lua_State *L) {
  lua_pushstring(L, mode_name);
  int err = uv_random(NULL, NULL, (char *)lua_tostring(L, -1),
                      sizeof mode_name - 1, 0, NULL);
  if (err < 0) luaL_error(L, "no random bytes: %s", uv_strerror(err));
  host__policy_of(L)->weak_key = luaL_ref(L, LUA_REGISTRYINDEX);
}
