/* Private to src/host: functions of luv's that may exceed the memory cap. */
#ifndef HOST_EXEMPT_H
#define HOST_EXEMPT_H

#include <lua.h>

/* Wraps the C function on top so that it may. */
void host__exempt_function(lua_State *L);

/* The same for those of luv's table, at index 1, and of its handles and
 * requests. May raise. */
void host__exempt_luv(lua_State *L);

#endif
