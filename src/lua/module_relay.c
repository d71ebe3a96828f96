#include "bind_relay.h"

/* require "callosum.relay" in any Lua 5.4 program: callosum.rover has created
 * it, since they share their state. */
ROVER_EXTERN int luaopen_callosum_relay(lua_State *L);

int luaopen_callosum_relay(lua_State *L) {
  lua_getglobal(L, "require");
  lua_pushliteral(L, "callosum.rover");
  lua_call(L, 1, 0);
  luaL_getmetatable(L, ROVER__LUA_RELAY_TYPE);
  lua_getfield(L, -1, "module");
  return 1;
}
