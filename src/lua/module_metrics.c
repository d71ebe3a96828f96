#include "bind_books.h"
#include "bind_metrics.h"

#include <callosum/rover.h>

#include <lauxlib.h>

/* require "callosum.metrics" in any Lua 5.4 program, without luv; and then, for
 * pools, "callosum.books". */
ROVER_EXTERN int luaopen_callosum_metrics(lua_State *L);

int luaopen_callosum_metrics(lua_State *L) {
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
  rover__lua_open_books(L);
  lua_setfield(L, -2, "callosum.books");
  rover__lua_open_metrics(L);
  return 1;
}
