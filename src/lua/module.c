#include "internal.h"

/* require "callosum.rover" in any Lua 5.4 program: the engine runs on luv's
 * loop, and what handlers raise is reported as luv reports what its callbacks
 * raise. */
ROVER_EXTERN int luaopen_callosum_rover(lua_State *L);

typedef uv_loop_t *(*luv_loop_function)(lua_State *L);

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
  } loop, call;
  loop.symbol = rover__lua_luv_symbol(L, "luv_loop");
  call.symbol = rover__lua_luv_symbol(L, "luv_cfpcall");
  lua_pop(L, 1);
  rover__lua_open(L, loop.loop(L), call.call);
  lua_pop(L, 1); /* callosum.relay, see module_relay.c */
  return 1;
}
