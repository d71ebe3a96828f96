#include "exempt.h"

#include <string.h>

#include "limits.h"

/* An out-of-memory error within luv may leave a half-initialized handle
 * behind, on which luv then aborts the process. So luv's functions get all
 * the memory they ask for, and the cap is checked before, to leave some
 * room, and after. */

/* Upvalue 1 is the function. */
static int l_call(lua_State *L) {
  lua_CFunction function = lua_tocfunction(L, lua_upvalueindex(1));
  host__check_room(L);
  const void *outer = host__exempt(L);
  int count = function(L);
  host__exempt_end(L, outer);
  host__check_cap(L);
  return count;
}

/* The same for a function that releases handles. */
static int l_call_anyway(lua_State *L) {
  lua_CFunction function = lua_tocfunction(L, lua_upvalueindex(1));
  const void *outer = host__exempt(L);
  int count = function(L);
  host__exempt_end(L, outer);
  return count;
}

/* The name of a table's entry, whose key and value are on top. */
static const char *name_of(lua_State *L) {
  return lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
}

/* Wraps the functions in the table at `index`, except finalizers, which must
 * not fail. `made` holds the wrappers so far, as luv has most functions twice.
 * luv's functions have no upvalues. Reading a clock takes no memory, and would
 * take twice as long. */
static void wrap_functions(lua_State *L, int index, int made) {
  index = lua_absindex(L, index);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *name = name_of(L);
    bool frees = strstr(name, "clos") || strstr(name, "stop") ||
                 !strcmp(name, "walk");
    if (!lua_iscfunction(L, -1) || !strcmp(name, "__gc") ||
        !strcmp(name, "hrtime") || !strcmp(name, "now"))
      continue;
    if (lua_getupvalue(L, -1, 1)) { /* wrapped already */
      lua_pop(L, 1);
      continue;
    }
    lua_pushvalue(L, -2); /* name, function, name */
    lua_pushvalue(L, -2);
    if (lua_rawget(L, made) == LUA_TNIL) {
      lua_pop(L, 1);
      lua_pushvalue(L, -2);
      lua_pushcclosure(L, frees ? l_call_anyway : l_call, 1);
      lua_pushvalue(L, -3);
      lua_pushvalue(L, -2);
      lua_rawset(L, made);
    }
    lua_rawset(L, index);
  }
}

void host__exempt_function(lua_State *L) { lua_pushcclosure(L, l_call, 1); }

void host__exempt_luv(lua_State *L) {
  lua_newtable(L);
  int made = lua_gettop(L);
  wrap_functions(L, 1, made);
  for (lua_pushnil(L); lua_next(L, LUA_REGISTRYINDEX); lua_pop(L, 1)) {
    const char *name = name_of(L);
    bool is_luvs = !strncmp(name, "uv_", 3) || !strncmp(name, "luv_", 4);
    if (!is_luvs || !lua_istable(L, -1)) continue;
    wrap_functions(L, -1, made);
    lua_pushliteral(L, "__index");
    if (lua_rawget(L, -2) == LUA_TTABLE) wrap_functions(L, -1, made);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}
