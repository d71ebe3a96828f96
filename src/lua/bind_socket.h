/* Private to src/lua: the methods and fields of kept sockets. */
#ifndef LUA_BIND_SOCKET_H
#define LUA_BIND_SOCKET_H

#include "state.h"

void rover__lua_open_socket(lua_State *L, rover__lua_t *lua);

#endif
