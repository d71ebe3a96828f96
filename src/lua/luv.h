/* Private to src/lua and src/host: luv's public C interface, found at run
 * time. */
#ifndef LUA_LUV_H
#define LUA_LUV_H

#include <lua.h>

/* Opens the luv that require would find, before it is required, and pushes a
 * userdata that stands for it. Raises if there is none. */
void rover__lua_open_luv(lua_State *L);

/* The address of a public C function of the luv that the userdata on top of
 * the stack stands for. Raises if it has none of that name. */
void *rover__lua_luv_symbol(lua_State *L, const char *name);

#endif
