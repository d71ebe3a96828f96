#include "bind_discover.h"

/* require "callosum.discover" in any Lua 5.4 program: it shares what
 * callosum.rover has made, and so is made there. */
ROVER_EXTERN int luaopen_callosum_discover(lua_State *L);

int luaopen_callosum_discover(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "callosum.rover");
  lua_call(L, 1, 0);
  luaL_getmetatable(L, ROVER__LUA_SOURCE_TYPE);
  lua_getfield(L, -1, "module");
  return 1;
}
