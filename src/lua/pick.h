/* Private to src/lua: the function pick of relays. Owner: bind_relay.c. */
#ifndef LUA_PICK_H
#define LUA_PICK_H

#include "bind_relay.h"

void rover__lua_open_pick(lua_State *L, rover__lua_t *lua);

/* Returns the client that the running coroutine picks for, or nil. Its upvalue
 * is that of what makes objects. */
int rover__lua_picking(lua_State *L);

/* Asks pick for a client: the engine's callback. */
void rover__lua_offer_client(rover_relay_t *relay, rover_relay_client_t *client);

/* Asks again for the clients of all relays that wait, in the order in which they
 * came, until pick has no socket. Returns false if `until` (of uv_hrtime()) came
 * first: it is to be called again. */
bool rover__lua_offer_all(rover__lua_t *lua, uint64_t until);

/* The same for one relay, in the next turn of the loop; not if its pick is
 * running. */
void rover__lua_offer_soon(struct rover__lua_relay *r);

#endif
