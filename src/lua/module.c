#include "bindings.h"
#include "keeper.h"
#include "luv.h"

#include <stdio.h>

/* require "callosum.rover" in any Lua 5.4 program: the engine runs on luv's
 * loop, and luv reports errors of handlers as it does those of its own
 * callbacks. */
ROVER_EXTERN int luaopen_callosum_rover(lua_State *L);

typedef uv_loop_t *(*luv_loop_function)(lua_State *L);

/* The key in the registry of a userdata that holds luv's luv_cfpcall(). */
static const char luv_call;

/* Calls that with what is on the stack: a function, its arguments, and above
 * them their number and the flags. */
static int shielded(lua_State *L) {
  lua_rawgetp(L, LUA_REGISTRYINDEX, &luv_call);
  const rover__lua_call *own = lua_touserdata(L, -1);
  int nargs = (int)lua_tointeger(L, -3), flags = (int)lua_tointeger(L, -2);
  lua_pop(L, 3);
  lua_pushinteger(L, (*own)(L, nargs, 0, flags));
  return 1;
}

static int raise_text(lua_State *L) {
  return luaL_error(L, "an error object whose __tostring raised %s",
                    (const char *)lua_touserdata(L, 1));
}

/* Returns what luv_cfpcall() returns, or a positive number if it raised an
 * error, which is left on the stack. */
static int try(lua_State *L, int nargs, int flags) {
  lua_pushcfunction(L, shielded);
  lua_insert(L, -2 - nargs);
  lua_pushinteger(L, nargs);
  lua_pushinteger(L, flags);
  int status = lua_pcall(L, nargs + 3, 1, 0);
  if (status != LUA_OK) return status;
  int results = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return results;
}

/* As luv_cfpcall(), but does not raise. From 1.46 on luv converts an error
 * object to a string in an unprotected call, and an error in its __tostring
 * would end more than the handler, or unwind libuv's frames. */
static int call(lua_State *L, int nargs, int nresults, int flags) {
  char text[256] = "another";
  (void)nresults; /* none of ours has any */

  if (!lua_checkstack(L, 4)) {
    lua_pop(L, nargs + 1);
    return -LUA_ERRMEM;
  }
  int status = try(L, nargs, flags);
  if (status <= 0) return status;
  if (lua_type(L, -1) == LUA_TSTRING)
    snprintf(text, sizeof text, "%s", lua_tostring(L, -1));
  lua_pop(L, 1);
  lua_pushcfunction(L, raise_text);
  lua_pushlightuserdata(L, text);
  if (try(L, 1, flags) > 0) lua_pop(L, 1); /* not a string either */
  return -status;
}

int luaopen_callosum_rover(lua_State *L) {
  lua_settop(L, 0);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "luv");
  lua_call(L, 1, 0);

  rover__lua_open_luv(L);
  union {
    void *symbol;
    luv_loop_function loop;
    rover__lua_call call;
  } loop, of_luv;
  loop.symbol = rover__lua_luv_symbol(L, "luv_loop");
  of_luv.symbol = rover__lua_luv_symbol(L, "luv_cfpcall");
  lua_pop(L, 1);
  rover__lua_call *kept = lua_newuserdatauv(L, sizeof *kept, 0);
  *kept = of_luv.call;
  lua_rawsetp(L, LUA_REGISTRYINDEX, &luv_call);
  rover__lua_open(L, loop.loop(L), call);
  lua_setfield(L, LUA_REGISTRYINDEX, "callosum.modules"); /* for their files */
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  rover__lua_open_keeper(L); /* for pools */
  lua_setfield(L, -2, "callosum.keeper");
  lua_pop(L, 1);
  return 1;
}
