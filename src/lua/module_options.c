#include "check.h"

#include <callosum/rover.h>

/* require "callosum.options" in any Lua 5.4 program: it needs no luv. */
ROVER_EXTERN int luaopen_callosum_options(lua_State *L);

int luaopen_callosum_options(lua_State *L) {
  rover__lua_open_options(L);
  return 1;
}
