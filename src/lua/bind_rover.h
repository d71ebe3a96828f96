/* Private to src/lua and src/host: rovers. */
#ifndef LUA_BIND_ROVER_H
#define LUA_BIND_ROVER_H

#include "object.h"

/* Upvalue on top; pushes the module. */
void rover__lua_open_rover(lua_State *L);

/* The rover that is argument `arg`; raises if it is closed, or none. */
struct rover__lua_object *rover__lua_check_rover(lua_State *L, int arg);

/* Calls the handlers of `connection`; the socket is closed if there are none or
 * one raises an error. */
void rover__lua_deliver(struct rover__lua_object *o, rover_socket_t *socket);

/* Abandons and closes the rover; it does not call into Lua any more. */
void rover__lua_rover_abandon(struct rover__lua_object *o);

#endif
