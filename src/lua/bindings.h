/* Private to src/lua and src/host: the bindings of one Lua state as a whole. */
#ifndef LUA_BINDINGS_H
#define LUA_BINDINGS_H

#include "state.h"

/* Pushes the tables of the modules callosum.rover and, above it, callosum.relay
 * on `loop`, and returns what their functions share; it lives as long as the
 * state. May raise. */
rover__lua_t *rover__lua_open(lua_State *L, uv_loop_t *loop,
                              rover__lua_call call);

/* Does what the rovers of a staged state have asked for. Cannot fail: if there
 * is no memory for an attempt, the rover's handlers hear of it. */
void rover__lua_commit(rover__lua_t *lua);

/* Parts from all rovers and relays, which close, the relays once their joined
 * clients are done if there is an owner, and calls nothing in the state any
 * more. A state may go on for a while after this, but only to close. */
void rover__lua_die(rover__lua_t *lua);

#endif
