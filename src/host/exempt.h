/* Private to src/host: luv functions that may exceed the memory cap. */
#ifndef HOST_EXEMPT_H
#define HOST_EXEMPT_H

#include <lua.h>

/* Wraps the C function on top so that it may. */
void host__exempt_function(lua_State *L);

/* Does so for luv's table, at index 1, and for the methods of its handles and
 * requests. May raise. */
void host__exempt_luv(lua_State *L);

#endif
