/* Private to src/lua and src/host: keeps connections for a pool, which learns of them when
 * it needs them. */
#ifndef LUA_KEEPER_H
#define LUA_KEEPER_H

#include "rover_object.h"

/* Pushes the module callosum.keeper, for callosum.pool. */
void rover__lua_open_keeper(lua_State *L);

/* A new connection: whether it was kept or closed here. If not, it is to be
 * delivered. */
bool rover__lua_keeper_take(struct rover__lua_rover *r, rover_socket_t *socket);

/* The rover has rejected one. */
void rover__lua_keeper_rejected(const struct rover__lua_rover *r);

/* Whether the pool alone listens to the rover's `connection`. */
void rover__lua_keeper_set_alone(const struct rover__lua_rover *r, bool alone);

/* Has the pool learn of all that are kept for it. May raise. */
void rover__lua_keeper_tell_all(lua_State *L, struct rover__lua_rover *r);

/* The rover is closed, or its state. */
void rover__lua_keeper_end(struct rover__lua_rover *r);

#endif
