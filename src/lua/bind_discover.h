/* Private to src/lua and src/host: sources of servers. One that is staged is
 * only declared; in a reload, it goes on as the old one of its name. */
#ifndef LUA_BIND_DISCOVER_H
#define LUA_BIND_DISCOVER_H

#include "object.h"

/* Upvalue on top; pushes the module. */
void rover__lua_open_discover(lua_State *L);

/* In a reload: finds the sources of the old state, and once rovers are taken
 * over, goes on as they. Neither can fail. */
void rover__lua_find_sources(rover__lua_t *lua, const rover__lua_t *from);
void rover__lua_take_sources(rover__lua_t *lua);

/* Starts what was attached while the state was staged. */
void rover__lua_source_begin(struct rover__lua_object *o);

void rover__lua_source_abandon(struct rover__lua_object *o);

#endif
