/* Private to src/lua: the methods by which a policy says what its rover
 * rejects. */
#ifndef LUA_REJECTION_H
#define LUA_REJECTION_H

#include <lauxlib.h>

extern const luaL_Reg rover__lua_rejection_methods[];

#endif
