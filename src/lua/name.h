/* Private to src/lua: IP addresses and ports as Lua has them. */
#ifndef LUA_NAME_H
#define LUA_NAME_H

#include <lua.h>
#include <uv.h>

/* Pushes host and port of an IP address, and returns 2; or fails. */
int rover__lua_push_name(lua_State *L, const struct sockaddr *name);

#endif
