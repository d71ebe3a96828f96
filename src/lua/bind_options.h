/* Private to src/lua and src/host: callosum.options, by which the modules in Lua
 * check what they are given as those in C do. */
#ifndef LUA_BIND_OPTIONS_H
#define LUA_BIND_OPTIONS_H

#include <lua.h>

/* Pushes the module. */
void rover__lua_open_options(lua_State *L);

#endif
