#include <callosum/rover.h>

#include <lauxlib.h>

/* require "callosum.relay" in any Lua 5.4 program: it shares what callosum.rover
 * has made, where it is therefore opened. */
ROVER_EXTERN int luaopen_callosum_relay(lua_State *L);

int luaopen_callosum_relay(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "callosum.rover");
  lua_call(L, 1, 0);
  lua_getfield(L, LUA_REGISTRYINDEX, "callosum.modules");
  lua_getfield(L, -1, "callosum.relay");
  lua_call(L, 0, 1);
  return 1;
}
