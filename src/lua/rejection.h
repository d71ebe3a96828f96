/* Private to src/lua: what setRejection() is given. */
#ifndef LUA_REJECTION_H
#define LUA_REJECTION_H

#include <callosum/rover.h>
#include <lua.h>

/* The table that is argument 2, of a method. */
rover_rejection_t rover__lua_check_rejection(lua_State *L);

#endif
