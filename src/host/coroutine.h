/* Private to src/host: coroutines and pcall() within the budget. */
#ifndef HOST_COROUTINE_H
#define HOST_COROUTINE_H

#include <lua.h>

/* Replaces functions of the open libraries. May raise. */
void host__open_coroutine(lua_State *L);

#endif
