/* Private to src/lua and src/host: the bindings of a Lua state as a whole. They
 * are opened once, may be staged until they are committed, and die with the
 * state, or before. */
#ifndef LUA_BINDINGS_H
#define LUA_BINDINGS_H

#include "state.h"

/* Pushes the module callosum.rover, for `loop`, and a table with the functions
 * that open callosum.relay, .front and .discover, by their names: few scripts
 * need all of them. Returns what their functions share, which lives as long as
 * the state. May raise. */
rover__lua_t *rover__lua_open(lua_State *L, uv_loop_t *loop,
                              rover__lua_call call);

/* Carries out what the rovers of a staged state have recorded. Cannot fail: if
 * there is no memory for an attempt, the rover has an error event. */
void rover__lua_commit(rover__lua_t *lua);

/* Abandons and closes all rovers, relays, fronts and sources. Where there is an owner,
 * relays go on until their joined clients are done, and fronts drain. Nothing
 * is called in the state any more, which may stay open for a while, but only to
 * be closed. */
void rover__lua_die(rover__lua_t *lua);

#endif
